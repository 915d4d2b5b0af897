"""The wall-time arms: all train the same network on the same samples; times are there and described."""

from dataclasses import replace

import numpy as np
import pytest

from paraspike.errors import ReaderError
from paraspike.netcdf import check
from paraspike.papers.spikepipe_arms import Job, network_of
from paraspike.papers.spikepipe_times import ALONE, APART, PARALLEL, SCHEDULES, THREADS, wall_times
from paraspike.papers.spikepipe_torch import PIPELINES
from paraspike.pipelining.heuristics import contiguous
from paraspike.pipelining.networks import NETWORKS, Network, conv, dense
from paraspike.pipelining.tasks import graph_of_cycles

JOB = Job(Network("planes", 4, (conv(1, 3, 8, True), conv(3, 4, 4, True), *dense(16, 6, 5))), 8, 5)


def given(graph, processors):
    """A schedule of the caller's own: layers 1 to 3 on one processor, whatever they cost."""
    return contiguous(graph, processors, (3, 1))


@pytest.fixture(scope="module")
def found():
    return wall_times(JOB, repeats=1, schedules=SCHEDULES | {"given": given})


def test_every_arm_trains_to_the_same_weights(found):
    assert list(found.arm.values) == [
        ALONE, THREADS, APART, *SCHEDULES, "given", *PIPELINES, PARALLEL
    ]  # fmt: skip
    far = found.difference.sel(processors=2).to_series()
    # Delayed as the emulator, to the bit; without delay but for the order in which batches are summed.
    assert (far[[ALONE, APART, *SCHEDULES, "given"]] == 0).all()
    assert (far < 1e-5).all() and (far[[*PIPELINES, PARALLEL]] >= 0).all()
    assert far.notna().all()
    delays = found.delay.sel(processors=2).to_series()
    assert delays["given"] == 3 and (delays[[*PIPELINES, PARALLEL, ALONE]] == 0).all()


def test_times_are_complete_and_described(found):
    check(found, found.attrs)
    assert found.seconds.dims == ("arm", "processors", "repeat")
    assert np.isfinite(found.seconds).all() and (found.seconds > 0).all()
    # Five updates are too few for most pipelines to be full.
    assert (found.steady.sel(arm=ALONE) == found.seconds.sel(arm=ALONE)).all()
    assert (found.busy.sel(arm=[ALONE, *SCHEDULES, PARALLEL]) <= 1).all()
    assert (found.task_seconds > 0).all() and len(found.task) == 3 * 4 - 1
    assert found.attrs["batch_size"] == 8 and found.attrs["updates"] == 5


def test_bytes_are_those_of_the_cut(found):
    sent = found.sent.sel(processors=2).to_series()
    # Spikes into layer 4, bytes, and their error, float32: 4 steps, 8 samples, 6 neurons.
    assert sent["given"] == 4 * 8 * 6 * (1 + 4)
    assert sent[ALONE] == 0
    # 1-2-3-4 on two processes by turns: into layers 2, 3 and 4, and back.
    inputs = [layer.inputs for layer in JOB.network.layers[1:]]
    assert sent["torch Interleaved1F1B"] == 2 * 4 * 8 * sum(inputs) * 4
    # Both ends of the V lie on one process, as do its middle layers.
    assert sent["torch ZBVZeroBubble"] == 2 * 4 * 8 * (inputs[0] + inputs[2]) * 4
    parameters = sum(p.numel() for layer in JOB() for p in layer.parameters())
    assert sent[PARALLEL] == 2 * parameters * 4


def test_refused():
    with pytest.raises(ReaderError, match="torch GPipe"):
        wall_times(JOB, pipelines=["torch GPipe"])
    newest = replace(contiguous(graph_of_cycles([(1, 1, 1)] * 4), 2), policy="newest")
    with pytest.raises(ReaderError, match="policy newest"):
        wall_times(JOB, schedules={"newest": newest})


def test_networks_by_name_or_sizes():
    made = network_of("6-4-2", 3)
    assert [(shape.n_in, shape.n_out) for shape in made.layers] == [
        (6, 4),
        (4, 2),
    ] and made.steps == 3
    assert network_of("amr4") is NETWORKS["amr4"]
    for wrong in ("6", "6-0-2", "resnet"):
        with pytest.raises(ReaderError, match="is unknown"):
            network_of(wrong)
