"""What the LIF kernels keep between the way there and back, or from launch to launch, and read again."""

import triton
import triton.language as tl

from paraspike.ops.lif.cuda_steps import fires_at

# Steps from one kept state to the next, and refractory bits in a word.
EVERY = tl.constexpr(32)


@triton.jit
def only(ok, when):
    """The mask `ok` where the scalar `when` holds; `ok & when` is no mask to Triton's interpreter."""
    return tl.where(when, ok, tl.zeros_like(ok))


@triton.jit
def load_state(state, at, m, ok, zero, OPTION: tl.constexpr):
    """(i, u, a, x_prev, s, left) from rows of [6, M]; those that the options do not use are zero."""
    i = tl.load(state + at, mask=ok, other=0.0)
    u = tl.load(state + at + m, mask=ok, other=0.0)
    a, x_prev, s, left = zero, zero, zero, zero.to(tl.int32)
    if (OPTION >> 7) & 1:
        a = tl.load(state + at + 2 * m, mask=ok, other=0.0)
    if (OPTION >> 8) & 1:
        x_prev = tl.load(state + at + 3 * m, mask=ok, other=0.0)
    if (OPTION >> 2) & 1:
        s = tl.load(state + at + 4 * m, mask=ok, other=0.0)
    if (OPTION >> 5) & 3:
        left = tl.load(state + at + 5 * m, mask=ok, other=0.0).to(tl.int32)
    return i, u, a, x_prev, s, left


@triton.jit
def store_state(state, at, m, ok, i, u, a, x_prev, s, left, OPTION: tl.constexpr):
    """What `load_state` reads."""
    tl.store(state + at, i, mask=ok)
    tl.store(state + at + m, u, mask=ok)
    if (OPTION >> 7) & 1:
        tl.store(state + at + 2 * m, a, mask=ok)
    if (OPTION >> 8) & 1:
        tl.store(state + at + 3 * m, x_prev, mask=ok)
    if (OPTION >> 2) & 1:
        tl.store(state + at + 4 * m, s, mask=ok)
    if (OPTION >> 5) & 3:
        tl.store(state + at + 5 * m, left.to(i.dtype), mask=ok)


@triton.jit
def keep(potential, extra, drives, at, ok, u, v, a, drive, OPTION: tl.constexpr):
    """Store what `recall` reads: the distance to threshold of an adaptive neuron, unless its potential is
    needed (`extra`, beside the adaptation); else the potential."""
    if (OPTION >> 7) & 1:
        if (OPTION >> 17) & 1:
            tl.store(potential + at, u, mask=ok)
            tl.store(extra + at, a, mask=ok)
        else:
            tl.store(potential + at, v, mask=ok)
    else:
        tl.store(potential + at, u, mask=ok)
    if (OPTION >> 9) & 1:
        tl.store(drives + at, drive, mask=ok)


@triton.jit
def recall(potential, extra, at, ok, threshold, beta, OPTION: tl.constexpr):
    """(potential, distance to threshold)."""
    u = tl.load(potential + at, mask=ok, other=0.0)
    if (OPTION >> 7) & 1:
        v = u
        if (OPTION >> 17) & 1:
            v = u - (threshold + beta * tl.load(extra + at, mask=ok, other=0.0))
    else:
        v = u - threshold
    return u, v


@triton.jit
def fired(v, busy, OPTION: tl.constexpr):
    """Whether a neuron at the distance v to threshold spiked."""
    hot = fires_at(v, (OPTION >> 4) & 1)
    if ((OPTION >> 5) & 3) == 1:
        hot = hot & (busy == 0)
    return hot


@triton.jit
def fired_before(hot, t, OPTION: tl.constexpr):
    """`hot` of the step before t as a late reset sees it: nothing fired before the first step."""
    if (OPTION >> 2) & 1:
        hot = only(hot, t > 0)
    return hot


@triton.jit
def load_adjoint(adjoint, n, m, ok):
    """(d, to_i, to_a, to_x, to_s) from rows of [5, M]."""
    return (
        tl.load(adjoint + n, mask=ok, other=0.0),
        tl.load(adjoint + n + m, mask=ok, other=0.0),
        tl.load(adjoint + n + 2 * m, mask=ok, other=0.0),
        tl.load(adjoint + n + 3 * m, mask=ok, other=0.0),
        tl.load(adjoint + n + 4 * m, mask=ok, other=0.0),
    )


@triton.jit
def store_adjoint(adjoint, n, m, ok, d, to_i, to_a, to_x, to_s):
    """What `load_adjoint` reads."""
    tl.store(adjoint + n, d, mask=ok)
    tl.store(adjoint + n + m, to_i, mask=ok)
    tl.store(adjoint + n + 2 * m, to_a, mask=ok)
    tl.store(adjoint + n + 3 * m, to_x, mask=ok)
    tl.store(adjoint + n + 4 * m, to_s, mask=ok)


@triton.jit
def busy_bit(words, t, m, n, ok, OPTION: tl.constexpr):
    """1 where neurons n were refractory at step t, else 0."""
    if (OPTION >> 5) & 3:
        word = tl.load(words + (t // EVERY) * m + n, mask=ok, other=0)
        bit = (word >> (t % EVERY)) & 1
    else:
        bit = tl.zeros_like(n)
    return bit
