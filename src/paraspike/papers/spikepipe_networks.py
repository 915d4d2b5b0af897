"""SpikePipe's figure 4, a network of layers, and the dataflow of its training step with the delays.

Each function returns a matplotlib Figure for `plots.save`.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paraspike import plots
from paraspike.errors import ReaderError
from paraspike.papers.spikepipe_strokes import DELAY, box, canvas, disc, headline, wire
from paraspike.pipelining.networks import Network
from paraspike.pipelining.tasks import TaskGraph, staleness_rule, task_graph

# Pale enough to write on; the same three in the figures of tasks.
FACES = {"F": "#D6E8F5", "B": "#FBE3D3", "W": "#DDF1EA"}
NAMES = {"F": "forward", "B": "error to the layer below", "W": "weight gradient and update"}
MOST, SPACE = 5, 1.1
ROWS = {"F": 2.8, "W": 1.4, "B": 0.0}
SIZE = (1.0, 0.72)


def network_figure(network: Network) -> Figure:
    """Figure 4: neurons and weights of a network of dense layers, below them the tasks of a training step.

    Of more than five neurons of a layer the first three and the last are drawn.

    Raises:
        ReaderError: a layer is a convolution.
    """
    if any(layer.kernel > 1 or layer.side > 1 for layer in network.layers):
        raise ReaderError(f"{network.name} has convolutions", "network_figure", "dense layers only")
    sizes = [network.layers[0].inputs, *(layer.neurons for layer in network.layers)]
    step, top = 3.2, 0.55 * (min(max(sizes), MOST) - 1)
    columns = [[(step * k, y) for y in _heights(size)] for k, size in enumerate(sizes)]
    rows = {kind: -top - below for kind, below in (("F", 2.25), ("W", 3.2), ("B", 4.15))}
    fig, ax = canvas((-1.7, step * network.depth + 1.7), (rows["B"] - 0.4, top + 1.7))
    for left, right in zip(columns, columns[1:], strict=False):
        for a in filter(_seen, left):
            for b in filter(_seen, right):
                look = {"lw": 0.8, "mutation_scale": 8, "zorder": 1, "halo": 0}
                wire(ax, [a, b], (0.3, 0.3), plots.PALE, **look)
    for k, column in enumerate(columns):
        for (x, y), above in zip(column, [None, *column], strict=False):
            if y is None:
                ax.text(x, above[1] - SPACE, "⋮", ha="center", va="center", fontsize=14)
            else:
                disc(ax, (x, y), "", 0.3, fc="#F2F2F2" if k == 0 else "white")
        last = k == network.depth
        name = "input" if k == 0 else f"layer {k}" + " (readout)" * last
        ax.text(step * k, top + 1.2, name, ha="center", fontweight="bold", fontsize=10)
        unit = ("inputs", "LIF neurons", "outputs")[(k > 0) + last]
        ax.text(
            step * k, top + 0.7, f"{sizes[k]} {unit}", ha="center", fontsize=9, color=plots.PALE
        )
    for k, layer in enumerate(network.layers):
        text = f"weights $W_{{{k + 1}}}$\n{layer.n_in} × {layer.n_out}"
        at = step * (k + 0.5), -top - 0.6
        ax.text(*at, text, ha="center", va="top", fontsize=10, linespacing=1.3)
    _tasks(ax, task_graph(network), rows, lambda k: step * (k - 0.5), 0.75)
    ax.text(-1.6, rows["W"], "tasks of a\ntraining step", va="center", fontsize=9, color=plots.PALE)
    _legend(fig, ax)
    headline(
        fig, f"Figure 4: a spiking network of {network.depth} layers", f"{network.steps} time steps"
    )
    return fig


def task_dataflow(graph: TaskGraph, staleness: Sequence[int] | None = None) -> Figure:
    """Dataflow of a training step: tasks with their cycles, what waits for what, and the delays on the edges
    from the weight update to a later forward pass, 1 + D_l repetitions each.

    Args:
        staleness: D_l of each layer in updates; None for 2 (L - l), a stage for every layer.

    Raises:
        ReaderError: not one delay a layer, or one below 0.
    """
    rule = staleness is None
    staleness = staleness_rule("per-layer", graph.depth) if rule else tuple(staleness)
    graph.iteration_bound(staleness)
    gap = 1.75
    fig, ax = canvas((gap - 0.7, gap * graph.depth + 1.3), (-0.5, 3.3), 0.78)
    _tasks(ax, graph, ROWS, lambda layer: gap * layer, 0.62, cycles=True)
    for layer, delay in enumerate(staleness, 1):
        x, ends = gap * layer - 0.25, (ROWS["W"] + SIZE[1] / 2, ROWS["F"] - SIZE[1] / 2)
        wire(ax, [(x, ends[0]), (x, ends[1])], ink=DELAY)
        count = f"{1 + delay}D" if delay else "D"
        box(ax, (x, sum(ends) / 2 - 0.04), count, (0.5, 0.28), DELAY, fontsize=8.5)
    _legend(fig, ax)
    name = f"{graph.network.name}, batch {graph.batch}, " if graph.network else ""
    array = f"{graph.array[0]} × {graph.array[1]} array, " if graph.network else ""
    note = (
        "kD: the updated weights go to F of k repetitions later, $k = 1 + D_l$"
        + ", $D_l = 2 (L - l)$" * rule
    )
    title = f"Dataflow of a training step: {sum(staleness)} updates of delay in all"
    headline(fig, title, f"{name}{array}modelled cycles in thousands", note)
    return fig


def _tasks(ax, graph, rows, column, reach, cycles=False):
    """Boxes of all tasks and the edges of `TaskGraph.before`, the loss at the right."""
    size = SIZE if cycles else (0.9, 0.6)
    right = column(graph.depth) + reach + 0.28
    for task in graph.tasks:
        b = column(task.layer), rows[task.kind]
        for kind, layer in graph.before(*task.key):
            a = column(layer), rows[kind]
            if kind == "F" and task.kind != "F":
                route = [a, (right, a[1]), (right, b[1]), b]
                wire(ax, route, (size[0] / 2, size[0] / 2), halo=0)
            elif task.kind == kind:
                wire(ax, [a, b], (size[0] / 2, size[0] / 2))
            else:
                # From the error of the layer above, up to the weight gradient.
                half = size[0] / 2
                x = (a[0] + b[0]) / 2
                wire(ax, [a, (x, a[1]), (x, b[1]), b], (half, half), halo=0)
    for task in graph.tasks:
        text = task.name
        if cycles:
            thousands = task.cycles / 1e3
            text += f"\n{thousands:,.0f}" if thousands >= 100 else f"\n{thousands:.2g}"
        box(
            ax, (column(task.layer), rows[task.kind]), text, size, fc=FACES[task.kind], fontsize=9.5
        )
    middle = (rows["F"] + rows["W"]) / 2
    ax.text(right + 0.12, middle, "loss", rotation=90, va="center", fontsize=9, color=plots.INK)


def _legend(fig, ax):
    patches = [
        Patch(fc=FACES[kind], ec=plots.INK, label=f"{kind}: {text}") for kind, text in NAMES.items()
    ]
    ax.legend(handles=patches, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)


def _heights(size):
    """Where a layer's neurons lie; None for those left out."""
    drawn = min(size, MOST)
    heights = [SPACE * ((drawn - 1) / 2 - k) for k in range(drawn)]
    if size > MOST:
        heights[-2] = None
    return heights


def _seen(at):
    return at[1] is not None
