"""SpikePipe's figures 1, 2, 3 and 5, drawn from the neuron's own signal-flow graph.

Each function returns a matplotlib Figure for `plots.save`. Figure 4 is in `spikepipe_networks`.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.ops.lif import reference
from paraspike.papers.spikepipe import EXAMPLE, Bilinear, example, nearest_lif
from paraspike.papers.spikepipe_strokes import (
    DELAY,
    GATE,
    amplifier,
    box,
    canvas,
    disc,
    dot,
    headline,
    wire,
)
from paraspike.papers.spikepipe_unrolled import LIF_SECTION, SECTION, Edge, contracted, unrolled

# Where the nodes of a section lie, and the corners of edges that go no straight way.
PLACES = {"I": (0, 2.4), "sI": (2.3, 2.4), "V": (4.2, 2.4), "Q": (4.2, 0), "S": (9, 2.4)}
CORNERS = {("sI", "Q"): [(2.3, 0)], ("V", "Q"): [(6.4, 2.4), (6.4, 0)], ("V", "S"): [(6.4, 2.4)]}
RADIUS = 0.24
ROWS = {"I": 2.4, "V": 0.0, "S": -2.4}


def section(neuron: Bilinear = EXAMPLE) -> Figure:
    """Figure 1: the digital first-order section, from `SECTION`."""
    fig, ax = canvas((-0.6, 8.6), (-0.9, 3.5))
    _signal_flow(ax, SECTION, neuron)
    wire(ax, [(6.4, 2.4), (7.9, 2.4)], zorder=1)
    ax.text(8.0, 2.4, "$V[t]$", va="center")
    headline(fig, "Figure 1: digital first-order section of the LIF neuron", _values(neuron))
    return fig


def lif_section(neuron: Bilinear = EXAMPLE) -> Figure:
    """Figure 2: the section whose delay element a spike clears, from `LIF_SECTION`."""
    fig, ax = canvas((-0.6, 10.2), (-0.9, 3.5))
    _signal_flow(ax, LIF_SECTION, neuron)
    wire(ax, [PLACES["S"], (10.0, 2.4)], zorder=1)
    text = "Figure 2: the LIF neuron, its delay element cleared by a spike"
    headline(fig, text, _values(neuron) + f"; θ = {neuron.threshold:g}")
    return fig


def example_figure() -> Figure:
    """Figure 3: current, potential and spikes of `example`; beside it the normal form nearest to it."""
    found = example()
    currents = torch.tensor(found["currents"])[:, None, None]
    other, other_v, _ = (
        x[:, 0, 0].numpy() for x in reference.lif(currents, nearest_lif(EXAMPLE), True)
    )
    t = np.arange(1, len(other) + 1)
    fig, axes = plots.figure(3, 1, (7.5, 6.4), sharex=True, height_ratios=[1, 2, 0.8])
    axes[0].bar(t, found["currents"], 0.6, color=plots.COLOURS["SPSN-SB"])
    axes[0].set(ylabel="input current\n(arbitrary units)", title="(a) input current")
    axes[1].axhline(EXAMPLE.threshold, color=plots.INK, lw=1, ls="--")
    axes[1].text(0.55, EXAMPLE.threshold + 0.015, "threshold", fontsize=8, va="bottom")
    readings = (
        (
            found["potential"],
            found["spikes"],
            GATE,
            2.0,
            "a spike clears the delay element (figure 2)",
        ),
        (
            other_v,
            other,
            DELAY,
            1.0,
            "a spike also gates the next new current (figure 5's other reading)",
        ),
    )
    for row, (v, spikes, ink, width, label) in enumerate(readings):
        fired = spikes > 0
        axes[1].plot(
            t, v, "-o", color=ink, lw=width, ms=2 + 1.5 * width, label=label, zorder=4 - row
        )
        axes[2].vlines(t[fired], 0.6 - row, 1.4 - row, color=ink, lw=2 * width)
    axes[1].set(ylabel="membrane potential\n(arbitrary units)")
    axes[1].set_title("(b) membrane potential before the reset, and spikes")
    axes[1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.98))
    top = max(found["potential"].max(), other_v.max())
    axes[1].set_ylim(-0.03, 1.45 * top)
    axes[2].set(xlabel="time step", ylim=(-0.6, 1.6), xlim=(0.4, len(t) + 0.6))
    axes[2].set_yticks([1, 0], ["spikes,\nfigure 2", "other\nreading"], fontsize=8)
    axes[2].set_xticks(t)
    axes[2].grid(axis="y", visible=False)
    note = f"c = {EXAMPLE.c:g}, λ = {EXAMPLE.lam:g}, threshold {EXAMPLE.threshold:g} as published"
    headline(fig, f"Figure 3: one neuron over {len(t)} time steps", f"{note}; the current is ours")
    return fig


def dataflow(steps: int = 4, edges: Sequence[Edge] = LIF_SECTION) -> Figure:
    """Figure 5: a hidden neuron over `steps` time steps, from the unrolled and contracted edges.

    Raises:
        ReaderError: no step.
    """
    graph, gap = contracted(unrolled(edges, steps)), 2.6
    fig, ax = canvas((-1.9, gap * (steps - 1) + 0.9), (-3.5, 3.1))
    gates = {}
    for edge in graph:
        a, b = (_spot(node, gap) for node in (edge.source, edge.target))
        wire(ax, [a, b], (0.42, 0.42), zorder=2)
        middle = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
        if edge.cleared_by:
            gates.setdefault(edge.cleared_by, []).append(middle)
        flat, gain = a[1] == b[1], r">\theta" if edge.gain == ">" else edge.gain
        # Beside the wire, and where it is gated between the gate and the arrow's head.
        share = 0.7 if edge.cleared_by else 0.5
        x, y = (p + share * (q - p) for p, q in zip(a, b, strict=True))
        at = (x, y + 0.12) if flat else (x + 0.1, y + 0.05)
        ha, va = (
            ("center", "bottom") if flat else ("left", "bottom" if edge.cleared_by else "center")
        )
        ax.text(*at, f"${gain}$", ha=ha, va=va, fontsize=11)
    for spike, points in gates.items():
        at, points = _spot(spike, gap), sorted(points, key=lambda point: point[1])
        route = [at, (points[0][0], at[1]), *points]
        wire(ax, route, (0.42, 0.0), GATE, ls="--", arrowstyle="-", zorder=1)
        for point in points:
            disc(ax, point, "×", 0.17, GATE, zorder=4)
    for node in dict.fromkeys(node for e in graph for node in (e.source, e.target)):
        disc(ax, _spot(node, gap), f"${node}$", 0.42)
    for t in range(1, steps + 1):
        ax.text(gap * (t - 1), -3.3, f"step {t}", ha="center", fontsize=9, color=plots.PALE)
    for kind, name in (("I", "current"), ("V", "potential"), ("S", "spike")):
        ax.text(-0.6, ROWS[kind], name, ha="right", va="center", fontsize=9, color=plots.PALE)
    note = "× and dashed: a spike at step t − 1 sets the old current and the old potential of step t to 0"
    headline(fig, f"Figure 5: dataflow of a hidden neuron over {steps} time steps", note)
    return fig


def _signal_flow(ax, edges, neuron):
    """Wires with gains and delays, then nodes: adders where several edges end, dots where they part."""
    routes = {(e.source, e.target): [PLACES[e.source], *CORNERS.get((e.source, e.target), ()), PLACES[e.target]]
              for e in edges}  # fmt: skip
    entering = {
        node: [e for e in edges if e.target == node] for e in edges for node in (e.source, e.target)
    }
    texts = {"s": f"$s$ = {neuron.scale:.3f}", "m": f"$m$ = {neuron.leak:.3f}"}
    for edge in edges:
        route = routes[edge.source, edge.target]
        cut = [RADIUS if len(entering[node]) > 1 else 0 for node in (edge.source, edge.target)]
        wire(ax, route, cut, arrowstyle="-|>" if cut[1] else "-")
        (xa, ya), (xb, yb) = route[-2:]
        middle = (xa + xb) / 2, (ya + yb) / 2
        if edge.delay:
            box(ax, middle, "$z^{-1}$", (0.9, 0.6), DELAY)
            if edge.cleared_by:
                x, y = PLACES[edge.cleared_by]
                way = [(x, y), (x, middle[1]), (middle[0] + 0.45, middle[1])]
                wire(ax, way, ink=GATE, ls="--", zorder=3)
                ax.text(
                    x - 0.1, middle[1] + 0.1, "a spike clears", ha="right", color=GATE, fontsize=9
                )
        elif edge.gain == ">":
            box(ax, middle, r"$>\theta$")
        elif edge.gain != "1":
            amplifier(ax, *route[-2:], texts[edge.gain])
    for node, into in entering.items():
        x, y = PLACES[node]
        if len(into) > 1:
            disc(ax, (x, y), "+", RADIUS)
        elif not into:
            disc(ax, (x, y), "", 0.08)
        else:
            dot(ax, (x, y))
        below = y < 1
        ax.text(
            x,
            y + (-0.4 if below else 0.4),
            f"${node}[t]$",
            ha="center",
            va="top" if below else "bottom",
        )
    if ("V", "Q") in routes:
        dot(ax, CORNERS["V", "Q"][0])
    return ax


def _values(neuron):
    return f"s = 1/(c + λ), m = (c − λ)/(c + λ); here c = {neuron.c:g}, λ = {neuron.lam:g}"


def _spot(node, gap):
    kind, t = re.fullmatch(r"(\w+)\[(\d+)\]", node).groups()
    return gap * (int(t) - 1), ROWS[kind]
