"""The checker passes what the constructors make and rejects planted faults."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.pipelining.checker import check
from paraspike.pipelining.heuristics import contiguous, lpt, wrap_around
from paraspike.pipelining.networks import Network, conv, dense, network
from paraspike.pipelining.synchronous import data_parallel, gpipe, one_f_one_b
from paraspike.pipelining.tasks import graph_of_cycles, task_graph


@st.composite
def networks(draw):
    """Small random networks: dense, or a convolution or two in front."""
    steps = draw(st.integers(1, 8))
    sizes = draw(st.lists(st.integers(1, 90), min_size=2, max_size=6))
    layers = dense(*sizes)
    if draw(st.booleans()):
        channels, pool = draw(st.integers(1, 8)), draw(st.booleans())
        first = conv(draw(st.integers(1, 3)), channels, 4, pool)
        layers = (first, *dense(first.outputs, *sizes[1:]))
    return Network("random", steps, layers)


def all_schedules(graph, processors, micro=4):
    yield contiguous(graph, processors, "equal")
    yield contiguous(graph, processors)
    yield contiguous(graph, processors, ticks="separate", policy="newest")
    yield lpt(graph, processors)
    for order in ("layer", "dependency"):
        yield wrap_around(graph, processors, order=order)
        yield wrap_around(graph, processors, order=order, limit="load", policy="newest")
    yield gpipe(graph, processors, micro)
    yield one_f_one_b(graph, processors, micro, "equal")
    if graph.network is not None:
        yield data_parallel(graph, processors)


@given(networks(), st.integers(1, 5), st.integers(1, 6), st.sampled_from([4, 16, 32]))
@settings(max_examples=40)
def test_every_constructors_schedules_pass(one, processors, batch, array):
    graph = task_graph(one, batch, (array, array))
    for schedule in all_schedules(graph, processors):
        samples = (max(schedule.staleness) + 3) * schedule.micro
        verdict = check(schedule, samples)
        assert verdict.ok, (schedule.method, verdict.violation)
        assert verdict.staleness == schedule.staleness
        repetitions = samples // schedule.micro
        assert verdict.makespan == schedule.makespan(repetitions)
        assert verdict.speedup == pytest.approx(schedule.speedup_over(repetitions))
        # A version is held from F to B, which may end after W: samples on their way, and the newest.
        for layer, versions in enumerate(verdict.versions, 1):
            own = [p for p in schedule.pieces if p.layer == layer]
            starts = [schedule.start(p) for p in own]
            ends = [start + p.length for start, p in zip(starts, own, strict=True)]
            assert 1 <= versions <= 1 - (min(starts) - max(ends)) // schedule.period


@given(st.lists(st.tuples(*[st.integers(1, 30)] * 3), min_size=1, max_size=5), st.integers(1, 5))
@settings(max_examples=40)
def test_schedules_of_any_cycles_pass(rows, processors):
    for schedule in all_schedules(graph_of_cycles(rows), processors, micro=3):
        verdict = check(schedule, (max(schedule.staleness) + 3) * schedule.micro)
        assert verdict.ok, (schedule.method, verdict.violation)


@pytest.mark.parametrize("name, processors", [("mlp3", 2), ("amr4", 3), ("vgg8", 4)])
def test_sixty_samples_of_the_three_networks(name, processors):
    graph = task_graph(network(name))
    for schedule in all_schedules(graph, processors):
        verdict = check(schedule)
        assert verdict.ok, (schedule.method, verdict.violation)
        assert verdict.samples == 60
        if schedule.policy == "stash":
            assert max(verdict.mismatch) == 0


def test_without_stash_the_way_back_reads_newer_weights():
    schedule = contiguous(task_graph(network("mlp3")), 3, policy="newest")
    verdict = check(schedule)
    assert verdict.mismatch == (0, 1, 0)  # the first layer has no B, the last no delay
    assert max(verdict.versions) <= 2


def changed(schedule, key, **fields):
    """The schedule with the pieces of a task changed."""
    pieces = tuple(replace(p, **fields) if (p.kind, p.layer) == key else p for p in schedule.pieces)
    return replace(schedule, pieces=pieces)


def faults():
    schedule = contiguous(graph_of_cycles([(10, 0, 10), (10, 10, 10), (5, 5, 5)]), 3)
    where = {(p.kind, p.layer): p for p in schedule.pieces}
    early = where["B", 2].offset - 3
    yield "overlap", changed(schedule, ("B", 2), offset=early), "while it still runs"
    onto = replace(where["F", 3], processor=where["F", 2].processor)
    yield (
        "other processor",
        changed(schedule, ("F", 3), processor=onto.processor),
        "while it still runs",
    )
    yield "dependency", changed(schedule, ("F", 2), period=0, offset=0), "before the end of F1"
    early = where["B", 2].period - 1
    yield "error too early", changed(schedule, ("B", 2), period=early), "before the end of B3"
    longer = (schedule.staleness[0] + 1, *schedule.staleness[1:])
    yield "future weights", replace(schedule, staleness=longer), "future weights"
    shorter = (schedule.staleness[0] - 1, *schedule.staleness[1:])
    yield "stale weights", replace(schedule, staleness=shorter), "stale weights"
    late = where["W", 1].period + 1
    yield "late update", changed(schedule, ("W", 1), period=late), "stale weights"
    without = tuple(p for p in schedule.pieces if (p.kind, p.layer) != ("W", 2))
    yield "missing", replace(schedule, pieces=without), "W2 of microbatch 0 is missing"
    twice = (*schedule.pieces, replace(where["W", 2], period=9))
    yield "twice", replace(schedule, pieces=twice), "runs for 20 cycles, its work is 10"
    alien = (*schedule.pieces, replace(where["W", 2], kind="B", layer=1))
    yield "unknown", replace(schedule, pieces=alien), "B1 is no task"
    half = tuple(
        q
        for p in schedule.pieces
        for q in (
            [replace(p, length=5), replace(p, length=5, period=p.period + 2, offset=p.offset + 5)]
            if (p.kind, p.layer) == ("F", 2)
            else [p]
        )
    )
    yield (
        "a piece after its end",
        replace(schedule, pieces=half),
        "F3 of sample 0 starts before the end of F2",
    )
    beyond = changed(schedule, ("W", 3), length=6)
    yield "a piece beyond its work", beyond, "runs for 6 cycles, its work is 5"
    both = tuple(
        q
        for p in schedule.pieces
        for q in (
            [replace(p, length=5, offset=0), replace(p, length=5, offset=2, processor=1)]
            if (p.kind, p.layer) == ("F", 1)
            else [p]
        )
    )
    yield "two pieces at once", replace(schedule, pieces=both), "two pieces of F1"
    yield "no processor", changed(schedule, ("F", 1), processor=3), "processor 3 of 3"
    yield "outside", changed(schedule, ("F", 1), offset=schedule.period), "of a period of"
    yield "microbatch", changed(schedule, ("F", 1), micro=1), "microbatch 1 of 1"
    yield "negative", changed(schedule, ("F", 1), period=-1), "in period -1"
    yield "delays", replace(schedule, staleness=(0,)), "are declared for 3 layers"


FAULTS = list(faults())


@pytest.mark.parametrize("name, schedule, text", FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_rejected(name, schedule, text):
    verdict = check(schedule)
    assert not verdict.ok
    assert text in verdict.violation
    assert verdict.staleness is None


@st.composite
def disturbed(draw):
    """A valid schedule of whole or split tasks with a piece moved, or a delay changed."""
    rows = draw(st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=1, max_size=4))
    graph, processors = graph_of_cycles(rows), draw(st.integers(1, 4))
    made = [contiguous(graph, processors), lpt(graph, processors), wrap_around(graph, processors)]
    schedule = draw(st.sampled_from(made))
    pieces, delays = list(schedule.pieces), list(schedule.staleness)
    at, layer = draw(st.integers(0, len(pieces) - 1)), draw(st.integers(0, graph.depth - 1))
    move = draw(st.sampled_from(["offset", "period", "processor", "delay"]))
    if move == "delay":
        delays[layer] = max(0, delays[layer] + draw(st.sampled_from([-1, 1])))
    else:
        most = {"offset": schedule.period - 1, "period": 6, "processor": processors - 1}[move]
        pieces[at] = replace(pieces[at], **{move: draw(st.integers(0, most))})
    return replace(schedule, pieces=tuple(pieces), staleness=tuple(delays))


def is_valid(schedule):
    """The constraints of section 7 of the sheet as inequalities, without a replay."""
    period, graph = schedule.period, schedule.graph
    for a, b in itertools.combinations(schedule.pieces, 2):
        gap = (b.offset - a.offset) % period
        same = (a.kind, a.layer) == (b.kind, b.layer)
        if a.processor == b.processor and (gap < a.length or (-gap) % period < b.length):
            return False
        starts = schedule.start(a), schedule.start(b)
        if same and starts[0] < starts[1] + b.length and starts[1] < starts[0] + a.length:
            return False
    begin, end = {}, {}
    for p in schedule.pieces:
        key, start = (p.kind, p.layer), schedule.start(p)
        begin[key] = min(begin.get(key, start), start)
        end[key] = max(end.get(key, 0), start + p.length)
    if any(end[b] > begin[a] for a in begin for b in graph.before(*a)):
        return False
    waits = [end["W", layer] - begin["F", layer] for layer in range(1, graph.depth + 1)]
    return tuple(-(-wait // period) - 1 for wait in waits) == schedule.staleness


@given(disturbed())
@settings(max_examples=300)
def test_verdict_is_that_of_the_inequalities(schedule):
    samples = max(schedule.staleness) + max(p.period for p in schedule.pieces) + 10
    verdict = check(schedule, samples)
    assert verdict.ok == is_valid(schedule), verdict.violation


def test_faults_of_microbatches_are_rejected():
    schedule = gpipe(graph_of_cycles([(4, 0, 4), (4, 2, 2)]), 2, 3)
    assert check(schedule).ok
    swapped = tuple(
        replace(p, micro={1: 2, 2: 1}.get(p.micro, 0)) if (p.kind, p.layer) == ("F", 2) else p
        for p in schedule.pieces
    )
    early = check(replace(schedule, pieces=swapped)).violation
    assert "F2 of sample 2 starts before the end of F1" in early
    squeezed = replace(schedule, period=schedule.period - 1)
    verdict = check(squeezed)
    assert not verdict.ok


def test_too_few_samples_to_see_the_delays():
    schedule = wrap_around(task_graph(network("vgg8")), 8)
    assert "too few" in check(schedule, 5).violation
