"""MNIST's idx files (LeCun): big-endian header of magic number and sizes, then bytes."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from paraspike.errors import ReaderError

_AGAIN = "the file is damaged or of another kind; fetch it again"
_MAGIC = {1: 0x00000801, 3: 0x00000803}


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """One idx file of unsigned bytes, .gz or not: uint8 array of `dimensions` (1 or 3) dimensions.

    Raises:
        ReaderError: truncated, of another kind, or of another length than its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ReaderError(f"{path.name} cannot be read: {error}", path, _AGAIN) from error
    head = 4 + 4 * dimensions
    if len(content) < head or struct.unpack(">I", content[:4])[0] != _MAGIC[dimensions]:
        raise ReaderError(
            f"{path.name} does not begin as an idx file of {dimensions} dimensions does "
            f"({content[:4].hex(' ')}, not {_MAGIC[dimensions]:08x})",
            path,
            _AGAIN,
        )
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    expected, found = int(np.prod(shape, dtype=object)), len(content) - head
    if expected != found:
        raise ReaderError(
            f"{path.name} says {shape} = {expected} bytes but holds {found}", path, _AGAIN
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def read(files: list[Path], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28] and labels int64 [n] from MNIST's two files of a split.

    Raises:
        ReaderError: a file is damaged, or the two do not belong together.
    """
    images, labels = read_idx(files[0], 3), read_idx(files[1], 1)
    if images.shape[1:] != (28, 28):
        raise ReaderError(f"images of {images.shape[1:]} pixels, not (28, 28)", files[0], _AGAIN)
    if len(images) != len(labels):
        raise ReaderError(f"{len(images)} images but {len(labels)} labels", files[1], _AGAIN)
    wrong = np.flatnonzero(labels > 9)
    if len(wrong):
        raise ReaderError(
            f"label {labels[wrong[0]]} of image {wrong[0]} lies outside 0 .. 9", files[1], _AGAIN
        )
    return images, labels.astype(np.int64)
