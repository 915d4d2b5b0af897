"""What the LIF kernels keep between the way there and back, or from launch to launch, and read again."""

import triton
import triton.language as tl

from paraspike.ops.lif.cuda_steps import fires_at

# Refractory bits in a word.
EVERY = tl.constexpr(32)


@triton.jit
def only(ok, when):
    """The mask `ok` where the scalar `when` holds; `ok & when` is no mask to Triton's interpreter."""
    return tl.where(when, ok, tl.zeros_like(ok))


@triton.jit
def rows(source, m, ok, length, COUNT: tl.constexpr):
    """COUNT steps of one array, m elements apart, in registers; those from `length` on are zero."""
    values = ()
    for k in tl.static_range(COUNT):
        values += (tl.load(source, mask=only(ok, k < length), other=0.0),)
        source += m
    return values


@triton.jit
def load_state(state, m, ok, rest, OPTION: tl.constexpr):
    """The state of `advance` from rows m elements apart; what the options do not use is as in `rest`."""
    i, u, a, x_prev, s, left = rest
    i = tl.load(state, mask=ok, other=0.0)
    u = tl.load(state + m, mask=ok, other=0.0)
    state += 2 * m
    if (OPTION >> 7) & 1:
        a = tl.load(state, mask=ok, other=0.0)
        state += m
    if (OPTION >> 8) & 1:
        x_prev = tl.load(state, mask=ok, other=0.0)
        state += m
    if (OPTION >> 2) & 1:
        s = tl.load(state, mask=ok, other=0.0)
        state += m
    if (OPTION >> 5) & 3:
        left = tl.load(state, mask=ok, other=0.0).to(tl.int32)
    return i, u, a, x_prev, s, left


@triton.jit
def store_state(state, m, ok, values, OPTION: tl.constexpr):
    """What `load_state` reads; as many rows as `cuda_launch.state_rows` counts."""
    i, u, a, x_prev, s, left = values
    tl.store(state, i, mask=ok)
    tl.store(state + m, u, mask=ok)
    state += 2 * m
    if (OPTION >> 7) & 1:
        tl.store(state, a, mask=ok)
        state += m
    if (OPTION >> 8) & 1:
        tl.store(state, x_prev, mask=ok)
        state += m
    if (OPTION >> 2) & 1:
        tl.store(state, s, mask=ok)
        state += m
    if (OPTION >> 5) & 3:
        tl.store(state, left.to(i.dtype), mask=ok)


@triton.jit
def worth(u, v, OPTION: tl.constexpr):
    """What the way back needs of a potential u, v from threshold: v of an adaptive neuron, unless its u is
    needed (then also its adaptation, `extra`); else u."""
    kept = u
    if ((OPTION >> 7) & 1) == 1 and ((OPTION >> 17) & 1) == 0:
        kept = v
    return kept


@triton.jit
def keep(potential, extra, drives, at, ok, u, v, a, drive, OPTION: tl.constexpr):
    """Store what `recall` reads."""
    tl.store(potential + at, worth(u, v, OPTION), mask=ok)
    if (OPTION >> 17) & 1:
        tl.store(extra + at, a, mask=ok)
    if (OPTION >> 9) & 1:
        tl.store(drives + at, drive, mask=ok)


@triton.jit
def distance(kept, a, threshold, beta, OPTION: tl.constexpr):
    """Distance to threshold of what `keep` stored: `kept` and, of `extra`, a."""
    v = kept
    if (OPTION >> 7) & 1:
        if (OPTION >> 17) & 1:
            v = kept - (threshold + beta * a)
    else:
        v = kept - threshold
    return v


@triton.jit
def recall(potential, extra, at, ok, threshold, beta, OPTION: tl.constexpr):
    """(potential, distance to threshold)."""
    u = tl.load(potential + at, mask=ok, other=0.0)
    a = u
    if (OPTION >> 17) & 1:
        a = tl.load(extra + at, mask=ok, other=0.0)
    return u, distance(u, a, threshold, beta, OPTION)


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
def load_adjoint(adjoint, m, ok):
    """The adjoint of `retreat` from rows m elements apart."""
    return rows(adjoint, m, ok, 5, 5)


@triton.jit
def store_adjoint(adjoint, m, ok, values):
    """What `load_adjoint` reads."""
    d, to_i, to_a, to_x, to_s = values
    tl.store(adjoint, d, mask=ok)
    tl.store(adjoint + m, to_i, mask=ok)
    tl.store(adjoint + 2 * m, to_a, mask=ok)
    tl.store(adjoint + 3 * m, to_x, mask=ok)
    tl.store(adjoint + 4 * m, to_s, mask=ok)


@triton.jit
def busy_word(words, t, m, n, ok, OPTION: tl.constexpr):
    """Bits of the steps from t to the end of its word: 1 where neurons n were refractory."""
    word = tl.zeros(n.shape, tl.int32)
    if (OPTION >> 5) & 3:
        word = tl.load(words + (t // EVERY) * m + n, mask=ok, other=0) >> (t % EVERY)
    return word
