"""Triton kernels of leaky integration: a walk over segments of time, and a scan over tiles of time.

A segment's steps run one after another in registers. Where a segment starts follows from those before it by
    state <- A^segment state + end of that segment started from zero,
computed in this order whether one program walks all segments or each has its own, so bits depend on neither
the number of programs nor on what else is in the batch. Every product that is added to something is an
explicit fma, which leaves the compiler nothing to contract.
"""

import triton
import triton.language as tl


@triton.jit
def leak(i, u, x, a_ii, a_uu, a_ui):
    """One step of equations 5 and 7: the new i and u."""
    i = tl.fma(i, a_ii, x)
    return i, tl.fma(u, a_uu, i * a_ui)


@triton.jit
def carry(i, u, end_i, end_u, p_ii, p_uu, p_ui):
    """The state one segment later, from the state (i, u) at its start and its end when started from zero."""
    return tl.fma(i, p_ii, end_i), tl.fma(u, p_uu, tl.fma(i, p_ui, end_u))


@triton.jit
def arrive(ends, at, inside, count, lanes, p_ii, p_uu, p_ui, STAGES: tl.constexpr):
    """The state at the start of segment `count`, from the ends [segments, 2, lanes] of those before."""
    i = tl.zeros(at.shape, tl.float32)
    u = tl.zeros(at.shape, tl.float32)
    for k in tl.range(0, count, num_stages=STAGES):
        end_i = tl.load(ends + (2 * lanes * k + at), mask=inside, other=0.0)
        end_u = tl.load(ends + (2 * lanes * k + lanes + at), mask=inside, other=0.0)
        i, u = carry(i, u, end_i, end_u, p_ii, p_uu, p_ui)
    return i, u


@triton.jit
def _weighted(x, factor, at, inside, WEIGHTED: tl.constexpr):
    value = tl.load(x + at, mask=inside, other=0.0)
    if WEIGHTED:
        value = value * tl.load(factor + at, mask=inside, other=0.0)
    return value


