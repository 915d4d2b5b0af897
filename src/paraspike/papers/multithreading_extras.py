"""Table I, and the figures beyond the paper: why threads lose, the cure, what is learned, more cores."""

import json

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers import multithreading_published as published
from paraspike.papers.multithreading_cure import ALONE, ENGINE, PEER, POOL
from paraspike.papers.multithreading_figures import count_axis, rates

INK = {ENGINE: "#009E73", ALONE: "#0072B2", POOL: "#D55E00", PEER: "#CC79A7"}
_PARTS = {
    "work": ("work", "#0072B2"),
    "ready": ("waiting for a core", "#E69F00"),
    "lock": ("waiting for the lock", "#D55E00"),
    "wait": ("in the queue", "#9ECAE1"),
}
FORM_INK = ("#D55E00", "#E69F00", "#009E73")


def table1(results) -> Figure:
    """Hardware, theirs and this machine's."""
    data = plots.need(results, "cure")
    here = json.loads(data.attrs["hardware"])
    cells = pd.DataFrame({"published, CPU cluster": published.TABLE, "this machine": here})
    fig, ax = plots.figure(size=(11, 3.4))
    plots.grid(ax, cells, [0.5, 0.5])
    plots.title(fig, "Table I: hardware", data)
    return fig


def causes(results) -> Figure:
    """Where a task's time goes in three forms of one task graph, and from which size two threads pay."""
    data = plots.need(results, "causes", "wait", "lock", "ready", "work", "step", "speedup")
    fig, (left, middle, right) = plots.figure(1, 3, (14, 4.6), width_ratios=[1.5, 1, 1])
    forms, threads = data["form"].values, data["threads"].values
    ticks, labels = [], []
    for f, form in enumerate(forms):
        for k, n in enumerate(threads):
            x, bottom = f * (len(threads) + 1) + k, 0.0
            for part, (word, ink) in _PARTS.items():
                value = 1e6 * float(data[part].isel(form=f, threads=k).fillna(0))
                if form == forms[-1]:
                    # One task holds all steps and layers of its share of the images there.
                    value *= max(1, n) / (data.attrs["steps"] * data.attrs["layers"])
                left.bar(
                    x, value, 0.8, bottom=bottom, color=ink, label=word if f == k == 0 else None
                )
                bottom += value
            left.text(
                x,
                bottom,
                f"{bottom:.0f}" if bottom >= 10 else f"{bottom:.1f}",
                ha="center",
                va="bottom",
                fontsize=6.5,
            )
            ticks.append(x)
            labels.append("none" if n == 0 else str(n))
        left.text(f * (len(threads) + 1) + (len(threads) - 1) / 2, -0.2, str(form).replace(", ", ",\n"),
                  ha="center", va="top", fontsize=8, transform=left.get_xaxis_transform())  # fmt: skip
    left.set_xticks(ticks, labels, fontsize=8)
    left.set_ylabel("mean time of a layer's step (us)")
    left.set_title("A task's time, by threads")
    left.grid(axis="x", visible=False)
    left.legend(fontsize=8)
    left.set_xlabel(" \n \n ")
    for ink, form in zip(FORM_INK, forms, strict=True):
        step = data["step"].sel(form=form)
        middle.plot(
            threads, step.sel(threads=0) / step, marker="o", ms=4, color=ink, label=str(form)
        )
        one = data.sel(form=form)
        right.plot(
            1e6 * one["task_work"], one["speedup"], marker="o", ms=4, color=ink, label=str(form)
        )
        even = float(one["break_even"])
        if 0 < even < np.inf:
            right.plot(1e6 * even, 1, marker="*", ms=13, color=ink, mec="white", ls="none")
            place = (-14, (-14, 8, 20)[list(forms).index(form)])
            right.annotate(f"{1e6 * even:.0f} us", (1e6 * even, 1), place, textcoords="offset points",
                           fontsize=8, color=ink)  # fmt: skip
    for ax in (middle, right):
        ax.axhline(1, color=plots.INK, lw=0.8, ls=":")
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_ylabel("time without threads / time")
    count_axis(middle, threads, data.attrs.get("cores"))
    middle.set(xlabel="threads", title="Speedup of a step")
    middle.legend(fontsize=7.5)
    right.set_xscale("log")
    right.set(
        xlabel="work in one handed-over task (us)", title="Two threads: from which size they pay"
    )
    note = "star: two threads break even; of the last form, a task is all layers and steps of its images"
    plots.title(fig, "Why threads make it slower: a task must outweigh its hand-over", data, note)
    return fig


