"""The SPSN paper's figures 1C and 2 to 6, ours beside the published values.

Each function takes the paper's DataTree, or the Dataset of the one experiment it draws, and returns
a matplotlib Figure for `plots.save`.
"""

import numpy as np
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers.spsn_published import accuracies, by_arm, departures, quantity, regularised
from paraspike.papers.spsn_times import epoch_times, figure5

__all__ = ["figure1c", "figure2", "figure3", "figure4", "figure5", "figure6"]


def figure1c(results) -> Figure:
    """Input, potential and spikes of the three neurons."""
    data = plots.need(results, "neurons", "input_current", "potential", "spike")
    fig, (top, middle, low) = plots.figure(3, 1, (7, 5.2), sharex=True, height_ratios=[1, 2.4, 1.2])
    steps = data["step"].values
    top.fill_between(steps, data["input_current"].values, step="mid", color=plots.PALE, lw=0)
    top.set_ylabel("input")
    names = [str(name) for name in data["neuron"].values]
    drawn = []
    for name in names:
        values = data["potential"].sel(neuron=name).values
        if any(np.array_equal(values, other) for other in drawn):
            continue
        same = [n for n in names if np.array_equal(data["potential"].sel(neuron=n).values, values)]
        ink = plots.colour(name)
        middle.plot(steps, values, color=ink, label=" and ".join(same), lw=1.6)
        drawn.append(values)
    threshold = float(data.attrs.get("threshold", 1.0))
    middle.axhline(threshold, color=plots.INK, ls=":", lw=1, label="LIF threshold")
    middle.set_ylabel("membrane potential\n(LIF threshold = 1)")
    middle.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
    times = [steps[data["spike"].sel(neuron=name).values > 0] for name in names]
    inks = [plots.colour(name) for name in names]
    low.eventplot(times, colors=inks, lineoffsets=range(len(names)), linelengths=0.7, linewidths=1)
    counts = [f"{name} ({len(t)})" for name, t in zip(names, times, strict=True)]
    low.set_yticks(range(len(names)), counts)
    low.invert_yaxis()
    low.grid(visible=False)
    low.set_xlabel("time step (1 ms)" if data.attrs.get("dt") == 1e-3 else "time step")
    low.set_ylabel("spikes")
    plots.title(fig, "Figure 1C: three neurons on one input", data)
    return fig


def figure2(results) -> Figure:
    """Accuracy by reduction of the readout over time."""
    data = plots.need(results, "readout", "test_accuracy")
    fig, ax = plots.figure(size=(7, 3.8))
    order = [r for r in ("last", "max", "mean") if r in data["readout"].values]
    variable = data["test_accuracy"].sel(readout=order).transpose("model", "readout", ...)
    plots.bars(ax, by_arm(variable), {})
    ax.set_ylabel("test accuracy (percent)")
    plots.title(fig, "Figure 2: readout over time (published: the mean is best)", data)
    return fig


def figure3(results) -> Figure:
    """Training and test accuracy, epoch time and spikes per ms."""
    data = plots.need(results, "augmentation", "train_accuracy", "test_accuracy", "spikes_per_ms")
    times = plots.need(results, "epoch_time", "seconds")
    fig, axes = plots.figure(2, 2, (11, 8))
    train = data["train_accuracy"].isel(epoch=-1)
    reached = {(m, "basic"): (100.0, np.nan) for m in map(str, data["model"].values)}
    panels = [
        (axes[0, 0], by_arm(train), reached, "A", "training accuracy (percent)", "published"),
        (axes[0, 1], by_arm(data["test_accuracy"]), accuracies(), "B", "test accuracy (percent)")
        + ("published",),
        (axes[1, 1], by_arm(data["spikes_per_ms"]), quantity("spike_frequency"), "D")
        + ("spikes per ms in the network", "published (1 ms steps)"),
    ]
    for ax, measured, known, letter, label, legend in panels:
        shown = {key: value for key, value in known.items() if key in measured}
        plots.bars(ax, measured, shown, legend)
        ax.set_ylabel(label)
        plots.letter(ax, letter)
    axes[1, 1].set_yscale("log")
    epoch_times(axes[1, 0], times["seconds"])
    plots.letter(axes[1, 0], "C")
    plots.title(fig, "Figure 3: accuracy, epoch time and spikes", data, C=times)
    return fig


