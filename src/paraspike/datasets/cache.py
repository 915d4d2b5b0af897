"""Parsed recordings kept in data/cache and mapped into memory, so that loading them costs nothing.

One HDF5 file per key with contiguous arrays; processes that load the same set share its pages.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np

from paraspike import paths
from paraspike.datasets.events import EventData

_ARRAYS = ("times", "units", "offsets", "labels", "speakers")
_SCALARS = tuple(f.name for f in fields(EventData) if f.name not in _ARRAYS)


def key(*parts: object) -> str:
    """A file name part from what the content depends on; a Path stands for that file's content."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:20]


def cached(name: str, make: Callable[[], EventData]) -> EventData:
    """The data kept as data/cache/<name>.h5, made and kept first where the file is not there.

    A file that cannot be read is made again. Written under another name and then moved into place,
    so that two processes never see half a file. The arrays are private maps: changing them changes
    nothing on disk.
    """
    path = paths.root() / "data" / "cache" / f"{name}.h5"
    if path.is_file():
        try:
            return _read(path)
        except (OSError, KeyError, ValueError):
            path.unlink(missing_ok=True)
    made = make()
    with paths.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for array in _ARRAYS:
            if getattr(made, array) is not None:
                file.create_dataset(array, data=getattr(made, array))
        for scalar in _SCALARS:
            if getattr(made, scalar) is not None:
                file.attrs[scalar] = getattr(made, scalar)
    return _read(path)


def _read(path) -> EventData:
    with h5py.File(path, "r") as file:
        scalars = {name: file.attrs[name] for name in _SCALARS if name in file.attrs}
        scalars = {k: v if isinstance(v, str) else v.item() for k, v in scalars.items()}
        return EventData(**{name: _mapped(file, path, name) for name in _ARRAYS}, **scalars)


def _mapped(file, path, name):
    if name not in file:
        return None
    stored = file[name]
    if stored.size == 0:
        return stored[:]
    mapped = np.memmap(path, stored.dtype, "c", stored.id.get_offset(), stored.shape)
    return np.asarray(mapped)
