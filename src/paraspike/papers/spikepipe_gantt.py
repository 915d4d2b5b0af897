"""Gantt charts: several schedules of one graph below one another, fill and drain included."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerPatch
from matplotlib.patches import Patch, Rectangle

from paraspike import plots
from paraspike.errors import ReaderError
from paraspike.papers.spikepipe_strokes import headline
from paraspike.pipelining.checker import replayed
from paraspike.pipelining.schedules import Schedule

# Where a bar has a stripe, as shares of its height from its top: bars get too narrow for hatches.
STRIPES = {"F": None, "B": (0.0, 0.25), "W": (0.75, 0.25)}
NAMES = {"F": "F: forward", "B": "B: error", "W": "W: weights"}
SCALES = {1: "cycles", 1e3: "thousand cycles", 1e6: "million cycles"}
MANY = {1: "", 1e3: " (thousands)", 1e6: " (millions)"}
WIDTH, ROW, HEIGHT = 12.0, 0.25, 0.88
# Inches that a digit of a bar's sample number takes, with its margin.
DIGIT = 0.065


@dataclass(frozen=True)
class Bar:
    """A piece at work for one sample: a task or a part of one. Times in cycles, samples from 1."""

    processor: int
    start: int
    length: int
    kind: str
    layer: int
    sample: int


def bars(schedule: Schedule, samples: int) -> list[Bar]:
    """What every processor does for the first `samples` (micro)batches, the first start at 0.

    Raises:
        ReaderError: no whole number of periods.
    """
    repetitions, rest = divmod(samples, schedule.micro)
    if rest or repetitions < 1:
        raise ReaderError(
            f"{samples} samples", f"gantt of {schedule.method}", f"a multiple of {schedule.micro}"
        )
    first = min(schedule.start(piece) for piece in schedule.pieces)
    return [
        Bar(
            piece.processor,
            schedule.start(piece, repetition) - first,
            piece.length,
            piece.kind,
            piece.layer,
            repetition * schedule.micro + piece.micro + 1,
        )
        for repetition in range(repetitions)
        for piece in schedule.pieces
    ]


def gantt(
    schedules: Sequence[Schedule],
    samples: int = 8,
    share: bool = False,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Gantt charts of schedules of the same tasks on one time axis, `samples` (micro)batches each.

    Rows are processors; a bar's colour is its layer, its stripe F, B or W, its number the sample where there
    is room. A period is marked, in the steady state where these samples reach it. Every schedule is replayed
    by the checker first.

    Args:
        share: the axis in shares of one sample's cycles on one processor instead of cycles.
        titles: names of the schedules; None for their methods.

    Raises:
        ReaderError: no schedule, other tasks than the first one's, samples that are no whole number of
            periods, or a schedule that the checker rejects, with its words.
    """
    if not schedules or (titles is not None and len(titles) != len(schedules)):
        count = "no" if titles is None else len(titles)
        raise ReaderError(
            f"{len(schedules)} schedules, {count} titles", "gantt", "a title for each"
        )
    for schedule in schedules:
        if schedule.graph.tasks != schedules[0].graph.tasks:
            raise ReaderError(
                f"{schedule.method} has other tasks", "gantt", "schedules of one graph"
            )
        replayed(schedule, "gantt", max(60, samples))
    graph, charts = schedules[0].graph, [bars(schedule, samples) for schedule in schedules]
    unit = graph.total if share else 1e6 if graph.total >= 1e6 else 1e3 if graph.total >= 1e4 else 1
    rows = [schedule.processors + 1.6 for schedule in schedules]
    size = (WIDTH, ROW * sum(rows) + 0.3 * len(rows) + 1.3)
    look = {"sharex": True, "squeeze": False, "height_ratios": rows}
    fig, axes = plots.figure(len(schedules), 1, size, **look)
    names = titles or [schedule.method for schedule in schedules]
    end = max(bar.start + bar.length for chart in charts for bar in chart)
    inches = (WIDTH - 2) / end
    for ax, schedule, chart, name in zip(axes[:, 0], schedules, charts, names, strict=True):
        _panel(ax, schedule, chart, unit, inches)
        ax.set_title(f"{name}: {_words(schedule)}", fontsize=10)
    axes[0, 0].set_xlim(0, end / unit * 1.005)
    label = f"cycles{MANY.get(unit, '')}"
    if share:
        label = "cycles, as a share of one sample's on one processor"
    axes[-1, 0].set_xlabel(f"modelled {label}")
    axes[-1, 0].spines["bottom"].set_visible(True)
    _legend(fig, graph.depth)
    network = f"{graph.network.name}, " if graph.network else ""
    array = f", {graph.array[0]} × {graph.array[1]} array" if graph.network else ""
    batch = (
        f"{samples} (micro)batches of {graph.batch}" if graph.batch > 1 else f"{samples} samples"
    )
    note = "speedup: steady state, against one processor; total delay: sum over the layers; numbers: samples"
    whole = [s for s in schedules if s.work != s.micro * graph.total]
    more = f"{whole[0].method}: against one processor with the whole batch at once" if whole else ""
    headline(fig, f"Schedules of {network}{batch}{array} (modelled)", note, *filter(None, [more]))
    return fig


