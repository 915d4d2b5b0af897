"""Leaky integration on the CPU: one pass over time, neurons in cache-sized blocks."""

import numpy as np
import torch

from paraspike.buffers import borrow
from paraspike.neurons import LeakyIntegrator
from paraspike.ops.jit import njit
from paraspike.threads import run_blocks

_LANES = 512


@njit
def _scan(start, stop, x, out, a_ii, a_uu, a_ui, backwards):
    steps, lanes = x.shape
    i = np.empty(_LANES, x.dtype)
    u = np.empty(_LANES, x.dtype)
    for left in range(start, stop, _LANES):
        width = min(_LANES, stop - left)
        i[:] = 0
        u[:] = 0
        for k in range(steps):
            t = steps - 1 - k if backwards else k
            source, target = x[t], out[t]
            for j in range(width):
                i[j] = a_ii * i[j] + source[left + j]
                u[j] = a_uu * u[j] + a_ui * i[j]
                target[left + j] = u[j]


def _run(x: torch.Tensor, neuron: LeakyIntegrator, backwards: bool) -> torch.Tensor:
    x = x.contiguous()
    out = borrow(x.shape, x.dtype)
    steps = x.shape[0]
    if x.numel():
        flat = x.numpy().reshape(steps, -1)
        real = flat.dtype.type
        coefficients = (real(neuron.a_ii), real(neuron.a_uu), real(neuron.a_ui))
        target = out.numpy().reshape(steps, -1)
        run_blocks(_scan, flat.shape[1], flat, target, *coefficients, backwards, grain=_LANES)
    return out


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron):
        ctx.neuron = neuron
        return _run(x.detach(), neuron, False)

    @staticmethod
    def backward(ctx, grad):
        # Two linear filters commute, so the adjoint is the same scan run from the last step.
        return _run(grad, ctx.neuron, True), None


def integrate(x: torch.Tensor, neuron: LeakyIntegrator) -> torch.Tensor:
    """u [T, B, N] of x [T, B, N]; same equations as `reference.sequential`, float32 or float64."""
    return _Integrate.apply(x, neuron)
