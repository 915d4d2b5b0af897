"""SPSN on the CPU: integration, noise, spikes and their gradient factor in one pass over time."""

import numpy as np
import torch

from paraspike.buffers import borrow
from paraspike.neurons import SPSN
from paraspike.ops.integrate import cpu as integration
from paraspike.ops.jit import njit
from paraspike.ops.spsn import reference
from paraspike.randomness import fill_line, keys, uniform
from paraspike.threads import run_blocks

_LANES = 512
_LOG2E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = (
    np.float32(1.9875691500e-4),
    np.float32(1.3981999507e-3),
    np.float32(8.3334519073e-3),
)
_P3, _P4, _P5 = (
    np.float32(4.1665795894e-2),
    np.float32(1.6666665459e-1),
    np.float32(5.0000001201e-1),
)


# Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
_ROUND, _ROUND_BITS = np.float32(12582912.0), np.int32(0x4B400000)


@njit(inline="always")
def _exponential(x, power, scale):
    """x <- exp(x), float32: the Cephes polynomial on +-ln(2)/2, then a shift of the exponent's bits.

    Written so that every loop vectorises, which a scalar exp or floor does not; `scale` is `power`
    seen as float32.
    """
    one, low, high = np.float32(1), np.float32(-86), np.float32(86)
    for j in range(len(x)):
        v = np.minimum(np.maximum(x[j], low), high)
        shifted = v * _LOG2E + _ROUND
        scale[j] = shifted
        z = shifted - _ROUND
        r = v - z * _LN2_HIGH - z * _LN2_LOW
        p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
        x[j] = p * r * r + r + one
    for j in range(len(x)):
        power[j] = np.int32(power[j] - _ROUND_BITS + np.int32(127)) << np.int32(23)
    for j in range(len(x)):
        x[j] *= scale[j]


@njit
def _forward(
    start,
    stop,
    x,
    spikes,
    factor,
    n,
    a_ii,
    a_uu,
    a_ui,
    slope,
    gumbel,
    samples,
    trial,
    seeds,
    stream,
):
    steps, blocks = x.shape[0], (n + 3) // 4
    one, zero, two, half = np.float32(1), np.float32(0), np.float32(2), np.float32(0.5)
    step23, step24 = np.float32(2.0**-23), np.float32(2.0**-24)
    together = max(1, _LANES // n)
    room = together * n
    i, u = np.empty(room, np.float32), np.empty(room, np.float32)
    e, v = np.empty(room, np.float32), np.empty(room, np.float32)
    power = np.empty(room, np.int32)
    scale = power.view(np.float32)
    word = np.empty(4 * blocks, np.uint32)
    gain = -two if gumbel else -slope
    for first in range(start, stop, together):
        last = min(stop, first + together)
        left, width = first * n, (last - first) * n
        i[:] = 0
        u[:] = 0
        for t in range(steps):
            row = x[t, left : left + width]
            s, f = spikes[t, left : left + width], factor[t, left : left + width]
            for j in range(width):
                i[j] = a_ii * i[j] + row[j]
                u[j] = a_uu * u[j] + a_ui * i[j]
            for j in range(width):
                e[j] = gain * u[j]
            _exponential(e[:width], power[:width], scale[:width])
            for b in range(first, last):
                fill_line(word, blocks, t, samples[b], trial, seeds[b], stream)
                line = v[(b - first) * n : (b - first + 1) * n]
                for j in range(n):
                    line[j] = np.float32(np.int32(word[j] >> np.uint32(9))) * step23 + step24
            if gumbel:
                for j in range(width):
                    # sigmoid(2 u + log(v / (1 - v))) without the logarithm
                    e[j] = v[j] / (v[j] + (one - v[j]) * e[j])
                for j in range(width):
                    s[j] = one if e[j] > half else zero
                for j in range(width):
                    f[j] = two * e[j] * (one - e[j])
            else:
                for j in range(width):
                    e[j] = one / (one + e[j])
                for j in range(width):
                    s[j] = one if v[j] < e[j] else zero
                for j in range(width):
                    f[j] = slope * e[j] * e[j] * (one - e[j])


@njit
def _backward(start, stop, grad, factor, out, a_ii, a_uu, a_ui):
    steps = grad.shape[0]
    i = np.empty(_LANES, np.float32)
    u = np.empty(_LANES, np.float32)
    for left in range(start, stop, _LANES):
        width = min(_LANES, stop - left)
        i[:] = 0
        u[:] = 0
        for k in range(steps):
            t = steps - 1 - k
            g, f, target = grad[t], factor[t], out[t]
            for j in range(width):
                i[j] = a_ii * i[j] + g[left + j] * f[left + j]
                u[j] = a_uu * u[j] + a_ui * i[j]
                target[left + j] = u[j]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron, key):
        x = x.detach().contiguous()
        spikes, factor = borrow(x.shape, x.dtype), borrow(x.shape, x.dtype)
        li = neuron.integrator
        ctx.scalars = tuple(np.float32(a) for a in (li.a_ii, li.a_uu, li.a_ui))
        if x.numel():
            arrays = [a.numpy().reshape(len(x), -1) for a in (x, spikes, factor)]
            options = (*ctx.scalars, np.float32(neuron.slope), neuron.spike == "GS")
            run_blocks(_forward, x.shape[1], *arrays, x.shape[2], *options, *key)
        ctx.save_for_backward(factor)
        return spikes

    @staticmethod
    def backward(ctx, grad):
        (factor,) = ctx.saved_tensors
        grad = grad.contiguous()
        out = borrow(grad.shape, grad.dtype)
        if grad.numel():
            arrays = [a.numpy().reshape(len(grad), -1) for a in (grad, factor, out)]
            run_blocks(_backward, arrays[0].shape[1], *arrays, *ctx.scalars, grain=_LANES)
        return out, None, None


def integrate_and_fire(x: torch.Tensor, neuron: SPSN, seeds, stream: str, samples, trial: int):
    """Spikes [T, B, N] of input currents x [T, B, N]: `integrate`, then `reference.spike`, noise drawn
    as `randomness.uniform(seeds, stream, samples, T, N, trial)`.

    Compiled for float32 SB, and GS at temperature 1; the other forms in two passes.
    """
    stochastic = neuron.spike in ("SB", "GS")
    if (
        stochastic
        and x.dtype == torch.float32
        and (neuron.spike == "SB" or neuron.temperature == 1.0)
    ):
        return _Layer.apply(x, neuron, keys(seeds, stream, trial, samples))
    noise = None
    if stochastic:
        drawn = uniform(seeds, stream, samples, x.shape[0], x.shape[2], trial)
        noise = torch.from_numpy(drawn).to(x.dtype)
    return reference.spike(integration.integrate(x, neuron.integrator), neuron, noise)
