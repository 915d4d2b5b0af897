"""SPSN's stochastic spike functions on the CPU: spikes and their gradient factor in one pass."""

import numpy as np
import torch

from paraspike.neurons import SPSN
from paraspike.ops.jit import njit
from paraspike.ops.spsn import reference
from paraspike.threads import run_blocks

_LANES = 1024
_LOG2E, _LN2_HIGH, _LN2_LOW = (
    np.float32(1.44269504),
    np.float32(0.693359375),
    np.float32(-2.12194440e-4),
)
_P = np.array(
    [
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ],
    np.float32,
)


@njit(inline="always")
def _exponential(x, power, scale):
    """x <- exp(x), float32: the Cephes polynomial on +-ln(2)/2, then a shift of the exponent's bits.

    Written out because a scalar exp would not vectorise; `scale` is `power` seen as float32.
    """
    one, half = np.float32(1), np.float32(0.5)
    for j in range(len(x)):
        v = min(max(x[j], np.float32(-86)), np.float32(86))
        z = np.floor(v * _LOG2E + half)
        r = v - z * _LN2_HIGH - z * _LN2_LOW
        p = _P[0]
        for k in range(1, 6):
            p = p * r + _P[k]
        power[j] = (np.int32(z) + np.int32(127)) << np.int32(23)
        x[j] = p * r * r + r + one
    for j in range(len(x)):
        x[j] *= scale[j]


@njit
def _sigmoid_bernoulli(start, stop, u, noise, spikes, factor, slope):
    one, zero = np.float32(1), np.float32(0)
    e = np.empty(_LANES, np.float32)
    power = np.empty(_LANES, np.int32)
    scale = power.view(np.float32)
    for left in range(start, stop, _LANES):
        width = min(_LANES, stop - left)
        for j in range(width):
            e[j] = -slope * u[left + j]
        _exponential(e[:width], power[:width], scale[:width])
        for j in range(width):
            rho = one / (one + e[j])
            spikes[left + j] = one if noise[left + j] < rho else zero
            factor[left + j] = slope * rho * rho * (one - rho)


@njit
def _gumbel_softmax(start, stop, u, noise, spikes, factor, _):
    one, zero, two, half = np.float32(1), np.float32(0), np.float32(2), np.float32(0.5)
    e = np.empty(_LANES, np.float32)
    power = np.empty(_LANES, np.int32)
    scale = power.view(np.float32)
    for left in range(start, stop, _LANES):
        width = min(_LANES, stop - left)
        for j in range(width):
            e[j] = -two * u[left + j]
        _exponential(e[:width], power[:width], scale[:width])
        for j in range(width):
            v = noise[left + j]
            # sigmoid(2 u + log(v / (1 - v))) without the logarithm
            y = v / (v + (one - v) * e[j])
            spikes[left + j] = one if y > half else zero
            factor[left + j] = two * y * (one - y)


def spike(u: torch.Tensor, neuron: SPSN, noise: torch.Tensor | None) -> torch.Tensor:
    """As `reference.spike`; compiled for float32 SB, and GS at temperature 1, else the reference."""
    stochastic = neuron.spike == "SB" or (neuron.spike == "GS" and neuron.temperature == 1.0)
    if not stochastic or u.dtype != torch.float32:
        return reference.spike(u, neuron, noise)
    u, noise = u.contiguous(), noise.contiguous()
    spikes, factor = torch.empty_like(u), torch.empty_like(u)
    arrays = [a.detach().numpy().reshape(-1) for a in (u, noise, spikes, factor)]
    kernel = _sigmoid_bernoulli if neuron.spike == "SB" else _gumbel_softmax
    run_blocks(kernel, u.numel(), *arrays, np.float32(neuron.slope), grain=_LANES)
    return reference.Sample.apply(u, spikes, factor)
