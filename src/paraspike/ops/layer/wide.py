"""A wide layer on the CPU: too many weights for the second-level cache, so strip of neurons by strip."""

import numpy as np
import torch

from paraspike.buffers import borrow
from paraspike.ops.layer.strips import (
    backward_strips,
    collect_dots,
    forward_strips,
    in_rows,
    send_strips,
)
from paraspike.ops.lif.options import coefficients, options
from paraspike.ops.simd import LANES
from paraspike.ops.synapse.activity import Activity, grain
from paraspike.ops.synapse.chunks import BITS
from paraspike.ops.synapse.sources import source_of
from paraspike.ops.synapse.strips import TILE
from paraspike.threads import get_threads, run_blocks

# Weights from which a layer is wide, and rows (samples times steps) that are worth packing them for.
WIDE_FROM, ROWS_FROM = 1 << 16, 128
# Inputs up to which a strip of 64 columns, its gradient beside it, fits the second-level cache.
INPUTS_OF_64 = 1024
# Pieces a thread gets: as fine as a strip, for few of them make a layer.
_FINE = 64
# Share of non-zeros above which a product beats summing rows, forward and for the weights' gradient, and
# share of presynaptic neurons near threshold below which the gradient goes to these alone.
GATHER_BELOW, SCATTER_BELOW, DOTS_BELOW = 0.45, 0.3, 0.2


def is_wide(shape, weight, recurrent) -> bool:
    """Whether activity [T, S*B, N_in] is computed here; a recurrent layer needs all neurons at every step."""
    n_in, n = weight.shape[-2:]
    seeds = weight.shape[0] if weight.dim() == 3 else 1
    large = n >= 256 and n_in * n >= WIDE_FROM
    return recurrent is None and large and shape[0] * shape[1] >= ROWS_FROM * seeds


