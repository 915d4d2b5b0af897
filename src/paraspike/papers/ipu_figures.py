"""The poster's figures from the cycle model, and the model against the one real log.

Each function takes the paper's DataTree, or the Dataset of its experiment `model`, and returns a Figure.
"""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paraspike import plots
from paraspike.ipu.calibration import UNCERTAINTY
from paraspike.ipu.mapping import missing

INKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
# As on the poster; the update, once a batch, is not in its traces.
PART_INKS = {"exchange": "#3B75C8", "compute": "#C8372D", "sync": "#F2C230", "update": "#8A8A8A"}
ERROR_INKS = {"cycle model": "#D55E00", "empirical": "#7B3FA0", "linear": plots.INK}
ASIDE = {"fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
LABELS = {
    "throughput": (1, "modelled throughput (samples/s)"),
    "updates": (1e-9, "modelled neuron updates (billions/s)"),
    "memory": (1, "modelled memory of the fullest tile (KiB)"),
    "efficiency": (100, "modelled efficiency\nagainst the fewest IPUs (percent)"),
}
CORNER = {"fontsize": 8, "ha": "right", "va": "top"}
RATES = (1000, 2000, 5000, 10000, 20000)
ACTIVITY = "maximum activity (percent of a layer)"
NEAR = f"the log's uncertainty, ±{UNCERTAINTY:g} ms"
SPREAD = "constants fitted without\none depth or activity"


def throughput(results) -> Figure:
    """Samples per second against maximum activity, by task, depth and machine; cycles of a time step."""
    data = plots.need(results, "model", "throughput", "fits", "cycles", "log_ms")
    fig, axes = plots.figure(2, 2, (13, 8))
    (first, *others), depths = map(str, data["machine"].values), data["depth"].values
    middle = int(data["depth"].sel(depth=3, method="nearest"))
    ink = _ink(middle)
    for task, ax in zip(map(str, data["task"].values), axes.flat, strict=False):
        here, x = data.sel(task=task), 100 * data["activity"].values
        ax.axvspan(1, 10, color="#F3F3F3", zorder=0, label="activities of the log")
        for depth in depths:
            rate = here["throughput"].sel(machine=first, depth=depth)
            label = f"modelled: {first}, {depth} hidden layers"
            ax.plot(x, rate, "-o", ms=3.5, color=_ink(depth), label=label)
        for name, line in zip(others, ("--", ":"), strict=False):
            rate, label = here["throughput"].sel(machine=name), f"{name}, {middle} hidden layers"
            ax.plot(x, rate.sel(depth=middle), line, lw=1.3, color=ink, label=f"modelled: {label}")
        one = here.sel(machine=first, depth=middle)
        ends = (one[f"throughput_{end}"] for end in ("low", "high"))
        ax.fill_between(x, *ends, color=ink, alpha=0.15, lw=0)
        if task == "N-MNIST":
            times = (48e3 / data[f"log_{end}"].values for end in ("ms", "low", "high"))
            (rate, high, low), at = times, 100 * data["cell_activity"].values
            inks = [_ink(d) for d in data["cell_depth"].values]
            ax.errorbar(at, rate, (rate - low, high - rate), fmt="none", ecolor=inks, zorder=4)
            ax.scatter(at, rate, 26, "white", marker="D", edgecolors=inks, zorder=5)
        ax.text(0.98, 0.97, missing(here["fits"]), **CORNER, transform=ax.transAxes)
        ax.set(xscale="log", yscale="log", title=f"{task}: modelled", ylim=(1e3, 3e4))
        ax.set(xlabel=ACTIVITY, ylabel=LABELS["throughput"][1])
        ax.set_xticks(x, [f"{p:g}" if p not in (2.5, 25) else "" for p in x])
        ax.set_yticks(RATES, [f"{rate:,}" for rate in RATES])
        ax.minorticks_off()
    _made_of(axes[1, 1], data["cycles"].sel(task="SHD", machine=first, depth=middle))
    axes[1, 1].set_title(f"A time step: {first}, SHD, {middle} layers, modelled")
    plots.hollow(axes[0, 0], [], [], label="published: the log\n(N-MNIST; bar: rounding)")
    axes[0, 0].fill_between([], [], color=ink, alpha=0.18, label=SPREAD)
    axes[0, 1].legend(*axes[0, 0].get_legend_handles_labels(), **ASIDE)
    text = "Throughput against maximum activity (modelled)"
    plots.title(fig, text, data, "100 time steps, batches of 48, Adam, two neurons a tile")
    return fig


def _made_of(ax, cycles):
    places = np.arange(cycles.sizes["activity"])
    bottom = 0.0 * places
    for part in map(str, cycles["part"].values):
        values = cycles.sel(part=part).values / 1e3
        ax.bar(places, values, 0.75, bottom, color=PART_INKS[part], label=f"modelled: {part}")
        bottom += values
    ax.set_xticks(places, [f"{100 * a:g}" for a in cycles["activity"].values])
    ax.set(xlabel=ACTIVITY, ylabel="modelled cycles a time step (thousands)")
    ax.legend(fontsize=8, loc="upper left")


def per_tile(results) -> Figure:
    """Throughput, neuron updates per second and memory against neurons per tile."""
    data = plots.need(results, "model", "tile_updates", "tile_fits")
    fig, axes = plots.figure(1, 3, (13, 4.8))
    x, sram = data["per_tile"].values, float(data.attrs["sram_kib"])
    for ax, key in zip(axes, ("throughput", "updates", "memory"), strict=True):
        scale, label = LABELS[key]
        for activity, ink in zip(data["tile_activity"].values, INKS, strict=False):
            one, text = data.sel(tile_activity=activity), f"modelled: {100 * activity:g} %"
            _fitting(ax, x, scale * one[f"tile_{key}"], one["tile_fits"], ink, text)
            if key == "throughput":
                ends = one["tile_throughput_low"], one["tile_throughput_high"]
                ax.fill_between(x, *ends, color=ink, alpha=0.15, lw=0)
        ax.set(xscale="log", xlabel="neurons a tile holds\n(hidden layers of ~982)", ylabel=label)
        ax.set_xticks(x, [f"{n}\n({d})" for n, d in zip(x, data["tile_depth"].values, strict=True)])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
    axes[2].axhline(sram, color=plots.INK, lw=1)
    axes[2].text(x[0], sram * 1.01, f"a tile has {sram:.0f} KiB", fontsize=8, va="bottom")
    axes[0].plot([], [], "o:", mfc="white", color=plots.PALE, label="does not fit SRAM")
    axes[0].fill_between([], [], color=plots.PALE, alpha=0.25, label=SPREAD)
    axes[2].legend(*axes[0].get_legend_handles_labels(), title="maximum activity", **ASIDE)
    note = "10 time steps, batches of 24, SGD; the log has two neurons a tile and two to five layers:\n"
    note += "right of the first point the model extrapolates, and it has no cost for each layer"
    plots.title(fig, "Neurons per tile, hidden layers of about 982 (modelled)", data, note)
    return fig


def multi_ipu(results) -> Figure:
    """Throughput, neuron updates per second and efficiency against the number of IPUs, weak and strong."""
    data = plots.need(results, "model", "ipu_updates", "ipu_fits")
    fig, axes = plots.figure(2, 3, (13, 7.8), sharex=True)
    x, activity = data["ipus"].values, data["ipu_activity"].sel(ipu_activity=0.05, method="nearest")
    for row, scaling in zip(axes, ("weak", "strong"), strict=True):
        row[1].set_yscale("log")
        for base, ink in zip(data["ipu_per_tile"].values, INKS, strict=False):
            one = data.sel(ipu_activity=activity, scaling=scaling, ipu_per_tile=base)
            text = f"modelled: {float(one['ipu_neurons'][-1]) / 1e3:.0f} thousand neurons"
            if scaling == "weak":
                text = f"modelled: {base} neurons a tile,\n{3 * base // 2} layers an IPU"
            for ax, key in zip(row, ("throughput", "updates", "efficiency"), strict=True):
                scale, label = LABELS[key]
                _fitting(ax, x, scale * one[f"ipu_{key}"], one["ipu_fits"], ink, text)
                ax.set(xscale="log", xlabel="IPUs" * (scaling == "strong"), ylabel=label)
            row[2].plot(x, 100 * one["ipu_efficiency_slow"], "--", lw=1, color=ink)
            for k, held in enumerate(one["ipu_held"].values) if scaling == "strong" else ():
                where = x[k] * 1.06, float(one["ipu_throughput"][k]) * 0.99
                row[0].text(*where, f"{held:g}", fontsize=7, color=ink, va="top")
        row[0].set_xticks(x, x)
        row[0].minorticks_off()
        for ax in row[[0, 2]]:
            ax.set_ylim(bottom=0)
        row[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        row[1].yaxis.set_major_formatter("{x:g}")
        row[1].minorticks_off()
        row[2].plot([], [], "o:", mfc="white", color=plots.PALE, label="does not fit SRAM")
        row[2].plot([], [], "--", lw=1, color=plots.PALE, label="were there 100\nbarriers a step")
        row[2].legend(**ASIDE)
    axes[0, 0].set_title("Weak scaling, as published (modelled)")
    axes[1, 0].set_title("Strong scaling (modelled)")
    words = "no log of several IPUs exists:\nnot checked against a machine"
    for ax, at in ((axes[0, 0], (0.03, 0.4)), (axes[1, 1], (0.16, 0.05))):
        ax.text(*at, words, fontsize=9, fontweight="bold", transform=ax.transAxes)
    note = f"10 time steps, batches of 24, SGD, {100 * float(activity):g} % maximum activity; strong: numbers\n"
    note += "are neurons a tile holds; a baseline that does not fit is what it would be with memory enough"
    plots.title(fig, "Several IPUs (modelled; no multi-IPU log exists)", data, note)
    return fig


def traces(results) -> Figure:
    """What every tile does in one forward and one backward time step."""
    data = plots.need(results, "model", "trace", "trace_cycles", "superstep_cycles")
    lengths, tiles = data["trace_cycles"].values / 1e3, data.sizes["tile"]
    fig, axes = plots.figure(1, 2, (13, 6), sharey=True, width_ratios=list(lengths))
    kinds = list(PART_INKS)[:3]
    look = {"cmap": ListedColormap([PART_INKS[kind] for kind in kinds]), "vmin": 0, "vmax": 2}
    per_us, first = float(data.attrs["clock_hz"]) / 1e9, data["trace_first_tile"].values
    for ax, way, length in zip(axes, data["direction"].values, lengths, strict=True):
        look |= {"aspect": "auto", "interpolation": "none", "extent": (0, length, tiles, 0)}
        ax.imshow(data["trace"].sel(direction=way).values, **look)
        ax.grid(False)
        ax.hlines(first, 0, length, color=plots.INK, lw=0.8)
        steps = data.isel(superstep=data["superstep_way"].values == way)
        begins = np.append(0, steps["superstep_cycles"].values.cumsum()) / 1e3
        for name, begin in zip(steps["superstep"].values, begins, strict=False):
            ax.axvline(begin, color=plots.INK, lw=0.5, ls=":")
            ax.text(begin, -8, str(name), rotation=45, fontsize=7.5, va="bottom")
        ax.set(xlabel="modelled cycles (thousands)")
        below = ax.secondary_xaxis(-0.16, functions=(lambda c: c / per_us, lambda t: t * per_us))
        below.set_xlabel(f"modelled time on {data.attrs['chip']} (µs)")
        ax.set_title(f"{way} step: {1e3 * length:,.0f} cycles, {length / per_us:.1f} µs", pad=52)
    axes[0].set_yticks((first + np.append(first[1:], tiles)) / 2, data["trace_layer"].values)
    axes[0].set(ylabel=f"layer on {tiles} tiles")
    for kind in kinds:
        axes[1].plot([], [], "s", color=PART_INKS[kind], label=f"modelled: {kind}")
    axes[1].legend(**ASIDE)
    note = "SHD's size, three hidden layers, 5 % maximum activity, batch 48; yellow: barrier, launches and\n"
    note += "waiting for the slowest tile; what the input's rows take is in the yellow of all steps"
    plots.title(fig, "Execution traces of one time step (modelled)", data, note)
    return fig


def _fitting(ax, x, y, fits, ink, label):
    """Filled marks where the network fits its tiles' memory, hollow and dotted ones where it does not."""
    ax.plot(x, y, ":", color=ink, lw=1.2)
    ax.plot(x, y.where(fits), "-o", ms=4.5, color=ink, label=label)
    ax.plot(x, y.where(~fits), "o", ms=5, mfc="white", color=ink)


def _ink(depth) -> str:
    return INKS[int(depth) % len(INKS)]


def calibration(results) -> Figure:
    """Predicted against logged training steps, errors where held out, and the fitted constants."""
    data = plots.need(results, "model", "log_ms", "fitted_ms", "held_out_ms", "held_out_error")
    fig, (left, middle, right) = plots.figure(1, 3, (13, 6), width_ratios=[1.15, 1.2, 0.8])
    ms, low, high = (data[f"log_{end}"].values for end in ("ms", "low", "high"))
    fitted, held = data["fitted_ms"].values, data["held_out_ms"].sel(predictor="cycle model")
    left.axline((4, 4), slope=1, color=plots.PALE, lw=1)
    inks = [_ink(depth) for depth in data["cell_depth"].values]
    for split, mark in zip(data["split"].values, "^v", strict=False):
        label = f"modelled, its {split} left out of the fit"
        left.scatter(ms, held.sel(split=split), 26, inks, marker=mark, alpha=0.7, label=label)
    left.scatter(ms, fitted, 18, inks, marker="o", label="modelled, fitted")
    for d in np.unique(data["cell_depth"].values):
        left.plot([], [], "s", color=_ink(d), label=f"{d} hidden layers")
    left.errorbar(ms, ms, xerr=(ms - low, high - ms), fmt="none", ecolor=plots.INK, elinewidth=0.9)
    plots.hollow(left, ms, ms, label="published: the log, bar: rounding")
    left.set(xlabel="published step (ms)", ylabel="modelled step (ms)", xlim=(3, 13), ylim=(3, 13))
    left.legend(fontsize=7.5, loc="upper left")
    _errors(middle, data, ms, low, high)
    right.axis("off")
    right.set_title("Fitted constants, all modelled", fontsize=10)
    lines = []
    for name, unit in zip(data["free"].values, data["free_unit"].values, strict=True):
        ends = ("constant", "constant_low", "constant_high")
        value, least, most = (f"{float(data[end].sel(free=name)):,.5g}" for end in ends)
        lines.append(f"{name}: {value}{f' {unit}' * (unit != '1')}\n   held out: {least} to {most}")
    right.text(0, 0.97, "\n\n".join(lines), fontsize=9, va="top", transform=right.transAxes)
    right.legend(*middle.get_legend_handles_labels(), fontsize=8, loc="lower left")
    near = [int((abs(made - ms) <= UNCERTAINTY).sum()) for made in (fitted, *held.values)]
    note = f"within {NEAR}: {near[0]} of {len(ms)} cells fitted; held out, "
    note += f"by {' and '.join(data['split'].values)}, {' and '.join(map(str, near[1:]))}\n"
    note += "the model's form was chosen after looking at these cells: held-out errors flatter it"
    plots.title(fig, "The model against the one real log (modelled beside published)", data, note)
    return fig


def _errors(ax, data, ms, low, high):
    cells = np.arange(len(ms))
    ends = 100 * np.stack([low, high, ms - UNCERTAINTY, ms + UNCERTAINTY]) / ms - 100
    ax.hlines(cells, *ends[:2], "#DDDDDD", lw=6, label="rounding of the published value")
    ax.hlines(cells, *ends[2:], "#BBBBBB", lw=6, label=NEAR)
    for predictor, ink in ERROR_INKS.items():
        for split, mark, off in zip(data["split"].values, "^v", (-0.16, 0.16), strict=False):
            error = data["held_out_error"].sel(predictor=predictor, split=split).values
            size, label = np.abs(error), f"{predictor}, a whole {split} left out:\n"
            label += f"median {np.median(size):.1f} %, worst {size.max():.1f} %"
            ax.plot(error, cells + off, mark, ms=5, color=ink, label=label)
    ax.axvline(0, color=plots.INK, lw=0.8)
    ax.set_yticks(cells, data["cell"].values)
    ax.invert_yaxis()
    ax.set(xlabel="error of the modelled step, held out (percent)", xlim=(-24, 24))
