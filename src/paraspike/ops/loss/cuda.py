"""Cross entropy of a readout over time, all seeds at once: two kernels there, one torch call back.

A seed's numbers come out of its own samples alone, in an order that does not depend on how many seeds there
are: `bptt.Objective.one_seed` in float32, whose ten launches a seed would take longer than all else in a step.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from paraspike.errors import ReaderError
from paraspike.ops.synapse.cuda import check_device

_WHERE = "operator loss, backend cuda"
# Steps of a part of the sum over time, lanes of a program and steps loaded ahead of their sum.
SHARE, LANES, STAGES = 64, 128, 8
# Logits that a program holds at a time, 16 a thread.
HELD, WARPS = 2048, 4


@triton.jit(do_not_specialize=["steps", "lanes"])
def time_sums(
    x, parts, steps, lanes, SHARE: tl.constexpr, LANES: tl.constexpr, STAGES: tl.constexpr
):
    """parts[k] = sum of the k-th SHARE steps of x [steps, lanes], in order."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    part = tl.program_id(1)
    within = lane < lanes
    first = part * SHARE
    total = tl.zeros([LANES], parts.dtype.element_ty)
    for t in tl.range(first, tl.minimum(first + SHARE, steps), num_stages=STAGES):
        total += tl.load(x + tl.cast(t, tl.int64) * lanes + lane, mask=within, other=0)
    tl.store(parts + tl.cast(part, tl.int64) * lanes + lane, total, mask=within)


@triton.jit(do_not_specialize=["pieces", "divisor", "rows", "per_seed"])
def cross_entropies(parts, labels, losses, hits, slopes, pieces, divisor, rows, per_seed, n,
                    KEEP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """A program a seed: mean cross entropy and hits of the logits sum(parts) / divisor, [rows, n], and the
    loss's slope by each logit. A label that is no column makes the loss nan."""
    real = parts.dtype.element_ty
    seed = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, COLUMNS)
    within = (col < n)[None, :]
    every = tl.zeros([ROWS], real)
    right_ones = tl.zeros([ROWS], tl.int64)
    for first in range(0, per_seed, ROWS):
        sample = first + tl.arange(0, ROWS)
        own = sample < per_seed
        row = seed * per_seed + sample
        at = row[:, None] * n + col[None, :]
        logit = tl.zeros([ROWS, COLUMNS], real)
        for k in range(0, pieces):
            shift = tl.cast(k, tl.int64) * rows * n
            logit += tl.load(parts + shift + at, mask=own[:, None] & within, other=0)
        logit = tl.where(within, logit / tl.cast(divisor, real), float("-inf"))
        label = tl.load(labels + row, mask=own, other=0)
        top = tl.max(logit, axis=1)
        share = tl.exp(logit - top[:, None])
        whole = tl.sum(share, axis=1)
        right = col[None, :] == label[:, None]
        wanted = tl.sum(tl.where(right, logit, 0.0), axis=1)
        loss = tl.log(whole) - (wanted - top)
        loss = tl.where((label >= 0) & (label < n), loss, float("nan"))
        every += tl.where(own, loss, 0.0)
        best = tl.argmax(logit, axis=1)
        right_ones += (own & (best == label)).to(tl.int64)
        if KEEP:
            slope = (share / whole[:, None] - right.to(real)) / tl.cast(per_seed, real)
            tl.store(slopes + at, slope, mask=own[:, None] & within)
    tl.store(losses + seed, tl.sum(every, axis=0) / tl.cast(per_seed, real))
    tl.store(hits + seed, tl.sum(right_ones, axis=0))


class _CrossEntropies(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, labels, seeds, divisor, keep):
        x = x.contiguous()
        ctx.shape, ctx.divisor = x.shape, divisor
        steps, rows, n = x.shape
        parts, pieces = x, -(-steps // SHARE)
        losses, hits = x.new_empty(seeds), labels.new_empty(seeds)
        slopes = x.new_empty(rows, n) if keep else x
        columns = 1 << (n - 1).bit_length()
        with torch.cuda.device_of(x):
            if steps > 1:
                parts, lanes = x.new_empty(pieces, rows, n), rows * n
                time_sums[-(-lanes // LANES), pieces](
                    x, parts, steps, lanes, SHARE=SHARE, LANES=LANES, STAGES=STAGES, num_warps=1
                )
            cross_entropies[(seeds,)](
                parts, labels, losses, hits, slopes, pieces, divisor, rows, rows // seeds, n,
                KEEP=keep, ROWS=max(1, HELD // columns), COLUMNS=columns, num_warps=WARPS,
            )  # fmt: skip
        ctx.mark_non_differentiable(hits)
        if keep:
            ctx.save_for_backward(slopes)
        return losses, hits

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        (slopes,) = ctx.saved_tensors
        of_sums = slopes.view(len(grad), -1) * (grad / ctx.divisor)[:, None]
        return of_sums.view(1, *slopes.shape).expand(ctx.shape), None, None, None, None


def losses(readout: torch.Tensor, labels: torch.Tensor, seeds: int, mean: bool = True):
    """(mean cross entropies [S], hits int64 [S]) of each seed's samples in readout [T, S*B, C], float32 or
    float64, by its mean over time, or its sum; labels int64 [S*B].

    Raises:
        ReaderError: operands that do not fit, or lie where no kernel can reach them.
    """
    steps, rows, n = readout.shape
    fits = (
        labels.shape == (rows,) and labels.dtype == torch.int64 and min(steps, rows, n, seeds) > 0
    )
    if not fits or rows % seeds or labels.device != readout.device:
        raise ReaderError(
            f"readout {list(readout.shape)} on {readout.device}, labels {labels.dtype} "
            f"{list(labels.shape)} on {labels.device}, {seeds} seeds",
            _WHERE,
            "[T, S*B, C] and int64 [S*B], none of them empty, on one device",
        )
    check_device(readout, "readout", _WHERE)
    keep = torch.is_grad_enabled() and readout.requires_grad
    divisor = steps if mean else 1
    return _CrossEntropies.apply(readout, labels.contiguous(), seeds, divisor, keep)
