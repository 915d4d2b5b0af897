"""Triton kernels of SPSN: its spike functions alone, and SB and GS fused with integration and noise."""

import triton
import triton.language as tl

from paraspike.ops.integrate.kernels_cuda import arrive, carry, leak
from paraspike.ops.noise.cuda import uniform


@triton.jit
def sample(u, noise, gain, scale, GUMBEL: tl.constexpr, UNIT: tl.constexpr):
    """(spikes, ds/du) of SB (gain: slope) or GS (scale: 1 / temperature; UNIT: it is 1), float32.

    GS compares odds: r = exp(-2 u) (1 - v) / v is exp of minus the logit 2 u + log(v / (1 - v)).
    """
    if GUMBEL:
        rest = (1.0 - noise) * tl.exp(-2.0 * u)
        if UNIT:
            y = noise / (noise + rest)
        else:
            y = 1.0 / (1.0 + tl.exp2(tl.log2(rest / noise) * scale))
        return (rest < noise).to(tl.float32), 2.0 * scale * y * (1.0 - y)
    rho = 1.0 / (1.0 + tl.exp(-gain * u))
    return (noise < rho).to(tl.float32), gain * rho * rho * (1.0 - rho)


@triton.jit
def surrogate(v, slope, height, low, high, SHAPE: tl.constexpr, WINDOW: tl.constexpr):
    """ds/dv at the distance v to threshold (`ops.surrogate.derivative`), float32."""
    if SHAPE == "sigmoid":
        s = 1.0 / (1.0 + tl.exp(-slope * v))
        d = slope * s * (1.0 - s)
    elif SHAPE == "fast_sigmoid":
        d = slope * tl.abs(v) + 1.0
        d = height / (d * d)
    elif SHAPE == "triangle":
        d = 1.0 - slope * tl.abs(v)
        # Written so that a NaN stays one.
        d = height * tl.where(d < 0.0, 0.0, d)
    elif SHAPE == "arctan":
        d = 1.5707963267948966 * slope * v
        d = height / (1.0 + d * d)
    else:
        d = height * (slope * tl.abs(v) < 0.5).to(tl.float32)
    if WINDOW:
        d = d * ((v > low) & (v < high)).to(tl.float32)
    return d


@triton.jit
def _distance(u, at, lanes, inside, threshold, DIFFERENCE: tl.constexpr):
    v = tl.load(u + at, mask=inside, other=0.0) - threshold
    if DIFFERENCE:
        v = v - tl.load(u + at - lanes, mask=inside & (at >= lanes), other=0.0)
    return v


