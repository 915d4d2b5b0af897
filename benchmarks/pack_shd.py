"""SHD's recordings, small enough to carry to a machine without a network: python -m benchmarks.pack_shd

    pack FILE.h5.gz OUT.npz [recordings]    unpack IN.npz FILE.h5

Times are whole milliseconds there; each recording is sorted by time and unit, its events are delta-coded as one
number, and the bytes of all of them, by significance, are compressed.
"""

import lzma
import sys
from pathlib import Path

import numpy as np

from paraspike import paths
from paraspike.datasets import shd
from paraspike.datasets.events import Recordings
from paraspike.datasets.locate import md5_of
from paraspike.errors import ReaderError

_BYTES = 3


def pack(source: Path, out: Path, recordings: int | None = None) -> None:
    """Writes the first recordings of an SHD file (all for None).

    Raises:
        ReaderError: a time that is no whole number of milliseconds, or would not come back as it is.
    """
    found = shd.read([source], "")
    n = len(found) if recordings is None else min(recordings, len(found))
    events = found.offsets[n]
    ticks, units = found.ticks[:events], found.units[:events].astype(np.int64)
    steps = np.rint(ticks.astype(np.float64) * 1e3).astype(np.int64)
    if not np.array_equal(_seconds(steps), ticks):
        raise ReaderError("times are not whole milliseconds", source, "nothing is rounded here")
    sizes = np.diff(found.offsets[: n + 1])
    key = steps * shd.N_UNITS + units
    key = key[np.lexsort((key, np.repeat(np.arange(n), sizes)))]
    deltas = np.diff(key, prepend=0)
    first = found.offsets[:n][sizes > 0]
    deltas[first] = key[first]
    if deltas.max(initial=0) >= 256**_BYTES:
        raise ReaderError("a gap between events that does not fit", source)
    given = {"sizes": sizes, "labels": found.labels[:n], "source": np.array(md5_of(source))}
    if found.speakers is not None:
        given["speakers"] = found.speakers[:n]
    for k in range(_BYTES):
        level = (deltas >> 8 * k & 255).astype(np.uint8)
        given[f"bytes{k}"] = np.frombuffer(lzma.compress(level.tobytes()), np.uint8)
    with paths.replacing(out) as temporary:
        np.savez(temporary, **given)


def unpack(packed: Path, out: Path) -> str:
    """Writes SHD's layout; returns the md5 of the file that was packed."""
    with np.load(packed) as file:
        found = dict(file)
    deltas = sum(
        np.frombuffer(lzma.decompress(found[f"bytes{k}"].tobytes()), np.uint8).astype(np.int64)
        << 8 * k
        for k in range(_BYTES)
    )
    offsets = np.concatenate([[0], np.cumsum(found["sizes"])])
    total = np.concatenate([[0], np.cumsum(deltas)])
    key = total[1:] - np.repeat(total[offsets[:-1]], found["sizes"])
    steps, units = np.divmod(key, shd.N_UNITS)
    given = (_seconds(steps), units, offsets, found["labels"], found.get("speakers"))
    shd.write(out, Recordings(*given, 1, shd.N_UNITS, shd.N_CLASSES))
    return str(found["source"])


def _seconds(steps):
    return (steps / 1e3).astype(np.float16)


def main(words: list[str]) -> int:
    if len(words) < 3 or words[0] not in ("pack", "unpack"):
        print(__doc__, file=sys.stderr)
        return 2
    what, source, out, *more = words
    try:
        if what == "pack":
            pack(Path(source), Path(out), int(more[0]) if more else None)
            print(f"{Path(out).stat().st_size / 2**20:.1f} MiB")
        else:
            print(f"unpacked from a file with md5 {unpack(Path(source), Path(out))}")
    except ReaderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
