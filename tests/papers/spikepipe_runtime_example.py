"""What the runtime's tests hand to processes, which must be able to import it."""

from dataclasses import dataclass

import torch

from paraspike.papers.spikepipe_layers import layers
from paraspike.pipelining.networks import Network, conv, dense

DENSE = Network("dense", 5, dense(12, 9, 8, 7, 4))
PLANES = Network("planes", 4, (conv(1, 3, 8, True), conv(3, 4, 4, True), *dense(16, 6, 5)))
SHAPES = {"dense": (5, 3, 12), "planes": (4, 3, 1, 8, 8)}


def dense_layers():
    return layers(DENSE)


def planes_layers():
    return layers(PLANES)


def momentum(parameters):
    return torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=1e-3)


def adam(parameters):
    return torch.optim.Adam(parameters, 5e-3)


@dataclass(frozen=True)
class Batches:
    """Random spikes and labels, of each sample its own."""

    network: Network

    def _generator(self, sample, what):
        return torch.Generator().manual_seed(2 * sample + what)

    def inputs(self, sample):
        shape = SHAPES[self.network.name]
        return (torch.rand(shape, generator=self._generator(sample, 0)) < 0.5).float()

    def labels(self, sample):
        shape = SHAPES[self.network.name]
        classes = self.network.layers[-1].n_out
        return torch.randint(0, classes, (shape[1],), generator=self._generator(sample, 1))
