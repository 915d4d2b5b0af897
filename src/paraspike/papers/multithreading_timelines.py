"""Figures 1, 6 and 7 of Bettendorf & Shears: where the time of a step and of a task goes."""

import numpy as np
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.papers import multithreading_published as published
from paraspike.papers.multithreading_figures import INK, NAMES
from paraspike.papers.multithreading_tasks import UPDATES

WAIT, RUN, ALL = "#9ECAE1", "#D55E00", "#555555"
_PARTS = {
    "layers": "#0072B2",
    "synapses": "#56B4E9",
    "weights": "#009E73",
    "encoding": "#E69F00",
    "rest": "#BBBBBB",
}


def figure1(results) -> Figure:
    """Shares of the single-threaded program."""
    data = plots.need(results, "tasks", "share", "product_share", "calls")
    fig, ax = plots.figure(size=(9, 3.4))
    rows = {"published": published.PROFILE | {"rest": 1 - sum(published.PROFILE.values())}}
    for arm in data["arm"].values:
        shares = data["share"].sel(arm=arm)
        rows[f"here, {NAMES.get(str(arm), str(arm))}"] = {
            str(p): float(shares.sel(part=p)) for p in data["part"].values
        }
    for y, parts in enumerate(rows.values()):
        left = 0.0
        for part, ink in _PARTS.items():
            value = 100 * parts.get(part, 0.0)
            kind = {"color": ink} if y else {"color": "white", "edgecolor": ink, "hatch": "//"}
            ax.barh(y, value, left=left, height=0.66, **kind)
            if value > 4:
                box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
                ax.text(
                    left + value / 2,
                    y,
                    f"{part} {value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    bbox=box,
                )
            left += value
    ax.set_yticks(range(len(rows)), rows)
    ax.invert_yaxis()
    ax.set(xlabel="share of the run's time (percent)", xlim=(0, 100))
    ax.grid(axis="y", visible=False)
    arm = data["arm"].values[-1]
    total = 100 * float(data["share"].sel(arm=arm, part=list(UPDATES)).sum())
    products = 100 * float(data["product_share"].sel(arm="as_published"))
    name = NAMES.get(str(arm), str(arm))
    note = f"the three updates in {name}: {total:.0f} %; inside matrix products, as published: {products:.0f} %"
    plots.title(fig, "Figure 1: profile of the single-threaded SNN", data, note)
    return fig


def figure6(results) -> Figure:
    """Waiting for a thread, running, and until all tasks are done."""
    data = plots.need(results, "tasks", "wait", "execution", "total", "wait_at")
    fig, axes = plots.figure(1, 3, (13.5, 4.4), width_ratios=[1, 1, 1.15])
    theirs = published.tasks().query("layers == 100")
    for ax, phase in zip(axes, ("layers", "weights"), strict=False):
        rows = theirs[theirs.phase == phase.rstrip("s")].set_index("pool_threads")
        pools = data["pool_threads"].values
        for k, (name, column, ink) in enumerate(
            (
                ("wait", "mean_queue_wait_s", WAIT),
                ("execution", "mean_task_exec_s", RUN),
                ("total", "mean_total_s", ALL),
            )
        ):
            x = np.arange(len(pools)) + (k - 1) * 0.27
            values = 1e3 * data[name].sel(phase=phase).values
            if name == "wait":
                # Nobody waits for the main thread.
                values = np.where(pools == 0, np.nan, values)
            label = {"wait": "waiting", "execution": "running", "total": "until all are done"}[name]
            ax.bar(x, values, 0.25, color=ink, label=label)
            known = [n in rows.index for n in pools]
            shown = [1e3 * rows.loc[n, column] for n in pools if n in rows.index]
            label = "published, raw data" if k == 0 else None
            plots.hollow(ax, x[known], shown, label=label)
        ax.set_yscale("log")
        ax.set_xticks(range(len(pools)), [f"{n} threads" if n else "none" for n in pools])
        ax.set(title=f"tasks: {phase}", ylabel="mean time of a task (ms)")
        ax.legend(fontsize=7.5, loc="upper left")
        ax.set_ylim(top=ax.get_ylim()[1] * 8)
    ax, known = axes[2], published.waits()
    for n, look in zip(data["some_threads"].values, ("-", "--", ":"), strict=False):
        ax.plot(
            1e3 * data["wait_at"].sel(some_threads=n),
            look,
            color="#0072B2",
            label=f"here, {n} threads",
        )
        rows = known[known.pool_threads == n]
        if len(rows):
            label = f"published, {n} threads"
            ax.plot(
                rows.queue_position, 1e3 * rows.mean_wait_s, look, color=plots.PALE, label=label
            )
    ax.set(
        title="waiting by place in the queue",
        xlabel="place",
        ylabel="mean wait (ms)",
        ylim=(0, None),
    )
    ax.legend(fontsize=7.5)
    plots.title(
        fig,
        "Figure 6: a task's time to get a thread, to run, and until all are done",
        data,
        "a queue's mean wait is (N - 1) / 2N of the time until all N are done, however fast a thread starts",
    )
    return fig


def figure7(results) -> Figure:
    """Start and end of every task of one step."""
    data = plots.need(results, "tasks", "start", "end")
    fig, axes = plots.figure(1, 2, (11, 3.6))
    rows = published.timeline()
    zero = rows.start_s.min()
    sides = {
        "published, raw data (Windows laptop)": (rows.start_s - zero, rows.end_s - zero, "#999999"),
        "here, last step": (
            data["start"].isel(step=-1).values,
            data["end"].isel(step=-1).values,
            INK["as_published"],
        ),
    }
    for ax, (name, (start, end, ink)) in zip(axes, sides.items(), strict=True):
        start, end = 1e3 * np.asarray(start), 1e3 * np.asarray(end)
        ax.barh(range(len(start)), end - start, left=start, height=0.7, color=ink)
        for i, (a, b) in enumerate(zip(start, end, strict=True)):
            ax.annotate(
                _span(b - a),
                (b, i),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        ax.set_yticks(range(len(start)))
        ax.invert_yaxis()
        ax.set_xlim(0, end.max() * 1.2)
        ax.set(
            title=name,
            xlabel="time since the first start (ms)",
            ylabel="task, in order of hand-over",
        )
        ax.grid(axis="y", visible=False)
    plots.title(fig, "Figure 7: start and end of the layers' tasks of one step", data)
    return fig


def _span(ms: float) -> str:
    return f"{ms:.2f} ms" if ms >= 0.1 else f"{1e3 * ms:.0f} us"
