"""N-MNIST: 40-bit events (x 8, y 8, polarity 1, time 23 bits in us, big endian), 34 x 34 pixels.

The official archives are train.zip and test.zip with <Train|Test>/<label>/<id>.bin; the circulating
part of it is one .tar.gz with <id>.bs2 and the label lists train1K.txt and test100.txt.
"""

import io
import re
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from paraspike.datasets.events import Recordings
from paraspike.errors import ReaderError

SIDE, N_CLASSES = 34, 10
_OVERFLOW_Y, _OVERFLOW_US = 240, 2**13
_AGAIN = "the file is damaged or of another kind; fetch it again"
_LISTS = {"train": "train1K.txt", "test": "test100.txt"}


def read_events(content: bytes, name: str, where: object) -> tuple[np.ndarray, np.ndarray]:
    """One recording: times in us uint32 [E], units int32 [E] = polarity * 34 * 34 + y * 34 + x.

    Events with y = 240 are no pixels: each adds 2^13 us to what follows.

    Raises:
        ReaderError: not a whole number of events, or a pixel outside the sensor.
    """
    if len(content) % 5:
        raise ReaderError(f"{name} has {len(content)} bytes, not a multiple of 5", where, _AGAIN)
    b = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.uint32)
    x, y = b[:, 0], b[:, 1]
    times = ((b[:, 2] & 127) << 16) | (b[:, 3] << 8) | b[:, 4]
    overflow = y == _OVERFLOW_Y
    if overflow.any():
        times = (times + _OVERFLOW_US * np.cumsum(overflow).astype(np.uint32))[~overflow]
        b = b[~overflow]
        x, y = b[:, 0], b[:, 1]
    outside = np.flatnonzero((x >= SIDE) | (y >= SIDE))
    if len(outside):
        e = outside[0]
        raise ReaderError(
            f"{name}, event {e}: pixel ({x[e]}, {y[e]}) lies outside {SIDE} x {SIDE}", where, _AGAIN
        )
    return times, ((b[:, 2] >> 7) * SIDE * SIDE + y * SIDE + x).astype(np.int32)


def read(files: list[Path], split: str, longest: float = 1.0) -> Recordings:
    """The recordings of a split from train.zip / test.zip, or from the archive with label lists.

    Raises:
        ReaderError: truncated, foreign, or with values out of range; names file and recording.
    """
    (path,) = files
    members = _zip_members if path.suffix == ".zip" else _listed_members
    times, units, labels = [], [], []
    try:
        for name, label, content in members(path, split):
            t, u = read_events(content, name, path)
            times.append(t)
            units.append(u)
            labels.append(label)
    except (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ReaderError(f"{path.name} cannot be read: {error}", path, _AGAIN) from error
    if not labels:
        raise ReaderError(f"{path.name} holds no recordings of the split {split}", path, _AGAIN)
    offsets = np.zeros(len(labels) + 1, np.int64)
    np.cumsum([len(t) for t in times], out=offsets[1:])
    recordings = Recordings(
        ticks=np.concatenate(times),
        units=np.concatenate(units),
        offsets=offsets,
        labels=np.array(labels, np.int64),
        speakers=None,
        ticks_per_second=1_000_000,
        n_units=2 * SIDE * SIDE,
        n_classes=N_CLASSES,
    )
    return recordings.checked(path, longest)


def _zip_members(path, split):
    pattern = re.compile(rf"{split.capitalize()}/(\d)/\d+\.bin")
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if found := pattern.search(name):
                yield name, int(found[1]), archive.read(name)


def _listed_members(path, split):
    lists, recordings = {}, {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and name in _LISTS.values():
                lists[name] = archive.extractfile(member).read().decode()
            elif member.isfile() and name.endswith(".bs2"):
                recordings[name] = archive.extractfile(member).read()
    if _LISTS[split] not in lists:
        raise ReaderError(f"{path.name} has no label list {_LISTS[split]}", path, _AGAIN)
    for number, line in enumerate(io.StringIO(lists[_LISTS[split]]), 1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) != 2 or not all(field.isdigit() for field in fields):
            raise ReaderError(
                f"{_LISTS[split]}, line {number}: not a sample and its class", path, _AGAIN
            )
        name = f"{fields[0]}.bs2"
        if name not in recordings:
            raise ReaderError(
                f"{_LISTS[split]}, line {number}: {name} is not in the archive", path, _AGAIN
            )
        yield name, int(fields[1]), recordings[name]
