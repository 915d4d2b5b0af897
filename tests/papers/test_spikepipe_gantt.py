"""Gantt charts show the schedule's pieces, all of them, and no schedule that breaks its own rules."""

import dataclasses

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import pytest  # noqa: E402
from matplotlib.collections import PatchCollection  # noqa: E402
from spikepipe_pictures import legible, words  # noqa: E402

from paraspike.errors import ReaderError  # noqa: E402
from paraspike.papers.spikepipe_gantt import bars, gantt  # noqa: E402
from paraspike.pipelining.checker import check  # noqa: E402
from paraspike.pipelining.heuristics import contiguous, lpt, wrap_around  # noqa: E402
from paraspike.pipelining.networks import NETWORKS  # noqa: E402
from paraspike.pipelining.ordering import shorten  # noqa: E402
from paraspike.pipelining.synchronous import data_parallel, gpipe, one_f_one_b  # noqa: E402
from paraspike.pipelining.tasks import graph_of_cycles, task_graph  # noqa: E402

VGG = NETWORKS["vgg8"]
GRAPH = task_graph(VGG)
SCHEDULES = [
    contiguous(GRAPH, 4, "equal"),
    contiguous(GRAPH, 4),
    gpipe(GRAPH, 4, 4),
    one_f_one_b(GRAPH, 4, 4),
    lpt(GRAPH, 4),
    shorten(lpt(GRAPH, 4)),
    wrap_around(GRAPH, 4),
    wrap_around(GRAPH, 6, limit="load"),
    data_parallel(task_graph(VGG, 4), 4),
]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.method)
def test_bars_are_the_pieces(schedule):
    found, repetitions = bars(schedule, 8), 8 // schedule.micro
    assert len(found) == repetitions * len(schedule.pieces)
    for processor in range(schedule.processors):
        load = sum(piece.length for piece in schedule.pieces if piece.processor == processor)
        own = sorted((b.start, b.length) for b in found if b.processor == processor)
        assert sum(length for _, length in own) == repetitions * load
        assert all(a + n <= b for (a, n), (b, _) in zip(own, own[1:], strict=False))
    assert sum(bar.length for bar in found) == 8 * GRAPH.total
    assert min(bar.start for bar in found) == 0
    assert max(bar.start + bar.length for bar in found) == schedule.makespan(repetitions)
    assert {bar.sample for bar in found} == set(range(1, 9))


def test_the_figure_holds_every_bar_where_it_belongs():
    several = [SCHEDULES[k] for k in (1, 3, 4, 6)]
    fig = gantt(several, 8)
    legible(fig)
    for ax, schedule in zip(fig.axes, several, strict=True):
        drawn = {}
        for collection in ax.collections:
            if isinstance(collection, PatchCollection) and not collection.get_label().startswith(
                "_"
            ):
                corners = [path.get_extents() for path in collection.get_paths()]
                drawn[collection.get_label()] = sorted((c.x0 * 1e6, c.width * 1e6) for c in corners)
        wanted = {}
        for bar in bars(schedule, 8):
            wanted.setdefault(f"{bar.kind}{bar.layer}", []).append((bar.start, bar.length))
        assert drawn.keys() == wanted.keys()
        for name, boxes in wanted.items():
            assert drawn[name] == [pytest.approx(box) for box in sorted(boxes)]
        assert f"speedup {schedule.speedup:.2f}" in ax.get_title(loc="left")
    assert fig.axes[0].get_ylabel() == "processor"
    assert fig.axes[-1].get_xlabel() == "modelled cycles (millions)"
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend[:8] == [f"layer {k}" for k in range(1, 9)] and len(legend) == 11


def test_shares_and_titles():
    graph = graph_of_cycles([(5, 4, 3), (5, 4, 3)])
    fig = gantt([contiguous(graph, 2), lpt(graph, 2)], 3, share=True, titles=["one", "two"])
    legible(fig)
    assert fig.axes[0].get_title(loc="left").startswith("one: speedup")
    assert "share" in fig.axes[1].get_xlabel()
    assert any("steady state" in text for text in words(fig))


def test_a_faulty_schedule_is_refused_in_the_checkers_words():
    good = contiguous(GRAPH, 4)
    wrong = dataclasses.replace(good, staleness=(0,) * 8)
    verdict = check(wrong)
    assert "stale weights" in verdict.violation
    with pytest.raises(ReaderError) as caught:
        gantt([good, wrong])
    assert verdict.violation in str(caught.value)
    doubled = dataclasses.replace(good, pieces=(*good.pieces, good.pieces[0]))
    with pytest.raises(ReaderError, match="its work is"):
        gantt([doubled])


def test_what_cannot_share_an_axis_is_refused():
    with pytest.raises(ReaderError, match="other tasks"):
        gantt([lpt(GRAPH, 2), lpt(task_graph(VGG, 2), 2)])
    with pytest.raises(ReaderError, match="a multiple of 4"):
        gantt([one_f_one_b(GRAPH, 4, 4)], 6)
    with pytest.raises(ReaderError, match="0 schedules"):
        gantt([])
    with pytest.raises(ReaderError, match="title"):
        gantt([lpt(GRAPH, 2)], titles=[])
