"""The definition of a synapse: a matrix product at every time step."""

import torch


class _ContiguousGradient(torch.autograd.Function):
    """Identity whose gradient is laid out afresh: sums then run in one order for 1 seed or many."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad.contiguous()


def synapse(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Input currents [T, S*B, N_out] of activity x [T, S*B, N_in].

    Args:
        weight: [N_in, N_out], or [S, N_in, N_out] for S seeds whose samples follow one another.
        bias: [N_out] or [S, N_out], or None.
    """
    if weight.dim() == 2:
        out = x @ weight
        return out if bias is None else out + bias
    blocks = x.chunk(len(weight), dim=1)
    # Cloned because a product's last bits may depend on how its operands are aligned in memory.
    parts = [block.contiguous() @ w.clone() for block, w in zip(blocks, weight, strict=True)]
    if bias is not None:
        parts = [part + b for part, b in zip(parts, bias, strict=True)]
    return torch.cat([_ContiguousGradient.apply(part) for part in parts], dim=1)
