"""The definition of a synapse: a matrix product at every time step."""

import torch

from paraspike.spikes import Spikes


class _Product(torch.autograd.Function):
    """x [R, N_in] times w [N_in, N_out], plus b; gradients are products over the same rows alone, so
    a seed's bits do not depend on what is computed beside it."""

    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        ctx.biased = b is not None
        return x @ w if b is None else torch.addmm(b, x, w)

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        grad = grad.contiguous()
        of_x = grad @ w.T if ctx.needs_input_grad[0] else None
        of_b = grad.new_ones(len(grad)) @ grad if ctx.biased else None
        return of_x, x.T @ grad, of_b


def synapse(x, weight: torch.Tensor, bias: torch.Tensor | None, delay: int = 0) -> torch.Tensor:
    """Input currents [T, S*B, N_out] of activity x [T, S*B, N_in], a tensor or `Spikes`.

    Args:
        weight: [N_in, N_out], or [S, N_in, N_out] for S seeds whose samples follow one another.
        bias: [N_out] or [S, N_out], or None.
        delay: steps between activity and its effect; the first ones see nothing, not even the bias.
    """
    if isinstance(x, Spikes):
        x = x.dense(weight.dtype).to(weight.device)
    weights = weight[None] if weight.dim() == 2 else weight
    biases = [None] * len(weights) if bias is None else bias.reshape(len(weights), -1)
    parts = []
    for block, w, b in zip(x.chunk(len(weights), dim=1), weights, biases, strict=True):
        rows = block.reshape(-1, block.shape[2])
        # Cloned because a product's last bits may depend on how its operands lie in memory.
        part = _Product.apply(rows, w.clone(), b)
        parts.append(part.reshape(*block.shape[:2], w.shape[1]))
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    if delay:
        late = torch.zeros_like(out)
        late[delay:] = out[: max(0, len(out) - delay)]
        return late
    return out
