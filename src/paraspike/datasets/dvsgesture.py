"""DVS128 Gesture as tonic cut it: a .tar.gz of <user>_<light>/<label>.npy, rows x, y, p, ms."""

import io
import re
import tarfile
import zlib
from pathlib import Path

import numpy as np

from paraspike.datasets.events import Recordings
from paraspike.errors import ReaderError

SIDE, N_CLASSES = 128, 11
_AGAIN = "the file is damaged or of another kind; fetch it again"
_MEMBER = re.compile(r"user(\d+)_[^/]*/(\d+)\.npy$")


def read_events(content: bytes, name: str, where: object) -> tuple[np.ndarray, np.ndarray]:
    """One recording: times in ms uint32 [E], units int32 [E] = polarity * 128 * 128 + y * 128 + x.

    Raises:
        ReaderError: no array of four whole-numbered columns, or an event outside the sensor.
    """
    try:
        events = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ReaderError(f"{name} cannot be read: {error}", where, _AGAIN) from error
    if events.ndim != 2 or events.shape[1] != 4 or events.dtype.kind not in "iufb":
        raise ReaderError(
            f"{name} is {events.dtype} of shape {events.shape}, not [E, 4]", where, _AGAIN
        )
    limits = np.array([SIDE, SIDE, 2, 2**31], np.float64)
    wrong = ~((events >= 0) & (events < limits) & (events == np.floor(events))).all(axis=1)
    if wrong.any():
        e = int(np.argmax(wrong))
        values = ", ".join(f"{value:g}" for value in events[e])
        raise ReaderError(f"{name}, event {e}: x, y, polarity, ms = {values}", where, _AGAIN)
    x, y, polarity, times = events.astype(np.int64).T
    return times.astype(np.uint32), (polarity * SIDE * SIDE + y * SIDE + x).astype(np.int32)


def read(files: list[Path], split: str, longest: float = 60.0) -> Recordings:
    """The recordings of ibmGesture{Train,Test}.tar.gz, in the order of user, lighting and label.

    Raises:
        ReaderError: truncated, foreign, or with values out of range; names file and recording.
    """
    (path,) = files
    found = []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile() and (match := _MEMBER.search(member.name)):
                    content = archive.extractfile(member).read()
                    found.append((member.name, int(match[1]), int(match[2]), content))
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ReaderError(f"{path.name} cannot be read: {error}", path, _AGAIN) from error
    if not found:
        raise ReaderError(
            f"{path.name} holds no recordings <user>_<lighting>/<label>.npy", path, _AGAIN
        )
    found.sort(key=lambda item: item[0])
    times, units = zip(*(read_events(item[3], item[0], path) for item in found), strict=True)
    offsets = np.zeros(len(found) + 1, np.int64)
    np.cumsum([len(t) for t in times], out=offsets[1:])
    recordings = Recordings(
        ticks=np.concatenate(times),
        units=np.concatenate(units),
        offsets=offsets,
        labels=np.array([item[2] for item in found], np.int64),
        speakers=np.array([item[1] for item in found], np.int64),
        ticks_per_second=1000,
        n_units=2 * SIDE * SIDE,
        n_classes=N_CLASSES,
    )
    return recordings.checked(path, longest)
