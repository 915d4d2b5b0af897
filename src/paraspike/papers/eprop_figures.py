"""The e-prop paper's figures 1 to 3, ours beside the published values.

Each function takes the paper's DataTree, or the Dataset of the one experiment it draws, and returns
a matplotlib Figure for `plots.save`.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers.eprop import lsnn
from paraspike.papers.eprop_published import (
    BPTT,
    EPROP,
    accuracies,
    inference,
    training_times,
)
from paraspike.papers.eprop_significance import SOURCES, tests, values

# Arms and methods, each with its colour everywhere.
INKS = {
    "eProp ALIF": "#0072B2",
    "eProp LIF": "#56B4E9",
    "BPTT LIF": "#D55E00",
    "BPTT ALIF": "#E69F00",
    "BPTT as published": "#A03000",
    "BPTT fair": "#D55E00",
    "BPTT fused": "#F0A070",
    "BPTT ALIF fused": "#E69F00",
    "eProp online": "#003F66",
    "eProp chunked": "#0072B2",
    "eProp factorised": "#56B4E9",
    "EventProp LIF": "#009E73",
    "LSNN": "#0072B2",
    "LSTM": "#6E6E6E",
}


def figure1(results) -> Figure:
    """Latency, energy and energy-delay product of an inference against the batch size."""
    data = plots.need(results, "inference", "seconds", "energy", "energy_delay", "test_accuracy")
    known = inference()
    fig, axes = plots.figure(1, 3, (13, 4.6))
    latency = 1e3 * data["seconds"].median("repeat")
    panels = [
        (latency, "latency_ms", "latency of a batch (ms)"),
        (1e3 * data["energy"], "energy_mJ", "energy of an inference (mJ)"),
        (1e6 * data["energy_delay"], "edp_uJs", "energy-delay product (uJ s)"),
    ]
    marks = {"Titan V": "D", "Loihi": "*"}
    for ax, (ours, column, label) in zip(axes, panels, strict=True):
        for d, device in enumerate(data["device"].values):
            for model in data["model"].values:
                values = ours.sel(device=device, model=model)
                score = float(data["test_accuracy"].sel(device=device, model=model))
                text = f"{model} here, {device} ({score:.0f} % accurate)"
                if np.isfinite(values).any():
                    line = "-" if d == 0 else "--"
                    ax.plot(
                        values["batch"], values, line, marker="o", color=INKS[model], label=text
                    )
        for (device, model), rows in known.groupby(["device", "model"]):
            ink = INKS["LSTM" if "LSTM" in model else "LSNN"]
            line, mark = (":", "D") if device == "Titan V" else ("", marks.get(device, "s"))
            style = {"mfc": "white", "mec": ink, "color": ink, "ms": 5 if mark != "*" else 9}
            text = f"published: {model}, {device}"
            ax.plot(rows.batch_size, rows[column], line, marker=mark, label=text, lw=1, **style)
        if not np.isfinite(ours).any():
            text = "here: not measurable\non this machine"
            where = {"ha": "center", "va": "top", "transform": ax.transAxes}
            ax.text(0.6, 0.98, text, fontsize=9, fontweight="bold", **where)
        ax.set(xscale="log", yscale="log", xlabel="images classified at once", ylabel=label)
        ax.set_xticks(
            data["batch"].values, [str(b) for b in data["batch"].values], fontsize=7, rotation=60
        )
        ax.minorticks_off()
    for ax in axes[1:]:
        ax.set_ylim(top=ax.get_ylim()[1] * 8)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right upper", fontsize=8)
    corrected = "published LSNN, batch 50: power corrected from its trace (45.7 to 52.5 W)"
    notes = (
        [f"no counter of energy: {data.attrs['energy_reason']}"]
        if data.attrs.get("energy_reason")
        else []
    )
    plots.title(fig, "Figure 1: inference, LSNN against LSTM", data, corrected, *notes)
    return fig


def figure2(results) -> Figure:
    """Test accuracy by size, connectivity, rule and neuron; the tests between them."""
    data = plots.need(results, "accuracy", "test_accuracy")
    accuracy, known = data["test_accuracy"], accuracies()
    sizes = sorted({*map(int, data["hidden"].values), *(k[3] for k in known if k[4] == "shd")})
    fig, axes = plots.figure(2, 2, (12.5, 7.6), height_ratios=[2, 1])
    arms = [a for a in SOURCES if a in data["arm"].values]
    width = 0.8 / len(arms)
    for ax, connectivity in zip(axes[0], data["connectivity"].values, strict=True):
        for i, arm in enumerate(arms):
            for j, n in enumerate(sizes):
                x = j + (i - (len(arms) - 1) / 2) * width
                found = values(accuracy, arm, connectivity, n)
                if len(found):
                    ax.bar(x, found.mean(), width * 0.9, color=INKS[arm])
                    if len(found) > 1:
                        ax.errorbar(
                            x, found.mean(), found.std(ddof=1), color=plots.INK, capsize=2, lw=1
                        )
                key = (*SOURCES[arm], str(connectivity), n, "shd")
                if key in known:
                    mean, deviation, _ = known[key]
                    plots.hollow(ax, x, mean, deviation).set_markeredgecolor(INKS[arm])
            ax.bar(0, 0, color=INKS[arm], label=arm)
        plots.hollow(ax, [], [], label="published (SHD)")
        ax.set_xticks(range(len(sizes)), sizes)
        ax.set(xlabel="hidden neurons", ylabel="test accuracy (percent)", ylim=(0, 100))
        ax.set_title(str(connectivity))
        ax.grid(axis="x", visible=False)
    axes[0, 1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for ax in axes[1]:
        ax.remove()
    low = fig.add_subplot(axes[1, 0].get_gridspec()[1, :])
    low.axis("off")
    names = [str(c) for c in data["connectivity"].values]
    joined = pd.concat([tests(data, name).add_prefix(f"{name}: ") for name in names], axis=1)
    plots.grid(low.inset_axes((0.24, 0, 0.76, 1)), joined, [0.25] * 4)
    text = "difference in points, p of Welch's t (two-sided), in brackets corrected for its column by Holm"
    text += f"\n{steps_of(data)}"
    plots.title(fig, "Figure 2: accuracy of e-prop and BPTT", data, text)
    return fig


def figure3(results) -> Figure:
    """Training time against time steps by size; below the published bars."""
    data = plots.need(results, "training", "seconds", "size_peak")
    methods = [str(m) for m in data["size_arm"].values]
    lengths = data["length"].values
    budget = float(data.attrs["budget"])
    columns = max(3, data.sizes["hidden"])
    fig, axes = plots.figure(2, columns, (13, 7.6), sharey="row", height_ratios=[1.3, 1])
    width = 0.84 / len(methods)
    for ax, n in zip(axes[0], data["hidden"].values, strict=False):
        for i, method in enumerate(methods):
            seconds = data["seconds"].sel(arm=method, hidden=n, length=lengths)
            medians = seconds.median("repeat").values
            peaks = data["size_peak"].sel(size_arm=method, hidden=n, length=lengths).values
            for j, value in enumerate(medians):
                x = j + (i - (len(methods) - 1) / 2) * width
                if not peaks[j] <= budget:
                    _missing(ax, x)
                    continue
                ax.bar(x, value, width * 0.92, color=INKS[method])
                low, high = float(seconds.isel(length=j).min()), float(seconds.isel(length=j).max())
                ax.vlines(x, low, high, color=plots.INK, lw=0.8)
            ax.bar(0, 0, color=INKS[method], label=method)
        ax.set_xticks(range(len(lengths)), lengths)
        ax.set(yscale="log", xlabel="time steps", title=f"{n} neurons")
        ax.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel("seconds a training step\n(measured: this machine)")
    known = training_times().query("device == 'Titan V 12 GB'")
    kinds = {BPTT: INKS["BPTT as published"], EPROP: INKS["eProp online"]}
    for ax, (n, rows) in zip(axes[1], known.groupby("hidden"), strict=True):
        steps = sorted(rows.timesteps.unique())
        for i, (kind, ink) in enumerate(kinds.items()):
            for j, t in enumerate(steps):
                row = rows[(rows.algorithm == kind) & (rows.timesteps == t)].iloc[0]
                x = j + (i - 0.5) * 0.4
                if row.status == "OOM":
                    _missing(ax, x)
                    continue
                ax.bar(x, row.batch_time_ms / 1e3, 0.36, facecolor="white", edgecolor=ink, lw=1.5)
            ax.bar(0, 0, facecolor="white", edgecolor=ink, label=f"published: {kind}")
        ax.set_xticks(range(len(steps)), steps)
        ax.set(yscale="log", xlabel="time steps", title=f"{n} neurons (published)")
        ax.grid(axis="x", visible=False)
    axes[1, 0].set_ylabel("seconds a batch of 512\n(published: Titan V)")
    for row in axes:
        handles, labels = row[0].get_legend_handles_labels()
        row[-1].legend(handles, labels, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    size = largest_complete(data)
    grown = ", ".join(f"{m} {growth(data, m, size):.2f}" for m in methods)
    notes = [
        f"batch {data.attrs['batch_size']}; out of memory: peak above a budget of {budget:g} MiB",
        f"exponent of the number of steps, {size} neurons, last two lengths: {grown}",
    ]
    plots.title(fig, "Figure 3: training time against time steps", data, *notes)
    return fig


def _missing(ax, x):
    where = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    ax.text(x, 0.02, "out of memory", rotation=90, fontsize=8, **where)


def largest_complete(data) -> int:
    """The largest size at which every method of figure 3 was timed at the longest length, else the smallest."""
    longest = data["seconds"].sel(arm=data["size_arm"].values).sortby("length").isel(length=-1)
    complete = np.isfinite(longest.median("repeat")).all("arm").values
    return int(data["hidden"].values[np.flatnonzero(complete).max(initial=0)])


def growth(data, method: str, hidden: int) -> float:
    """Exponent with which a method's time grows from the last length but one to the last, at one size."""
    medians = data["seconds"].sel(arm=method, hidden=hidden).median("repeat").sortby("length")
    if medians.sizes["length"] < 2:
        return np.nan
    last = medians.isel(length=[-2, -1])
    return float(np.diff(np.log(last))[0] / np.diff(np.log(last["length"].values))[0])


def steps_of(data) -> str:
    """What an experiment's time step does to the model, for the line below a figure."""
    dt = float(data.attrs["dt"])
    idle = lsnn(dt).refractory_steps
    words = f"steps of {1e3 * dt:g} ms (published: 1), " + (
        f"{idle} refractory" if idle else "too long for refractoriness"
    )
    epochs = int(
        data["train_accuracy"]
        .notnull()
        .any([d for d in data["train_accuracy"].dims if d != "epoch"])
        .sum()
    )
    return f"{words}; up to {epochs} epochs"
