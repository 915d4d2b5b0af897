"""Schedules by the clock: every arm's time of a sample on this machine's cores, and what it took."""

import numpy as np
from matplotlib.figure import Figure

from paraspike import plots

# By how an arm's name begins; the rest is one process.
INKS = {
    "runtime": ("#0072B2", "delayed gradients (this runtime)"),
    "torch": ("#CC79A7", "flushed at every update (torch.distributed.pipelining)"),
    "data parallel": ("#E69F00", "data parallel"),
    "processes apart": ("#BBBBBB", "independent trainings side by side (what these cores give)"),
    "": ("#6E6E6E", "one process"),
}


def runtime(results) -> Figure:
    """Milliseconds of a sample by every arm, and its speedup over one process beside the expected one."""
    data = plots.need(results, "runtime", "seconds", "modelled", "difference", "busy")
    counts = data["processors"].values
    fig, axes = plots.figure(len(counts), 2, (12, 0.55 + 4.2 * len(counts)), squeeze=False)
    for (left, right), count in zip(axes, counts, strict=True):
        part = data.sel(processors=count)
        part = part.isel(arm=np.flatnonzero(part["seconds"].notnull().any("repeat").values))
        _times(left, part)
        _gains(right, part)
        for ax in (left, right):
            ax.set_title(f"{count} processes on {data.attrs['cores']} cores")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=9)
    own = data["difference"].isel(arm=[str(a).startswith("runtime") for a in data["arm"].values])
    plots.title(
        fig, "Schedules in real processes, measured", data,
        f"{data.attrs['network']}, {data.attrs['batch_size']} samples an update, "
        f"{data.attrs['updates']} updates, one thread a process; bars: medians, points: repetitions",
        f"largest difference of a weight between this runtime and the emulator: {float(own.max()):.1g}",
        "black lines: without fill and drain; diamonds: what the schedule promises for the measured task times",
        data.attrs["caveat"],
    )  # fmt: skip
    return fig


def _kind(name):
    return next(INKS[start] for start in INKS if name.startswith(start))


def _times(ax, data):
    names = [str(name) for name in data["arm"].values]
    at, seen = np.arange(len(names))[::-1], set()
    for y, name in zip(at, names, strict=True):
        values = 1e3 * data["seconds"].sel(arm=name).values
        ink, label = _kind(name)
        ax.barh(
            y, np.nanmedian(values), color=ink, height=0.7, label=None if label in seen else label
        )
        ax.plot(values, np.full(len(values), y), ".", color=plots.INK, ms=5, zorder=4)
        seen.add(label)
    ax.set_yticks(at, names, fontsize=9)
    ax.set(xlabel="time of a sample (ms), measured", xlim=(0, None))


def _gains(ax, data):
    names = [str(name) for name in data["arm"].values]
    medians = data["seconds"].median("repeat")
    at = np.arange(len(names))[::-1]
    for y, name in zip(at, names, strict=True):
        gain = float(medians.isel(arm=0) / medians.sel(arm=name))
        steady = float(medians.isel(arm=0) / data["steady"].sel(arm=name).median("repeat"))
        ax.barh(y, gain, color=_kind(name)[0], height=0.7)
        ax.plot(steady, y, "|", color=plots.INK, ms=14, mew=2)
        delay = float(data["delay"].sel(arm=name))
        words = f"{gain:.2f}" + (f", total delay {delay:.0f}" if delay else "")
        ax.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=9)
        expected = float(data["modelled"].sel(arm=name))
        if np.isfinite(expected):
            ax.plot(expected, y, "D", mfc="white", mec=plots.INK, ms=6, zorder=5)
    ax.axvline(1, color=plots.INK, lw=1, ls=":")
    ax.set_yticks(at, [""] * len(names))
    ax.set(xlabel="speedup over one process: bars measured, diamonds modelled")
    ax.set_xlim(0, None)
