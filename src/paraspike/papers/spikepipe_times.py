"""SpikePipe's schedules by the clock: our runtime beside one process, torch's pipelines and data parallelism.

Measured on the reader's cores, which are no systolic arrays; the schedules are made for the tasks' times here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import xarray as xr

from paraspike.errors import ReaderError
from paraspike.measure import DISTURBED_ABOVE, load_of_others
from paraspike.papers import spikepipe_arms as arms
from paraspike.papers.spikepipe_arms import Job
from paraspike.papers.spikepipe_torch import PIPELINES, pipeline
from paraspike.pipelining.crew import Crew
from paraspike.pipelining.heuristics import contiguous, lpt, minmax_stages
from paraspike.pipelining.optimal import least_delay, least_period
from paraspike.pipelining.ordering import shorten, tighten
from paraspike.pipelining.runtime import train
from paraspike.pipelining.schedules import Schedule
from paraspike.pipelining.tasks import TaskGraph, graph_of_cycles
from paraspike.results import describe
from paraspike.threads import cores

ALONE, THREADS, APART = "one process", "one process, threads", "processes apart"
PARALLEL = "data parallel"


def near_optimal(graph: TaskGraph, processors: int) -> Schedule:
    """CP-SAT's schedule with the least total delay within 1 % of the least period; seconds of search."""
    first = least_period(graph, processors, 5.0, 1).schedule
    period = int(1.01 * first.period)
    return tighten(least_delay(graph, processors, period, 5.0, 1, shorten(first)).schedule)


# Our runtime's arms: schedules of a graph whose cycles are microseconds.
SCHEDULES = {
    "runtime, contiguous": contiguous,
    "runtime, LPT": lpt,
    "runtime, LPT short delays": lambda graph, processors: shorten(lpt(graph, processors)),
    "runtime, CP-SAT": near_optimal,
}


@dataclass(frozen=True)
class Found:
    """One run of an arm: seconds of an update with fill and drain, and without; weights by (layer, name);
    bytes sent in an update; mean share of the time the processes were at work."""

    seconds: float
    steady: float
    weights: dict
    sent: float
    busy: float


def wall_times(
    job: Job,
    processors: Sequence[int] = (2,),
    repeats: int = 3,
    schedules: Mapping[str, Schedule | Callable[[TaskGraph, int], Schedule]] | None = None,
    micro: int = 4,
    pipelines: Sequence[str] = tuple(PIPELINES),
    patience: float = 30.0,
) -> xr.Dataset:
    """Seconds of a sample in training by every arm, arms in turn, after a short round that does not count.

    Each process has one thread, but in the arm "one process, threads", which has as many as there are
    processors. All arms train on the same batches from the same weights. "processes apart" are as many
    trainings side by side that do not know of each other: what these cores can give to so many processes
    at all. Processes are started once for each number of processors. An arm that needs more stages than
    there are layers, or a batch it cannot share out, is left out: NaN.

    Args:
        schedules: for the runtime, by name: what makes one from (graph of measured microseconds,
            processors), or one for a single number of processors; None for SCHEDULES.
        micro: microbatches of torch's pipelines.  pipelines: which of PIPELINES.
        patience: seconds a process may be silent.

    Returns:
        Dataset over `arm`, `processors`, `repeat`, with the tasks' times over `task`.

    Raises:
        ReaderError: an unknown pipeline; a schedule that does not fit; a process that failed.
    """
    unknown = set(pipelines) - set(PIPELINES)
    if unknown or repeats < 1:
        raise ReaderError(
            f"pipelines {sorted(unknown)}, {repeats} repeats", "wall_times", ", ".join(PIPELINES)
        )
    schedules = SCHEDULES if schedules is None else dict(schedules)
    for given, count in product(schedules.values(), processors):
        if isinstance(given, Schedule):
            _schedule(given, None, count)
    names = [ALONE, THREADS, APART, *schedules, *pipelines, PARALLEL]
    shape = (len(names), len(processors), repeats)
    values = {name: np.full(shape, np.nan) for name in ("seconds", "steady", "busy")}
    values |= {
        name: np.full(shape[:2], np.nan) for name in ("sent", "difference", "delay", "modelled")
    }
    others, tasks = np.zeros(len(processors)), []
    for m, count in enumerate(processors):
        with Crew(count) as crew:
            rows = crew.run(arms.task_seconds, [(job,)], patience)[0]
            tasks.append(rows)
            graph = graph_of_cycles(np.maximum(1, np.rint(rows * 1e6)).astype(int).tolist())
            made = {name: _schedule(given, graph, count) for name, given in schedules.items()}
            given = made, pipelines, micro, graph, patience
            for run in _runs(crew, replace(job, updates=2), count, *given).values():
                run()
            runs = _runs(crew, job, count, *given)
            wanted = _wanted(crew, job, made, patience)
            crew.run(arms.draw, [(job,)] * count, patience)
            load = load_of_others()
            for r in range(repeats):
                for name, run in runs.items():
                    found, at = run(), (names.index(name), m)
                    values["seconds"][at][r] = found.seconds / job.batch
                    values["steady"][at][r] = found.steady / job.batch
                    values["busy"][at][r] = found.busy
                    values["sent"][at] = found.sent
                    far = _difference(found.weights, wanted.get(name, wanted[ALONE]))
                    values["difference"][at] = np.fmax(far, values["difference"][at])
                    values["delay"][at] = sum(made[name].staleness) if name in made else 0
                    values["modelled"][at] = made[name].speedup if name in made else np.nan
            others[m] = load()
    return _dataset(job, names, processors, values, others, np.stack(tasks, -1), micro)


