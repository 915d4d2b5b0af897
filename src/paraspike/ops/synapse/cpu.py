"""Synapses on index lists: gather-sum of weight rows; weight gradient into the rows of spikes only."""

import numpy as np
import torch

from paraspike.ops.jit import njit
from paraspike.threads import run_blocks

_COLUMNS = 32


@njit
def _gather(start, stop, pointers, units, counts, weight, bias, out, batch):
    n_seeds = weight.shape[0]
    per_seed = batch // n_seeds
    for row in range(start, stop):
        seed = (row % batch) // per_seed
        line, rows = out[row], weight[seed]
        line[:] = bias[seed]
        for k in range(pointers[row], pointers[row + 1]):
            count, source = counts[k], rows[units[k]]
            for j in range(line.shape[0]):
                line[j] += count * source[j]


@njit
def _scatter(start, stop, pointers, units, counts, grad, out, batch):
    n_seeds = out.shape[0]
    per_seed = batch // n_seeds
    for row in range(grad.shape[0]):
        seed = (row % batch) // per_seed
        line, rows = grad[row, start:stop], out[seed]
        for k in range(pointers[row], pointers[row + 1]):
            count, target = counts[k], rows[units[k], start:stop]
            for j in range(target.shape[0]):
                target[j] += count * line[j]


class _Synapse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, carrier, weight, bias, spikes):
        pointers, units, counts = spikes.lists
        steps, batch, _ = spikes.shape
        n_out = weight.shape[-1]
        weights = weight.detach().numpy().reshape(-1, *weight.shape[-2:])
        biases = np.zeros((len(weights), n_out), weights.dtype)
        if bias is not None:
            biases[:] = bias.detach().numpy().reshape(-1, n_out)
        out = torch.empty(steps, batch, n_out, dtype=weight.dtype)
        counts = counts.astype(weights.dtype, copy=False)
        flat = out.numpy().reshape(-1, n_out)
        rows = steps * batch
        run_blocks(_gather, rows, pointers, units, counts, weights, biases, flat, batch, grain=16)
        ctx.lists, ctx.batch, ctx.seeds = (pointers, units, counts), batch, len(weights)
        ctx.bias_shape = None if bias is None else bias.shape
        ctx.save_for_backward(weight)
        return out

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        grad = grad.contiguous()
        n_in, n_out = weight.shape[-2:]
        of_weight = torch.zeros(ctx.seeds, n_in, n_out, dtype=weight.dtype)
        flat = grad.numpy().reshape(-1, n_out)
        arrays = (*ctx.lists, flat, of_weight.numpy(), ctx.batch)
        run_blocks(_scatter, n_out, *arrays, grain=_COLUMNS)
        per_seed = grad.reshape(len(grad), ctx.seeds, -1, n_out)
        of_input = of_bias = None
        if ctx.needs_input_grad[0]:
            weights = weight.reshape(ctx.seeds, n_in, n_out)
            of_input = torch.einsum("tsbo,sio->tsbi", per_seed, weights).reshape(
                len(grad), -1, n_in
            )
        if ctx.bias_shape is not None:
            # Seed by seed, so that a seed's sum runs in the same order alone and among others.
            sums = [g.reshape(-1, n_out).sum(0) for g in per_seed.unbind(1)]
            of_bias = torch.stack(sums).reshape(ctx.bias_shape)
        return of_input, of_weight.reshape(weight.shape), of_bias, None


def gather(spikes, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """As `reference.synapse`, for `Spikes` with index lists; work grows with the spike count."""
    return _Synapse.apply(spikes.carrier, weight, bias, spikes)
