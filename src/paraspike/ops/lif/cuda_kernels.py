"""The LIF normal form over given input currents in Triton: all time steps in one launch, state in registers.

Activity is [T, M] with M = S*B*N neurons side by side, one a thread, so that every access is coalesced. Time
is walked in chunks of CHUNK steps, unrolled: while one chunk is computed the next is on its way into
registers, which needs neither shared memory nor barriers. No dimension is a constexpr, nor specialised on,
nor is where a caller's tensor begins; offsets are 64-bit. Behind the last step a chunk has zeros, and nothing
is stored.
"""

import triton
import triton.language as tl

from paraspike.ops.lif.cuda_memory import (
    EVERY,
    busy_word,
    distance,
    fired,
    keep,
    load_adjoint,
    load_state,
    only,
    recall,
    rows,
    store_adjoint,
    store_state,
    worth,
)
from paraspike.ops.lif.cuda_steps import (
    advance,
    at_rest,
    coefficients,
    retreat,
    surrogate_coefficients,
)


@triton.jit(
    do_not_specialize=["first", "steps", "m", "patience"], do_not_specialize_on_alignment=["x_ptr"]
)
def forward(x_ptr, spikes, potential, extra, drives, words, state, c, first, steps, m, patience,
            OPTION: tl.constexpr, KEEP: tl.constexpr, CARRY: tl.constexpr, ROWS: tl.constexpr,
            CHUNK: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Steps first .. first + steps of BLOCK neurons.

    Args:
        x_ptr, spikes: [T, M].  potential, extra, drives: as `keep` stores them, [T, M].
        words: int32 [ceil(T / EVERY), M], a bit for each step in which a neuron was refractory.
        state: [ROWS, M], where to go on from and where the last state goes (CARRY, for CHUNK 1), or one for
            each CHUNK steps.
        KEEP: 0 nothing, 1 potentials, 2 states.
    """
    REFRACTORY: tl.constexpr = (OPTION >> 5) & 3
    # A longer chunk would go on behind the last step; and a chunk lies within a word.
    tl.static_assert(CARRY == 0 or CHUNK == 1)
    tl.static_assert(KEEP != 1 or REFRACTORY == 0 or EVERY % CHUNK == 0)
    factors = coefficients(c)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < m
    m = tl.cast(m, tl.int64)
    now = at_rest(tl.zeros((BLOCK,), x_ptr.dtype.element_ty))
    word = tl.zeros((BLOCK,), tl.int32)
    if CARRY:
        now = load_state(state + n, m, ok, now, OPTION)
        if KEEP == 1 and REFRACTORY != 0:
            # The bits before were set by an earlier launch.
            word = tl.load(words + (first // EVERY) * m + n, mask=ok, other=0)
    at = tl.cast(first, tl.int64) * m + n
    xs = rows(x_ptr + at, m, ok, steps, CHUNK)
    for begin in range(0, steps, CHUNK):
        # Triton's interpreter counts in Python's integers.
        k0 = tl.cast(begin, tl.int32)
        t, left = first + k0, steps - k0
        if KEEP == 2:
            store_state(state + tl.cast(k0 // CHUNK, tl.int64) * ROWS * m + n, m, ok, now, OPTION)
        if REFRACTORY:
            word = tl.where(t % EVERY == 0, 0, word)
        then = x_ptr + at + CHUNK * m
        coming = ()
        for k in tl.static_range(CHUNK):
            a = now[2]
            done, now = advance(xs[k], now, patience, factors, OPTION)
            s, u, v, drive, busy = done
            coming += (tl.load(then, mask=only(ok, k < left - CHUNK), other=0.0),)
            there = only(ok, k < left)
            tl.store(spikes + at, s, mask=there)
            if KEEP == 1:
                keep(potential, extra, drives, at, there, u, v, a, drive, OPTION)
                if REFRACTORY:
                    word = word | (busy.to(tl.int32) << (t % EVERY + k))
            at += m
            then += m
        if KEEP == 1 and REFRACTORY != 0:
            tl.store(words + (t // EVERY) * m + n, word, mask=ok)
        xs = coming
    if CARRY:
        store_state(state + n, m, ok, now, OPTION)


@triton.jit(
    do_not_specialize=["first", "steps", "m", "patience"],
    do_not_specialize_on_alignment=["source", "grad"],
)
def backward(source, grad, extra, drives, words, state, adjoint, out, c, first, steps, m, patience,
             OPTION: tl.constexpr, KEEP: tl.constexpr, CARRY: tl.constexpr, ROWS: tl.constexpr,
             CHUNK: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Steps first + steps .. first, last one first; `out` gets the gradient of x.

    Behind the last step gradients and adjoints are zero and so they stay.

    Args:
        source: what was kept, [T, M]: potentials (KEEP 1), or the input (2), walked again chunk by chunk from
            `state`, [ceil(T / CHUNK), ROWS, M].
        grad, out: [T, M].  extra, drives, words: as `forward` stored them.
        adjoint: [5, M], where to go on from and where the last adjoint goes (CARRY).
    """
    LATE: tl.constexpr = (OPTION >> 2) & 1
    factors, surrogate = coefficients(c), surrogate_coefficients(c)
    threshold, beta = factors[5], factors[6]
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < m
    m = tl.cast(m, tl.int64)
    zero = tl.zeros((BLOCK,), out.dtype.element_ty)
    back = zero, zero, zero, zero, zero
    if CARRY:
        back = load_adjoint(adjoint + n, m, ok)
    chunks = (steps + CHUNK - 1) // CHUNK
    k0 = (chunks - 1) * CHUNK
    at = tl.cast(first + k0, tl.int64) * m + n
    left = steps - k0
    held = rows(source + at, m, ok, left, CHUNK)
    gs, now = held, at_rest(zero)
    if KEEP == 1:
        gs = rows(grad + at, m, ok, left, CHUNK)
    else:
        at_state = state + tl.cast(chunks - 1, tl.int64) * ROWS * m + n
        now = load_state(at_state, m, ok, now, OPTION)
    for chunk in range(0, chunks):
        k0 = (chunks - 1 - tl.cast(chunk, tl.int32)) * CHUNK
        t, left = first + k0, steps - k0
        if KEEP == 2:
            u_first, hot_first = now[1], now[4] > 0
            us, adaptations, gated, gs_now, word = again(
                held, now, grad + at, m, ok, left, patience, factors, OPTION, CHUNK
            )
        else:
            us, adaptations, gated, gs_now = held, held, held, gs
            if (OPTION >> 17) & 1:
                adaptations = rows(extra + at, m, ok, left, CHUNK)
            if (OPTION >> 9) & 1:
                gated = rows(drives + at, m, ok, left, CHUNK)
            word = busy_word(words, t, m, n, ok, OPTION)
            if LATE:
                # Nothing fired before the first step.
                before = at - tl.where(t > 0, m, 0)
                u_first, v_first = recall(source, extra, before, ok, threshold, beta, OPTION)
                earlier = busy_word(words, tl.maximum(t - 1, 0), m, n, ok, OPTION)
                hot_first = only(fired(v_first, earlier & 1, OPTION), t > 0)
        there_is_more = only(ok, k0 > 0)
        if KEEP == 2:
            at_state -= ROWS * m
            now = load_state(at_state, m, there_is_more, now, OPTION)
        then = at - CHUNK * m
        if KEEP == 1:
            # Wanted last one first, and so fetched; inputs are wanted first one first.
            then += (CHUNK - 1) * m
        here = at + (CHUNK - 1) * m
        coming, coming_gs = (), ()
        for k in tl.static_range(CHUNK - 1, -1, -1):
            v = distance(us[k], adaptations[k], threshold, beta, OPTION)
            hot = fired(v, (word >> k) & 1, OPTION)
            before = us[k], hot
            if LATE:
                if k > 0:
                    v_before = distance(us[k - 1], adaptations[k - 1], threshold, beta, OPTION)
                    before = us[k - 1], fired(v_before, (word >> (k - 1)) & 1, OPTION)
                else:
                    before = u_first, hot_first
            seen = us[k], v, gated[k], hot, ((word >> k) & 1) != 0
            given, back = retreat(gs_now[k], back, seen, before, factors, surrogate, OPTION)
            value = tl.load(source + then, mask=there_is_more, other=0.0)
            if KEEP == 1:
                coming = (value,) + coming
                coming_gs = (tl.load(grad + then, mask=there_is_more, other=0.0),) + coming_gs
                then -= m
            else:
                coming += (value,)
                then += m
            tl.store(out + here, given, mask=only(ok, k < left))
            here -= m
        held = coming
        if KEEP == 1:
            gs = coming_gs
        at -= CHUNK * m
    if CARRY:
        store_adjoint(adjoint + n, m, ok, back)


@triton.jit
def again(xs, now, grad, m, ok, left, patience, factors, OPTION: tl.constexpr, CHUNK: tl.constexpr):
    """A chunk's steps for inputs xs from the state `now`, and meanwhile its gradients, fetched last one first.

    Returns:
        (what `keep` stores of each step: potentials, adaptations and drives; gradients; refractory bits).
    """
    us, adaptations, gated, gs = (), (), (), ()
    word = tl.zeros_like(now[5])
    grad += (CHUNK - 1) * m
    for k in tl.static_range(CHUNK):
        adaptations += (now[2],)
        done, now = advance(xs[k], now, patience, factors, OPTION)
        s, u, v, drive, busy = done
        us += (worth(u, v, OPTION),)
        gated += (drive,)
        word = word | (busy.to(tl.int32) << k)
        gs = (tl.load(grad, mask=only(ok, CHUNK - 1 - k < left), other=0.0),) + gs
        grad -= m
    return us, adaptations, gated, gs, word