def figure4(results) -> Figure:
    """Accuracy against spikes per ms over the regularisation thresholds."""
    data = plots.need(results, "regularisation", "test_accuracy", "spikes_per_ms")
    plain = plots.need(results, "augmentation", "test_accuracy", "spikes_per_ms")
    fig, ax = plots.figure(size=(7.5, 4.6))
    for model in map(str, data["model"].values):
        one = data.sel(model=model)
        points = [
            (plots.spread(one["spikes_per_ms"].isel(threshold=i), "seed"))
            + (plots.spread(one["test_accuracy"].isel(threshold=i), "seed"))
            for i in range(one.sizes["threshold"])
        ]
        x, dx, y, dy = np.array(sorted(points)).T
        ax.errorbar(
            x, y, dy, dx, color=plots.colour(model), marker="o", ms=5, capsize=2, label=model
        )
        below = model == "SPSN-SB"
        for i, point in enumerate(points):
            offset = ((5, -11) if i % 2 == 0 else (-18, 7)) if below else (-16, 5)
            label = f"{float(one['threshold'][i]):g}"
            ink = plots.colour(model)
            where = {"xytext": offset, "textcoords": "offset points"}
            ax.annotate(label, (point[0], point[2]), fontsize=7, color=ink, **where)
    for model in map(str, plain["model"].values):
        one = plain.sel(model=model, regime="augmentation")
        (x, dx), (y, dy) = (
            plots.spread(one[v], "seed") for v in ("spikes_per_ms", "test_accuracy")
        )
        if np.isfinite(x) and x > 0:
            ax.errorbar(
                x, y, dy, dx, color=plots.colour(model), marker="s", ms=7, capsize=2, ls="none"
            )
    ax.plot([], [], "s", color=plots.PALE, label="without regularisation")
    rates, cells = quantity("spike_frequency"), accuracies()
    known = [(rates[k][0], cells[k][0], k[0]) for k in rates if k in cells]
    known += [(rate, accuracy, model) for model, (rate, accuracy) in regularised().items()]
    for x, y, model in known:
        plots.hollow(ax, x, y).set_markeredgecolor(plots.colour(model))
    plots.hollow(ax, [], [], label="published (1 ms steps)")
    ax.plot([], [], color="none", label="numbers: theta; orange: LIF")
    ax.set_xscale("log")
    ax.set_xlabel("spikes per ms in the network")
    ax.set_ylabel("test accuracy (percent)")
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plots.title(fig, "Figure 4: accuracy against spikes", data, departures("regularisation", data))
    return fig


def figure6(results) -> Figure:
    """Mean and standard deviation of each class's readout over the stochastic passes."""
    data = plots.need(results, "robustness", "readout_mean", "label", "agreement")
    readout = data["readout_mean"]
    models = [str(m) for m in readout["stochastic_model"].values]
    shown = readout.sizes["shown_sample"]
    size = (2.6 * shown + 1, 2.6 * len(models) + 0.6)
    fig, axes = plots.figure(len(models), shown, size, squeeze=False, sharex=True)
    for row, model in zip(axes, models, strict=True):
        for i, ax in enumerate(row):
            one = readout.sel(stochastic_model=model).isel(shown_sample=i)
            mean, deviation = one.mean("trial").values, one.std("trial", ddof=1).values
            label = int(data["label"][i])
            inks = ["#D9D9D9"] * len(mean)
            inks[label] = plots.colour(model)
            ax.bar(range(len(mean)), mean, color=inks)
            ax.errorbar(
                range(len(mean)), mean, deviation, fmt="none", ecolor=plots.INK, elinewidth=0.8
            )
            ax.grid(axis="x", visible=False)
            ax.set_title(f"sample {i}: class {label}", fontsize=9)
        row[0].set_ylabel(f"{model}\nreadout, mean over time")
    for ax in axes[-1]:
        ax.set_xlabel("class (true one coloured)")
    same = [f"{m} {float(data['agreement'].sel(stochastic_model=m)):.1f} %" for m in models]
    text = f"Figure 6: {readout.sizes['trial']} stochastic passes, mean and standard deviation"
    plots.title(fig, f"{text}\none label in all passes: {', '.join(same)} of the test set", data)
    return fig
