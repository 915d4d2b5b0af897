"""`blobs`: a synthetic event-camera set in the layout of N-MNIST, for use offline.

What it is: ten patterns of bright blobs, seen by a camera that makes three saccades in 300 ms, as the
one that recorded N-MNIST did. A pixel whose log-like brightness has changed by the contrast threshold
since its last event fires an event of that sign. A recording jitters place, size and brightness of each
blob and the whole pattern; the sensor adds noise.

What it is not: handwriting, nor a model of a real sensor. Its difficulty was tuned once, so that small
networks neither fail nor saturate in a few epochs; accuracies on it say nothing about N-MNIST.
"""

from dataclasses import dataclass

import numpy as np

from paraspike.datasets.events import Recordings
from paraspike.datasets.synthetic import asked, content_hash
from paraspike.errors import ReaderError
from paraspike.ops.jit import njit, numba
from paraspike.randomness import philox, stream_key, uniform, words
from paraspike.threads import run_blocks

DEFAULT_SAMPLES = {"train": 1000, "test": 500}
SIDE, CLASSES, LENGTH = 34, 10, 300


@dataclass(frozen=True)
class Difficulty:
    """The frozen parameters of the data set; a change of any of them is a new data set.

    Lengths in pixels, `LENGTH` in ms. The density is N-MNIST's: 14 events a ms on 2,312 channels.
    """

    vocabulary: int = 11  # seed of the ten patterns
    blobs: int = 4  # of a pattern
    field: tuple[float, float] = (9.0, 25.0)  # where their centres lie
    width: tuple[float, float] = (1.4, 2.6)  # of a blob, as a standard deviation
    move: float = 3.0  # the whole pattern, per recording
    jitter: float = 2.0  # of each blob, per recording
    brightness: float = 0.35  # relative, of each blob, per recording
    saccade: float = 7.0  # the camera's way on each side of its triangle
    contrast: float = 0.16  # change of brightness that fires an event
    noise: float = 0.6  # events a ms on the whole sensor


