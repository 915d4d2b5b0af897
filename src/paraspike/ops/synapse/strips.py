"""A synapse over one strip of columns: the weights of `wide` neighbouring neurons, packed row after row.

A wide layer's weights do not fit the second-level cache; a strip of them does, and all rows of activity
pass over it before the next. Packed strips have no edges: what lies beyond the weight is zero. As in
`rows`, a sum over events and a product add the same terms in the same order.
"""

from paraspike.ops.jit import njit
from paraspike.ops.simd import (
    LANES,
    fma,
    lanes_below,
    load,
    load32,
    load64,
    load_some,
    prefetch,
    prefetch_to_write,
    splat32,
    splat64,
    store,
    store_some,
    sum_lanes,
)

# Rows of a product that share each load of a strip, and its columns in registers.
TILE, COLUMNS = 8, 32
# Packed rows that pass over all rows of x before the next.
_DEPTH = 256
# Rows of weights asked for ahead: each lies in another page, which hardware does not foresee.
_AHEAD = 24


@njit
def padded_rows(n_in):
    """Rows of a packed strip and of tiles of activity: n_in filled up to whole vectors."""
    return -(-n_in // LANES) * LANES


@njit
def take_strip(weight, w0, n_in, n, left, right, wide, packed):
    """Columns left .. right of weight [n_in, n] into packed [padded_rows(n_in), wide]."""
    for q in range(n_in):
        at = w0 + q * n
        for j in range(left, left + wide, LANES):
            prefetch(weight, at + _AHEAD * n + j)
            line = load_some(weight, at + j, lanes_below(right - j))
            store(packed, q * wide + j - left, line)
    packed[n_in * wide : padded_rows(n_in) * wide] = 0


@njit
def turn_strip(weight, w0, n, first, last, wide, packed):
    """Rows first .. last of weight [.., n], transposed, into packed [n filled up to whole strips, wide]."""
    for j0 in range(0, -(-n // wide) * wide, LANES):
        some = min(LANES, n - j0)
        for i in range(wide):
            at = w0 + (first + i) * n + j0
            prefetch(weight, at + LANES)
            for j in range(LANES):
                inside = first + i < last and j < some
                packed[(j0 + j) * wide + i] = weight[at + j] if inside else packed.dtype.type(0)


@njit
def put_strip(packed, wide, n_in, target, t0, n, left, right):
    """The inverse of `take_strip`."""
    for q in range(n_in):
        at = t0 + q * n
        for j in range(left, right, LANES):
            prefetch_to_write(target, at + _AHEAD * n + j)
            store_some(target, at + j, load(packed, q * wide + j - left), lanes_below(right - j))


@njit(forceinline=True)
def gather_strip(begin, events, counts, low, high, packed, wide, out, o0):
    """out[o0 : o0 + wide] = begin + sum over low <= k < high of counts[k] times row events[k]."""
    if wide == 64:
        total = load64(begin, 0)
        for k in range(low, high):
            total = fma(splat64(counts[k]), load64(packed, events[k] * 64), total)
        store(out, o0, total)
        return
    part = load32(begin, 0)
    for k in range(low, high):
        part = fma(splat32(counts[k]), load32(packed, events[k] * 32), part)
    store(out, o0, part)


@njit(forceinline=True)
def scatter_strip(line, l0, events, counts, low, high, target, wide):
    """Row events[k] of target += counts[k] line[l0 : l0 + wide], low <= k < high."""
    if wide == 64:
        whole = load64(line, l0)
        for k in range(low, high):
            at = events[k] * 64
            store(target, at, fma(splat64(counts[k]), whole, load64(target, at)))
        return
    part = load32(line, l0)
    for k in range(low, high):
        at = events[k] * 32
        store(target, at, fma(splat32(counts[k]), part, load32(target, at)))


@njit(forceinline=True)
def dot_strip(line, l0, events, low, high, packed, wide, out, o0):
    """out[o0 + k] = line[l0 : l0 + wide] times row events[k], low <= k < high."""
    first, second = load(line, l0), load(line, l0 + LANES)
    if wide == 64:
        third, fourth = load(line, l0 + 2 * LANES), load(line, l0 + 3 * LANES)
        for k in range(low, high):
            at = events[k] * 64
            total = fma(second, load(packed, at + LANES), first * load(packed, at))
            total = fma(third, load(packed, at + 2 * LANES), total)
            total = fma(fourth, load(packed, at + 3 * LANES), total)
            out[o0 + k] = sum_lanes(total)
        return
    for k in range(low, high):
        at = events[k] * 32
        out[o0 + k] = sum_lanes(fma(second, load(packed, at + LANES), first * load(packed, at)))


@njit
def product_strip(x, x0, w, jump, pieces, rows, packed, wide, out):
    """out[r wide + j] += sum over k of x row r times packed row k, for rows filled up to whole tiles.

    Element k = p w + q of x row r lies at x0 + p jump + r w + q, p < pieces.
    """
    deep = max(1, _DEPTH // w)
    for p0 in range(0, pieces, deep):
        for r in range(0, rows, TILE):
            for j in range(0, wide, COLUMNS):
                o, b = r * wide + j, p0 * w * wide + j
                c0, c1 = load32(out, o), load32(out, o + wide)
                c2, c3 = load32(out, o + 2 * wide), load32(out, o + 3 * wide)
                c4, c5 = load32(out, o + 4 * wide), load32(out, o + 5 * wide)
                c6, c7 = load32(out, o + 6 * wide), load32(out, o + 7 * wide)
                for p in range(p0, min(p0 + deep, pieces)):
                    at = x0 + p * jump + r * w
                    for i in range(at, at + w):
                        line = load32(packed, b)
                        b += wide
                        c0 = fma(splat32(x[i]), line, c0)
                        c1 = fma(splat32(x[i + w]), line, c1)
                        c2 = fma(splat32(x[i + 2 * w]), line, c2)
                        c3 = fma(splat32(x[i + 3 * w]), line, c3)
                        c4 = fma(splat32(x[i + 4 * w]), line, c4)
                        c5 = fma(splat32(x[i + 5 * w]), line, c5)
                        c6 = fma(splat32(x[i + 6 * w]), line, c6)
                        c7 = fma(splat32(x[i + 7 * w]), line, c7)
                store(out, o, c0)
                store(out, o + wide, c1)
                store(out, o + 2 * wide, c2)
                store(out, o + 3 * wide, c3)
                store(out, o + 4 * wide, c4)
                store(out, o + 5 * wide, c5)
                store(out, o + 6 * wide, c6)
                store(out, o + 7 * wide, c7)


@njit
def outer_strip(tiles, x0, jump, rows, line, l0, target, n_in, wide):
    """target[i wide + j] += sum over r < rows of x[r, i] line[l0 + r wide + j], for i < padded_rows(n_in);
    element i = 16 p + q of x row r lies at x0 + p jump + 16 r + q."""
    for i in range(0, padded_rows(n_in), TILE):
        for j in range(0, wide, COLUMNS):
            o, at, l1 = i * wide + j, x0 + i // LANES * jump + i % LANES, l0 + j
            c0, c1 = load32(target, o), load32(target, o + wide)
            c2, c3 = load32(target, o + 2 * wide), load32(target, o + 3 * wide)
            c4, c5 = load32(target, o + 4 * wide), load32(target, o + 5 * wide)
            c6, c7 = load32(target, o + 6 * wide), load32(target, o + 7 * wide)
            for _ in range(rows):
                u = load32(line, l1)
                c0 = fma(splat32(tiles[at]), u, c0)
                c1 = fma(splat32(tiles[at + 1]), u, c1)
                c2 = fma(splat32(tiles[at + 2]), u, c2)
                c3 = fma(splat32(tiles[at + 3]), u, c3)
                c4 = fma(splat32(tiles[at + 4]), u, c4)
                c5 = fma(splat32(tiles[at + 5]), u, c5)
                c6 = fma(splat32(tiles[at + 6]), u, c6)
                c7 = fma(splat32(tiles[at + 7]), u, c7)
                at += LANES
                l1 += wide
            store(target, o, c0)
            store(target, o + wide, c1)
            store(target, o + 2 * wide, c2)
            store(target, o + 3 * wide, c3)
            store(target, o + 4 * wide, c4)
            store(target, o + 5 * wide, c5)
            store(target, o + 6 * wide, c6)
            store(target, o + 7 * wide, c7)
