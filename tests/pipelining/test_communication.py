"""Flushed pipelines against their bubble, and the bits schedules move against counts by hand."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraspike.pipelining.communication import communication, moved_bits
from paraspike.pipelining.heuristics import assigned, contiguous, wrap_around
from paraspike.pipelining.networks import Network, dense, network
from paraspike.pipelining.schedules import Piece, settle
from paraspike.pipelining.synchronous import gpipe, one_f_one_b
from paraspike.pipelining.tasks import graph_of_cycles, task_graph


@given(
    st.integers(1, 6), st.integers(1, 10), st.integers(1, 9), st.integers(2, 9), st.integers(1, 3)
)
def test_bubble_of_equal_stages_is_gpipes(stages, micro, forward, back, layers):
    # The first layer has no B: its W takes the cycles of the others' B and W.
    rows = [(forward, 1, back - 1)] * (stages * layers)
    rows[0] = (forward, 0, back)
    graph = graph_of_cycles(rows)
    for make in (gpipe, one_f_one_b):
        schedule = make(graph, stages, micro, "equal")
        assert schedule.bubble == pytest.approx((stages - 1) / (micro + stages - 1))
        assert schedule.period == (micro + stages - 1) * layers * (forward + back)
        assert schedule.staleness == (0,) * graph.depth


def test_one_f_one_b_holds_fewer_microbatches():
    graph = graph_of_cycles([(3, 0, 6), (3, 3, 3), (3, 3, 3)])
    for make, most in ((gpipe, [8, 8, 8]), (one_f_one_b, [3, 2, 1])):
        pieces = make(graph, 3, 8).pieces
        held = []
        for stage in range(3):
            events = []
            for p in pieces:
                if p.processor == stage and p.kind == "F":
                    events.append((p.offset, 1))
                elif p.processor == stage and p.kind == "W":
                    events.append((p.offset + p.length, -1))
            held.append(max(itertools.accumulate(step for _, step in sorted(events))))
        assert held == most


def test_communication_of_contiguous_stages_by_hand():
    small = Network("small", 5, dense(8, 6, 4))
    graph = task_graph(small, 2)
    moved = moved_bits(contiguous(graph, 2))
    # Spikes of the first layer go up; their error comes down.
    expected = {
        "spikes": 2 * 5 * 6,
        "error": 2 * 5 * 6 * 32,
        "state": 0,
        "weights": 0,
        "gradients": 0,
    }
    assert moved == expected
    assert communication(contiguous(graph, 2)).overhead == 0
    assert moved_bits(contiguous(graph, 1)) == dict.fromkeys(expected, 0)


def test_communication_of_separated_and_split_tasks_by_hand():
    small = Network("small", 5, dense(8, 6))
    graph = task_graph(small, 2)
    chosen = {("F", 1): 0, ("W", 1): 1}
    apart = moved_bits(assigned(graph, 2, chosen))
    # W reads the input where F got it, and dlogits; the new weights go back.
    assert apart["spikes"] == 2 * 5 * 8 * 32
    assert apart["error"] == 2 * 6 * 32
    assert apart["weights"] == 8 * 6 * 32
    # Half of F beside W: that half of the input and of dlogits is there already.
    f, w = graph.task("F", 1).cycles, graph.task("W", 1).cycles
    assert f % 2 == 0
    half = [
        Piece("F", 1, 0, 0, f // 2), Piece("F", 1, 1, f // 2, f // 2), Piece("W", 1, 1, f, w)
    ]  # fmt: skip
    split = moved_bits(settle(graph, "split", 2, f + w, half))
    assert (split["spikes"], split["error"]) == (apart["spikes"] // 2, apart["error"] // 2)
    assert split["weights"] == apart["weights"]


def test_overhead_has_both_denominators():
    graph = task_graph(network("amr4"), 8)
    found = communication(wrap_around(graph, 4))
    assert 0 < found.overhead_streamed < found.overhead < found.share < 1
    assert found.overhead_bits == found.all_moved - found.contiguous
    assert found.total == graph.bits < found.streamed
