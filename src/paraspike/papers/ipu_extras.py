"""Figures of what was computed and measured here: the spike tensor, accuracy, and the crossover."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers.ipu import POSTER
from paraspike.papers.ipu_experiments import poster_list

INKS = {
    "event-driven": "#0072B2",
    "event-driven, all gradients": "#56B4E9",
    "dense, fused": "#D55E00",
    "dense, unbind": "#E69F00",
    "dense BPTT": "#6E6E6E",
}


def representation(results=None, slots: int = 4) -> Figure:
    """The poster's seven potentials, the two thresholds, and the list that the code makes of them."""
    made = poster_list(slots)
    ids, counts = made["poster_ids"].values.tolist(), made["poster_counts"].values.tolist()
    fig, (left, right) = plots.figure(1, 2, (9, 3.4))
    kinds = ["spike" if v > 1 else "near threshold" if v > 0.9 else "neither" for v in POSTER]
    inks = {"spike": "#D55E00", "near threshold": "#E69F00", "neither": plots.PALE}
    for kind, ink in inks.items():
        at = [n for n, k in enumerate(kinds) if k == kind]
        left.bar(at, [POSTER[n] for n in at], color=ink, label=kind)
    left.axhline(1.0, color=plots.INK, lw=1)
    left.axhline(0.9, color=plots.INK, lw=1, ls=":")
    left.set(xlabel="neuron", ylabel="membrane potential (threshold = 1)", ylim=(-0.6, 1.75))
    left.legend(fontsize=8, loc="upper center", ncols=3)
    right.axis("off")
    rows = [
        ("ids", ["" if n < 0 else str(n) for n in ids]),
        ("counts", [str(n) for n in counts]),
    ]
    for k, (name, cells) in enumerate(rows):
        y = 0.62 - 0.42 * k
        right.text(0.0, y + 0.08, name, va="center", fontweight="bold")
        for j, cell in enumerate(cells):
            ink = "white"
            if name == "ids":
                ink = inks["spike"] if j < counts[0] else inks["near threshold"]
                ink = ink if j < counts[1] else "white"
            box = (0.2 + 0.18 * j, y), 0.16, 0.17
            right.add_patch(_box(*box, ink))
            right.text(box[0][0] + 0.08, y + 0.085, cell, ha="center", va="center")
    right.text(0.2, 0.86, f"{slots} slots: spikes first, then near threshold", fontsize=9)
    right.text(0.2, 0.07, "[spikes, all entries]; what lies behind is never read", fontsize=9)
    plots.title(fig, "The sparse spike tensor of one sample at one step", xr.Dataset())
    return fig


