"""SpikePipe's layers and readout as modules, and a whole network of them from its shapes.

Time is folded into the batch for the synapses, [T * B, ...], and unfolded for the neurons (sheet, section 2.1).
"""

import dataclasses
import math

import torch
from torch import nn
from torch.nn.functional import max_pool2d

from paraspike.errors import ReaderError
from paraspike.papers.spikepipe import Bilinear, spike
from paraspike.pipelining.networks import Network
from paraspike.randomness import uniform


class SpikingLayer(nn.Module):
    """Synapse and bilinear neurons, over planes maybe a 2 x 2 max pooling of their spikes (the authors' order).

    [T, B, ...] -> [T, B, n_out], or [T, B, channels, side, side] with halved sides where pooled.

    Args:
        synapse: nn.Linear, weight [n_out, n_in] as torch has it, takes all but T and B flattened; or
            nn.Conv2d.
        compiled: as `spikepipe.spike`.
    """

    def __init__(
        self, synapse: nn.Module, neuron: Bilinear, pool: bool = False, compiled: bool = True
    ):
        super().__init__()
        self.synapse, self.neuron, self.pool, self.compiled = synapse, neuron, pool, compiled

    def forward(self, x, synapse=None):
        """`synapse`: an affine function to take instead of the layer's own, for another version of weights."""
        rows = x.flatten(0, 1)
        if isinstance(self.synapse, nn.Linear):
            rows = rows.flatten(1)
        currents = (synapse or self.synapse)(rows)
        spikes = spike(currents.unflatten(0, x.shape[:2]), self.neuron, compiled=self.compiled)
        if not self.pool:
            return spikes
        return max_pool2d(spikes.flatten(0, 1), 2).unflatten(0, x.shape[:2])


class Readout(nn.Module):
    """Logits W factor (2 sum_t x[t] - x[T]) + b, [T, B, ...] -> [B, classes]: the bilinear section without
    leak and spikes but for its constant 1 / c, instead of which there is `factor` (A3: 1). The sum over time
    comes first, so that the product has B rows; b, added once, is ours."""

    def __init__(self, synapse: nn.Linear, factor: float = 1.0):
        super().__init__()
        self.synapse, self.factor = synapse, factor

    def forward(self, x, synapse=None):
        """As `SpikingLayer.forward`."""
        return (synapse or self.synapse)((self.factor * (2 * x.sum(0) - x[-1])).flatten(1))


def layers(
    network: Network,
    neuron: Bilinear | None = None,
    seed: int = 0,
    *,
    gain: float = 3.0,
    factor: float | None = None,
    compiled: bool = True,
) -> list[nn.Module]:
    """A network's modules, first to last; weights and biases from U(-1, 1) / sqrt(inputs of a neuron), those of
    hidden layers times `gain`, each layer's keyed by the seed and its number.

    Args:
        neuron: of the hidden layers, None for `Bilinear()`.
        gain: ours; with 1, torch's own, the sixth layer hardly ever fires.
        factor: of the readout; None for 1 / T, with which SGD takes usual learning rates (ours). Adam learns
            with 1, too.
        compiled: as `spikepipe.spike`.
    """
    neuron, made = neuron or Bilinear(), []
    for number, shape in enumerate(network.layers):
        if shape.kernel > 1:
            synapse = nn.Conv2d(shape.n_in, shape.n_out, shape.kernel, padding="same")
        else:
            synapse = nn.Linear(shape.n_in, shape.n_out)
        last = number == network.depth - 1
        bound = (1 if last else gain) * (shape.n_in * shape.kernel**2) ** -0.5
        with torch.no_grad():
            for name, values in synapse.named_parameters():
                rows = values.numel() // shape.n_out
                drawn = uniform(seed, f"init/{number}/{name}", [0], shape.n_out, rows)
                values.copy_(torch.from_numpy(drawn).reshape(values.shape) * 2 * bound - bound)
        if last:
            made.append(Readout(synapse, 1 / network.steps if factor is None else factor))
        else:
            made.append(SpikingLayer(synapse, neuron, shape.pool, compiled))
    return made


def narrower(network: Network, share: float) -> Network:
    """The same network with `share` of its channels and hidden neurons, rounded up; input and classes stay.

    Raises:
        ReaderError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ReaderError(f"a share of {share}", "spikepipe_layers.narrower", "in (0, 1]")
    made = []
    for number, shape in enumerate(network.layers):
        n_in = made[-1].outputs // shape.side**2 if made else shape.n_in
        n_out = shape.n_out
        if number < network.depth - 1:
            n_out = math.ceil(share * n_out)
        made.append(dataclasses.replace(shape, n_in=n_in, n_out=n_out))
    return dataclasses.replace(network, name=f"{network.name}/{1 / share:g}", layers=tuple(made))


def logits(stack: list[nn.Module], x: torch.Tensor) -> torch.Tensor:
    """[T, B, ...] -> [B, classes], with the newest weights and outside autograd."""
    with torch.no_grad():
        for layer in stack:
            x = layer(x)
    return x
