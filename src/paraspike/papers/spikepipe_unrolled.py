"""SpikePipe's neuron as edges, and unrolled over time: what figure 5 draws can be computed."""

import dataclasses
from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

import numpy as np

from paraspike.errors import ReaderError
from paraspike.papers.spikepipe import Bilinear


@dataclasses.dataclass(frozen=True)
class Edge:
    """An edge of a signal-flow graph: a gain ("1", "s", "m", ">": the comparison), maybe a delay of one step
    that the spike of the step before clears."""

    source: str
    target: str
    gain: str = "1"
    delay: bool = False
    cleared_by: str | None = None


# Figure 1: nodes add what comes in. `Q` is what the delay element takes over to the next step.
SECTION = (
    Edge("I", "sI", "s"),
    Edge("sI", "V"),
    Edge("sI", "Q"),
    Edge("V", "Q", "m"),
    Edge("Q", "V", delay=True),
)
# Figure 2: the same with its delay element cleared by a spike.
LIF_SECTION = (*SECTION[:-1], Edge("Q", "V", delay=True, cleared_by="S"), Edge("V", "S", ">"))


def unrolled(edges: Iterable[Edge], steps: int) -> list[Edge]:
    """The edges of a signal-flow graph over `steps` time steps, nodes named "V[1]" to "V[T]".

    A delay becomes an edge from step t - 1 to t; one that a spike clears is gated by the spike of step t - 1,
    `cleared_by`. Before step 1 everything is 0, so the edges from there are left out.

    Raises:
        ReaderError: no step.
    """
    if steps < 1:
        raise ReaderError(f"{steps} steps to unroll", "spikepipe_unrolled.unrolled", "from 1")
    found = []
    for t in range(1, steps + 1):
        for edge in edges:
            before = t - 1 if edge.delay else t
            if before:
                gate = edge.cleared_by and f"{edge.cleared_by}[{before}]"
                source, target = f"{edge.source}[{before}]", f"{edge.target}[{t}]"
                found.append(Edge(source, target, edge.gain, cleared_by=gate))
    return found


def contracted(edges: Iterable[Edge], keep: Iterable[str] = ("I", "V", "S")) -> list[Edge]:
    """An unrolled graph without the nodes between: an edge for every path from one kept node to the next,
    its gain the product of the path's, its gate the path's gate.

    Raises:
        ReaderError: a path with two gates, which one edge cannot have.
    """
    edges, keep = list(edges), set(keep)
    leaving = {}
    for edge in edges:
        leaving.setdefault(edge.source, []).append(edge)

    def follow(edge):
        if _kind(edge.target) in keep:
            return [edge]
        return [
            joined
            for later in leaving.get(edge.target, ())
            for joined in follow(_join(edge, later))
        ]

    return [path for edge in edges if _kind(edge.source) in keep for path in follow(edge)]


def evaluate(
    edges: Iterable[Edge], currents: Sequence[float], neuron: Bilinear
) -> dict[str, float]:
    """Value of every node of an unrolled or contracted graph: nodes add what comes in, ">" compares with
    the threshold, an edge whose gate has fired gives 0.

    Args:
        currents: I[1] to I[T].
    """
    gains = {"1": 1.0, "s": neuron.scale, "m": neuron.leak}
    entering, needs = {}, {f"I[{t}]": set() for t in range(1, len(currents) + 1)}
    for edge in edges:
        entering.setdefault(edge.target, []).append(edge)
        needs.setdefault(edge.target, set()).update(filter(None, (edge.source, edge.cleared_by)))
    values = {}
    for node in TopologicalSorter(needs).static_order():
        if node.startswith("I["):
            values[node] = float(currents[int(node[2:-1]) - 1])
            continue
        values[node] = 0.0
        for edge in entering.get(node, ()):
            if edge.gain == ">":
                values[node] += values[edge.source] > neuron.threshold
            elif not (edge.cleared_by and values[edge.cleared_by]):
                values[node] += (
                    float(np.prod([gains[g] for g in edge.gain.split()])) * values[edge.source]
                )
    return values


def _kind(node):
    return node.split("[")[0]


def _join(edge, later):
    if edge.cleared_by and later.cleared_by:
        raise ReaderError(f"two gates from {edge.source} to {later.target}", "contracted")
    gain = " ".join(g for g in (edge.gain, later.gain) if g != "1") or "1"
    return dataclasses.replace(
        later, source=edge.source, gain=gain, cleared_by=edge.cleared_by or later.cleared_by
    )
