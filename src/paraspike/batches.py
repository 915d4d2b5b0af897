"""Batches of recordings: binned on the host, or gathered and augmented on the device that keeps them."""

from dataclasses import dataclass

import torch

from paraspike.datasets.augment import draw_warp
from paraspike.datasets.binning import bin_events, steps_needed
from paraspike.datasets.resident import resident
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class Augmentation:
    """SPSN's two augmentations: channel shift and zoom, as fractions (paper: k_shift, k_scale)."""

    shift: float = 0.1
    scale: float = 0.3


def kept_on(network) -> torch.device | None:
    """Where recordings are kept and batches made for a network: its device on backend cuda, else None."""
    return network.layers[0].weight.device if network.ops.backend == "cuda" else None


def make_batch(
    data, index, seeds, dt, steps=None, augmentation=None, epoch=0, device=None
) -> Spikes:
    """Recordings `index` [B] of an EventData as `Spikes` [T, B, N], right-aligned.

    T is fixed by the longest recording of the data set, not of the batch, so that a sample's result
    does not depend on its neighbours. `seeds` [B] key the augmentation. With a `device` all recordings
    are put there once, and the batch is gathered and augmented there; it holds the same counts.
    """
    steps = steps or steps_needed(data, dt)
    warp = None
    if augmentation is not None:
        warp = draw_warp(
            seeds,
            index,
            epoch,
            shift=augmentation.shift,
            scale=augmentation.scale,
            n_units=data.n_units,
        )
    if device is not None:
        return resident(data, dt, device, steps).batch(index, warp)
    return Spikes.from_lists(
        *bin_events(data, index, dt, steps, warp), (steps, len(index), data.n_units)
    )


def labels_of(data, index, dt, steps, network) -> torch.Tensor:
    """Labels int64 [B] of recordings `index` where the network computes."""
    kept = kept_on(network)
    if kept is not None:
        return resident(data, dt, kept, steps).labels(index)
    return torch.from_numpy(data.labels[index]).to(network.layers[0].weight.device)
