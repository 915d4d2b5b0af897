"""What a schedule moves between processors: bits in a period, and the overhead against standard pipelining."""

from dataclasses import dataclass

from paraspike.errors import ReaderError
from paraspike.pipelining.heuristics import contiguous
from paraspike.pipelining.schedules import Schedule
from paraspike.pipelining.synchronous import DATA_PARALLEL, all_reduce_bits


@dataclass(frozen=True)
class Communication:
    """Bits of one period.

    Attributes:
        moved: between processors, by what it is: spikes, state, error, weights, gradients (all-reduce).
        contiguous: what the contiguous min-max partition on as many processors moves.
        total: read and written by all tasks, each operand once.
        streamed: the same, an operand as often as the array's folds stream it.
    """

    moved: dict[str, int]
    contiguous: int
    total: int
    streamed: int

    @property
    def all_moved(self) -> int:
        """Bits moved between processors."""
        return sum(self.moved.values())

    @property
    def overhead_bits(self) -> int:
        """Bits moved that a contiguous layer assignment would not move; never below 0."""
        return max(0, self.all_moved - self.contiguous)

    @property
    def overhead(self) -> float:
        """Those over all bits read and written by all tasks (sheet, section 6; assumption A10)."""
        return self.overhead_bits / self.total

    @property
    def overhead_streamed(self) -> float:
        """The overhead over all bits that stream into and out of the arrays: the other reading of "total
        required communication", and the smaller number."""
        return self.overhead_bits / self.streamed

    @property
    def share(self) -> float:
        """All bits moved over all bits read and written."""
        return self.all_moved / self.total


def communication(schedule: Schedule) -> Communication:
    """Bits a period of the schedule moves, and the overhead against contiguous min-max stages.

    What moves: spikes into l, to F_l from F_{l-1} and, as operand, to W_l from F_l; state of l from F_l to
    B_l and W_l; error of l from B_{l+1} (of L from F_L) to B_l and W_l; weights of l from W_l to F_l and
    B_l. A processor gets a thing once a period however many tasks there want it, nothing it made itself,
    and the input comes from outside. Of a split task a processor holds its share: F and B are cut along
    samples, steps and pixels, W along the rows of the weights.

    Raises:
        ReaderError: the graph has no network.
    """
    graph = schedule.graph
    if graph.network is None:
        raise ReaderError("a graph of cycles alone has no bits", "communication")
    reference = moved_bits(contiguous(graph, schedule.processors))
    reference = schedule.micro * sum(reference.values())
    total, streamed = schedule.micro * graph.bits, schedule.micro * graph.bits_streamed
    return Communication(moved_bits(schedule), reference, total, streamed)


def moved_bits(schedule: Schedule) -> dict[str, int]:
    """Bits moved between processors in a period, by what they are."""
    graph = schedule.graph
    bits = graph.network.data(graph.batch, graph.widths)
    moved = dict.fromkeys(("spikes", "state", "error", "weights", "gradients"), 0.0)
    if schedule.method == DATA_PARALLEL:
        moved["gradients"] = all_reduce_bits(graph, schedule.micro)
        return {name: round(value) for name, value in moved.items()}
    parts = _parts(schedule)
    for m in range(schedule.micro):
        # Weights move once an update, with the first microbatch: their W lies where all of its kind lie.
        for layer in range(1, graph.depth + 1):
            f, w = parts["F", layer, m], parts["W", layer, m]
            b = parts.get(("B", layer, m), {})
            if layer > 1:
                below = parts["F", layer - 1, m]
                moved["spikes"] += bits["spikes", layer] * _along(below, f)
            moved["spikes"] += bits["operand", layer] * _across(f, w)
            moved["state"] += bits["state", layer] * _merged(f, b, w)
            error = parts["B", layer + 1, m] if layer < graph.depth else f
            moved["error"] += bits["error", layer] * _merged(error, b, w)
            if m == 0:
                moved["weights"] += bits["weights", layer] * _everything(w, f, b)
    return {name: round(value) for name, value in moved.items()}


def _parts(schedule):
    """(kind, layer, micro) -> processor -> intervals [a, b) of the task's work, 0 to 1."""
    cycles = {task.key: task.cycles for task in schedule.graph.tasks}
    parts, done = {}, {}
    for piece in sorted(schedule.pieces, key=schedule.start):
        key = (piece.kind, piece.layer, piece.micro)
        begin = done.get(key, 0)
        done[key] = begin + piece.length
        whole = cycles[piece.kind, piece.layer]
        interval = (begin / whole, done[key] / whole)
        parts.setdefault(key, {}).setdefault(piece.processor, []).append(interval)
    return parts


def _size(intervals):
    return sum(b - a for a, b in intervals)


def _missing(need, have):
    """Length of the intervals `need` not covered by `have`; those of either do not overlap."""
    shared = sum(max(0.0, min(b, d) - max(a, c)) for a, b in need for c, d in have)
    return _size(need) - shared


def _along(source, target):
    """Both cut along the same axis: each processor wants what its pieces work on."""
    return sum(_missing(need, source.get(p, [])) for p, need in target.items())


def _across(source, target):
    """The target is cut along the other axis: its share of all rows, of which it holds some."""
    return sum(_size(n) * (1 - _size(source.get(p, []))) for p, n in target.items())


def _everything(source, *targets):
    """Each processor with any piece of the targets wants all of it."""
    return sum(1 - _size(source.get(p, [])) for p in set().union(*targets))


def _merged(source, along, everything):
    """One processor may want a part (B) and all of it (W): the larger need is moved, once."""
    lone = {p: need for p, need in along.items() if p not in everything}
    return _along(source, lone) + _everything(source, everything)