@triton.jit(do_not_specialize=["steps", "rows", "segment"])
def ends_kernel(
    x,
    factor,
    ends,
    steps,
    rows,
    n,
    segment,
    a_ii,
    a_uu,
    a_ui,
    WEIGHTED: tl.constexpr,
    BACKWARDS: tl.constexpr,
    LANES: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Ends [segments - 1, 2, rows * n] of all whole segments but the last, each started from zero.

    x, factor: float32 [steps, rows, n]; the input is x, or x * factor if WEIGHTED; BACKWARDS runs from the
    last step to the first. Grid: blocks of LANES neurons, segments - 1.
    Segments go from the end of time, which whoever wrote x left in the cache, to its beginning, where the
    walk starts.
    """
    lanes = tl.cast(rows, tl.int64) * n
    at = tl.program_id(0) * LANES + tl.arange(0, LANES)
    inside = at < lanes
    part = tl.program_id(1) if BACKWARDS else tl.num_programs(1) - 1 - tl.program_id(1)
    i = tl.zeros([LANES], tl.float32)
    u = tl.zeros([LANES], tl.float32)
    for k in tl.range(part * segment, (part + 1) * segment, num_stages=STAGES):
        t = steps - 1 - k if BACKWARDS else k
        value = _weighted(x, factor, lanes * t + at, inside, WEIGHTED)
        i, u = leak(i, u, value, a_ii, a_uu, a_ui)
    tl.store(ends + (2 * lanes * part + at), i, mask=inside)
    tl.store(ends + (2 * lanes * part + lanes + at), u, mask=inside)


@triton.jit(do_not_specialize=["steps", "rows", "segment", "each"])
def walk_kernel(
    x,
    factor,
    ends,
    out,
    steps,
    rows,
    n,
    segment,
    each,
    a_ii,
    a_uu,
    a_ui,
    p_ii,
    p_uu,
    p_ui,
    WEIGHTED: tl.constexpr,
    BACKWARDS: tl.constexpr,
    LANES: tl.constexpr,
    STAGES: tl.constexpr,
):
    """u [steps, rows, n] of the input, arguments as `ends_kernel`; `each`: segments of one program.

    Grid: blocks of LANES neurons, segments / each. One program of all segments reads no `ends`.
    """
    lanes = tl.cast(rows, tl.int64) * n
    at = tl.program_id(0) * LANES + tl.arange(0, LANES)
    inside = at < lanes
    part = tl.num_programs(1) - 1 - tl.program_id(1) if BACKWARDS else tl.program_id(1)
    first = part * each
    start_i, start_u = arrive(ends, at, inside, first, lanes, p_ii, p_uu, p_ui, STAGES)
    i, u = start_i, start_u
    end_i = tl.zeros([LANES], tl.float32)
    end_u = tl.zeros([LANES], tl.float32)
    left = segment
    stop = tl.minimum((first + each) * segment, steps)
    begin = first * segment
    # An address of its own: the loads', computed STAGES ahead, would be handed through as many registers.
    to = out + (lanes * (steps - 1 - begin if BACKWARDS else begin) + at)
    onward = -lanes if BACKWARDS else lanes
    # One loop over all segments, so that fetching ahead does not pause between them.
    for k in tl.range(begin, stop, num_stages=STAGES):
        t = steps - 1 - k if BACKWARDS else k
        value = _weighted(x, factor, lanes * t + at, inside, WEIGHTED)
        end_i, end_u = leak(end_i, end_u, value, a_ii, a_uu, a_ui)
        i, u = leak(i, u, value, a_ii, a_uu, a_ui)
        tl.store(to, u, mask=inside)
        to += onward
        left -= 1
        if left == 0:
            start_i, start_u = carry(start_i, start_u, end_i, end_u, p_ii, p_uu, p_ui)
            i, u = start_i, start_u
            end_i = tl.zeros([LANES], tl.float32)
            end_u = tl.zeros([LANES], tl.float32)
            left = segment


@triton.jit
def _follow(decay, state, later_decay, later_state):
    return decay * later_decay, tl.fma(later_decay, state, later_state)


@triton.jit(do_not_specialize=["steps", "rows"])
def scan_kernel(
    x,
    out,
    steps,
    rows,
    n,
    a_ii,
    a_uu,
    a_ui,
    BACKWARDS: tl.constexpr,
    STEPS: tl.constexpr,
    LANES: tl.constexpr,
):
    """u [steps, rows, n] of x by associative scans of tiles [STEPS, LANES], the two filters in series.

    One program takes LANES neurons through all tiles and hands the last row of each on to the next.
    """
    lanes = tl.cast(rows, tl.int64) * n
    at = (tl.program_id(0) * LANES + tl.arange(0, LANES))[None, :]
    row = tl.arange(0, STEPS)[:, None]
    last = row == STEPS - 1
    alpha = tl.zeros([STEPS, LANES], tl.float32) + a_ii
    beta = tl.zeros([STEPS, LANES], tl.float32) + a_uu
    state_i = tl.zeros([LANES], tl.float32)
    state_u = tl.zeros([LANES], tl.float32)
    for first in tl.range(0, steps, STEPS, num_stages=3):
        k = first + row
        t = steps - 1 - k if BACKWARDS else k
        inside = (k < steps) & (at < lanes)
        value = tl.load(x + (lanes * t + at), mask=inside, other=0.0)
        decay, i = tl.associative_scan((alpha, value), 0, _follow)
        i = tl.fma(decay, state_i[None, :], i)
        decay, u = tl.associative_scan((beta, i * a_ui), 0, _follow)
        u = tl.fma(decay, state_u[None, :], u)
        tl.store(out + (lanes * t + at), u, mask=inside)
        state_i = tl.sum(tl.where(last, i, 0.0), 0)
        state_u = tl.sum(tl.where(last, u, 0.0), 0)
