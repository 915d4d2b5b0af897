"""Surrogate derivatives and the spike function that uses them."""

import math

import torch

from paraspike.neurons import Surrogate


def derivative(v: torch.Tensor, surrogate: Surrogate) -> torch.Tensor:
    """ds/dv at the distance v to threshold, any shape (formulas: `Surrogate`)."""
    d = _over_all(v, surrogate)
    low, high = surrogate.window
    return d if low == -math.inf and high == math.inf else d * ((v > low) & (v < high))


def _over_all(v, surrogate):
    k = surrogate.slope
    if surrogate.shape == "sigmoid":
        s = torch.sigmoid(k * v)
        return k * s * (1 - s)
    if surrogate.shape == "fast_sigmoid":
        d = 1 / (k * v.abs() + 1) ** 2
    elif surrogate.shape == "triangle":
        d = torch.clamp(1 - k * v.abs(), min=0)
    elif surrogate.shape == "arctan":
        d = 1 / (1 + (math.pi / 2 * k * v) ** 2)
    else:
        d = (k * v.abs() < 0.5).to(v.dtype)
    return surrogate.height * d


class Fire(torch.autograd.Function):
    """Spikes where `condition`, with ds/dv = the surrogate at distance `at` where `allowed`.

    `at` may differ from v (potential after the reset); the gradient goes to v in either case.
    """

    @staticmethod
    def forward(ctx, v, condition, at, surrogate, allowed=None):
        ctx.save_for_backward(at, allowed)
        ctx.surrogate = surrogate
        return condition.to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        at, allowed = ctx.saved_tensors
        slope = derivative(at, ctx.surrogate)
        if allowed is not None:
            slope = slope * allowed
        return grad * slope, None, None, None, None
