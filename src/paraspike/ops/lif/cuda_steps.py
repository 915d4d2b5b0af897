"""One time step of the LIF normal form in Triton, forward and backward: element by element, any shape.

Both are specialised on one constexpr integer, `OPTION` (`packed`), and take the coefficients as run-time
scalars (`neurons.LIF` has the equations). Products and sums stand in the order of `reference.step`, so that
without contraction into fused multiply-adds (`enable_fp_fusion=False`) spikes have the reference's bits.
"""

import triton
import triton.language as tl


@triton.jit
def coefficients(c):
    """(a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho), as `options.coefficients` orders them."""
    return (
        tl.load(c),
        tl.load(c + 1),
        tl.load(c + 2),
        tl.load(c + 3),
        tl.load(c + 4),
        tl.load(c + 5),
        tl.load(c + 6),
        tl.load(c + 7),
    )


@triton.jit
def surrogate_coefficients(c):
    """(slope, height, low and high end of the surrogate's window)."""
    return tl.load(c + 8), tl.load(c + 9), tl.load(c + 12), tl.load(c + 13)


@triton.jit
def fires_at(v, STRICT: tl.constexpr):
    """Whether the distance v to threshold makes a spike."""
    if STRICT:
        hot = v > 0
    else:
        hot = v >= 0
    return hot


@triton.jit
def at_rest(zero):
    """The state (i, u, a, x_prev, spikes before, refractory steps left) before the first step."""
    return zero, zero, zero, zero, zero, zero.to(tl.int32)


@triton.jit
def advance(x, state, patience, factors, OPTION: tl.constexpr):
    """From input x and the state (as `at_rest`), `factors` from `coefficients`, to

    ((spikes, potential before the reset, its distance to threshold, drive, refractory), the state).
    """
    RESET: tl.constexpr = OPTION & 3
    LATE: tl.constexpr = (OPTION >> 2) & 1
    GATE: tl.constexpr = (OPTION >> 3) & 1
    STRICT: tl.constexpr = (OPTION >> 4) & 1
    REFRACTORY: tl.constexpr = (OPTION >> 5) & 3
    ADAPTIVE: tl.constexpr = (OPTION >> 7) & 1
    PREVIOUS: tl.constexpr = (OPTION >> 8) & 1
    i, u, a, x_prev, s, left = state
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = factors
    busy = left > 0
    if REFRACTORY == 2:
        x = tl.where(busy, 0.0, x)
    i = a_ii * i + x
    drive = a_ui * i + c0 * x
    if PREVIOUS:
        drive = drive + c1 * x_prev
    kept, added = a_uu * u, drive
    if LATE and RESET == 1:
        kept = tl.where(s > 0, 0.0, kept)
        if GATE:
            added = tl.where(s > 0, 0.0, added)
    u = kept + added
    if LATE and RESET == 2:
        u = u - threshold * s
    v = u - threshold
    if ADAPTIVE:
        v = u - (threshold + beta * a)
    hot = fires_at(v, STRICT)
    if REFRACTORY == 1:
        hot = hot & (left <= 0)
    s = hot.to(x.dtype)
    before = u
    if LATE == 0:
        if RESET == 1:
            u = tl.where(hot, 0.0, u)
        if RESET == 2:
            u = u - threshold * s
    if ADAPTIVE:
        a = rho * a + s
    if REFRACTORY != 0:
        left = tl.where(hot, patience, tl.maximum(left - 1, 0))
    return (s, before, v, drive, busy), (i, u, a, x, s, left)


@triton.jit
def surrogate_gradient(v, surrogate, OPTION: tl.constexpr):
    """ds/dv at the distance v to threshold; `surrogate` from `surrogate_coefficients`."""
    slope, height, low, high = surrogate
    SHAPE: tl.constexpr = (OPTION >> 12) & 7
    WINDOW: tl.constexpr = (OPTION >> 16) & 1
    far = tl.abs(v) * slope
    if SHAPE == 0:
        psi = height / ((far + 1.0) * (far + 1.0))
    elif SHAPE == 1:
        # Of v, not |v|: below threshold 1 - rho has all its digits.
        rho = 1.0 / (1.0 + tl.exp(-slope * v))
        psi = rho * slope * (1.0 - rho)
    elif SHAPE == 2:
        # Written so that NaN stays NaN.
        psi = tl.where(far > 1.0, 0.0, 1.0 - far) * height
    elif SHAPE == 3:
        psi = height / (1.0 + far * far)
    else:
        psi = tl.where(far < 1.0, height, 0.0)
    if WINDOW:
        psi = tl.where((v > low) & (v < high), psi, 0.0)
    return psi


@triton.jit
def retreat(g, adjoint, seen, before, factors, surrogate, OPTION: tl.constexpr):
    """Adjoint of `advance`.

    Args:
        g: gradient of the spikes.  adjoint: (d, to_i, to_a, to_x, to_s) of the state after the step, to_s of
            the spikes as the next step's reset sees them.
        seen: the step's (potential before the reset, its distance to threshold, drive, spikes, refractory).
        before: (potential, spikes) of the step before.

    Returns:
        (gradient of x, adjoint of the state before the step).
    """
    RESET: tl.constexpr = OPTION & 3
    LATE: tl.constexpr = (OPTION >> 2) & 1
    GATE: tl.constexpr = (OPTION >> 3) & 1
    REFRACTORY: tl.constexpr = (OPTION >> 5) & 3
    ADAPTIVE: tl.constexpr = (OPTION >> 7) & 1
    PREVIOUS: tl.constexpr = (OPTION >> 8) & 1
    DRIVES: tl.constexpr = (OPTION >> 9) & 1
    GRADIENT: tl.constexpr = (OPTION >> 10) & 3
    POST: tl.constexpr = (OPTION >> 15) & 1
    d, to_i, to_a, to_x, to_s = adjoint
    u, v, drive, hot, busy = seen
    u_before, hot_before = before
    a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho = factors
    if ADAPTIVE:
        g = g + to_a
    at = v
    if LATE:
        if GRADIENT == 2:
            g = g + to_s
    elif RESET == 1:
        if GRADIENT == 2:
            g = g - d * u
        if GRADIENT != 0:
            d = tl.where(hot, 0.0, d)
        if POST:
            at = tl.where(hot, v - u, v)
    elif RESET == 2:
        if GRADIENT == 2:
            g = g - d * threshold
        if POST:
            at = tl.where(hot, v - threshold, v)
    psi = surrogate_gradient(at, surrogate, OPTION)
    if REFRACTORY == 1:
        psi = tl.where(busy, 0.0, psi)
    sent = g * psi
    if ADAPTIVE:
        to_a = to_a * rho - sent * beta
    d = d + sent
    kept, to_drive = d, d
    if LATE and GRADIENT != 0:
        if RESET == 1:
            if GRADIENT == 2:
                whole = a_uu * u_before
                if DRIVES:
                    whole = whole + drive
                to_s = -d * whole
            kept = tl.where(hot_before, 0.0, d)
            if GATE:
                to_drive = kept
        elif GRADIENT == 2:
            to_s = -d * threshold
    to_i = to_drive * a_ui + to_i * a_ii
    given = to_i + to_drive * c0
    if PREVIOUS:
        given = given + to_x * c1
        to_x = to_drive
    if REFRACTORY == 2:
        given = tl.where(busy, 0.0, given)
    return given, (kept * a_uu, to_i, to_a, to_x, to_s)
