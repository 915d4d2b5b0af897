"""The e-prop paper's experiments: training, GeNN's way, sparse networks, timed steps, inference, tests."""

import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from paraspike import training
from paraspike.datasets import load, load_images, load_sequential
from paraspike.errors import ReaderError
from paraspike.evaluation import evaluate
from paraspike.learning.eprop import EveryStep
from paraspike.papers import eprop_steps, eprop_times
from paraspike.papers.eprop import ARMS, EVENTPROP, GENN, network
from paraspike.papers.eprop_experiments import AsGeNN, fit, settings
from paraspike.papers.eprop_inference import LSNN, OTHER, Inference
from paraspike.papers.eprop_lstm import LSTM, accuracy
from paraspike.papers.eprop_significance import PAIRS, SOURCES
from paraspike.papers.eprop_significance import tests as significance
from paraspike.papers.eprop_sparse import KINDS, fit_sparse, sparse_network
from paraspike.papers.eprop_times import METHODS, Task, peaks, side_by_side, step_of
from paraspike.randomness import permutation
from paraspike.training import Settings, Trainee, make_batch, train_together

# As in test_eprop.py: without refractory steps, so that one form of the neuron is compiled.
DT, HIDDEN = 0.02, 12
HOW = {"dt": DT, "epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "baseline_rate": 5e-3}
ALIF = ("eProp ALIF", "recurrent", HIDDEN)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARASPIKE_PROGRESS", "0")
        yield


@pytest.fixture(scope="module")
def data():
    return load("cochlea", "train", samples=40), load("cochlea", "test", samples=24)


def arrays_equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# Training


@pytest.fixture(scope="module")
def trained(data):
    return fit([ALIF], *data, seeds=(5, 2), backend="cpu", **HOW)[ALIF]


def test_seeds_train_and_test_the_same_alone_and_together(data, trained):
    for i, seed in enumerate((5, 2)):
        alone = fit([ALIF], *data, seeds=(seed,), backend="cpu", **HOW)[ALIF]
        for name, array in alone.network.arrays().items():
            assert np.array_equal(trained.network.arrays()[name][i : i + 1], array), name
        assert alone.evaluation.accuracy[0] == trained.evaluation.accuracy[i]
        assert np.array_equal(alone.evaluation.readout[0], trained.evaluation.readout[i])
        assert np.array_equal(alone.history.loss[0], trained.history.loss[i])
    assert trained.history.loss.shape == (2, 2) and np.isfinite(trained.history.loss).all()


def test_arms_come_back_under_their_keys_each_trained_in_its_way(data, trained):
    keys = [
        ("BPTT LIF", "recurrent", 10),
        (GENN, "recurrent", 8),
        ALIF,
        (EVENTPROP, "recurrent", 8),
    ]
    found = fit(keys, *data, seeds=(5, 2), baseline_epochs=1, **HOW)
    assert list(found) == keys
    assert arrays_equal(found[ALIF].network.arrays(), trained.network.arrays())
    assert [arm.history.loss.shape for arm in found.values()] == [(2, 1), (2, 2), (2, 2), (2, 2)]
    for key, arm in found.items():
        dataset = arm.dataset()
        assert dataset.sizes["seed"] == 2 and list(dataset.seed) == [5, 2]
        assert np.isfinite(dataset[["loss", "train_accuracy", "test_accuracy"]].to_array()).all()
        assert dataset.test_accuracy.max() <= 100 and arm.network.seeds == (5, 2), key
        assert any(w.ndim == 3 for w in arm.weights("a").values())


def test_eventprop_returns_what_the_others_do(data):
    key = (EVENTPROP, "feedforward", 8)
    arm = fit([key], *data, seeds=(3,), **HOW)[key]
    assert arm.history.loss[0, 1] < arm.history.loss[0, 0]
    assert arm.history.spikes_per_ms.shape == (1, 2) and (arm.history.spikes_per_ms > 0).all()
    again = fit([key], *data, seeds=(3,), **HOW)[key]
    assert np.array_equal(arm.history.loss, again.history.loss)
    assert arm.evaluation.accuracy == again.evaluation.accuracy


def test_training_that_was_broken_off_goes_on_with_the_same_bits(
    data, trained, tmp_path, monkeypatch
):
    save = training.checkpoints.save

    def save_then_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training.checkpoints, "save", save_then_stop)
    options = HOW | {"seeds": (5, 2), "backend": "cpu", "checkpoints": tmp_path / "kept"}
    with pytest.raises(KeyboardInterrupt):
        fit([ALIF], *data, **options)
    monkeypatch.setattr(training.checkpoints, "save", save)
    steps, step = [], training.bptt.step
    monkeypatch.setattr(training.bptt, "step", lambda *a, **k: (steps.append(1), step(*a, **k))[1])
    resumed = fit([ALIF], *data, **options)[ALIF]
    assert len(steps) == 3, "one epoch of three batches is left"
    assert arrays_equal(resumed.network.arrays(), trained.network.arrays())
    assert np.array_equal(resumed.history.loss, trained.history.loss)
    assert np.array_equal(resumed.evaluation.readout, trained.evaluation.readout)
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["eProp ALIF recurrent 12.pt"]


