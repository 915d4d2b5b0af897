"""Orders of whole tasks on their processors: shorter delays at a period, by local search; the least period."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.optimize import linprog

from paraspike.errors import ReaderError
from paraspike.pipelining.checker import check
from paraspike.pipelining.schedules import Piece, Schedule, settle

# Orders to start from: of dependency, its reverse, layer by layer.
_STARTS = (
    lambda task: 0,
    lambda task: -"FWB".index(task.kind),
    lambda task: (task.layer, "FBW".index(task.kind)),
    lambda task: (-task.layer, "FBW".index(task.kind)),
)


def shorten(schedule: Schedule) -> Schedule:
    """The schedule with each processor's tasks in another order, for the least total delay sum_l D_l found.

    The period, and which processor runs what, stay. A processor's tasks lie one after the other from some
    cycle of the period; moves are to exchange two of them and to turn them all until one starts as its
    predecessor ends; the first move that makes the delays shorter (of equal ones: the cycles from F_l to
    W_l, summed) is taken until there is none. Deterministic; a local optimum, no proof.

    Raises:
        ReaderError: a task is split, or there are several microbatches.
    """
    graph, period = schedule.graph, schedule.period
    if len(schedule.pieces) != len(graph.tasks) or schedule.micro > 1:
        raise ReaderError(
            f"{schedule.method}: {len(schedule.pieces)} pieces of {len(graph.tasks)} tasks, "
            f"{schedule.micro} microbatches",
            "pipelining.shorten",
            "whole tasks of one microbatch",
        )
    search = _Search(graph, period)
    of_task = {(p.kind, p.layer): p for p in schedule.pieces}
    given = [of_task[task.key].offset for task in graph.tasks]
    best = (search.score(given), given)
    for start in _STARTS:
        rows = [[] for _ in range(schedule.processors)]
        for index in sorted(range(len(graph.tasks)), key=lambda i: start(graph.tasks[i])):
            rows[of_task[graph.tasks[index].key].processor].append(index)
        best = min(best, search.descend([row for row in rows if row]))
    pieces = [
        Piece(*task.key, of_task[task.key].processor, offset, task.cycles)
        for task, offset in zip(graph.tasks, best[1], strict=True)
    ]
    method = f"{schedule.method}, short delays"
    return settle(
        graph, method, schedule.processors, period, pieces, policy=schedule.policy,
        work=schedule.work,
    )  # fmt: skip


def tighten(schedule: Schedule) -> Schedule:
    """The same order of whole tasks on every processor, the same delays, and the least period with them: a
    linear programme over starts and period, whose whole-numbered optimum is a longest path.

    Raises:
        ReaderError: a task is split, or there are several microbatches.
    """
    graph, pieces = schedule.graph, schedule.pieces
    if len(pieces) != len(graph.tasks) or schedule.micro > 1:
        raise ReaderError(
            f"{schedule.method} splits tasks or has microbatches", "pipelining.tighten"
        )
    index = {(piece.kind, piece.layer): i for i, piece in enumerate(pieces)}
    # Rows of (i, j, a, d): start_j - start_i + a P >= d.
    rows = []
    for task in graph.tasks:
        rows += [
            (index[k], index[task.key], 0, graph.task(*k).cycles) for k in graph.before(*task.key)
        ]
    for layer, delay in enumerate(schedule.staleness, 1):
        weights, forward = index["W", layer], index["F", layer]
        rows.append((weights, forward, 1 + delay, pieces[weights].length))
    for p in range(schedule.processors):
        row = sorted((piece.offset, i) for i, piece in enumerate(pieces) if piece.processor == p)
        for (_, i), (_, j) in zip(row, row[1:] + row[:1], strict=True):
            turns = pieces[i].period - pieces[j].period + (j == row[0][1])
            if i != j:
                rows.append((i, j, turns, pieces[i].length))
    count = len(pieces)
    matrix, limits = np.zeros((len(rows), count + 1)), np.zeros(len(rows))
    for n, (i, j, turns, cycles) in enumerate(rows):
        matrix[n, [i, j]], matrix[n, count], limits[n] = (1, -1), -turns, -cycles
    aim = np.zeros(count + 1)
    aim[count] = 1
    floor = max(piece.length for piece in pieces)
    bounds = [(None, None)] * count + [(floor, schedule.period)]
    answer = linprog(aim, matrix, limits, bounds=bounds)
    if answer.status:
        return schedule
    period = min(schedule.period, int(np.ceil(answer.x[count] - 1e-6 * schedule.period / count)))
    found = None
    # The programme's optimum is exact but for its arithmetic: the first whole period from there that holds.
    for candidate in range(period, min(period + 3, schedule.period) + 1):
        starts = _longest_paths(rows, count, candidate)
        if starts is not None:
            moved = [
                replace(piece, offset=int(s % candidate))
                for piece, s in zip(pieces, starts, strict=True)
            ]
            found = settle(graph, schedule.method, schedule.processors, candidate, moved)
            break
    if found is None or sum(found.staleness) > sum(schedule.staleness) or not check(found).ok:
        return schedule
    return found


def _longest_paths(rows, count, period):
    """Starts that keep every row at this period, or None where a cycle of rows forbids it."""
    starts = [0] * count
    for _ in range(count + 1):
        moved = False
        for i, j, turns, cycles in rows:
            wanted = starts[i] + cycles - turns * period
            if starts[j] < wanted:
                starts[j], moved = wanted, True
        if not moved:
            return starts
    return None


class _Search:
    """Tasks as indices in the graph's order; offsets are lists over them."""

    def __init__(self, graph, period):
        index = {task.key: i for i, task in enumerate(graph.tasks)}
        self.period, self.cycles = period, [task.cycles for task in graph.tasks]
        before = [graph.before(*task.key) for task in graph.tasks]
        self.before = [index[keys[0]] if keys else -1 for keys in before]
        self.loops = [(index["F", k], index["W", k]) for k in range(1, graph.depth + 1)]

    def score(self, offsets):
        """(sum of delays, sum of cycles from F_l to the end of W_l)."""
        period, starts = self.period, []
        for i, offset in enumerate(offsets):
            above = self.before[i]
            ready = 0 if above < 0 else starts[above] + self.cycles[above]
            starts.append(ready + (offset - ready) % period)
        waits = [starts[w] + self.cycles[w] - starts[f] for f, w in self.loops]
        return sum(-(-wait // period) - 1 for wait in waits), sum(waits)

    def lay(self, offsets, row, first):
        """Offsets with the tasks of a row one after the other from the cycle `first`."""
        offsets, clock = list(offsets), first
        for i in row:
            offsets[i] = clock % self.period
            clock += self.cycles[i]
        return offsets

    def turned(self, offsets, row):
        """The best of the row's turns: as it is, or one task starting as its predecessor ends."""
        first = offsets[row[0]]
        found = [(self.score(offsets), offsets)]
        clock = 0
        for i in row:
            above = self.before[i]
            ready = 0 if above < 0 else offsets[above] + self.cycles[above]
            laid = self.lay(offsets, row, ready - clock)
            if laid[row[0]] != first:
                found.append((self.score(laid), laid))
            clock += self.cycles[i]
        return min(found)

    def descend(self, rows):
        """(score, offsets) where no move of a row helps any more."""
        offsets = [0] * len(self.cycles)
        for row in rows:
            offsets = self.lay(offsets, row, 0)
        best, better = (self.score(offsets), offsets), True
        while better:
            better = False
            for number, row in enumerate(rows):
                for a, b in [(0, 0), *combinations(range(len(row)), 2)]:
                    moved = list(row)
                    moved[a], moved[b] = moved[b], moved[a]
                    laid = self.lay(best[1], moved, best[1][row[0]])
                    found = self.turned(laid, moved)
                    if found[0] < best[0]:
                        best, rows[number], row, better = found, moved, moved, True
        return best
