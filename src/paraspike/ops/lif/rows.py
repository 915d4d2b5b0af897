"""One time step of the LIF normal form for one sample, forward and backward, LANES neurons at a time.

Both are inlined into a kernel that closes over their option integers, so that each variant is a body
without branches; coefficients are run-time scalars (`neurons.LIF` has the equations).
"""

import numpy as np

from paraspike.ops.jit import njit
from paraspike.ops.simd import (
    LANES,
    absolute,
    exponential,
    from_bits,
    lanes_below,
    load,
    load_some,
    select,
    splat,
    store,
    store_some,
    to_bits,
)

# Sections of a sample's state: synaptic current, potential, adaptation, previous input.
STATES = 4
# Of its adjoint: to the potential, the current, the adaptation, the previous input, the spike.
ADJOINTS = 5


@njit(forceinline=True)
def recent(words, at, step, t, patience):
    """Bits of the neurons that fired in one of the `patience` steps before step t."""
    bits = np.uint16(0)
    for k in range(1, min(patience, t) + 1):
        bits |= words[at - k * step]
    return bits


@njit(forceinline=True)
def advance(
    option,
    c,
    patience,
    t,
    x,
    x0,
    state,
    s0,
    pitch,
    words,
    w0,
    w_step,
    near,
    potential,
    adaptation,
    drives,
    p0,
    totals,
    n0,
    left,
    right,
):
    """Neurons left .. right of one sample at step t.

    Args:
        option: as `options` gives them.  c: as `coefficients`.
        x, x0: input currents.  state, s0, pitch: sections of STATES.
        words, w0, w_step: spikes as bits, 16 neurons a word, `w_step` words from step to step.
        near: bits of the neurons within reach of the surrogate, laid out as `words`, where marked. A mark
            of 2: potentials are stored, and gradients read, only where one neuron of a word is near.
        potential, adaptation, drives, p0: where those are stored for the way back.
        totals, n0: spike counts, added to.
    """
    (
        fires,
        reset,
        late,
        gate,
        strict,
        refractory,
        adaptive,
        previous,
        keeps,
        _,
        _,
        post,
        _,
        marks,
    ) = option
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    zero, one, level = splat(c[10]), splat(c[11]), splat(threshold)
    for j in range(left, right, LANES):
        some = lanes_below(right - j)
        at, word = s0 + j, w0 + j // LANES
        v = load_some(x, x0 + j, some)
        if refractory != 0:
            busy = from_bits(recent(words, word, w_step, t, patience))
            if refractory == 2:
                v = select(busy, zero, v)
        i = load(state, at) * a_ii + v
        drive = i * a_ui + v * c0
        if previous == 1:
            drive = drive + load(state, at + 3 * pitch) * c1
            store(state, at + 3 * pitch, v)
        kept = load(state, at + pitch) * a_uu
        if late == 1:
            fired = from_bits(words[word - w_step] if t > 0 else np.uint16(0))
            if reset == 1:
                kept = select(fired, zero, kept)
                if keeps == 1:
                    store_some(drives, p0 + j, drive, some)
                if gate == 1:
                    drive = select(fired, zero, drive)
        u = kept + drive
        if late == 1 and reset == 2:
            u = u - select(fired, level, zero)
        store(state, at, i)
        if marks != 2:
            store_some(potential, p0 + j, u, some)
        if fires == 1:
            if adaptive == 1:
                a = load(state, at + 2 * pitch)
                store_some(adaptation, p0 + j, a, some)
                bar = level + a * beta
            else:
                bar = level
            hot = (u > bar) if strict == 1 else (u >= bar)
            hot = hot & some
            if refractory == 1:
                bits = to_bits(hot) & ~to_bits(busy)
                hot = from_bits(bits)
            words[word] = to_bits(hot)
            where = before = u
            if late == 0 and reset == 1:
                u = select(hot, zero, u)
            if late == 0 and reset == 2:
                u = u - select(hot, level, zero)
            if marks != 0:
                if post == 1:
                    where = u
                distance = where - bar
                near[word] = to_bits((distance > splat(c[14])) & (splat(c[15]) > distance) & some)
                if refractory == 1:
                    near[word] &= ~to_bits(busy)
                if marks == 2 and near[word] != 0:
                    store_some(potential, p0 + j, before, some)
            s = select(hot, one, zero)
            if adaptive == 1:
                store(state, at + 2 * pitch, a * rho + s)
            store_some(totals, n0 + j, load_some(totals, n0 + j, some) + s, some)
        store(state, at + pitch, u)


