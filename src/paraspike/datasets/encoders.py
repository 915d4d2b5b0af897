"""Images to events."""

from collections.abc import Sequence

import numpy as np

from paraspike.datasets.events import EventData, ImageData
from paraspike.errors import ReaderError
from paraspike.randomness import uniform

_CHUNK = 4096


def latency(images: ImageData, *, duration: float = 0.1, resolution: float = 1e-3, threshold=0.2):
    """One spike per bright pixel, the brighter the earlier: snntorch.spikegen's linear latency.

    A pixel of brightness x in 0 .. 1 at or above the threshold fires at step
    round((steps - 1) (1 - x)) of `resolution` seconds, steps = duration / resolution; darker pixels
    are silent.

    Args:
        duration: seconds that the code may take.
        resolution: seconds per step of the code.
        threshold: brightness below which a pixel is silent, in (0, 1).

    Returns:
        EventData with one unit per pixel.

    Raises:
        ReaderError: duration is shorter than two steps, or the threshold is out of range.
    """
    import torch
    from snntorch import spikegen

    steps = round(duration / resolution)
    if steps < 2 or not 0 < threshold < 1:
        raise ReaderError(
            f"duration {duration:g} s in steps of {resolution:g} s, threshold {threshold:g}",
            "encoders.latency",
            "at least two steps, threshold between 0 and 1",
        )
    times, units, counts = [], [], []
    for start in range(0, len(images), _CHUNK):
        pixels = images.images[start : start + _CHUNK].reshape(-1, images.images[0].size)
        bright = torch.from_numpy(pixels.astype(np.float32) / np.float32(255))
        code, dark = spikegen.latency_code(
            bright, num_steps=steps, threshold=threshold, normalize=True, linear=True
        )
        step = np.where(dark.numpy(), steps, torch.round(code).long().numpy())
        order = np.argsort(step, axis=1, kind="stable")
        sorted_steps = np.take_along_axis(step, order, axis=1)
        fires = sorted_steps < steps
        times.append(sorted_steps[fires] * resolution)
        units.append(order[fires].astype(np.int32))
        counts.append(fires.sum(axis=1))
    offsets = np.zeros(len(images) + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=offsets[1:])
    times = np.concatenate(times)
    return EventData(
        name=images.name,
        split=images.split,
        times=times,
        units=np.concatenate(units),
        offsets=offsets,
        labels=images.labels,
        speakers=None,
        n_units=images.images[0].size,
        n_classes=images.n_classes,
        duration=float(times.max(initial=0.0)),
        checksum=images.checksum,
        verified=images.verified,
    )


def bernoulli(
    images: np.ndarray,
    samples: Sequence[int],
    steps: int,
    seed: int,
    stream: str,
    most: float = 0.128,
):
    """Rate code: each pixel of images uint8 [B, ...] fires in a step with its brightness times `most` for
    chance.

    Args:
        samples: integers that name the images; the same name, seed and stream give the same spikes.

    Returns:
        Spikes [T, B, N].

    Raises:
        ReaderError: `most` is no probability.
    """
    import torch

    from paraspike.spikes import Spikes

    if not 0 <= most <= 1:
        raise ReaderError(f"most = {most:g} is not in 0 .. 1", "encoders.bernoulli")
    chance = images.reshape(len(images), -1).astype(np.float32) / 255 * np.float32(most)
    drawn = uniform(seed, stream, samples, steps, chance.shape[1])
    return Spikes.from_dense(torch.from_numpy((drawn < chance).astype(np.float32)))
