"""Row kernels of a synapse: gather-sum and scatter over spikes, and register-blocked products.

A row is one sample at one time step. Both ways of doing a sum add the same terms in the same order, a
product merely adds zeros too, so choosing between them by density changes no bit.
"""

import numpy as np

from paraspike.ops.jit import njit
from paraspike.ops.simd import (
    LANES,
    fma,
    lanes_below,
    load32,
    load128,
    load_some,
    set_bits,
    set_lanes,
    splat,
    splat32,
    splat128,
    store,
    store_some,
    sum_lanes,
    to_bits,
    trailing_zeros,
)

STRIP = 32  # columns of a packed weight strip
_TILE = 8  # rows that share each load of a strip


@njit
def decode(words, first, n_words, found, at):
    """Write the units of the set bits of words[first : first + n_words], words of LANES bits, to
    found[at:], which needs room for LANES more; returns the end."""
    for k in range(n_words):
        word = words[first + k]
        store(found, at, set_lanes(word, k * LANES))
        at += set_bits(np.uint64(word))
    return at


@njit
def compress(line, first, n, found, values, at):
    """Write units and values of the non-zeros of line[first : first + n]; returns the end."""
    for j in range(0, n, LANES):
        v = load_some(line, first + j, lanes_below(n - j))
        word = np.uint64(to_bits(v != line.dtype.type(0)))
        while word != 0:
            unit = j + trailing_zeros(word)
            found[at] = unit
            values[at] = line[first + unit]
            at += 1
            word &= word - np.uint64(1)
    return at


@njit
def gather_row(begin, b0, events, counts, low, high, weight, w0, n, left, right, out, o0):
    """out[o0 + j] = begin[b0 + j] + sum over low <= k < high of counts[k] weight[w0 + events[k] n + j],
    left <= j < right."""
    j = left
    while right - j >= 128:
        total = load128(begin, b0 + j)
        for k in range(low, high):
            total = fma(splat128(counts[k]), load128(weight, w0 + events[k] * n + j), total)
        store(out, o0 + j, total)
        j += 128
    while right - j >= 32:
        part = load32(begin, b0 + j)
        for k in range(low, high):
            part = fma(splat32(counts[k]), load32(weight, w0 + events[k] * n + j), part)
        store(out, o0 + j, part)
        j += 32
    while j < right:
        some = lanes_below(right - j)
        rest = load_some(begin, b0 + j, some)
        for k in range(low, high):
            line = load_some(weight, w0 + events[k] * n + j, some)
            rest = fma(splat(counts[k]), line, rest)
        store_some(out, o0 + j, rest, some)
        j += LANES


@njit
def scatter_row(line, l0, events, counts, low, high, target, t0, n, left, right):
    """target[t0 + events[k] n + j] += counts[k] line[l0 + j], low <= k < high, left <= j < right."""
    j = left
    while right - j >= 128:
        whole = load128(line, l0 + j)
        for k in range(low, high):
            at = t0 + events[k] * n + j
            store(target, at, fma(splat128(counts[k]), whole, load128(target, at)))
        j += 128
    while right - j >= 32:
        part = load32(line, l0 + j)
        for k in range(low, high):
            at = t0 + events[k] * n + j
            store(target, at, fma(splat32(counts[k]), part, load32(target, at)))
        j += 32
    while j < right:
        some = lanes_below(right - j)
        rest = load_some(line, l0 + j, some)
        for k in range(low, high):
            at = t0 + events[k] * n + j
            store_some(target, at, fma(splat(counts[k]), rest, load_some(target, at, some)), some)
        j += LANES


@njit
def dot_row(line, l0, events, low, high, weight, w0, n, out, o0):
    """out[o0 + events[k]] = sum over j < n of line[l0 + j] weight[w0 + events[k] n + j], low <= k < high."""
    for k in range(low, high):
        at = w0 + events[k] * n
        j, wide = 0, splat32(line.dtype.type(0))
        while n - j >= 32:
            wide = fma(load32(line, l0 + j), load32(weight, at + j), wide)
            j += 32
        total = sum_lanes(wide)
        while j < n:
            some = lanes_below(n - j)
            total += sum_lanes(load_some(line, l0 + j, some) * load_some(weight, at + j, some))
            j += LANES
        out[o0 + events[k]] = total


@njit
def add_row(line, l0, target, t0, left, right):
    """target[t0 + j] += line[l0 + j], left <= j < right."""
    for j in range(left, right, LANES):
        some = lanes_below(right - j)
        total = load_some(target, t0 + j, some) + load_some(line, l0 + j, some)
        store_some(target, t0 + j, total, some)


