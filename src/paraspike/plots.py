"""One look for every figure: theme, colours by model, published beside measured, saved twice."""

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.machine import label

# Okabe and Ito's palette, told apart with every kind of colour blindness.
COLOURS = {
    "LIF": "#D55E00",
    "SPSN-SB": "#0072B2",
    "SPSN-GS": "#009E73",
    "ReLU": "#6E6E6E",
}
OTHERS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYNTHETIC = ("cochlea", "blobs", "modulation")
# How strong a model's colour is for a regime or readout, and its hatch.
SHADES = {
    "basic": (0.35, ""),
    "augmentation": (1.0, ""),
    "augmentation+regularisation": (0.65, "////"),
}
INK, PALE = "#222222", "#8A8A8A"
_PART: ContextVar[SubFigure | None] = ContextVar("part", default=None)


class NotMeasuredError(ReaderError):
    """Results lack the experiment or variable that a figure draws."""


def colour(name: str) -> str:
    """The colour of a model, the same in every figure; other names get one of four more."""
    for model in sorted(COLOURS, key=len, reverse=True):
        if name == model:
            return COLOURS[model]
    return OTHERS[sum(name.encode()) % len(OTHERS)]


def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.0, 4.0), **options):
    """A figure and its axes in the house theme; size in inches."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.85)
    matplotlib.rcParams |= {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "legend.frameon": False,
        "text.color": INK,
        "figure.facecolor": "white",
        "svg.hashsalt": "paraspike",
        "svg.fonttype": "path",
    }
    if part := _PART.get():
        return part, part.subplots(rows, columns, **options)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


@contextmanager
def inside(part: SubFigure) -> Iterator[None]:
    """What `figure` would make alone fills this part of a larger figure instead."""
    token = _PART.set(part)
    try:
        yield
    finally:
        _PART.reset(token)


def need(results: xr.DataTree | xr.Dataset, experiment: str, *variables: str) -> xr.Dataset:
    """The experiment's Dataset out of a paper's tree (or itself), which must hold these variables.

    Raises:
        NotMeasuredError: names the experiment or variable that is missing.
    """
    if isinstance(results, xr.DataTree):
        if experiment not in results.children:
            have = ", ".join(sorted(results.children)) or "nothing"
            raise NotMeasuredError(f"no experiment {experiment!r} to draw", f"results of {have}")
        results = results[experiment].to_dataset()
    for name in variables:
        if name not in results:
            have = ", ".join(map(str, results.data_vars))
            raise NotMeasuredError(f"{experiment} holds no {name!r} to draw", f"variables {have}")
    return results


def context(data: xr.Dataset) -> str:
    """One line naming data set, scale, backend, seeds and, for times, the device."""
    attrs = data.attrs
    words = []
    if (dataset := attrs.get("dataset", "none")) != "none":
        kind = " (synthetic)" if set(dataset.split(", ")) <= set(SYNTHETIC) else ""
        kind = " (unverified)" if attrs.get("data_verified", 1) == 0 else kind
        words.append(f"data {dataset}{kind}")
    words += [f"scale {attrs['scale']}"] if "scale" in attrs else []
    words += [f"backend {label(attrs['backend'])}"] if "backend" in attrs else []
    if seeds := len(json.loads(attrs.get("seeds", "[]"))):
        words.append(f"{seeds} seed{'s' * (seeds > 1)}")
    if attrs.get("timed"):
        words.append(f"{attrs['device']}, {attrs['threads']} thread(s)")
    if "disturbed" in data and float(data["disturbed"].max()) > 0:
        words.append("disturbed by other processes")
    return " · ".join(words)


def title(fig: Figure, text: str, data: xr.Dataset, *notes: str, **panels: xr.Dataset) -> None:
    """Headline and, below the figure in grey, the context of the data, then `notes` (empty ones are left out)
    and, by their letters, the context of `panels` that draw another experiment than `data`."""
    lines = [context(data), *filter(None, notes)]
    lines += [f"{letter}: {context(other)}" for letter, other in panels.items()]
    headline(fig, text)
    footnote(fig, "\n".join(lines))


def headline(fig: Figure | SubFigure, text: str) -> None:
    """The bold line above a figure, in place of the one it has."""
    fig.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")


def footnote(fig: Figure | SubFigure, text: str) -> None:
    """The grey lines below a figure, in place of those it has."""
    fig.supxlabel(text, x=0.01, ha="left", fontsize=8, color=PALE)


def letter(ax: Axes, name: str) -> None:
    """A panel's letter, above the axes on the left."""
    ax.text(-0.12, 1.03, name, transform=ax.transAxes, fontsize=13, fontweight="bold")


