"""Images to events."""

from collections.abc import Sequence

import numpy as np

from paraspike.datasets.events import EventData, ImageData
from paraspike.errors import ReaderError
from paraspike.randomness import uniform

_CHUNK = 4096

# As published: whole grey levels, cut off and not rounded. The first is 0, which no pixel is below.
THRESHOLDS = np.linspace(0, 254, 39).astype(np.uint8)
_FULL = 255


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
    return _events(images, images.name, times, units, counts, images.images[0].size)


def _events(images, name, times, units, counts, n_units, span=None):
    """The chunks' times and units, and events per image, as EventData of that origin."""
    offsets = np.zeros(len(images) + 1, np.int64)
    np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]), out=offsets[1:])
    times = np.concatenate([np.zeros(0), *times])
    return EventData(
        name=name,
        split=images.split,
        times=times,
        units=np.concatenate([np.zeros(0, np.int32), *units]),
        offsets=offsets,
        labels=images.labels,
        speakers=None,
        n_units=n_units,
        n_classes=images.n_classes,
        duration=float(times.max(initial=0.0)),
        checksum=images.checksum,
        verified=images.verified,
        span=span,
    )


def threshold_crossing(
    images: ImageData, *, resolution: float = 1e-3, side: int | None = None
) -> EventData:
    """Spiking sequential MNIST: pixels one after another, a spike for every threshold they cross.

    Pixel i in raster order lies at time i * resolution. Between p_i and p_i+1, "on" input 79 - k of
    each threshold k with p_i < THRESHOLDS[k] <= p_i+1 fires at the time of pixel i, or "off" input
    40 - k of each with p_i+1 < THRESHOLDS[k] <= p_i; touch input 0 fires at each pixel of 255.
    Source: tonic.datasets.SMNIST(num_neurons=79, duplicate=False), whose "on" inputs reach 79, out
    of its own 0 .. 78; but threshold 0 never fires, so there are 79 units here (1 and 40 silent).

    Args:
        resolution: seconds per pixel.
        side: reduce images to side x side first by averaging whole squares of pixels, rounded; the
            touch input then fires only where the average is still 255.

    Returns:
        EventData "sequential-<name>", 79 units, events sorted by time, then unit.

    Raises:
        ReaderError: images not uint8 [n, h, w] with two pixels or more, a side that does not divide
            theirs, or a resolution that is not positive.
    """
    shape = images.images.shape
    if images.images.dtype != np.uint8 or len(shape) != 3 or shape[1] * shape[2] < 2:
        raise ReaderError(
            f"images {images.images.dtype} {list(shape)}",
            "encoders.threshold_crossing",
            "uint8 [n, height, width]",
        )
    if not 0 < resolution < np.inf:
        raise ReaderError(f"{resolution:g} s per pixel", "encoders.threshold_crossing", "above 0")
    if side is not None and (side < 2 or shape[1] != shape[2] or shape[1] % side):
        raise ReaderError(
            f"side {side} for images of {shape[1]} x {shape[2]}",
            "encoders.threshold_crossing",
            "a divisor of their side, 2 or more",
        )
    times, units, counts = [], [], []
    for start in range(0, len(images), _CHUNK):
        chunk = images.images[start : start + _CHUNK]
        if side is not None:
            squares = chunk.reshape(len(chunk), side, shape[1] // side, side, -1)
            chunk = np.rint(squares.mean((2, 4))).astype(np.uint8)
        step, unit, count = _crossings(chunk.reshape(len(chunk), -1))
        times.append(step * resolution)
        units.append(unit)
        counts.append(count)
    name, n_units = f"sequential-{images.name}", 2 * len(THRESHOLDS) + 1
    span = resolution * (side * side if side else shape[1] * shape[2])
    return _events(images, name, times, units, counts, n_units, span)


def _crossings(pixels):
    """Steps int64 [E] and units int32 [E] of the events of pixels uint8 [n, P], events per row [n]."""
    # Thresholds at or below each grey level; those that a step crosses lie between two such numbers.
    below = np.searchsorted(THRESHOLDS, np.arange(256), side="right").astype(np.int8)[pixels]
    after = np.concatenate([below[:, 1:], below[:, -1:]], axis=1)
    touch = pixels == _FULL
    count = np.abs(after - below) + touch
    place = np.flatnonzero(count)
    fired = count.reshape(-1)[place]
    first = np.repeat(np.cumsum(fired) - fired, fired)
    place = np.repeat(place, fired)
    below, after, touch = (a.reshape(-1)[place] for a in (below, after, touch))
    # From the highest threshold down, which is from the lowest unit up, after the touch.
    nth = np.arange(len(place)) - first - touch
    top = np.where(after > below, 80, 41) - np.maximum(below, after)
    unit = np.where(nth < 0, 0, top + nth).astype(np.int32)
    return place % pixels.shape[1], unit, count.sum(axis=1, dtype=np.int64)


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