def generate(
    split: str, samples: int | None = None, seed: int = 0, difficulty: Difficulty | None = None
):
    """The first `samples` recordings of a split; recording i shows class i % 10 and does not depend on how
    many are asked.

    Args:
        split: "train" or "test".  samples: how many (default 1,000 and 500).
        seed: of the recordings; the patterns stay.

    Returns:
        Recordings, times in ms, 10 classes, 34 x 34 x 2 units, laid out as N-MNIST's.

    Raises:
        ReaderError: unknown split, or no samples asked.
    """
    p = difficulty or Difficulty()
    samples = asked("blobs", split, samples, DEFAULT_SAMPLES)
    index = np.arange(samples)
    labels = index % CLASSES
    shapes = _shapes(p, split, index, labels, seed)
    capacity = 40 * LENGTH
    ticks, units = (np.empty((samples, capacity), np.uint16) for _ in range(2))
    counts = np.zeros(samples, np.int64)
    stream, noise = f"blobs/noise/{split}", np.uint64(p.noise / 4 * 2**32)
    given = shapes, index.astype(np.uint64), p.saccade, p.contrast, noise
    if numba is None:
        _in_numpy(*given, seed, stream, ticks, units, counts)
    else:
        key = np.uint64(seed), np.uint64(stream_key(stream))
        run_blocks(_record, samples, *given, *key, ticks, units, counts)
    if counts.max() > capacity:
        raise ReaderError("a recording has more events than there is room for", "blobs.generate")
    kept = np.arange(capacity) < counts[:, None]
    offsets = np.zeros(samples + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Recordings(
        ticks=ticks[kept],
        units=units[kept].astype(np.int32),
        offsets=offsets,
        labels=labels.astype(np.uint16),
        speakers=None,
        ticks_per_second=1000,
        n_units=2 * SIDE * SIDE,
        n_classes=CLASSES,
    )


def fingerprint(difficulty: Difficulty | None = None) -> str:
    """Hash of everything the content depends on besides split, samples and seed."""
    return content_hash(__file__, difficulty or Difficulty())


def _signed(seed, stream, index, n):
    """Uniform in (-1, 1), float64 [index, n]."""
    return 2.0 * uniform(seed, f"blobs/{stream}", index, 1, n)[0].astype(np.float64) - 1.0


def _shapes(p, split, index, labels, seed):
    """x, y, width and brightness of each recording's blobs, float64 [n, blobs, 4]."""
    low, high = p.field
    classes = np.arange(CLASSES)
    place = _signed(p.vocabulary, "place", classes, 2 * p.blobs).reshape(CLASSES, p.blobs, 2)
    size = (1 + _signed(p.vocabulary, "size", classes, p.blobs)) / 2
    centres = ((low + high) / 2 + place * (high - low) / 2)[labels]
    widths = (p.width[0] + size * (p.width[1] - p.width[0]))[labels]
    moved = p.move * _signed(seed, f"move/{split}", index, 2)[:, None]
    shaken = p.jitter * _signed(seed, f"jitter/{split}", index, 2 * p.blobs)
    gains = 1 + p.brightness * _signed(seed, f"brightness/{split}", index, p.blobs)
    centres = centres + moved + shaken.reshape(len(index), p.blobs, 2)
    return np.concatenate((centres, widths[..., None], gains[..., None]), -1)


@njit
def _record(start, stop, shapes, index, saccade, contrast, noise, k0, k1, ticks, units, counts):
    """Recordings start .. stop: brightness of every pixel at every ms, events where it has changed."""
    blobs = shapes.shape[1]
    across, down = np.empty((blobs, SIDE)), np.empty((blobs, SIDE))
    last = np.empty((SIDE, SIDE))
    for r in range(start, stop):
        n = 0
        for t in range(LENGTH + 1):
            # A triangle: right and down, right and up, back to the left.
            leg, part = t // 100, (t % 100) / 100
            dx = saccade * (part / 2 if leg == 0 else 0.5 + part / 2 if leg == 1 else 1 - part)
            dy = saccade * (part if leg == 0 else 1 - part if leg == 1 else 0.0)
            if t == LENGTH:
                dx = dy = 0.0
            for b in range(blobs):
                # A polynomial bump: exp differs in its last bit from machine to machine.
                scale = 1 / (6 * shapes[r, b, 2] ** 2)
                for i in range(SIDE):
                    right = 1 - scale * (i + dx - saccade / 2 - shapes[r, b, 0]) ** 2
                    below = 1 - scale * (i + dy - saccade / 2 - shapes[r, b, 1]) ** 2
                    across[b, i] = max(0.0, right) ** 2
                    down[b, i] = shapes[r, b, 3] * max(0.0, below) ** 2
            for y in range(SIDE):
                for x in range(SIDE):
                    light = 0.0
                    for b in range(blobs):
                        light += across[b, x] * down[b, y]
                    if t == 0:
                        last[y, x] = light
                        continue
                    change = light - last[y, x]
                    if change > contrast or change < -contrast:
                        last[y, x] += contrast if change > 0 else -contrast
                        if n < ticks.shape[1]:
                            ticks[r, n] = t - 1
                            units[r, n] = (SIDE * SIDE if change > 0 else 0) + y * SIDE + x
                        n += 1
            if t == 0:
                continue
            for block in range(2):
                w = philox(np.uint64(block), np.uint64(t), index[r], np.uint64(0), k0, k1)
                for j in range(2):
                    if w[2 * j] < noise:
                        if n < ticks.shape[1]:
                            ticks[r, n], units[r, n] = t - 1, w[2 * j + 1] % (2 * SIDE * SIDE)
                        n += 1
        counts[r] = n


def _in_numpy(shapes, index, saccade, contrast, noise, seed, stream, ticks, units, counts):
    """`_record` on whole arrays, for machines without numba: the same bits."""
    leg, part = np.divmod(np.arange(LENGTH), 100)
    part, still = part / 100, [0.0]
    dx = saccade * np.select([leg == 0, leg == 1], [part / 2, 0.5 + part / 2], 1 - part)
    dy = saccade * np.select([leg == 0, leg == 1], [part, 1 - part], 0.0)
    dx, dy = (np.concatenate((way, still))[:, None] for way in (dx, dy))
    pixel = np.arange(SIDE)
    for r in range(len(index)):
        light = np.zeros((LENGTH + 1, SIDE, SIDE))
        for x, y, width, bright in shapes[r]:
            scale = 1 / (6 * width**2)
            right = 1 - scale * (pixel + dx - saccade / 2 - x) ** 2
            below = 1 - scale * (pixel + dy - saccade / 2 - y) ** 2
            across, down = np.maximum(0.0, right) ** 2, bright * np.maximum(0.0, below) ** 2
            light += across[:, None, :] * down[:, :, None]
        last, signs = light[0].copy(), np.empty((LENGTH, SIDE, SIDE), np.int64)
        for now, sign in zip(light[1:], signs, strict=True):
            change = now - last
            sign[:] = (change > contrast) * 1 - (change < -contrast)
            last += contrast * sign
        signs = signs.reshape(LENGTH, -1)
        drawn = words(seed, stream, index[r : r + 1], LENGTH + 1, 8)[1:, 0].reshape(LENGTH, 4, 2)
        fired = np.concatenate((signs != 0, drawn[:, :, 0] < noise), 1)
        unit = np.where(signs > 0, SIDE * SIDE, 0) + np.arange(SIDE * SIDE)
        unit = np.concatenate((unit, drawn[:, :, 1] % (2 * SIDE * SIDE)), 1)
        counts[r], room = fired.sum(), ticks.shape[1]
        ticks[r, : counts[r]], units[r, : counts[r]] = (
            np.nonzero(fired)[0][:room],
            unit[fired][:room],
        )