@triton.jit(do_not_specialize=["steps", "rows", "n"])
def random_kernel(
    u,
    noise,
    spikes,
    factor,
    steps,
    rows,
    n,
    gain,
    scale,
    GUMBEL: tl.constexpr,
    UNIT: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """spikes, and ds/du into `factor` if KEEP, of u and noise, all float32 [steps, rows, n]; one program
    a BLOCK of elements."""
    at = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < tl.cast(steps, tl.int64) * rows * n
    potential = tl.load(u + at, mask=inside, other=0.0)
    drawn = tl.load(noise + at, mask=inside, other=0.5)
    s, d = sample(potential, drawn, gain, scale, GUMBEL, UNIT)
    tl.store(spikes + at, s, mask=inside)
    if KEEP:
        tl.store(factor + at, d, mask=inside)


@triton.jit(do_not_specialize=["steps", "rows"])
def threshold_kernel(
    u, spikes, steps, rows, n, threshold, DIFFERENCE: tl.constexpr, BLOCK: tl.constexpr
):
    """spikes of T, or of D if DIFFERENCE, [steps, rows, n]."""
    lanes = tl.cast(rows, tl.int64) * n
    at = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < lanes * steps
    v = _distance(u, at, lanes, inside, threshold, DIFFERENCE)
    tl.store(spikes + at, (v > 0.0).to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=["steps", "rows"])
def threshold_backward_kernel(
    u,
    grad,
    out,
    steps,
    rows,
    n,
    threshold,
    slope,
    height,
    low,
    high,
    DIFFERENCE: tl.constexpr,
    SHAPE: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """du [steps, rows, n] of T or D from the potential: nothing but u was kept."""
    lanes = tl.cast(rows, tl.int64) * n
    at = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < lanes * steps
    v = _distance(u, at, lanes, inside, threshold, DIFFERENCE)
    d = surrogate(v, slope, height, low, high, SHAPE, WINDOW)
    value = tl.load(grad + at, mask=inside, other=0.0) * d
    if DIFFERENCE:
        later = at + lanes
        inside_later = later < lanes * steps
        v = _distance(u, later, lanes, inside_later, threshold, DIFFERENCE)
        d = surrogate(v, slope, height, low, high, SHAPE, WINDOW)
        after = tl.load(grad + later, mask=inside_later, other=0.0) * d
        value = value - tl.where(inside_later, after, 0.0)
    tl.store(out + at, value, mask=inside)


@triton.jit(do_not_specialize=["steps", "rows", "segment", "each", "trial", "stream"])
def fire_kernel(
    x,
    ends,
    spikes,
    factor,
    key,
    steps,
    rows,
    n,
    segment,
    each,
    trial,
    stream,
    a_ii,
    a_uu,
    a_ui,
    p_ii,
    p_uu,
    p_ui,
    gain,
    scale,
    GUMBEL: tl.constexpr,
    UNIT: tl.constexpr,
    KEEP: tl.constexpr,
    GROUPS: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """spikes, and ds/du into `factor` if KEEP, of currents x, all float32 [steps, rows, n], noise included.

    The walk of `integrate.kernels_cuda.walk_kernel`, with four neighbouring neurons of a sample on each
    thread, which share one Philox call; key: int32 [2, rows], samples and seeds.
    STAGES and AHEAD: inputs and ends fetched ahead.
    Grid: blocks of GROUPS groups, segments / each.
    """
    lanes = tl.cast(rows, tl.int64) * n
    blocks = tl.cdiv(n, 4)
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    row = group // blocks
    name = tl.load(key + row, mask=row < rows, other=0).to(tl.uint32, bitcast=True)
    seed = tl.load(key + rows + row, mask=row < rows, other=0).to(tl.uint32, bitcast=True)
    block = (group % blocks).to(tl.uint32)
    trial = tl.cast(trial, tl.uint32, bitcast=True)
    stream = tl.cast(stream, tl.uint32, bitcast=True)

    lane = tl.program_id(0) * 4 * GROUPS + tl.arange(0, 4 * GROUPS)
    neuron = (lane // 4) % blocks * 4 + lane % 4
    inside = (lane // 4 < rows * blocks) & (neuron < n)
    at = (lane // 4) // blocks * n + neuron

    first = tl.program_id(1) * each
    start_i, start_u = arrive(ends, at, inside, first, lanes, p_ii, p_uu, p_ui, AHEAD)
    i, u = start_i, start_u
    end_i = tl.zeros([4 * GROUPS], tl.float32)
    end_u = tl.zeros([4 * GROUPS], tl.float32)
    left = segment
    stop = tl.minimum((first + each) * segment, steps)
    # As in `walk_kernel`, so that addresses are not handed through STAGES registers.
    place = lanes * first * segment + at
    # One loop over all segments, so that fetching ahead does not pause between them.
    for t in tl.range(first * segment, stop, num_stages=STAGES):
        value = tl.load(x + (lanes * t + at), mask=inside, other=0.0)
        end_i, end_u = leak(end_i, end_u, value, a_ii, a_uu, a_ui)
        i, u = leak(i, u, value, a_ii, a_uu, a_ui)
        noise = uniform(block, tl.cast(t, tl.uint32), name, trial, seed, stream, GROUPS)
        s, d = sample(u, noise, gain, scale, GUMBEL, UNIT)
        tl.store(spikes + place, s, mask=inside)
        if KEEP:
            tl.store(factor + place, d, mask=inside)
        place += lanes
        left -= 1
        if left == 0:
            start_i, start_u = carry(start_i, start_u, end_i, end_u, p_ii, p_uu, p_ui)
            i, u = start_i, start_u
            end_i = tl.zeros([4 * GROUPS], tl.float32)
            end_u = tl.zeros([4 * GROUPS], tl.float32)
            left = segment
