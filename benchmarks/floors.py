"""The least time a workload could take: its arithmetic and traffic at this machine's own rates."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial

from benchmarks.workloads import Workload
from paraspike.errors import ReaderError


@dataclass(frozen=True)
class Rates:
    """Measured on this machine: FLOP/s of torch.mm and of oneDNN's product, bytes/s copied."""

    mm: float
    onednn: float
    copy: float


def flop(workload: Workload, densities) -> float:
    """Floating-point operations of one step.

    Training: sparse forward and weight gradient at the density of each layer's input, dense input
    gradient for all but the first layer; a recurrent connection counts as one more such layer.
    STDP: sparse forward, and the two outer products at the densities of their spikes.

    Args:
        densities: of the layers' inputs and, last, of the output.
    """
    rows = 2.0 * workload.steps * workload.batch
    pairs = list(zip(workload.sizes[:-1], workload.sizes[1:], strict=True))
    total = 0.0
    if workload.kind == "encode":
        return 0.0
    for i, (a, b) in enumerate(pairs):
        before, after = densities[i], densities[i + 1]
        total += rows * a * b * before
        if workload.kind == "stdp":
            total += rows * a * b * (before + after)
        if workload.kind == "train":
            total += rows * a * b * (before + (i > 0))
    if workload.recurrent:
        n = workload.sizes[1]
        total += rows * n * n * densities[1] * (1 + (workload.kind == "train"))
        total += rows * n * n * (workload.kind == "train")
    return total


def traffic(workload: Workload) -> float:
    """Bytes read and written once: the input (index list or bits, whichever is less) once, twice
    for training, which also writes and reads each potential (float32); weights stay in cache."""
    entries = workload.steps * workload.batch
    once = entries * workload.sizes[0] * min(4 * workload.density, 1 / 8)
    if workload.kind == "train":
        return 2 * once + 8 * entries * sum(workload.sizes[1:])
    return once


def seconds(workload: Workload, densities, rates: Rates, fastest: bool = False) -> float:
    """The floor: arithmetic at torch.mm's rate (at the better product's with `fastest`) or traffic,
    whichever takes longer, for the two can overlap."""
    rate = max(rates.mm, rates.onednn) if fastest else rates.mm
    return max(flop(workload, densities) / rate, traffic(workload) / rates.copy)


def measured(threads: int) -> Rates:
    """The rates with `threads` threads, measured in a process of their own.

    Raises:
        ReaderError: that process failed.
    """
    from benchmarks.contest import ROOT, command, cores, surroundings

    spec = json.dumps(cores(threads))
    done = subprocess.run(
        [*command("floors"), spec],
        env=surroundings("torch", threads),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise ReaderError("the machine's rates could not be measured", *last)
    return Rates(**json.loads(done.stdout.splitlines()[-1]))


def _best(function, work: float, duration: float = 0.5) -> float:
    """Work per second of the fastest call within `duration` seconds."""
    function()
    least, end = float("inf"), time.perf_counter() + duration
    while (begin := time.perf_counter()) < end:
        function()
        least = min(least, time.perf_counter() - begin)
    return work / least


def _measure() -> dict[str, float]:
    import torch

    shapes = ((6400, 700, 128), (6400, 128, 128), (2048, 2048, 2048))
    rates = {"mm": 0.0, "onednn": 0.0}
    for m, k, n in shapes:
        a, b = torch.randn(m, k), torch.randn(k, n)
        w, out, work = b.T.contiguous(), torch.empty(m, n), 2.0 * m * k * n
        mm = partial(torch.mm, a, b, out=out)
        onednn = partial(torch.ops.mkldnn._linear_pointwise, a, w, None, "none", [], "")
        rates["mm"] = max(rates["mm"], _best(mm, work))
        rates["onednn"] = max(rates["onednn"], _best(onednn, work))
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    rates["copy"] = _best(lambda: target.copy_(source), 2.0 * source.nbytes)
    return rates


if __name__ == "__main__":
    os.sched_setaffinity(0, json.loads(sys.argv[1]))
    print(json.dumps(_measure()))
