"""A layer on the CPU: event-driven synapse and LIF or leaky integrator fused over time, with gradients."""

import numpy as np
import torch

from paraspike.buffers import borrow
from paraspike.errors import ReaderError
from paraspike.ops.jit import njit
from paraspike.ops.layer.kernels import backward_kernel, fold, forward_kernel, turn_back
from paraspike.ops.layer.wide import Wide, flat_of, is_wide, rows_of
from paraspike.ops.lif.options import coefficients, options
from paraspike.ops.synapse import rows
from paraspike.ops.synapse.sources import density_of, source_of
from paraspike.spikes import Spikes
from paraspike.threads import get_threads, run_blocks

# Samples of a block; and into how many groups of blocks, each with its own partial sum, a seed's weight
# gradient is split. Both follow from the shape alone, so that bits do not depend on threads.
_BLOCK, _GROUPS = 8, 8
# Density from which weights are also packed for products, which pay in the denser chunks.
_PACK_ABOVE = 0.05


def layer(
    x: Spikes,
    weight,
    bias,
    neuron,
    recurrent=None,
    delay: int = 0,
    trace: bool = False,
    notes=None,
    local: bool = False,
    marks: bool = False,
):
    """A whole layer: what `synapse`, then `lif` or `integrate` of backend reference give.

    Args:
        x: [T, S*B, N_in].  weight, bias, delay: as `synapse.reference.synapse`.
        neuron: LIF, or LeakyIntegrator for its potential.  recurrent, local: as `lif.reference.lif`.
        marks: mark the neurons within reach of the surrogate (`Spikes.near`) under no_grad too.
        trace: return the LIF's potential before the reset too, [T, S*B, N], outside autograd.
        notes: a dict that is told the share of the work done by products, `product_share`.

    Returns:
        `Spikes` [T, S*B, N], or a LeakyIntegrator's potential.

    Bits depend neither on the number of threads nor on how the synapse is computed: a sum of weight
    gradients runs sample by sample within one of a fixed number of groups, then over these in order; in
    a wide layer (`wide.is_wide`) over all samples of a seed, last rows first.
    Where the surrogate before has a reach, `x` knows which neurons lie within it (`Spikes.near`), and the
    gradient of the others, which could teach nothing, may come back as zero.

    Raises:
        ReaderError: shapes or dtypes that do not fit.
    """
    _check(x, weight, bias, recurrent, delay)
    # Asked here: inside a Function a parameter seems to need its gradient under no_grad too.
    learns = torch.is_grad_enabled()
    if is_wide(x.shape, weight, recurrent):
        done = Wide.apply(x.carrier, weight, bias, x, neuron, delay, trace, learns, marks)
    else:
        done = _Layer.apply(
            x.carrier, weight, bias, recurrent, x, neuron, delay, trace, learns, local, marks
        )
    out, totals, bits, near, potential, taken = done
    if notes is not None:
        notes["product_share"] = float(taken[:, 1].sum() / max(1, taken[:, 0].sum()))
    if neuron.fires:
        out = Spikes.from_bits(bits, (*x.shape[:2], weight.shape[-1]), out, totals, near)
    return (out, potential) if trace else out


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, carrier, weight, bias, recurrent, x, neuron, delay, trace, learns, local, marks
    ):
        ctx.set_materialize_grads(False)
        steps, batch, n_in = x.shape
        n, dtype = weight.shape[-1], weight.dtype
        real = np.float64 if dtype == torch.float64 else np.float32
        flat = flat_of(weight)
        seeds = flat.size // (n_in * n)
        per_seed, words = batch // seeds, -(-n // 64)
        block = min(_BLOCK, max(1, per_seed // 4))
        tasks = max(1, seeds * -(-per_seed // block))
        span = _span(n, tasks, recurrent)
        dims = (steps, batch, n_in, n, per_seed, block, delay, span, 4 * words)
        source = source_of(x, real)
        product = density_of(source, x.shape) > _PACK_ABOVE
        packed = _pack(flat, seeds, n_in, n, n, 1) if product else np.empty(0, real)
        offset = np.zeros((seeds, rows.padded(n)), real)
        if bias is not None:
            offset[:, :n] = bias.detach().numpy().reshape(seeds, n)
        loop = np.empty(0, real)
        if recurrent is not None:
            loop = flat_of(recurrent)
        bits = np.zeros((steps * batch, words), np.uint64)
        totals = torch.zeros(batch, n, dtype=dtype)
        learns = learns and any(ctx.needs_input_grad)
        stores = bool(not neuron.fires or trace or learns)
        chosen = options(neuron, near=learns or marks)
        near = np.zeros((steps * batch, words) if chosen[-1] else (0, 0), np.uint64)
        # Sample by sample in memory, as it is walked; a readout's output is time first as all activity is.
        shape = (batch, steps if stores else 1, n) if neuron.fires else (steps, batch, n)
        step, stride = (n * stores, shape[1] * n) if neuron.fires else (batch * n, n)
        potential = borrow(shape, dtype)
        adaptation = borrow(shape, dtype) if chosen[6] else torch.empty(0, dtype=dtype)
        drives = borrow(shape, dtype) if chosen[8] else torch.empty(0, dtype=dtype)
        saved = [v.reshape(-1).numpy() for v in (potential, adaptation, drives)]
        c = coefficients(neuron, real)
        patience = getattr(neuron, "refractory_steps", 0)
        kernel = forward_kernel(chosen, recurrent is not None)
        taken = np.zeros((tasks * -(-n // span), 2), np.int64)
        if steps and batch:
            run_blocks(kernel, tasks * -(-n // span), dims, source, flat, packed, offset.reshape(-1),
                       loop, c, patience, bits.view(np.uint16).reshape(-1),
                       near.view(np.uint16).reshape(-1), *saved, step, stride,
                       totals.reshape(-1).numpy(), taken.reshape(-1))  # fmt: skip
        ctx.local = local
        ctx.source, ctx.dims, ctx.neuron, ctx.product = source, dims, neuron, product
        ctx.bits, ctx.potential, ctx.more = bits, potential, (adaptation, drives)
        ctx.near = np.empty(0, np.uint16) if x.near is None else x.near.view(np.uint16).reshape(-1)
        ctx.biased, ctx.strides = None if bias is None else bias.shape, (step, stride)
        # The carrier too: torch then notices an input that was changed in place before the way back.
        ctx.save_for_backward(weight, recurrent, carrier)
        if neuron.fires:
            out = torch.zeros((), dtype=dtype).expand(steps, batch, n)
        else:
            out, totals, ctx.potential = potential, None, None
        seen = potential.transpose(0, 1) if trace and neuron.fires else None
        if seen is not None:
            ctx.mark_non_differentiable(seen)
        return out, totals, bits, near if chosen[-1] else None, seen, taken

    @staticmethod
    def backward(ctx, grad, total, *_):
        weight, recurrent, _ = ctx.saved_tensors
        steps, batch, n_in, n, per_seed, block, delay, _, words = ctx.dims
        seeds, dtype = weight.shape[0] if weight.dim() == 3 else 1, weight.dtype
        real = np.float64 if dtype == torch.float64 else np.float32
        if grad is None and total is None:
            return (None,) * 11
        groups = max(1, min(_GROUPS, -(-per_seed // block)))
        span = _span(n, seeds * groups, recurrent)
        dims = (steps, batch, n_in, n, per_seed, block, delay, span, words)
        flat = flat_of(weight)
        wants = ctx.needs_input_grad[0]
        turned = _pack(flat, seeds, n, n_in, 1, n) if wants else np.empty(0, real)
        loop_turned = np.empty(0, real)
        if recurrent is not None and not ctx.local:
            loop_turned = _pack(flat_of(recurrent), seeds, n, n, 1, n)
        of_weight = _partial(seeds, groups, n_in * n, dtype)
        of_bias = _partial(seeds, groups, n, dtype)
        of_loop = _partial(seeds, groups, n * n if recurrent is not None else 0, dtype)
        of_input = borrow((batch, steps, n_in), dtype) if wants else torch.empty(0, dtype=dtype)
        split = span < n and wants
        sent = torch.zeros(batch, steps, n, dtype=dtype) if split else torch.empty(0, dtype=dtype)
        sums = torch.zeros(batch, n, dtype=dtype) if total is None else total.contiguous()
        arrived, g_step, g_stride = rows_of(grad, n, dtype)
        nothing = torch.empty(0, dtype=dtype)
        kernel = backward_kernel(options(ctx.neuron), recurrent is not None)
        stored = [nothing if v is None else v for v in (ctx.potential, *ctx.more)]
        if steps and batch:
            run_blocks(kernel, seeds * groups * -(-n // span), dims, groups, ctx.source, ctx.product,
                       turned, loop_turned, not ctx.local, coefficients(ctx.neuron, real),
                       getattr(ctx.neuron, "refractory_steps", 0), ctx.bits.view(np.uint16).reshape(-1),
                       *[v.reshape(-1).numpy() for v in stored],
                       *ctx.strides, arrived, g_step, g_stride, sums.reshape(-1).numpy(),
                       of_weight.reshape(-1), of_bias.reshape(-1), ctx.biased is not None,
                       of_loop.reshape(-1), of_input.reshape(-1).numpy(), wants and not split,
                       flat, ctx.near, sent.reshape(-1).numpy(), split)  # fmt: skip
            if split:
                run_blocks(turn_back, batch, dims, sent.reshape(-1).numpy(), turned,
                           of_input.reshape(-1).numpy())  # fmt: skip
        else:
            for part in (of_weight, of_bias, of_loop):
                part[:] = 0
        if wants and delay:
            of_input[:, max(0, steps - delay) :] = 0
        return (
            of_input.transpose(0, 1) if wants else None,
            _sum(of_weight, weight.shape),
            None if ctx.biased is None else _sum(of_bias, ctx.biased),
            None if recurrent is None else _sum(of_loop, recurrent.shape),
            *[None] * 7,
        )


def _span(n, tasks, recurrent):
    """Neurons of a task, whole words of spikes: a layer of fewer tasks than threads is split over its
    neurons too; a recurrent one cannot be."""
    parts = 1 if recurrent is not None else min(-(-n // 64), -(-get_threads() // tasks))
    return -(-n // (64 * parts)) * 64


def _check(x, weight, bias, recurrent, delay):
    n_in, n = weight.shape[-2:]
    seeds = weight.shape[0] if weight.dim() == 3 else 1
    fits = x.shape[2] == n_in and x.shape[1] % seeds == 0
    fits &= bias is None or bias.numel() == seeds * n
    fits &= recurrent is None or tuple(recurrent.shape) == (*weight.shape[:-2], n, n)
    if not fits:
        shapes = [None if v is None else list(v.shape) for v in (x, weight, bias, recurrent)]
        raise ReaderError(
            "activity {}, weight {}, bias {} and recurrent weight {} do not fit".format(*shapes),
            "operator layer, backend cpu",
            "[T, S*B, N_in], [S, N_in, N], [S, N], [S, N, N]",
        )
    if delay < 0:
        raise ReaderError(f"a delay of {delay} steps", "operator layer, backend cpu", "0 or more")
    if recurrent is not None and recurrent.dtype != weight.dtype:
        raise ReaderError(
            f"recurrent weight {recurrent.dtype}, weight {weight.dtype}",
            "operator layer, backend cpu",
            "one dtype for both",
        )
    if weight.dtype not in (torch.float32, torch.float64) or weight.device.type != "cpu":
        raise ReaderError(
            f"weights {weight.dtype} on {weight.device}",
            "operator layer, backend cpu",
            "float32 or float64 on the CPU",
        )


@njit
def _pack_all(start, stop, weight, k, n, row_step, column_step, packed):
    size = k * rows.padded(n)
    for seed in range(start, stop):
        rows.pack(weight, seed * k * n, k, n, row_step, column_step, packed, seed * size)


def _pack(weight, seeds, k, n, row_step, column_step):
    packed = np.empty(seeds * k * rows.padded(n), weight.dtype)
    run_blocks(_pack_all, seeds, weight, k, n, row_step, column_step, packed)
    return packed


def _partial(seeds, groups, size, dtype):
    """Room for [S, groups, size], which the kernel clears."""
    return borrow((seeds, groups, size), dtype).numpy()


def _sum(parts, shape):
    """Their sum over the groups; zero where nothing was computed."""
    seeds, groups, size = parts.shape
    if groups == 1:
        return torch.from_numpy(parts).reshape(shape)
    out = np.empty((seeds, size), parts.dtype)
    run_blocks(fold, size, parts, size, out, grain=1024)
    return torch.from_numpy(out).reshape(shape)
