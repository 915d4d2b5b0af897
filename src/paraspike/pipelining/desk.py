"""A worker process of a crew, from its start to its end."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from datetime import timedelta
from multiprocessing import connection

# Seconds between two beats, and between two looks of the parent.
TICK = 0.1
# gloo is never to give up by itself: the parent watches.
_NEVER = timedelta(days=30)
# What a worker notes on the board, one row each.
FIELDS = 6
BEAT, STEPS, PHASE, KIND, LAYER, SAMPLE = range(FIELDS)
PHASES = ("starting", "idle", "loading", "waiting", "running", "answering")
KINDS = ("", "F", "B", "W")
_PR_SET_PDEATHSIG = 1


def place(fields) -> str:
    """Where a worker is, in words, by its row of the board."""
    task = "its work"
    if fields[KIND]:
        task = f"{KINDS[fields[KIND]]}{fields[LAYER]} of sample {fields[SAMPLE]}"
    return {
        "starting": "while it started",
        "idle": "while it had nothing to do",
        "loading": "while it loaded its work",
        "waiting": f"while it waited for what {task} needs",
        "running": f"in {task}",
        "answering": "while it sent its answer",
    }[PHASES[fields[PHASE]]]


class Desk:
    """A worker's place in the crew, given to the function it runs.

    Attributes:
        rank: its number, from 0; also its rank in torch.distributed's default group.
    """

    def __init__(self, rank: int, board, pipe):
        self.rank, self._board, self._pipe = rank, board, pipe

    def say(self, phase: str, kind: str = "", layer: int = 0, sample: int = 0) -> None:
        """Write down, for the parent to read, what comes now: waiting or running, at which task. A function
        that has said neither nor been `together` is still loading, in which it may compute for long."""
        at = self.rank * FIELDS
        values = (PHASES.index(phase), KINDS.index(kind), layer, sample)
        self._board[at + PHASE : at + FIELDS] = values
        self._board[at + STEPS] += 1

    def together(self) -> None:
        """Return when all processes of this job have come here."""
        self.say("waiting")
        self._pipe.send(("ready", None))
        self._pipe.recv()
        self.say("running")


def serve(rank, processes, port, threads, board, pipe, tied):
    """A worker's life: joins the group, says it is here, runs what it is told to; `tied` to the thread that
    started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if tied and sys.platform == "linux":
        # The kernel kills it with its parent even while it is stopped, when it cannot look itself.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_beat, args=(board, rank * FIELDS + BEAT), daemon=True).start()
    desk = Desk(rank, board, pipe)
    try:
        import torch
        from torch import distributed

        torch.set_num_threads(threads)
        store = distributed.TCPStore("127.0.0.1", port, is_master=False, timeout=_NEVER)
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=processes, timeout=_NEVER
        )
        answer = None
        while True:
            desk.say("answering")
            pipe.send(("done", answer))
            desk.say("idle")
            pipe.poll(None)
            desk.say("loading")
            function, arguments = pipe.recv()
            answer = function(desk, *arguments)
    except EOFError:
        return
    except Exception:
        pipe.send(("failed", traceback.format_exc()))
        # Alive until it is killed, so that its partners fail of nothing.
        threading.Event().wait()


def _beat(board, at):
    """Beat until this process's parent is gone, then end it."""
    parent = multiprocessing.parent_process().sentinel
    while not connection.wait([parent], TICK):
        board[at] += 1
    os._exit(1)
