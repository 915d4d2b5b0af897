"""Figures beyond the paper: speedup against staleness with the best schedules, and when not to pipeline."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers import spikepipe_schedules as ways
from paraspike.papers.spikepipe_accuracy_figures import INKS as OPTIMISERS
from paraspike.papers.spikepipe_figures import INKS, LABELS, MODELLED
from paraspike.papers.spikepipe_gantt import gantt
from paraspike.pipelining.networks import network
from paraspike.pipelining.tasks import task_graph

# Ways of the frontier: marker and, where the tables of the other figures have none, colour and name.
MARKS = {
    ways.EQUAL: ("v", "#999999", "equal layers"),
    ways.MINMAX: ("o", None, None),
    ways.GPIPE: ("p", "#882255", "GPipe"),
    ways.ONE_F_ONE_B: ("P", None, None),
    ways.PARALLEL: ("X", None, None),
    ways.LPT: ("s", "#009E73", "LPT, whole tasks"),
    ways.SHORT: ("D", "#009E73", "LPT, order searched for short delays"),
    ways.WRAP: ("^", None, None),
    ways.UNLIMITED: (">", None, None),
    ways.NEAR: ("*", "#D55E00", "CP-SAT, least delay within 1 % of the least period"),
}
# Processors of vgg8, which the sheet solves on 4; the others take those of the accuracy experiment.
DEEP = {"vgg8": 4}


def frontier(results) -> Figure:
    """Speedup against total delay, every way a point, the optimum a line; below it accuracy against delay."""
    data = plots.need(
        results, "schedules", "speedup", "total_delay", "frontier_speedup", "period_bound"
    )
    learnt = plots.need(results, "accuracy", "test_accuracy", "delays")
    names = [str(name) for name in data["network"].values]
    fig, axes = plots.figure(2, len(names), (4.4 * len(names) + 2.5, 7.2), squeeze=False)
    for (top, bottom), name in zip(axes.T, names, strict=True):
        count = DEEP.get(name, int(learnt.attrs["processors"]))
        cell = data.sel(network=name, processors=count)
        _optimum(top, cell)
        for way, (marker, ink, label) in MARKS.items():
            point = cell.sel(way=way, batch=1, array=32)
            top.plot(
                float(point["total_delay"]), float(point["speedup"]), marker,
                color=ink or INKS[way], label=label or LABELS[way], ms=11 if marker == "*" else 7,
                mec="white", zorder=5 + (marker == "*"),
            )  # fmt: skip
        top.set_title(f"{name}, {count} processors")
        top.set(xlabel="total delay (updates), symmetric log scale", ylim=(0.9, None))
        _delay_axis(top)
        trained = [str(n) for n in learnt["network"].values if str(n).partition("/")[0] == name]
        if not trained:
            bottom.text(
                0.5, 0.5, "trained at paper scale only", ha="center", transform=bottom.transAxes
            )
            bottom.set_axis_off()
            continue
        _learnt(bottom, learnt.sel(network=trained[0]))
        bottom.set_title(f"{trained[0]}: accuracy against delay")
    axes[0, 0].set_ylabel("speedup, modelled")
    axes[1, 0].set_ylabel("test accuracy (%), measured")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    more = axes[1, 0].get_legend_handles_labels()
    fig.legend(handles + more[0], labels + more[1], loc="outside right upper", fontsize=9)
    plots.title(
        fig, "Speedup of pipelining against staleness", data, f"above: 32 x 32, batch 1; {MODELLED}",
        "grey: no schedule of whole tasks with an update for every (micro)batch can be there, proven; "
        f"GPipe and 1F1B make one update for {data.attrs['microbatches']}, wrap-around splits tasks",
        f"below: {plots.context(learnt)}, {learnt.attrs['epochs']} epochs",
    )  # fmt: skip
    return fig


def _optimum(ax, cell):
    """CP-SAT's points as a staircase, and what is proven impossible in grey."""
    points = cell.dropna("point", how="all", subset=["frontier_speedup"])
    speed, delay = points["frontier_speedup"].values, points["frontier_delay"].values
    proofs = cell.dropna("proof", how="all", subset=["proven_speedup"])
    one = cell.sel(way=ways.SOLVED, batch=1, array=32)
    ceiling = float(one["speedup"] * one["period"] / one["period_bound"])
    most = 1.15 * max(ceiling, float(cell["speedup"].sel(batch=1, array=32, way=list(MARKS)).max()))
    ax.fill_between([0, 60], ceiling, most, color="#ECECEC", zorder=0, lw=0)
    for low, least in zip(
        proofs["proven_speedup"].values, proofs["proven_delay"].values, strict=True
    ):
        ax.fill_between([0, least], low, ceiling, color="#ECECEC", zorder=0, lw=0)
    ax.plot(
        delay, speed, drawstyle="steps-pre", color=INKS[ways.SOLVED], lw=1.5, marker=".", zorder=4,
        label="CP-SAT's frontier of whole tasks",
    )  # fmt: skip


