"""Learning under delayed gradients: what is trained, tuned, tested and written down; and the inputs."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import cross_entropy

from paraspike.datasets import modulation
from paraspike.errors import ReaderError
from paraspike.netcdf import check, write
from paraspike.papers import spikepipe_learning as learning
from paraspike.papers.spikepipe_accuracy import degradation, experiment
from paraspike.papers.spikepipe_accuracy_figures import accuracy, weight_versions
from paraspike.papers.spikepipe_inputs import Coded, coded, fitting, of_size, source
from paraspike.papers.spikepipe_layers import layers, logits
from paraspike.papers.spikepipe_learning import (
    LEAST,
    Course,
    Outcome,
    Way,
    delays_of,
    fit,
    held_back,
    train_ways,
    tune,
)
from paraspike.pipelining.networks import Network, dense
from paraspike.randomness import permutation, uniform

TINY = Network("tiny", 4, dense(12, 9, 8, 4))
EXACT, LATE = Way((0, 0, 0)), Way((4, 2, 0))
RATES = {"SGD": [0.02, 0.1]}


def drawn(count, seed=0):
    """Four classes, each with three inputs of its own that fire more often."""
    labels = np.arange(count) % 4
    chance = np.where(np.arange(12) // 3 == labels[:, None], 0.8, 0.15)
    spikes = uniform(seed, "test", np.arange(count), 4, 12) < chance
    return Coded(torch.from_numpy(spikes.astype(np.uint8)), torch.from_numpy(labels))


TRAIN, TEST = drawn(40), drawn(30, seed=1)


@pytest.mark.parametrize("name", learning.OPTIMIZERS)
def test_without_delays_it_is_plain_training_to_the_bit(name):
    stack, losses = layers(TINY, seed=3), []
    parameters = [p for layer in stack for p in layer.parameters()]
    optimizer = learning.OPTIMIZERS[name](parameters, 0.02)
    for epoch in range(3):
        order = permutation(3, "shuffle", 40, trial=epoch)
        losses = []
        for start in (0, 16, 32):
            index = torch.from_numpy(order[start : start + 16])
            x = TRAIN.spikes[:, index].float()
            optimizer.zero_grad()
            for layer in stack:
                x = layer(x)
            loss = cross_entropy(x, TRAIN.labels[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    right = (logits(stack, TEST.spikes.float()).argmax(1) == TEST.labels).float().mean()
    found = fit(TINY, TRAIN, TEST, Way((0, 0, 0), name), 0.02, 3, Course(3))
    assert found == Outcome(pytest.approx(100 * right.item()), np.mean(losses), False)
    assert found != fit(TINY, TRAIN, TEST, Way((4, 2, 0), name), 0.02, 3, Course(3))


def test_the_reference_backend_trains_to_the_same():
    compiled, steps = (
        fit(TINY, TRAIN, TEST, LATE, 0.05, 0, Course(2, 16, b)) for b in ("cpu", "reference")
    )
    assert steps.accuracy == pytest.approx(compiled.accuracy, abs=1)
    assert steps.loss == pytest.approx(compiled.loss, rel=1e-4)


def test_it_learns_and_repeats():
    course = Course(12)
    found = [fit(TINY, TRAIN, TEST, EXACT, 0.1, 0, course) for _ in range(2)]
    assert found[0] == found[1] and found[0].accuracy > 60
    assert fit(TINY, TRAIN, TEST, EXACT, 0.1, 1, course).loss != found[0].loss


def test_divergence_is_chance_and_is_recorded(monkeypatch):
    found = fit(TINY, TRAIN, TEST, LATE, 1e38, 0, Course(2))
    assert found.diverged and found.accuracy == 25 and np.isnan(found.loss)
    chosen = tune(TINY, TRAIN, EXACT, [1e38, 0.1], [7, 8], Course(12))
    assert chosen.rate == 0.1 and chosen.diverged.tolist() == [0, 2]
    assert chosen.accuracy[1] == 25 and chosen.accuracy[0] > 25
    # In the last update, which no loss follows.
    monkeypatch.setattr(learning, "logits", lambda stack, x: torch.full((x.shape[1], 4), np.inf))
    assert fit(TINY, TRAIN, TEST, EXACT, 0.1, 0, Course(1)).diverged


def test_tuning_sees_neither_the_test_set_nor_the_reported_seeds(monkeypatch):
    seen = []

    def spy(network, train, test, way, rate, seed, course):
        seen.append((train, test, rate, seed))
        return Outcome(50.0 + rate, 1.0, False)

    monkeypatch.setattr(learning, "fit", spy)
    train_ways(TINY, TRAIN, TEST, [EXACT], RATES, [0, 1], [5, 6], Course())
    tuning, final = seen[:4], seen[4:]
    mine, theirs = held_back(40)
    assert sorted([*mine, *theirs]) == list(range(40)) and len(theirs) == 8
    for train, test, _, _ in tuning:
        assert torch.equal(train.spikes, TRAIN.spikes[:, mine])
        assert torch.equal(test.spikes, TRAIN.spikes[:, theirs])
    assert [row[2:] for row in tuning] == [(r, s) for r in (0.02, 0.1) for s in (5, 6)]
    assert [row[2:] for row in final] == [(0.1, 0), (0.1, 1)]
    assert all(train is TRAIN and test is TEST for train, test, _, _ in final)


def test_every_way_gets_a_rate_of_its_own(monkeypatch):
    best = {EXACT: 0.1, LATE: 0.02, Way((4, 2, 0), "SGD", "newest"): 0.05}
    monkeypatch.setattr(learning, "fit", lambda *a: Outcome(-abs(a[4] - best[a[3]]), 0.0, False))
    rates = {"SGD": [0.1, 0.02, 0.05]}
    found = train_ways(TINY, TRAIN, TEST, [*best, EXACT], rates, [0], [9], Course())
    assert {way: chosen.rate for way, (chosen, _) in found.items()} == best
    # Of equals the smallest.
    monkeypatch.setattr(learning, "fit", lambda *a: Outcome(30.0, 0.0, False))
    assert tune(TINY, TRAIN, EXACT, [0.1, 0.02], [9], Course()).rate == 0.02


def test_delays_are_those_of_the_sheet():
    assert delays_of("mlp3", 3, [1, 0, 0]) == {
        "exact": (0, 0, 0),
        "PipeDream K-k": (2, 1, 0),
        "grouped 2(K-k)": (4, 2, 0),
        "per-layer 2(L-l)": (4, 2, 0),
        LEAST: (1, 0, 0),
    }
    found = delays_of("vgg8/8", 4, [2, 2, 2, 1, 1, 0, 0, 0])
    # Several partitions into four stages are equally good; the sheet's 12 and 24 are those of 2, 2, 2, 2.
    assert [sum(d) for d in found.values()] == [0, 11, 22, 56, 8]
    assert LEAST not in delays_of("amr4", 3)
    assert list(delays_of("amr4/4", 3, [2, 1, 0, 0], [LEAST, "exact"])) == [LEAST, "exact"]


def test_refusals():
    course = Course()
    one = TRAIN.subset([0])
    for call in (
        lambda: Course(0),
        lambda: Course(1, 0),
        lambda: Course(backend="ipu"),
        lambda: fit(TINY, TRAIN, TEST, Way((0, 0, 0), "AdaGrad"), 0.1, 0, course),
        lambda: fit(TINY, TRAIN, TEST, EXACT, 0.0, 0, course),
        lambda: fit(TINY, TRAIN, TEST.subset([]), EXACT, 0.1, 0, course),
        lambda: fit(TINY, TRAIN, TEST, Way((0, 0)), 0.1, 0, course),
        lambda: tune(TINY, one, EXACT, [0.1], [9], course),
        lambda: tune(TINY, TRAIN, EXACT, [], [9], course),
        lambda: tune(TINY, TRAIN, EXACT, [0.1], [], course),
        lambda: train_ways(TINY, TRAIN, TEST, [], RATES, [0], [9], course),
        lambda: train_ways(TINY, TRAIN, TEST, [EXACT], RATES, [], [9], course),
        lambda: train_ways(TINY, TRAIN, TEST, [EXACT], RATES, [0], [0], course),
        lambda: train_ways(TINY, TRAIN, TEST, [EXACT], {"Adam": [0.1]}, [0], [9], course),
        lambda: delays_of("mlp3", 3, [1, 0]),
        lambda: delays_of("mlp3", 3, arms=[LEAST]),
        lambda: delays_of("mlp9", 3),
        lambda: of_size("amr4/0"),
        lambda: of_size("amr4/x"),
        lambda: of_size("mlp3", -1),
        lambda: fitting("amr4/4", ["digits"]),
    ):
        with pytest.raises(ReaderError):
            call()


def test_one_sample_trains_and_one_is_held_back():
    assert [len(part) for part in held_back(2)] == [1, 1]
    found = fit(TINY, TRAIN.subset([0]), TEST.subset([0]), EXACT, 0.1, 0, Course(1))
    assert found.accuracy in (0, 100) and np.isfinite(found.loss)


SMALL = "mlp3/64"


@pytest.fixture(scope="module")
def data():
    return {SMALL: (source("digits", "train", 60), source("digits", "test", 20))}


def run(data, networks=(SMALL,), rates=None, seeds=(0, 1), **options):
    rates = rates or {"SGD": [0.02, 0.1], "Adam": [0.01]}
    least = {name: [1, 0, 0] for name in networks}
    given = {"processors": 3, "tuning_seeds": [9], "course": Course(1)}
    given |= {"steps": dict.fromkeys(networks, 3)} | options
    return experiment(networks, data, least, rates=rates, seeds=seeds, **given)


@pytest.fixture(scope="module")
def results(data):
    return run(data, version_networks=[SMALL])


def test_the_dataset_is_whole_and_repeats(data, results, tmp_path):
    check(results, results.attrs)
    assert "method" not in results.dims
    files = [tmp_path / f"{k}.nc" for k in range(2)]
    write(results, files[0])
    write(run(data, version_networks=[SMALL]), files[1])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert results.sizes == {
        "network": 1, "optimizer": 2, "arm": 5, "seed": 2, "rate": 2, "layer": 8,
        "version_network": 1, "version": 3,
    }  # fmt: skip
    assert results.steps.values.tolist() == [3] and results.own_steps.values.tolist() == [20]
    assert "".join(map(str, results.arm.values)).count(",") == 0


def test_equal_delays_are_one_training(results):
    grouped = results.sel(arm="grouped 2(K-k)", drop=True)
    per_layer = results.sel(arm="per-layer 2(L-l)", drop=True)
    assert grouped.test_accuracy.equals(per_layer.test_accuracy)
    stash = results.version_test_accuracy.sel(version="stash", version_network=SMALL)
    np.testing.assert_array_equal(stash, per_layer.test_accuracy.sel(network=SMALL))
    # One rate only for Adam.
    assert np.isnan(results.validation_accuracy.sel(optimizer="Adam", rate=2)).all()
    assert results.tried_rate.sel(optimizer="Adam").values[0] == 0.01


def test_jobs_of_one_optimizer_each_fit_together(data):
    rates = {"SGD": [0.02, 0.1], "Adam": [0.01, 0.02]}
    parts = [run(data, rates={name: rates[name]}, seeds=[0]) for name in rates]
    joined = xr.concat(
        parts, "optimizer", data_vars="minimal", coords="minimal", compat="equals", join="exact"
    )
    assert joined.equals(run(data, rates=rates, seeds=[0]))


def test_divergence_reaches_the_dataset(data):
    found = run(data, rates={"SGD": [1e38]}, seeds=[0], arms=["exact", LEAST])
    assert (found.diverged == 1).all() and (found.test_accuracy == 10).all()
    assert (found.tuning_diverged == 1).all() and (found.chance == 10).all()
    lost = degradation(found)
    assert (lost.degradation == 0).all() and np.isnan(lost.low).all()
    accuracy(found)


def test_networks_of_other_depths_stand_side_by_side(data):
    both = {
        **data,
        "amr4/16": (source("modulation", "train", 22), source("modulation", "test", 11)),
    }
    least = {SMALL: [1, 0, 0], "amr4/16": [2, 1, 0, 0]}
    found = experiment(
        list(both), both, least, processors=3, rates={"Adam": [0.01]}, seeds=[0, 1],
        tuning_seeds=[9], course=Course(1), steps={SMALL: 3, "amr4/16": 4},
    )  # fmt: skip
    check(found, found.attrs)
    assert found.delays.sel(network=SMALL, arm=LEAST).values.tolist()[:3] == [1, 0, 0]
    assert np.isnan(found.delays.sel(network=SMALL, layer=4)).all()
    assert found.delays.sel(network="amr4/16", arm=LEAST).values.tolist()[:4] == [2, 1, 0, 0]
    assert found.chance.values.tolist() == [10, pytest.approx(100 / 11)]
    with pytest.raises(ReaderError):
        experiment(
            ["mlp3"], both, least, processors=3, rates=RATES, seeds=[0], tuning_seeds=[9],
            course=Course(),
        )  # fmt: skip
    accuracy(found)


def test_degradation_is_paired_over_seeds(results):
    made = results.copy(deep=True)
    made["test_accuracy"][:] = 90.0
    made["test_accuracy"].loc[{"seed": 1}] = 80.0
    made["test_accuracy"].loc[{"arm": LEAST}] = [[[85.0, 77.0]] * 2]
    found = degradation(made).sel(network=SMALL, optimizer="SGD")
    assert float(found.degradation.sel(arm="exact")) == 0
    late = found.sel(arm=LEAST)
    assert float(late.degradation) == 4 and late.degradation.attrs["units"] == "percentage points"
    # Student's t of one degree of freedom, deviation sqrt(2) over sqrt(2) seeds.
    assert float(late.high) == pytest.approx(4 + 12.7062)
    assert float(late.low) == pytest.approx(4 - 12.7062)
    with pytest.raises(ReaderError):
        degradation(made.sel(arm=[LEAST]))


def test_figures(results):
    fig = accuracy(results)
    assert len(fig.axes) == 2 and fig.axes[0].get_title("left") == f"{SMALL}, T = 3"
    assert len(weight_versions(results).axes) == 1
    accuracy(results.sel(arm=[LEAST], optimizer=["SGD"]))


def test_images_are_rate_coded():
    data, network = source("digits", "train", 20), of_size("mlp3", 50)
    found = coded(data, network)
    assert found.spikes.shape == (50, 20, 784) and found.spikes.dtype == torch.uint8
    rate = found.spikes.float().mean(0).numpy()
    bright = data.images.reshape(20, 784) / 255
    assert rate[bright == 0].max() == 0
    assert rate[bright > 0.99].mean() == pytest.approx(0.5, abs=0.01)
    # The first samples of a code do not depend on those after them.
    assert torch.equal(coded(data.subset(range(5)), network).spikes, found.spikes[:, :5])


def test_merged_steps_are_those_merged():
    data = source("modulation", "train", 13)
    whole, merged = coded(data, of_size("amr4")), coded(data, of_size("amr4/4", 16))
    assert whole.spikes.shape == (64, 13, 1, 16, 16)
    assert torch.equal(whole.spikes.unflatten(0, (16, 4)).amax(1), merged.spikes)
    first = modulation.generate("train", 1).units[:16]
    assert sorted(set(first)) == whole.spikes[0, 0].flatten().nonzero()[:, 0].tolist()
    with pytest.raises(ReaderError):
        coded(data, of_size("amr4", 10))
    with pytest.raises(ReaderError):
        coded(data, of_size("mlp3"))


def test_events_are_cropped_and_pooled():
    data, network = source("blobs", "train", 11), of_size("vgg8/64")
    found = coded(data, network)
    assert found.spikes.shape == (10, 11, 2, 32, 32)
    assert 0.02 < found.spikes.float().mean() < 0.3
    # The pixel (y, x) of 34 x 34 at (y - 1, x - 1), "on" in the second plane.
    times, units = data.times[: data.offsets[1]], data.units[: data.offsets[1]]
    late = units[times >= 0.91 * times[-1]]
    y, x = np.divmod(late % (34 * 34), 34)
    inside = (y > 0) & (y < 33) & (x > 0) & (x < 33)
    assert found.spikes[9, 0, late[inside] // (34 * 34), y[inside] - 1, x[inside] - 1].all()


def test_vgg8_runs_on_events():
    network = of_size("vgg8/64", 2)
    data = coded(source("blobs", "train", 4), network)
    way = Way((2, 2, 2, 1, 1, 0, 0, 0), "Adam")
    assert not fit(network, data, data, way, 1e-3, 0, Course(1, 2)).diverged
