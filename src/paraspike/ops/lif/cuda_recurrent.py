"""A recurrent LIF layer in Triton: all time steps in one launch, the recurrent weights read from cache.

A program walks whole samples, all N neurons of them in registers, so that the spikes of one step reach the
next through the program's own memory, behind a barrier, and no program waits for another. Forward, one
sample a program sums the weight rows of the neurons that spiked; backward, a block of samples multiplies
with the transposed weights (`tl.dot`), or one sample sums rows likewise. Samples of two seeds never share
a program, and sums run in an order that follows from N alone.
"""

import triton
import triton.language as tl

from paraspike.ops.lif.cuda_memory import EVERY, busy_word, fired, fired_before, keep, only, recall
from paraspike.ops.lif.cuda_steps import (
    advance,
    at_rest,
    coefficients,
    retreat,
    surrogate_coefficients,
)


@triton.jit
def weigh(source, weight, n, cols, BLOCK_N: tl.constexpr, ROWS: tl.constexpr):
    """sum_k source[k] weight[k, cols]: rows whose source is zero are not read."""
    dtype: tl.constexpr = weight.dtype.element_ty
    r = tl.arange(0, ROWS)
    total = tl.zeros((ROWS, BLOCK_N), dtype)
    # Unrolled, so that several rows are on their way at once: each waits for its source.
    for k in tl.range(0, n, ROWS, loop_unroll_factor=4):
        v = tl.load(source + k + r, mask=k + r < n, other=0.0)
        there = (v != 0.0)[:, None] & (cols < n)[None, :]
        rows = tl.load(weight + (k + r)[:, None] * n + cols[None, :], mask=there, other=0.0)
        total = tl.fma(tl.broadcast_to(v[:, None], (ROWS, BLOCK_N)), rows, total)
    return tl.sum(total, 0)


@triton.jit
def multiply(source, weight, n, b, inside, cols, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr,
             BLOCK_K: tl.constexpr):  # fmt: skip
    """source [BLOCK_B, n], rows n apart, times weight [n, n], in full precision."""
    dtype: tl.constexpr = weight.dtype.element_ty
    total = tl.zeros((BLOCK_B, BLOCK_N), dtype)
    inner = tl.arange(0, BLOCK_K)
    for k in range(0, n, BLOCK_K):
        some = (k + inner) < n
        left = tl.load(source + b[:, None] * n + (k + inner)[None, :],
                       mask=inside[:, None] & some[None, :], other=0.0)  # fmt: skip
        right = tl.load(weight + (k + inner)[:, None] * n + cols[None, :],
                        mask=some[:, None] & (cols < n)[None, :], other=0.0)  # fmt: skip
        total = tl.dot(left, right, total, input_precision="ieee", out_dtype=dtype)
    return total


@triton.jit(do_not_specialize=["steps", "batch", "per_seed", "n", "patience"])
def forward(x_ptr, spikes, potential, extra, drives, words, weight, c, steps, batch, per_seed, n, patience,
            OPTION: tl.constexpr, KEEP: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """One sample a program; arguments as `cuda_kernels.forward`, `weight` [S, n, n]."""
    factors = coefficients(c)
    sample = tl.program_id(0)
    cols = tl.arange(0, BLOCK_N)
    ok = cols < n
    m = tl.cast(batch, tl.int64) * n
    weight += tl.cast(sample // per_seed, tl.int64) * n * n
    now = at_rest(tl.zeros((BLOCK_N,), x_ptr.dtype.element_ty))
    word = tl.zeros((BLOCK_N,), tl.int32)
    row = tl.cast(sample, tl.int64) * n
    column = row + cols
    at = row
    for step in range(0, steps):
        t = tl.cast(step, tl.int32)
        x = tl.load(x_ptr + at + cols, mask=ok, other=0.0)
        if t > 0:
            x += weigh(spikes + at - m, weight, n, cols, BLOCK_N, ROWS)
        a = now[2]
        done, now = advance(x, now, patience, factors, OPTION)
        s, u, v, drive, busy = done
        tl.store(spikes + at + cols, s, mask=ok)
        if KEEP == 1:
            keep(potential, extra, drives, at + cols, ok, u, v, a, drive, OPTION)
            if (OPTION >> 5) & 3:
                word = word | (busy.to(tl.int32) << (t % EVERY))
                full = ((t + 1) % EVERY == 0) | (t == steps - 1)
                tl.store(words + (t // EVERY) * m + column, word, mask=only(ok, full))
                word = tl.where((t + 1) % EVERY == 0, 0, word)
        at += m
        # The next step reads these spikes in another layout.
        tl.debug_barrier()


@triton.jit(do_not_specialize=["steps", "batch", "per_seed", "n"])
def backward(grad, potential, extra, drives, words, turned, out, c, steps, batch, per_seed, n,
             OPTION: tl.constexpr, LOCAL: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr,
             ROWS: tl.constexpr):  # fmt: skip
    """BLOCK_B samples of one seed a program; `turned` [S, n, n] holds the transposed weights.

    LOCAL: nothing goes back through the recurrent spikes.
    """
    factors, surrogate = coefficients(c), surrogate_coefficients(c)
    threshold, beta = factors[5], factors[6]
    blocks = (per_seed + BLOCK_B - 1) // BLOCK_B
    seed = tl.program_id(0) // blocks
    b = (tl.program_id(0) % blocks) * BLOCK_B + tl.arange(0, BLOCK_B)
    inside = b < per_seed
    cols = tl.arange(0, BLOCK_N)
    ok = inside[:, None] & (cols < n)[None, :]
    m = tl.cast(batch, tl.int64) * n
    turned += tl.cast(seed, tl.int64) * n * n
    first = tl.cast(seed, tl.int64) * per_seed * n
    column = first + b[:, None] * n + cols[None, :]
    row = tl.cast(steps - 1, tl.int64) * m
    zero = tl.zeros((BLOCK_B, BLOCK_N), out.dtype.element_ty)
    back = zero, zero, zero, zero, zero
    u, v = recall(potential, extra, row + column, ok, threshold, beta, OPTION)
    busy = busy_word(words, steps - 1, m, column, ok, OPTION) & 1
    hot = fired(v, busy, OPTION)
    drive = zero
    for k in range(0, steps):
        t = steps - 1 - k
        then = row - tl.where(t > 0, m, 0) + column
        u_before, v_before = recall(potential, extra, then, ok, threshold, beta, OPTION)
        busy_before = busy_word(words, tl.maximum(t - 1, 0), m, column, ok, OPTION) & 1
        hot_before = fired_before(fired(v_before, busy_before, OPTION), t, OPTION)
        g = tl.load(grad + row + column, mask=ok, other=0.0)
        if (OPTION >> 9) & 1:
            drive = tl.load(drives + row + column, mask=ok, other=0.0)
        if LOCAL == 0:  # noqa: SIM102 (one is known when compiled, the other is not)
            if k > 0:
                sent = out + row + m + first
                if BLOCK_B == 1:
                    sent += (tl.program_id(0) % blocks) * n
                    g += weigh(sent, turned, n, cols, BLOCK_N, ROWS)[None, :]
                else:
                    g += multiply(sent, turned, n, b, inside, cols, BLOCK_B, BLOCK_N, ROWS)
        seen = u, v, drive, hot, busy != 0
        given, back = retreat(g, back, seen, (u_before, hot_before), factors, surrogate, OPTION)
        tl.store(out + row + column, given, mask=ok)
        u, v, busy, hot = u_before, v_before, busy_before, hot_before
        row -= m
        # The next step reads this gradient in another layout.
        tl.debug_barrier()
