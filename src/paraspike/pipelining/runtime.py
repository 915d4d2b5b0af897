"""A schedule at work: one process for each processor, delayed gradients, weights as the emulator's."""

import math
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError
from paraspike.pipelining.checker import check
from paraspike.pipelining.crew import Crew
from paraspike.pipelining.cut import padding
from paraspike.pipelining.runtime_plan import Event, Plan, as_bytes
from paraspike.pipelining.runtime_worker import work
from paraspike.pipelining.schedules import Schedule


class Source(Protocol):
    """Where the (micro)batches come from, each process holding its own copy."""

    def inputs(self, sample: int) -> torch.Tensor:
        """What the first layer takes, e.g. [T, B, N]; all of one shape and dtype."""

    def labels(self, sample: int) -> torch.Tensor:
        """What the loss takes, e.g. int64 [B]."""


@dataclass(frozen=True)
class Result:
    """What a run yields.

    Attributes:
        weights: of each layer, its synapse's parameters by name.
        losses: of each sample.
        seconds: from the first task to the end of the last, with fill and drain; starting not counted.
        steady: seconds of a repetition while the pipeline is full; NaN if there are too few of them.
        busy: of each processor, the share of `seconds` in which it ran a task.
        sent: bytes sent between processors in the whole run, by spikes, state, error and weights.
        versions: of each layer, the most weight versions held at a time by a processor for F and B to read.
        events: every task by its start, if traced; seconds since the first one.
    """

    weights: list[dict[str, torch.Tensor]]
    losses: list[float]
    seconds: float
    steady: float
    busy: list[float]
    sent: dict[str, int]
    versions: list[int]
    events: list[Event]

    @property
    def bytes_per_repetition(self) -> float:
        """Bytes sent between processors, over all samples."""
        return sum(self.sent.values()) / len(self.losses)


def train(
    schedule: Schedule,
    factory: Callable[[], Sequence[nn.Module]],
    source: Source,
    updates: int,
    optimizer_factory: Callable[[list], torch.optim.Optimizer],
    *,
    loss: Callable = cross_entropy,
    patience: float = 10.0,
    threads: int = 1,
    trace: bool = False,
    crew: Crew | None = None,
) -> Result:
    """Train by a schedule, each processor a process that runs its own tasks in the order of their start.

    Nothing but that order and the delays is taken from the schedule: a task starts when what it needs is
    there. F_l of sample n waits for and reads version max(0, n - D_l) of its weights, whatever else has come
    by then; B_l reads the same (stash), or the version that is the newest at its start by the schedule.
    F_l runs synapse and neurons and keeps both; B_l and W_l each take dS back through the neurons (one of them
    where both run on one processor), then B_l the input's gradient, W_l that of the weights, neither as a
    by-product of the other. Where B_l or W_l is not on F_l's processor it gets the layer's currents and runs
    its neurons again, which is elementwise. Spikes travel as bytes, all else as it is. Weights are the
    emulator's to the bit, as far as the kernels beneath give equal bits for equal operands.

    Args:
        factory: layers as `Emulator` takes them, from the input to the logits; synapses are nn.Linear or
            nn.Conv2d, before them a layer is linear, and no layer draws random numbers.
        source: of batches 0 .. updates - 1; F_1's processor reads inputs, F_L's labels.
        updates: N.
        optimizer_factory: of a layer's parameters; runs on W_l's processor.
        loss: of (logits, labels), a scalar.
        patience: seconds without progress after which a process counts as hung; above the longest task.
        threads: of each process.
        trace: keep every task's times.
        crew: processes to use, at least as many as processors; None starts and ends its own.

    Raises:
        ReaderError: before a process starts: split tasks, several microbatches, a schedule that the checker
            refuses, layers that do not fit, something that cannot be imported. Later: a loss that is not
            finite, an input of another shape; a process that failed, died or hung, with its number, pid,
            task and sample. All processes are gone then.
    """
    plan = plan_of(schedule, factory, source, updates)
    given = (plan, factory, source, optimizer_factory, loss, trace)
    _refuse_what_cannot_travel(given)
    if crew is not None:
        found = crew.run(work, [given] * schedule.processors, patience)
    else:
        with Crew(schedule.processors, threads) as own:
            found = own.run(work, [given] * schedule.processors, patience)
    return _result(found, plan, schedule)


