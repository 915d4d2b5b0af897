"""Timing that can be trusted: warm-up, repetition, device synchronisation, and who else was running."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
import torch

# Share of all cores that other processes may use before a measurement counts as disturbed.
DISTURBED_ABOVE = 0.1


@dataclass(frozen=True)
class Measurement:
    """seconds [repeats]; `others`: share of all cores used by other processes meanwhile, 0 .. 1;
    load: one-minute load average; disturbed: others above 10 %."""

    seconds: np.ndarray
    others: float
    load: float

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def disturbed(self) -> bool:
        return self.others > DISTURBED_ABOVE


def measure(function: Callable[[], object], repeats: int = 5, warmup: int = 1) -> Measurement:
    """Wall-clock seconds of `function()`, `repeats` times after `warmup` calls that do not count.

    CUDA devices are synchronised before and after each call.
    """
    for _ in range(warmup):
        function()
    _synchronise()
    before, start = _other_seconds(), time.perf_counter()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        _synchronise()
        seconds.append(time.perf_counter() - begin)
    elapsed = time.perf_counter() - start
    cores = psutil.cpu_count() or 1
    # CPU clocks tick every 10 ms, so a short measurement could not tell noise from load.
    others = max(0.0, _other_seconds() - before - 0.02) / max(elapsed * cores, 0.05)
    return Measurement(np.array(seconds), min(1.0, others), os.getloadavg()[0])


def _synchronise():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _other_seconds() -> float:
    """CPU seconds used so far by every process but this one and its children."""
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    own = psutil.Process().cpu_times()
    return busy - (own.user + own.system + own.children_user + own.children_system)
