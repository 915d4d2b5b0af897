"""The task graph's three forms compute one thing; the model and the judges say what they should."""

import numpy as np
import pytest
import torch
import xarray as xr

from paraspike.claims import Claim
from paraspike.errors import ReaderError
from paraspike.papers import multithreading_causes as causes
from paraspike.papers import multithreading_claims as claims
from paraspike.papers import multithreading_cure as cure
from paraspike.papers import multithreading_published as published
from paraspike.papers import multithreading_tasks as tasks
from paraspike.papers.multithreading_crews import Serial, Stamp
from paraspike.spikes import Spikes


def test_compiled_layers_are_torchs():
    torch_layers, compiled = (
        kind(2, 50, 3, seed=1) for kind in (causes.TorchLayers, causes.CompiledLayers)
    )
    hands, fired = Serial(), 0
    for _ in range(40):
        hands.run(torch_layers.tasks())
        hands.run(compiled.tasks())
        for layer, (v, refractory, _, x, s) in zip(
            torch_layers.layers, compiled.state, strict=True
        ):
            assert np.array_equal(layer.s.numpy().ravel(), s)
            np.testing.assert_allclose(layer.v.numpy().ravel(), v, rtol=1e-5)
            np.testing.assert_allclose(layer.x.numpy().ravel(), x, rtol=1e-5)
            assert np.array_equal(layer.refractory.numpy().ravel(), refractory)
            fired += s.sum()
    assert fired > 100


def test_images_split_over_threads_give_what_steps_in_order_do():
    one, two = (causes.CompiledLayers(2, 30, 4) for _ in range(2))
    for _ in range(25):
        Serial().run(one.tasks())
    Serial().run(two.shares(3, 25))
    for a, b in zip(one.state, two.state, strict=True):
        for x, y in zip(a, b, strict=True):
            assert np.array_equal(x, y)


@pytest.mark.parametrize("form", causes.FORMS)
@pytest.mark.parametrize("threads", [0, 2])
def test_shares_are_times(form, threads):
    found = causes.shares(form, threads, 3, 40, 2, 4, 2)
    assert found.step > 0 and found.work > 0 and found.wait >= 0 and found.lock >= 0
    assert not found.ready < 0
    with pytest.raises(ReaderError, match="form"):
        causes.shares("fibres", 1, 1, 1, 1, 1, 1)


def test_break_even():
    work = np.array([1e-6, 1e-5, 1e-4])
    assert causes.break_even(work, np.array([0.5, 1.5, 1.9])) == pytest.approx(10**-5.5)
    assert causes.break_even(work, np.array([1.5, 1.6, 1.9])) == 0
    assert causes.break_even(work, np.array([0.5, 0.6, 0.9])) == np.inf


