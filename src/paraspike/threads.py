"""One thread count for torch, Numba and the kernels' own pool (DESIGN.md, rule 9)."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from paraspike.errors import ReaderError

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "PARASPIKE_THREADS")

# Pieces a thread gets, so that one that is held up does not hold up the others.
_PIECES = 4

_pool: ThreadPoolExecutor | None = None
_count: int | None = None


# OpenMP's threads else spin for milliseconds after each of torch's operations, on cores we need.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def environment(count: int) -> dict[str, str]:
    """The variables a child process needs so that every library in it uses `count` threads, and
    torch's threads sleep while ours work."""
    return dict.fromkeys(VARIABLES, str(count)) | WAITING


@contextlib.contextmanager
def as_others_start() -> Iterator[None]:
    """Processes started within do not inherit our thread count and waiting: they are as a library's user starts
    them, with all cores and OpenMP's own way of waiting."""
    taken = {name: os.environ.pop(name) for name in (*VARIABLES, *WAITING) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def cores() -> int:
    """Cores this process may use: the threads torch takes where nobody limits it."""
    return len(os.sched_getaffinity(0))


def get_threads() -> int:
    """Threads in force: the last `set_threads`, else $PARASPIKE_THREADS, else the cores we may use."""
    if _count is not None:
        return _count
    asked = os.environ.get("PARASPIKE_THREADS")
    if asked is None:
        return cores()
    return _checked(asked, "the environment variable PARASPIKE_THREADS")


def set_threads(count: int | None = None) -> int:
    """Give torch, Numba and the kernel pool the same number of threads; returns it.

    More threads than cores are allowed. Numba's own limit is fixed when it is first imported, so a
    count above it holds for torch and the kernel pool, which is where our kernels run.

    Raises:
        ReaderError: the count is not a positive integer.
    """
    global _pool, _count
    count = _checked(get_threads() if count is None else count, "set_threads(count)")
    import torch

    from paraspike.ops.jit import numba

    # Numba first: starting its threads sets OpenMP's count, which is torch's, too.
    if numba is not None:
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(count)
    if count != _count and _pool is not None:
        _pool.shutdown(wait=True)
        _pool = None
    _count = count
    return count


def run_blocks(kernel, size: int, *arguments, grain: int = 1, pieces: int = _PIECES) -> None:
    """Call `kernel(start, stop, *arguments)` over [0, size) in pieces, shared out among the threads as
    they become free, some `pieces` for each thread.

    The kernel must release the GIL and write disjoint results per index, so the bits do not depend
    on the split. Starts are multiples of `grain`.
    """
    global _pool
    threads = min(get_threads(), -(-size // grain)) if size else 0
    if threads <= 1:
        kernel(0, size, *arguments)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(get_threads(), thread_name_prefix="paraspike")
    step = -(-size // (threads * pieces * grain)) * grain
    # One iterator for all: the interpreter hands out each start once.
    starts = iter(range(0, size, step))

    def work():
        for start in starts:
            kernel(start, min(start + step, size), *arguments)

    jobs = [_pool.submit(work) for _ in range(threads - 1)]
    work()
    for job in jobs:
        job.result()


def _checked(value, where: str) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise ReaderError(
            f"thread count {value!r} is not a positive integer", where, "use 1 or more"
        )
    return count
