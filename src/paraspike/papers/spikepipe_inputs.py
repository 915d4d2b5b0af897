"""What the three networks are trained on: images, radio recordings and events, coded as spikes [T, n, ...]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paraspike.datasets import EventData, ImageData, load, load_images
from paraspike.datasets.encoders import bernoulli
from paraspike.errors import ReaderError
from paraspike.papers.spikepipe_layers import narrower
from paraspike.pipelining.networks import Network
from paraspike.pipelining.networks import network as stand_in

# Data sets whose coding fits a network's input.
FITTING = {
    "mlp3": ("digits", "mnist"),
    "amr4": ("modulation",),
    "vgg8": ("blobs", "nmnist", "dvsgesture"),
}
# Chance that a white pixel fires in a step.
BRIGHT = 0.5
_CHUNK = 256


@dataclass(frozen=True)
class Coded:
    """Samples as a network takes them: spikes uint8 [T, n, ...], 0 or 1, and labels int64 [n]."""

    spikes: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def subset(self, index: np.ndarray) -> "Coded":
        """The samples `index` (integers [m]), in that order."""
        index = torch.as_tensor(index, dtype=torch.int64)
        return Coded(self.spikes[:, index], self.labels[index])


def of_size(name: str, steps: int = 0) -> Network:
    """A stand-in by its name, "mlp3", or by that and what its width is divided by, "amr4/4".

    Args:
        steps: T; 0 means its own.

    Raises:
        ReaderError: no such network, a divisor that is no number from 1 up, or negative steps.
    """
    base, _, divisor = name.partition("/")
    found = stand_in(base)
    if not (divisor or "1").isdecimal() or int(divisor or 1) < 1 or steps < 0:
        raise ReaderError(
            f"network {name!r}, {steps} steps", "of_size", "amr4/4: a quarter as wide"
        )
    if divisor:
        found = narrower(found, 1 / int(divisor))
    return Network(found.name, steps or found.steps, found.layers)


def fitting(name: str, datasets: Sequence[str]) -> str:
    """The first of `datasets` that fits a network's input.

    Raises:
        ReaderError: none does.
    """
    suits = FITTING[stand_in(name.partition("/")[0]).name]
    for dataset in datasets:
        if dataset in suits:
            return dataset
    raise ReaderError(
        f"none of {list(datasets)} fits {name}", "fitting", f"one of {', '.join(suits)}"
    )


def source(dataset: str, split: str, samples: int = 0, allow_unverified: bool = False):
    """A split as it is loaded: ImageData of digits and mnist, else EventData; 0 samples mean all.

    Raises:
        ReaderError: as `datasets.load`.
    """
    read = load_images if dataset in FITTING["mlp3"] else load
    return read(dataset, split, samples=samples or None, allow_unverified=allow_unverified)


def coded(data: ImageData | EventData, network: Network) -> Coded:
    """A split as the network takes it, the same whenever it is asked for.

        images      each pixel fires in a step with half its brightness for chance (`BRIGHT`; numbers keyed by
                    split, image and step; the same in every epoch)
        modulation  its 64 steps merged to T; a pixel fires in a step that hits it, however often
        events      each recording cut into T equal parts; planes of the two polarities cut to a multiple of
                    32 about their middle and reduced to 32 x 32; a pixel fires in a part that has any event
                    of its square

    Raises:
        ReaderError: the data do not fit the network's input, or 64 is no multiple of T.
    """
    first = network.layers[0]
    if isinstance(data, ImageData):
        spikes, shape = _rate(data, network.steps), (first.n_in,)
    else:
        spikes, shape = _planes(data, network.steps), (first.n_in, first.side, first.side)
    if spikes.shape[2:] != shape or network.layers[-1].n_out < data.n_classes:
        raise ReaderError(
            f"{data.name} as {list(spikes.shape[2:])}, {data.n_classes} classes",
            f"coded for {network.name}",
            f"its input is {list(shape)}",
        )
    return Coded(spikes, torch.from_numpy(np.asarray(data.labels, np.int64)))


def _rate(data, steps):
    spikes = torch.empty((steps, len(data), data.images[0].size), dtype=torch.uint8)
    for start in range(0, len(data), _CHUNK):
        names = np.arange(start, min(start + _CHUNK, len(data)))
        chunk = bernoulli(data.images[names], names, steps, 0, f"code/{data.split}", BRIGHT)
        spikes[:, names] = chunk.dense().to(torch.uint8)
    return spikes


def _planes(data, steps):
    record = np.repeat(np.arange(len(data)), np.diff(data.offsets))
    if data.name == "modulation":
        if 64 % steps:
            raise ReaderError(f"{steps} steps of 64", "coded modulation", "a divisor of 64")
        planes, side, step = 1, 16, np.rint(data.times * 1000).astype(np.int64) * steps // 64
    else:
        # Just above the last event, so that it lies in the last part.
        ends = np.maximum.reduceat(np.append(data.times, 0), data.offsets[:-1]) * (1 + 1e-9) + 1e-12
        planes, side = 2, 32
        step = (data.times / ends[record] * steps).astype(np.int64)
    full = round((data.n_units // planes) ** 0.5)
    plane, place = np.divmod(data.units.astype(np.int64), full * full)
    pool, margin = full // side, full % side // 2
    y, x = ((v - margin) // pool for v in np.divmod(place, full))
    kept = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    spikes = torch.zeros((steps, len(data), planes, side, side), dtype=torch.uint8)
    spikes.numpy()[step[kept], record[kept], plane[kept], y[kept], x[kept]] = 1
    return spikes