@njit
def padded(n):
    """n columns filled up to whole strips; a packed weight [k, n] takes k times as many elements."""
    return -(-n // STRIP) * STRIP


@njit
def pack(weight, w0, k, n, row_step, column_step, packed, p0):
    """Weight [k, n] (element (q, j) at w0 + q row_step + j column_step) as strips of STRIP columns,
    [n / STRIP, k, STRIP], the last one filled up with zeros."""
    for s in range(0, n, STRIP):
        for q in range(k):
            at = p0 + s * k + q * STRIP
            for j in range(STRIP):
                packed[at + j] = (
                    weight[w0 + q * row_step + (s + j) * column_step]
                    if s + j < n
                    else packed.dtype.type(0)
                )


@njit
def product_rows(x, at_x, rows, k, packed, p0, begin, b0, left, right, out, at_out, spare):
    """out row r (at at_out[r]) = begin + x row r (at at_x[r], k long) times the packed weight, for
    columns left <= j < right, left a multiple of STRIP; `begin` is readable up to a whole strip."""
    last = rows - 1
    for s in range(left, right, STRIP):
        strip = p0 + s * k
        start = load32(begin, b0 + s)
        for r in range(0, rows, _TILE):
            x0, x1 = at_x[r], at_x[min(r + 1, last)]
            x2, x3 = at_x[min(r + 2, last)], at_x[min(r + 3, last)]
            x4, x5 = at_x[min(r + 4, last)], at_x[min(r + 5, last)]
            x6, x7 = at_x[min(r + 6, last)], at_x[min(r + 7, last)]
            c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = start
            for q in range(k):
                line = load32(packed, strip + q * STRIP)
                c0 = fma(splat32(x[x0 + q]), line, c0)
                c1 = fma(splat32(x[x1 + q]), line, c1)
                c2 = fma(splat32(x[x2 + q]), line, c2)
                c3 = fma(splat32(x[x3 + q]), line, c3)
                c4 = fma(splat32(x[x4 + q]), line, c4)
                c5 = fma(splat32(x[x5 + q]), line, c5)
                c6 = fma(splat32(x[x6 + q]), line, c6)
                c7 = fma(splat32(x[x7 + q]), line, c7)
            if right - s >= STRIP and rows - r >= _TILE:
                store(out, at_out[r] + s, c0)
                store(out, at_out[r + 1] + s, c1)
                store(out, at_out[r + 2] + s, c2)
                store(out, at_out[r + 3] + s, c3)
                store(out, at_out[r + 4] + s, c4)
                store(out, at_out[r + 5] + s, c5)
                store(out, at_out[r + 6] + s, c6)
                store(out, at_out[r + 7] + s, c7)
            else:
                store(spare, 0, c0)
                store(spare, STRIP, c1)
                store(spare, 2 * STRIP, c2)
                store(spare, 3 * STRIP, c3)
                store(spare, 4 * STRIP, c4)
                store(spare, 5 * STRIP, c5)
                store(spare, 6 * STRIP, c6)
                store(spare, 7 * STRIP, c7)
                for i in range(min(_TILE, rows - r)):
                    for j in range(min(STRIP, right - s)):
                        out[at_out[r + i] + s + j] = spare[i * STRIP + j]


@njit
def outer_rows(x, at_x, rows, k, line, at_line, target, t0, n, left, right):
    """target[t0 + i n + j] += sum over rows r of x[at_x[r] + i] line[at_line[r] + j], i < k,
    left <= j < right."""
    last = k - 1
    for i in range(0, k, _TILE):
        # Rows beyond the last are the last once more, stored before it is.
        o0, o1 = t0 + i * n, t0 + min(i + 1, last) * n
        o2, o3 = t0 + min(i + 2, last) * n, t0 + min(i + 3, last) * n
        o4, o5 = t0 + min(i + 4, last) * n, t0 + min(i + 5, last) * n
        o6, o7 = t0 + min(i + 6, last) * n, t0 + min(i + 7, last) * n
        i1, i2, i3 = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        i4, i5, i6 = min(i + 4, last), min(i + 5, last), min(i + 6, last)
        i7 = min(i + 7, last)
        j = left
        while right - j >= STRIP:
            w0, w1 = load32(target, o0 + j), load32(target, o1 + j)
            w2, w3 = load32(target, o2 + j), load32(target, o3 + j)
            w4, w5 = load32(target, o4 + j), load32(target, o5 + j)
            w6, w7 = load32(target, o6 + j), load32(target, o7 + j)
            for r in range(rows):
                u, a = load32(line, at_line[r] + j), at_x[r]
                w0 = fma(splat32(x[a + i]), u, w0)
                w1 = fma(splat32(x[a + i1]), u, w1)
                w2 = fma(splat32(x[a + i2]), u, w2)
                w3 = fma(splat32(x[a + i3]), u, w3)
                w4 = fma(splat32(x[a + i4]), u, w4)
                w5 = fma(splat32(x[a + i5]), u, w5)
                w6 = fma(splat32(x[a + i6]), u, w6)
                w7 = fma(splat32(x[a + i7]), u, w7)
            store(target, o7 + j, w7)
            store(target, o6 + j, w6)
            store(target, o5 + j, w5)
            store(target, o4 + j, w4)
            store(target, o3 + j, w3)
            store(target, o2 + j, w2)
            store(target, o1 + j, w1)
            store(target, o0 + j, w0)
            j += STRIP
        while j < right:
            some = lanes_below(right - j)
            for c in range(min(_TILE, k - i)):
                at = t0 + (i + c) * n + j
                total = load_some(target, at, some)
                for r in range(rows):
                    v = load_some(line, at_line[r] + j, some)
                    total = fma(splat(x[at_x[r] + i + c]), v, total)
                store_some(target, at, total, some)
            j += LANES
