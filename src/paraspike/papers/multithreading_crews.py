"""Who runs the tasks of a step: the main thread, a ThreadPool (Algorithm 2), or Threads with a Queue.

A crew is a context manager; leaving it, also by an error or Ctrl-C, ends its threads. With `record` it keeps
when each task was handed over, began and ended, and the CPU time of the thread that ran it.
"""

import threading
import time
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from queue import Queue

import torch

from paraspike.errors import ReaderError
from paraspike.papers.multithreading import PHASES

_LEAVE = None


@dataclass(frozen=True)
class Stamp:
    """One task: its step, phase and place among the phase's tasks; seconds of a common clock when it was
    handed over, begun and ended; CPU seconds of its thread in between."""

    step: int
    phase: str
    index: int
    submit: float
    start: float
    end: float
    cpu: float


class Serial:
    """The main thread does everything, with torch's threads as they are set."""

    splits, alone = 1, False

    def __init__(self, record: bool = False):
        self.stamps: list[Stamp] | None = [] if record else None
        self.steps = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        pass

    def step(self, network, x) -> None:
        """One time step: phase after phase, each finished before the next begins."""
        for phase, tasks in zip(PHASES, network.phases(x, self.splits), strict=True):
            groups = [[task] for task in tasks] if self.alone and phase == "layers" else [tasks]
            for first, group in enumerate(groups):
                self.run(group, phase, first)
        self.steps += 1

    def run(self, tasks, phase: str = "tasks", first: int = 0) -> None:
        """Do all tasks, in any order, before returning.

        Raises:
            whatever a task raised.
        """
        for i, task in enumerate(tasks):
            submit = time.perf_counter()
            self._note(phase, first + i, submit, _timed(task))

    def _note(self, phase, index, submit, times):
        if self.stamps is not None:
            self.stamps.append(Stamp(self.steps, phase, index, submit, *times))


class Pool(Serial):
    """Algorithm 2: every task handed to `multiprocessing.pool.ThreadPool(threads)`, then all awaited."""

    def __init__(self, threads: int, record: bool = False):
        super().__init__(record)
        self._pool = ThreadPool(_positive(threads), initializer=own_threads)

    def run(self, tasks, phase="tasks", first=0):
        jobs = []
        for task in tasks:
            submit = time.perf_counter()
            jobs.append((submit, self._pool.apply_async(_timed, (task,))))
        for i, (submit, job) in enumerate(jobs):
            self._note(phase, first + i, submit, job.get())

    def close(self):
        self._pool.terminate()
        self._pool.join()


class Queued(Serial):
    """The earlier form: `threads` Threads on one Queue, products cut into as many column slices, and the queue
    joined after every layer, so that layers run one after another."""

    alone = True

    def __init__(self, threads: int, record: bool = False):
        super().__init__(record)
        self.splits, self._queue, self._failed = _positive(threads), Queue(), []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self):
        own_threads()
        while (job := self._queue.get()) is not _LEAVE:
            task, phase, index, submit = job
            try:
                self._note(phase, index, submit, _timed(task))
            except BaseException as error:
                self._failed.append(error)
            finally:
                self._queue.task_done()

    def run(self, tasks, phase="tasks", first=0):
        self._failed.clear()
        for i, task in enumerate(tasks):
            self._queue.put((task, phase, first + i, time.perf_counter()))
        self._queue.join()
        if self._failed:
            raise self._failed.pop()

    def close(self):
        for _ in self._threads:
            self._queue.put(_LEAVE)
        for thread in self._threads:
            thread.join()


def crew(form: str, threads: int, record: bool = False) -> Serial:
    """The crew of a form, serial, pool or queue; no threads is the published single-threaded baseline.

    Raises:
        ReaderError: an unknown form, or a negative count.
    """
    forms = {"pool": Pool, "queue": Queued}
    if form == "serial" or threads == 0:
        return Serial(record)
    if form not in forms:
        raise ReaderError(f"no crew {form!r}", "crew", "serial, pool or queue")
    return forms[form](threads, record)


def _positive(threads):
    if threads < 1:
        raise ReaderError(f"a crew of {threads} threads", "crew", "one or more")
    return threads


def own_threads():
    # A new thread otherwise starts a full team of torch's own, whatever the main thread has set.
    torch.set_num_threads(torch.get_num_threads())


def clocked(task) -> tuple[float, float, float, float]:
    """Do a task: its start, its end, and in between CPU seconds of its thread and those in which it was
    ready to
    run but had no core (Linux counts them; NaN elsewhere). What is left it waited for the interpreter's
    lock.
    """
    ready = _ready_seconds()
    start, end, cpu = _timed(task)
    return start, end, cpu, _ready_seconds() - ready


def _timed(task):
    start, cpu = time.perf_counter(), time.thread_time()
    task()
    return start, time.perf_counter(), time.thread_time() - cpu


def _ready_seconds():
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) * 1e-9
    except (OSError, IndexError):
        return float("nan")