def _schedule(given, graph, processors):
    made = given if isinstance(given, Schedule) else given(graph, processors)
    if made.processors > processors or made.policy != "stash":
        raise ReaderError(
            f"{made.method}: {made.processors} processors, policy {made.policy}",
            f"wall_times with {processors} processors",
            "at most as many, policy stash, or a function of (graph, processors)",
        )
    return made


def _runs(crew, job, count, schedules, pipelines, micro, graph, patience):
    """What runs each arm that fits, by its name."""
    one = partial(_together, crew, job, patience)
    runs = {ALONE: partial(one, arms.plain, [(job, 1)])}
    runs[THREADS] = partial(one, arms.plain, [(job, count)])
    runs[APART] = partial(one, arms.plain, [(job, 1)] * count)
    for name, schedule in schedules.items():
        runs[name] = partial(_pipelined, crew, job, schedule, patience)
    for name in pipelines:
        stages = count * PIPELINES[name][1]
        if stages <= graph.depth and job.batch % micro == 0:
            counts = minmax_stages(graph.layer_cycles(), stages)
            given = (job, count, name, counts, micro)
            runs[name] = partial(one, pipeline, [given] * count)
    if job.batch % count == 0:
        runs[PARALLEL] = partial(one, arms.data_parallel, [(job, count)] * count)
    return runs


def _together(crew, job, patience, function, given) -> Found:
    shares = crew.run(function, given, patience)
    seconds = max(s.end for s in shares) - min(s.begin for s in shares)
    weights = {}
    for share in shares:
        weights |= share.weights
    busy = float(np.mean([share.busy for share in shares]))
    # Processes apart have trained on as many samples each.
    each = seconds / job.updates / (len(shares) if function is arms.plain else 1)
    return Found(each, each, weights, sum(share.sent for share in shares), busy)


def _pipelined(crew, job, schedule, patience) -> Found:
    found = train(schedule, job, job, job.updates, job.optimizer, patience=patience, crew=crew)
    weights = {
        (number, name): values.numpy()
        for number, layer in enumerate(found.weights)
        for name, values in layer.items()
    }
    sent, busy = found.bytes_per_repetition, float(np.mean(found.busy))
    return Found(found.seconds / job.updates, found.steady, weights, sent, busy)


def _wanted(crew, job, schedules, patience):
    """Weights by the emulator: of each of the runtime's arms, and without delay for all others."""
    delays = {name: tuple(schedule.staleness) for name, schedule in schedules.items()}
    delays[ALONE] = (0,) * job.network.depth
    different, found = list(dict.fromkeys(delays.values())), {}
    for start in range(0, len(different), len(crew)):
        part = different[start : start + len(crew)]
        answers = crew.run(arms.emulated, [(job, staleness) for staleness in part], patience)
        found |= dict(zip(part, answers, strict=True))
    return {name: found[staleness] for name, staleness in delays.items()}


def _difference(weights, wanted):
    return max(float(np.abs(weights[key] - wanted[key]).max()) for key in wanted)


def _dataset(job, names, processors, values, others, tasks, micro):
    cell, rows = ("arm", "processors"), np.moveaxis(tasks, 1, 0)
    kept = [(kind, layer) for kind in range(3) for layer in range(job.network.depth)]
    kept = [(kind, layer) for kind, layer in kept if (kind, layer) != (1, 0)]
    dims = {name: (*cell, "repeat") if v.ndim == 3 else cell for name, v in values.items()}
    variables = {name: (dims[name], value) for name, value in values.items()}
    variables["task_seconds"] = (("task", "processors"), np.stack([rows[at] for at in kept]))
    variables["disturbed"] = ("processors", (others > DISTURBED_ABOVE).astype(int))
    coords = {
        "arm": names,
        "processors": list(processors),
        "repeat": np.arange(values["seconds"].shape[2]),
        "task": [f"{'FBW'[kind]}{layer + 1}" for kind, layer in kept],
    }
    crowded = "more processes than cores: their times show no speedup"
    attrs = {
        "network": job.network.name,
        "batch_size": job.batch,
        "updates": job.updates,
        "microbatches": micro,
        "cores": cores(),
        "caveat": crowded if max(processors) > cores() else "",
    }
    words = {
        "seconds": ("training, wall time of a sample, with filling and draining the pipeline", "s"),
        "steady": ("training, wall time of a sample while the pipeline is full", "s"),
        "busy": ("share of the time the processes were at work", "1"),
        "sent": ("bytes sent between processes in an update", "byte"),
        "difference": ("largest difference of a weight from the emulator's", "1"),
        "delay": ("delays of all layers, summed, in updates", "1"),
        "modelled": ("speedup by the schedule, of the tasks' measured times", "1"),
        "task_seconds": ("least time of a task for one batch, measured alone", "s"),
        "disturbed": ("others used over 10 % of the cores", "1"),
        "arm": ("what trains", "1"),
        "processors": ("processes, or threads of the one process", "1"),
        "repeat": ("repetition of the timing", "1"),
        "task": ("task of the training step", "1"),
    }
    return describe(xr.Dataset(variables, coords, attrs), **words)
