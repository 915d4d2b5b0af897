"""What delayed gradients cost in accuracy: every arm of delays, loss against exact gradients, weight versions.

Each function takes the paper's DataTree, or the Dataset of its experiment `accuracy`, and returns a Figure.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paraspike import plots
from paraspike.papers.spikepipe_accuracy import degradation

INKS = {"SGD": "#D55E00", "Adam": "#0072B2"}
VERSION_NAMES = {
    "stash": "of the forward pass,\nkept",
    "newest": "the newest",
    "average": "averaged",
}
LEGEND = {"fontsize": 8, "loc": "lower left", "frameon": True, "edgecolor": "none", "framealpha": 1}
# The paper's bound for a large network, of its abstract.
BOUND = 10


def accuracy(results) -> Figure:
    """Test accuracy by arm, network and optimiser, and below it the points lost against exact gradients."""
    data = plots.need(results, "accuracy", "test_accuracy", "learning_rate", "delays", "diverged")
    networks = list(map(str, data["network"].values))
    arms = list(map(str, data["arm"].values))
    paired = "exact" in arms
    size = (max(4.6, 0.95 * len(arms)) * len(networks) + 0.6, 7.6 if paired else 4.6)
    fig, axes = plots.figure(1 + paired, len(networks), size, sharey="row", squeeze=False)
    lost = degradation(data) if paired else None
    for column, name in enumerate(networks):
        here = data.sel(network=name)
        top = axes[0, column]
        _points(top, here, "arm")
        top.axhline(float(here["chance"]), color=plots.PALE, lw=1, ls=":")
        top.set(title=f"{name}, T = {int(here['steps'])}", ylim=(0, 100))
        labels = [
            "\n".join((*arm.rsplit(" ", 1), _delays(here["delays"].sel(arm=arm).values)))
            for arm in arms
        ]
        for ax in axes[:, column]:
            ax.set_xticks(np.arange(len(arms)), labels, fontsize=8)
            ax.set_xlim(-0.5, len(arms) - 0.5)
        if paired:
            _loss(axes[1, column], lost.sel(network=name))
    axes[0, 0].set_ylabel("test accuracy (%)")
    axes[0, 0].legend(handles=_handles(data, "chance"), **LEGEND)
    if paired:
        axes[1, 0].set_ylabel(
            "accuracy lost against exact gradients\n(percentage points, 95 % interval)"
        )
    for ax, letter in zip(axes.flat, "ABCDEFGH", strict=False):
        plots.letter(ax, letter)
    note = (
        f"{data.attrs['processors']} processors; below an arm the delays of its layers in updates; "
        f"{data.attrs['batch_size']} samples an update; learning rate chosen for every arm"
    )
    plots.title(fig, "Accuracy under delayed gradients", data, note)
    return fig


def weight_versions(results) -> Figure:
    """Test accuracy with delays 2(L-l), by the weights through which the error goes back."""
    data = plots.need(
        results, "accuracy", "version_test_accuracy", "version_diverged", "test_accuracy"
    )
    networks = list(map(str, data["version_network"].values))
    versions = list(map(str, data["version"].values))
    size = (4.8 * len(networks) + 0.6, 4.6)
    fig, axes = plots.figure(1, len(networks), size, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, networks, strict=True):
        here = data.sel(version_network=name)
        _points(ax, here, "version", "version_")
        ax.axhline(float(data["chance"].sel(network=name)), color=plots.PALE, lw=1, ls=":")
        ax.set_xticks(np.arange(len(versions)), [VERSION_NAMES.get(v, v) for v in versions])
        ax.set(title=name, ylim=(0, 100), xlim=(-0.5, len(versions) - 0.5))
        ax.set_xlabel("weights by which the error goes back")
        if "exact" in data["arm"].values:
            for optimizer in map(str, data["optimizer"].values):
                exact = data["test_accuracy"].sel(network=name, optimizer=optimizer, arm="exact")
                ax.axhline(float(exact.mean()), color=INKS.get(optimizer), lw=1, ls="--")
    axes[0, 0].set_ylabel("test accuracy (%)")
    axes[0, 0].legend(handles=_handles(data, "chance", "exact"), **LEGEND)
    plots.title(fig, "Which weights the error goes back by: delays 2(L-l)", data)
    return fig


def _points(ax, data, axis, prefix=""):
    """A dot per seed, a cross where it diverged, a bar for the mean; optimisers side by side."""
    optimizers = list(map(str, data["optimizer"].values))
    for k, optimizer in enumerate(optimizers):
        at = np.arange(data.sizes[axis]) + _aside(k, len(optimizers))
        values = (
            data[f"{prefix}test_accuracy"].sel(optimizer=optimizer).transpose(axis, "seed").values
        )
        failed = (
            data[f"{prefix}diverged"].sel(optimizer=optimizer).transpose(axis, "seed").values > 0
        )
        ink, x = INKS.get(optimizer, plots.INK), np.broadcast_to(at[:, None], values.shape)
        ax.hlines(values.mean(1), at - 0.13, at + 0.13, color=ink, lw=2.5)
        ax.plot(x[~failed], values[~failed], "o", ms=4.5, color=ink, alpha=0.55, mec="none")
        ax.plot(x[failed], values[failed], "x", ms=6, color=ink)


def _loss(ax, lost):
    optimizers = list(map(str, lost["optimizer"].values))
    ax.axhline(0, color=plots.INK, lw=1)
    ax.axhline(BOUND, color=plots.PALE, lw=1, ls="--")
    for k, optimizer in enumerate(optimizers):
        here = lost.sel(optimizer=optimizer)
        at = np.arange(lost.sizes["arm"]) + _aside(k, len(optimizers))
        ink, mean = INKS.get(optimizer, plots.INK), here["degradation"].values
        reach = np.nan_to_num(here["high"].values - mean)
        ax.errorbar(at, mean, reach, fmt="s", ms=5, color=ink, elinewidth=1.2, capsize=3)
    ax.text(0.01, BOUND, "10 points", fontsize=8, color=plots.PALE, va="bottom",
            transform=ax.get_yaxis_transform())  # fmt: skip


def _aside(k, count):
    return 0.34 * (k - (count - 1) / 2)


def _delays(values):
    return "-".join(f"{v:g}" for v in values[np.isfinite(values)])


def _handles(data, *lines):
    made = [
        Line2D([], [], marker="o", lw=2.5, ms=4.5, color=INKS.get(o, plots.INK), label=o)
        for o in map(str, data["optimizer"].values)
    ]
    if float(data["diverged"].sum()):
        made.append(
            Line2D([], [], marker="x", ls="none", color=plots.INK, label="diverged: chance")
        )
    words = {"chance": (":", "guessing"), "exact": ("--", "exact gradients, mean")}
    return made + [
        Line2D([], [], color=plots.PALE, ls=words[line][0], lw=1, label=words[line][1])
        for line in lines
    ]
