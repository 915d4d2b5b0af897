"""Schedules with exact gradients: GPipe and 1F1B, flushed at every update, and data parallelism."""

from collections.abc import Sequence

from paraspike.errors import ReaderError
from paraspike.pipelining.heuristics import equal_stages, minmax_stages
from paraspike.pipelining.schedules import Piece, Schedule, settle
from paraspike.pipelining.tasks import TaskGraph, task_graph

DATA_PARALLEL = "data parallel"


def gpipe(
    graph: TaskGraph, processors: int, micro: int, stages: Sequence[int] | str = "minmax"
) -> Schedule:
    """GPipe: every stage runs F of all microbatches, then the way back of all; one update, no delay.
    A stage's B and W of a microbatch are one task, as everywhere in standard pipelining (assumption A9):
    the stage below waits for both.

    Args:
        graph: of one microbatch.  micro: microbatches Mb of an update.
        stages: minmax, equal, or layers of each stage.

    With stages of equal cycles the bubble is (K - 1) / (Mb + K - 1).
    """
    counts = _stages(graph, processors, stages)
    orders = [[("F", m) for m in range(micro)] + [("B", m) for m in range(micro)] for _ in counts]
    return _flushed(graph, processors, micro, counts, orders, "GPipe")


def one_f_one_b(
    graph: TaskGraph, processors: int, micro: int, stages: Sequence[int] | str = "minmax"
) -> Schedule:
    """1F1B with flush: stage k of K starts with K - k forwards, then forward and back take turns, so that
    it holds at most K - k + 1 microbatches; the bubble of equal stages is GPipe's.

    Args: as `gpipe`.
    """
    counts = _stages(graph, processors, stages)
    orders = []
    for k in range(1, len(counts) + 1):
        first = min(len(counts) - k, micro)
        order = [("F", m) for m in range(first)]
        for m in range(micro):
            order += [("F", first + m)] * (first + m < micro) + [("B", m)]
        orders.append(order)
    return _flushed(graph, processors, micro, counts, orders, "1F1B")


def data_parallel(graph: TaskGraph, processors: int) -> Schedule:
    """Data parallelism: every processor runs the whole network on its share of the batch, at most
    ceil(B / M) samples; the gradients are summed, no delay. Cycles of the sum are not counted, its bits
    are `all_reduce_bits`.

    Args:
        graph: of the whole batch of B samples.

    Raises:
        ReaderError: the graph has no network.
    """
    if graph.network is None:
        raise ReaderError("a graph of cycles alone has no batch to share out", "data_parallel")
    share = -(-graph.batch // processors)
    replicas = -(-graph.batch // share)
    part = task_graph(graph.network, share, graph.array, dict(graph.dataflows), graph.widths)
    pieces = []
    for replica in range(replicas):
        clock = 0
        for task in part.tasks:
            pieces.append(Piece(*task.key, replica, clock, task.cycles, micro=replica))
            clock += task.cycles
    return settle(
        part, DATA_PARALLEL, processors, part.total, pieces, micro=replicas, work=graph.total
    )


def all_reduce_bits(graph: TaskGraph, replicas: int) -> int:
    """Bits that a ring all-reduce of all weight gradients sends at every update: each of R replicas sends
    2 (R - 1) / R of the gradient, together 2 (R - 1) gradients (Patarasuk & Yuan 2009)."""
    return 2 * (replicas - 1) * graph.network.parameters * graph.widths.value


def _stages(graph, processors, stages):
    if isinstance(stages, str):
        if stages not in ("minmax", "equal"):
            raise ReaderError(f"stages {stages!r}", "pipeline", "minmax, equal, or layers of each")
        if stages == "equal":
            return equal_stages(graph.depth, processors)
        return minmax_stages(graph.layer_cycles(), processors)
    counts = tuple(stages)
    if sum(counts) != graph.depth or min(counts) < 1 or len(counts) > processors:
        raise ReaderError(
            f"stages {counts}", f"pipeline: {graph.depth} layers, {processors} processors"
        )
    return counts


def _flushed(graph, processors, micro, counts, orders, method):
    """Each stage's blocks in its order, each as soon as the neighbour's block it needs is over."""
    if micro < 1:
        raise ReaderError(f"{micro} microbatches", method, "one at least")
    blocks = []
    for k in range(len(counts)):
        layers = range(sum(counts[:k]) + 1, sum(counts[: k + 1]) + 1)
        own = [task for task in graph.tasks if task.layer in layers]
        blocks.append(
            {"F": [t for t in own if t.kind == "F"], "B": [t for t in own if t.kind != "F"]}
        )
    last, clock, over, pieces = len(counts) - 1, [0] * len(counts), {}, []
    waiting = [list(order) for order in orders]
    while any(waiting):
        for k, order in enumerate(waiting):
            while order:
                kind, m = order[0]
                if kind == "F":
                    needs = [("F", k - 1, m)] if k else []
                else:
                    needs = [("B", k + 1, m) if k < last else ("F", k, m)]
                if any(need not in over for need in needs):
                    break
                order.pop(0)
                clock[k] = max([clock[k], *(over[need] for need in needs)])
                for task in blocks[k][kind]:
                    pieces.append(Piece(*task.key, k, clock[k], task.cycles, micro=m))
                    clock[k] += task.cycles
                over[kind, k, m] = clock[k]
    return settle(graph, method, processors, max(clock), pieces, micro=micro, stages=counts)
