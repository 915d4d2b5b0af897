"""A convolutional spiking layer over neighbouring input channels, e.g. the frequencies of a cochlea."""

import torch
from torch import nn
from torch.nn.functional import conv1d

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.randomness import uniform
from paraspike.spikes import Spikes


class ConvLayer(nn.Module):
    """Filters of `width` channels, `stride` apart, each with LIF neurons: [T, B, n_in] -> [T, B, n_out].

    n_out = filters * places, neuron f * places + p being filter f at place p. The same weights serve
    every step, so nothing passes between steps but the neurons' own state. Convolution is torch's.

    Args:
        neuron: LIF.  seeds: one independent layer each; weight [S, filters, width], drawn from
            U(-sqrt(3 / width), sqrt(3 / width)).
        gain: factor on the currents, which sum over far fewer inputs than a dense layer's.
        delay: steps from input to effect.

    Raises:
        ReaderError: sizes out of range, or a neuron that is no LIF.
    """

    def __init__(
        self, n_in, filters, width, stride, neuron, seeds=(0,), *, gain=1.0, delay=0, name="conv",
        backend="auto",
    ):  # fmt: skip
        super().__init__()
        sized = (
            filters >= 1 and stride >= 1 and 1 <= width <= n_in and delay >= 0 and len(seeds) > 0
        )
        if not sized or not isinstance(neuron, LIF):
            raise ReaderError(
                f"{filters} filters of {width} of {n_in} channels, stride {stride}, "
                f"{type(neuron).__name__}",
                f"ConvLayer {name!r}",
                "width within the channels, a LIF",
            )
        self.n_in, self.stride, self.neuron = n_in, stride, neuron
        self.gain, self.delay = gain, delay
        self.ops = backends.operators(backend)
        self.seeds = tuple(int(s) for s in seeds)
        self.n_out = filters * ((n_in - width) // stride + 1)
        bound = (3 / width) ** 0.5
        drawn = [uniform(s, f"init/{name}/weight", [0], filters, width)[:, 0] for s in self.seeds]
        self.weight = nn.Parameter(
            torch.stack([torch.from_numpy(d) for d in drawn]) * 2 * bound - bound
        )

    def forward(self, x, draws=None) -> Spikes:
        if len(x.shape) != 3 or x.shape[2] != self.n_in or x.shape[1] % len(self.seeds):
            raise ReaderError(
                f"input of shape {list(x.shape)} does not fit [T, B, {self.n_in}]", "ConvLayer"
            )
        raster = x.dense(self.weight.dtype) if isinstance(x, Spikes) else x
        raster = raster.to(self.weight.device)
        steps, batch, _ = raster.shape
        parts = []
        for block, weight in zip(raster.chunk(len(self.seeds), 1), self.weight, strict=True):
            rows = conv1d(
                block.reshape(-1, 1, self.n_in), self.gain * weight[:, None], stride=self.stride
            )
            parts.append(rows.reshape(steps, block.shape[1], self.n_out))
        currents = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        if self.delay:
            late = torch.zeros_like(currents)
            late[self.delay :] = currents[: max(0, steps - self.delay)]
            currents = late
        return Spikes.from_dense(self.ops.lif(currents, self.neuron))