@njit(forceinline=True)
def surrogate_gradient(shape, v, slope, height, zero, one):
    """ds/dv at the distance v >= 0 to threshold; `slope` as `coefficients` scales it."""
    if shape == 0:
        root = v * slope + one
        return height / (root * root)
    if shape == 1:
        rho = one / (one + exponential(zero - v * slope))
        return rho * slope * (one - rho)
    if shape == 2:
        reach = one - v * slope
        return select(reach > zero, reach, zero) * height
    if shape == 3:
        turn = v * slope
        return height / (one + turn * turn)
    return select(v * slope < one, height, zero)


@njit(forceinline=True)
def retreat(
    option,
    c,
    patience,
    t,
    grad,
    g0,
    total,
    n0,
    back,
    b0,
    state,
    s0,
    pitch,
    words,
    w0,
    w_step,
    near,
    potential,
    adaptation,
    drives,
    p0,
    before,
    out,
    o0,
    left,
    right,
):
    """Adjoint of `advance`: the gradient of the input currents into out[o0 + j].

    Args:
        grad, g0; total, n0; back, b0: gradient of these spikes, of their totals over time, and what the
            recurrent synapse sends back; for a neuron that does not fire, of the potential.
        state, s0, pitch: sections of ADJOINTS.
        before: where the potential of the step before begins, read by a late reset to zero only.
    """
    fires, reset, late, gate, _, refractory, adaptive, previous, keeps, reset_grad = option[:10]
    shape, post, banded, marks = option[10:]
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    slope, zero, one = c[8], splat(c[10]), splat(c[11])
    height, level = splat(c[9]), splat(threshold)
    for j in range(left, right, LANES):
        some = lanes_below(right - j)
        at, word = s0 + j, w0 + j // LANES
        d = load(state, at)
        if refractory != 0:
            busy = from_bits(recent(words, word, w_step, t, patience))
        if fires == 0:
            d = d + (load_some(grad, g0 + j, some) + load_some(total, n0 + j, some))
        elif marks == 2 and near[word] == 0:
            if late == 0 and reset == 1 and reset_grad != 0:
                d = select(from_bits(words[word]), zero, d)
        else:
            g = load_some(grad, g0 + j, some) + load_some(total, n0 + j, some)
            g = g + load_some(back, b0 + j, some)
            if late == 1 and reset_grad == 2:
                g = g + load(state, at + 4 * pitch)
            u = load_some(potential, p0 + j, some)
            hot = from_bits(words[word])
            bar = level
            if adaptive == 1:
                bar = level + load_some(adaptation, p0 + j, some) * beta
                to_a = load(state, at + 2 * pitch)
                g = g + to_a
            where = u
            if late == 0 and reset == 1:
                if reset_grad == 2:
                    g = g - d * u
                if reset_grad != 0:
                    d = select(hot, zero, d)
                if post == 1:
                    where = select(hot, zero, u)
            if late == 0 and reset == 2:
                if reset_grad == 2:
                    g = g - d * threshold
                if post == 1:
                    where = u - select(hot, level, zero)
            distance = where - bar
            psi = surrogate_gradient(shape, absolute(distance), slope, height, zero, one)
            if banded == 1:
                psi = select((distance > splat(c[12])) & (splat(c[13]) > distance), psi, zero)
            if refractory == 1:
                psi = select(busy, zero, psi)
            sent = g * psi
            if adaptive == 1:
                store(state, at + 2 * pitch, to_a * rho - sent * beta)
            d = d + sent
        kept = drive = d
        if late == 1 and reset_grad != 0:
            fired = from_bits(words[word - w_step] if t > 0 else np.uint16(0))
            if reset == 1:
                if reset_grad == 2:
                    was = load_some(potential, before + j, some) * a_uu
                    if keeps == 1:
                        was = was + load_some(drives, p0 + j, some)
                    store(state, at + 4 * pitch, zero - d * was)
                kept = select(fired, zero, d)
                if gate == 1:
                    drive = kept
            elif reset_grad == 2:
                store(state, at + 4 * pitch, zero - d * threshold)
        to_i = drive * a_ui + load(state, at + pitch) * a_ii
        given = to_i + drive * c0
        if previous == 1:
            given = given + load(state, at + 3 * pitch) * c1
            store(state, at + 3 * pitch, drive)
        if fires == 1 and refractory == 2:
            given = select(busy, zero, given)
        store(state, at + pitch, to_i)
        store(state, at, kept * a_uu)
        store_some(out, o0 + j, given, some)
