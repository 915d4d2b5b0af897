"""The LIF normal form over given input currents in Triton: all time steps in one launch, state in registers.

Activity is [T, M] with M = S*B*N neurons side by side, one a thread, so that every access is coalesced. No
dimension is a constexpr, nor specialised on; offsets are 64-bit. What the way back needs is either kept
(potentials) or walked again from states kept every `EVERY` steps (`backward_again`).
"""

import triton
import triton.language as tl

from paraspike.ops.lif.cuda_memory import (
    EVERY,
    busy_bit,
    fired,
    fired_before,
    keep,
    load_adjoint,
    load_state,
    only,
    recall,
    store_adjoint,
    store_state,
)
from paraspike.ops.lif.cuda_steps import advance, coefficients, retreat, surrogate_coefficients


@triton.jit(do_not_specialize=["first", "steps", "m", "patience"])
def forward(x_ptr, spikes, potential, extra, drives, words, state, c, first, steps, m, patience,
            OPTION: tl.constexpr, KEEP: tl.constexpr, CARRY: tl.constexpr, STAGES: tl.constexpr,
            BLOCK: tl.constexpr):  # fmt: skip
    """Steps first .. first + steps of BLOCK neurons.

    Args:
        x_ptr, spikes: [T, M].  potential, extra, drives: as `keep` stores them, [T, M].
        words: int32 [ceil(T / EVERY), M], a bit for each step in which a neuron was refractory.
        state: [6, M], where to go on from and where the last state goes (CARRY), or one for each EVERY steps.
        KEEP: 0 nothing, 1 potentials, 2 states.
    """
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = coefficients(c)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < m
    m = tl.cast(m, tl.int64)
    zero = tl.zeros((BLOCK,), x_ptr.dtype.element_ty)
    i, u, a, x_prev, s, left = zero, zero, zero, zero, zero, tl.zeros((BLOCK,), tl.int32)
    word = tl.zeros((BLOCK,), tl.int32)
    if CARRY:
        i, u, a, x_prev, s, left = load_state(state, n, m, ok, zero, OPTION)
        if KEEP == 1 and ((OPTION >> 5) & 3) != 0:
            # Not the first step of its word: the bits before were set by an earlier launch.
            going_on = only(ok, first % EVERY != 0)
            word = tl.load(words + (first // EVERY) * m + n, mask=going_on, other=0)
    at = tl.cast(first, tl.int64) * m + n
    for step in tl.range(0, steps, num_stages=STAGES):
        # Triton's interpreter counts in Python's integers.
        k = tl.cast(step, tl.int32)
        if KEEP == 2:
            begins = only(ok, k % EVERY == 0)
            base = tl.cast(k // EVERY, tl.int64) * 6 * m + n
            store_state(state, base, m, begins, i, u, a, x_prev, s, left, OPTION)
        x = tl.load(x_ptr + at, mask=ok, other=0.0)
        was = a
        s, before, v, drive, busy, i, u, a, x_prev, left = advance(
            x, i, u, a, x_prev, s, left, patience, a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho, OPTION
        )  # fmt: skip
        tl.store(spikes + at, s, mask=ok)
        if KEEP == 1:
            keep(potential, extra, drives, at, ok, before, v, was, drive, OPTION)
            if (OPTION >> 5) & 3:
                t = first + k
                word = word | (busy.to(tl.int32) << (t % EVERY))
                full = ((t + 1) % EVERY == 0) | (k == steps - 1)
                tl.store(words + (t // EVERY) * m + n, word, mask=only(ok, full))
                word = tl.where((t + 1) % EVERY == 0, 0, word)
        at += m
    if CARRY:
        store_state(state, n, m, ok, i, u, a, x_prev, s, left, OPTION)


@triton.jit(do_not_specialize=["first", "steps", "m"])
def backward(grad, potential, extra, drives, words, adjoint, out, c, first, steps, m,
             OPTION: tl.constexpr, CARRY: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Steps first + steps .. first, last one first, from kept potentials; `out` gets the gradient of x.

    Args:
        grad, out: [T, M].  potential, extra, drives, words: as `forward` stored them.
        adjoint: [5, M], where to go on from and where the last adjoint goes (CARRY).
    """
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = coefficients(c)
    slope, height, low, high = surrogate_coefficients(c)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < m
    m = tl.cast(m, tl.int64)
    zero = tl.zeros((BLOCK,), out.dtype.element_ty)
    d, to_i, to_a, to_x, to_s = zero, zero, zero, zero, zero
    if CARRY:
        d, to_i, to_a, to_x, to_s = load_adjoint(adjoint, n, m, ok)
    last = first + steps - 1
    at = tl.cast(last, tl.int64) * m + n
    u, v = recall(potential, extra, at, ok, threshold, beta, OPTION)
    busy = busy_bit(words, last, m, n, ok, OPTION)
    hot = fired(v, busy, OPTION)
    drive = zero
    for k in tl.range(0, steps, num_stages=STAGES):
        t = last - k
        # One step ahead: a late reset needs the spikes before, and each potential is read once. The first
        # step reads itself in vain, for a mask that changes from step to step makes loads ahead dear.
        then = at - tl.where(t > 0, m, 0)
        u_before, v_before = recall(potential, extra, then, ok, threshold, beta, OPTION)
        busy_before = busy_bit(words, tl.maximum(t - 1, 0), m, n, ok, OPTION)
        hot_before = fired_before(fired(v_before, busy_before, OPTION), t, OPTION)
        g = tl.load(grad + at, mask=ok, other=0.0)
        if (OPTION >> 9) & 1:
            drive = tl.load(drives + at, mask=ok, other=0.0)
        given, d, to_i, to_a, to_x, to_s = retreat(
            g, d, to_i, to_a, to_x, to_s, u, v, drive, hot, busy != 0, u_before, hot_before,
            a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho, slope, height, low, high, OPTION,
        )  # fmt: skip
        tl.store(out + at, given, mask=ok)
        u, v, busy, hot = u_before, v_before, busy_before, hot_before
        at -= m
    if CARRY:
        store_adjoint(adjoint, n, m, ok, d, to_i, to_a, to_x, to_s)


@triton.jit(do_not_specialize=["steps", "m", "patience"])
def backward_again(x_ptr, grad, potential, extra, drives, state, out, c, steps, m, patience,
                   OPTION: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """The way back that walks EVERY steps forward again, from the state kept before them, then back.

    Args:
        state: [ceil(T / EVERY), 6, M] as `forward` stored it.
        potential, extra, drives: scratch [EVERY + 1, M] that stays in the second-level cache, as do x's steps.
    """
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = coefficients(c)
    slope, height, low, high = surrogate_coefficients(c)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < m
    m = tl.cast(m, tl.int64)
    zero = tl.zeros((BLOCK,), out.dtype.element_ty)
    d, to_i, to_a, to_x, to_s = zero, zero, zero, zero, zero
    segments = (steps + EVERY - 1) // EVERY
    for back in range(0, segments):
        segment = segments - 1 - back
        begin = segment * EVERY
        length = tl.minimum(EVERY, steps - begin)
        base = tl.cast(segment, tl.int64) * 6 * m + n
        i, u, a, x_prev, s, left = load_state(state, base, m, ok, zero, OPTION)
        hot_first = s > 0
        u_first = u
        word = tl.zeros((BLOCK,), tl.int32)
        at = tl.cast(begin, tl.int64) * m + n
        slot = n.to(tl.int64)
        for k in tl.range(0, length, num_stages=STAGES):
            x = tl.load(x_ptr + at, mask=ok, other=0.0)
            was = a
            s, before, v, drive, busy, i, u, a, x_prev, left = advance(
                x, i, u, a, x_prev, s, left, patience, a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho,
                OPTION,
            )  # fmt: skip
            keep(potential, extra, drives, slot, ok, before, v, was, drive, OPTION)
            if (OPTION >> 5) & 3:
                word = word | (busy.to(tl.int32) << k)
            at += m
            slot += m
        # Each thread reads back what it wrote, unless the compiler gave loads another layout.
        tl.debug_barrier()
        at -= m
        slot -= m
        u, v = recall(potential, extra, slot, ok, threshold, beta, OPTION)
        bit = (word >> (length - 1)) & 1
        hot = fired(v, bit, OPTION)
        drive = zero
        for k in tl.range(0, length, num_stages=STAGES):
            t = length - 1 - k
            then = slot - tl.where(t > 0, m, 0)
            u_before, v_before = recall(potential, extra, then, ok, threshold, beta, OPTION)
            bit_before = (word >> tl.maximum(t - 1, 0)) & 1
            hot_before = fired(v_before, bit_before, OPTION)
            if (OPTION >> 2) & 1:
                # The step before a segment is known from its state alone.
                u_before = tl.where(t > 0, u_before, u_first)
                hot_before = tl.where(t > 0, hot_before, hot_first)
            g = tl.load(grad + at, mask=ok, other=0.0)
            if (OPTION >> 9) & 1:
                drive = tl.load(drives + slot, mask=ok, other=0.0)
            given, d, to_i, to_a, to_x, to_s = retreat(
                g, d, to_i, to_a, to_x, to_s, u, v, drive, hot, bit != 0, u_before, hot_before,
                a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho, slope, height, low, high, OPTION,
            )  # fmt: skip
            tl.store(out + at, given, mask=ok)
            u, v, bit, hot = u_before, v_before, bit_before, hot_before
            at -= m
            slot -= m
        tl.debug_barrier()
