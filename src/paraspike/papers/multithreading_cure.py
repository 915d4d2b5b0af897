"""The cure beside the disease: one presentation with learning, by the engine and by everybody else; and what
the measured scaling says of machines with more cores.

The engine cuts every layer's neurons into strips of weight columns. A thread steps through all images and steps
with its strip, and sums the batch's weight changes in the order of the images: the order of every sum is fixed,
so bits do not depend on the number of threads.
"""

import contextlib
import hashlib
import os
import platform
import subprocess
import time
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from paraspike import machine
from paraspike.learning.stdp import STDPNetwork
from paraspike.measure import load_of_others
from paraspike.papers.multithreading import NU, SIZES, Network
from paraspike.papers.multithreading_crews import crew
from paraspike.papers.multithreading_peer import BindsNET
from paraspike.papers.multithreading_throughput import CLOSED, parallel_fraction, torch_threads
from paraspike.spikes import Spikes
from paraspike.threads import get_threads, set_threads

ROUND_SECONDS = 0.1
ENGINE, ALONE, POOL, PEER = "this engine", "layer by layer", "Algorithm 2", "BindsNET"


class Contestant:
    """One way to learn from one presentation, from the same weights each time.

    Args:
        name: ENGINE, ALONE, POOL or PEER.  threads: of the engine, the crew, or torch in BindsNET.
    """

    def __init__(self, name: str, threads: int, spikes: Spikes, seed: int = 0):
        self.name, self.threads, self.spikes = name, threads, spikes
        self.engine = STDPNetwork((spikes.shape[2], *SIZES[1:]), nu=NU, seed=seed, backend="cpu")
        self.start = [w.clone() for w in self.engine.weights]
        self.dense = spikes.dense()
        batch = spikes.shape[1]
        if name == PEER:
            self.net = BindsNET(self.start, batch, NU, CLOSED)
        elif name != ENGINE:
            sizes = (spikes.shape[2], *SIZES[1:])
            self.net = Network(sizes, batch, NU, CLOSED, weights=self.start)

    def weights(self):
        return self.engine.weights if self.name == ENGINE else self.net.weights()

    def seconds(self) -> float:
        """Mean time of a presentation, of as many as fill `ROUND_SECONDS` and at least one: a core that slept
        before costs the first some milliseconds. Weights are put back before each, threads started once; that
        is not timed."""
        with self._present() as present:
            spent = []
            while sum(spent) < ROUND_SECONDS:
                for w, start in zip(self.weights(), self.start, strict=True):
                    w.copy_(start)
                begin = time.perf_counter()
                present()
                spent.append(time.perf_counter() - begin)
                if self.name != ENGINE:
                    self.net.reset()
        return float(np.mean(spent))

    @contextlib.contextmanager
    def _present(self):
        """What is timed, with its threads running."""
        if self.name == ENGINE:
            before = get_threads()
            set_threads(self.threads)
            try:
                yield lambda: self.engine.run(self.spikes)
            finally:
                set_threads(before)
            return
        self.net.reset()
        with torch_threads(self.threads if self.name == PEER else 1):
            if self.name == PEER:
                yield lambda: self.net.present(self.dense)
                return
            with crew("pool", self.threads if self.name == POOL else 0) as hands:
                yield lambda: self.net.present(self.dense, hands)

    def fingerprint(self) -> str:
        """sha256 of the weights as the last presentation left them."""
        digest = hashlib.sha256()
        for w in self.weights():
            digest.update(w.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Race:
    """seconds [entry, round]; fingerprints of the weights each left; share of the cores used by others."""

    seconds: np.ndarray
    fingerprints: list[str]
    others: float


def race(entered, spikes: Spikes, seed: int, rounds: int) -> Race:
    """Contestants (name, threads) one after another within a round; a first round is not counted."""
    contestants = [Contestant(*entry, spikes, seed) for entry in entered]

    def turn():
        seconds = []
        for contestant in contestants:
            # Threads of whoever went before may spin for a few milliseconds after their work.
            time.sleep(0.02)
            seconds.append(contestant.seconds())
        return seconds

    turn()
    others = load_of_others()
    rows = [turn() for _ in range(rounds)]
    return Race(np.array(rows).T, [c.fingerprint() for c in contestants], others())


def hardware() -> dict[str, str]:
    """Table I for this machine: element -> value."""
    gpu = machine.device("cuda")
    return {
        "processor": machine.device("cpu"),
        "cores (threads)": f"{psutil.cpu_count(logical=False)} ({psutil.cpu_count()})",
        "cores we may use": str(len(os.sched_getaffinity(0))),
        "caches": _caches(),
        "RAM": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "GPU": gpu if gpu not in ("", "unknown") else "none",
        "system": f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}",
    }


def _caches() -> str:
    try:
        done = subprocess.run(
            ["lscpu", "--caches=NAME,ALL-SIZE"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return ", ".join(f"{row[0]} {row[1]}B" for row in rows if len(row) == 2)


def copy_rate(threads: int, megabytes: int = 256, repeats: int = 5) -> float:
    """Bytes per second read and written by torch's copy with so many threads, the median."""
    source = torch.zeros(megabytes * 2**18)
    target = torch.empty_like(source)
    found = []
    with torch_threads(threads):
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            target.copy_(source)
            found.append(time.perf_counter() - begin)
    return 2 * megabytes * 2**20 / float(np.median(found[1:]))


def predicted(rates: np.ndarray, cores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amdahl's law fitted to rates measured with one and two threads.

    Args:
        rates: images per second [2, round].  cores: that are looked at.

    Returns:
        the parallel fraction of each round, at most 1; modelled images per second [round, cores].
    """
    one, two = rates
    fraction = np.clip([parallel_fraction(b / a, 2) for a, b in zip(one, two, strict=True)], 0, 1)
    serial = 1 - fraction[:, None]
    return fraction, one[:, None] / (serial + fraction[:, None] / cores)


def memory_limits(
    copy: float, weights: int, events: int, steps: int, batch: int
) -> tuple[float, float]:
    """Images per second that memory could feed at `copy` bytes per second: if weights stay in the caches
    between
    steps and only the lists of events are read, and if every step reads and writes all of them."""
    lists = 4 * events / batch
    return copy / lists, copy / (lists + 8 * weights * steps / batch)
