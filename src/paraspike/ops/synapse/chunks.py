"""A synapse over a chunk: some time steps of a block of samples, small enough to stay in cache.

Row r = k * width + b of a chunk is sample first + b at step t0 + k. Its presynaptic activity comes as a
`source` (lists, bits or a dense raster), and is summed row by row where it is sparse, by a product
where it is dense; both give the same bits (`rows`).
"""

import numpy as np

from paraspike.ops.jit import njit
from paraspike.ops.simd import LANES, lanes_below, load_some, set_bits, to_bits
from paraspike.ops.synapse.rows import (
    STRIP,
    compress,
    decode,
    dot_row,
    gather_row,
    outer_rows,
    product_rows,
    scatter_row,
)

LISTS, BITS, DENSE = 0, 1, 2
# Share of non-zeros above which a product beats summing rows: 164 ns a row of 128 x 128 against 5 to 7 ns
# an event, measured on one core of a Zen 5 with both in cache.
PRODUCT_ABOVE = 0.2
# Share of presynaptic neurons within reach of their surrogate below which the gradient goes to these alone.
DOTS_BELOW = 0.25
# Rows of a chunk: their currents, with the weights beside them, fit the second-level cache.
ROWS = 128


@njit
def scratch(like, kind, rows, n_in):
    """Work space of one thread: (lows, highs, found, values, at_in, at_out, raster, spare)."""
    values = np.empty(rows * n_in, like.dtype)
    if kind == BITS:
        values[:] = 1
    return (
        np.empty(rows, np.int64),
        np.empty(rows, np.int64),
        np.empty(rows * n_in + LANES, np.int32),
        values,
        np.empty(rows, np.int64),
        np.empty(rows, np.int64),
        np.empty(rows * n_in, like.dtype),
        np.empty(8 * STRIP, like.dtype),
    )


@njit
def _count(source, n_in, step, steps, batch, first, width):
    """Non-zeros of the chunk's presynaptic activity."""
    kind, pointers, _, _, words, n_words, raster = source
    total = 0
    for t in range(step, step + steps):
        row = t * batch + first
        if kind == LISTS:
            total += pointers[row + width] - pointers[row]
        elif kind == BITS:
            for k in range(row * n_words, (row + width) * n_words):
                total += set_bits(np.uint64(words[k]))
        else:
            for j in range(row * n_in, (row + width) * n_in, LANES):
                v = load_some(raster, j, lanes_below((row + width) * n_in - j))
                total += set_bits(np.uint64(to_bits(v != raster.dtype.type(0))))
    return total


@njit
def _collect(source, n_in, step, steps, batch, first, width, room):
    """Where each row's events lie: in the source's own lists, or decoded into room's."""
    kind, pointers, _, _, words, n_words, raster = source
    lows, highs, found, values = room[0], room[1], room[2], room[3]
    at = 0
    for k in range(steps):
        for b in range(width):
            row, r = (step + k) * batch + first + b, k * width + b
            if kind == LISTS:
                lows[r], highs[r] = pointers[row], pointers[row + 1]
                continue
            lows[r] = at
            if kind == BITS:
                at = decode(words, row * n_words, n_words, found, at)
            else:
                at = compress(raster, row * n_in, n_in, found, values, at)
            highs[r] = at


@njit
def _spread(source, n_in, step, steps, batch, first, width, room):
    """The chunk's activity as dense rows: where each begins goes into room's `at_in`."""
    kind, _, units, counts, _, _, raster = source
    lows, highs, found, at_in, filled = room[0], room[1], room[2], room[4], room[6]
    if kind == DENSE:
        for k in range(steps):
            for b in range(width):
                at_in[k * width + b] = ((step + k) * batch + first + b) * n_in
        return
    _collect(source, n_in, step, steps, batch, first, width, room)
    filled[: steps * width * n_in] = 0
    for r in range(steps * width):
        at_in[r] = r * n_in
        for e in range(lows[r], highs[r]):
            if kind == LISTS:
                filled[r * n_in + units[e]] = counts[e]
            else:
                filled[r * n_in + found[e]] = 1