class Wide(torch.autograd.Function):
    """As `cpu._Layer`, without recurrence."""

    @staticmethod
    def forward(ctx, carrier, weight, bias, x, neuron, delay, trace, learns, marks):
        ctx.set_materialize_grads(False)
        steps, batch, n_in = x.shape
        n, dtype = weight.shape[-1], weight.dtype
        real = np.float64 if dtype == torch.float64 else np.float32
        flat = flat_of(weight)
        seeds = flat.size // (n_in * n)
        per_seed = batch // seeds
        wide = 64 if n_in <= INPUTS_OF_64 else 32
        strips = -(-n // wide)
        shares = _shares(seeds * strips, per_seed)
        dims = (steps, batch, n_in, n, per_seed, delay, wide, shares)
        activity = Activity(source_of(x, real), x.shape)
        product = activity.density > GATHER_BELOW
        offset = np.zeros(seeds * n, real) if bias is None else flat_of(bias)
        learns = learns and any(ctx.needs_input_grad)
        stores = bool(not neuron.fires or trace or learns)
        chosen = options(neuron, near=learns or marks)
        # Of neurons out of reach the way back needs no potential, unless a reset or a threshold asks for it.
        if chosen[-1] and not (trace or chosen[6] or (chosen[2] and chosen[9] == 2)):
            chosen = (*chosen[:-1], 2)
        words = _words(strips, batch * steps, wide)
        near = _words(strips if chosen[-1] else 0, batch * steps, wide)
        totals = borrow((batch, n), dtype)
        totals.numpy().fill(0)
        if neuron.fires:
            shape, kept = (strips, batch, steps if stores else 1, wide), steps if stores else 1
            place = ((batch * kept - 1) * wide, kept * wide, wide * stores)
        else:
            shape, place = (steps, batch, n), (0, n, batch * n)
        potential = borrow(shape, dtype)
        adaptation = borrow(shape if chosen[6] else (0,), dtype)
        drives = borrow(shape if chosen[8] else (0,), dtype)
        stored = [v.reshape(-1).numpy() for v in (potential, adaptation, drives)]
        if steps and batch:
            forms = _forms(activity, product, delay)
            run_blocks(forward_strips(chosen), seeds * strips * shares, dims, *forms, product, flat, offset,
                       coefficients(neuron, real), getattr(neuron, "refractory_steps", 0), words, near,
                       *stored, place, totals.reshape(-1).numpy(), pieces=_FINE)  # fmt: skip
        ctx.activity, ctx.dims, ctx.neuron, ctx.words = activity, dims, neuron, words
        ctx.stored, ctx.place, ctx.near, ctx.marks = stored, place, x.near, near
        ctx.chosen = chosen
        ctx.biased = None if bias is None else bias.shape
        # The carrier too: torch then notices an input that was changed in place before the way back.
        ctx.save_for_backward(weight, carrier)
        bits = seen = reached = None
        if neuron.fires:
            out = torch.zeros((), dtype=dtype).expand(steps, batch, n)
            bits = _public(words, dims)
            reached = _public(near, dims) if chosen[-1] else None
            if trace:
                seen = potential.permute(2, 1, 0, 3).reshape(steps, batch, strips * wide)[..., :n]
                ctx.mark_non_differentiable(seen)
        else:
            out, totals, ctx.stored = potential, None, [np.empty(0, real)] * 3
        taken = np.array([[1, int(product)]])
        return out, totals, bits, reached, seen, taken

    @staticmethod
    def backward(ctx, grad, total, *_):
        if grad is None and total is None:
            return (None,) * 9
        weight, _ = ctx.saved_tensors
        steps, batch, n_in, n, per_seed, delay, wide, _ = ctx.dims
        dtype, flat, rows = weight.dtype, flat_of(weight), batch * steps
        real, strips = flat.dtype.type, -(-n // wide)
        seeds = flat.size // (n_in * n)
        wants = ctx.needs_input_grad[0]
        of_weight = borrow(weight.shape, dtype)
        of_bias = torch.zeros(0 if ctx.biased is None else seeds * n, dtype=dtype)
        of_input = borrow((batch, steps, n_in), dtype) if wants else None
        near, few = (np.zeros(1, np.int64), np.empty(0, np.int32)), False
        dots = sent = np.empty(0, real)
        if wants and steps and batch:
            reach = _reach(ctx.near, ctx.activity)
            few = reach is not None and reach.density < DOTS_BELOW
            if few:
                near = reach.lists[:2]
                dots = borrow((strips * max(1, reach.events),), dtype).numpy()
            else:
                sent = borrow((strips * rows * wide + TILE * wide,), dtype).numpy()
        if steps and batch:
            product = ctx.activity.density > SCATTER_BELOW
            forms = _forms(ctx.activity, product, delay)
            sums = torch.zeros(batch, n, dtype=dtype) if total is None else total.contiguous()
            run_blocks(backward_strips(ctx.chosen), seeds * strips, ctx.dims, *forms, product, flat,
                       coefficients(ctx.neuron, real), getattr(ctx.neuron, "refractory_steps", 0),
                       ctx.words, ctx.marks, *ctx.stored, ctx.place, *rows_of(grad, n, dtype),
                       sums.reshape(-1).numpy(), of_weight.reshape(-1).numpy(), of_bias.numpy(), near, dots,
                       sent, pieces=_FINE)  # fmt: skip
            if few:
                run_blocks(collect_dots, batch, ctx.dims, near, dots, of_input.reshape(-1).numpy())
            elif wants:
                parts = seeds * -(-n_in // wide)
                shares = _shares(parts, per_seed)
                run_blocks(send_strips, parts * shares, (*ctx.dims[:-1], shares), flat, sent,
                           of_input.reshape(-1).numpy(), pieces=_FINE)  # fmt: skip
        else:
            of_weight.zero_()
        if wants and delay:
            of_input[:, max(0, steps - delay) :] = 0
        return (
            of_input.transpose(0, 1) if wants else None,
            of_weight,
            None if ctx.biased is None else of_bias.reshape(ctx.biased),
            *[None] * 6,
        )


def _shares(tasks, per_seed):
    """Into how many shares of its samples a strip is split, so that every thread has some tasks."""
    return max(1, min(per_seed, -(-4 * get_threads() // max(1, tasks))))


def _words(strips, rows, wide):
    words = borrow((strips * rows * (wide // LANES),), torch.int16).numpy().view(np.uint16)
    words.fill(0)
    return words


def _public(words, dims):
    steps, batch, _, n, *_ = dims
    out = np.zeros((steps * batch, -(-n // 64)), np.uint64)
    whole = np.uint64 if dims[6] == 64 else np.uint32
    run_blocks(in_rows, batch, dims, words.view(whole), out.view(whole).reshape(-1),
               grain=grain(out.size, batch))  # fmt: skip
    return out


def _reach(near, activity):
    """The neurons within reach of their surrogate as an activity, where they are known."""
    if near is None:
        return None
    source = activity.source
    words = near.view(np.uint16).reshape(-1), 4 * near.shape[1]
    return Activity((BITS, *source[1:4], *words, source[6]), activity.shape)


def _forms(activity, product, delay):
    """The activity's lists and tiles, one of them empty."""
    real = activity.source[6].dtype
    if product:
        no_lists = np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, real)
        return no_lists, activity.tiles(delay)
    return activity.lists, np.empty(0, real)


def flat_of(tensor):
    return tensor.detach().contiguous().reshape(-1).numpy()


def rows_of(grad, n, dtype):
    """A gradient [T, B, N] as flat memory with its steps from one time, and one sample, to the next."""
    if grad is None or not grad.numel():
        return np.zeros(n, np.float64 if dtype == torch.float64 else np.float32), 0, 0
    if grad.stride(2) != 1 and n > 1:
        grad = grad.contiguous()
    step, stride = grad.stride(0), grad.stride(1)
    reach = step * (grad.shape[0] - 1) + stride * (grad.shape[1] - 1) + n
    return grad.as_strided((reach,), (1,)).numpy(), step, stride