def capacity(results) -> Figure:
    """Accuracy against maximum activity, the second threshold and the policy."""
    data = plots.need(results, "capacity", "capacity_test_accuracy", "second_test_accuracy")
    fig, axes = plots.figure(2, 3, (13, 7.6))
    (first, second, last), (losses, tilt, angle) = axes
    dense = data["second_test_accuracy"].sel(threshold="none")
    x = np.array([100 * float(a) for a in data["activity"].values])
    for name, ink, text in (
        ("capacity", "#0072B2", "capacity as labelled"),
        (
            "as_published",
            "#CC79A7",
            "as the published sweep applies it:\nthe capacity of the layer before",
        ),
    ):
        _band(first, x, data[f"{name}_test_accuracy"], ink, text)
    _level(first, dense)
    first.set(
        xscale="log", xlabel="maximum activity (% of a layer's neurons)", ylabel="test accuracy (%)"
    )
    first.set_xticks(x, [f"{v:g}" for v in x])
    first.minorticks_off()
    names = [t for t in data["threshold"].values if t != "none"]
    at = np.arange(len(names))
    _band(second, at, data["second_test_accuracy"].sel(threshold=names), "#009E73")
    second.set_xticks(at, [str(n) for n in names])
    _level(second, dense)
    second.set(
        xlabel="second threshold\n(1: only spikes get a gradient)", ylabel="test accuracy (%)"
    )
    policies = data["policy"].values
    values = data["policy_test_accuracy"]
    last.bar(np.arange(len(policies)), values.mean("seed"), color="#56B4E9")
    for k, policy in enumerate(policies):
        last.plot([k] * values.sizes["seed"], values.sel(policy=policy), ".", color=plots.INK)
    last.set_xticks(np.arange(len(policies)), list(policies))
    _level(last, dense)
    last.set(
        xlabel=f"what stays in a full list\n(activity {100 * data.attrs['policy_activity']:g} %)",
        ylabel="test accuracy (%)",
    )
    lost = data["capacity_spikes_lost"].mean("seed")
    for layer in lost["layer"].values[:-1]:
        losses.plot(x, lost.sel(layer=layer), "o-", label=f"spikes, hidden layer {layer}")
    near = data["capacity_near_lost"].mean("seed")
    losses.plot(
        x, near.sel(layer=1), "s:", color=plots.PALE, label="near threshold, hidden layer 1"
    )
    losses.set(
        xscale="log", xlabel="maximum activity (%)", ylabel="lost by full lists (%)", ylim=(0, 100)
    )
    cosine = data["second_cosine"].sel(threshold=names)
    _band(tilt, at, cosine, "#009E73")
    tilt.set_xticks(at, [str(n) for n in names])
    tilt.set(xlabel="second threshold", ylabel="cosine with dense BPTT's gradient", ylim=(0, 1.02))
    _band(angle, x, data["capacity_cosine"], "#0072B2")
    angle.set(
        xscale="log",
        xlabel="maximum activity (%)",
        ylabel="cosine with dense BPTT's gradient",
        ylim=(0, 1.02),
    )
    for ax in (losses, angle):
        ax.set_xticks(x, [f"{v:g}" for v in x])
        ax.minorticks_off()
    for ax, name in zip(axes.flat, "ABCDEF", strict=True):
        plots.letter(ax, name)
    for ax in (first, second, last):
        ax.set_ylim(0, 100)
    first.legend(fontsize=8, loc="lower right")
    losses.legend(fontsize=8, loc="lower left")
    plots.title(fig, "Accuracy against capacity, second threshold and policy", data)
    return fig


def training(results) -> Figure:
    """Test accuracy of every way to train, on both data sets."""
    data = plots.need(results, "training", "test_accuracy", "spikes_lost")
    sets, arms = data["set"].values, list(data["arm"].values)
    fig, axes = plots.figure(1, len(sets), (6.2 * len(sets), 0.5 * len(arms) + 1.9), sharey=True)
    for ax, name in zip(np.atleast_1d(axes), sets, strict=True):
        values = data["test_accuracy"].sel(set=name)
        mean = values.mean("seed")
        inks = [INKS.get(arm, "#0072B2") for arm in arms]
        ax.barh(np.arange(len(arms)), mean, color=inks, alpha=0.85)
        for k, arm in enumerate(arms):
            ax.plot(values.sel(arm=arm), [k] * values.sizes["seed"], ".", color=plots.INK)
            ax.text(2, k, f"{float(mean.sel(arm=arm)):.0f}", va="center", color="white", fontsize=9)
        ax.axvline(float(mean[0]), color=plots.INK, lw=1, ls=":")
        ax.set_yticks(np.arange(len(arms)), arms)
        ax.set(xlabel=f"test accuracy (%), {name}", xlim=(0, 100))
    np.atleast_1d(axes)[0].invert_yaxis()
    plots.title(fig, "Sparse against dense training (bars: mean, dots: seeds)", data)
    return fig


