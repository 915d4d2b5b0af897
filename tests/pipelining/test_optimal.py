import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.pipelining import optimal
from paraspike.pipelining.checker import check
from paraspike.pipelining.heuristics import assigned, lpt, wrap_around
from paraspike.pipelining.networks import network
from paraspike.pipelining.ordering import shorten, tighten
from paraspike.pipelining.schedules import Piece, settle
from paraspike.pipelining.tasks import graph_of_cycles, task_graph

CYCLES = st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=3)


def partitions(graph, processors):
    keys = [task.key for task in graph.tasks]
    for row in itertools.product(range(processors), repeat=len(keys)):
        yield dict(zip(keys, row, strict=True))


@settings(max_examples=20)
@given(rows=CYCLES, processors=st.integers(1, 3))
def test_the_least_period_is_that_of_all_assignments(rows, processors):
    graph = graph_of_cycles(rows)
    found = optimal.least_period(graph, processors, workers=1)
    least = min(
        max(
            sum(task.cycles for task in graph.tasks if chosen[task.key] == p)
            for p in range(processors)
        )
        for chosen in partitions(graph, processors)
    )
    assert found.schedule.period == found.bound == least
    assert check(found.schedule).ok
    assert least <= lpt(graph, processors).period


def overlap(pieces, period):
    for a, b in itertools.combinations(pieces, 2):
        if a.processor == b.processor and not (
            (b.offset - a.offset) % period >= a.length
            and (a.offset - b.offset) % period >= b.length
        ):
            return True
    return False


@settings(max_examples=6)
@given(
    rows=st.lists(st.tuples(*[st.integers(1, 2)] * 3), min_size=2, max_size=2),
    extra=st.integers(0, 1),
)
def test_the_least_delay_is_that_of_all_modulo_schedules(rows, extra):
    graph = graph_of_cycles(rows)
    period = optimal.least_period(graph, 2, workers=1).schedule.period + extra
    found = optimal.least_delay(graph, 2, period, workers=1)
    least = None
    for chosen in partitions(graph, 2):
        if chosen[graph.tasks[0].key]:
            continue
        for offsets in itertools.product(range(period), repeat=len(graph.tasks) - 1):
            pieces = [
                Piece(*task.key, chosen[task.key], offset, task.cycles)
                for task, offset in zip(graph.tasks, (0, *offsets), strict=True)
            ]
            if not overlap(pieces, period):
                total = sum(settle(graph, "all", 2, period, pieces).staleness)
                least = total if least is None else min(least, total)
    assert found.total_delay == found.bound == least


@pytest.mark.parametrize(
    ("name", "processors", "period", "speedup", "total"),
    [("amr4", 3, 135, 2.97, 3), ("vgg8", 4, 101, 3.99, 8), ("mlp3", 3, 172, 2.33, 1)],
)
def test_values_of_the_sheet_in_its_rounded_units(name, processors, period, speedup, total):
    # Section 7: all tasks together 400 units, each rounded and at least 1.
    exact = task_graph(network(name))
    units = {task.key: max(1, round(400 * task.cycles / exact.total)) for task in exact.tasks}
    rows = [[units.get((kind, layer), 1) for kind in "FBW"] for layer in range(1, exact.depth + 1)]
    graph = graph_of_cycles(rows)
    # `known` ends the search at the sheet's value; the proof is the sheet's.
    found = optimal.least_delay(graph, processors, period, seconds=60, workers=1, known=total)
    assert found.total_delay == total
    assert found.schedule.speedup == pytest.approx(speedup, abs=0.006)


def test_a_bound_that_does_not_hold_is_noticed():
    graph = graph_of_cycles([(3, 3, 3), (5, 4, 3), (2, 2, 2)])
    hint = shorten(lpt(graph, 2))
    with pytest.raises(ReaderError, match="does not hold"):
        optimal.least_delay(graph, 2, hint.period, workers=1, hint=hint, known=99)


def test_a_hint_is_never_made_worse_and_long_periods_need_no_delay():
    graph = graph_of_cycles([(3, 3, 3), (5, 4, 3), (2, 2, 2)])
    hint = shorten(lpt(graph, 2))
    found = optimal.least_delay(graph, 2, hint.period, seconds=1e-3, workers=1, hint=hint)
    assert found.total_delay <= sum(hint.staleness)
    longest = max(graph.loop_cycles(layer) for layer in (1, 2, 3))
    assert optimal.least_delay(graph, 2, longest, workers=1).total_delay == 0


def test_what_cannot_be():
    graph = graph_of_cycles([(3, 3, 3), (5, 4, 3)])
    assert optimal.least_delay(graph, 2, graph.lower_bound(2) - 1) is None
    with pytest.raises(ReaderError, match="a hint of"):
        optimal.least_delay(graph, 2, 10, hint=lpt(graph, 1))
    for arguments in ({"seconds": 0}, {"workers": 0}):
        with pytest.raises(ReaderError, match="both positive"):
            optimal.least_period(graph, 2, **arguments)


@settings(max_examples=40)
@given(data=st.data(), rows=CYCLES, processors=st.integers(1, 3), slack=st.integers(0, 12))
def test_tightening_keeps_the_order_and_never_loses(data, rows, processors, slack):
    graph = graph_of_cycles(rows)
    chosen = {
        task.key: data.draw(st.integers(0, processors - 1), label=task.name) for task in graph.tasks
    }
    packed = assigned(graph, processors, chosen)
    loose = settle(graph, "loose", processors, packed.period + slack, packed.pieces)
    found = tighten(loose)
    assert found.period <= loose.period and sum(found.staleness) <= sum(loose.staleness)
    assert check(found).ok
    # One cycle less contradicts itself: Floyd and Warshall's longest paths find a positive cycle of waits.
    assert feasible(found, found.period)
    if found.staleness == loose.staleness:
        assert not feasible(found, found.period - 1) or found.period == max(
            task.cycles for task in graph.tasks
        )


def feasible(schedule, period):
    """Whether starts exist that keep order, delays and dependencies of a schedule at another period."""
    pieces, graph = schedule.pieces, schedule.graph
    at = {(p.kind, p.layer): i for i, p in enumerate(pieces)}
    wait = {(i, i): 0 for i in range(len(pieces))}

    def after(j, i, cycles):
        wait[i, j] = max(wait.get((i, j), -(10**9)), cycles)

    for task in graph.tasks:
        for key in graph.before(*task.key):
            after(at[task.key], at[key], graph.task(*key).cycles)
    for layer, delay in enumerate(schedule.staleness, 1):
        w, f = at["W", layer], at["F", layer]
        after(f, w, pieces[w].length - (1 + delay) * period)
    for i, a in enumerate(pieces):
        for j, b in enumerate(pieces):
            if i != j and a.processor == b.processor:
                # b runs next after a by some number of periods, as it does in the schedule.
                turns = (schedule.start(b) - schedule.start(a)) // schedule.period
                after(j, i, a.length + turns * period)
                after(i, j, b.length - (turns + 1) * period)
    for k, i, j in itertools.product(range(len(pieces)), repeat=3):
        if (i, k) in wait and (k, j) in wait:
            wait[i, j] = max(wait.get((i, j), -(10**9)), wait[i, k] + wait[k, j])
    return all(wait[i, i] <= 0 for i in range(len(pieces)))


def test_tightening_refuses_split_tasks():
    with pytest.raises(ReaderError, match="splits tasks"):
        tighten(wrap_around(graph_of_cycles([(5, 5, 5), (5, 5, 5)]), 3))
