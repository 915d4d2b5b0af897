"""Energy that was measured: the joules a function takes, from counters of the hardware, or NaN."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from paraspike.energy_counters import SAMPLE, Counter, counters, why_none
from paraspike.measure import DISTURBED_ABOVE, load_of_others, synchronise

# Seconds between looks at a counter that wraps: the smallest range, 65 kJ, lasts a minute at 1 kW.
LOOK = 10.0


@dataclass(frozen=True)
class Energy:
    """Measured means over `calls` calls: joules and seconds a call, watts.

    idle_watts: just before, waiting; parts: joules a call by counter name; counters: their names;
    others: share of all cores that other processes used meanwhile, which RAPL counts too;
    reason: why joules are NaN, else "".
    """

    joules: float
    watts: float
    seconds: float
    calls: int
    idle_watts: float
    counters: tuple[str, ...]
    parts: dict[str, float]
    others: float
    reason: str

    @property
    def dynamic_watts(self) -> float:
        """Power above idle."""
        return self.watts - self.idle_watts

    @property
    def disturbed(self) -> bool:
        return self.others > DISTURBED_ABOVE


def measure_energy(
    function: Callable[[], object],
    seconds: float = 1.0,
    *,
    device: str | None = None,
    using: Sequence[Counter] | None = None,
    idle: float = 1.0,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Energy of `function()`, repeated for at least `seconds` after `idle` seconds of waiting and
    `warmup` calls that do not count; CUDA devices are synchronised after each call.

    Args:
        device: whose counters add up, "cpu" or "cuda" (the board alone, as published; None: both).
        using: counters instead of those found.  clock, sleep: seconds, for tests.
    Returns:
        Energy; without a counter, or if one fails, joules and watts are NaN and `reason` says why.
    """
    using = counters(device) if using is None else list(using)
    reason = "" if using else why_none(device) or "no energy counter was given"
    synchronise()
    with _watching(using, clock) as waiting:
        if using and idle > 0:
            sleep(idle)
    for _ in range(warmup):
        function()
    synchronise()
    others = load_of_others()
    calls = 0
    with _watching(using, clock) as working:
        begin = clock()
        while not calls or clock() - begin < seconds:
            function()
            synchronise()
            calls += 1
        elapsed = clock() - begin
    share = others()
    reason = reason or _fault(working)
    # Power times time: a meter's window is longer than the loop, by the reading of the others.
    parts = {} if reason else {m.counter.name: m.watts * elapsed / calls for m in working}
    joules = math.nan if reason else math.fsum(parts.values())
    return Energy(
        joules=joules,
        watts=joules * calls / elapsed if elapsed > 0 else math.nan,
        seconds=elapsed / calls,
        calls=calls,
        idle_watts=math.fsum(m.watts for m in waiting)
        if waiting and not _fault(waiting)
        else math.nan,
        counters=tuple(c.name for c in using),
        parts=parts,
        others=share,
        reason=reason,
    )


class _Meter:
    """Joules of one counter from now to `finish()`: wraps added, powers integrated on the way."""

    def __init__(self, counter: Counter, clock: Callable[[], float]):
        self.counter, self.clock = counter, clock
        self.joules, self.seconds, self.fault = 0.0, 0.0, ""
        self._last, self._lock, self._stop = None, threading.Lock(), threading.Event()
        self.look()
        period = SAMPLE if counter.is_power else LOOK
        self._thread = threading.Thread(target=self._follow, args=(period,), daemon=True)
        if counter.is_power or math.isfinite(counter.wraps):
            self._thread.start()

    @property
    def watts(self) -> float:
        return self.joules / self.seconds if self.seconds > 0 else math.nan

    def look(self) -> None:
        """Read once more, and add what was used since the last time."""
        with self._lock:
            if self.fault or self._stop.is_set():
                return
            try:
                value, now = self.counter.read(), self.clock()
            except Exception as error:  # OSError, ValueError, or what NVML raises
                self.fault = f"{self.counter.name} could no longer be read: {error}"
                return
            if self._last is not None:
                before, since = self._last
                self._add(before, value, now - since)
            self._last = value, now

    def _add(self, before: float, value: float, seconds: float) -> None:
        if self.counter.is_power:
            self.joules += (before + value) / 2 * seconds
        elif value >= before:
            self.joules += value - before
        elif math.isfinite(self.counter.wraps):
            self.joules += value - before + self.counter.wraps
        else:
            self.fault = f"{self.counter.name} ran backwards: its driver was restarted"
        self.seconds += seconds

    def finish(self) -> None:
        self.look()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self, period: float) -> None:
        while not self._stop.wait(period):
            self.look()


@contextlib.contextmanager
def _watching(using: Sequence[Counter], clock) -> Iterator[list[_Meter]]:
    meters = [_Meter(counter, clock) for counter in using]
    try:
        yield meters
    finally:
        for meter in meters:
            meter.finish()


def _fault(meters: list[_Meter]) -> str:
    faults = [m.fault for m in meters if m.fault]
    if not faults and meters and not any(m.joules for m in meters):
        # Counters move in steps: none at all means a short window, not that it cost nothing.
        faults = [f"no counter moved within {meters[0].seconds:.3g} s: measure for longer"]
    return "; ".join(faults)
