"""The published SNN, its crews and encoders: equal to BindsNET, equal to each other, and clean at the end."""

import threading

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.learning.stdp import STDPNetwork
from paraspike.papers import multithreading as paper
from paraspike.papers import multithreading_encoders as encoders
from paraspike.papers import multithreading_peer as peer
from paraspike.papers import multithreading_throughput as throughput
from paraspike.papers.multithreading_crews import Pool, Queued, Serial, crew
from paraspike.spikes import Spikes

needs_bindsnet = pytest.mark.skipif(not peer.installed(), reason="BindsNET is not installed")
SIZES = (40, 25, 12, 5)


def spikes_of(steps, batch, n, chance=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, n, generator=generator) < chance).float()


def recorded(net, spikes, hands):
    layers = [[] for _ in net.layers[1:]]

    def watch(network):
        for row, layer in zip(layers, network.layers[1:], strict=True):
            row.append(layer.s.float().clone())

    net.present(spikes, hands, watch)
    return [torch.stack(row) for row in layers]


def scaled(seed=0, gain=6.0):
    """Weights with which every layer fires, far from saturation."""
    return [gain * w for w in paper.Network(SIZES, 1, seed=seed).weights()]


@needs_bindsnet
@pytest.mark.parametrize("nu", [paper.NU, paper.NU_PUBLISHED])
@pytest.mark.parametrize("bounds", [(0.0, 8.0), (-np.inf, np.inf)])
def test_spikes_and_weights_are_bindsnets_to_the_bit(nu, bounds):
    weights = scaled()
    ours = paper.Network(SIZES, 8, nu, bounds, weights)
    theirs = peer.BindsNET(weights, 8, nu, bounds)
    for batch in range(3):
        x = spikes_of(40, 8, SIZES[0], seed=batch)
        found, expected = recorded(ours, x, Serial()), theirs.recorded(x)
        for a, e in zip(found, expected, strict=True):
            assert torch.equal(a, e) and 0.005 < e.mean() < 0.5
        for a, e in zip(ours.weights(), theirs.weights(), strict=True):
            assert torch.equal(a, e)
        ours.reset()
        theirs.reset()
    assert torch.equal(ours.weights()[0], weights[0]) == (nu == paper.NU_PUBLISHED)


@needs_bindsnet
def test_the_published_benchmark_changes_no_weight_in_bindsnet_either():
    job = throughput.Job(
        "as_published",
        "rate",
        throughput.batches_of(np.full((4, 28, 28), 90, np.uint8), 4, 1),
        peer=True,
    )
    before = [w.clone() for w in job.net.weights()]
    job()
    assert all(torch.equal(a, b) for a, b in zip(before, job.net.weights(), strict=True))


