"""What stands beside the e-prop paper's figures: memory, sequential images, sparse networks, its future work.

Each function takes the paper's DataTree, or the Dataset of the one experiment it draws, and returns
a matplotlib Figure for `plots.save`.
"""

import numpy as np
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers.eprop_figures import INKS, steps_of
from paraspike.papers.eprop_published import EPROP, accuracies, mlgenn_cpu, published, sparse_times
from paraspike.papers.eprop_published import sparse as published_sparse

# The training step that stands for each network of the `beyond` experiment.
STEPS = {
    "eProp ALIF": "eProp factorised",
    "BPTT ALIF": "BPTT ALIF fused",
    "eProp ALIF, as GeNN": "eProp chunked",
    "eProp ALIF, 2 layers": "eProp 2 layers",
    "eProp ALIF, 3 layers": "eProp 3 layers",
    "eProp ALIF, convolution": "eProp convolution",
    "EventProp LIF": "EventProp LIF",
}


def memory(results) -> Figure:
    """Peak memory of one training step against the number of time steps."""
    data = plots.need(results, "training", "peak", "expected_peak")
    fig, ax = plots.figure(size=(8.5, 4.6))
    budget = float(data.attrs["budget"])
    for mark, method in zip("osD^vPX*", data["memory_arm"].values, strict=False):
        ink = INKS.get(str(method), plots.colour(str(method)))
        peak = data["peak"].sel(memory_arm=method)
        expected = data["expected_peak"].sel(memory_arm=method)
        style = {"marker": mark, "color": ink, "ms": 5}
        ax.plot(peak["memory_length"], peak.where(peak > 0), label=str(method), **style)
        lost = np.isnan(peak.values)
        if lost.any():
            first = max(0, int(lost.argmax()) - 1)
            ax.plot(expected["memory_length"][first:], expected[first:], ":", mfc="white", **style)
    ax.axhline(budget, color=plots.PALE, lw=1)
    ax.annotate(f"budget {budget:g} MiB", (float(data["memory_length"][0]), budget), (0, 3),
                textcoords="offset points", fontsize=8, color=plots.PALE)  # fmt: skip
    ax.plot([], [], ":", marker="o", mfc="white", color=plots.PALE, label="not run: expected")
    ax.set(xscale="log", yscale="log", xlabel="time steps of one sample")
    ax.set_ylabel("peak memory of a training step (MiB)")
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plots.title(fig, "Memory against time steps: streams in constant memory", data)
    return fig


