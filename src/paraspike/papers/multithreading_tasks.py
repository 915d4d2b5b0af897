"""Where the time of the SNN goes: cProfile of the single-threaded program, and the tasks of a thread pool."""

import cProfile
import pstats

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.papers.multithreading import NU_PUBLISHED, Network
from paraspike.papers.multithreading_crews import Serial, Stamp, crew
from paraspike.papers.multithreading_peer import installed
from paraspike.papers.multithreading_throughput import (
    ARMS,
    OPEN,
    Job,
    batches_of,
    torch_threads,
)

# Parts of the program by the function whose cumulative time they are, ours and BindsNET's, as called by one of
# the callers; the rest is what is left.
_FUNCTIONS = {
    "layers": ("forward", "forward"),
    "synapses": ("get_inputs", "_get_inputs"),
    "weights": ("update", "update"),
    "encoding": ("encode", "encode"),
}
_CALLERS = {
    ("multithreading_crews.py", "_timed"),
    ("network.py", "run"),
    ("multithreading_throughput.py", "encoded"),
}
PARTS = (*_FUNCTIONS, "rest")
UPDATES = ("layers", "synapses", "weights")
PEER = "BindsNET"
_PRODUCTS = ("matmul", "mm", "addmm_", "addmm", "bmm", "__matmul__")


def profiled() -> tuple[str, ...]:
    """The programs that are profiled: ours in both arms and, where it is installed, BindsNET as published."""
    return (*ARMS, PEER) if installed() else ARMS


def profiles(images: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, list[dict]]:
    """Shares of PARTS for each of `profiled()` [arm, part]; one image at a time, one thread, rate coding,
    encoding within, as the authors had it.

    Returns:
        the shares, and per arm its `calls` and the share of time inside matrix `products`: NaN for BindsNET,
        whose `@` a profile does not see.
    """
    found, calls = [], []
    for arm in profiled():
        peer = arm == PEER
        batches = batches_of(images, 1, count)
        job = Job(ARMS[0] if peer else arm, "rate", batches, seed=seed, peer=peer)
        job.spikes = None
        job.hands = Serial()
        profile = cProfile.Profile()
        with torch_threads(1):
            job()
            profile.enable()
            job()
            profile.disable()
        row, facts = _shares(pstats.Stats(profile))
        facts["products"] = float("nan") if peer else facts["products"]
        found.append(row)
        calls.append(facts)
    return np.array(found), calls


def _shares(stats: pstats.Stats) -> tuple[list[float], dict]:
    total = stats.total_tt
    row = []
    for names in _FUNCTIONS.values():
        times = [
            times[3]
            for (_, _, function), entry in stats.stats.items()
            if function in names
            for (path, _, caller), times in entry[4].items()
            if (path.rsplit("/", 1)[-1], caller) in _CALLERS
        ]
        row.append(sum(times) / total)
    products = sum(
        entry[2]
        for (_, _, function), entry in stats.stats.items()
        if any(f"'{word}'" in function or f".{word}" in function for word in _PRODUCTS)
    )
    facts = {"calls": float(stats.total_calls), "products": products / total}
    return [*row, 1 - sum(row)], facts


def chain(layers: int, neurons: int, threads: int, steps: int, seed: int) -> list[Stamp]:
    """Stamps of every task of a chain of IF layers, batch 1, without learning; of all steps but the first.

    Raises:
        ReaderError: no step is left to look at.
    """
    if steps < 2:
        raise ReaderError(f"{steps} steps", "multithreading_tasks.chain", "two or more")
    # Weights that keep activity alive along the chain without making every neuron fire.
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.rand(neurons, neurons, generator=generator) for _ in range(layers)]
    net = Network([neurons] * (layers + 1), 1, NU_PUBLISHED, OPEN, weights, kind="if", of_2020=True)
    spikes = (torch.rand(steps, 1, neurons, generator=generator) < 0.1).to(torch.uint8)
    with torch_threads(1), crew("pool", threads, record=True) as hands:
        net.present(spikes, hands)
        return [stamp for stamp in hands.stamps if stamp.step > 0]


def _by_step(stamps, phase):
    chosen = [s for s in stamps if s.phase == phase]
    return [[s for s in chosen if s.step == step] for step in sorted({s.step for s in chosen})]


def summary(stamps: list[Stamp], phase: str) -> tuple[float, float, float, float, float]:
    """Seconds of a phase: mean wait and mean execution of a task, until all are done, that over the number
    of tasks
    (service), and mean CPU time of a task. Of the main thread alone a task's wait is zero by definition."""
    steps = _by_step(stamps, phase)
    total = np.mean([max(s.end for s in one) - min(s.submit for s in one) for one in steps])
    wait = np.mean([s.start - s.submit for one in steps for s in one])
    run = np.mean([s.end - s.start for one in steps for s in one])
    work = np.mean([s.cpu for one in steps for s in one])
    return wait, run, total, total / len(steps[0]), work


def wait_by_position(stamps: list[Stamp], phase: str) -> np.ndarray:
    """Mean wait at each place of the queue, seconds [tasks]."""
    return np.mean(
        [[s.start - s.submit for s in sorted(one, key=_place)] for one in _by_step(stamps, phase)],
        0,
    )


def gantt(tasks: int, neurons: int, threads: int, steps: int, seed: int):
    """Start and end of the layers' tasks, seconds from each step's first start: arrays [steps - 1, tasks]."""
    found = _by_step(chain(tasks - 1, neurons, threads, steps, seed), "layers")
    rows = [sorted(one, key=_place) for one in found]
    zero = np.array([[min(s.start for s in one)] for one in rows])
    start, end = (
        np.array([[getattr(s, n) for s in one] for one in rows]) for n in ("start", "end")
    )
    return start - zero, end - zero


def _place(stamp):
    return stamp.index
