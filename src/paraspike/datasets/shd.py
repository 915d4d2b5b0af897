"""The Spiking Heidelberg Digits' HDF5 layout: reader and writer.

spikes/times and spikes/units hold one variable-length list per recording (float16 seconds, uint16
channels); labels, extra/speaker and extra/keys describe them.
"""

import gzip
import io
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np

from paraspike import paths
from paraspike.datasets.events import Recordings
from paraspike.errors import ReaderError

N_UNITS, N_CLASSES = 700, 20
# h5py answers a damaged file with any of the first three.
_UNREADABLE = (OSError, RuntimeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)
_AGAIN = "the file is damaged or of another kind; fetch it again"


def read(files: list[Path], split: str, longest: float = 2.0) -> Recordings:
    """The recordings of one SHD file: .h5, .h5.gz or .h5.zip.

    Args:
        files: one path.
        split: not needed, an SHD file is one split.
        longest: seconds that no recording may exceed.

    Raises:
        ReaderError: truncated, foreign, or with values out of range; names file and recording.
    """
    (path,) = files
    try:
        with h5py.File(_opened(path), "r") as file:
            return _recordings(file, path).checked(path, longest)
    except _UNREADABLE as error:
        raise ReaderError(f"{path.name} cannot be read: {error}", path, _AGAIN) from error


def write(path: Path, recordings: Recordings, keys: list[str] | None = None) -> None:
    """Write recordings in SHD's layout; times must be in seconds (ticks_per_second = 1)."""
    if recordings.ticks_per_second != 1:
        raise ReaderError("SHD's layout holds seconds, these recordings hold ticks", "shd.write")
    names = keys or [f"word {k}" for k in range(recordings.n_classes)]
    with paths.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values, kind in (
            ("times", recordings.ticks, np.float16),
            ("units", recordings.units, np.uint16),
        ):
            lists = np.empty(len(recordings), object)
            lists[:] = np.split(values.astype(kind), recordings.offsets[1:-1])
            file.create_dataset(f"spikes/{name}", data=lists, dtype=h5py.vlen_dtype(kind))
        file["labels"] = recordings.labels.astype(np.uint16)
        if recordings.speakers is not None:
            file["extra/speaker"] = recordings.speakers.astype(np.uint16)
        file["extra/keys"] = np.array(names, "S")


def _opened(path):
    if path.suffix == ".gz":
        with gzip.open(path) as packed:
            return io.BytesIO(packed.read())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if name.endswith(".h5")]
            if len(inside) != 1:
                raise ReaderError(
                    f"{path.name} holds {len(inside)} .h5 files instead of one", path, _AGAIN
                )
            return io.BytesIO(archive.read(inside[0]))
    return path


def _recordings(file, path) -> Recordings:
    lists = {}
    for name, kind in (("times", "f"), ("units", "iu")):
        stored = file.get(f"spikes/{name}")
        inner = h5py.check_vlen_dtype(stored.dtype) if isinstance(stored, h5py.Dataset) else None
        if not isinstance(inner, np.dtype) or inner.kind not in kind or stored.ndim != 1:
            raise ReaderError(
                f"{path.name} has no variable-length lists spikes/{name}, so not SHD's layout",
                path,
                _AGAIN,
            )
        lists[name] = stored[:]
    labels = _integers(file, path, "labels")
    speakers = _integers(file, path, "extra/speaker") if "extra/speaker" in file else None
    lengths = {name: np.array([len(x) for x in stored], np.int64) for name, stored in lists.items()}
    if len(lengths["times"]) != len(lengths["units"]):
        raise ReaderError(
            f"{len(lengths['times'])} lists of times, {len(lengths['units'])} of units", path
        )
    wrong = np.flatnonzero(lengths["times"] != lengths["units"])
    if len(wrong):
        r = wrong[0]
        raise ReaderError(
            f"recording {r} has {lengths['times'][r]} times but {lengths['units'][r]} units",
            path,
            _AGAIN,
        )
    offsets = np.zeros(len(lengths["times"]) + 1, np.int64)
    np.cumsum(lengths["times"], out=offsets[1:])
    if len(offsets) == 1:
        raise ReaderError("no recordings in the file", path)
    ticks, units = np.concatenate(lists["times"]), np.concatenate(lists["units"])
    return Recordings(ticks, units, offsets, labels, speakers, 1, N_UNITS, N_CLASSES)


def _integers(file, path, name):
    stored = file.get(name)
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "iu" or stored.ndim != 1:
        raise ReaderError(f"{path.name} has no list of integers {name}", path, _AGAIN)
    return stored[:]
