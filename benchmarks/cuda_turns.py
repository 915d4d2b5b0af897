"""Cases on a GPU timed in turn: each round takes every case once, and starts with another one."""

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from paraspike.measure import load_of_others, peak_memory, synchronise

ROUNDS = 5
# A turn repeats short calls for about this long, at most so often.
TURN_SECONDS, MOST_REPEATS = 0.2, 100
COLUMNS = (
    "workload",
    "T",
    "batch",
    "arm",
    "mode",
    "version",
    "seconds_median",
    "seconds_min",
    "seconds_max",
    "rounds",
    "repeats",
    "first_seconds",
    "peak_mb",
    "bytes",
    "floor_seconds",
    "over_floor",
    "bytes_per_s",
    "of_copy_rate",
    "others",
    "note",
)


@dataclass
class Case:
    """One call to be timed, and what was measured.

    Attributes:
        workload, steps, batch: what is computed.  arm, mode, version: by whom and how.
        start: builds it, outside of what is timed, and returns the call.
        bytes: what must be read and written, each once, whoever computes it; NaN where nobody counted.
        rounds: seconds of a call, one a round (mean of `repeats` calls, waited for at the end of the turn).
        first: seconds of the first call, which compiles.  peak_mb: MiB by which a call raises the memory of
            the device's tensors.  others: share of the cores others used, one a round.
    """

    workload: str
    steps: int
    batch: int
    arm: str
    mode: str
    start: Callable[[], Callable[[], object]] | None
    bytes: float = np.nan
    version: str = ""
    notes: list[str] = field(default_factory=list)
    call: Callable[[], object] | None = None
    rounds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    repeats: int = 1
    first: float = np.nan
    peak_mb: float = np.nan

    def fail(self, error: BaseException) -> None:
        """What went wrong becomes a note, in one line, and the case takes no further turn."""
        lines = str(error).strip().splitlines() or [""]
        self.notes.append(f"{type(error).__name__}: {lines[0]}"[:300])
        self.call, self.rounds = None, []

    def row(self, rate: float) -> dict:
        """A line of the table; `rate` is the measured copy rate, bytes/s."""
        timed = np.array(self.rounds or [np.nan])
        median, floor = float(np.median(timed)), self.bytes / rate
        values = (
            *(self.workload, self.steps, self.batch, self.arm, self.mode, self.version),
            *(median, float(timed.min()), float(timed.max()), len(self.rounds)),
            *(self.repeats, self.first, self.peak_mb, self.bytes, floor, median / floor),
            *(self.bytes / median, floor / median, float(np.mean(self.others or [np.nan]))),
            "; ".join(self.notes),
        )
        return dict(zip(COLUMNS, values, strict=True))


def in_turn(
    cases: list[Case],
    rounds: int = ROUNDS,
    limit: float = 20.0,
    until: float = math.inf,
    after: Callable[[], object] = lambda: None,
) -> list[Case]:
    """Builds, warms up and times the cases, `rounds` times each, and lets go of what they hold.

    A case that fails, or whose call takes more than `limit` seconds, is left out and says so. Once
    `time.monotonic()` is past `until` no case and no round is begun.

    Args:
        after: called after each round, e.g. to write what there is.
    """
    live = [case for case in cases if case.start is not None and _ready(case, limit, until)]
    try:
        for i in range(rounds):
            if i and time.monotonic() > until:
                break
            shift = i % max(1, len(live))
            for case in live[shift:] + live[:shift]:
                if case.call is not None:
                    _turn(case)
            after()
    finally:
        for case in cases:
            case.call = case.start = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return cases


def _ready(case: Case, limit: float, until: float) -> bool:
    if time.monotonic() > until:
        case.notes.append("left out: the time given was over")
        return False
    try:
        case.call = case.start()
        case.first = _seconds(case.call, 1)
        once = _seconds(case.call, 1)
        if once > limit:
            case.call = None
            case.notes.append(f"left out: {once:.3g} s a call, the limit is {limit:g} s")
            return False
        case.peak_mb = peak_memory(case.call)
        # Its third call or later: what is compiled lazily is compiled by now.
        once = _seconds(case.call, 1) if once < 1.0 else once
    except Exception as error:
        case.fail(error)
        return False
    case.repeats = int(np.clip(round(TURN_SECONDS / once), 1, MOST_REPEATS))
    return True


def _turn(case: Case) -> None:
    others = load_of_others()
    try:
        case.rounds.append(_seconds(case.call, case.repeats))
    except Exception as error:
        case.fail(error)
        return
    case.others.append(others())


def _seconds(call, repeats: int) -> float:
    """Of one call among `repeats` in a row, queued without a wait in between."""
    synchronise()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronise()
    return (time.perf_counter() - begin) / repeats
