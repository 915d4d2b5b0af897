"""SPSN's four spike functions in torch; noise comes in as an argument, so any backend can draw it."""

import torch

from paraspike.neurons import SPSN
from paraspike.ops.surrogate import Fire


def _evenly(function, x: torch.Tensor) -> torch.Tensor:
    """function(x), elementwise, with bits that depend on neither size nor threads.

    torch computes what is left over after whole vectors with another routine, one rounding apart, so
    the tensor is padded until each thread's share is whole.
    """
    whole = 32 * torch.get_num_threads()
    flat = torch.nn.functional.pad(x.reshape(-1), (0, -x.numel() % whole))
    return function(flat)[: x.numel()].reshape(x.shape)


class Sample(torch.autograd.Function):
    """Spikes that carry a gradient factor computed with the forward pass."""

    @staticmethod
    def forward(ctx, u, spikes, factor):
        ctx.save_for_backward(factor)
        return spikes

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None


def spike(u: torch.Tensor, neuron: SPSN, noise: torch.Tensor | None) -> torch.Tensor:
    """Spikes [T, B, N] of potentials u [T, B, N] (formulas: `neurons.SPSN`).

    Args:
        noise: uniform in (0, 1), [T, B, N]; needed by SB and GS, ignored by T and D.
    """
    if neuron.spike == "SB":
        rho = _evenly(torch.sigmoid, neuron.slope * u.detach())
        spikes = (noise < rho).to(u.dtype)
        return Sample.apply(u, spikes, neuron.slope * rho * rho * (1 - rho))
    if neuron.spike == "GS":
        logit = 2 * u.detach() + _evenly(torch.logit, noise)
        spikes = (logit > 0).to(u.dtype)
        y = _evenly(torch.sigmoid, logit / neuron.temperature)
        return Sample.apply(u, spikes, 2 / neuron.temperature * y * (1 - y))
    at = u - neuron.threshold
    if neuron.spike == "D":
        at = at - torch.cat([torch.zeros_like(u[:1]), u[:-1]])
    return Fire.apply(at, at.detach() > 0, at.detach(), neuron.surrogate)
