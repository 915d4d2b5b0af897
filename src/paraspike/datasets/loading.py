"""One call per data set: find or generate, verify, read, keep, choose a part of it."""

from pathlib import Path

import numpy as np

from paraspike.datasets import (
    blobs,
    cache,
    cochlea,
    digits,
    dvsgesture,
    encoders,
    events,
    idx,
    modulation,
    nmnist,
    shd,
)
from paraspike.datasets.events import EventData, ImageData
from paraspike.datasets.locate import locate
from paraspike.datasets.registry import dataset, parts
from paraspike.errors import ReaderError
from paraspike.randomness import permutation

_IMAGES = ("digits", "mnist")
_GENERATED = {"cochlea": cochlea, "blobs": blobs, "modulation": modulation}
_READERS = {"shd": shd, "nmnist": nmnist, "dvsgesture": dvsgesture}


def load(
    name: str,
    split: str,
    *,
    samples: int | None = None,
    allow_unverified=False,
    seed=0,
    folder=None,
) -> EventData:
    """A split of a data set as events; images in latency code.

    Args:
        name: cochlea, blobs, modulation, digits, shd, mnist, nmnist or dvsgesture.
        split: "train" or "test".
        samples: how many recordings, a class-balanced choice (cochlea, blobs, modulation: that many are
            generated); None for all (those three: 1,000 and 500).
        allow_unverified: accept files whose checksum is not the published one.
        seed: of the choice, or of what is generated.
        folder: searched before $PARASPIKE_DATA and data/.

    Raises:
        ReaderError: unknown name or split, file missing, damaged or not the published one, or more
            samples asked than there are.
    """
    if name in _IMAGES:
        images = load_images(
            name,
            split,
            samples=samples,
            allow_unverified=allow_unverified,
            seed=seed,
            folder=folder,
        )
        return encoders.latency(images)
    known, files = dataset(name), parts(name, split)
    if not files:
        made = _GENERATED[name]
        samples = made.DEFAULT_SAMPLES[split] if samples is None else samples
        key = f"{name}-{split}-{samples}-{seed}-{made.fingerprint()}"
        return cache.cached(key, lambda: made.generate(split, samples, seed).events(name, split))
    found = locate(name, split, folder=folder, allow_unverified=allow_unverified)
    reader = _READERS[name]

    def read():
        recordings = reader.read([f.path for f in found], split, known.longest)
        return recordings.events(name, split, _checksum(found), all(f.verified for f in found))

    code = (Path(reader.__file__), Path(events.__file__))
    data = cache.cached(f"{name}-{split}-{cache.key(*(f.md5 for f in found), *code)}", read)
    if samples is None:
        return data
    return data.subset(_balanced(name, split, data.labels, samples, seed))


def load_images(
    name: str,
    split: str,
    *,
    samples: int | None = None,
    allow_unverified=False,
    seed=0,
    folder=None,
) -> ImageData:
    """A split of "digits" or "mnist" as images; arguments and errors as `load`."""
    parts(name, split)
    if name == "digits":
        data = digits.read(split)
    elif name == "mnist":
        found = locate(name, split, folder=folder, allow_unverified=allow_unverified)
        images, labels = idx.read([f.path for f in found], split)
        verified = all(f.verified for f in found)
        data = ImageData(name, split, images, labels, 10, _checksum(found), verified)
    else:
        raise ReaderError(f"{name} holds events, not images", "load_images", f"one of {_IMAGES}")
    if samples is not None:
        data = data.subset(_balanced(name, split, data.labels, samples, seed))
    return data


def load_sequential(
    name: str,
    split: str,
    *,
    samples: int | None = None,
    side: int | None = None,
    allow_unverified=False,
    seed=0,
    folder=None,
    resolution: float = 1e-3,
) -> EventData:
    """A split of "digits" or "mnist" pixel by pixel, as `encoders.threshold_crossing` codes it.

    Args:
        side: reduce images to side x side first (14: 196 steps); None for 28 x 28 (784 steps).
        resolution: seconds per pixel.
        samples, allow_unverified, seed, folder: as `load`.

    Raises:
        ReaderError: as `load_images`; side or resolution out of range.
    """
    images = load_images(
        name, split, samples=samples, allow_unverified=allow_unverified, seed=seed, folder=folder
    )
    return encoders.threshold_crossing(images, resolution=resolution, side=side)


def _checksum(found):
    return "md5:" + "+".join(f.md5 for f in found)


def _balanced(name, split, labels, samples, seed):
    """`samples` indices, ascending, as evenly over the classes as they allow; a smaller choice with
    the same seed is part of a larger one."""
    n = len(labels)
    if not 1 <= samples <= n:
        raise ReaderError(f"{samples} samples asked of {name} {split}, which has {n}", "load")
    order = permutation(seed, f"subset/{name}/{split}", n)
    rank = np.empty(n, np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    # Round by round one of each class, in the drawn order within a round.
    drawn = order[np.argsort(rank[order], kind="stable")]
    return np.sort(drawn[:samples])