def save(fig: Figure, stem: str | Path) -> tuple[Path, Path]:
    """Write <stem>.svg and <stem>.png, each whole or not at all; equal figures give equal bytes. In a notebook
    the figure is shown and closed."""
    stem = paths.resolve(stem)
    written = []
    # The layout takes longer than the drawing, and is the same for every format.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for kind, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 150})):
        written.append(stem.with_name(f"{stem.name}.{kind}"))
        with paths.replacing(written[-1]) as temporary:
            fig.savefig(temporary, format=kind, **options)
    _show(fig)
    return tuple(written)


def _show(fig: Figure) -> None:
    """In a notebook, once: its own way of showing figures lays every open one out again, twice."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return
    from IPython.display import Image, display

    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=80)
    display(Image(picture.getvalue()))
    plt.close(fig)


def spread(values: xr.DataArray, over: str) -> tuple[float, float]:
    """Mean and standard deviation over an axis; no deviation where there is one value only."""
    array = values.values[~np.isnan(values.values)] if over in values.dims else values.values
    array = np.atleast_1d(array)
    if not array.size:
        return np.nan, np.nan
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else np.nan


def bars(
    ax: Axes,
    measured: Mapping[tuple[str, str], tuple[float, float]],
    published: Mapping[tuple[str, str], tuple[float, float]],
    label: str = "published",
) -> None:
    """Measured bars grouped by the first key, shaded by the second, published as hollow diamonds.

    Args:
        measured, published: (group, shade) -> (value, standard deviation or NaN).
        label: what the diamonds are, e.g. "published (V100)".
    """
    groups = list(dict.fromkeys(group for group, _ in measured))
    shades = list(dict.fromkeys(shade for _, shade in measured))
    width = 0.8 / len(shades)
    for (group, shade), (value, deviation) in measured.items():
        x = groups.index(group) + (shades.index(shade) - (len(shades) - 1) / 2) * width
        look = _shade(shade, shades, colour(group))
        ax.bar(x, value, width * 0.92, linewidth=0.8, **look)
        _error(ax, x, value, deviation, INK)
        if (group, shade) in published:
            number, deviation = published[group, shade]
            hollow(ax, x, number, deviation)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(axis="x", visible=False)
    handles = [Patch(label=shade, **_shade(shade, shades, PALE)) for shade in shades]
    if published:
        handles.append(hollow(ax, [], [], label=label))
    ax.legend(handles=handles, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def hollow(ax: Axes, x, y, deviation: float = np.nan, label: str | None = None):
    """Published values: hollow diamonds with their standard deviation."""
    style = {"marker": "D", "ms": 5, "mfc": "white", "mec": INK, "mew": 1.1, "ls": "none"}
    (line,) = ax.plot(x, y, label=label, zorder=5, **style)
    _error(ax, x, y, deviation, INK, zorder=4)
    return line


def _error(ax: Axes, x, y, deviation: float, ink: str, zorder: float = 3) -> None:
    if np.size(x) and np.isfinite(deviation):
        ax.errorbar(x, y, deviation, fmt="none", ecolor=ink, elinewidth=1, capsize=2, zorder=zorder)


def _shade(name: str, names: Sequence[str], base: str) -> dict:
    ladder = 0.3 + 0.7 * names.index(name) / max(len(names) - 1, 1)
    strength, hatch = SHADES.get(name, (ladder, ""))
    face = sns.light_palette(base, 101)[round(100 * strength)]
    return {"facecolor": face, "edgecolor": "white" if hatch else base, "hatch": hatch}


def grid(ax: Axes, cells: pd.DataFrame, widths: Sequence[float]) -> None:
    """Fill the axes with a table of text: the index as first column, columns as header."""
    ax.axis("off")
    names = {"rowLabels": list(cells.index), "colLabels": list(cells.columns)}
    look = {"colWidths": widths, "cellLoc": "center", "bbox": (0, 0, 1, 1)}
    table = ax.table(cellText=cells.values, **names, **look)
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#D0D0D0")
        if row == 0 or column == -1:
            cell.set_text_props(fontweight="bold", color=INK)
            cell.set_facecolor("#F4F4F4")
