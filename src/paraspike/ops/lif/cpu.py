"""The LIF normal form over given input currents, on the CPU: one pass over time each way."""

import functools

import numpy as np
import torch

from paraspike.neurons import LIF
from paraspike.ops.jit import njit
from paraspike.ops.lif.options import coefficients, options
from paraspike.ops.lif.rows import ADJOINTS, STATES, advance, retreat
from paraspike.ops.simd import LANES, from_bits, lanes_below, select, splat, store_some
from paraspike.threads import run_blocks

# Neurons walked together, their state in the first-level cache.
_TOGETHER = 256


@functools.cache
def _forward(option):
    @njit
    def forward(
        start, stop, steps, n, x, c, patience, words, potential, adaptation, drives, spikes
    ):
        w_step = -(-n // LANES)
        state, totals = np.empty(STATES * _TOGETHER, x.dtype), np.zeros(_TOGETHER, x.dtype)
        zero, one = splat(c[10]), splat(c[11])
        for left in range(start, stop, _TOGETHER):
            width = min(_TOGETHER, stop - left)
            state[:] = 0
            for t in range(steps):
                at, word = t * n + left, t * w_step + left // LANES
                advance(option, c, patience, t, x, at, state, 0, _TOGETHER, words, word, w_step,
                        words, potential, adaptation, drives, at, totals, 0, 0, width)  # fmt: skip
                for j in range(0, width, LANES):
                    hot = from_bits(words[word + j // LANES])
                    store_some(spikes, at + j, select(hot, one, zero), lanes_below(width - j))

    return forward


@functools.cache
def _backward(option):
    @njit
    def backward(
        start, stop, steps, n, grad, c, patience, words, potential, adaptation, drives, out
    ):
        w_step = -(-n // LANES)
        state, nothing = np.empty(ADJOINTS * _TOGETHER, grad.dtype), np.zeros(_TOGETHER, grad.dtype)
        for left in range(start, stop, _TOGETHER):
            width = min(_TOGETHER, stop - left)
            state[:] = 0
            for k in range(steps):
                t = steps - 1 - k
                at, word = t * n + left, t * w_step + left // LANES
                before = at - n if t > 0 else at
                retreat(option, c, patience, t, grad, at, nothing, 0, nothing, 0, state, 0, _TOGETHER,
                        words, word, w_step, words, potential, adaptation, drives, at, before, out, at,
                        0, width)  # fmt: skip

    return backward


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron):
        x = x.detach().contiguous()
        ctx.neuron, ctx.option = neuron, options(neuron)
        ctx.c = coefficients(neuron, x.numpy().dtype)
        steps, n = len(x), x[0].numel() if len(x) else 0
        ctx.words = np.zeros(steps * -(-n // LANES), np.uint16)
        spikes, potential, nothing = torch.empty_like(x), torch.empty_like(x), x.new_empty(0)
        kept = [potential]
        kept += [torch.empty_like(x) if ctx.option[i] else nothing for i in (6, 8)]
        if x.numel():
            arrays = [v.reshape(-1).numpy() for v in (*kept, spikes)]
            run_blocks(_forward(ctx.option), n, steps, n, x.reshape(-1).numpy(), ctx.c,
                       neuron.refractory_steps, ctx.words, *arrays, grain=_TOGETHER)  # fmt: skip
        ctx.save_for_backward(*kept)
        ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx, grad, _):
        kept = ctx.saved_tensors
        grad = grad.contiguous()
        out = torch.empty_like(grad)
        steps = len(grad)
        if grad.numel():
            arrays = [v.reshape(-1).numpy() for v in (*kept, out)]
            n = grad[0].numel()
            run_blocks(_backward(ctx.option), n, steps, n, grad.reshape(-1).numpy(), ctx.c,
                       ctx.neuron.refractory_steps, ctx.words, *arrays, grain=_TOGETHER)  # fmt: skip
        return out, None


def lif(x: torch.Tensor, neuron: LIF, trace: bool = False):
    """Spikes [T, B, N] of input currents x [T, B, N], float32 or float64; see `reference.lif`.

    With `trace` also the potential before the reset, outside autograd.
    """
    spikes, potential = _Lif.apply(x, neuron)
    return (spikes, potential) if trace else spikes
