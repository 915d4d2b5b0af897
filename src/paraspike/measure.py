"""Timing that can be trusted: warm-up, repetition, synchronisation, who else was running; peaks of memory."""

import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from paraspike import buffers

try:
    import psutil
except ModuleNotFoundError:
    psutil = None

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
    synchronise()
    others = load_of_others()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        synchronise()
        seconds.append(time.perf_counter() - begin)
    return Measurement(np.array(seconds), others(), os.getloadavg()[0])


def memory_mb(peak: bool = False) -> float:
    """Resident memory of this process, or its peak since the last `forget_peak`, in MiB."""
    if not peak:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak() -> None:
    """Let the kernel's record of the peak start again from the present (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory(function: Callable[[], object]) -> float:
    """MiB by which one call of `function()` raises this process's resident memory at its peak; where there is
    a GPU, the memory of its tensors.

    What is free is given back to the system first, so that the call cannot live on it unseen.
    """
    # All generations would take longer than most calls that are measured.
    gc.collect(1)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        synchronise()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    buffers.release()
    with _giving_back():
        before = memory_mb()
        forget_peak()
        function()
        return max(0.0, memory_mb(peak=True) - before)


@contextlib.contextmanager
def _giving_back():
    """The C library's allocator gives each block of 64 KiB or more back when it is freed (glibc; elsewhere as
    it does anyway), and afterwards keeps them up to 32 MiB, as it learns to by itself in a long run."""
    library, threshold = ctypes.CDLL(None), -3
    if not hasattr(library, "malloc_trim") or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        yield
        return
    library.malloc_trim(0)
    library.mallopt(threshold, 1 << 16)
    try:
        yield
    finally:
        library.mallopt(threshold, 1 << 25)


def load_of_others() -> Callable[[], float]:
    """Begin to watch; called later, the result says what share of all cores others have used since, 0 .. 1."""
    before, start = _other_seconds(), time.perf_counter()

    def since() -> float:
        # CPU clocks tick every 10 ms, so a short measurement could not tell noise from load.
        used = max(0.0, _other_seconds() - before - 0.02)
        elapsed = (time.perf_counter() - start) * (os.cpu_count() or 1)
        return min(1.0, used / max(elapsed, 0.05))

    return since


def synchronise():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _other_seconds() -> float:
    """CPU seconds used so far by every process but this one and its children, ended or alive; without psutil
    children that are alive count as others."""
    if psutil is None:
        line = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _, _, *more = (int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in line)
        return user + nice + system + sum(more[:3]) - sum(os.times()[:4])
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    this = psutil.Process()
    own = this.cpu_times()
    busy -= own.user + own.system + own.children_user + own.children_system
    for child in this.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            busy -= used.user + used.system
    return busy
