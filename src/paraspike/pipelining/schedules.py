"""Periodic schedules: which processor runs which task when, again and again, and what that yields."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from paraspike.errors import ReaderError
from paraspike.pipelining.tasks import TaskGraph

POLICIES = ("stash", "newest")


@dataclass(frozen=True)
class Piece:
    """A task, or a part of one, on a processor: for repetition n it runs over the cycles
    [(period + n) P + offset, ... + length). It may run over the end of the period.

    Attributes:
        kind, layer: of the task.  micro: of which microbatch of the period, from 0.
        processor: from 0.  offset: cycles into the period, 0 <= offset < P.  length: cycles, at most P.
        period: k, how many periods after the sample's first one.
    """

    kind: str
    layer: int
    processor: int
    offset: int
    length: int
    period: int = 0
    micro: int = 0


@dataclass(frozen=True)
class Schedule:
    """A schedule that repeats every `period` cycles and makes one update of every layer in each.

    Attributes:
        graph: tasks of one microbatch.  method: what made it.  processors: M.  period: P, cycles.
        pieces: every task of every microbatch, a split task in several pieces in order of time.
        staleness: D_l, updates: in repetition n layer l's F reads the weights that hold the updates of
            repetitions <= n - 1 - D_l (sheet, section 3.2).
        policy: which weights B_l reads: stash, the version F_l read, or newest.
        micro: microbatches of a period (1: assumption A11).
        work: cycles that one processor would need for what a period trains on.
        stages: layers of each stage, where the method has stages.
    """

    graph: TaskGraph
    method: str
    processors: int
    period: int
    pieces: tuple[Piece, ...]
    staleness: tuple[int, ...]
    policy: str = "stash"
    micro: int = 1
    work: int = 0
    stages: tuple[int, ...] | None = None

    @property
    def speedup(self) -> float:
        """Sum of all task cycles over the period: against one processor, steady state (A10)."""
        return self.work / self.period

    @property
    def utilisation(self) -> float:
        """Share of processor cycles at work, steady state: sum / (M P)."""
        return self.speedup / self.processors

    def start(self, piece: Piece, repetition: int = 0) -> int:
        """Cycle at which a piece of repetition n starts."""
        return (piece.period + repetition) * self.period + piece.offset

    @property
    def span(self) -> int:
        """Cycles from the first start to the last end of one repetition."""
        starts = [self.start(piece) for piece in self.pieces]
        ends = [start + p.length for start, p in zip(starts, self.pieces, strict=True)]
        return max(ends) - min(starts)

    def makespan(self, repetitions: int) -> int:
        """Cycles of so many repetitions with fill and drain: (N - 1) P + span."""
        return (repetitions - 1) * self.period + self.span

    def speedup_over(self, repetitions: int) -> float:
        """Speedup with fill and drain over N repetitions."""
        return repetitions * self.work / self.makespan(repetitions)

    def utilisation_over(self, repetitions: int) -> float:
        """Utilisation with fill and drain over N repetitions."""
        return self.speedup_over(repetitions) / self.processors

    @property
    def bubble(self) -> float:
        """Share of processor cycles idle, steady state."""
        return 1 - self.utilisation


def settle(
    graph: TaskGraph,
    method: str,
    processors: int,
    period: int,
    placed: Iterable[Piece],
    *,
    policy: str = "stash",
    micro: int = 1,
    work: int | None = None,
    stages: tuple[int, ...] | None = None,
    after: dict[tuple[str, int], tuple[str, int]] | None = None,
) -> Schedule:
    """A schedule from offsets: every piece starts in the first period its dependencies allow; the delays
    follow, D_l = ceil( (end of W_l - start of F_l) / P ) - 1.

    A longest path over the graph, exact: each wait is the least its two offsets allow, and a start moved
    later moves everything after it by whole periods, so no layer's delay can be less with these offsets.

    Args:
        placed: pieces whose `period` is not looked at; those of a split task in order of time.
        work: cycles on one processor of what a period trains on; None for all microbatches of the graph.
        after: (kind, layer) of a task -> of one more that it waits for, earlier in the graph's order.

    Raises:
        ReaderError: P below 1, an offset outside the period, a piece longer than it, a processor that is
            not there, a task whose pieces do not make up its cycles, an unknown policy.
    """
    placed, where = list(placed), f"settle {method}"
    if policy not in POLICIES:
        raise ReaderError(f"policy {policy!r} is unknown", where, f"one of {', '.join(POLICIES)}")
    by_task = {}
    for piece in placed:
        by_task.setdefault((piece.kind, piece.layer, piece.micro), []).append(piece)
        inside = 0 <= piece.offset < period and 1 <= piece.length <= period
        if not inside or not 0 <= piece.processor < processors or not 0 <= piece.micro < micro:
            raise ReaderError(
                f"{piece} does not fit", where, f"period {period}, {processors} processors"
            )
    wanted = {(*task.key, m): task.cycles for task in graph.tasks for m in range(micro)}
    found = {key: sum(piece.length for piece in pieces) for key, pieces in by_task.items()}
    if wanted != found:
        wrong = sorted(
            key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
        )
        raise ReaderError(
            f"the pieces of {wrong} are {[found.get(k, 0) for k in wrong]} cycles, "
            f"the tasks {[wanted.get(k, 0) for k in wrong]}",
            where,
        )
    done, begun, settled = {}, {}, []
    for m in range(micro):
        for task in graph.tasks:
            waits = (*graph.before(*task.key), *filter(None, [(after or {}).get(task.key)]))
            ready = max((done[(*key, m)] for key in waits), default=0)
            for number, piece in enumerate(by_task[(*task.key, m)]):
                k = max(0, -(-(ready - piece.offset) // period))
                start = k * period + piece.offset
                if number == 0:
                    begun[(*task.key, m)] = start
                ready = start + piece.length
                settled.append(replace(piece, period=k))
            done[(*task.key, m)] = ready
    delays = []
    for layer in range(1, graph.depth + 1):
        end = max(done["W", layer, m] for m in range(micro))
        start = min(begun["F", layer, m] for m in range(micro))
        delays.append(max(0, -(-(end - start) // period) - 1))
    work = micro * graph.total if work is None else work
    return Schedule(
        graph,
        method,
        processors,
        period,
        tuple(settled),
        tuple(delays),
        policy,
        micro,
        work,
        stages,
    )
