"""Figures of the modelled schedules: speedups, against standard pipelining, and bits moved."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers import spikepipe_schedules as ways

INKS = {
    ways.MINMAX: "#6E6E6E",
    ways.ONE_F_ONE_B: "#CC79A7",
    ways.PARALLEL: "#E69F00",
    ways.WRAP: "#0072B2",
    ways.UNLIMITED: "#56B4E9",
    ways.SOLVED: "#D55E00",
}
LABELS = {
    ways.MINMAX: "contiguous min-max (standard, A9)",
    ways.ONE_F_ONE_B: "1F1B with flush",
    ways.PARALLEL: "data parallel, all-reduce free",
    ways.WRAP: "wrap-around (A8)",
    ways.UNLIMITED: "wrap-around, long tasks split too",
    ways.SOLVED: "CP-SAT, whole tasks",
}
MODELLED = "modelled cycles; stand-in networks and assumptions A4, A5, A8, A9"


def speedups(results) -> Figure:
    """Speedup against processors: networks across, batch and array down."""
    data = plots.need(results, "schedules", "speedup")
    rows = [(b, a) for a in data["array"].values for b in data["batch"].values]
    names = data["network"].values
    fig, axes = plots.figure(
        len(rows), len(names), (14, 2.5 * len(rows) + 0.7), sharex=True, squeeze=False
    )
    x = data["processors"].values
    for across, row in zip(axes, rows, strict=True):
        for ax, name in zip(across, names, strict=True):
            batch, array = row
            cell = data["speedup"].sel(network=name, batch=batch, array=array)
            ax.plot(x, x, color="#DDDDDD", lw=7, zorder=0, label="all processors at work")
            for way, ink in INKS.items():
                style = {"ls": "--", "marker": "o"} if way == ways.SOLVED else {"marker": "."}
                ax.plot(x, cell.sel(way=way), color=ink, label=LABELS[way], lw=1.5, **style)
            ax.set_title(f"{name}, batch {batch}, {array} x {array}")
            ax.set(xticks=x, ylim=(0, x[-1] + 0.4))
        across[0].set_ylabel("speedup over one array")
    for ax in axes[-1]:
        ax.set_xlabel("processors")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right upper", fontsize=9)
    plots.title(fig, "Speedup of one period over one systolic array", data, MODELLED)
    return fig


def relative(results) -> Figure:
    """How much faster than standard pipelining: every cell, their mean, the published 1.6 and 2."""
    data = plots.need(results, "schedules", "gain")
    fig, axes = plots.figure(1, 2, (11, 4.2), sharey=True)
    for ax, way in zip(axes, (ways.WRAP, ways.SOLVED), strict=True):
        gains = data["gain"].sel(way=way)
        table = gains.to_dataframe("gain").reset_index().dropna(subset="gain")
        table["column"] = [
            f"{a} x {a}\nbatch {b}" for a, b in zip(table["array"], table["batch"], strict=True)
        ]
        sns.stripplot(
            table, x="column", y="gain", hue="network", ax=ax, palette="colorblind", size=6,
            jitter=False, dodge=True, alpha=0.8, legend=ax is axes[0],
        )  # fmt: skip
        means = table.groupby("column", sort=False)["gain"].mean()
        for at, mean in enumerate(means):
            ax.plot([at - 0.32, at + 0.32], [mean] * 2, color=plots.INK, lw=2, zorder=6)
            ax.annotate(f"{mean:.2f}", (at + 0.34, mean), fontsize=9, va="center")
        ax.axhline(1.6, color=plots.INK, ls="--", lw=1)
        ax.axhline(2, color=plots.INK, ls=":", lw=1)
        ax.set(xlabel="array and (micro)batch", ylabel="gain in speedup, modelled")
        ax.set_xlim(-0.5, len(means) - 0.2)
        ax.set_title(
            f"{LABELS[way]}: mean {table['gain'].mean():.2f}, most {table['gain'].max():.2f}"
        )
    sns.move_legend(axes[0], "upper center", ncols=3, title=None)
    axes[0].set_ylim(0.9, 3.05)
    for y, text in ((1.6, "published:\naverage 1.6"), (2, "published:\nsome above 2")):
        axes[1].annotate(
            text, (1.01, y), xycoords=("axes fraction", "data"), fontsize=9, va="center"
        )
    plots.title(
        fig,
        "Gain over standard pipelining (contiguous min-max stages)",
        data,
        f"{MODELLED}; no more processors than layers; bars: means",
    )
    return fig


def table(results, batch: int = 1) -> Figure:
    """Speedup and, in brackets, total delay of every way, network and number of processors."""
    data = plots.need(results, "schedules", "speedup", "total_delay", "period_bound", "exact_bound")
    arrays = data["array"].values
    left_out = (ways.LPT, ways.UNLIMITED, ways.LAYERED)
    shown = [w for w in data["way"].values if w not in left_out]
    short = {
        ways.EQUAL: "equal\nlayers",
        ways.SHORT: "LPT\nshort",
        ways.WRAP: "wrap-\naround",
        ways.NEAR: "CP-SAT\n1 %",
        ways.MINMAX: "min-\nmax",
        ways.PARALLEL: "data\nparallel",
    }
    fig, axes = plots.figure(1, len(arrays), (16, 5.6), squeeze=False)
    for ax, array in zip(axes[0], arrays, strict=True):
        part = data.sel(array=array, batch=batch)
        cells = {}
        for name in data["network"].values:
            for m in data["processors"].values:
                cell = part.sel(network=name, processors=m)
                texts = [
                    f"{float(cell['speedup'].sel(way=w)):.2f} ({int(cell['total_delay'].sel(way=w))})"
                    for w in shown
                ]
                works = float(
                    cell["speedup"].sel(way=ways.SOLVED) * cell["period"].sel(way=ways.SOLVED)
                )
                bound = works / float(cell["period_bound"])
                exact = min(m, float(cell["exact_bound"]))
                cells[f"{name} {m}"] = [*texts, f"{bound:.2f}", f"{exact:.2f}"]
        columns = [*(short.get(w, w) for w in shown), "bound", "bound,\nno delay"]
        plots.grid(
            ax, pd.DataFrame.from_dict(cells, "index", columns=columns), [0.1] * len(columns)
        )
        ax.set_title(f"{array} x {array}, batch {batch}")
    plots.title(
        fig, "Speedup (total delay in updates), by network and processors", data, MODELLED,
        "bound: no schedule of whole tasks is faster, proven; no delay: nor any that updates at every sample; "
        "GPipe and 1F1B flush after 8",
    )  # fmt: skip
    return fig


def communication(results) -> Figure:
    """Bits moved net of a contiguous partition's, by four readings of 'total communication'."""
    readings = {
        "overhead": "each operand once",
        "overhead_streamed": "streamed through the arrays",
        "overhead_bits": "each operand once, spikes always one bit",
        "overhead_bits_streamed": "streamed, spikes always one bit",
    }
    data = plots.need(results, "schedules", *readings, "layers")
    fig, axes = plots.figure(2, 2, (12.5, 7.6), sharey=True, sharex=True)
    shown = {
        ways.WRAP: "wrap-\naround",
        ways.LAYERED: "wrap-around\nby layers",
        ways.SHORT: "LPT,\nshort",
        ways.SOLVED: "CP-SAT",
        ways.NEAR: "CP-SAT\n1 %",
    }
    for ax, (name, text) in zip(axes.flat, readings.items(), strict=True):
        values = 100 * data[name].sel(way=list(shown)).where(data["processors"] <= data["layers"])
        rows = values.to_dataframe("share").reset_index().dropna(subset="share")
        rows["share"] = rows["share"].clip(lower=0.12)
        rows["way"] = rows["way"].map(shown)
        sns.stripplot(
            rows, x="way", y="share", hue="network", ax=ax, palette="colorblind", size=4,
            dodge=True, jitter=False, alpha=0.6, legend=ax is axes[0, 0], order=list(shown.values()),
        )  # fmt: skip
        for at, way in enumerate(shown):
            mean = float(values.sel(way=way).mean())
            ax.plot([at - 0.4, at + 0.4], [mean] * 2, color=plots.INK, lw=2, zorder=6)
            ax.text(at, 110, f"{mean:.2g} %", ha="center", fontsize=9)
        ax.axhline(0.5, color=plots.INK, ls="--", lw=1)
        ax.set(
            yscale="log", ylim=(0.1, 220), xlabel="", ylabel="communication overhead (%), modelled"
        )
        ax.set_title(text)
    sns.move_legend(axes[0, 0], "lower left", ncols=3, title=None)
    axes[0, 1].annotate(
        "published:\nbelow 0.5 %", (1.01, 0.5), xycoords=("axes fraction", "data"), fontsize=9,
        va="center",
    )  # fmt: skip
    plots.title(
        fig, "Bits moved, net of a contiguous partition's, over all bits of training", data, MODELLED,
        "bars and numbers: means; 0.12 % and less are drawn at 0.12 %",
    )  # fmt: skip
    return fig