def test_what_is_attached_steps_after_every_update(data):
    train = data[0]
    seen = []

    class Watcher:
        def __init__(self, weight):
            self.weight = weight

        def step(self):
            seen.append(self.weight.detach().clone())

    for watch in (True, False):
        net = network(*ALIF, train.n_units, train.n_classes, DT, backend="cpu")
        arm = Trainee(net, settings("eProp ALIF", **HOW))
        if watch:
            arm.attach(Watcher(net.layers[0].weight))
        train_together([arm], train)
    assert len(seen) == 2 * 3 and torch.equal(seen[-1], net.layers[0].weight)
    assert not any(torch.equal(a, b) for a, b in zip(seen, seen[1:], strict=False))


# As GeNN trains


def as_genn(data, recurrent=True, seeds=(5, 2), epochs=1):
    return AsGeNN(data, HIDDEN, recurrent, seeds, settings(GENN, **HOW | {"epochs": epochs}))


def batch_of(data, seeds, size=16, start=0):
    index = np.arange(start, start + size)
    flat, owner = np.tile(index, len(seeds)), np.repeat(seeds, size)
    return make_batch(data, flat, owner, DT), torch.from_numpy(data.labels[flat])


def test_genns_state_outlives_a_batch(data):
    arm = as_genn(data[0])
    assert arm.network.layers[-1].n_out == 32, "a power of two above 20 classes"
    x, labels = batch_of(data[0], (5, 2))
    first, second = (arm.listen(x, labels, learn=False) for _ in range(2))
    for s in range(2):
        assert first[s][0] != second[s][0]
        arm.streams[s].reset()
    again = arm.listen(x, labels, learn=False)
    assert [f[0] for f in again] == [f[0] for f in first]
    assert all(not total.any() for stream in arm.streams for total in stream.totals)


def test_genns_state_does_not_care_about_pieces(data):
    found = []
    for chunk in (7, 50):
        arm = AsGeNN(data[0], HIDDEN, True, (5, 2), settings(GENN, **HOW), chunk=chunk)
        arm.begin()
        arm.step(*batch_of(data[0], (5, 2)), None, 0)
        arm.step(*batch_of(data[0], (5, 2), start=16), None, 1)
        found.append(arm.sums["loss"])
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("recurrent", [True, False])
def test_genn_learns_from_full_batches_alone(data, recurrent):
    arm = as_genn(data[0], recurrent)
    arm.begin()
    start = arm.network.arrays()
    assert ("layers.0.recurrent_weight" in start) == recurrent
    arm.step(*batch_of(data[0], (5, 2), size=9), None, 0)
    assert arrays_equal(arm.network.arrays(), start) and arm.sums["loss"] == 0
    arm.step(*batch_of(data[0], (5, 2)), None, 1)
    for name, array in arm.network.arrays().items():
        for s in range(2):
            assert not np.array_equal(array[s], start[name][s]), name
    assert np.isfinite(arm.sums["loss"]).all() and (arm.sums["loss"] > 0).all()


