"""The benchmark as one picture: a panel of bars per workload, and time against density."""

import numpy as np
import pandas as pd

from benchmarks.libraries import NEAR, OURS, YARDSTICK
from benchmarks.report import best
from paraspike import machine, plots

_UNIT = {"W1": "a presentation", "W1e": "a batch", "W2i": "an inference"}
_WHAT = ["workload", "T", "batch"]
_OURS, _NEAR, _PEER, _LOOP = "#0072B2", "#7FB8D8", "#9A9A9A", "#D0D0D0"


def draw(frame: pd.DataFrame):
    """The figure for the largest thread count measured, from the rows of the CSV."""
    threads = int(frame["threads"].max())
    rows = best(frame).query("threads == @threads")
    against = rows[rows["workload"] == "W2d"]
    panels = list(rows[rows["workload"] != "W2d"].groupby(_WHAT, sort=False))
    count = len(panels) + (len(against) > 0)
    columns = min(3, count)
    lines = -(-count // columns)
    fig, axes = plots.figure(lines, columns, (4.6 * columns, 2.9 * lines), squeeze=False)
    places = axes.ravel()
    for ax, (key, part) in zip(places, panels, strict=False):
        _bars(ax, key, part)
    if len(against):
        _curves(places[len(panels)], against)
    for ax in places[count:]:
        ax.remove()
    fig.suptitle(
        f"Seconds per step, {threads} threads", x=0.01, ha="left", fontsize=12, fontweight="bold"
    )
    note = [f"{machine.device('cpu')} · medians, libraries in turn · dashed: floor"]
    if rows["disturbed"].any():
        note.append("* disturbed by other processes")
    fig.supxlabel("\n".join(note), x=0.01, ha="left", fontsize=8, color=plots.PALE)
    return fig


def _bars(ax, key, rows: pd.DataFrame) -> None:
    """Horizontal bars, fastest on top, with their values."""
    name, steps, batch = key
    rows = rows.sort_values("seconds_median", ascending=False)
    seconds, floor = rows["seconds_median"].to_numpy(), rows["floor_seconds"].iloc[0]
    inks = [
        {OURS: _OURS, NEAR: _NEAR, YARDSTICK: _LOOP}.get(library, _PEER)
        for library in rows["library"]
    ]
    ax.barh(range(len(rows)), seconds, color=inks, height=0.72)
    marks = np.where(rows["disturbed"], "*", "")
    for y, (value, mark) in enumerate(zip(seconds, marks, strict=True)):
        ax.annotate(
            f"{_time(value)}{mark}",
            (value, y),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.set_yticks(range(len(rows)), rows["library"], fontsize=8.5)
    # Bars of one thickness, few or many.
    ax.set_ylim(min(-0.6, len(rows) - 5.6), len(rows) - 0.4)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")
    least = min(seconds.min(), floor) if floor > 0 else seconds.min()
    ax.set_xscale("log")
    ax.set_xlim(least / 2, seconds.max() * 5)
    if floor > 0:
        ax.axvline(floor, color=plots.INK, lw=1, ls="--")
    ax.grid(axis="y", visible=False)
    ax.set_title(f"{name}: T = {steps}, batch {batch}")
    ax.set_xlabel(f"seconds {_UNIT.get(name, 'a training step')}")


def _curves(ax, rows: pd.DataFrame) -> None:
    """Seconds against the input's density, a line per library."""
    inks = iter(("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#6E6E6E"))
    steps = rows["T"].iloc[0]
    for library, part in rows.groupby("library", sort=False):
        ours = library == OURS
        part = part.sort_values("density")
        ink = _OURS if ours else _LOOP if library == YARDSTICK else next(inks)
        look = {"color": ink, "lw": 2.5 if ours else 1.2, "marker": "o", "ms": 4}
        ax.plot(100 * part["density"], part["seconds_median"], label=library, **look)
    floor = rows.drop_duplicates("density").sort_values("density")
    ax.plot(100 * floor["density"], floor["floor_seconds"], color=plots.INK, lw=1, ls="--")
    ax.set(xscale="log", yscale="log", xlabel="input density (%)", ylabel="seconds a training step")
    ticks = sorted(100 * rows["density"].unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_ylim(top=ax.get_ylim()[1] * 6)
    ax.legend(fontsize=7, ncols=3, loc="upper left", handlelength=1.2, columnspacing=0.8)
    ax.set_title(f"W2d: W2 at T = {steps} over input density")


def _time(seconds: float) -> str:
    """Three figures in s, ms or µs."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.2g} s"