def sequential(results) -> Figure:
    """Accuracy on sequential images by size and rule, and the LSTM's."""
    data = plots.need(results, "sequential", "test_accuracy", "lstm_accuracy")
    fig, ax = plots.figure(size=(8, 4.2))
    known = {k: v for k, v in accuracies().items() if k[4] == "smnist"}
    sizes = sorted({*map(int, data["hidden"].values), *(k[3] for k in known)})
    arms = [str(a) for a in data["arm"].values]
    width = 0.8 / len(arms)
    for i, arm in enumerate(arms):
        for j, n in enumerate(sizes):
            x = j + (i - (len(arms) - 1) / 2) * width
            if n in data["hidden"].values:
                mean, deviation = plots.spread(data["test_accuracy"].sel(arm=arm, hidden=n), "seed")
                ax.bar(
                    x, mean, width * 0.9, yerr=np.nan_to_num(deviation), color=INKS[arm], capsize=2
                )
            key = (EPROP, "ALIF", "recurrent", n, "smnist")
            if arm == "eProp ALIF" and key in known:
                plots.hollow(ax, x, known[key][0], known[key][1])
        ax.bar(0, 0, color=INKS[arm], label=arm)
    reached = data["lstm_accuracy"].values
    ax.bar(len(sizes), reached.mean(), width * 0.9, color=INKS["LSTM"], label="LSTM 128")
    plots.hollow(ax, [], [], label="published (MNIST, 28 x 28)")
    for cell, style in (("LSNN", "--"), ("LIF", ":")):
        mean = next(v[0] for k, v in known.items() if k[0].startswith("BPTT") and k[1] == cell)
        ax.axhline(mean, color=plots.PALE, lw=1, ls=style)
        ax.annotate(f"published: BPTT, {cell}", (0.01, mean), (0, 2), fontsize=7, color=plots.PALE,
                    xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    ax.set_xticks(range(len(sizes) + 1), [*sizes, "LSTM"])
    ax.set(xlabel="hidden neurons", ylabel="test accuracy (percent)", ylim=(0, 100))
    ax.grid(axis="x", visible=False)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    side = data.attrs["side"]
    plots.title(
        fig, "Spiking sequential images", data, f"{side} x {side} pixels, {side * side} steps"
    )
    return fig


def sparse(results) -> Figure:
    """Accuracy against density, fixed and rewired; time of a step beside the published training time."""
    data = plots.need(results, "sparse", "test_accuracy")
    times = plots.need(results, "training", "seconds")
    fig, (left, right) = plots.figure(1, 2, (12.5, 4.6), width_ratios=[1.5, 1])
    densities = [str(d) for d in data["density"].values]
    kinds = [str(k) for k in data["kind"].values]
    known = published_sparse()
    width = 0.8 / len(kinds)
    for i, (kind, ink) in enumerate(zip(kinds, ("#6E6E6E", "#56B4E9", "#0072B2"), strict=False)):
        for j, density in enumerate(densities):
            x = j + (i - (len(kinds) - 1) / 2) * width
            cell = data["test_accuracy"].sel(kind=kind, density=density)
            mean, deviation = plots.spread(cell, "seed")
            left.bar(x, mean, width * 0.9, yerr=np.nan_to_num(deviation), color=ink, capsize=2)
            a, b = map(float, density.split("/"))
            rows = known[(known.kind == kind) & np.isclose(known.input_density, a)]
            for row in rows[np.isclose(rows.recurrent_density, b)].itertuples():
                plots.hollow(left, x, row.mean, row.deviation)
        left.bar(0, 0, color=ink, label=kind)
    plots.hollow(left, [], [], label="published (SHD, 256 neurons)")
    left.set_xticks(range(len(densities)), densities)
    left.set(
        xlabel="density of input / recurrent connections",
        ylabel="test accuracy (percent)",
        ylim=(0, 100),
    )
    left.legend(fontsize=8, loc="lower left", ncols=2, frameon=True, framealpha=0.9)
    names = ["eProp factorised", "eProp fixed sparse", "eProp Deep-R"]
    middle = times["hidden"].values[times.sizes["hidden"] // 2]
    medians = times["seconds"].sel(hidden=middle, arm=names).median("repeat").dropna("length")
    medians = medians.isel(length=-1)
    dense = float(medians[0])
    right.bar(range(3), medians / dense, 0.6, color=["#222222", "#6E6E6E", "#0072B2"])
    table = sparse_times()
    ten = table[np.isclose(table.density, 0.1)].iloc[0]
    whole = table[np.isclose(table.density, 1.0)].iloc[0].fixed_s
    plots.hollow(right, [0, 1, 2], [1, ten.fixed_s / whole, ten.deep_r_s / whole])
    right.set_xticks(range(3), ["dense", "fixed, 0.1", "Deep-R, 0.1"])
    right.set_ylabel("training time, dense = 1")
    for ax, letter in ((left, "A"), (right, "B")):
        ax.grid(axis="x", visible=False)
        plots.letter(ax, letter)
    note = (
        f"A: {data.attrs['hidden']} neurons; B: {middle} neurons, masks multiply dense weights here"
    )
    note = f"{note}\nA: {steps_of(data)}"
    plots.title(fig, "Sparse networks: fixed connections and Deep-R", data, note, B=times)
    return fig


def beyond(results) -> Figure:
    """Accuracy of what the paper left to do, and the time of a training step of each."""
    data = plots.need(results, "beyond", "test_accuracy")
    times = plots.need(results, "training", "seconds")
    arms = [str(a) for a in data["arm"].values]
    fig, (left, right) = plots.figure(1, 2, (12, 0.45 * len(arms) + 1.6), sharey=True)
    middle = times["hidden"].values[times.sizes["hidden"] // 2]
    shown = times["seconds"].sel(hidden=middle).median("repeat")
    length = float(shown.dropna("length", how="any")["length"].max())
    for i, arm in enumerate(arms):
        ink = INKS["eProp ALIF"] if arm == "eProp ALIF" else INKS["eProp LIF"]
        ink = INKS.get(arm, ink)
        mean, deviation = plots.spread(data["test_accuracy"].sel(arm=arm), "seed")
        left.barh(i, mean, 0.7, xerr=np.nan_to_num(deviation), color=ink, capsize=2)
        left.annotate(f"{mean:.1f}", (2, i), va="center", fontsize=8, color="white")
        method = STEPS.get(arm, "eProp factorised")
        if method in shown["arm"].values:
            right.barh(i, 1e3 * float(shown.sel(arm=method, length=length)), 0.7, color=ink)
    left.set_yticks(range(len(arms)), arms)
    left.invert_yaxis()
    left.set(xlabel="test accuracy (percent)", xlim=(0, 100))
    right.set(xlabel=f"a training step of {length:.0f} time steps, {middle} neurons (ms)")
    for ax, letter in ((left, "A"), (right, "B")):
        ax.grid(axis="y", visible=False)
        plots.letter(ax, letter)
    note = f"A: {data.attrs['hidden']} neurons a layer; B: batch {times.attrs['batch_size']}; as GeNN: chunked"
    note = f"{note}\nA: {steps_of(data)}"
    plots.title(fig, "Beyond the paper", data, note, B=times)
    return fig


def speed(results) -> Figure:
    """Milliseconds a sample at 700-256-20 and 100 steps, beside mlGeNN's CPU backend."""
    data = plots.need(results, "training", "sample_seconds")
    fig, ax = plots.figure(size=(8, 4.2))
    methods, mlgenn = [str(m) for m in data["single"].values], 1e3 * mlgenn_cpu()
    batches = data["batch"].values
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        for j, batch in enumerate(batches):
            each = 1e3 * data["sample_seconds"].sel(single=method, batch=batch).dropna(
                "sample_repeat"
            )
            x, median = j + (i - (len(methods) - 1) / 2) * width, float(each.median())
            ax.bar(x, median, width * 0.92, color=INKS[method])
            ax.vlines(x, float(each.min()), float(each.max()), color=plots.INK, lw=0.8)
            ax.annotate(f"{median:.2g} ms\n{mlgenn / median:.3g}x", (x, float(each.max())), (0, 3),
                        textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
        ax.bar(0, 0, color=INKS[method], label=method)
    ax.axhline(mlgenn, color=plots.PALE, lw=1)
    text = f"mlGeNN 2.3.1, CPU, batch 1: {mlgenn:g} ms (measured earlier on a similar core)"
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    ax.annotate(text, (0.01, mlgenn), (0, 3), fontsize=8, **where)
    ax.set_xticks(range(len(batches)), [f"batch {b}" for b in batches])
    ax.set(yscale="log", ylabel="ms a sample (median; line: least to most)")
    ax.set_ylim(top=mlgenn * 4)
    ax.grid(axis="x", visible=False)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    gpus = ", ".join(f"{r.num_gpus} GPU {r.batch_time_ms:g} ms" for r in _gpus().itertuples())
    hindered = data["sample_disturbed"].max("batch")
    if names := [str(m) for m in methods if float(hindered.sel(single=m)) > 0]:
        gpus = f"{gpus}\ndisturbed by other processes: {', '.join(names)}"
    note = f"published, a batch of 512 of SHD on A100s: {gpus}"
    plots.title(fig, "Speed: e-prop with 700-256-20 ALIF neurons, 100 steps", data, note)
    return fig


def _gpus():
    return published("multi_gpu").query("device == 'A100'")
