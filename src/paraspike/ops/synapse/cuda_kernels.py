"""Sums over index lists in Triton, without atomics: every result is one program's sum in a fixed order.

Only widths (N_in, N_out) are specialised on, for the sake of whole-vector loads; numbers of steps, samples
and rows are not, so that none of these compiles a kernel again.
"""

import triton
import triton.language as tl

# Widest block of columns, a vector of four for each thread of a warp, and events added at a time.
_COLUMNS, _EVENTS = 128, 8
# Programs that fill a GPU a few times over; a weight gradient with fewer is split along its events.
_ENOUGH, _MOST_SPLITS = 2048, 16
# Parts at most that the sum over all rows of a seed is split into, and rows of a part at least; rows and steps
# of the loop under way at once, which is what keeps a GPU's memory busy; parts added up at a time.
_ROW_SPLITS, _LEAST, _ROWS, _STAGES, _PARTS = 128, 128, 32, 3, 16


@triton.jit(do_not_specialize=["batch", "per_seed", "delay"])
def currents(weight, bias, pointers, units, counts, out, batch, per_seed, delay, n_in, n,
             BIASED: tl.constexpr, EVENTS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """out[r] = bias + sum of counts times weight rows over the events of row r - delay * batch."""
    row = tl.program_id(0).to(tl.int64)
    seed = row % batch // per_seed
    source = row - tl.cast(delay, tl.int64) * batch
    col = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = col < n
    real = out.dtype.element_ty
    low = tl.load(pointers + source, mask=source >= 0, other=0)
    high = tl.load(pointers + source + 1, mask=source >= 0, other=0)
    total = tl.zeros([COLUMNS], real)
    if BIASED:
        total = tl.load(bias + seed * n + col, mask=within, other=0).to(real)
        # Nothing has arrived in the first steps, not even the bias.
        total = tl.where(source >= 0, total, tl.zeros([COLUMNS], real))
    base = weight + seed * n_in * n
    for first in range(low, high, EVENTS):
        at = first + tl.arange(0, EVENTS)
        valid = at < high
        unit = tl.load(units + at, mask=valid, other=0).to(tl.int64)
        count = tl.load(counts + at, mask=valid, other=0).to(real)
        places = base + unit[:, None] * n + col[None, :]
        lines = tl.load(places, mask=valid[:, None] & within[None, :], other=0).to(real)
        total += tl.sum(count[:, None] * lines, axis=0)
    tl.store(out + row * n + col, total, mask=within)


@triton.jit(do_not_specialize=["batch", "rows_in_all", "delay", "segments", "splits"])
def weight_sums(grad, pointers, rows, counts, out, batch, rows_in_all, delay, segments, splits, n,
                EVENTS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """out[k, q] = sum of counts times grad rows over the k-th part of the events of neuron q."""
    segment = tl.program_id(0).to(tl.int64)
    part = tl.program_id(2)
    col = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = col < n
    real = out.dtype.element_ty
    low, high = tl.load(pointers + segment), tl.load(pointers + segment + 1)
    share = (high - low + splits - 1) // splits
    low = low + part * share
    high = tl.minimum(high, low + share)
    late = tl.cast(delay, tl.int64) * batch
    total = tl.zeros([COLUMNS], real)
    for first in range(low, high, EVENTS):
        at = first + tl.arange(0, EVENTS)
        valid = at < high
        row = tl.load(rows + at, mask=valid, other=0).to(tl.int64) + late
        valid = valid & (row < rows_in_all)
        count = tl.load(counts + at, mask=valid, other=0).to(real)
        places = grad + row[:, None] * n + col[None, :]
        lines = tl.load(places, mask=valid[:, None] & within[None, :], other=0).to(real)
        total += tl.sum(count[:, None] * lines, axis=0)
    tl.store(out + (part.to(tl.int64) * segments + segment) * n + col, total, mask=within)


@triton.jit(do_not_specialize=["batch", "per_seed", "begin", "rows_of_seed", "share", "seeds"])
def row_sums(grad, out, batch, per_seed, begin, rows_of_seed, share, seeds, n,
             STAGES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """out[k, s] = sum over the k-th part of the rows of seed s, from row `begin` on."""
    seed, part = tl.program_id(0).to(tl.int64), tl.program_id(2)
    col = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = col < n
    real = out.dtype.element_ty
    low = begin + part * share
    high = tl.minimum(low + share, rows_of_seed)
    total = tl.zeros([ROWS, COLUMNS], real)
    for first in tl.range(low, high, ROWS, num_stages=STAGES):
        # 32 bits where a seed's rows fit them: a division of 64 costs more than the sum.
        q = first + tl.arange(0, ROWS)
        row = (q // per_seed).to(tl.int64) * batch + seed * per_seed + q % per_seed
        places = grad + row[:, None] * n + col[None, :]
        mask = (q < high)[:, None] & within[None, :]
        total += tl.load(places, mask=mask, other=0)
    place = (part.to(tl.int64) * seeds + seed) * n + col
    tl.store(out + place, tl.sum(total, axis=0), mask=within)


@triton.jit(do_not_specialize=["size", "parts_in_all"])
def add_parts(
    parts, out, size, parts_in_all, ADD: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr
):
    """out = (out +) the sum of all parts, each of `size` numbers; the same order for each number."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = at < size
    total = tl.zeros([PARTS, BLOCK], out.dtype.element_ty)
    for first in range(0, parts_in_all, PARTS):
        k = first + tl.arange(0, PARTS)
        places = parts + k[:, None].to(tl.int64) * size + at[None, :]
        total += tl.load(places, mask=(k < parts_in_all)[:, None] & within[None, :], other=0)
    made = tl.sum(total, axis=0)
    if ADD:
        made += tl.load(out + at, mask=within, other=0)
    tl.store(out + at, made, mask=within)


def columns_of(n: int) -> int:
    """Columns of a block, for rows of n."""
    return min(_COLUMNS, max(16, 1 << (n - 1).bit_length()))


def list_currents(weight, bias, lists, delay, seeds, out):
    """`currents` of `Resident` lists into out [T, B, N]; weight [S, N_in, N], bias [S, N] or None."""
    steps, batch, n = out.shape
    columns = columns_of(n)
    if out.numel():
        currents[steps * batch, -(-n // columns)](
            weight, weight if bias is None else bias, lists.row_pointers, lists.units, lists.counts, out,
            batch, batch // seeds, delay, weight.shape[1], n,
            BIASED=bias is not None, EVENTS=_EVENTS, COLUMNS=columns, num_warps=1,
        )  # fmt: skip


def list_weight_sums(grad, lists, delay, seeds, out):
    """Activity times grad [T, B, N], summed over steps and samples, into out [S, N_in, N]."""
    steps, batch, n_in = lists.shape
    n, columns = out.shape[2], columns_of(out.shape[2])
    if not out.numel():
        return
    pointers, rows, counts = lists.by_unit(seeds)
    # From the widths of one seed alone, so that others beside it change no bit.
    programs = n_in * -(-n // columns)
    splits = min(_MOST_SPLITS, max(1, _ENOUGH // programs))
    parts = out if splits == 1 else out.new_empty(splits, *out.shape)
    weight_sums[seeds * n_in, -(-n // columns), splits](
        grad, pointers, rows, counts, parts, batch, steps * batch, delay, seeds * n_in, splits, n,
        EVENTS=_EVENTS, COLUMNS=columns, num_warps=1,
    )  # fmt: skip
    if splits > 1:
        sum_parts(parts, out)


def seed_sums(grad, delay, seeds, out):
    """grad [T, B, N] summed over steps from `delay` on and each seed's samples, into out [S, N]."""
    steps, batch, n = grad.shape
    if not out.numel():
        return
    columns, per_seed = columns_of(n), batch // seeds
    begin, rows = min(delay, steps) * per_seed, steps * per_seed
    # From the rows of one seed alone, as above.
    splits = max(1, min(_ROW_SPLITS, (rows - begin) // _LEAST))
    parts = out if splits == 1 else out.new_empty(splits, *out.shape)
    row_sums[seeds, -(-n // columns), splits](
        grad, parts, batch, max(1, per_seed), begin, rows, -(-(rows - begin) // splits), seeds, n,
        STAGES=_STAGES, ROWS=_ROWS, COLUMNS=columns, num_warps=4,
    )  # fmt: skip
    if splits > 1:
        sum_parts(parts, out)


def sum_parts(parts, out, add=False):
    """Parts [K, ...] added up in one order, into or onto out [...]."""
    size, block = out.numel(), 128
    if size:
        add_parts[(-(-size // block),)](
            parts, out, size, len(parts), ADD=add, PARTS=_PARTS, BLOCK=block, num_warps=4
        )
