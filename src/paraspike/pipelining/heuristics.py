"""Delayed-gradient schedules by rule: contiguous stages, longest task first, wrap-around with splitting."""

from collections.abc import Sequence

from paraspike.errors import ReaderError
from paraspike.pipelining.schedules import Piece, Schedule, settle
from paraspike.pipelining.tasks import TaskGraph


def equal_stages(depth: int, processors: int) -> tuple[int, ...]:
    """Layers of each stage, as equal in number as can be, the first ones larger; min(M, L) stages."""
    _check(processors)
    stages = min(processors, depth)
    return tuple(depth // stages + (k < depth % stages) for k in range(stages))


def minmax_stages(cycles: Sequence[int], processors: int) -> tuple[int, ...]:
    """Layers of each stage such that the largest stage's cycles are least: dynamic programme over
    contiguous partitions, as PipeDream's partitioner; min(M, L) stages.

    Args:
        cycles: of each layer (F + B + W).
    """
    _check(processors)
    depth, stages = len(cycles), min(processors, len(cycles))
    sums = [0]
    for count in cycles:
        sums.append(sums[-1] + count)
    # best[i] for k stages: (least largest stage of the first i layers, where the last stage begins).
    best = [[(sums[i], 0) for i in range(depth + 1)]]
    for k in range(2, stages + 1):
        row = [None] * (depth + 1)
        for i in range(k, depth + 1):
            row[i] = min((max(best[-1][j][0], sums[i] - sums[j]), j) for j in range(k - 1, i))
        best.append(row)
    counts, end = [], depth
    for k in range(stages - 1, -1, -1):
        begin = best[k][end][1]
        counts.append(end - begin)
        end = begin
    return tuple(reversed(counts))


def contiguous(
    graph: TaskGraph,
    processors: int,
    stages: Sequence[int] | str = "minmax",
    *,
    ticks: str = "shared",
    policy: str = "stash",
) -> Schedule:
    """Standard pipelining: contiguous stages, F + B + W of a layer on one processor (assumption A9).

    Stage k runs its F in order, then B and W of another repetition from its last layer down; the period
    is the largest stage's cycles.

    Args:
        stages: minmax, equal, or layers of each stage.
        ticks: shared, a stage's way back follows the next stage's in the same period: D = K - k, as
            PipeDream; separate, F and B take a period each, so that every stage starts its period
            together: at most 2 (K - k), the grouped rule.  Either way a stage's way back is one block.

    Raises:
        ReaderError: more stages than processors, stages that do not make up the layers, unknown ticks.
    """
    _check(processors)
    cycles, depth, method = graph.layer_cycles(), graph.depth, "contiguous"
    if isinstance(stages, str):
        choices = {"minmax": minmax_stages(cycles, processors)}
        choices["equal"] = equal_stages(depth, processors)
        if stages not in choices:
            raise ReaderError(
                f"stages {stages!r}", "contiguous", "minmax, equal, or layers of each"
            )
        method, stages = f"contiguous {stages}", choices[stages]
    stages = tuple(stages)
    if sum(stages) != depth or min(stages) < 1 or len(stages) > processors:
        raise ReaderError(
            f"stages {stages}", f"contiguous: {depth} layers, {processors} processors"
        )
    if ticks not in ("shared", "separate"):
        raise ReaderError(f"ticks {ticks!r}", "contiguous", "shared or separate")
    method += ", separate ticks" if ticks == "separate" else ""
    bounds = [sum(stages[:k]) for k in range(len(stages) + 1)]
    period = max(sum(cycles[a:b]) for a, b in zip(bounds, bounds[1:], strict=False))
    pieces, after, clock = [], {}, 0
    for processor, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
        if ticks == "separate":
            clock = 0
        begin = clock
        forward = [("F", layer) for layer in range(first + 1, last + 1)]
        back = [task.key for task in graph.tasks if task.kind != "F" and first < task.layer <= last]
        after |= dict(zip(back[1:], back, strict=False))
        for kind, layer in forward + back:
            length = graph.task(kind, layer).cycles
            pieces.append(Piece(kind, layer, processor, clock % period, length))
            clock += length
        clock = begin + sum(graph.task(*key).cycles for key in forward)
    return settle(
        graph, method, processors, period, pieces, policy=policy, stages=stages, after=after
    )


def lpt(graph: TaskGraph, processors: int, *, policy: str = "stash") -> Schedule:
    """Longest task first onto the least loaded processor: at most 4/3 - 1/(3 M) of the least period of
    whole tasks with enough delay (Graham). Each processor runs its tasks in order of dependency."""
    _check(processors)
    load, chosen = [0] * processors, {}
    for task in sorted(graph.tasks, key=lambda task: -task.cycles):
        least = load.index(min(load))
        chosen[task.key] = least
        load[least] += task.cycles
    return assigned(graph, processors, chosen, "LPT", policy=policy)


def assigned(
    graph: TaskGraph,
    processors: int,
    chosen: dict[tuple[str, int], int],
    method: str = "assigned",
    *,
    policy: str = "stash",
) -> Schedule:
    """Whole tasks on given processors, packed from the start of the period in order of dependency.

    Args:
        chosen: processor of each (kind, layer).
    """
    clock, pieces = [0] * processors, []
    for task in graph.tasks:
        processor = chosen[task.key]
        pieces.append(Piece(*task.key, processor, clock[processor], task.cycles))
        clock[processor] += task.cycles
    return settle(graph, method, processors, max(clock), pieces, policy=policy)


def wrap_around(
    graph: TaskGraph,
    processors: int,
    *,
    order: str = "dependency",
    limit: str = "task",
    policy: str = "stash",
) -> Schedule:
    """McNaughton's rule, the likely Algorithm 1 (assumption A8): processors are filled to the period one
    after the other; the task that overflows goes on, next period, at the start of the next processor.

    Args:
        order: in which the processors are filled: dependency, F_1 .. F_L B_L W_L .. W_1 (short delays);
            or layer, F_1 W_1 F_2 B_2 W_2 .. (fewer bits between processors, longer delays).
        limit: task, P = max(p_max, ceil(sum / M)), McNaughton's optimum of P | pmtn | Cmax; load,
            P = ceil(sum / M): a task longer than P passes through several processors, one period each,
            as its repetitions overlap.

    Raises:
        ReaderError: unknown order or limit.
    """
    _check(processors)
    if order not in ("layer", "dependency") or limit not in ("task", "load"):
        raise ReaderError(
            f"order {order!r}, limit {limit!r}",
            "wrap_around",
            "order layer or dependency, limit task or load",
        )
    tasks = graph.tasks if order == "dependency" else sorted(graph.tasks, key=_by_layer)
    period = graph.lower_bound(processors, split=limit == "load")
    pieces, clock = [], 0
    for task in tasks:
        left = task.cycles
        while left:
            processor, offset = divmod(clock, period)
            length = min(left, period - offset)
            pieces.append(Piece(*task.key, processor, offset, length))
            clock, left = clock + length, left - length
    method = "wrap-around" + ", layer order" * (order == "layer") + ", no limit" * (limit == "load")
    return settle(graph, method, processors, period, pieces, policy=policy)


def _by_layer(task):
    return task.layer, "FBW".index(task.kind)


def _check(processors):
    if processors < 1:
        raise ReaderError(f"{processors} processors", "pipelining.heuristics", "one at least")
