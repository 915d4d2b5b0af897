"""A crew of worker processes joined by gloo: started once, watched at work, never left behind."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection

from paraspike.errors import ReaderError
from paraspike.pipelining.desk import (
    BEAT,
    FIELDS,
    KIND,
    KINDS,
    LAYER,
    PHASE,
    PHASES,
    SAMPLE,
    STEPS,
    TICK,
    serve,
)  # fmt: skip
from paraspike.threads import environment

# Seconds after a worker's failure in which a dead partner, its likely cause, may still show up.
_GRACE = 0.5


class Crew:
    """Processes that run functions together; a context manager, at whose end they are killed.

    They start by `spawn`, share a gloo group (torch.distributed's default group in each), ignore Ctrl-C, and
    end by themselves when this process is gone, however it ended.

    Args:
        processes: how many.  threads: of each, for torch, OpenMP and Numba.
        starting: seconds they may take to start, and a function to prepare its work.

    Attributes:
        started: seconds it took to start all of them.  pids: their process ids, by rank.

    Raises:
        ReaderError: a count below 1; a process ended, failed or hung while it started.
    """

    def __init__(self, processes: int, threads: int = 1, starting: float = 120.0):
        if processes < 1 or threads < 1:
            raise ReaderError(f"{processes} processes of {threads} threads", "Crew", "1 or more")
        from torch.distributed import TCPStore

        self._starting = starting
        begin, context = time.perf_counter(), multiprocessing.get_context("spawn")
        self._board = context.RawArray("q", processes * FIELDS)
        self._processes, self._pipes = [], []
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        try:
            for rank in range(processes):
                ours, theirs = context.Pipe()
                job = (rank, processes, self._store.port, threads, self._board, theirs)
                process = context.Process(
                    target=serve, args=job, name=f"processor {rank}", daemon=True
                )
                with _environment(environment(threads)):
                    process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes.append(ours)
            self._gather(processes, starting)
        except BaseException:
            self.close()
            raise
        self.started = time.perf_counter() - begin

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def __len__(self):
        return len(self._processes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Kill the processes; nothing of theirs is worth waiting for."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes = [], []

    def run(self, function: Callable, arguments: Sequence[tuple], patience: float = 10.0) -> list:
        """`function(desk, *arguments[rank])` in the first len(arguments) processes; what each returned.

        Args:
            function: importable; it and its arguments and results must pickle.
            patience: seconds that a process may be silent, in a task or, if all are, in waiting.

        Raises:
            ReaderError: a process died, failed (with its traceback) or hung: names it, its pid, and the
                task and sample it was at. The crew is closed then, as on any other way out.
        """
        if not 1 <= len(arguments) <= len(self._processes):
            raise ReaderError(
                f"work for {len(arguments)} processes", "Crew.run", f"there are {len(self)}"
            )
        try:
            for rank, given in enumerate(arguments):
                with self._naming(rank):
                    self._pipes[rank].send((function, given))
            return self._gather(len(arguments), patience)
        except BaseException:
            self.close()
            raise

    def _gather(self, count: int, patience: float) -> list:
        """The first `count` processes' answers; watches all of them meanwhile."""
        answers, ready, watch = {}, 0, _Watch(self._board, patience, self._starting)
        while len(answers) < count:
            pending = [rank for rank in range(count) if rank not in answers]
            connection.wait([*(self._pipes[r] for r in pending), *self._sentinels()], TICK)
            for rank in pending:
                with self._naming(rank):
                    if not self._pipes[rank].poll():
                        continue
                    what, answer = self._pipes[rank].recv()
                if what == "failed":
                    connection.wait(self._sentinels(), _GRACE)
                    self._blame_the_dead()
                    raise ReaderError(f"{self._name(rank)} failed {self._place(rank)}", answer)
                if what == "ready":
                    ready += 1
                else:
                    answers[rank] = answer
            if ready == count:
                ready = 0
                for rank in range(count):
                    with self._naming(rank):
                        self._pipes[rank].send("go")
            self._blame_the_dead()
            for rank, why in watch.hung([r for r in pending if r not in answers]):
                hint = f"after {patience:g} s without progress; give more patience to slow tasks"
                raise ReaderError(
                    f"{self._name(rank)} {why} {self._place(rank)}", self._all_places(), hint
                )
        return [answers[rank] for rank in range(count)]

    def _sentinels(self):
        return [process.sentinel for process in self._processes]

    def _blame_the_dead(self):
        for rank, process in enumerate(self._processes):
            if process.exitcode is not None:
                code = process.exitcode
                how = (
                    f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended ({code})"
                )
                raise ReaderError(
                    f"{self._name(rank)} {how} {self._place(rank)}", self._all_places()
                )

    @contextlib.contextmanager
    def _naming(self, rank):
        """A pipe breaks when its process dies: name that."""
        try:
            yield
        except (EOFError, OSError) as error:
            self._processes[rank].join(_GRACE)
            self._blame_the_dead()
            raise ReaderError(f"{self._name(rank)} closed its pipe", self._place(rank)) from error

    def _name(self, rank):
        return f"processor {rank} (pid {self._processes[rank].pid})"

    def _place(self, rank):
        fields = self._board[rank * FIELDS : (rank + 1) * FIELDS]
        task = ""
        if fields[KIND]:
            task = f"{KINDS[fields[KIND]]}{fields[LAYER]} of sample {fields[SAMPLE]}"
        return {
            "starting": "while it started",
            "idle": "while it had nothing to do",
            "waiting": f"while it waited for what {task or 'its work'} needs",
            "running": f"in {task or 'its work'}",
        }[PHASES[fields[PHASE]]]

    def _all_places(self):
        ranks = range(len(self._processes))
        return "; ".join(f"processor {rank} {self._place(rank)}" for rank in ranks)


class _Watch:
    """Which processes have been silent for too long."""

    def __init__(self, board, patience, starting):
        self.board, self.patience, self.starting, self.seen = board, patience, starting, {}

    def hung(self, ranks):
        """(rank, how) of those to blame: no beat, no end of a task, or all of them waiting."""
        now, stuck = time.monotonic(), []
        for rank in ranks:
            fields = self.board[rank * FIELDS : (rank + 1) * FIELDS]
            slow = PHASES[fields[PHASE]] == "starting"
            patience = max(self.patience, self.starting) if slow else self.patience
            for what in (BEAT, STEPS):
                value, since = self.seen.get((rank, what), (None, now))
                if fields[what] != value:
                    self.seen[rank, what] = fields[what], now
                elif now - since > patience:
                    if what == BEAT:
                        return [(rank, "does not respond")]
                    stuck.append((rank, PHASES[fields[PHASE]]))
        hung = [(rank, "hangs") for rank, phase in stuck if phase != "waiting"]
        if not hung and len(stuck) == len(ranks):
            hung = [(rank, "waits, as all others do,") for rank, _ in stuck]
        return hung


@contextlib.contextmanager
def _environment(variables):
    """Set in os.environ, which a new process inherits."""
    before = dict(os.environ)
    os.environ.update(variables)
    # Loopback needs no name service; gloo would look up the host's name.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
