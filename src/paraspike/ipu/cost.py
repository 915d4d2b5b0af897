"""Cycles of a program: exchange, barrier and computation of every superstep, tile by tile. Modelled."""

from dataclasses import dataclass

import numpy as np

from paraspike.ipu.constants import FREE, value
from paraspike.ipu.mapping import Mapping
from paraspike.ipu.program import Program, per_row


@dataclass(frozen=True)
class Phase:
    """Cycles of one superstep: exchange and compute of each tile [ipus, tiles], its barriers."""

    name: str
    exchange: np.ndarray
    compute: np.ndarray
    sync: float

    @property
    def total(self) -> float:
        """Cycles from one barrier to the next: the slowest tile decides twice."""
        return float(self.exchange.max() + self.compute.max() + self.sync)


def free_constants() -> dict[str, float]:
    """The constants that were fitted, by name."""
    return {name: value(name) for name in FREE}


def phases(program: Program, free: dict | None = None) -> tuple[list[Phase], list[Phase]]:
    """The phases of one time step, forward and backward.

    Args:
        free: values of the fitted constants; the fitted ones for None.

    The fixed cycles are charged evenly to the barriers of the program that they were fitted with: the log
    does not tell them apart. A program with more barriers takes more of them.
    """
    free = free or free_constants()
    mapping = program.mapping
    sync = free["step_cycles"] / value("fitted_barriers") + global_sync(mapping)
    made = [
        [_phase(step, mapping, free, sync) for _, step in steps]
        for steps in (program.forward, program.backward)
    ]
    return made[0], made[1]


def step_cycles(program: Program, free: dict | None = None) -> float:
    """Cycles of one time step, forward and backward."""
    forward, backward = phases(program, free)
    return sum(phase.total for phase in (*forward, *backward))


def update_cycles(mapping: Mapping, optimizer: str = "adam") -> float:
    """Cycles after the last time step: partial gradients are added up, weights updated; once a batch."""
    operations = value("weight_copies") - 2
    operations += value("adam_operations" if optimizer == "adam" else "sgd_operations")
    return max(operations * _elementwise(block.n_in * block.per_tile) for block in mapping.blocks)


def batch_seconds(program: Program, optimizer: str = "adam", free: dict | None = None) -> float:
    """Seconds of one training step on a batch: all time steps, then the update."""
    mapping = program.mapping
    cycles = mapping.steps * step_cycles(program, free) + update_cycles(mapping, optimizer)
    return mapping.machine.seconds(cycles)


def throughput(program: Program, optimizer: str = "adam", free: dict | None = None) -> float:
    """Samples trained on per second."""
    return program.mapping.batch / batch_seconds(program, optimizer, free)


def _phase(step, mapping, free, sync) -> Phase:
    exchange = step.received / value("exchange")
    crossing = step.crossing / (_link_bytes(mapping.machine.clock) or 1.0)
    exchange = np.maximum(exchange, crossing[:, None] * (exchange > 0))
    compute = np.zeros_like(exchange)
    npt = mapping.blocks[0].per_tile
    for kind, slots in step.rows.items():
        occupied = np.where(slots > 0, np.power(np.maximum(slots, 1.0), free["occupancy"]), 0.0)
        compute += free["row_factor"] * mapping.batch * occupied * per_row(kind, npt)
    compute += free["scan_neuron"] * step.scanned
    operations = value("update_operations")
    compute += np.where(step.updated > 0, operations * _elementwise(step.updated), 0.0)
    flags = value("flag_list") * step.lists + value("flag") * step.flags
    compute += value("workers") * flags + value("add_pair") * step.pairs
    return Phase(step.name, exchange, compute, sync)


def _elementwise(n):
    """In-place operation on n floats: poplibs' BinaryOp1D."""
    workers = value("workers")
    each = value("update_worker") + value("update_pair") * np.ceil(n / workers / 2)
    return value("supervisor") + workers * each


def _link_bytes(clock):
    """Bytes a cycle into an IPU over its links."""
    bits = value("links") * value("link_bandwidth") * value("link_efficiency")
    return bits / 8 / clock


def global_sync(mapping: Mapping) -> float:
    """Cycles that a barrier over several IPUs takes longer: poplibs' ladder of pairs."""
    if mapping.ipus == 1:
        return 0.0
    hops = 1 + mapping.ipus // int(value("hop_ipus"))
    return float(np.ceil(value("hop") * mapping.machine.clock * hops * value("hop_ways")))
