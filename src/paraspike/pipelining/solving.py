"""Solving the cells that `solved` keeps: the least period, then a frontier of total delay against period."""

import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

from paraspike import paths
from paraspike.pipelining import optimal
from paraspike.pipelining.checker import check
from paraspike.pipelining.heuristics import lpt
from paraspike.pipelining.networks import network
from paraspike.pipelining.ordering import shorten, tighten
from paraspike.pipelining.solved import SAMPLES, Cell, Point, file_of
from paraspike.pipelining.tasks import TaskGraph, task_graph

# Periods at which the total delay is minimised, over the least one.
SLACKS = (0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5)


def solve(
    name: str,
    batch: int,
    array: int,
    processors: int,
    seconds: float = 30.0,
    workers: int = 2,
    note: Callable[[str], None] = print,
    known: Cell | None = None,
    rounds: int = 0,
) -> Cell:
    """Solve a cell: the least period, then the least total delay at periods from it upwards (`SLACKS`), until
    none is left.

    Args:
        seconds: for each of these problems, at most.  workers: threads of the solver.
        note: is told how it goes, a line for every problem.
        known: what was found before; the result is never worse, and its proofs are kept.
        rounds: of search half-way between the periods of neighbouring points, for a finer frontier.
    """
    begun = time.perf_counter()
    graph = task_graph(network(name), batch, (array, array))
    label = f"{name}, batch {batch}, {array} x {array}, {processors} processors"
    first = optimal.least_period(graph, processors, seconds, workers)
    schedule, bound = first.schedule, first.bound
    if known:
        bound = max(bound, known.period_bound)
        if known.points[0].schedule.period < schedule.period:
            schedule = known.points[0].schedule
    note(f"{label}: period {schedule.period}, bound {bound}")
    starts = [s for s in (shorten(schedule), shorten(lpt(graph, processors))) if s]
    starts += [point.schedule for point in known.points] if known else []
    found, proven, least = [], list(known.proven) if known else [], schedule.period

    def search(period):
        fitting = [s for s in [*starts, *found] if s.period <= period]
        hint = min(fitting, key=lambda s: sum(s.staleness))
        floor = max([bound for longer, bound in proven if longer >= period], default=0)
        solution = optimal.least_delay(graph, processors, period, seconds, workers, hint, floor)
        found.append(tighten(solution.schedule))
        proven.append((period, solution.bound))
        note(
            f"  {period / least - 1:7.2%} above: delay {solution.total_delay}, bound {solution.bound}, "
            f"tightened to {found[-1].period}"
        )
        return solution.total_delay

    for slack in SLACKS:
        if not search(int(least * (1 + slack))):
            break
    for _ in range(rounds):
        line = list(_frontier(graph, [*found, *starts], proven))
        for short, long in zip(line, line[1:], strict=False):
            if long.schedule.period > 1.002 * short.schedule.period:
                search(int((short.schedule.period * long.schedule.period) ** 0.5))
    points = tuple(_frontier(graph, [*found, *starts], proven))
    solver = f"OR-Tools {version('ortools')} CP-SAT"
    spent = round(time.perf_counter() - begun, 1)
    return Cell(
        name, batch, array, processors, bound, points, tuple(_strongest(proven)), spent, solver
    )


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
        yield Point(schedule, max([floor, *bounds]))


def _strongest(proven) -> Iterator[tuple[int, int]]:
    """The bounds that no other at as long a period or a longer one implies, longest period first."""
    most = 0
    for period, bound in sorted(proven, reverse=True):
        if bound > most:
            most = bound
            yield period, bound


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
        row["proven"] = cell.proven
        row |= {"cycles": [task.cycles for task in graph.tasks], "points": points}
        lines.append(json.dumps(row))
    with paths.replacing(file_of(name)) as file:
        file.write_text("\n".join(lines) + "\n")