def test_genns_history_is_a_mean_over_the_samples_it_took(data):
    train = data[0]
    whole, rest = as_genn(train), as_genn(train.subset(np.arange(32)))
    for arm, samples in ((whole, 40), (rest, 32)):
        arm.begin()
        for batch in range(2):
            arm.step(*batch_of(train, (5, 2), start=16 * batch), None, batch)
        arm.end(samples)
    np.testing.assert_allclose(whole.history.loss, rest.history.loss)
    np.testing.assert_allclose(whole.history.train_accuracy, rest.history.train_accuracy)


def test_genn_is_tested_on_every_recording_with_running_state(data):
    arm, (train, test) = as_genn(data[0], seeds=(5,)), data
    before = arm.network.arrays()
    found = arm.test(test)
    assert arrays_equal(arm.network.arrays(), before)
    fresh, hits = as_genn(train, seeds=(5,)), []
    for start in range(0, len(test), 16):
        index = np.arange(start, start + 16) % len(test)
        x = make_batch(test, index, np.full(16, 5), DT)
        right = fresh.listen(x, torch.from_numpy(test.labels[index]), learn=False)[0][1]
        hits += right[: len(test) - start].tolist()
    assert len(hits) == len(test)
    assert found.accuracy == pytest.approx(100 * np.mean(hits))


def test_genn_needs_a_full_batch(data):
    with pytest.raises(ReaderError, match="15 recordings make no batch of 16"):
        as_genn(data[0].subset(np.arange(15)))


def test_a_seed_trains_the_same_alone_and_among_others_as_genn_does(data):
    key, found = (GENN, "recurrent", HIDDEN), []
    for seeds in ((5, 2), (2,)):
        found.append(fit([key], *data, seeds=seeds, **HOW)[key])
    for name, array in found[1].network.arrays().items():
        assert np.array_equal(found[0].network.arrays()[name][1:], array), name
    assert found[0].evaluation.accuracy[1] == found[1].evaluation.accuracy[0]


# Sparse networks


@pytest.fixture(scope="module")
def sparse(data):
    keys = [(kind, 0.1, 0.25) for kind in KINDS]
    how = {k: v for k, v in HOW.items() if k != "baseline_rate"} | {"learning_rate": 0.02}
    return fit_sparse(keys, *data, hidden=16, seeds=(5, 2), backend="cpu", **how)


