"""A layer cut at its synapse, so that the input's gradient and the weights' are tasks of their own."""

from collections.abc import Callable

import torch
from torch import nn


def padding(synapse: nn.Conv2d) -> list[int] | None:
    """Zeros on each side of a plane, [rows, columns]; None if they differ from side to side."""
    if synapse.padding_mode != "zeros" or isinstance(synapse.padding, tuple):
        return list(synapse.padding) if synapse.padding_mode == "zeros" else None
    if synapse.padding == "valid":
        return [0, 0]
    both = [d * (k - 1) for d, k in zip(synapse.dilation, synapse.kernel_size, strict=True)]
    return [total // 2 for total in both] if not any(total % 2 for total in both) else None


def gradients(synapse, weight, rows, error, mask):
    """Of input, weight and bias, those that `mask` names, from the error of the output: what autograd computes
    for them, in its own kernels, but each without the others."""
    if isinstance(synapse, nn.Linear):
        error2 = error.flatten(0, -2)
        return (
            error @ weight if mask[0] else None,
            error2.t() @ rows.flatten(0, -2) if mask[1] else None,
            error2.sum(0) if mask[2] else None,
        )
    sizes = [synapse.out_channels]
    return torch.ops.aten.convolution_backward(
        error, rows, weight, sizes, synapse.stride, padding(synapse), synapse.dilation, False,
        [0, 0], synapse.groups, mask,
    )  # fmt: skip


class Cut:
    """A sample's way through a layer, cut at the synapse: x -> rows, and currents -> out.

    Args:
        x: the layer's input; only its shape counts where no gradient of weights is wanted, for before
            its synapse a layer is linear.
        affine: currents of rows.
    """

    def __init__(self, module: nn.Module, x: torch.Tensor, affine: Callable):
        def synapse(rows):
            self.rows = rows
            with torch.no_grad():
                self.currents = affine(rows)
            return self.currents.requires_grad_()

        self.x, self.module, self._back = x.detach().requires_grad_(), module, None
        self.out = module(self.x, synapse)

    def back(self, error):
        """dI, through the neurons; computed by the first of B and W that runs here."""
        if self._back is None:
            self._back = torch.autograd.grad(self.out, self.currents, error)[0]
            self.out = None
        return self._back

    def below(self, error, weight):
        """B: dS of the layer below."""
        synapse = self.module.synapse
        rows = gradients(synapse, weight, self.rows, self.back(error), [True, False, False])[0]
        return torch.autograd.grad(self.rows, self.x, rows)[0]

    def update(self, error):
        """W: gradients of weight and, if there is one, bias."""
        synapse = self.module.synapse
        mask = [False, True, synapse.bias is not None]
        return gradients(
            synapse, synapse.weight.detach(), self.rows.detach(), self.back(error), mask
        )[1:]