@pytest.mark.parametrize("form", ["pool", "queue"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_crew_gives_the_spikes_and_weights_of_one_thread(form, threads):
    weights, x = scaled(), spikes_of(30, 4, SIZES[0])
    alone, shared = (paper.Network(SIZES, 4, weights=weights, bounds=(0, 8)) for _ in range(2))
    expected = recorded(alone, x, Serial())
    with crew(form, threads) as hands:
        found = recorded(shared, x, hands)
    for a, e in zip(found, expected, strict=True):
        assert torch.equal(a, e) and e.any()
    for a, e in zip(shared.weights(), alone.weights(), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-6, atol=1e-7)


def test_the_engine_learns_what_the_published_network_does():
    x = spikes_of(60, 6, 40)
    engine = STDPNetwork(SIZES, seed=2, wmax=8.0)
    for w in engine.weights:
        w.clamp_(max=8.0)
    ours = paper.Network(SIZES, 6, bounds=(0, 8), weights=engine.weights)
    found = recorded(ours, x, Serial())
    layers = engine.run(Spikes.from_dense(x))
    for a, e in zip(layers, found, strict=True):
        assert torch.equal(a.dense(), e)
    for a, e in zip(engine.weights, ours.weights(), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Pool, Queued])
def test_an_error_in_a_task_comes_out_and_no_thread_stays(kind):
    before = threading.active_count()

    def fail():
        raise ValueError("task 1 fails")

    with pytest.raises(ValueError, match="task 1 fails"), kind(3) as hands:
        hands.run([lambda: None, fail, lambda: None])
    with pytest.raises(KeyboardInterrupt), kind(3) as hands:
        hands.run([lambda: None])
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_stamps_tell_when_each_task_ran():
    net = paper.Network(SIZES, 2)
    with crew("pool", 2, record=True) as hands:
        net.present(spikes_of(3, 2, SIZES[0]), hands)
    assert len(hands.stamps) == 3 * (3 + 4 + 3)
    for s in hands.stamps:
        assert s.submit <= s.start <= s.end and s.cpu >= 0
    layers = [s for s in hands.stamps if s.phase == "layers" and s.step == 2]
    assert [s.index for s in layers] == [0, 1, 2, 3]
    last_input = max(s.end for s in hands.stamps if s.phase == "inputs" and s.step == 2)
    assert min(s.start for s in layers) >= last_input


@needs_bindsnet
@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_encoders_are_bindsnets(steps, dark, seed):
    from paraspike.stub import stand_in

    stand_in(*peer.UNUSED)
    from bindsnet.encoding import poisson, rank_order

    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(1, 256, (50,), generator=generator).float() / 255 * 128
    image[torch.rand(50, generator=generator) < dark] = 0
    image[0] = 7.0
    assert torch.equal(encoders.rank_order(image, steps), rank_order(image.clone(), steps))
    torch.manual_seed(seed)
    expected = poisson(image, steps)
    found = encoders.poisson(image, steps, torch.Generator().manual_seed(seed))
    assert torch.equal(found, expected)


@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_loop_of_2020_is_the_vectorised_rank_order(steps, dark, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (40,), generator=generator).float()
    image[torch.rand(40, generator=generator) < dark] = 0
    assert torch.equal(encoders.rank_order_loop(image, steps), encoders.rank_order(image, steps))


def test_a_rank_order_volley():
    """The sheet: at T = 10 every pixel of at least ten times the dimmest fires in step 0."""
    image = torch.tensor([1.0, 10.0, 255.0, 0.0, 2.0])
    spikes = encoders.rank_order(image, 10)
    assert spikes.nonzero().tolist() == [[0, 1], [0, 2], [4, 4]]


def test_rate_coding_has_the_rate_of_its_intervals():
    spikes = encoders.poisson(torch.full((2000,), 100.0), 1000, torch.Generator().manual_seed(0))
    # Intervals of 10 ms in the mean; an interval of 0 counts as 1, which adds exp(-10) of a step.
    assert spikes.float().mean().item() == pytest.approx(0.1, rel=0.01)


def test_what_makes_no_network_or_crew_is_refused():
    with pytest.raises(ReaderError, match="sizes"):
        paper.Network([784])
    with pytest.raises(ReaderError, match="kind"):
        paper.Nodes(3, 1, "relu")
    with pytest.raises(ReaderError, match="no crew"):
        crew("fork", 2)
    with pytest.raises(ReaderError, match="crew of -1"):
        crew("pool", -1)
    with pytest.raises(ReaderError, match="not negative"):
        encoders.rank_order(torch.tensor([-1.0]), 10)
    with pytest.raises(ReaderError, match="coding"):
        encoders.encode(torch.zeros(1, 3), "phase", 10, torch.Generator(), True)
    with pytest.raises(ReaderError, match="no images"):
        throughput.batches_of(np.zeros((0, 28, 28), np.uint8), 4, 1)
    with pytest.raises(ReaderError, match="arm"):
        throughput.Job("fair", "rate", [torch.zeros(1, 4)])


def test_arms_differ_as_they_say():
    data = throughput.batches_of(np.full((4, 28, 28), 128, np.uint8), 4, 1)
    published, corrected = (throughput.Job(arm, "rate", data) for arm in throughput.ARMS)
    assert published.spikes is None and corrected.spikes is not None
    for job, learns in ((published, False), (corrected, True)):
        job.hands = Serial()
        before = [w.clone() for w in job.net.weights()]
        job()
        changed = not torch.equal(before[0], job.net.weights()[0])
        assert changed == learns
        assert not job.net.layers[1].x.any()


def test_a_presentation_leaves_its_input_alone():
    x = spikes_of(5, 3, SIZES[0])
    kept, net = x.clone(), paper.Network(SIZES, 3)
    for _ in range(2):
        net.present(x, Serial())
        net.reset()
    assert torch.equal(x, kept)


def test_torch_gets_its_threads_back():
    before, children = torch.get_num_threads(), psutil.Process().children()
    data = throughput.batches_of(np.full((4, 28, 28), 128, np.uint8), 4, 1)
    timing = throughput.time_job(throughput.Job("as_published", "rate", data), "pool", 3, 1)
    assert timing.median > 0 and torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), throughput.torch_threads(2):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
    assert psutil.Process().children() == children


def test_amdahl_as_the_paper_derives_it():
    assert throughput.parallel_fraction(507 / 252, 20) == pytest.approx(0.529, abs=0.001)
    assert throughput.parallel_fraction(1.0, 8) == 0
    assert np.isnan(throughput.parallel_fraction(1.0, 1))
