"""Contestants side by side: find each library's best mode, then time them in turn."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.libraries import NAMES, NEAR, OURS, YARDSTICK, adapter, versions
from benchmarks.workloads import Workload
from paraspike.measure import DISTURBED_ABOVE
from paraspike.threads import WAITING, environment

# `benchmarks` is not installed: children start where it lies.
ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
# Seconds until a mode has compiled and taken its first step; torch.compile gets no longer.
START_LIMIT, STEP_LIMIT = 120.0, 300.0
# A round repeats short steps for about this long, at most so often.
ROUND_SECONDS, MOST_REPEATS = 0.25, 10
# Modes are chosen by the fastest of so many steps, which others on the machine disturb least.
TRIAL_STEPS = 2


class Failed(Exception):
    """Why a contestant could not run, in one line."""


def cores(threads: int) -> list[int]:
    """The last `threads` cores we may use, or all where there are not more."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def command(module: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}"]


def surroundings(library: str, threads: int) -> dict[str, str]:
    """Environment of a child in which every library uses `threads` threads.

    Peers keep OpenMP's own way of waiting, which suits them best; ours asks it to sleep.
    """
    ours = environment(threads)
    asked = ours if library in (OURS, NEAR) else {k: v for k, v in ours.items() if k not in WAITING}
    return os.environ | asked | {"JAX_PLATFORMS": "cpu"}


class Child:
    """A `benchmarks.child` process; it sleeps on its pipe while it is not asked for anything.

    Raises:
        Failed: it could not be built or did not answer in time.
    """

    def __init__(self, library: str, mode: str, workload: Workload, threads: int, folder: Path):
        stem = folder / f"{library}-{mode}-{threads}".replace(" ", "_").replace(",", "")
        self.outputs, self.log = stem.with_suffix(".npz"), stem.with_suffix(".log")
        spec = {
            "library": library,
            "mode": mode,
            "workload": asdict(workload),
            "cores": cores(threads),
            "outputs": str(self.outputs),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command("child"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=surroundings(library, threads),
            )
        self._rest = b""
        try:
            self.started = self.ask(spec, START_LIMIT)
        except Failed:
            self.close()
            raise

    def ask(self, what: dict, limit: float = STEP_LIMIT) -> dict:
        try:
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Failed(f"ended by itself ({self._last_words()})") from error
        end = time.monotonic() + limit
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed(f"did not finish within {limit:.0f} s")
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                raise Failed(f"ended by itself ({self._last_words()})")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:160] if lines else f"exit status {self.process.wait()}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@dataclass
class Entry:
    """A library's mode on a workload: what was measured, or why nothing was (`notes`).

    rounds: seconds of a step, a list per round; others: share of the cores used by others, one a
    round; peak_rss_mb: increase over the memory after imports, data and a first short step;
    repeats: steps in a round.
    """

    library: str
    mode: str
    workload: Workload
    threads: int
    version: str = ""
    child: Child | None = None
    rounds: list[list[float]] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    peak_rss_mb: float = float("nan")
    repeats: int = 1
    notes: list[str] = field(default_factory=list)
    outputs: dict = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median over rounds of the median step, seconds; NaN where nothing was measured."""
        return float(np.median([np.median(r) for r in self.rounds])) if self.rounds else np.nan

    @property
    def fastest(self) -> float:
        return min(map(min, self.rounds)) if self.rounds else np.nan

    @property
    def disturbed(self) -> bool:
        return bool(self.others) and float(np.mean(self.others)) > DISTURBED_ABOVE

    def start(self, folder: Path) -> None:
        """Build in a child and take one timed step; a failure becomes a note."""
        try:
            child = Child(self.library, self.mode, self.workload, self.threads, folder)
        except Failed as failure:
            self.notes.append(str(failure))
            return
        self.child, self.version = child, child.started["version"]
        self.notes += filter(None, [child.started.get("remark")])
        with np.load(child.outputs) as saved:
            self.outputs = dict(saved)
        self.turn(TRIAL_STEPS)
        if self.rounds:
            self.repeats = int(np.clip(round(ROUND_SECONDS / self.fastest), 1, MOST_REPEATS))

    def turn(self, repeats: int) -> None:
        """One round of so many steps."""
        # Threads of whoever went before may spin for a few milliseconds after their work.
        time.sleep(0.02)
        try:
            answer = self.child.ask({"repeats": repeats})
        except Failed as failure:
            self.notes.append(str(failure))
            self.stop()
            return
        self.rounds.append(answer["seconds"])
        self.others.append(answer["others"])
        self.peak_rss_mb = answer["peak_rss_mb"]

    def stop(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


def libraries(workload: Workload, wanted: list[str]) -> list[str]:
    """Those that have something to offer for a workload, the yardstick among them always."""
    chosen = [name for name in NAMES if not wanted or name in wanted or name == YARDSTICK]
    return [name for name in chosen if adapter(name).modes(workload)]


def best_of(
    library: str, workload: Workload, threads: int, folder: Path, modes, slow: dict | None = None
) -> list[Entry]:
    """Every mode tried once, the fastest first and alone still alive.

    Args:
        slow: (library, mode) -> where it did not start in time; such a mode is not tried again.
    """
    slow = {} if slow is None else slow
    installed = versions(library)
    if "not installed" in installed:
        note = f"not installed ({' / '.join(adapter(library).PACKAGES)})"
        return [Entry(library, "-", workload, threads, installed, notes=[note])]
    tried: list[Entry] = []
    for mode in modes:
        entry = Entry(library, mode, workload, threads, installed)
        tried.append(entry)
        if (library, mode) in slow:
            entry.notes.append(f"not tried: too slow to start on {slow[library, mode]}")
            continue
        entry.start(folder)
        if entry.child is None and f"within {START_LIMIT:.0f} s" in " ".join(entry.notes):
            slow[library, mode] = workload.label
        tried.sort(key=lambda e: e.fastest if e.rounds else np.inf)
        for slower in tried[1:]:
            slower.stop()
    if len(tried) > 1 and tried[0].rounds:
        tried[0].notes.append(f"best of {len(tried)} modes")
        for entry in tried[1:]:
            if entry.rounds:
                entry.notes.append("tried once, not the best mode")
    return tried


def in_turn(entries: list[Entry], rounds: int = ROUNDS) -> None:
    """`rounds` rounds of all live entries, each time starting with another one."""
    for entry in entries:
        entry.rounds, entry.others = [], []
    for i in range(rounds):
        shift = i % max(1, len(entries))
        for entry in entries[shift:] + entries[:shift]:
            if entry.child is not None:
                entry.turn(entry.repeats)
