"""An independent checker: replays a schedule event by event and says whether, and where, it goes wrong."""

from dataclasses import dataclass

from paraspike.errors import ReaderError
from paraspike.pipelining.schedules import Schedule


@dataclass(frozen=True)
class Verdict:
    """What the replay showed.

    Attributes:
        ok: nothing went wrong.  violation: the first thing that did, in words, or None.
        samples: (micro)batches replayed.
        staleness: D_l observed, the most updates missing in the weights that F_l read; None if not ok.
        mismatch: of each layer, the most updates by which B_l's weights were newer than F_l's: 0 with
            stash.  versions: of each layer, the most weight versions to be held at a time.
        makespan: cycles from the first start to the last end.  speedup: with fill and drain.
    """

    ok: bool
    violation: str | None
    samples: int
    staleness: tuple[int, ...] | None = None
    mismatch: tuple[int, ...] | None = None
    versions: tuple[int, ...] | None = None
    makespan: int | None = None
    speedup: float | None = None


class _Fault(Exception):
    pass


def check(schedule: Schedule, samples: int = 60) -> Verdict:
    """Replay `samples` (micro)batches; shares nothing with what makes schedules but their dataclasses.

    Checked: every task of every microbatch is there once and in full; pieces lie inside the period on
    processors that exist; no processor does two things at a time, no task two of its pieces; F_l starts
    after the end of F_{l-1} of the same sample, B_l and W_l after that of B_{l+1}, for l = L of F_L;
    updates come in order; F_l reads the newest weights there are at its start, which must be those that the
    declared delay says: after max(0, n - D_l) updates in period n.

    Args:
        samples: at least one more than the largest delay in (micro)batches, so that it can be seen.
    """
    if samples < (max(schedule.staleness, default=0) + 2) * schedule.micro:
        return Verdict(False, f"{samples} samples are too few to see the delays", samples)
    try:
        _check_table(schedule)
        return _Replay(schedule, samples).run()
    except _Fault as fault:
        return Verdict(False, str(fault), samples)


def replayed(schedule: Schedule, where: str, samples: int = 60) -> Verdict:
    """The verdict over so many (micro)batches, or more where the delays need them to be seen.

    Raises:
        ReaderError: the schedule is rejected; `where` says for what it was to be used.
    """
    needed = (max(schedule.staleness, default=0) + 2) * schedule.micro
    verdict = check(schedule, max(samples, needed))
    if not verdict.ok:
        raise ReaderError(f"{schedule.method}: {verdict.violation}", where)
    return verdict


def _check_table(schedule):
    depth = max(task.layer for task in schedule.graph.tasks)
    if len(schedule.staleness) != depth or any(delay < 0 for delay in schedule.staleness):
        raise _Fault(f"delays {schedule.staleness} are declared for {depth} layers")
    length = {}
    for piece in schedule.pieces:
        name = f"{piece.kind}{piece.layer}"
        if not 0 <= piece.processor < schedule.processors:
            raise _Fault(f"{name} lies on processor {piece.processor} of {schedule.processors}")
        if not 0 <= piece.offset < schedule.period:
            raise _Fault(f"{name} starts at {piece.offset} of a period of {schedule.period} cycles")
        if not 0 <= piece.micro < schedule.micro:
            raise _Fault(f"{name} belongs to microbatch {piece.micro} of {schedule.micro}")
        if piece.length < 1 or piece.period < 0:
            raise _Fault(f"{name} takes {piece.length} cycles in period {piece.period}")
        key = (piece.kind, piece.layer, piece.micro)
        length[key] = length.get(key, 0) + piece.length
    for task in schedule.graph.tasks:
        for micro in range(schedule.micro):
            found = length.pop((task.kind, task.layer, micro), 0)
            if found == 0:
                raise _Fault(f"{task.kind}{task.layer} of microbatch {micro} is missing")
            if found != task.cycles:
                raise _Fault(
                    f"{task.kind}{task.layer} of microbatch {micro} runs for {found} cycles, "
                    f"its work is {task.cycles}"
                )
    if length:
        kind, layer, _ = next(iter(length))
        raise _Fault(f"{kind}{layer} is no task of the graph")