@njit
def currents(source, n_in, n, t0, steps, delay, batch, first, width, left, right, pitch,
             weight, w0, packed, p0, bias, bias0, room, out):  # fmt: skip
    """Input currents of the chunk into out[r pitch + j], left <= j < right; the first `delay` steps of
    all are zero, without even the bias: nothing has arrived yet. Returns whether by a product."""
    kind, _, units, counts, _, _, raster = source
    late = min(steps, max(0, delay - t0))
    out[: late * width * pitch] = 0
    steps, step = steps - late, t0 + late - delay
    rows, base = steps * width, late * width
    if rows <= 0:
        return False
    active = _count(source, n_in, step, steps, batch, first, width)
    if len(packed) > 0 and active > PRODUCT_ABOVE * rows * n_in:
        _spread(source, n_in, step, steps, batch, first, width, room)
        at_in, at_out, filled, spare = room[4], room[5], room[6], room[7]
        for r in range(rows):
            at_out[r] = (base + r) * pitch
        x = raster if kind == DENSE else filled
        product_rows(x, at_in, rows, n_in, packed, p0, bias, bias0, left, right, out, at_out, spare)
        return True
    _collect(source, n_in, step, steps, batch, first, width, room)
    lows, highs = room[0], room[1]
    events, times = (units, counts) if kind == LISTS else (room[2], room[3])
    for r in range(rows):
        o = (base + r) * pitch
        gather_row(
            bias, bias0, events, times, lows[r], highs[r], weight, w0, n, left, right, out, o
        )
    return False


@njit
def absorb(source, n_in, n, t0, steps, delay, batch, first, width, left, right, pitch, product,
           delta, room, target, target0):  # fmt: skip
    """Add the chunk's weight gradient, activity times delta, to target [n_in, n]."""
    kind, _, units, counts, _, _, raster = source
    late = min(steps, max(0, delay - t0))
    steps, step = steps - late, t0 + late - delay
    rows, base = steps * width, late * width
    if rows <= 0:
        return
    active = _count(source, n_in, step, steps, batch, first, width)
    if product and active > PRODUCT_ABOVE * rows * n_in:
        _spread(source, n_in, step, steps, batch, first, width, room)
        at_in, at_out, filled = room[4], room[5], room[6]
        for r in range(rows):
            at_out[r] = (base + r) * pitch
        x = raster if kind == DENSE else filled
        outer_rows(x, at_in, rows, n_in, delta, at_out, target, target0, n, left, right)
        return
    _collect(source, n_in, step, steps, batch, first, width, room)
    lows, highs = room[0], room[1]
    events, times = (units, counts) if kind == LISTS else (room[2], room[3])
    for r in range(rows):
        d = (base + r) * pitch
        scatter_row(delta, d, events, times, lows[r], highs[r], target, target0, n, left, right)


@njit
def send_back(delta, n, t0, steps, delay, total, batch, first, width, pitch, packed, p0, weight, w0, near,
              nothing, n_in, room, out):  # fmt: skip
    """The gradient of the presynaptic activity, into [B, T = total, n_in]: delta times the transposed
    weight. Where `near` has the bits of the neurons that can use it and they are few, zero for others."""
    late = min(steps, max(0, delay - t0))
    at_in, at_out, spare = room[4], room[5], room[7]
    if len(near) > 0 and steps > late:
        source = (BITS, at_in, room[2], room[3], near, 4 * -(-n_in // 64), out)
        step, length = t0 + late - delay, steps - late
        active = _count(source, n_in, step, length, batch, first, width)
        if active < DOTS_BELOW * length * width * n_in:
            _collect(source, n_in, step, length, batch, first, width, room)
            lows, highs, found = room[0], room[1], room[2]
            for k in range(length):
                for b in range(width):
                    r, o = k * width + b, ((first + b) * total + step + k) * n_in
                    out[o : o + n_in] = 0
                    d = (late * width + r) * pitch
                    dot_row(delta, d, found, lows[r], highs[r], weight, w0, n, out, o)
            return
    rows = 0
    for k in range(late, steps):
        for b in range(width):
            at_in[rows] = (k * width + b) * pitch
            at_out[rows] = ((first + b) * total + t0 + k - delay) * n_in
            rows += 1
    if rows:
        product_rows(delta, at_in, rows, n, packed, p0, nothing, 0, 0, n_in, out, at_out, spare)
