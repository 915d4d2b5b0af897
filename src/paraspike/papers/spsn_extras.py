"""What stands beside the SPSN paper's figures: its tables, and what it left to future work.

Each function takes the paper's DataTree, or the Dataset of the one experiment it draws, and returns
a matplotlib Figure for `plots.save`.
"""

import json

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers.spsn_published import (
    REGIMES,
    accuracies,
    budgets,
    by_arm,
    departures,
    published,
)


def table1(results) -> Figure:
    """Table I: published parameters beside those of the runs."""
    rows = published("table1").fillna("")
    ours = []
    for row in rows.itertuples():
        parameters = json.loads(plots.need(results, row.experiment).attrs["parameters"])
        if row.ours.startswith("= "):
            value = row.ours[2:]
        elif row.ours == "layers":
            value = len(parameters["hidden"])
        else:
            value = parameters.get(row.ours, "")
        values = value if isinstance(value, list) else [value]
        ours.append(", ".join(map(str, dict.fromkeys(values))))
    data = plots.need(results, "augmentation")
    cells = pd.DataFrame(
        {
            "published": [
                f"{v} {u}".strip() for v, u in zip(rows.published, rows.unit, strict=True)
            ],
            "this run": [f"{v} {u}".strip() for v, u in zip(ours, rows.unit, strict=True)],
        },
        index=rows.parameter,
    )
    fig, ax = plots.figure(size=(7, 5.4))
    plots.grid(ax, cells, [0.3, 0.4])
    plots.title(fig, "Table I: parameters", data)
    return fig


def table2(results) -> Figure:
    """Table II: test accuracy by regime, measured above published."""
    data = plots.need(results, "augmentation", "test_accuracy")
    measured = by_arm(data["test_accuracy"])
    budget = plots.need(results, "regularisation", "test_accuracy")
    regularised = budget["test_accuracy"]
    for model, theta in budgets().items():
        at = np.isclose(regularised["threshold"].values, theta)
        if model in regularised["model"].values and at.any():
            cell = regularised.sel(model=model).isel(threshold=int(at.argmax()))
            measured[model, REGIMES[2]] = plots.spread(cell, "seed")
    known = accuracies()
    models = list(dict.fromkeys(model for model, _ in measured))

    def text(found: tuple | None) -> str:
        if found is None:
            return "not run"
        return f"{found[0]:.1f}" + (f" ± {found[1]:.1f}" if np.isfinite(found[1]) else "")

    rows = {}
    for model in models:
        for kind, values in (("this run", measured), ("published", known)):
            cells = [text(values.get((model, regime))) for regime in REGIMES]
            if model in ("LIF", "ReLU"):
                cells[2] = ""
            rows[f"{model}, {kind}"] = cells
    columns = ["basic", "augmentation", "augm. + regularisation"]
    fig, ax = plots.figure(size=(7.5, 0.9 + 0.32 * len(rows)))
    plots.grid(ax, pd.DataFrame.from_dict(rows, orient="index", columns=columns), [0.25] * 3)
    differing = departures("regularisation", budget)
    note = f"with regularisation: {differing}" if differing else ""
    plots.title(fig, "Table II: test accuracy in percent", data, note)
    return fig


def padding(results) -> Figure:
    """Error of the FFT membrane against sequence length, by zero padding."""
    data = plots.need(results, "neurons", "padding_error")
    fig, ax = plots.figure(size=(7, 3.8))
    looks = (("o", plots.OTHERS[0]), ("s", plots.OTHERS[2]), ("^", plots.OTHERS[1]))
    for (marker, ink), name in zip(looks, data["padding"].values, strict=False):
        errors = data["padding_error"].sel(padding=name)
        ax.plot(data["steps_total"], errors, marker=marker, color=ink, label=str(name))
    ax.set(xscale="log", yscale="log", xlabel="sequence length (steps)")
    ax.set_ylabel("relative rms error of the potential")
    ax.legend(title="zero padding", fontsize=8, title_fontsize=8)
    plots.title(fig, "Too little padding lets the end leak into the beginning", data)
    return fig


def statistics(results) -> Figure:
    """Rate, irregularity and synchrony of the hidden layers' spike trains."""
    names = ("rate_hz", "isi_cv", "synchrony")
    data = plots.need(results, "robustness", *names)
    fig, axes = plots.figure(1, 3, (11, 3.8))
    labels = ("firing rate (Hz)", "CV of inter-spike intervals", "synchrony (0 none, 1 all)")
    models = [str(m) for m in data["model"].values]
    width = 0.8 / len(models)
    layers = data["layer"].values
    for ax, name, label in zip(axes, names, labels, strict=True):
        for i, model in enumerate(models):
            x = np.arange(len(layers)) + (i - (len(models) - 1) / 2) * width
            values = data[name].sel(model=model).values
            ax.bar(x, values, 0.92 * width, color=plots.colour(model), label=model)
        ax.set_xticks(range(len(layers)), [f"layer {n}" for n in layers])
        ax.grid(axis="x", visible=False)
        ax.set_ylabel(label)
    axes[1].axhline(1, color=plots.PALE, lw=1, ls=":")
    axes[1].annotate(
        "Poisson",
        (1.01, 1),
        xycoords=("axes fraction", "data"),
        fontsize=7,
        ha="left",
        va="center",
    )
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper right", ncols=len(models), fontsize=8)
    plots.title(fig, "Spike trains of the trained networks (not in the paper)", data)
    return fig


def recurrent(results) -> Figure:
    """Error of the two-pass form of a recurrent SPSN layer against true recurrence."""
    data = plots.need(results, "generality", "recurrent_error", "recurrent_spike_mismatch")
    fig, axes = plots.figure(1, 2, (10, 4))
    panels = (
        ("recurrent_error", "relative rms error of the potential"),
        ("recurrent_spike_mismatch", "spikes that differ (percent)"),
    )
    looks = ("-", "--", ":")
    for ax, (name, label) in zip(axes, panels, strict=True):
        for line, form in zip(looks, data["form"].values, strict=False):
            for cell in map(str, data["cell"].values):
                values = data[name].sel(form=form, cell=cell)
                style = {"color": plots.colour(cell), "ls": line, "marker": "o", "ms": 4}
                ax.plot(data["steps"], values, label=f"{cell}, {form}", **style)
        ax.set(xscale="log", xlabel="sequence length (steps)", ylabel=label)
        ax.set_ylim(bottom=0)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right center", fontsize=8)
    plots.title(
        fig, "Recurrent SPSN in two passes, against true recurrence (not in the paper)", data
    )
    return fig


def generality(results) -> Figure:
    """Test accuracy of the models on a second data set."""
    data = plots.need(results, "generality", "test_accuracy")
    fig, ax = plots.figure(size=(7, 3.8))
    for i, model in enumerate(map(str, data["model"].values)):
        mean, deviation = plots.spread(data["test_accuracy"].sel(model=model), "seed")
        ax.bar(i, mean, 0.6, color=plots.colour(model))
        if np.isfinite(deviation):
            ax.errorbar(i, mean, deviation, fmt="none", ecolor=plots.INK, capsize=3)
        where = {"xycoords": ax.get_xaxis_transform(), "ha": "center", "color": "white"}
        ax.annotate(f"{mean:.1f}", (i, 0.03), fontweight="bold", **where)
    ax.set_xticks(range(data.sizes["model"]), data["model"].values)
    ax.grid(axis="x", visible=False)
    ax.set_ylabel("test accuracy (percent)")
    plots.title(fig, "A second data set (not in the paper)", data)
    return fig
