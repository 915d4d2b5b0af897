"""Products of dense activity and weights by torch, in a precision that is asked for by name."""

import contextlib

import torch

# Bytes on which torch lays out a CPU tensor; a GPU's products look at 16 of them.
ALIGNED = 64


@contextlib.contextmanager
def multiplying(precision: str):
    """float32 products in float32, or for "tf32" by tensor cores; what was set before is set again."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def product(a: torch.Tensor, b: torch.Tensor, precision: str) -> torch.Tensor:
    """a @ b of two matrices, in their type; "bf16" rounds the operands, and adds up in float32."""
    if precision != "bf16":
        return a @ b
    a, b = a.bfloat16(), b.bfloat16()
    if a.is_cuda and a.numel() and b.numel():
        return torch.mm(a, b, out_dtype=torch.float32)
    # The same sums: a product of two bfloat16 numbers is exact in float32.
    return a.float() @ b.float()


def of_seed(activity: torch.Tensor, seed: int, seeds: int, start: int, stop: int) -> torch.Tensor:
    """Rows [(stop - start) * B, N] of one seed's samples in [T, S*B, N], steps start .. stop; so aligned that
    a product takes them for what another seed's are."""
    per_seed = activity.shape[1] // seeds
    part = activity[start:stop, seed * per_seed : (seed + 1) * per_seed].flatten(0, 1)
    return part if part.data_ptr() % ALIGNED == 0 else part.clone()


def apply(x, weight, bias, delay: int, precision: str) -> torch.Tensor:
    """Currents [T, S*B, N_out] of x [T, S*B, N_in], weight [S, N_in, N_out], bias [S, N_out] or None.

    A product a seed: its last bits would depend on what is computed beside it.
    """
    steps, batch, _ = x.shape
    seeds, _, n = weight.shape
    parts = []
    for s in range(seeds):
        # Cloned because a product's last bits may depend on how its operands lie in memory.
        part = product(of_seed(x, s, seeds, 0, max(0, steps - delay)), weight[s].clone(), precision)
        parts.append(part if bias is None else part.add_(bias[s]))
    if seeds == 1 and not delay:
        return parts[0].reshape(steps, batch, n)
    out = x.new_zeros(steps, batch, n)
    for s, block in enumerate(out[delay:].chunk(seeds, 1) if parts[0].numel() else ()):
        block.copy_(parts[s].reshape(block.shape))
    return out


def to_inputs(grad, weight, delay: int, precision: str) -> torch.Tensor:
    """Gradient [T, S*B, N_in] of the activity from that of the currents [T, S*B, N_out]."""
    steps, batch, _ = grad.shape
    seeds, n_in, _ = weight.shape
    parts = [
        product(of_seed(grad, s, seeds, delay, steps), weight[s].clone().T, precision)
        for s in range(seeds)
    ]
    if seeds == 1 and not delay:
        return parts[0].reshape(steps, batch, n_in)
    out = grad.new_zeros(steps, batch, n_in)
    late = max(0, steps - delay)
    for s, block in enumerate(out[:late].chunk(seeds, 1) if parts[0].numel() else ()):
        block.copy_(parts[s].reshape(block.shape))
    return out


def to_weights(x, grad, delay: int, seeds: int, precision: str) -> torch.Tensor:
    """Gradient [S, N_in, N_out] of the weights."""
    steps = len(x)
    parts = []
    for s in range(seeds):
        rows = of_seed(x, s, seeds, 0, max(0, steps - delay))
        parts.append(product(rows.T, of_seed(grad, s, seeds, delay, steps), precision))
    return parts[0][None] if seeds == 1 else torch.stack(parts)
