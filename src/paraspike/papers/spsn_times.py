"""The SPSN paper's times: seconds an epoch (figure 3C) and against the sequence length (figure 5)."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers.spsn_published import by_arm, published, quantity

_LIF_ARMS = {
    "LIF as published": ("-", "o"),
    "LIF unbind": ("--", "s"),
    "LIF fused": (":", "^"),
}
_SPSN = "SPSN-SB (FFT)"
_FACTORS = {
    "slicing (LIF as published / unbind)": ("LIF as published", "LIF unbind"),
    "the Python loop (LIF unbind / fused)": ("LIF unbind", "LIF fused"),
    f"parallel in time (LIF fused / {_SPSN})": ("LIF fused", _SPSN),
    f"product (LIF as published / {_SPSN})": ("LIF as published", _SPSN),
}


def epoch_times(ax, seconds: xr.DataArray) -> None:
    """Published algorithms as bars, this engine's as ticks, the V100 hollow, on a log axis."""
    own = seconds
    if "implementation" in seconds.dims:
        names = [str(name) for name in seconds["implementation"].values]
        own = seconds.sel(implementation="as published" if "as published" in names else names[0])
    measured = by_arm(own, "repeat")
    known = {k: v for k, v in quantity("epoch_time").items() if k in measured}
    plots.bars(ax, measured, known, "published (V100, whole SHD)")
    ax.set_yscale("log")
    ax.set_ylabel("seconds per epoch, this machine\n(bars: algorithms as published)")
    if "implementation" in seconds.dims and "this engine" in names:
        groups = list(dict.fromkeys(g for g, _ in measured))
        shades = list(dict.fromkeys(s for _, s in measured))
        width = 0.8 / len(shades)
        for (group, shade), (value, _) in by_arm(
            seconds.sel(implementation="this engine"), "repeat"
        ).items():
            x = groups.index(group) + (shades.index(shade) - (len(shades) - 1) / 2) * width
            (line,) = ax.plot([x - width / 2, x + width / 2], [value] * 2, color=plots.INK, lw=2)
        line.set_label("this engine's algorithms")
        handles = [*ax.get_legend().legend_handles, line]
        where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}
        ax.legend(handles=handles, fontsize=8, columnspacing=1, handlelength=1.5, **where)


def figure5(results) -> Figure:
    """Training time against length, and LIF over SPSN for each LIF baseline."""
    data = plots.need(results, "duration", "seconds")
    seconds = data["seconds"].sortby("length")
    arms = [str(arm) for arm in seconds["arm"].values]
    fig, axes = plots.figure(2, 2, (11, 6.6), height_ratios=[3.4, 1])
    left, right = axes[0]
    medians = seconds.median("repeat")
    for arm in arms:
        line, marker = _style(arm)
        times = seconds.sel(arm=arm)
        x, ink = times["length"].values, plots.colour(arm.split(" ")[0])
        left.plot(x, medians.sel(arm=arm), line, marker=marker, ms=5, color=ink, label=arm)
        low, high = times.min("repeat"), times.max("repeat")
        left.fill_between(x, low, high, color=ink, alpha=0.15, lw=0)
    base = "SPSN-SB (FFT)" if "SPSN-SB (FFT)" in arms else arms[-1]
    for arm in (arm for arm in arms if arm.startswith("LIF")):
        line, marker = _style(arm)
        ratio = medians.sel(arm=arm) / medians.sel(arm=base)
        ink = plots.colour("LIF")
        right.plot(ratio["length"], ratio, line, marker=marker, ms=5, color=ink, label=arm)
        end = (float(ratio["length"][-1]), float(ratio[-1]))
        right.annotate(f"{end[1]:.3g}x", end, (6, -3), textcoords="offset points", fontsize=8)
    known = published("figure3").query("quantity == 'speedup_max'")["value"].iloc[0]
    plots.hollow(right, [10_000], [known], label="published (V100)")
    right.annotate(
        f"{known:.0f}x", (10_000, known), (-34, -3), textcoords="offset points", fontsize=8
    )
    right.axhline(1, color=plots.PALE, lw=1, ls=":")
    left.set_ylabel("seconds, forward and backward\n(median; shade: least to most)")
    right.set_ylabel(f"training time over {base}\n(measured: this machine)")
    for ax, letter in ((left, "A"), (right, "B")):
        ax.set(xscale="log", yscale="log", xlabel="sequence length (steps)")
        ax.legend(fontsize=8, loc="upper left")
        plots.letter(ax, letter)
    left.set_ylim(top=left.get_ylim()[1] * 30)
    right.set_ylim(top=right.get_ylim()[1] * 10)
    if "disturbed" in data and float(data["disturbed"].max()) > 0:
        x, y = np.array(
            [
                (float(length), float(medians.sel(arm=arm, length=length)))
                for arm in arms
                for length in seconds["length"].values
                if data["disturbed"].sel(arm=arm, length=length) > 0
            ]
        ).T
        left.plot(x, y, "x", ms=11, color=plots.INK, label="disturbed by other processes")
        left.legend(fontsize=8, loc="upper left")
    right.set_xlim(right=max(10_000, float(seconds["length"][-1])) * 1.6)
    for ax in axes[1]:
        ax.remove()
    low = fig.add_subplot(axes[1, 0].get_gridspec()[1, :])
    low.axis("off")
    plots.grid(low.inset_axes((0.37, 0, 0.63, 1)), factors(data, known), [0.36, 0.3])
    plots.title(fig, "Figure 5: training time against sequence length", data)
    return fig


def factors(data: xr.Dataset, known: float) -> pd.DataFrame:
    """What each LIF baseline takes out of the speed-up, at the longest length that the product has.

    Args:
        known: the published speed-up.
    """
    medians = data["seconds"].median("repeat").sortby("length")
    arms = [arm for arm in ("LIF as published", _SPSN) if arm in medians["arm"].values]
    whole = medians.sel(arm=arms).dropna("length")
    at = int((whole if whole.sizes["length"] else medians)["length"][-1])
    here = []
    for over, under in _FACTORS.values():
        lacking = [arm for arm in (over, under) if arm not in medians["arm"].values]
        if lacking:
            here.append(f"{', '.join(lacking)}: not measured")
            continue
        ratio = float(medians.sel(arm=over, length=at) / medians.sel(arm=under, length=at))
        mark = ""
        if "disturbed" in data:
            flags = data["disturbed"].sel(arm=[over, under], length=at)
            mark = " (disturbed)" if float(flags.max()) > 0 else ""
        here.append(f"{ratio:.3g}x{mark}")
    device = data.attrs.get("device", "this machine")
    backend = data.attrs.get("backend", "")
    columns = {
        f"{at:,} steps, {device}, {backend}".rstrip(", "): here,
        "published: 10,000 steps, V100": ["not given"] * 3 + [f"{known:g}x"],
    }
    return pd.DataFrame(columns, index=list(_FACTORS))


def _style(arm: str) -> tuple[str, str]:
    return _LIF_ARMS.get(arm, ("-", "D") if arm.endswith("(FFT)") else ("--", "v"))
