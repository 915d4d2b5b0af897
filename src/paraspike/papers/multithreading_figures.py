"""Figures 2 to 5 of Bettendorf & Shears: throughput against processes and threads, ours beside theirs.

Each function takes the paper's DataTree and returns a matplotlib Figure for `plots.save`.
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from paraspike import plots
from paraspike.papers import multithreading_published as published

INK = {"as_published": "#D55E00", "corrected": "#0072B2"}
NAMES = {"as_published": "as published", "corrected": "corrected"}
_TITLE = "{}: {} throughput on {}"


def rates(data: xr.Dataset, variable: str = "seconds") -> xr.DataArray:
    """Images per second, the median over repetitions."""
    return 1 / data[variable].median("repeat")


def count_axis(ax: Axes, counts, cores: int | None = None) -> None:
    """An axis of thread counts, doubling; 0 is the single-threaded baseline, at the left."""
    counts = [int(n) for n in counts]
    ax.set_xscale("symlog", base=2, linthresh=1, linscale=0.6)
    ax.xaxis.set_major_locator(FixedLocator(counts))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels(["none" if n == 0 else str(n) for n in counts])
    ax.set_xlim(min(counts) - 0.15 if 0 in counts else min(counts) * 0.9, max(counts) * 1.12)
    if cores and max(counts) > cores:
        ax.axvspan(cores, max(counts) * 1.12, color="#F3F3F3", zorder=0)
        ax.annotate(
            f"more than {cores} cores", (1, 1), xycoords="axes fraction", xytext=(0, 3),
            textcoords="offset points", fontsize=7, color=plots.PALE, ha="right",
        )  # fmt: skip


def _shade(ink: str, i: int, n: int):
    return sns.light_palette(ink, n + 2)[i + 2]


def _curves(ax: Axes, one: xr.DataArray, along: str, ink: str, name: str, **style) -> None:
    """A line for each batch size, darker the larger."""
    for i, batch in enumerate(one["batch"].values):
        row = one.sel(batch=batch).dropna(along)
        if row.size:
            shade = _shade(ink, i, one.sizes["batch"])
            label = f"{name}, batch {batch}"
            ax.plot(row[along], row, marker="o", ms=4, lw=1.5, color=shade, label=label, **style)


def _rescue(results, experiment: str, device: str):
    data = plots.need(results, experiment, "seconds")
    return data, rates(data).sel(device=device) if device in data["device"].values else None


def _absent(ax: Axes, device: str) -> None:
    ax.text(
        0.5, 0.5, f"no {device} on this machine:\nnothing measured", transform=ax.transAxes,
        ha="center", va="center", color=plots.PALE, fontsize=9,
    )  # fmt: skip
    ax.set(xticks=[], yticks=[])


def _cnn(results, device: str, name: str) -> Figure:
    data, all_rates = _rescue(results, "cnn", device)
    fig, axes = plots.figure(1, 3, (13, 4.2))
    for ax, arm in zip(axes, data["arm"].values, strict=False):
        if all_rates is None:
            _absent(ax, device)
        else:
            _curves(ax, all_rates.sel(arm=arm), "processes", INK[arm], NAMES[arm])
            count_axis(ax, data["processes"].values, data.attrs.get("cores"))
            ax.legend(fontsize=7.5)
            ax.set_ylim(0)
        ax.set_title(NAMES[arm])
        ax.set_xlabel("processes")
        ax.set_ylabel("images trained on per second")
    ax = axes[2]
    if device == "cpu":
        counts, ops = zip(*published.CNN.items(), strict=True)
        plots.hollow(ax, counts, np.array(ops) / ops[0], label="published, batch 128")
    if all_rates is not None:
        for arm in data["arm"].values:
            one = all_rates.sel(arm=arm).isel(batch=0 if arm == "corrected" else -1)
            relative = (one / one.isel(processes=0)).dropna("processes")
            ax.plot(
                relative["processes"], relative, marker="o", ms=4, color=INK[arm], label=NAMES[arm]
            )
    ax.axhline(1, color=plots.INK, lw=0.8, ls=":")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(
        xlabel="processes",
        ylabel="times one process",
        title="speedup: largest batch; corrected, smallest",
    )
    ax.set_ylim(0)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7.5)
    plots.title(fig, _TITLE.format(name, "CNN", device.upper()), data, _cnn_note())
    return fig


def _cnn_note():
    return (
        "as published, every process trains on all images, so more processes do more epochs;"
        " corrected, they share the images and have one thread each"
    )


def figure2(results) -> Figure:
    """The CNN on the CPU."""
    return _cnn(results, "cpu", "Figure 2")


def figure3(results) -> Figure:
    """The CNN on a GPU."""
    return _cnn(results, "cuda", "Figure 3")


def _snn(results, device: str, name: str) -> Figure:
    data, all_rates = _rescue(results, "throughput", device)
    fig, grid = plots.figure(2, 3, (13, 7.4))
    for axes, coding in zip(grid, ("rate", "temporal"), strict=True):
        for ax, arm in zip(axes, ("as_published", "corrected"), strict=False):
            ax.set_title(f"{coding} coding, {NAMES[arm]}")
            ax.set(xlabel="threads", ylabel="images per second")
            if all_rates is None or coding not in data["coding"].values:
                _absent(ax, device)
                continue
            chosen = all_rates.sel(arm=arm, coding=coding)
            for form, look in zip(data["form"].values, ("-", ":"), strict=False):
                word = {"pool": "Algorithm 2", "queue": "Queue"}[str(form)]
                _curves(ax, chosen.sel(form=form), "threads", INK[arm], word, ls=look)
            count_axis(ax, data["threads"].values, data.attrs.get("cores"))
            _peer(ax, data, arm, coding)
            shown = np.concatenate(
                [line.get_ydata() for line in ax.get_lines() if len(line.get_ydata())]
            )
            if np.nanmax(shown) > 10 * np.nanmin(shown):
                ax.set_yscale("log")
            else:
                ax.set_ylim(0)
            ax.legend(fontsize=6.5, ncols=2)
        _theirs(axes[2], "cpu" if device == "cpu" else "gpu", coding)
    plots.title(
        fig,
        _TITLE.format(name, "SNN", device.upper()),
        data,
        "threads none: no crew (as published torch then takes every core, corrected it has one);"
        " as published, the images are encoded within the time and nothing is learned\n"
        "BindsNET as it is today, without a crew; its temporal coding is no loop over pixels any more",
    )
    return fig


def _peer(ax, data, arm, coding):
    found = 1 / data["peer_seconds"].sel(arm=arm, coding=coding).median("repeat")
    for i, batch in enumerate(found["batch"].values):
        if np.isfinite(value := float(found.sel(batch=batch))):
            shade = _shade("#CC79A7", i, found.sizes["batch"])
            label = f"BindsNET, batch {batch}"
            ax.plot(0, value, marker="s", ms=6, ls="none", color=shade, label=label)


def _theirs(ax, device, coding):
    for i, batch in enumerate((32, 64, 128)):
        rows = published.throughput(device, coding, batch)
        shade = _shade("#555555", i, 3)
        style = {"marker": "D", "ms": 4, "mfc": "white", "lw": 1, "color": shade}
        ax.plot(rows["n_threads"], rows["images_per_s"], label=f"batch {batch}", **style)
    ax.set_title(f"{coding} coding, published")
    ax.set(xlabel="threads (0: single-threaded)", ylabel="images per second")
    ax.set_ylim(0)
    ax.legend(fontsize=7.5)


def figure4(results) -> Figure:
    """The SNN on the CPU."""
    return _snn(results, "cpu", "Figure 4")


def figure5(results) -> Figure:
    """The SNN on a GPU."""
    return _snn(results, "cuda", "Figure 5")


def faults(results) -> Figure:
    """What the benchmark's faults do to its two headlines."""
    data = plots.need(results, "throughput", "seconds", "encoding_seconds")
    all_rates = rates(data).isel(device=0).sel(form=data["form"].values[0])
    fig, (left, right) = plots.figure(1, 2, (11, 4.2))
    for arm in data["arm"].values:
        one = all_rates.sel(arm=arm, coding="rate")
        best = one.where(one["threads"] > 0).max("threads") / one.sel(threads=0)
        left.plot(range(best.size), best, marker="o", color=INK[arm], label=NAMES[arm])
    theirs = []
    for batch in data["batch"].values:
        rows = published.throughput("cpu", "rate", int(batch)).set_index("n_threads")[
            "images_per_s"
        ]
        theirs.append(rows[rows.index > 0].max() / rows[0])
    plots.hollow(left, range(len(theirs)), theirs, label="published, raw data")
    left.axhline(1, color=plots.INK, lw=0.8, ls=":")
    left.set_xticks(range(data.sizes["batch"]), data["batch"].values)
    left.set(xlabel="images per batch", ylabel="best with threads / without", ylim=(0, None))
    left.set_title("Threads against none, rate coding")
    left.legend(fontsize=8)
    codings = data["coding"].values
    whole = 1e3 / all_rates.sel(threads=0).isel(batch=0)
    coded = 1e3 * data["encoding_seconds"].sel(arm="as_published").median("repeat")
    shown = (
        ("as published", whole.sel(arm="as_published"), {"color": INK["as_published"]}),
        (
            "encoding alone",
            coded,
            {"color": "white", "edgecolor": INK["as_published"], "hatch": "///"},
        ),
        ("corrected", whole.sel(arm="corrected"), {"color": INK["corrected"]}),
    )
    for k, (name, values, look) in enumerate(shown):
        x = np.arange(len(codings)) + (k - 1) * 0.27
        right.bar(x, values.sel(coding=codings), 0.25, label=name, **look)
    right.set_xticks(range(len(codings)), [f"{c} coding" for c in codings])
    right.set(ylabel="ms per image, no crew", yscale="log")
    right.set_title(f"Coding, batch {int(data['batch'][0])}")
    right.legend(fontsize=8)
    plots.title(fig, "What the faults of the benchmark explain", data)
    return fig