def cure(results) -> Figure:
    """Images per second of one presentation with learning, against threads."""
    data = plots.need(results, "cure", "seconds", "same_bits")
    found = rates(data)
    fig, (left, right) = plots.figure(1, 2, (11.5, 4.4))
    for name in map(str, data["contestant"].values):
        row = found.sel(contestant=name).dropna("threads")
        if row.size:
            left.plot(row["threads"], row, marker="o", ms=5, color=INK[name], label=name)
            one = row / row.isel(threads=0)
            right.plot(row["threads"], one, marker="o", ms=5, color=INK[name], label=name)
    left.set_yscale("log")
    left.set(
        xlabel="threads", ylabel="images per second", title="Learning by STDP, encoding excluded"
    )
    right.set(xlabel="threads", ylabel="times its own one thread", title="Scaling", ylim=(0, None))
    right.axhline(1, color=plots.INK, lw=0.8, ls=":")
    for ax in (left, right):
        count_axis(ax, data["threads"].values, data.attrs.get("cores_here"))
        ax.legend(fontsize=8)
    bits = "the same" if bool((data["same_bits"] == 1).all()) else "NOT the same"
    peer = data.attrs["bindsnet"]
    note = f"the engine's weights are {bits} bits with every thread count; BindsNET {peer}"
    plots.title(fig, "The cure: neurons split over compiled threads", data, note)
    return fig


def learning(results) -> Figure:
    """Accuracy of one linear readout on three kinds of features, and what was learned."""
    data = plots.need(results, "learning", "accuracy", "template")
    fig, axes = plots.figure(1, 2, (11, 4.4), width_ratios=[1, 1.5])
    values = {
        (str(name), "test"): plots.spread(data["accuracy"].sel(features=name), "seed")
        for name in data["features"].values
    }
    ax = axes[0]
    inks = {
        "untrained": "#BBBBBB",
        "STDP": INK[ENGINE],
        "random images": "#999999",
        "pixels": "#555555",
    }
    for x, ((name, _), (mean, deviation)) in enumerate(values.items()):
        ax.bar(
            x,
            mean,
            0.66,
            yerr=deviation if np.isfinite(deviation) else None,
            color=inks[name],
            capsize=3,
        )
        ax.text(
            x, mean / 2, f"{mean:.1f} %", ha="center", color="white", fontweight="bold", fontsize=9
        )
    ax.set_xticks(range(len(values)), [name for name, _ in values])
    ax.set(ylabel="test accuracy (percent)", ylim=(0, 100))
    ax.grid(axis="x", visible=False)
    gain = values["STDP", "test"][0] - values["untrained", "test"][0]
    ax.set_title(f"STDP less untrained: {gain:+.1f} points")
    count = min(40, data.sizes["neuron"])
    tiles = data["template"].values[:count]
    sheet = np.block([[tiles[10 * r + c] for c in range(10)] for r in range(count // 10)])
    axes[1].imshow(sheet, cmap="magma", interpolation="nearest")
    axes[1].set_title(f"weights onto {count // 10 * 10} neurons after learning, first seed")
    axes[1].axis("off")
    plots.title(fig, "Features learned by STDP, read out by a linear classifier", data)
    return fig


def scaling(results) -> Figure:
    """What Amdahl's law makes of this machine's measurement on more cores."""
    data = plots.need(results, "cure", "modelled_rate", "modelled_limit", "parallel_fraction")
    fig, ax = plots.figure(size=(7.5, 4.4))
    ink = sns.desaturate(INK[ENGINE], 0.6)
    cores = data["cores"].values
    middle = data["modelled_rate"].median("repeat")
    low, high = (data["modelled_rate"].min("repeat"), data["modelled_rate"].max("repeat"))
    parallel = 100 * data["parallel_fraction"]
    label = f"modelled: Amdahl's law, {float(parallel.median()):.0f} % parallel"
    label += f" ({float(parallel.min()):.0f} to {float(parallel.max()):.0f} by round)"
    ax.fill_between(cores, low, high, color=ink, alpha=0.15, lw=0)
    ax.plot(cores, middle, ls="--", color=ink, label=label)
    for where, look in zip(data["weights"].values, (":", "-."), strict=True):
        limit = float(data["modelled_limit"].sel(weights=where))
        ax.axhline(
            limit, ls=look, color=plots.PALE, label=f"modelled limit: this memory, weights {where}"
        )
    measured = rates(data).sel(contestant=ENGINE).dropna("threads")
    here = measured[measured["threads"] <= data.attrs["cores_here"]]
    ax.plot(here["threads"], here, marker="o", ls="none", ms=8, color=INK[ENGINE], label="measured")
    last = float(middle[-1])
    ax.annotate(f"modelled {last:,.0f}/s", (cores[-1], last), (-10, 8), textcoords="offset points",
                ha="right", fontsize=8, color=ink)  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="cores", ylabel="images per second")
    ax.legend(fontsize=8)
    plots.title(fig, f"Past this machine: a model, up to {cores[-1]} cores", data)
    return fig
