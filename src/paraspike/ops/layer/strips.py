"""The passes over time of a wide layer: strips of neurons, each walked sample by sample with its weights
in the second-level cache.

Row b T + t is sample b at step t. What a strip keeps for the way back lies in memory strip by strip.
"""

import functools

import numpy as np

from paraspike.ops.jit import njit
from paraspike.ops.lif.rows import ADJOINTS, STATES, advance, retreat
from paraspike.ops.simd import LANES, lanes_below, load, load_some, prefetch, store_some
from paraspike.ops.synapse.rows import add_row
from paraspike.ops.synapse.strips import (
    TILE,
    dot_strip,
    gather_strip,
    outer_strip,
    padded_rows,
    product_strip,
    put_strip,
    scatter_strip,
    take_strip,
    turn_strip,
)

# Rows of a product: their currents stay in the first-level cache.
ROWS = 128
# Rows between asking for a gradient and using it: each lies in another page.
_AHEAD = 6


@functools.cache
def forward_strips(option):
    @njit
    def forward(start, stop, dims, lists, tiles, product, weight, bias, c, patience, words, near, potential,
                adaptation, drives, place, totals):  # fmt: skip
        steps, batch, n_in, n, per_seed, delay, wide, shares = dims
        pointers, units, counts = lists
        strips, jump = -(-n // wide), (batch * steps + TILE) * LANES
        packed = np.empty(padded_rows(n_in) * wide, weight.dtype)
        begin, x = np.empty(wide, weight.dtype), np.empty(ROWS * wide, weight.dtype)
        state, w_step, held = np.empty(STATES * wide, weight.dtype), wide // LANES, -1
        for task in range(start, stop):
            where, share = task // shares, task % shares
            seed, strip = where // strips, where % strips
            left, right = strip * wide, min(n, (strip + 1) * wide)
            if where != held:
                take_strip(weight, seed * n_in * n, n_in, n, left, right, wide, packed)
                begin[:] = 0
                begin[: right - left] = bias[seed * n + left : seed * n + right]
                held = where
            low, high = share * per_seed // shares, (share + 1) * per_seed // shares
            low, high = (seed * per_seed + low) * steps, (seed * per_seed + high) * steps
            for r0 in range(low, high, ROWS):
                length = min(ROWS, high - r0)
                if product:
                    for r in range(-(-length // TILE) * TILE):
                        x[r * wide : (r + 1) * wide] = begin
                    pieces = padded_rows(n_in) // LANES
                    product_strip(tiles, r0 * LANES, LANES, jump, pieces, length, packed, wide, x)
                else:
                    for r in range(length):
                        row = max(0, r0 + r - delay)
                        gather_strip(begin, units, counts, pointers[row], pointers[row + 1], packed, wide,
                                     x, r * wide)  # fmt: skip
                b, t = r0 // steps, r0 % steps
                for r in range(length):
                    if t == 0:
                        state[:] = 0
                    if t < delay:
                        x[r * wide : (r + 1) * wide] = 0
                    word = (strip * (batch * steps - 1) + r0 + r) * w_step
                    kept = strip * place[0] + b * place[1] + t * place[2]
                    advance(
                        option, c, patience, t, x, r * wide - left, state, -left, wide, words, word,
                        w_step, near, potential, adaptation, drives, kept, totals, b * n, left, right,
                    )  # fmt: skip
                    t += 1
                    if t == steps:
                        b, t = b + 1, 0

    return forward


@functools.cache
def backward_strips(option):
    marked = option[-1]

    @njit
    def backward(start, stop, dims, lists, tiles, product, weight, c, patience, words, marks, potential,
                 adaptation, drives, place, grad, g_step, g_stride, total, of_weight, of_bias, near, dots,
                 sent):  # fmt: skip
        steps, batch, n_in, n, per_seed, delay, wide, _ = dims
        pointers, units, counts = lists
        near_pointers, near_units = near
        strips, jump = -(-n // wide), (batch * steps + TILE) * LANES
        found = np.zeros(padded_rows(n_in) * wide, potential.dtype)
        packed = np.empty(padded_rows(n_in) * wide if len(dots) else 0, potential.dtype)
        buffer, nothing = np.zeros(ROWS * wide, potential.dtype), np.zeros(wide, potential.dtype)
        state, w_step = np.empty(ADJOINTS * wide, potential.dtype), wide // LANES
        delta = sent if len(sent) else buffer
        for task in range(start, stop):
            seed, strip = task // strips, task % strips
            left, right = strip * wide, min(n, (strip + 1) * wide)
            found[:] = 0
            if len(dots):
                take_strip(weight, seed * n_in * n, n_in, n, left, right, wide, packed)
            low, high = seed * per_seed * steps, (seed + 1) * per_seed * steps
            for r0 in range(low + (high - low - 1) // ROWS * ROWS, low - 1, -ROWS):
                length = min(ROWS, high - r0)
                base = (strip * batch * steps + r0) * wide if len(sent) else 0
                # Columns beyond n, which take part in products.
                if right - left < wide:
                    delta[base : base + length * wide] = 0
                b, t = (r0 + length - 1) // steps, (r0 + length - 1) % steps
                for k in range(length):
                    r = length - 1 - k
                    if t == steps - 1:
                        state[:] = 0
                    arrived = t * g_step + b * g_stride
                    word = (strip * (batch * steps - 1) + r0 + r) * w_step
                    soon = arrived - _AHEAD * g_step
                    if t < _AHEAD:
                        soon += steps * g_step - g_stride
                    for j in range(left, right, LANES):
                        if marked != 2 or marks[max(0, word - _AHEAD * w_step + j // LANES)] != 0:
                            prefetch(grad, soon + j)
                    kept = strip * place[0] + b * place[1] + t * place[2]
                    retreat(
                        option, c, patience, t, grad, arrived, total, b * n, nothing, -left, state, -left,
                        wide, words, word, w_step, marks, potential, adaptation, drives, kept,
                        kept - min(t, 1) * place[2], delta, base + r * wide - left, left, right,
                    )  # fmt: skip
                    t -= 1
                    if t < 0:
                        b, t = b - 1, steps - 1
                if product:
                    outer_strip(tiles, r0 * LANES, jump, length, delta, base, found, n_in, wide)
                b, t = r0 // steps, r0 % steps
                for r in range(length):
                    if t >= delay:
                        row, at = r0 + r - delay, base + r * wide
                        if not product:
                            scatter_strip(delta, at, units, counts, pointers[row], pointers[row + 1], found,
                                          wide)  # fmt: skip
                        if len(of_bias):
                            add_row(delta, at - left, of_bias, seed * n, left, right)
                        if len(dots):
                            dot_strip(delta, at, near_units, near_pointers[row], near_pointers[row + 1],
                                      packed, wide, dots, strip * len(near_units))  # fmt: skip
                    t += 1
                    if t == steps:
                        b, t = b + 1, 0
            put_strip(found, wide, n_in, of_weight, seed * n_in * n, n, left, right)

    return backward


@njit
def collect_dots(start, stop, dims, near, dots, out):
    """The input's gradient [B, T, n_in] of samples start .. stop from the strips' shares of the dots with
    the weights of neurons in `near`, added strip by strip; zero for all others."""
    steps, batch, n_in, n, _, delay, wide, _ = dims
    pointers, units = near
    count, sums = len(units), np.empty(LANES, out.dtype)
    for b in range(start, stop):
        out[b * steps * n_in : (b + 1) * steps * n_in] = 0
        for t in range(steps - delay):
            row = b * steps + t
            o = row * n_in
            for e in range(pointers[row], pointers[row + 1], LANES):
                some = lanes_below(pointers[row + 1] - e)
                total = load_some(dots, e, some)
                for strip in range(1, -(-n // wide)):
                    total = total + load_some(dots, strip * count + e, some)
                store_some(sums, 0, total, some)
                for k in range(min(LANES, pointers[row + 1] - e)):
                    out[o + units[e + k]] = sums[k]


@njit
def send_strips(start, stop, dims, weight, delta, out):
    """The input's gradient [B, T, n_in] from delta [strips of neurons, B T, wide], in strips of inputs."""
    steps, batch, n_in, n, per_seed, delay, wide, shares = dims
    parts, pieces, jump = -(-n_in // wide), -(-n // wide), batch * steps * wide
    packed, held = np.empty(pieces * wide * wide, delta.dtype), -1
    x = np.empty(ROWS * wide, delta.dtype)
    for task in range(start, stop):
        where, share = task // shares, task % shares
        seed, part = where // parts, where % parts
        left, right = part * wide, min(n_in, (part + 1) * wide)
        if where != held:
            turn_strip(weight, seed * n_in * n, n, left, right, wide, packed)
            held = where
        low, high = share * per_seed // shares, (share + 1) * per_seed // shares
        low, high = (seed * per_seed + low) * steps, (seed * per_seed + high) * steps
        for r0 in range(low, high, ROWS):
            length = min(ROWS, high - r0)
            x[:] = 0
            product_strip(delta, r0 * wide, wide, jump, pieces, length, packed, wide, x)
            for r in range(length):
                t = (r0 + r) % steps
                if t >= delay:
                    o = (r0 + r - delay) * n_in
                    for j in range(left, right, LANES):
                        some = lanes_below(right - j)
                        store_some(out, o + j, load(x, r * wide + j - left), some)


@njit
def in_rows(start, stop, dims, words, out):
    """Bits of samples start .. stop from strips [strips, B T] to rows [T B, words of 64], both held as
    integers of a strip's width."""
    steps, batch, _, n, _, _, wide, _ = dims
    in_row = -(-n // 64) * 64 // wide
    for b in range(start, stop):
        for strip in range(-(-n // wide)):
            at = (strip * batch + b) * steps
            for t in range(steps):
                out[(t * batch + b) * in_row + strip] = words[at + t]
