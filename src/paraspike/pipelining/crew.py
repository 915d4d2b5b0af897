"""A crew of worker processes joined by gloo: started once, watched at work, never left behind."""

import contextlib
import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler

from paraspike.errors import ReaderError
from paraspike.pipelining.desk import FIELDS, TICK, place, serve
from paraspike.pipelining.watch import Watch
from paraspike.threads import environment

# Seconds after a worker's failure in which a dead partner, its likely cause, may still show up.
_GRACE = 0.5
# os.environ belongs to all threads.
_STARTING = threading.Lock()


class Crew:
    """Processes that run functions together; a context manager, at whose end they are killed.

    They start by `spawn`, share a gloo group (torch.distributed's default group in each), ignore Ctrl-C, and
    end by themselves when this process is gone, however it ended. Stopped ones (SIGSTOP) do so as soon as they
    are continued, but on Linux, if the crew was made by the main thread, at once.

    Args:
        processes: how many.  threads: of each, for torch, OpenMP and Numba.
        starting: seconds they may take to start, and a function to import and compile what it needs.

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
        self._processes, self._pipes, self._carriers, self._unsent = [], [], [], {}
        # The kernel ties a process to the thread that starts it; others may end before the crew.
        tied = threading.current_thread() is threading.main_thread()
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        try:
            for rank in range(processes):
                ours, theirs = context.Pipe()
                job = (rank, processes, self._store.port, threads, self._board, theirs, tied)
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
            # Frees its thread even if a process's own child holds the other end.
            with socket.socket(fileno=os.dup(pipe.fileno())) as end, contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for carrier in self._carriers:
            if carrier.is_alive():
                carrier.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes, self._carriers = [], [], []

    def run(self, function: Callable, arguments: Sequence[tuple], patience: float = 10.0) -> list:
        """`function(desk, *arguments[rank])` in the first len(arguments) processes; what each returned.

        Args:
            function: importable; it and its arguments and results must pickle.
            patience: seconds that a process may be silent: in a task, in taking its work or in answering, in
                loading without computing or, if all are, in waiting.

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
                self._unsent[rank] = ForkingPickler.dumps((function, given))
            return self._gather(len(arguments), patience)
        except BaseException:
            self.close()
            raise

    def _gather(self, count: int, patience: float) -> list:
        """The first `count` processes' answers to what is unsent; watches all of them meanwhile."""
        inbox = queue.SimpleQueue()
        # A stopped process can block who writes to it or reads from it at any time: never the one who watches.
        self._carriers = [
            threading.Thread(target=_carry, args=(rank, pipe, self._unsent, inbox), daemon=True)
            for rank, pipe in enumerate(self._pipes[:count])
        ]
        for carrier in self._carriers:
            carrier.start()
        answers, ready, watch = {}, 0, Watch(self._board, self.pids, patience, self._starting)
        while len(answers) < count:
            with contextlib.suppress(queue.Empty):
                rank, what, answer = inbox.get(timeout=TICK)
                if what == "done":
                    answers[rank] = answer
                elif what == "ready":
                    ready += 1
                else:
                    self._raise(rank, what, answer)
            if ready == count:
                ready = 0
                for pipe in self._pipes[:count]:
                    # Whoever is dead is found below.
                    with contextlib.suppress(OSError):
                        pipe.send("go")
            self._blame_the_dead()
            for rank, why in watch.hung([rank for rank in range(count) if rank not in answers]):
                hint = f"after {patience:g} s without progress; give more patience to slow tasks"
                raise ReaderError(
                    f"{self._name(rank)} {why} {self._place(rank)}", self._all_places(), hint
                )
        return [answers[rank] for rank in range(count)]

    def _raise(self, rank, what, answer):
        if what == "unreadable":
            raise answer
        connection.wait(self._sentinels(), _GRACE)
        self._blame_the_dead()
        if what == "broken":
            raise ReaderError(f"{self._name(rank)} closed its pipe", self._place(rank)) from answer
        raise ReaderError(f"{self._name(rank)} failed {self._place(rank)}", answer)

    def _sentinels(self):
        return [process.sentinel for process in self._processes]

    def _blame_the_dead(self):
        ready = connection.wait(self._sentinels(), 0)
        for rank, process in enumerate(self._processes):
            if process.sentinel in ready:
                # The kernel closes a dying process's files a moment before it gives its exit code.
                process.join()
            if process.exitcode is not None:
                code = process.exitcode
                how = (
                    f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended ({code})"
                )
                raise ReaderError(
                    f"{self._name(rank)} {how} {self._place(rank)}", self._all_places()
                )

    def _name(self, rank):
        return f"processor {rank} (pid {self._processes[rank].pid})"

    def _place(self, rank):
        if rank in self._unsent:
            return "while its work was sent to it"
        return place(self._board[rank * FIELDS : (rank + 1) * FIELDS])

    def _all_places(self):
        ranks = range(len(self._processes))
        return "; ".join(f"processor {rank} {self._place(rank)}" for rank in ranks)


def _carry(rank, pipe, unsent, inbox):
    """A thread's life: brings a worker its job, puts what it answers into the inbox, up to the last answer."""
    try:
        if rank in unsent:
            pipe.send_bytes(unsent[rank])
            del unsent[rank]
        what = ""
        while what not in ("done", "failed"):
            what, answer = pipe.recv()
            inbox.put((rank, what, answer))
    except (EOFError, OSError) as error:
        inbox.put((rank, "broken", error))
    except Exception as error:
        inbox.put((rank, "unreadable", error))


@contextlib.contextmanager
def _environment(variables):
    """Set in os.environ, which a new process inherits."""
    with _STARTING:
        before = dict(os.environ)
        os.environ.update(variables)
        # Loopback needs no name service; gloo would look up the host's name.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