def plan_of(schedule: Schedule, factory: Callable, source: Source, updates: int) -> Plan:
    """The table of a schedule; runs the first sample forward for its shapes. Errors: as `train`."""
    _refuse(schedule, updates)
    modules, depth = list(factory()), schedule.graph.depth
    _refuse_layers(modules, depth)
    x, shapes, small = source.inputs(0), {}, set()
    dtype = x.dtype
    for layer, module in enumerate(modules, 1):
        currents = []
        shapes["spikes", layer] = tuple(x.shape)
        # Silence says nothing of what is to come.
        if x.any() and as_bytes(x) is not None:
            small.add(layer)
        with torch.no_grad():
            x = module(x, _noting(module.synapse, currents))
        shapes["state", layer] = tuple(currents[0].shape)
        shapes["error", layer] = tuple(x.shape)
        shapes["weights", layer] = (sum(p.numel() for p in module.synapse.parameters()),)
    of_task = {(piece.kind, piece.layer): piece for piece in schedule.pieces}
    shift = {("F", layer): -delay for layer, delay in enumerate(schedule.staleness, 1)}
    for layer in range(2, depth + 1):
        shift["B", layer] = shift["F", layer]
        if schedule.policy == "newest":
            b, w = of_task["B", layer], of_task["W", layer]
            # Updates over by the start of B_l of sample 0, were the pipeline always full.
            before = schedule.start(b) - schedule.start(w) - w.length
            shift["B", layer] = before // schedule.period + 1
    return Plan(
        {key: piece.processor for key, piece in of_task.items()},
        {key: schedule.start(piece) for key, piece in of_task.items()},
        schedule.period, shift, updates, depth, shapes, dtype, frozenset(small),
    )  # fmt: skip


def _noting(synapse, found):
    def noted(rows):
        found.append(synapse(rows))
        return found[0]

    return noted


def _refuse(schedule, updates):
    where = f"runtime: {schedule.method}"
    if updates < 1:
        raise ReaderError(f"{updates} updates", where, "one at least")
    if schedule.micro > 1:
        hint = "schedules of one microbatch a period; torch.distributed.pipelining flushes"
        raise ReaderError(f"{schedule.micro} microbatches an update", where, hint)
    counts = Counter((piece.kind, piece.layer) for piece in schedule.pieces)
    split = [f"{kind}{layer}" for (kind, layer), count in counts.items() if count > 1]
    if split:
        hint = (
            "whole tasks only: contiguous, lpt, assigned, or an optimal schedule without splitting"
        )
        raise ReaderError(f"{', '.join(split)} split between processors", where, hint)
    verdict = check(schedule, max(60, (max(schedule.staleness, default=0) + 2) * 2))
    if not verdict.ok:
        raise ReaderError(f"the schedule cannot run: {verdict.violation}", where)


def _refuse_layers(modules, depth):
    if len(modules) != depth:
        raise ReaderError(f"{len(modules)} layers", "runtime", f"the schedule has {depth}")
    for layer, module in enumerate(modules, 1):
        synapse = module.synapse
        fits = isinstance(synapse, nn.Linear) or (
            isinstance(synapse, nn.Conv2d) and padding(synapse) is not None
        )
        if not fits:
            hint = "nn.Linear, or nn.Conv2d padded with zeros, alike on both sides"
            raise ReaderError(f"layer {layer} has the synapse {synapse}", "runtime", hint)
        held = {id(p) for p in module.parameters()}
        if held != {id(p) for p in synapse.parameters()}:
            raise ReaderError(f"layer {layer} has parameters outside of its synapse", "runtime")


def _refuse_what_cannot_travel(given):
    for thing in given:
        function = getattr(thing, "func", thing)
        home = getattr(function, "__module__", None)
        # A notebook's own functions pickle by name, but a new process cannot import them.
        by_hand = home == "__main__" and not hasattr(sys.modules[home], "__file__")
        try:
            pickle.dumps(thing)
        except (pickle.PicklingError, AttributeError, TypeError):
            by_hand = True
        if by_hand:
            hint = "functions and classes of a module, not of a notebook's cell, and no lambdas"
            raise ReaderError(f"{thing!r} cannot be sent to a process", "runtime", hint)


def _result(found, plan, schedule):
    begin = min(one["begin"] for one in found)
    ends = [max(one["ends"][n] for one in found) - begin for n in range(plan.updates)]
    # Until so many repetitions are over the pipeline fills, and drains as long.
    deep = max(piece.period for piece in schedule.pieces)
    count = plan.updates - 1 - 2 * deep
    steady = (ends[deep + count] - ends[deep]) / count if count > 0 else math.nan
    weights, losses, sent, events = {}, {}, Counter(), []
    for one in found:
        weights |= one["weights"]
        losses |= one["losses"]
        sent.update(one["sent"])
        events += [e._replace(begin=e.begin - begin, end=e.end - begin) for e in one["events"]]
    layers = range(1, plan.depth + 1)
    return Result(
        [{k: torch.from_numpy(v) for k, v in weights[layer].items()} for layer in layers],
        [losses[n] for n in range(plan.updates)],
        max(ends),
        steady,
        [one["busy"] / max(ends) for one in found],
        dict(sent),
        [max(one["held"].get(layer, 0) for one in found) for layer in layers],
        sorted(events, key=lambda event: event.begin),
    )
