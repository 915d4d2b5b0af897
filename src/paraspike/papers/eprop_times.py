"""What a training step of figure 3's methods takes: time, side by side, and memory at its peak."""

from dataclasses import replace

import numpy as np

from paraspike import backends
from paraspike.measure import Measurement, load_of_others, measure, peak_memory
from paraspike.papers.eprop_steps import METHODS, Task, step_of

__all__ = ["METHODS", "Task", "alone", "can_run", "peaks", "side_by_side", "step_of"]


def can_run(method: str, backend="auto") -> bool:
    """Whether a backend has what the method needs; EventProp exists on the CPU alone."""
    name = backends.resolve(backend)
    return METHODS[method][0] != "events" or name in backends.TABLE["eventprop"]


def side_by_side(methods, tasks, repeats: int, backend="auto"):
    """Seconds [method, task, repeat] in rounds, all methods of a task in turn, and the share of the cores that
    others used meanwhile [task]; NaN for methods that the backend lacks."""
    seconds = np.full((len(methods), len(tasks), repeats), np.nan)
    others = np.zeros(len(tasks))
    for t, task in enumerate(tasks):
        steps = {}
        for m, method in enumerate(methods):
            if can_run(method, backend):
                steps[m] = step_of(method, task, backend)
                steps[m]()
        load = load_of_others()
        for r in range(repeats):
            for m, step in steps.items():
                seconds[m, t, r] = measure(step, 1, warmup=0).seconds[0]
        others[t] = load()
    return seconds, others


def alone(method: str, task: Task, repeats: int, times: int, backend="auto") -> Measurement:
    """A training step, each time a mean over `times` in a row, as a loop over samples runs it."""
    step = step_of(method, task, backend)

    def often():
        for _ in range(times):
            step()

    found = measure(often, repeats)
    return replace(found, seconds=found.seconds / times)


def peaks(method: str, tasks, budget: float, backend="auto") -> tuple[list[float], list[float]]:
    """MiB at the peak of one training step for tasks of growing length, and what was expected.

    A task whose expected peak, in proportion to the one before, is over twice `budget` MiB is not run,
    nor what is longer: its peak is NaN, its expectation says by how much it would have been over.
    Streams always run.
    """
    nothing = [np.nan] * len(tasks)
    if not can_run(method, backend):
        return nothing, nothing
    measured, expected = [], []
    # Kernels are loaded and pools started by a short step, which is not counted.
    step_of(method, replace(tasks[0], steps=2, batch=1), backend)()
    constant = METHODS[method][0] == "stream"
    for before, task in zip([None, *tasks], tasks, strict=False):
        guess = expected[-1] * task.steps / before.steps if expected else 0.0
        if not constant and (guess > 2 * budget or (measured and np.isnan(measured[-1]))):
            measured.append(np.nan)
            expected.append(guess)
            continue
        # A fresh step: its traces and the optimiser's moments are made in the first call.
        measured.append(peak_memory(step_of(method, task, backend, ahead=False)))
        expected.append(measured[-1])
    return measured, expected
