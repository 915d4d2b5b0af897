"""Which workers of a crew are at fault: what the board, and the time they compute, tell of them."""

import time

import psutil

from paraspike.pipelining.desk import BEAT, FIELDS, PHASE, PHASES, STEPS, TICK

# Share of a silence in which a process must compute to be at work; beating takes 0.1 %.
_BUSY = 0.02


class Watch:
    """Which processes have been silent for too long; knows them from the first look on.

    A job may import and compile before its first word, or wait for others that do: until then, for at most
    `starting` seconds, silence counts only while nothing is computed.

    Args:
        patience: seconds of silence.  starting: seconds that a process may take to start.
    """

    def __init__(self, board, pids: list[int], patience: float, starting: float):
        self._board, self._pids, self._patience = board, pids, patience
        self._starting, self._seen = max(patience, starting), {}
        self._clock, self._looked, self._computed = 0.0, time.monotonic(), 0.0

    def hung(self, ranks: list[int]) -> list[tuple[int, str]]:
        """(rank, how) of those to blame: no beat, no end of a task, or all of them waiting."""
        now = time.monotonic()
        # While this process itself is stopped, or the machine sleeps, nobody is silent.
        self._clock += min(now - self._looked, 5 * TICK)
        self._looked = now
        rows = {rank: self._board[rank * FIELDS : (rank + 1) * FIELDS] for rank in ranks}
        phases = {rank: PHASES[row[PHASE]] for rank, row in rows.items()}
        beats = {rank: self._silence((rank, BEAT), row[BEAT]) for rank, row in rows.items()}
        steps = {rank: self._silence((rank, STEPS), row[STEPS]) for rank, row in rows.items()}
        least = _BUSY * self._patience
        resting = {
            rank: self._silence((rank, "computing"), _computed(self._pids[rank]), least)
            for rank in ranks
            if phases[rank] == "loading" and steps[rank] <= self._starting
        }
        # Also of those who have just said their first word.
        self._computed = max([self._computed, *(self._clock - rest for rest in resting.values())])
        stuck = []
        for rank in ranks:
            patience = self._starting if phases[rank] == "starting" else self._patience
            # Code that is loaded or compiled can keep the beats from running.
            if min(beats[rank], resting.get(rank, beats[rank])) > patience:
                return [(rank, "does not respond")]
            rests = self._clock - self._computed if rank in resting else steps[rank]
            if min(steps[rank], rests) > patience:
                stuck.append(rank)
        hung = [(rank, "hangs") for rank in stuck if phases[rank] != "waiting"]
        if not hung and len(stuck) == len(ranks):
            hung = [(rank, "waits, as all others do,") for rank in stuck]
        return hung

    def _silence(self, what, value, least=0):
        """Seconds since a value last grew, by more than so much."""
        before, since = self._seen.setdefault(what, (value, self._clock))
        if value - before > least:
            self._seen[what] = value, self._clock
            return 0.0
        return self._clock - since


def _computed(pid):
    """Seconds of processor time of a process and its ended children."""
    try:
        return sum(psutil.Process(pid).cpu_times()[:4])
    except psutil.Error:
        return 0.0
