"""Schedules solved by CP-SAT, kept beside this module with what is proven of them, replayed when read.

One line of JSON for every network, batch, array and number of processors, and in it the frontier: schedules of
growing period and falling total delay.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.pipelining.checker import check
from paraspike.pipelining.networks import NETWORKS, network
from paraspike.pipelining.schedules import Piece, Schedule, settle
from paraspike.pipelining.tasks import task_graph

# The grid of issue 7: networks x batches x arrays x processors.
BATCHES, ARRAYS, PROCESSORS = (1, 8), (32, 128), (2, 3, 4, 6, 8)
SAMPLES = 60
METHOD = "CP-SAT"
FOLDER = Path(__file__).resolve().parent


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
        proven: (period, bound): no schedule with that period or a shorter one has less total delay.
        seconds: of search in the latest run.  solver: its name and version.
    """

    network: str
    batch: int
    array: int
    processors: int
    period_bound: int
    points: tuple[Point, ...]
    proven: tuple[tuple[int, int], ...] = ()
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
        paths.relative(file_of(network)),
        f"python -m paraspike.pipelining solve --networks {network} --batches {batch} "
        f"--arrays {array} --processors {processors}",
    )


def all_of(network: str) -> dict[tuple[int, int, int], Cell]:
    """All solved cells of a network by (batch, array, processors); none if nothing was ever solved for it."""
    if not file_of(network).exists():
        return {}
    return {(row["batch"], row["array"], row["processors"]): _cell(row) for row in _rows(network)}


def _cell(row) -> Cell:
    graph = task_graph(network(row["network"]), row["batch"], (row["array"],) * 2)
    where = f"{row['network']}.jsonl: batch {row['batch']}, {row['array']}, {row['processors']}"
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
        schedule = settle(graph, METHOD, row["processors"], kept["period"], pieces)
        verdict = check(schedule, SAMPLES)
        if not verdict.ok or list(verdict.staleness) != kept["verdict"]["staleness"]:
            raise ReaderError(f"the checker rejects a schedule: {verdict.violation}", where)
        points.append(Point(schedule, kept["delay_bound"]))
    names = ("network", "batch", "array", "processors", "period_bound")
    proven = tuple(map(tuple, row["proven"]))
    cell = Cell(*[row[k] for k in names], tuple(points), proven, row["seconds"], row["solver"])
    if not _plausible(cell, graph):
        raise ReaderError("a bound contradicts a schedule", where, "solve it --again")
    return cell


def _plausible(cell, graph):
    """Whether bounds are no more than what the schedules reach, and no less than the loops say."""
    first = cell.points[0].schedule
    if not graph.lower_bound(cell.processors) <= cell.period_bound <= first.period:
        return False
    reached = [(point.schedule.period, point.total_delay) for point in cell.points]
    held = all(
        bound <= total for period, bound in cell.proven for p, total in reached if p <= period
    )
    return held and all(point.bound <= point.total_delay for point in cell.points)


def file_of(name: str) -> Path:
    """Where the solved cells of a network lie."""
    return FOLDER / f"{name}.jsonl"


def _rows(name):
    file = file_of(name)
    if name not in NETWORKS or not file.exists():
        raise ReaderError(
            f"nothing is solved for {name!r}", paths.relative(file), f"one of {', '.join(NETWORKS)}"
        )
    return [json.loads(line) for line in file.read_text().splitlines()]