def _delay_axis(ax):
    ax.set_xscale("symlog", linthresh=4, linscale=1.2)
    ticks = [0, 1, 2, 3, 4, 6, 10, 20, 40]
    ax.set_xticks(ticks, ticks)
    ax.set_xlim(-0.3, 60)
    ax.minorticks_off()


def _learnt(ax, data):
    order = np.argsort(
        [float(data["delays"].sel(arm=a).sum()) for a in data["arm"].values], kind="stable"
    )
    arms = data["arm"].values[order]
    x = np.array([float(data["delays"].sel(arm=a).sum()) for a in arms])
    for optimiser in data["optimizer"].values:
        ink = OPTIMISERS[str(optimiser)]
        values = data["test_accuracy"].sel(optimizer=optimiser, arm=arms)
        ax.plot(
            x, values.mean("seed"), color=ink, marker="o", label=f"trained with {optimiser}: mean"
        )
        for seed in values["seed"].values:
            ax.plot(x, values.sel(seed=seed), ".", color=ink, alpha=0.4, ms=5)
    least = x[list(arms).index("least delay")] if "least delay" in arms else None
    if least is not None:
        ax.axvline(least, color=plots.INK, lw=1, ls="--", label="delay of CP-SAT's schedule")
    ax.set(xlabel="total delay (updates), symmetric log scale", ylim=(0, 100))
    _delay_axis(ax)


def charts(name: str = "vgg8", processors: int = 4) -> Figure:
    """Gantt charts of one network's schedules, from standard pipelining to the best possible."""
    graph = task_graph(network(name), 1, (32, 32))
    shown = (ways.EQUAL, ways.MINMAX, ways.ONE_F_ONE_B, ways.LPT, ways.SHORT, ways.WRAP, ways.NEAR)
    schedules = [ways.WAYS[way](graph, processors) for way in shown]
    return gantt(schedules, samples=8)


def when(results) -> Figure:
    """Data parallelism over pipelining: where it wins, by batch and processors."""
    names_of = ("data_parallel_gain", "data_parallel_gain_split", "data_parallel_gain_charged")
    data = plots.need(results, "schedules", *names_of)
    names, arrays = data["network"].values, data["array"].values
    size = (12.5, 3.3 * len(arrays) + 0.8)
    fig, axes = plots.figure(len(arrays), len(names), size, squeeze=False, sharex=True, sharey=True)
    norm = LogNorm(0.25, 4)
    for row, array in zip(axes, arrays, strict=True):
        for ax, name in zip(row, names, strict=True):
            part = data.sel(network=name, array=array).transpose("map_batch", "processors", ...)
            gains, charged = part[names_of[0]].values, part[names_of[2]].values
            image = ax.imshow(gains, cmap="PuOr_r", norm=norm, aspect="auto", origin="lower")
            for (i, j), value in np.ndenumerate(gains):
                dark = abs(np.log(value)) > np.log(2.6)
                mark = " *" if charged[i, j] > 1 else ""
                ax.text(
                    j, i, f"{value:.2f}{mark}", ha="center", va="center", fontsize=8.5,
                    color="white" if dark else plots.INK,
                )  # fmt: skip
            ax.set_xticks(range(gains.shape[1]), data["processors"].values)
            ax.set_yticks(range(gains.shape[0]), data["map_batch"].values)
            ax.grid(False)
            ax.set_title(f"{name}, {array} x {array}")
        row[0].set_ylabel("batch (samples)")
    for ax in axes[-1]:
        ax.set_xlabel("processors")
    bar = fig.colorbar(image, ax=axes, shrink=0.7, ticks=[0.25, 0.5, 1, 2, 4], format="%g")
    bar.ax.minorticks_off()
    bar.set_label("data parallelism over pipelining of whole tasks\n(above 1: do not pipeline)")
    split = data[names_of[1]]
    plots.title(
        fig, "When not to pipeline whole tasks", data,
        "modelled cycles, A4 to A6; pipelining: LPT over whole tasks; messages of both are free",
        "* ahead where the messages of both come on top, over links of one row of 32-bit numbers a cycle",
        f"against wrap-around that splits any task data parallelism reaches {float(split.max()):.2f} at most "
        f"and wins in {int((split > 1).sum())} of {split.size} cells",
    )  # fmt: skip
    return fig
