"""The e-prop paper's BPTT baseline: its training step in PyTorch, as published and fair.

The published program (sheet, section 3) slices step t out of [B, T, N] tensors inside its loops over time;
the backward pass of each slice adds to a tensor of the whole length, so that time grows with T squared.
`unbind` gives the same numbers in linear time.
"""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from paraspike.neurons import Surrogate, decay
from paraspike.ops.surrogate import Fire
from paraspike.papers.eprop import BASELINE_GAIN, BASELINE_STEP, TAU_MEM, TAU_SYN

SURROGATE = Surrogate("fast_sigmoid", 100.0)
SPIKE_COST = 2e-6


class Baseline(nn.Module):
    """Recurrent LIF network of Zenke and Vogels 2021: input [B, T, N_in] dense -> (readout [B, T, C], spikes
    [B, T, N]).

    Args:
        slicing: index each step, as published; False: unbind once.
        recurrent: spikes of a step drive the layer at the next.
    """

    def __init__(self, n_in, hidden, n_out, *, slicing: bool, recurrent=True, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(rows, columns):
            drawn = torch.randn(rows, columns, generator=generator)
            return nn.Parameter(drawn * BASELINE_GAIN / math.sqrt(rows))

        self.w_in, self.w_out = drawn(n_in, hidden), drawn(hidden, n_out)
        self.w_rec = drawn(hidden, hidden) if recurrent else None
        self.slicing = slicing
        self.alpha, self.beta = decay(BASELINE_STEP, TAU_SYN), decay(BASELINE_STEP, TAU_MEM)

    def forward(self, x: torch.Tensor):
        currents = torch.einsum("abc,cd->abd", x, self.w_in)
        syn = mem = out = currents.new_zeros(currents.shape[0], currents.shape[2])
        spikes = []
        for current in self._steps(currents):
            if self.w_rec is not None:
                current = current + out @ self.w_rec
            v = mem - 1.0
            out = Fire.apply(v, v.detach() > 0, v.detach(), SURROGATE)
            syn, mem = self.alpha * syn + current, (self.beta * mem + syn) * (1 - out.detach())
            spikes.append(out)
        spikes = torch.stack(spikes, 1)
        currents = torch.einsum("abc,cd->abd", spikes, self.w_out)
        flow = y = currents.new_zeros(currents.shape[0], currents.shape[2])
        readout = [y]
        for current in self._steps(currents):
            flow, y = self.alpha * flow + current, self.beta * y + flow
            readout.append(y)
        return torch.stack(readout, 1), spikes

    def _steps(self, x):
        if not self.slicing:
            return x.unbind(1)
        return (x[:, t] for t in range(x.shape[1]))

    def loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy of the largest readout over time, plus two costs of spikes (sheet, section 3)."""
        readout, spikes = self(x)
        cost = spikes.sum() + spikes.sum((0, 1)).square().mean()
        return cross_entropy(readout.amax(1), labels) + SPIKE_COST * cost