def _panel(ax, schedule, chart, unit, inches):
    ax.grid(axis="y", visible=False)
    end = max(bar.start + bar.length for bar in chart)
    for processor in range(schedule.processors):
        box = _box(0, processor, end / unit)
        ax.add_patch(Rectangle(*box, fc="#EFEFEF", ec="none", zorder=1))
    groups = {}
    for bar in chart:
        groups.setdefault((bar.layer, bar.kind), []).append(bar)
    for (layer, kind), group in groups.items():
        face, ink = _colours(layer, schedule.graph.depth)
        edge = {"edgecolor": "white", "linewidth": 0.5}
        boxes = [Rectangle(*_box(b.start / unit, b.processor, b.length / unit)) for b in group]
        ax.add_collection(PatchCollection(boxes, label=f"{kind}{layer}", fc=face, zorder=2, **edge))
        shift = 0.0
        if stripe := STRIPES[kind]:
            boxes = [_box(b.start / unit, b.processor, b.length / unit, stripe) for b in group]
            boxes = [Rectangle(*box) for box in boxes]
            ax.add_collection(PatchCollection(boxes, fc=plots.INK, zorder=3, **edge))
            shift = HEIGHT * (0.5 - stripe[0] - stripe[1] / 2) * stripe[1] * 1.3
        for bar in group:
            if bar.length * inches > DIGIT * (len(str(bar.sample)) + 0.6):
                at = (bar.start + bar.length / 2) / unit, bar.processor + shift
                look = {"ha": "center", "va": "center_baseline", "color": ink, "fontsize": 7}
                ax.text(*at, str(bar.sample), zorder=4, **look)
    _mark(ax, schedule, chart, unit)
    ax.set_ylim(schedule.processors - 0.4, -1.5)
    ax.set_yticks(range(schedule.processors), range(1, schedule.processors + 1), fontsize=8)
    ax.set_ylabel("processor", fontsize=9)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _box(start, processor, length, stripe=(0.0, 1.0)):
    """Corner, width and height of a bar or of its stripe, in units of the axes."""
    return (start, processor + HEIGHT * (stripe[0] - 0.5)), length, HEIGHT * stripe[1]


def _mark(ax, schedule, chart, unit):
    """One period as a bracket over the rows: the first in which all pieces run, or these samples' last."""
    repetitions = max(bar.sample for bar in chart) // schedule.micro
    first = min(schedule.start(piece) for piece in schedule.pieces)
    last = max((schedule.start(p) + p.length - 1) // schedule.period for p in schedule.pieces)
    full = min(last, repetitions - 1)
    begin = (full * schedule.period - first) / unit
    finish = begin + schedule.period / unit
    arrow = {"arrowstyle": "<->", "lw": 1.0, "color": plots.INK, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (begin, -0.95), (finish, -0.95), arrowprops=arrow)
    for x in (begin, finish):
        ax.vlines(
            x, -1.2, schedule.processors - 0.5, color=plots.INK, lw=0.9, ls=(0, (4, 2)), zorder=3.5
        )
    text = f"  period {schedule.period / unit:.3g} {SCALES.get(unit, '')}".rstrip()
    if full < last:
        text += ", before the steady state"
    ax.text(finish, -0.95, text, va="center", fontsize=8)


def _words(schedule):
    words = [f"speedup {schedule.speedup:.2f}"]
    delay = sum(schedule.staleness)
    words.append(f"total delay {delay} update{'s' * (delay != 1)}" if delay else "no delay")
    if schedule.micro > 1:
        words.append(f"one update for {schedule.micro} samples")
    return ", ".join(words)


def _colours(layer, depth):
    """Of a layer's bars, and of what stands on them."""
    share = (layer - 1) / max(depth - 1, 1)
    face = matplotlib.colormaps["viridis"](0.22 + 0.76 * share)[:3]
    dark = np.dot(face, (0.299, 0.587, 0.114)) < 0.5
    return face, "white" if dark else plots.INK


class _Striped(HandlerPatch):
    """A legend's entry with the stripe of its kind of task, the first letter of its label."""

    def create_artists(self, legend, handle, left, below, width, height, size, trans):
        look = {"lw": 0, "transform": trans}
        whole = Rectangle((-left, -below), width, height, fc="#AAAAAA", **look)
        stripe = STRIPES[handle.get_label()[0]]
        if not stripe:
            return [whole]
        bottom = height * (1 - stripe[0] - stripe[1]) - below
        return [
            whole,
            Rectangle((-left, bottom), width, height * stripe[1], fc=plots.INK, **look),
        ]


def _legend(fig, depth):
    layers = [Patch(fc=_colours(k, depth)[0], label=f"layer {k}") for k in range(1, depth + 1)]
    kinds = [Patch(label=name) for name in NAMES.values()]
    handlers = dict.fromkeys(kinds, _Striped())
    look = {"loc": "outside right upper", "fontsize": 8.5, "handleheight": 1.3}
    fig.legend(handles=layers + kinds, handler_map=handlers, **look)
