"""The program: supersteps of one time step, forward and backward, and what each asks of every tile.

A superstep is an exchange (bytes each tile receives), a barrier, and local computation (rows of weights
walked, neurons scanned, states updated, flags compacted, partial sums added). `execute` runs the steps by
name; `cost` turns the same list into cycles. Phases follow the fact sheet, sections 1.3 and 1.4.
"""

from dataclasses import dataclass, field

import numpy as np

from paraspike.ipu.constants import value
from paraspike.ipu.mapping import Mapping


@dataclass
class Superstep:
    """One superstep; arrays are [ipus, tiles].

    Attributes:
        name: of the executor's method.  received: bytes a tile gets before it computes.
        crossing: bytes that enter each IPU over its links [ipus].
        rows: list entries a tile walks, by what an entry costs; each an array of capacities (slots), all
            samples: {"gather": ...}.  per_row: cycles of an entry.
        scanned: neurons compacted on a tile, one after another.  updated: states updated on a tile.
        lists, flags: lists of states a worker of the tile compacts, one after another, and the flags in
            them.  pairs: pairs of floats of partial sums that a tile adds.
    """

    name: str
    received: np.ndarray
    crossing: np.ndarray
    rows: dict = field(default_factory=dict)
    scanned: np.ndarray | None = None
    updated: np.ndarray | None = None
    lists: np.ndarray | None = None
    flags: np.ndarray | None = None
    pairs: np.ndarray | None = None


def per_row(kind: str, per_tile: int) -> float:
    """Cycles for one list entry on a tile with `per_tile` neurons, by poplibs' formulas."""
    if kind == "scan":
        return value("scan_entry")
    if kind == "scatter":
        return value("scatter_row") + value("scatter_float") * max(0, per_tile - 2)
    return value("gather_row") + value("gather_pair") * -(-per_tile // 2)


def _pairs(entries: int, tiles: int) -> int:
    """Pairs of floats of a tile's share of the entries."""
    share = -(-entries // tiles)
    return -(-share // 2)


class Program:
    """Supersteps of a time step for a mapped network.

    Args:
        mapping: where every layer lies.
        delay: steps between a layer's spikes and their arrival at the next. With 1 or more all layers
            take part in the same supersteps; with 0 they go through them one after another.

    Attributes:
        group: tiles whose partial sums are added up first, before those of groups are; each of them adds
            its share of the entries (fact sheet, section 1.4: groups of half a batch).
    """

    def __init__(self, mapping: Mapping, delay: int = 1):
        self.mapping, self.delay = mapping, delay
        self.group = max(1, mapping.batch // 2)
        together = [range(len(mapping.blocks))]
        turns = together if delay else [[layer] for layer in range(len(mapping.blocks))]
        self.forward = [(turn, step) for turn in turns for step in self._forward(turn)]
        self.backward = [(turn, step) for turn in turns[::-1] for step in self._backward(turn)]

    def _empty(self, name):
        m = self.mapping
        shape = (m.ipus, m.machine.tiles)
        zero = lambda: np.zeros(shape, np.int64)  # noqa: E731
        crossing, counts = np.zeros(m.ipus, np.int64), [zero() for _ in range(5)]
        return Superstep(name, zero(), crossing, {}, *counts)

    def _forward(self, layers):
        broadcast, gather, update = map(self._empty, ("broadcast", "gather", "update"))
        compact, combine, store = map(self._empty, ("compact", "combine", "store"))
        batch, word, workers = self.mapping.batch, int(value("word")), int(value("workers"))
        for layer in layers:
            block = self.mapping.blocks[layer]
            at = self._at(block)
            broadcast.received[at] += word * batch * (block.slots_in + 2)
            self._cross(broadcast, layer, word * batch * (block.slots_in + 2))
            self._rows(gather, "gather", layer, block.slots_in)
            update.updated[at] += batch * block.per_tile
            pieces = -(-block.n // (int(value("worker_states")) * workers))
            piece = -(-block.n // pieces)
            for job in range(2 * batch * pieces):
                tile = block.ipu, block.first_tile + job % block.tiles
                compact.received[tile] += word * piece
                compact.lists[tile] += 1
                compact.flags[tile] += -(-piece // workers)
            for job in range(2 * batch):
                tile = block.ipu, block.first_tile + job % block.tiles
                combine.received[tile] += word * block.n
                combine.scanned[tile] += block.n
            store.received[at] += -(-word * batch * (block.slots + 2) // block.tiles)
        return [broadcast, gather, update, compact, combine, store]

    def _backward(self, layers):
        recall, delta, scatter = map(self._empty, ("recall", "delta", "scatter"))
        products, first, second = map(self._empty, ("products", "reduce", "reduce_groups"))
        back = self._empty("send_back")
        batch, word = self.mapping.batch, int(value("word"))
        for layer in layers:
            block = self.mapping.blocks[layer]
            at = self._at(block)
            recall.received[at] += word * batch * (block.slots_in + 2 + block.slots + 2)
            self._cross(recall, layer, word * batch * (block.slots_in + 2))
            self._rows(delta, "scan", layer, block.slots, own=True)
            delta.updated[at] += batch * block.per_tile
            self._rows(scatter, "scatter", layer, block.slots_in)
            if layer == 0:
                continue
            self._rows(products, "product", layer, block.slots_in)
            entries, together = batch * block.slots_in, min(self.group, block.tiles)
            first.received[at] += word * entries
            first.pairs[at] += together * _pairs(entries, together)
            groups = -(-block.tiles // self.group)
            second.received[at] += -(-word * groups * entries // block.tiles)
            second.pairs[at] += groups * _pairs(entries, block.tiles)
            before = self.mapping.blocks[layer - 1]
            back.received[self._at(before)] += word * batch * block.slots_in
            if before.ipu != block.ipu:
                back.crossing[before.ipu] += word * batch * block.slots_in
        return [recall, delta, scatter, products, first, second, back]

    @staticmethod
    def _at(block):
        return block.ipu, slice(block.first_tile, block.first_tile + block.tiles)

    def _rows(self, step, kind, layer, slots, own=False):
        # The log has one size of input only: what its rows take is in the fixed cycles of a step.
        if layer or own:
            at = self._at(self.mapping.blocks[layer])
            step.rows.setdefault(kind, np.zeros_like(step.received))[at] = slots

    def _cross(self, step, layer, size):
        if layer and self.mapping.blocks[layer - 1].ipu != self.mapping.blocks[layer].ipu:
            step.crossing[self.mapping.blocks[layer].ipu] += size
