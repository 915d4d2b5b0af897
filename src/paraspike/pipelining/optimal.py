"""The best possible schedules of whole tasks: the least period, then the least total delay at a period.

Both are constraint programmes solved by OR-Tools' CP-SAT in exact cycles, without scaling (sheet, section 7).
"""

from dataclasses import dataclass, replace
from itertools import combinations

from ortools.sat.python import cp_model

from paraspike.errors import ReaderError
from paraspike.pipelining.checker import replayed
from paraspike.pipelining.heuristics import assigned, lpt
from paraspike.pipelining.schedules import Piece, Schedule, settle
from paraspike.pipelining.solved import METHOD
from paraspike.pipelining.tasks import TaskGraph


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Attributes:
        schedule: checked over 60 samples.  bound: proven; no schedule of whole tasks has less of what was
            minimised, the period in cycles or the total delay in updates.
    """

    schedule: Schedule
    bound: int

    @property
    def total_delay(self) -> int:
        """sum_l D_l, in updates."""
        return sum(self.schedule.staleness)


def least_period(
    graph: TaskGraph, processors: int, seconds: float = 10.0, workers: int = 2
) -> Solution:
    """The least period: with enough delay the tasks of a period are independent, so it is that of
    P || Cmax, which CP-SAT starts from LPT's. The bound is in cycles.

    Args:
        processors: M.  seconds: of search at most.  workers: threads of the solver.

    Raises:
        ReaderError: seconds or workers not positive.
    """
    _check(seconds, workers)
    first = lpt(graph, processors)
    floor = graph.lower_bound(processors)
    if first.period == floor:
        return _checked(replace(first, method=METHOD), floor)
    model = cp_model.CpModel()
    on = _processors(model, graph, processors)
    period = model.new_int_var(floor, first.period, "period")
    for p in range(processors):
        model.add(
            sum(task.cycles * row[p] for task, row in zip(graph.tasks, on, strict=True)) <= period
        )
    model.minimize(period)
    at = {(piece.kind, piece.layer): piece.processor for piece in first.pieces}
    names = {}
    for task, row in zip(graph.tasks, on, strict=True):
        chosen = names.setdefault(at[task.key], len(names))
        for p, variable in enumerate(row):
            model.add_hint(variable, p == chosen)
    solver, found = _solve(model, seconds, workers)
    bound = max(floor, round(solver.best_objective_bound))
    if not found:
        return _checked(replace(first, method=METHOD), bound)
    chosen = {
        task.key: next(p for p in range(processors) if solver.value(row[p]))
        for task, row in zip(graph.tasks, on, strict=True)
    }
    return _checked(assigned(graph, processors, chosen, METHOD), bound)


def least_delay(
    graph: TaskGraph,
    processors: int,
    period: int,
    seconds: float = 30.0,
    workers: int = 2,
    hint: Schedule | None = None,
    known: int = 0,
) -> Solution | None:
    """The least total delay sum_l D_l at a given period: a modulo schedule.

    A task starts at s = k P + o; F_l after F_{l-1}, B_l and W_l after B_{l+1} (after F_L for l = L);
    s_F(l) + (1 + D_l) P >= end of W_l; tasks of one processor do not overlap modulo P.

    Args:
        period: P, cycles.  seconds, workers: as `least_period`.
        hint: a schedule with at most this period, from which the search starts and which its result is
            never worse than.  known: a lower bound of the total delay that is proven already.

    Returns:
        None: without a hint none was found in time, or with every D_l up to 4 L none exists.

    Raises:
        ReaderError: seconds or workers not positive; a hint with a longer period; a `known` bound that does
            not hold.
    """
    _check(seconds, workers)
    if hint is not None and hint.period > period:
        raise ReaderError(f"a hint of {hint.period} cycles", f"least_delay at {period} cycles")
    if period < graph.lower_bound(processors):
        return None
    model = cp_model.CpModel()
    tasks = graph.tasks
    index = {task.key: i for i, task in enumerate(tasks)}
    length = [task.cycles for task in tasks]
    # No delay of an optimum is above the hint's total.
    most = 4 * graph.depth if hint is None else sum(hint.staleness)
    offset = [model.new_int_var(0, period - 1, f"o {task.name}") for task in tasks]
    turn = [model.new_int_var(0, most + 1, f"k {task.name}") for task in tasks]
    on = _processors(model, graph, processors)
    # The period begins with F_1, on the first processor.
    model.add(offset[0] == 0)
    model.add(turn[0] == 0)
    start = [turn[i] * period + offset[i] for i in range(len(tasks))]
    for i, task in enumerate(tasks):
        for key in graph.before(*task.key):
            model.add(start[i] >= start[index[key]] + length[index[key]])
    for p in range(processors):
        model.add(sum(length[i] * row[p] for i, row in enumerate(on)) <= period)
    for i, j in combinations(range(len(tasks)), 2):
        _apart(model, i, j, length, offset, on, period)
    delays = []
    for layer in range(1, graph.depth + 1):
        floor = max(0, -(-graph.loop_cycles(layer) // period) - 1)
        delays.append(model.new_int_var(min(floor, most), most, f"D {layer}"))
        forward, weights = index["F", layer], index["W", layer]
        model.add(start[weights] + length[weights] - start[forward] <= (1 + delays[-1]) * period)
    model.add(sum(delays) >= known)
    model.minimize(sum(delays))
    if hint is not None:
        _suggest(model, hint, tasks, offset, turn, on)
    solver, solved_it = _solve(model, seconds, workers)
    bound = max(known, round(solver.best_objective_bound))
    found = hint and settle(graph, METHOD, processors, period, hint.pieces, work=hint.work)
    if solved_it:
        pieces = [
            Piece(*task.key, _value(solver, on[i]), solver.value(offset[i]), length[i])
            for i, task in enumerate(tasks)
        ]
        solved = settle(graph, METHOD, processors, period, pieces)
        if not found or sum(solved.staleness) < sum(found.staleness):
            found = solved
    if found and bound > sum(found.staleness):
        raise ReaderError(
            f"a bound of {bound} updates above the {sum(found.staleness)} of a schedule at hand",
            f"least_delay at {period} cycles",
            "the `known` bound does not hold",
        )
    return _checked(found, bound) if found else None


def _processors(model, graph, processors):
    """One Boolean for each task and processor; equal processors are told apart by their first task."""
    on = []
    for number, task in enumerate(graph.tasks):
        row = [model.new_bool_var(f"{task.name} on {p}") for p in range(processors)]
        model.add_exactly_one(row)
        for p in range(number + 1, processors):
            model.add(row[p] == 0)
        on.append(row)
    return on


def _apart(model, i, j, length, offset, on, period):
    """Tasks i and j do not overlap modulo the period if they share a processor."""
    if length[i] + length[j] > period:
        for a, b in zip(on[i], on[j], strict=True):
            model.add_bool_or([~a, ~b])
        return
    same, first = model.new_bool_var(""), model.new_bool_var("")
    for a, b in zip(on[i], on[j], strict=True):
        model.add_bool_or([~a, ~b, same])
    gap = offset[j] - offset[i]
    model.add_linear_constraint(gap, length[i], period - length[j]).only_enforce_if(same, first)
    model.add_linear_constraint(-gap, length[j], period - length[i]).only_enforce_if(same, ~first)


def _suggest(model, hint, tasks, offset, turn, on):
    """Start the search from a schedule, turned so that its period begins with F_1."""
    at = {(piece.kind, piece.layer): piece for piece in hint.pieces}
    origin, names = hint.start(at[tasks[0].key]), {}
    for i, task in enumerate(tasks):
        piece = at[task.key]
        turns, cycles = divmod(hint.start(piece) - origin, hint.period)
        model.add_hint(offset[i], cycles)
        model.add_hint(turn[i], turns)
        chosen = names.setdefault(piece.processor, len(names))
        for p, variable in enumerate(on[i]):
            model.add_hint(variable, p == chosen)


def _value(solver, row):
    return next(p for p, variable in enumerate(row) if solver.value(variable))


def _solve(model, seconds, workers):
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    status = solver.solve(model)
    if status == cp_model.MODEL_INVALID:
        raise ReaderError(f"CP-SAT refuses the model: {model.validate()}", "pipelining.optimal")
    return solver, status in (cp_model.OPTIMAL, cp_model.FEASIBLE)


def _checked(schedule, bound):
    replayed(schedule, "pipelining.optimal")
    return Solution(schedule, bound)


def _check(seconds, workers):
    if not (seconds > 0 and workers >= 1):
        raise ReaderError(f"{seconds} s, {workers} workers", "pipelining.optimal", "both positive")
