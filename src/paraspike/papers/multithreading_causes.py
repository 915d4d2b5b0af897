"""Why threads made the SNN slower: one task graph in three forms, and where the time of a task goes.

The graph is the phase `layers` of the published network: independent layers of neurons that are stepped once
each, then all are awaited.
"""

import time
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.measure import measure
from paraspike.ops.jit import njit
from paraspike.papers.multithreading import REFRACTORY, REST, THRESHOLD, Nodes
from paraspike.papers.multithreading_crews import clocked, own_threads

FORMS = ("torch operations", "compiled, no GIL", "compiled, split over images")
DECAY, TRACE_DECAY = np.float32(np.exp(-0.01)), np.float32(np.exp(-0.05))


@njit
def step_compiled(v, refractory, current, x, s):
    """`Nodes.forward` of a LIF layer on flat float32 arrays (s: 0 or 1), without Python in between."""
    rest, one, zero = np.float32(REST), np.float32(1), np.float32(0)
    for i in range(len(v)):
        u = (v[i] - rest) * DECAY + rest
        u += zero if refractory[i] > zero else current[i]
        refractory[i] -= one
        fired = u >= np.float32(THRESHOLD)
        if fired:
            refractory[i], u = np.float32(REFRACTORY), rest
        v[i] = u
        s[i] = one if fired else zero
        x[i] = one if fired else x[i] * TRACE_DECAY


@njit
def steps_compiled(v, refractory, current, x, s, steps):
    """Several steps with one input, for whoever splits images instead of layers."""
    for _ in range(steps):
        step_compiled(v, refractory, current, x, s)


class TorchLayers:
    """Layers of neurons for a batch, stepped by torch operations (`Nodes`)."""

    def __init__(self, layers: int, neurons: int, batch: int, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.layers = [Nodes(neurons, batch) for _ in range(layers)]
        self.drive = [torch.rand(batch, neurons, generator=generator) * 4 for _ in range(layers)]

    def tasks(self):
        def one(layer, drive):
            layer.current.copy_(drive)
            layer.forward()

        pairs = zip(self.layers, self.drive, strict=True)
        return [lambda a=layer, b=drive: one(a, b) for layer, drive in pairs]


class CompiledLayers(TorchLayers):
    """The same layers and input as arrays, stepped by a compiled function that needs no GIL."""

    def __init__(self, layers: int, neurons: int, batch: int, seed: int = 0):
        super().__init__(layers, neurons, batch, seed)
        self.state = [
            [
                getattr(layer, name).reshape(-1).numpy().copy()
                for name in ("v", "refractory", "current", "x", "s")
            ]
            for layer in self.layers
        ]
        for arrays, drive in zip(self.state, self.drive, strict=True):
            arrays[2][:] = drive.reshape(-1).numpy()
        self.batch, self.neurons = batch, neurons

    def tasks(self):
        return [lambda arrays=arrays: step_compiled(*arrays) for arrays in self.state]

    def shares(self, count: int, steps: int):
        """`count` tasks, each all layers and steps for its share of the images."""
        edges = [self.batch * k // count * self.neurons for k in range(count + 1)]

        def one(low, high):
            for arrays in self.state:
                steps_compiled(*(array[low:high] for array in arrays), steps)

        spans = zip(edges[:-1], edges[1:], strict=True)
        return [lambda a=low, b=high: one(a, b) for low, high in spans]


@dataclass(frozen=True)
class Shares:
    """Mean seconds of a task: waiting in the queue; begun but waiting for the lock; ready but without a core;
    working; and seconds of a step. Of the form that splits images, a task is all layers and steps of its share.
    """

    wait: float
    lock: float
    ready: float
    work: float
    step: float
    disturbed: bool = False


def shares(
    form: str, threads: int, layers: int, neurons: int, batch: int, steps: int, repeats: int
):
    """Where a task's time goes; no threads: the main thread alone. The median over repeats of the means.

    Raises:
        ReaderError: an unknown form.
    """
    if form not in FORMS:
        raise ReaderError(f"form {form!r} is unknown", "shares", ", ".join(FORMS))
    made = (TorchLayers if form == FORMS[0] else CompiledLayers)(layers, neurons, batch)
    if form == FORMS[2]:
        return _split(made, threads, steps, repeats)

    def once(hands):
        return [times for _ in range(steps) for times in hands(made.tasks())]

    return _watched(threads, once, repeats, steps)


def _split(made, threads, steps, repeats):
    """Each thread keeps its images through all layers and steps: one hand-over for all."""
    return _watched(
        threads, lambda hands: hands(made.shares(max(1, threads), steps)), repeats, steps
    )


def _watched(threads, once, repeats, steps):
    """`once`, told who does a list of tasks: timed bare, then watched; medians over repeats of means over
    tasks.
    """

    def rows(do_all):
        def watched(tasks):
            submit = time.perf_counter()
            return [(submit, *times) for times in do_all(clocked, tasks)]

        submit, start, end, cpu, ready = np.array(once(watched)).T
        wait = np.mean(start - submit) if threads else 0.0
        lock = max(0.0, np.mean(end - start - cpu - np.nan_to_num(ready)))
        return wait, lock, np.mean(ready), np.mean(cpu)

    def both(do_all):
        timing = measure(lambda: once(lambda tasks: list(do_all(_plain, tasks))), repeats)
        shares = np.median([rows(do_all) for _ in range(repeats)], axis=0)
        return Shares(*shares, timing.median / steps, timing.disturbed)

    if threads == 0:
        return both(map)
    with ThreadPool(threads, initializer=own_threads) as pool:
        return both(lambda do, tasks: pool.map(do, tasks, chunksize=1))


def _plain(task):
    task()
    return ()


def break_even(work: np.ndarray, speedup: np.ndarray) -> float:
    """Seconds of work in a task from which threads pay (speedup 1), by interpolation in log work.

    Args:
        work: serial seconds of a task, ascending.  speedup: serial over threaded time.

    Returns:
        the first crossing; 0 where they pay from the smallest on, inf where they never do.
    """
    above = np.flatnonzero(np.asarray(speedup) >= 1)
    if not len(above):
        return np.inf
    k = above[0]
    if k == 0:
        return 0.0
    (x0, x1), (y0, y1) = np.log(work[k - 1 : k + 1]), speedup[k - 1 : k + 1]
    return float(np.exp(x0 + (1 - y0) / (y1 - y0) * (x1 - x0)))
