"""The task graph of one training step: forward, backward-error and weight-gradient tasks of every layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paraspike.errors import ReaderError
from paraspike.pipelining.networks import WIDTHS, Network, Widths, task_order
from paraspike.pipelining.systolic import gemm_cycles, gemm_streams

# Assumption A6; B and W as in InterGrad (sheet, section 5).
DATAFLOW_OF = {"F": "os", "B": "ws", "W": "os"}
RULES = ("exact", "per-layer", "grouped", "pipedream")


@dataclass(frozen=True)
class Task:
    """One task of one (micro)batch.

    Attributes:
        kind: F forward, B error to the layer below, W weight gradient and update.  layer: from 1.
        cycles: on one array, modelled.  gemm: its (m, k, n), None where only cycles are known.
        bits_read, bits_written: each operand once.  bits_streamed: both, as often as the folds of the
            array stream them, convolutions unfolded (`gemm_streams`).
    """

    kind: str
    layer: int
    cycles: int
    gemm: tuple[int, int, int] | None = None
    bits_read: int = 0
    bits_written: int = 0
    bits_streamed: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """(kind, layer)."""
        return self.kind, self.layer

    @property
    def name(self) -> str:
        """As in the figures: F1, B2, W3."""
        return f"{self.kind}{self.layer}"


@dataclass(frozen=True)
class TaskGraph:
    """All tasks of one (micro)batch, in an order their dependencies allow.

    Attributes:
        network: None where only cycles are known; then no bits are either.  batch: samples.
        array: (rows, columns).  dataflows: of each kind.  widths: bits of a number.
    """

    tasks: tuple[Task, ...]
    network: Network | None = None
    batch: int = 1
    array: tuple[int, int] = (32, 32)
    dataflows: tuple[tuple[str, str], ...] = tuple(DATAFLOW_OF.items())
    widths: Widths = WIDTHS

    @property
    def depth(self) -> int:
        """L, layers."""
        return max(task.layer for task in self.tasks)

    @property
    def total(self) -> int:
        """Cycles of all tasks: one step on one processor."""
        return sum(task.cycles for task in self.tasks)

    @property
    def longest(self) -> int:
        """p_max: cycles of the longest task."""
        return max(task.cycles for task in self.tasks)

    @property
    def bits(self) -> int:
        """Bits read and written by all tasks."""
        return sum(task.bits_read + task.bits_written for task in self.tasks)

    @property
    def bits_streamed(self) -> int:
        """Bits that stream into and out of the arrays in all tasks."""
        return sum(task.bits_streamed for task in self.tasks)

    def task(self, kind: str, layer: int) -> Task:
        """The task of a kind and layer.

        Raises:
            ReaderError: there is none; the first layer has no B.
        """
        for task in self.tasks:
            if task.key == (kind, layer):
                return task
        raise ReaderError(f"there is no task {kind}{layer}", f"graph of {self.depth} layers")

    def before(self, kind: str, layer: int) -> tuple[tuple[str, int], ...]:
        """(kind, layer) of the tasks of the same sample that a task waits for: F_l for F_{l-1}; B_l and
        W_l for B_{l+1}, for l = L for F_L, which gives the loss (sheet, section 7)."""
        if kind == "F":
            return (("F", layer - 1),) if layer > 1 else ()
        return (("B", layer + 1),) if layer < self.depth else (("F", layer),)

    def layer_cycles(self) -> tuple[int, ...]:
        """F + B + W of each layer: the one task it is to standard pipelining (assumption A9)."""
        cycles = [0] * self.depth
        for task in self.tasks:
            cycles[task.layer - 1] += task.cycles
        return tuple(cycles)

    def loop_cycles(self, layer: int) -> int:
        """Cycles from the start of F_l over the loss to the end of W_l:
        sum_{i>=l} F_i + sum_{i>l} B_i + W_l."""
        return sum(
            task.cycles
            for task in self.tasks
            if (task.kind == "F" and task.layer >= layer)
            or (task.kind == "B" and task.layer > layer)
            or task.key == ("W", layer)
        )

    def iteration_bound(self, staleness: Sequence[int]) -> float:
        """Cycles below which no schedule's period can be with these delays (sheet, section 3.3):
        max over l of T_loop(l) = ( sum_{i>=l} F_i + sum_{i>l} B_i + W_l ) / (1 + D_l).

        Args:
            staleness: D_l of each layer, in updates.

        Raises:
            ReaderError: not one delay a layer, or one below 0.
        """
        if len(staleness) != self.depth or min(staleness) < 0:
            raise ReaderError(
                f"delays {list(staleness)} for {self.depth} layers",
                "TaskGraph.iteration_bound",
                "one from 0 for each layer",
            )
        return max(
            self.loop_cycles(layer) / (1 + delay) for layer, delay in enumerate(staleness, 1)
        )

    def lower_bound(
        self, processors: int, staleness: Sequence[int] | None = None, split: bool = False
    ) -> int:
        """Cycles no period can be below: max(p_max, ceil(sum / M), iteration bound rounded up).

        Args:
            processors: M.  staleness: D_l; None for delays without limit.
            split: tasks may run on several processors one after the other, so that p_max is no bound.
        """
        bounds = [-(-self.total // processors)]
        if not split:
            bounds.append(self.longest)
        if staleness is not None:
            self.iteration_bound(staleness)
            bounds += [
                -(-self.loop_cycles(layer) // (1 + d)) for layer, d in enumerate(staleness, 1)
            ]
        return max(bounds)


def task_graph(
    network: Network,
    batch: int = 1,
    array: tuple[int, int] = (32, 32),
    dataflows: dict[str, str] | None = None,
    widths: Widths = WIDTHS,
) -> TaskGraph:
    """The task graph of a network: products of section 5 of the sheet, cycles by `gemm_cycles`.

    Args:
        batch: samples of one (micro)batch.  array: (rows, columns) of every processor.
        dataflows: of each kind; default F os, B ws, W os (assumption A6).

    Raises:
        ReaderError: a batch below 1, a kind without dataflow, an unknown dataflow.
    """
    flows = DATAFLOW_OF | (dataflows or {})
    if batch < 1 or set(flows) != set(DATAFLOW_OF):
        raise ReaderError(f"batch {batch}, dataflows {flows}", "task_graph", "batch >= 1; F, B, W")
    tasks = []
    for kind, layer in network.tasks():
        gemm = network.layers[layer - 1].gemm(kind, batch * network.steps)
        cycles = gemm_cycles(flows[kind], *gemm, *array)
        left, right, result = gemm_streams(flows[kind], *gemm, *array)
        spikes = {"F": widths.spike, "B": widths.value, "W": widths.operand}[kind]
        out = widths.spike if kind == "F" and layer < network.depth else widths.value
        streamed = left * spikes + right * widths.value + result * out
        read, written = network.traffic(kind, layer, batch, widths)
        tasks.append(Task(kind, layer, cycles, gemm, read, written, streamed))
    return TaskGraph(tuple(tasks), network, batch, tuple(array), tuple(flows.items()), widths)


def graph_of_cycles(rows: Iterable[tuple[int, int, int]]) -> TaskGraph:
    """A graph of cycles alone: (F, B, W) of each layer; B of the first layer is not looked at."""
    rows = list(rows)
    tasks = tuple(
        Task(kind, layer, int(rows[layer - 1]["FBW".index(kind)]))
        for kind, layer in task_order(len(rows))
    )
    if not tasks or min(task.cycles for task in tasks) < 1:
        raise ReaderError(f"cycles {rows}", "graph_of_cycles", "whole numbers from 1")
    return TaskGraph(tasks)


def staleness_rule(name: str, depth: int, stages: Sequence[int] | None = None) -> tuple[int, ...]:
    """Delays D_l in updates, by name (sheet, sections 3.2 and 9).

        exact      0: plain SGD
        per-layer  2 (L - l): every layer a stage of its own (LayerPipe2, assumption A7)
        grouped    2 (K - k): shared by the layers of stage k of K
        pipedream  K - k: F and B of a stage share one period

    Args:
        depth: L.  stages: layers in each of the K stages, first to last; grouped and pipedream need it.

    Raises:
        ReaderError: the rule is unknown, or the stages do not add up to L layers.
    """
    if name not in RULES:
        raise ReaderError(
            f"rule {name!r} is unknown", "staleness_rule", f"one of {', '.join(RULES)}"
        )
    if name == "exact":
        return (0,) * depth
    if name == "per-layer":
        return tuple(2 * (depth - layer) for layer in range(1, depth + 1))
    if stages is None or sum(stages) != depth or min(stages) < 1:
        raise ReaderError(
            f"stages {stages} of {depth} layers",
            f"staleness_rule {name}",
            "layers of each stage, one at least, all together L",
        )
    step = 2 if name == "grouped" else 1
    return tuple(
        step * (len(stages) - k) for k, count in enumerate(stages, 1) for _ in range(count)
    )
