"""A whole activity in the two forms a wide layer takes: index lists, and tiles for products."""

import functools

import numpy as np
import torch

from paraspike.buffers import borrow
from paraspike.ops.jit import njit
from paraspike.ops.simd import (
    LANES,
    from_bits,
    lanes_below,
    load_some,
    select,
    set_bits,
    splat,
    store,
    to_bits,
)
from paraspike.ops.synapse.chunks import BITS, DENSE, LISTS
from paraspike.ops.synapse.rows import compress, decode
from paraspike.ops.synapse.strips import TILE
from paraspike.threads import run_blocks

# Words of bits, or events, from which a second thread is worth waking.
_WORTH = 1 << 16


def grain(work, size):
    """Grain of `run_blocks` for so much work shared evenly by `size` indices."""
    return max(1, _WORTH * size // max(1, work))


class Activity:
    """Activity [T, B, N] held as a `source`; here row b T + t is sample b at step t, as a wide layer walks."""

    def __init__(self, source, shape):
        self.source, self.shape = source, shape
        steps, batch, n = shape
        self.pointers = np.zeros(batch * steps + 1, np.int64)
        words = 0 if source[0] == LISTS else steps * batch * n // 64
        few = grain(words, batch) if source[0] != DENSE else 1
        run_blocks(_count, batch, source, shape, self.pointers, grain=few)
        np.cumsum(self.pointers, out=self.pointers)
        self.events = int(self.pointers[-1])
        self.density = self.events / max(1, steps * batch * n)

    @functools.cached_property
    def lists(self):
        """(row pointers, units, counts)."""
        units, counts = np.empty(self.events, np.int32), np.ones(self.events, self.source[6].dtype)
        steps, batch, n = self.shape
        few = grain(self.events + steps * batch * n // 64, batch)
        run_blocks(_fill, batch, self.source, self.shape, self.pointers, units, counts, grain=few)
        return self.pointers, units, counts

    def tiles(self, delay):
        """[N / 16, B T + some rows, 16], zeros beyond N; row b T + t holds the activity of step t - delay."""
        steps, batch, n = self.shape
        real = self.source[6].dtype
        dtype = torch.float64 if real == np.float64 else torch.float32
        tiles = borrow((-(-n // LANES), batch * steps + TILE, LANES), dtype).numpy()
        run_blocks(_tile, batch, self.source, self.shape, delay, tiles.reshape(-1))
        return tiles.reshape(-1)


@njit
def _count(start, stop, source, shape, pointers):
    """Non-zeros of the rows of samples start .. stop into pointers[row + 1]."""
    kind, given, _, _, words, n_words, raster = source
    steps, batch, n = shape
    for b in range(start, stop):
        for t in range(steps):
            row, total = t * batch + b, 0
            if kind == LISTS:
                total = given[row + 1] - given[row]
            elif kind == BITS:
                for k in range(row * n_words, (row + 1) * n_words):
                    total += set_bits(np.uint64(words[k]))
            else:
                for j in range(0, n, LANES):
                    v = load_some(raster, row * n + j, lanes_below(n - j))
                    total += set_bits(np.uint64(to_bits(v != raster.dtype.type(0))))
            pointers[b * steps + t + 1] = total


@njit
def _fill(start, stop, source, shape, pointers, units, counts):
    """Units and counts, which bits leave as they are, of the rows of samples start .. stop."""
    kind, given, all_units, all_counts, words, n_words, raster = source
    steps, batch, n = shape
    # Decoding writes whole vectors, which would spill into another thread's rows.
    found, values = np.empty(n + LANES, np.int32), np.empty(n, raster.dtype)
    for b in range(start, stop):
        for t in range(steps):
            row, at, low = t * batch + b, pointers[b * steps + t], 0
            end = pointers[b * steps + t + 1] - at
            if kind == LISTS:
                low = given[row]
                for k in range(end):
                    units[at + k], counts[at + k] = all_units[low + k], all_counts[low + k]
            elif kind == BITS:
                decode(words, row * n_words, n_words, found, 0)
                for k in range(end):
                    units[at + k] = found[k]
            else:
                compress(raster, row * n, n, found, values, 0)
                for k in range(end):
                    units[at + k], counts[at + k] = found[k], values[k]


@njit
def _tile(start, stop, source, shape, delay, tiles):
    """Tiles of samples start .. stop."""
    kind, pointers, units, counts, words, n_words, raster = source
    steps, batch, n = shape
    jump = (batch * steps + TILE) * LANES
    zero, one = splat(raster.dtype.type(0)), splat(raster.dtype.type(1))
    for b in range(start, stop):
        for p in range(-(-n // LANES)):
            at = p * jump + b * steps * LANES
            for t in range(steps):
                row, line = (t - delay) * batch + b, zero
                if t >= delay and kind == BITS:
                    line = select(from_bits(words[row * n_words + p]), one, zero)
                elif t >= delay and kind == DENSE:
                    line = load_some(raster, row * n + p * LANES, lanes_below(n - p * LANES))
                store(tiles, at + t * LANES, line)
        if kind == LISTS:
            for t in range(delay, steps):
                row, at = (t - delay) * batch + b, (b * steps + t) * LANES
                for e in range(pointers[row], pointers[row + 1]):
                    unit = units[e]
                    tiles[unit // LANES * jump + at + unit % LANES] = counts[e]