def test_engine_and_published_network_learn_the_same_from_one_presentation():
    raster = (torch.rand(20, 4, 60, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    lists = Spikes.from_lists(*Spikes.from_dense(raster).lists, raster.shape)
    entered = [
        (cure.ENGINE, 1),
        (cure.ENGINE, 2),
        (cure.ENGINE, 3),
        (cure.ALONE, 1),
        (cure.POOL, 2),
    ]
    race = cure.race(entered, lists, 0, 2)
    assert race.seconds.shape == (5, 2) and (race.seconds > 0).all() and 0 <= race.others <= 1
    prints = race.fingerprints
    assert prints[0] == prints[1] == prints[2]
    contestants = [cure.Contestant(*entry, lists) for entry in entered]
    for contestant in contestants:
        contestant.seconds()
    assert contestants[0].fingerprint() == prints[0]
    first = contestants[0].weights()
    assert not torch.equal(first[0], contestants[0].start[0])
    for other in contestants[3:]:
        for a, e in zip(first, other.weights(), strict=True):
            torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)


def test_the_model_is_amdahls_law():
    cores = np.array([1, 2, 64])
    fraction, rate = cure.predicted(np.array([[100.0, 100.0], [100 / 0.55, 250.0]]), cores)
    assert fraction == pytest.approx([0.9, 1.0])
    assert rate[0] == pytest.approx([100, 100 / 0.55, 100 / (0.1 + 0.9 / 64)])
    assert rate[1] == pytest.approx(100 * cores)
    assert cure.memory_limits(1e9, 1000, 320, 10, 32) == pytest.approx((2.5e7, 1e9 / (40 + 2500)))


def test_hardware_names_no_machine():
    table = cure.hardware()
    assert set(table) >= {"processor", "RAM", "GPU", "caches"} and all(table.values())


def test_a_tasks_times_add_up():
    stamps = [Stamp(1, "layers", i, 0.0, 0.1 * i, 0.1 * i + 0.05, 0.02) for i in range(4)]
    wait, run, total, service, work = tasks.summary(stamps, "layers")
    assert (wait, run, total) == pytest.approx((0.15, 0.05, 0.35))
    assert (service, work) == pytest.approx((0.35 / 4, 0.02))
    assert tasks.wait_by_position(stamps, "layers") == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(ReaderError, match="two or more"):
        tasks.chain(2, 3, 1, 1, 0)


def test_profiles_are_shares():
    images = np.full((3, 28, 28), 100, np.uint8)
    shares, calls = tasks.profiles(images, 2, 0)
    assert (
        shares.shape == (len(tasks.profiled()), 5)
        and shares.sum(1) == pytest.approx(1)
        and (shares > 0).all()
    )
    for facts in calls[:2]:
        assert 0 < facts["products"] < 1 and facts["calls"] > 100


def claim(published, **judge):
    row = {
        "id": "x",
        "paper": "multithreading",
        "figure": "1",
        "statement": "s",
        "quantity": "q",
        "unit": "1",
    }
    judge = {"method": "function", "name": "n"} | judge
    return Claim(**row, about="time", published=published, judge=judge)


def seconds(values, along, labels, batches=(32, 64)):
    shape = (len(batches), len(labels), 1)
    array = np.array(values, float).reshape(shape)
    return xr.DataArray(
        array,
        dims=("batch", along, "repeat"),
        coords={"batch": list(batches), along: labels},
        name="seconds",
    )


def test_judges_of_the_snn():
    left = {"seconds": seconds([[1, 2, 4], [1, 1.6, 3]], "threads", [0, 1, 2])}
    found = claims.slower_with_threads(None, claim(50, tolerance=15), left, {})
    assert (
        found.measured == pytest.approx(100 * (0.5 + 0.375) / 2) and found.holds and found.towards
    )
    found = claims.substantially_slower(None, claim(None), left, {})
    assert found.holds and found.measured == pytest.approx(1 / 1.6)
    assert claims.mostly_doubled(None, claim(None), left, {}).measured == 1
    left = {"seconds": seconds([[1, 0.5, 1.2], [1, 1.6, 1.3]], "threads", [0, 1, 2])}
    assert not claims.substantially_slower(None, claim(None), left, {}).holds
    found = claims.mostly_doubled(None, claim(None), left, {})
    assert found.measured == 0.25 and not found.holds


def test_the_authors_own_tasks_wait_half_of_the_time():
    rows = published.tasks().query("layers == 100").set_index(["pool_threads", "phase"])
    dims = {"pool_threads": [0, 8, 16], "phase": ["layers", "weights"]}

    def table(column):
        values = [[rows.loc[(n, p.rstrip("s")), column] for p in dims["phase"]] for n in (0, 8, 16)]
        return xr.DataArray(values, dims=list(dims), coords=dims)

    left = {"wait": table("mean_queue_wait_s"), "total": table("mean_total_s")}
    found = claims.half_of_the_time(None, claim(50, tolerance=10), left, {})
    assert found.holds and found.measured == pytest.approx(44.7, abs=0.5)


def test_judges_of_the_cnn():
    left = {"seconds": seconds([[4, 2, 3]], "processes", [1, 2, 4], [128])}
    assert claims.best_speedup(None, claim(2.01, tolerance=0.3), left, {}).holds
    peak = claims.peaks_inside(None, claim(20), left, {})
    assert peak.holds and peak.measured == 2
    assert claims.amdahl(None, claim(52.5, tolerance=10), left, {}).measured == pytest.approx(100)
    rising = {"seconds": seconds([[4, 3, 2]], "processes", [1, 2, 4], [128])}
    assert not claims.peaks_inside(None, claim(20), rising, {}).holds
    two = {"seconds": seconds([[4, 2, 3], [2, 1, 3.1]], "processes", [1, 2, 4])}
    batches = claims.larger_batches_are_faster(None, claim(None), two, {})
    assert not batches.holds and batches.measured == pytest.approx(3 / 3.1) and batches.towards


def test_judges_of_the_tasks():
    end = xr.DataArray(np.tile(np.arange(1.0, 7), (4, 1)), dims=("step", "task"), name="end")
    found = claims.ends_in_order(None, claim(None), {"end": end}, {})
    assert found.holds and found.measured == 1
    assert not claims.ends_in_order(None, claim(None), {"end": end[:, ::-1]}, {}).holds
    shuffled = xr.DataArray(
        np.random.default_rng(0).random((40, 6)), dims=("step", "task"), name="end"
    )
    found = claims.ends_in_order(None, claim(None), {"end": shuffled}, {})
    assert not found.holds and abs(found.measured) < 0.3
    start = xr.DataArray(np.tile([0.0, 0.1, 0.1, 0.2, 0.2, 0.3], (4, 1)), dims=("step", "task"))
    left = {"start": start, "end": end}
    found = claims.starts_together(None, claim(None, high=0.25), left, {})
    assert found.holds and found.measured == pytest.approx(0.05)
    dims = {"pool_threads": [0, 8], "phase": ["layers", "weights"]}
    wait = xr.DataArray([[0, 0], [1.0, 1.0]], dims=list(dims), coords=dims)
    run = xr.DataArray([[1, 1], [1.0, 3.0]], dims=list(dims), coords=dims)
    left = {"wait": wait, "total": 2 * run}
    found = claims.half_of_the_time(None, claim(50, tolerance=10), left, {})
    assert found.measured == pytest.approx((50 + 100 / 6) / 2) and not found.holds and found.towards
    share = {"products": xr.DataArray(0.2)}
    assert not claims.mostly_products(None, claim(None), share, {}).holds
