"""E-prop's objective: cross entropy at every time step; the network itself carries the errors back."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from paraspike.learning.bptt import Objective, firing
from paraspike.network import reduce_time


@dataclass(frozen=True)
class EveryStep(Objective):
    """Cross entropy of softmax(y) at every step, summed over time and samples, as GeNN sums it.

    The error of a step is softmax(y) - onehot; the loss that is reported is the mean over steps and
    samples. The class is the largest readout, summed over time. A rate is kept by the network's
    RateTarget, not here.
    """

    readout: str = "sum"

    def one_seed(self, readout, hidden, labels):
        rows = readout.reshape(-1, readout.shape[2])
        total = cross_entropy(rows, labels.repeat(len(readout)), reduction="sum")
        hits = (reduce_time(readout.detach(), self.readout).argmax(1) == labels).sum()
        with torch.no_grad():
            per_step, rates = firing(readout, hidden)
        return total, total.detach() / max(1, len(rows)), hits, per_step, rates