class _Replay:
    """The state of all processors, samples and weights while time goes by."""

    def __init__(self, schedule, samples):
        self.schedule, self.samples = schedule, samples
        self.depth = len(schedule.staleness)
        self.left = {}  # (sample, kind, layer) -> pieces still to finish
        self.running = {}  # (sample, kind, layer) -> name of its piece at work
        self.busy = {}  # processor -> name
        self.begun, self.finished = set(), set()
        self.updates = [0] * (self.depth + 1)  # version of each layer's newest weights
        self.summed = {}  # (layer, update) -> microbatches whose W is done
        self.read = {}  # (sample, layer) -> version F read
        self.held = [dict() for _ in range(self.depth + 1)]  # version -> passes that still need it
        self.lag, self.newer, self.most = [[0] * (self.depth + 1) for _ in range(3)]

    def run(self):
        schedule = self.schedule
        events, count = [], 0
        for sample in range(self.samples):
            repetition, micro = divmod(sample, schedule.micro)
            for piece in schedule.pieces:
                if piece.micro != micro:
                    continue
                begin = (piece.period + repetition) * schedule.period + piece.offset
                count += 1
                key = (sample, piece.kind, piece.layer)
                self.left[key] = self.left.get(key, 0) + 1
                # Ends (0) come before starts (1) of the same cycle.
                events.append((begin, 1, count, key, piece))
                events.append((begin + piece.length, 0, count, key, piece))
        events.sort(key=lambda event: event[:3])
        for time, starts, _, key, piece in events:
            if starts:
                self.begin(time, key, piece)
            else:
                self.end(time, key, piece)
        makespan = events[-1][0] - events[0][0]
        done = schedule.work * self.samples / schedule.micro
        return Verdict(
            True, None, self.samples, tuple(self.lag[1:]), tuple(self.newer[1:]), tuple(self.most[1:]),
            makespan, done / makespan,
        )  # fmt: skip

    def begin(self, time, key, piece):
        sample, kind, layer = key
        name = f"{kind}{layer} of sample {sample}"
        if piece.processor in self.busy:
            raise _Fault(
                f"cycle {time}: processor {piece.processor} starts {name} while it still runs "
                f"{self.busy[piece.processor]}"
            )
        if key in self.running:
            raise _Fault(f"cycle {time}: two pieces of {name} run at the same time")
        self.busy[piece.processor] = self.running[key] = name
        if key in self.begun:
            return
        self.begun.add(key)
        for needed in self.needs(sample, kind, layer):
            if needed not in self.finished:
                raise _Fault(
                    f"cycle {time}: {name} starts before the end of "
                    f"{needed[1]}{needed[2]} of the same sample"
                )
        if kind == "F":
            self.forward(time, name, sample, layer)
        elif kind == "B" and self.schedule.policy == "newest":
            newer = self.updates[layer] - self.read[sample, layer]
            self.newer[layer] = max(self.newer[layer], newer)

    def forward(self, time, name, sample, layer):
        update, found = sample // self.schedule.micro, self.updates[layer]
        wanted = max(0, update - self.schedule.staleness[layer - 1])
        if found != wanted:
            kind = "stale" if found < wanted else "future"
            raise _Fault(
                f"cycle {time}: {name} reads {kind} weights, after {found} updates where the declared "
                f"delay of {self.schedule.staleness[layer - 1]} says {wanted}"
            )
        self.read[sample, layer] = found
        self.lag[layer] = max(self.lag[layer], update - found)
        held = self.held[layer]
        held[found] = held.get(found, 0) + 1
        self.count(layer)

    def end(self, time, key, piece):
        sample, kind, layer = key
        self.busy.pop(piece.processor, None)
        self.running.pop(key, None)
        self.left[key] -= 1
        if self.left[key]:
            return
        self.finished.add(key)
        if kind == ("B" if layer > 1 else "W") and self.schedule.policy == "stash":
            self.release(sample, layer)
        if kind == "F" and self.schedule.policy == "newest":
            self.release(sample, layer)
        if kind == "W":
            update = sample // self.schedule.micro
            self.summed[layer, update] = self.summed.get((layer, update), 0) + 1
            if self.summed[layer, update] == self.schedule.micro:
                if update != self.updates[layer]:
                    raise _Fault(
                        f"cycle {time}: update {update} of layer {layer} comes when "
                        f"{self.updates[layer]} updates are done"
                    )
                self.updates[layer] += 1
                self.count(layer)

    def release(self, sample, layer):
        held, version = self.held[layer], self.read[sample, layer]
        held[version] -= 1
        if not held[version]:
            del held[version]

    def count(self, layer):
        versions = len(set(self.held[layer]) | {self.updates[layer]})
        self.most[layer] = max(self.most[layer], versions)

    def needs(self, sample, kind, layer):
        """What must be over before a task starts, from the definition of backpropagation."""
        if kind == "F":
            return [(sample, "F", layer - 1)] if layer > 1 else []
        above = (sample, "B", layer + 1) if layer < self.depth else (sample, "F", self.depth)
        needed = [above, (sample, "F", layer)]
        if kind == "W" and layer > 1:
            needed.append((sample, "F", layer - 1))
        return needed
