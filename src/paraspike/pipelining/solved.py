"""Schedules solved by CP-SAT, kept in data/solved/ with what is proven of them, replayed when read.

One line of JSON for every network, batch, array and number of processors, and in it the frontier: schedules of
growing period and falling total delay.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.pipelining import optimal
from paraspike.pipelining.checker import check
from paraspike.pipelining.heuristics import lpt
from paraspike.pipelining.networks import NETWORKS, network
from paraspike.pipelining.ordering import shorten, tighten
from paraspike.pipelining.schedules import Piece, Schedule, settle
from paraspike.pipelining.tasks import TaskGraph, task_graph

# The grid of issue 7: networks x batches x arrays x processors.
BATCHES, ARRAYS, PROCESSORS = (1, 8), (32, 128), (2, 3, 4, 6, 8)
SAMPLES = 60
# Periods at which the total delay is minimised, over the least one.
SLACKS = (0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5)


@dataclass(frozen=True)
class Point:
    """A schedule of the frontier.  bound: no schedule of whole tasks with its period has less total delay."""

    schedule: Schedule
    bound: int

    @property
    def total_delay(self) -> int:
        """sum_l D_l, in updates."""
        return sum(self.schedule.staleness)


@dataclass(frozen=True)
class Cell:
    """What is known of one network, batch, array and number of processors.

    Attributes:
        period_bound: cycles, proven: no schedule of whole tasks has a shorter period.
        points: shortest period first, every one with less total delay than those before it.
        seconds: the solver had for it, in all.  solver: its name and version.
    """

    network: str
    batch: int
    array: int
    processors: int
    period_bound: int
    points: tuple[Point, ...]
    seconds: float = 0.0
    solver: str = ""

    @property
    def gap(self) -> float:
        """How far the shortest period lies above the proven bound, as a share; 0: it is the optimum."""
        return self.points[0].schedule.period / self.period_bound - 1

    def within(self, share: float = 0.01) -> Point:
        """The point with the least total delay among those at most `share` above the least period."""
        most = self.points[0].schedule.period * (1 + share)
        return [point for point in self.points if point.schedule.period <= most][-1]


def best(network: str, batch: int, array: int, processors: int, share: float = 0.01) -> Schedule:
    """The solved schedule with the least total delay whose period is at most `share` above the least.

    Args:
        network: mlp3, amr4 or vgg8.  batch: samples.  array: rows, and columns, of a processor.

    Raises:
        ReaderError: it is not solved, or the checker rejects what is kept.
    """
    return cell(network, batch, array, processors).within(share).schedule


@lru_cache
def cell(network: str, batch: int, array: int, processors: int) -> Cell:
    """A cell of the cache; each of its schedules is replayed over 60 samples as it is read.

    Raises:
        ReaderError: as `best`.
    """
    key = [network, batch, array, processors]
    for row in _rows(network):
        if [row[k] for k in ("network", "batch", "array", "processors")] == key:
            return _cell(row)
    raise ReaderError(
        f"{network}, batch {batch}, {array} x {array}, {processors} processors is not solved",
        f"data/solved/{network}.jsonl",
        "python -m paraspike.pipelining solve",
    )


def all_of(network: str) -> dict[tuple[int, int, int], Cell]:
    """All solved cells of a network by (batch, array, processors); none if nothing was ever solved for it."""
    if not _file(network).exists():
        return {}
    return {(row["batch"], row["array"], row["processors"]): _cell(row) for row in _rows(network)}


def _cell(row) -> Cell:
    graph = task_graph(network(row["network"]), row["batch"], (row["array"],) * 2)
    where = f"data/solved/{row['network']}.jsonl: batch {row['batch']}, {row['array']}, {row['processors']}"
    if row["cycles"] != [task.cycles for task in graph.tasks]:
        raise ReaderError(
            "solved for other task cycles", where, "python -m paraspike.pipelining solve --again"
        )
    points = []
    for kept in row["points"]:
        pieces = [
            Piece(*task.key, processor, offset, task.cycles)
            for task, (processor, offset) in zip(graph.tasks, kept["placed"], strict=True)
        ]
        schedule = settle(graph, optimal.METHOD, row["processors"], kept["period"], pieces)
        verdict = check(schedule, SAMPLES)
        if not verdict.ok or list(verdict.staleness) != kept["verdict"]["staleness"]:
            raise ReaderError(f"the checker rejects a schedule: {verdict.violation}", where)
        points.append(Point(schedule, kept["delay_bound"]))
    names = ("network", "batch", "array", "processors", "period_bound")
    return Cell(
        *[row[k] for k in names], tuple(points), seconds=row["seconds"], solver=row["solver"]
    )


def _file(name):
    return paths.root() / "data" / "solved" / f"{name}.jsonl"


def _rows(name):
    file = _file(name)
    if name not in NETWORKS or not file.exists():
        raise ReaderError(
            f"nothing is solved for {name!r}", paths.relative(file), f"one of {', '.join(NETWORKS)}"
        )
    return [json.loads(line) for line in file.read_text().splitlines()]


def solve(
    name: str,
    batch: int,
    array: int,
    processors: int,
    seconds: float = 30.0,
    workers: int = 2,
    note: Callable[[str], None] = print,
    known: Cell | None = None,
) -> Cell:
    """Solve a cell: the least period, then the least total delay at periods from it upwards (`SLACKS`), until
    none is left.

    Args:
        seconds: for each of these problems, at most.  workers: threads of the solver.
        note: is told how it goes, a line for every problem.
        known: what was found before; the result is never worse, and its proofs are kept.
    """
    graph = task_graph(network(name), batch, (array, array))
    label = f"{name}, batch {batch}, {array} x {array}, {processors} processors"
    first = optimal.least_period(graph, processors, seconds, workers)
    schedule, bound, spent = first.schedule, first.bound, seconds
    if known:
        bound = max(bound, known.period_bound)
        if known.points[0].schedule.period < schedule.period:
            schedule = known.points[0].schedule
    note(f"{label}: period {schedule.period}, bound {bound}")
    starts = [s for s in (shorten(schedule), shorten(lpt(graph, processors))) if s]
    starts += [point.schedule for point in known.points] if known else []
    found, proven, least = [], [], schedule.period
    for slack in SLACKS:
        period = int(least * (1 + slack))
        fitting = [s for s in [*starts, *found] if s.period <= period]
        hint = min(fitting, key=lambda s: sum(s.staleness))
        solution = optimal.least_delay(graph, processors, period, seconds, workers, hint)
        spent += seconds
        found.append(tighten(solution.schedule))
        proven.append((period, solution.bound))
        note(
            f"  {slack:6.2%} above: delay {solution.total_delay}, bound {solution.bound}, "
            f"tightened to {found[-1].period}"
        )
        if not solution.total_delay:
            break
    if known:
        proven += [(point.schedule.period, point.bound) for point in known.points]
    points = tuple(_frontier(graph, [*found, *starts], proven))
    solver = f"OR-Tools {version('ortools')} CP-SAT"
    return Cell(name, batch, array, processors, bound, points, spent, solver)


def _frontier(graph: TaskGraph, schedules, proven) -> Iterator[Point]:
    """Schedules no other beats in period and total delay; a bound at a longer period holds at a shorter."""
    least = None
    for schedule in sorted(schedules, key=lambda s: (s.period, sum(s.staleness))):
        total = sum(schedule.staleness)
        if least is not None and total >= least:
            continue
        least = total
        loops = [graph.loop_cycles(layer) for layer in range(1, graph.depth + 1)]
        floor = sum(max(0, -(-cycles // schedule.period) - 1) for cycles in loops)
        bounds = [bound for period, bound in proven if period >= schedule.period]
        yield Point(schedule, min(total, max([floor, *bounds])))


def save(cells: dict[tuple, Cell], name: str) -> None:
    """Write all cells of a network, atomically, in the order of their keys (batch, array, processors)."""
    lines = []
    for key in sorted(cells):
        cell = cells[key]
        graph = cell.points[0].schedule.graph
        points = []
        for point in cell.points:
            at = {(p.kind, p.layer): [p.processor, p.offset] for p in point.schedule.pieces}
            verdict = check(point.schedule, SAMPLES)
            kept = {"ok": verdict.ok, "samples": SAMPLES, "staleness": list(verdict.staleness)}
            points.append(
                {
                    "period": point.schedule.period,
                    "delay_bound": point.bound,
                    "verdict": kept,
                    "placed": [at[task.key] for task in graph.tasks],
                }
            )
        row = {k: getattr(cell, k) for k in ("network", "batch", "array", "processors")}
        row |= {k: getattr(cell, k) for k in ("period_bound", "seconds", "solver")}
        row |= {"cycles": [task.cycles for task in graph.tasks], "points": points}
        lines.append(json.dumps(row))
    with paths.replacing(_file(name)) as file:
        file.write_text("\n".join(lines) + "\n")