def crossover(results) -> Figure:
    """Samples per second of both ways, and the factor, against activity."""
    if isinstance(results, xr.DataTree) and "crossover" not in results.children:
        fig, ax = plots.figure(1, 1, (7, 2))
        ax.axis("off")
        ax.text(0, 0.5, "Not measured: backend ipu (simulated) gives no times.", fontsize=12)
        plots.title(fig, "Event-driven against dense", xr.Dataset(attrs=results.attrs))
        return fig
    data = plots.need(results, "crossover", "seconds", "fired", "near")
    hiddens, arms = data["hidden"].values, list(data["arm"].values)
    fig, axes = plots.figure(1, 3, (15, 4.6))
    median = data["seconds"].median("repeat")
    rate = data.attrs["batch_size"] / median
    x = 100 * data["fired"]
    widest = hiddens[-1]
    for arm in arms:
        times = data.attrs["batch_size"] / data["seconds"].sel(arm=arm, hidden=widest)
        axes[0].plot(
            x.sel(hidden=widest), rate.sel(arm=arm, hidden=widest), "o-", color=INKS[arm], label=arm
        )
        axes[0].fill_between(
            x.sel(hidden=widest),
            times.min("repeat"),
            times.max("repeat"),
            color=INKS[arm],
            alpha=0.15,
            lw=0,
        )
    axes[0].set(yscale="log", ylabel=f"samples/s, {widest} neurons a layer (measured)")
    low, high = axes[0].get_ylim()
    rates = [m * 10**k for k in range(-1, 7) for m in (1, 2, 5) if low <= m * 10**k <= high]
    axes[0].set_yticks(rates, [f"{v:g}" for v in rates])
    best = median.sel(arm=[a for a in arms if a.startswith("dense")]).min("arm")
    factor = best / median.sel(arm="event-driven")
    other = "event-driven, all gradients"
    whole = best / median.sel(arm=other) if other in arms else None
    shades = sns.color_palette("Blues", len(hiddens) + 1)[1:]
    for hidden, ink in zip(hiddens, shades, strict=True):
        at, style = x.sel(hidden=hidden), {"color": ink, "label": f"{hidden} neurons"}
        axes[1].plot(at, factor.sel(hidden=hidden), "o-", **style)
        axes[2].plot(at, 100 * data["near"].sel(hidden=hidden), "o-", **style)
        if whole is not None:
            axes[1].plot(at, whole.sel(hidden=hidden), "s:", color=ink, ms=4)
    axes[1].axhline(1, color=plots.INK, lw=1)
    axes[1].axhline(10, color=plots.PALE, lw=1, ls=":")
    axes[1].text(3, 10.4, "goal at 1 %: 10x", fontsize=8, color=plots.PALE)
    axes[1].text(0.5, 1.04, "dotted: all neurons get a gradient", fontsize=8, color=plots.PALE)
    axes[1].set(yscale="log", ylabel="event-driven over the fastest\ndense arm (measured)")
    ratios = [v for v in (0.5, 1, 2, 5, 10, 20, 50) if v <= 2 * float(factor.max())]
    axes[1].set_yticks(ratios, [f"{v:g}x" for v in ratios])
    axes[2].set(ylabel="neurons above the second\nthreshold (%, measured)", yscale="log")
    axes[2].set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    for ax, name in zip(axes, "ABC", strict=True):
        ax.set(xscale="log", xlabel="neurons that fire at a step (%)")
        ticks = [0.5, 1, 2, 5, 10, 20, 50]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.legend(fontsize=8)
        plots.letter(ax, name)
    sizes = "{layers} layers, {steps} steps, {batch_size} samples".format(**data.attrs)
    note = f"{sizes}; forward and backward; shade: least to most"
    plots.title(fig, "Event-driven against dense, measured on this machine", data, note)
    return fig


def _band(ax, x, values, ink, label=None):
    over = next(d for d in ("seed", "repeat") if d in values.dims)
    ax.plot(x, values.mean(over), "o-", color=ink, label=label)
    ax.fill_between(x, values.min(over), values.max(over), color=ink, alpha=0.15, lw=0)


def _level(ax, dense):
    ax.axhline(float(dense.mean()), color=INKS["dense BPTT"], ls="--", label="dense BPTT")


def _box(corner, width, height, ink):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, facecolor=ink, edgecolor=plots.INK)