def start_of(kind):
    made = sparse_network(kind, 700, 16, 20, DT, 0.1, 0.25, (5, 2), "cpu")
    return {name: value.numpy() for name, value in made.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_connections_keep_their_number_while_they_learn(sparse, kind):
    arm = sparse[kind, 0.1, 0.25]
    state, start = arm.network.arrays(), start_of(kind)
    for what, mask, count in (("weight", "mask", 1120), ("recurrent_weight", "recurrent_mask", 64)):
        weight, mask = state[f"layers.0.{what}"], f"layers.0.{mask}"
        assert list(state[mask].sum((1, 2))) == [count, count]
        assert not weight[~state[mask]].any()
        assert not np.array_equal(state[mask][0], state[mask][1])
        assert np.array_equal(state[mask], start[mask]) == (kind == "fixed")
        assert not np.array_equal(weight, start[f"layers.0.{what}"])
    assert state["layers.1.weight"].all() and arm.evaluation.accuracy.shape == (2,)


def test_four_fifths_of_the_neurons_excite(sparse):
    layer = sparse["Deep-R 80/20", 0.1, 0.25].network.layers[0]
    for what, rows in (("weight", 700), ("recurrent_weight", 16)):
        for weight, seed in zip(getattr(layer, what).detach(), (5, 2), strict=True):
            order = permutation(seed, f"signs/{layer.name}/{what}", rows)
            excites, inhibits = np.split(order, [round(0.8 * rows)])
            assert (weight[excites] >= 0).all() and (weight[inhibits] <= 0).all()
            assert (weight[excites] > 0).any() and (weight[inhibits] < 0).any()


def test_rewiring_that_was_broken_off_goes_on_with_the_same_bits(
    data, sparse, tmp_path, monkeypatch
):
    save, key = training.checkpoints.save, ("Deep-R 80/20", 0.1, 0.25)

    def save_then_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    how = {k: v for k, v in HOW.items() if k != "baseline_rate"} | {"learning_rate": 0.02}
    how |= {"hidden": 16, "seeds": (5, 2), "backend": "cpu", "checkpoints": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(training.checkpoints, "save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            fit_sparse([key], *data, **how)
    assert len(list(tmp_path.iterdir())) == 1
    resumed = fit_sparse([key], *data, **how)[key]
    assert arrays_equal(resumed.network.arrays(), sparse[key].network.arrays())
    assert np.array_equal(resumed.history.loss, sparse[key].history.loss)


def test_an_unknown_kind_or_density_is_refused():
    with pytest.raises(ReaderError, match="kind 'Deep-R' is unknown"):
        sparse_network("Deep-R", 20, 6, 3, DT, 0.1, 0.1, (0,))
    with pytest.raises(ReaderError, match="density 1.5"):
        sparse_network("fixed", 20, 6, 3, DT, 1.5, 0.1, (0,))


# Timed steps

TASK = Task(hidden=16, steps=30, batch=3, dt=DT, n_in=60, n_out=5, density=0.25)


def weights_of(step):
    held = inspect.getclosurevars(step).nonlocals
    if "weights" in held:
        return [w.detach().clone() for w in held["weights"]]
    model = held.get("made", held.get("model"))
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("method", METHODS)
def test_every_step_trains_and_trains_on(method):
    # Loud, so that sparse networks fire, too.
    step = step_of(method, replace(TASK, batch=8, density=0.4))
    seen = [weights_of(step)]
    for _ in range(2):
        step()
        seen.append(weights_of(step))
    for before, after in zip(seen, seen[1:], strict=False):
        for a, b in zip(before, after, strict=True):
            assert torch.isfinite(b).all() and not torch.equal(a, b)


def test_methods_of_one_rule_take_the_same_step():
    """Two forms of the baseline from the same weights; two forms of e-prop, bit by bit or nearly."""
    for pair in (("BPTT as published", "BPTT fair"), ("eProp online", "eProp chunked")):
        ends = []
        for method in pair:
            step = step_of(method, TASK)
            step()
            ends.append(weights_of(step))
        for a, b in zip(*ends, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


def test_streams_and_networks_take_the_same_step():
    """One piece of a stream is the whole input, so that all see the same."""
    ends = []
    for method in ("eProp online", "eProp factorised"):
        step = step_of(method, TASK)
        step()
        ends.append({tuple(w.squeeze().shape): w.squeeze() for w in weights_of(step)})
    assert TASK.steps <= eprop_steps.CHUNK["online"] and ends[0].keys() == ends[1].keys()
    for shape, weight in ends[0].items():
        near = (weight - ends[1][shape]).abs() < 1e-4
        # Adam's first step is a sign, which is open where a gradient is all but zero.
        assert near.double().mean() > 0.98, shape


def test_input_is_the_same_whoever_asks():
    assert torch.equal(TASK.piece(3, 7), replace(TASK, hidden=99).piece(3, 7))
    assert not torch.equal(TASK.piece(3, 7), TASK.piece(4, 7))
    assert not torch.equal(TASK.piece(3, 7), replace(TASK, seed=1).piece(3, 7))
    large = replace(TASK, n_in=700, density=0.015).piece(0, 300)
    assert large.shape == (300, 3, 700) and 0.013 < float(large.mean()) < 0.017
    assert TASK.labels.tolist() == [0, 1, 2]


def test_an_unknown_method_is_refused():
    with pytest.raises(ReaderError, match="method 'BPTT' is unknown"):
        step_of("BPTT", TASK)


def test_methods_are_timed_in_turn(monkeypatch):
    order = []
    fake = lambda method, task, _: lambda: order.append((method, task.steps))  # noqa: E731
    monkeypatch.setattr(eprop_times, "step_of", fake)
    pair = ("BPTT fair", "eProp online")
    seconds, others = side_by_side(pair, [TASK, replace(TASK, steps=60)], 2)
    assert seconds.shape == (2, 2, 2) and np.isfinite(seconds).all() and others.shape == (2,)
    assert order == [(m, t) for t in (30, 60) for _ in range(3) for m in pair]
    del order[:]
    found = eprop_times.alone("BPTT fair", TASK, 3, 4)
    assert found.seconds.shape == (3,) and len(order) == 4 * 4


class Pretended:
    """A step of so many time steps that does nothing."""

    def __init__(self, method, task, backend="auto", ahead=True):
        self.steps = task.steps

    def __call__(self):
        pass


@pytest.fixture
def fake_peaks(monkeypatch):
    """Each step has the peak that `of` gives for its length; gives back which ones were measured."""

    def use(of):
        run = []
        monkeypatch.setattr(eprop_times, "step_of", Pretended)
        monkeypatch.setattr(
            eprop_times, "peak_memory", lambda step, *_: (run.append(step.steps), of(step.steps))[1]
        )
        return run

    return use


def once(values):
    """In order, without what is measured several times in a row."""
    return list(dict.fromkeys(values))


def lengths(*steps):
    return [replace(TASK, steps=t) for t in steps]


def test_what_would_not_fit_the_budget_is_not_run(fake_peaks):
    run = fake_peaks(lambda steps: 0.5 * steps)
    measured, expected = peaks("BPTT fair", lengths(10, 20, 100, 1000), budget=40)
    # What is expected over the budget but below twice as much is run, for it may be less.
    np.testing.assert_array_equal(measured, [5, 10, 50, np.nan])
    assert expected == [5, 10, 50, 500] and once(run) == [10, 20, 100]


def test_after_a_peak_over_the_budget_no_longer_one_is_run(fake_peaks):
    run = fake_peaks(lambda steps: float(steps))
    measured, expected = peaks("BPTT fair", lengths(10, 20, 100), budget=5)
    np.testing.assert_array_equal(measured, [10, np.nan, np.nan])
    assert expected == [10, 20, 100] and once(run) == [10]


@pytest.mark.parametrize("method", ["eProp online", "eProp chunked"])
def test_streams_are_run_whatever_their_length(fake_peaks, method):
    run = fake_peaks(lambda steps: 8.0)
    measured, expected = peaks(method, lengths(10, 100, 10000), budget=9)
    assert measured == expected == [8, 8, 8] and once(run) == [10, 100, 10000]


def measured_peaks(method, task, *steps):
    """MiB, after a step that is not counted."""
    tasks = [replace(task, steps=t) for t in (steps[0] // 10, *steps)]
    return peaks(method, tasks, np.inf)[0][1:]


ONLINE = """
from dataclasses import replace
from paraspike.measure import peak_memory
from paraspike.papers.eprop_steps import Task, step_of
task = Task(hidden=600, steps=0, batch=1, dt=0.02, n_in=60)
for method in ("eProp online", "eProp chunked"):
    step_of(method, replace(task, steps=100), ahead=False)()
    for steps in (1000, 10000):
        print(min(peak_memory(step_of(method, replace(task, steps=steps), ahead=False)) for _ in range(3)))
"""


def test_ten_times_the_steps_need_the_same_memory_online():
    """In a process whose allocator gives every large block back, or what it keeps would be noise; the least
    of three, for pages that others touch first only add, while what grows with the steps is in all."""
    child = subprocess.run(
        [sys.executable, "-c", ONLINE],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = [float(line) for line in child.stdout.split()]
    assert min(peaks) > 5
    for short, long in (peaks[:2], peaks[2:]):
        assert long == pytest.approx(short, rel=0.05)


@pytest.mark.parametrize("method", ["eProp online", "eProp chunked"])
def test_a_peak_counts_what_a_step_leaves_behind(method):
    """Traces and moments of the call before must not pass for what was there anyway."""
    # Traces of 6.6 MiB, gradients of 3.3, moments of 6.6.
    task = Task(hidden=900, steps=200, batch=1, dt=DT, n_in=60)
    (found,), _ = peaks(method, [task], np.inf)
    assert found > 12


def test_ten_times_the_steps_need_ten_times_the_memory_for_bptt():
    task = replace(TASK, batch=32, hidden=48, n_in=100)
    short, long = measured_peaks("BPTT fair", task, 100, 1000)
    # Weights and moments do not grow, and what the allocator holds in vain is not the same twice.
    assert 7 < long / short < 15


# Inference

SIDE = 7


@pytest.fixture(scope="module")
def weights():
    made = network("eProp ALIF", "recurrent", HIDDEN, 79, 10, DT, seeds=(3,))
    found = {f"{LSNN}/{name}": array for name, array in made.arrays().items()}
    lstm = LSTM(0, SIDE, hidden=8)
    return found | {f"{OTHER}/{name}": array for name, array in lstm.weights().items()}


@pytest.fixture(scope="module")
def inference(weights):
    return Inference(weights, "digits", side=SIDE, dt=DT, device="cpu")


def test_accuracy_is_that_of_the_experiments(inference, weights):
    data = load_sequential("digits", "test", side=SIDE, resolution=DT)
    made = network("eProp ALIF", "recurrent", HIDDEN, data.n_units, data.n_classes, DT, seeds=(0,))
    made.load_arrays({k.removeprefix("LSNN/"): v for k, v in weights.items() if LSNN in k})
    wanted = evaluate(made, data, Settings(dt=DT, objective=EveryStep()))
    assert len(np.unique(wanted.predicted)) > 1
    for batch in (256, 100):
        assert inference.accuracy(LSNN, batch) == pytest.approx(wanted.accuracy[0])
    found = inference.prepare(LSNN, len(data))().numpy()
    assert np.array_equal(found, wanted.predicted[0])


def test_accuracy_of_the_lstm_is_its_modules(inference, weights):
    lstm = LSTM.from_weights({k.removeprefix("LSTM/"): v for k, v in weights.items() if OTHER in k})
    images = load_images("digits", "test")
    assert inference.accuracy(OTHER) == pytest.approx(accuracy(lstm, images))


@pytest.mark.parametrize("model", [LSNN, OTHER])
def test_more_images_than_there_are_come_round_again(inference, model):
    n = len(inference.events)
    found = inference.prepare(model, n + 30)()
    assert found.shape == (n + 30,) and torch.equal(found[:30], found[n:])
    assert inference.prepare(model, 1)().shape == (1,)


def test_latency_is_of_one_batch(inference, monkeypatch):
    calls = []
    monkeypatch.setattr(inference, "prepare", lambda model, batch: lambda: calls.append(batch))
    found = inference.latency(LSNN, 16, 3)
    assert found.seconds.shape == (3,) and len(calls) == 4 * 4
    inference.latency(LSNN, 800, 2)
    assert len(calls) == 4 * 4 + 3


def test_weights_of_another_name_or_form_are_refused(weights):
    how = {"side": SIDE, "dt": DT, "device": "cpu"}
    part = {k: v for k, v in weights.items() if k.startswith(LSNN)}
    with pytest.raises(ReaderError, match="weights of LSNN[\\s\\S]*LSTM/..."):
        Inference(part, "digits", **how)
    with pytest.raises(ReaderError, match="weights of SPSN"):
        Inference({"SPSN/a": np.zeros(2)}, "digits", **how)
    broken = weights | {f"{OTHER}/readout.weight": np.zeros((10, 9), np.float32)}
    with pytest.raises(ReaderError, match="not an LSTM's weights"):
        Inference(broken, "digits", **how)


# Significance


def results(seeds=3):
    rng = np.random.default_rng(0)
    arms, kinds, hidden = ["eProp ALIF", "BPTT LIF"], ["feedforward", "recurrent"], [32, 64, 256]
    values = 60 + rng.normal(size=(2, 2, 3, seeds))
    values[1, :, :2] = np.nan
    values[0, 1] += np.array([[0], [9], [9]])
    return xr.Dataset(
        {"test_accuracy": (("arm", "connectivity", "hidden", "seed"), values)},
        coords={"arm": arms, "connectivity": kinds, "hidden": hidden, "seed": range(seeds)},
    )


@pytest.mark.parametrize(
    "connectivity, wanted",
    [
        ("recurrent", [("-1.2", 0.18), ("-14.4", 0.002), ("+5.8", 0.0004), ("+2.0", 0.07)]),
        ("feedforward", [("-3.7", 0.0017), None, ("-0.2", 0.84), None]),
    ],
)
def test_the_published_tests_are_the_sheets(connectivity, wanted):
    column = significance(results(), connectivity)["published"]
    for cell, known in zip(column, wanted, strict=True):
        difference, p, corrected = re.fullmatch(r"(.*), p = (\S+) \((\S+)\)", cell).groups()
        assert float(corrected) >= float(p)
        if known:
            # The sheet rounds to one or two digits.
            assert difference == known[0] and float(p) == pytest.approx(known[1], rel=0.1)


def test_our_own_tests_stand_beside_them():
    data = results()
    table = significance(data, "recurrent")
    assert list(table.columns) == ["here", "published"]
    assert list(table.index) == [
        "eProp ALIF 256 - BPTT LIF 256",
        "eProp LIF 256 - BPTT LIF 256",
        "eProp ALIF 64 - eProp ALIF 32\n(published: 512 - 256)",
        "eProp ALIF 256 - eProp ALIF 64\n(published: 1024 - 512)",
    ]
    here = list(table["here"])
    assert here[1] == "not run"
    found = data.test_accuracy.sel(connectivity="recurrent")
    alif, bptt = found.sel(arm="eProp ALIF"), found.sel(arm="BPTT LIF")
    pairs = [
        (alif.sel(hidden=256), bptt.sel(hidden=256)),
        (alif.sel(hidden=64), alif.sel(hidden=32)),
        (alif.sel(hidden=256), alif.sel(hidden=64)),
    ]
    p = [float(stats.ttest_ind(a, b, equal_var=False).pvalue) for a, b in pairs]
    order = np.argsort(p)
    corrected = np.empty(3)
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.array([3, 2, 1]) * np.sort(p)))
    for cell, (a, b), chance, c in zip([here[0], *here[2:]], pairs, p, corrected, strict=True):
        assert cell == f"{float(a.mean() - b.mean()):+.1f}, p = {chance:.2g} ({c:.2g})"
    assert min(p) < 0.01 and max(p) > 0.05


def test_one_seed_makes_no_test():
    here = list(significance(results(seeds=1), "recurrent")["here"])
    assert [cell.split(", ")[-1] for cell in here] == ["no test", "not run", "no test", "no test"]


def test_a_size_that_is_not_there_was_not_run():
    here = significance(results().sel(hidden=[32, 64]), "feedforward")["here"]
    assert [cell == "not run" for cell in here] == [True, True, False, True]


def test_every_arm_of_the_tests_is_an_arm():
    assert set(SOURCES) <= set(ARMS) and {arm for pair in PAIRS for arm, _ in pair} == set(SOURCES)
