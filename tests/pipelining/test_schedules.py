"""Schedules against the sheet's figures, against bounds, and against all there are of tiny cases."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.pipelining.checker import check
from paraspike.pipelining.communication import communication, moved_bits
from paraspike.pipelining.heuristics import (
    assigned,
    contiguous,
    equal_stages,
    lpt,
    minmax_stages,
    wrap_around,
)
from paraspike.pipelining.networks import network
from paraspike.pipelining.ordering import shorten
from paraspike.pipelining.schedules import Piece, settle
from paraspike.pipelining.synchronous import all_reduce_bits, data_parallel, gpipe
from paraspike.pipelining.tasks import graph_of_cycles, staleness_rule, task_graph

CYCLES = st.lists(st.tuples(*[st.integers(1, 60)] * 3), min_size=1, max_size=6)
PROCESSORS = st.integers(1, 6)

# Sheet, section 6: 32 x 32, B = 1; M, equal layers, contiguous DP, LPT, bound.
TABLE = {
    "mlp3": [(2, "1.02", "1.68", "2.00", "2.00"), (4, "1.68", "1.68", "2.38", "2.38")],
    "amr4": [
        (2, "1.16", "1.18", "1.98", "2.00"),
        (3, "1.16", "1.41", "2.96", "3.00"),
        (4, "1.41", "1.41", "3.79", "3.79"),
    ],
    "vgg8": [
        (4, "2.73", "2.86", "3.94", "4.00"),
        (6, "2.86", "4.09", "5.73", "6.00"),
        (8, "4.09", "4.09", "6.64", "8.00"),
    ],
}


@pytest.mark.parametrize("name", TABLE)
def test_speedups_are_the_sheets(name):
    graph = task_graph(network(name))
    for processors, *printed in TABLE[name]:
        ours = [
            contiguous(graph, processors, "equal").speedup,
            contiguous(graph, processors).speedup,
            lpt(graph, processors).speedup,
            graph.total / graph.lower_bound(processors),
        ]
        assert [rounded(x) for x in ours] == printed, (processors, ours)


def rounded(x):
    """As printed: two digits (mlp3's bound is 77902 / 32800 = 2.37506, printed 2.38)."""
    return f"{x:.2f}"


@pytest.mark.parametrize(
    "array, mean, largest", [(32, (1.62, 1.64), (2.65, 2.68)), (128, (1.34, 1.38), (1.84, 2.23))]
)
def test_lpt_over_contiguous_is_the_sheets_size(array, mean, largest):
    ratios = []
    for name, processors, batch in itertools.product(TABLE, (2, 4, 8), (1, 8, 32)):
        if processors <= network(name).depth:
            graph = task_graph(network(name), batch, (array, array))
            ratios.append(contiguous(graph, processors).period / lpt(graph, processors).period)
    assert len(ratios) == 18
    assert mean[0] <= sum(ratios) / len(ratios) <= mean[1]
    assert largest[0] <= round(max(ratios), 2) <= largest[1]


def test_data_parallel_and_its_rivals_are_the_sheets():
    rows = {"mlp3": "1.58 2.24 3.15", "amr4": "1.98 3.89 7.52", "vgg8": "1.98 3.89 7.49"}
    for name, printed in rows.items():
        graph = task_graph(network(name), 8)
        ours = [data_parallel(graph, m).speedup for m in (2, 4, 8)]
        assert " ".join(rounded(x) for x in ours) == printed
    tasks = {name: task_graph(network(name), 8) for name in rows}
    assert rounded(lpt(tasks["amr4"], 8).speedup) == "3.56"
    assert rounded(lpt(tasks["vgg8"], 8).speedup) == "6.26"
    assert [rounded(lpt(tasks["mlp3"], m).speedup) for m in (2, 4)] == ["2.00", "2.77"]
    large = task_graph(network("vgg8"), 8, (128, 128))
    assert rounded(lpt(large, 8).speedup) == "7.29"
    assert rounded(data_parallel(large, 8).speedup) == "6.47"
    assert all_reduce_bits(large, 8) == 2 * 7 * 32 * network("vgg8").parameters
    assert moved_bits(data_parallel(large, 8))["gradients"] == all_reduce_bits(large, 8)


def test_iteration_bounds_are_the_sheets():
    speedup = {
        (name, delay): graph.total / graph.iteration_bound((delay,) * graph.depth)
        for name in ("mlp3", "amr4")
        for delay in (0, 1)
        for graph in [task_graph(network(name))]
    }
    assert {key: rounded(x) for key, x in speedup.items()} == {
        ("mlp3", 0): "1.17", ("mlp3", 1): "2.33", ("amr4", 0): "1.37", ("amr4", 1): "2.74",
    }  # fmt: skip
    assert task_graph(network("amr4")).lower_bound(3, (0, 0, 0, 0)) == 247742


def test_staleness_rules():
    assert staleness_rule("exact", 3) == (0, 0, 0)
    rule = staleness_rule("per-layer", 8)
    assert rule == (14, 12, 10, 8, 6, 4, 2, 0)
    assert sum(rule) == 56
    stages = (2, 2, 2, 2)
    assert (
        sum(staleness_rule("grouped", 8, stages)),
        sum(staleness_rule("pipedream", 8, stages)),
    ) == (24, 12)
    for bad in (lambda: staleness_rule("none", 3), lambda: staleness_rule("grouped", 3, (2, 2))):
        with pytest.raises(ReaderError):
            bad()


@given(CYCLES, PROCESSORS)
def test_wrap_around_is_mcnaughtons_optimum(rows, processors):
    graph = graph_of_cycles(rows)
    for order in ("layer", "dependency"):
        whole = wrap_around(graph, processors, order=order)
        assert whole.period == max(graph.longest, -(-graph.total // processors))
        assert max(count_pieces(whole).values()) <= 2
        free = wrap_around(graph, processors, order=order, limit="load")
        assert free.period == -(-graph.total // processors)


def count_pieces(schedule):
    counts = {}
    for piece in schedule.pieces:
        key = (piece.kind, piece.layer)
        counts[key] = counts.get(key, 0) + 1
    return counts


@given(st.lists(st.tuples(*[st.integers(1, 20)] * 3), min_size=1, max_size=3), st.integers(1, 3))
@settings(max_examples=40)
def test_lpt_is_within_grahams_bound_of_the_best(rows, processors):
    graph = graph_of_cycles(rows)
    cycles = [task.cycles for task in graph.tasks]
    best = graph.total
    for choice in itertools.product(range(processors), repeat=len(cycles)):
        load = [0] * processors
        for processor, count in zip(choice, cycles, strict=True):
            load[processor] += count
        best = min(best, max(load))
    made = lpt(graph, processors).period
    assert graph.lower_bound(processors) <= best <= made
    assert 3 * processors * made <= (4 * processors - 1) * best


@given(CYCLES, PROCESSORS)
def test_minmax_stages_are_the_best_contiguous_ones(rows, processors):
    cycles = [sum(row) for row in rows]
    depth, stages = len(cycles), minmax_stages(cycles, processors)
    count = min(processors, depth)
    assert len(stages) == count and sum(stages) == depth
    assert sum(equal_stages(depth, processors)) == depth

    def largest(cuts):
        ends = [0, *cuts, depth]
        return max(sum(cycles[a:b]) for a, b in zip(ends, ends[1:], strict=False))

    best = min(map(largest, itertools.combinations(range(1, depth), count - 1)))
    assert largest(itertools.accumulate(stages[:-1])) == best


@given(CYCLES, PROCESSORS)
def test_contiguous_delays_are_pipedreams(rows, processors):
    graph = graph_of_cycles(rows)
    shared = contiguous(graph, processors)
    assert shared.staleness == staleness_rule("pipedream", graph.depth, shared.stages)
    separate = contiguous(graph, processors, ticks="separate")
    grouped = staleness_rule("grouped", graph.depth, separate.stages)
    assert all(a <= b for a, b in zip(separate.staleness, grouped, strict=True))


@given(CYCLES, PROCESSORS)
@settings(max_examples=50)
def test_no_schedule_beats_the_iteration_bound_of_its_delays(rows, processors):
    graph = graph_of_cycles(rows)
    for schedule in (
        contiguous(graph, processors), lpt(graph, processors), wrap_around(graph, processors)
    ):  # fmt: skip
        assert schedule.period >= graph.iteration_bound(schedule.staleness)
        assert schedule.speedup <= processors + 1e-9
        assert schedule.speedup_over(10) <= schedule.speedup_over(1000) <= schedule.speedup
        assert schedule.utilisation_over(10) == pytest.approx(
            schedule.speedup_over(10) / processors
        )


@given(
    st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=2),
    st.integers(1, 2),
    st.data(),
)
@settings(max_examples=30)
def test_settled_delays_are_the_least_for_the_offsets(rows, processors, data):
    graph = graph_of_cycles(rows)
    chosen = {task.key: data.draw(st.integers(0, processors - 1)) for task in graph.tasks}
    schedule = assigned(graph, processors, chosen)
    period = schedule.period
    offsets = {(p.kind, p.layer): p.offset for p in schedule.pieces}
    cycles = {task.key: task.cycles for task in graph.tasks}
    best = [10**9] * graph.depth
    for periods in itertools.product(range(4), repeat=len(graph.tasks)):
        start = {key: k * period + offsets[key] for key, k in zip(cycles, periods, strict=True)}
        if all(start[b] + cycles[b] <= start[a] for a in start for b in graph.before(*a)):
            for layer in range(1, graph.depth + 1):
                wait = start["W", layer] + cycles["W", layer] - start["F", layer]
                best[layer - 1] = min(best[layer - 1], max(0, -(-wait // period) - 1))
    assert tuple(best) == schedule.staleness


@given(CYCLES, PROCESSORS)
@settings(max_examples=30)
def test_shorter_delays_at_the_same_period_and_place(rows, processors):
    first = lpt(graph_of_cycles(rows), processors)
    shorter = shorten(first)
    assert shorter.period == first.period
    assert sum(shorter.staleness) <= sum(first.staleness)
    place = {(p.kind, p.layer): p.processor for p in first.pieces}
    assert place == {(p.kind, p.layer): p.processor for p in shorter.pieces}
    assert check(shorter, 60).ok
    assert shorter == shorten(first)


def test_short_delays_of_lpt_are_fewer_than_those_of_contiguous_layers():
    graph = task_graph(network("vgg8"))
    for processors, most in ((4, 14), (6, 19), (8, 20)):
        ours, theirs = shorten(lpt(graph, processors)), contiguous(graph, processors)
        assert sum(ours.staleness) <= most
        assert ours.speedup > 1.3 * theirs.speedup
    assert sum(shorten(lpt(graph, 8)).staleness) < sum(theirs.staleness)
    with pytest.raises(ReaderError, match="whole tasks"):
        shorten(wrap_around(graph, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda g: lpt(g, 0),
        lambda g: contiguous(g, 2, "best"),
        lambda g: contiguous(g, 2, (1, 1)),
        lambda g: contiguous(g, 2, ticks="none"),
        lambda g: wrap_around(g, 2, order="random"),
        lambda g: gpipe(g, 2, 0),
        lambda g: gpipe(g, 1, 2, (1, 2)),
        lambda g: data_parallel(graph_of_cycles([(1, 1, 1)]), 2),
        lambda g: settle(g, "x", 1, 10, []),
        lambda g: settle(g, "x", 1, 10, [Piece("F", 1, 0, 12, 1)]),
        lambda g: contiguous(g, 2, policy="oldest"),
        lambda g: g.iteration_bound((0,)),
        lambda g: g.task("B", 1),
        lambda g: graph_of_cycles([]),
        lambda g: communication(lpt(graph_of_cycles([(1, 1, 1)]), 1)),
    ],
)
def test_wrong_calls_are_refused(call):
    with pytest.raises(ReaderError):
        call(task_graph(network("mlp3")))
