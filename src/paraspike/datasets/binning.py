"""Events to rasters: a batch of recordings as compressed rows [T, B], right-aligned in time."""

import numpy as np

from paraspike.datasets.augment import Warp, source_index
from paraspike.errors import ReaderError
from paraspike.ops.jit import njit


@njit
def bin_of(time, dt):
    """ceil(time / dt); a time within a millionth of a bin's edge lies on it."""
    exact = time / dt
    nearest = np.rint(exact)
    return np.int64(nearest) if abs(exact - nearest) < 1e-6 else np.int64(np.ceil(exact))


@njit
def _longest(times, offsets, index, dt):
    """Bins of the longest recording, and its place in `index`."""
    longest, where = 0, -1
    for b in range(len(index)):
        stop = offsets[index[b] + 1]
        if stop > offsets[index[b]]:
            bins = bin_of(times[stop - 1], dt) + 1
            if bins > longest:
                longest, where = bins, b
    return longest, where


@njit
def _spread(times, units, offsets, index, dt, steps, n_units, shifts, zooms, room):
    """Rows and units of every event of every recording after its warp, ascending in unit within a
    recording; and how many fall into each row. `room` is no smaller than the number of them."""
    batch = len(index)
    rows, cells = np.empty(room, np.int32), np.empty(room, np.int32)
    row_counts = np.zeros(steps * batch + 1, np.int64)
    unit_first, unit_last = np.empty(n_units, np.int32), np.empty(n_units, np.int32)
    step_first, step_last = np.empty(steps, np.int32), np.empty(steps, np.int32)
    place = np.empty(n_units + 1, np.int32)
    filled = 0
    for b in range(batch):
        start, stop = offsets[index[b]], offsets[index[b] + 1]
        if start == stop:
            continue
        own = bin_of(times[stop - 1], dt) + 1
        pad = steps - own
        place[:] = 0
        for e in range(start, stop):
            place[units[e] + 1] += 1
        for u in range(n_units):
            place[u + 1] += place[u]
        bins = np.empty(stop - start, np.int32)
        if len(zooms) == 0:
            for e in range(start, stop):
                u, row = units[e], (pad + bin_of(times[e], dt)) * batch + b
                k = filled + place[u]
                place[u] += 1
                rows[k], cells[k] = row, u
                row_counts[row + 1] += 1
            filled += stop - start
            continue
        for e in range(start, stop):
            bins[place[units[e]]] = bin_of(times[e], dt)
            place[units[e]] += 1
        _preimages(own, 0, zooms[b], step_first, step_last)
        _preimages(n_units, shifts[b], zooms[b], unit_first, unit_last)
        begin = 0
        for u in range(n_units):
            for unit in range(unit_first[u], unit_last[u] + 1):
                for k in range(begin, place[u]):
                    for step in range(step_first[bins[k]], step_last[bins[k]] + 1):
                        row = (pad + step) * batch + b
                        rows[filled], cells[filled] = row, unit
                        row_counts[row + 1] += 1
                        filled += 1
            begin = place[u]
    return rows[:filled], cells[:filled], row_counts


@njit
def _preimages(size, shift, zoom, first, last):
    """Output pixels first[i] .. last[i] that show input pixel i (none where last < first)."""
    first[:size], last[:size] = 0, -1
    for pixel in range(size):
        source = source_index(pixel, size, shift, zoom)
        if 0 <= source < size:
            if last[source] < first[source]:
                first[source] = pixel
            last[source] = pixel


@njit
def _compress(rows, cells, pointers):
    """Stable scatter into rows, which keeps units ascending, then duplicates summed in place."""
    for row in range(len(pointers) - 1):
        pointers[row + 1] += pointers[row]
    place = pointers[:-1].copy()
    units = np.empty(len(cells), np.int32)
    for e in range(len(cells)):
        units[place[rows[e]]] = cells[e]
        place[rows[e]] += 1
    counts = np.empty(len(cells), np.float32)
    kept = 0
    start = pointers[0]
    for row in range(len(pointers) - 1):
        stop, first = pointers[row + 1], kept
        for e in range(start, stop):
            if kept > first and units[kept - 1] == units[e]:
                counts[kept - 1] += 1
            else:
                units[kept], counts[kept] = units[e], 1
                kept += 1
        start = stop
        pointers[row + 1] = kept
    return units[:kept], counts[:kept]


def bin_events(data, index, dt: float, steps: int, warp: Warp | None = None):
    """Recordings `index` [B] of an EventData as compressed rows of a raster [T = steps, B, units].

    An event at time t lies in bin ceil(t / dt) of its recording, whose own length is its last bin
    + 1 (as SPSN's program bins); recordings are aligned at their ends, zeros in front. A warp acts
    on the recording's own raster, before padding. Equal events are counted.

    Args:
        dt: seconds per bin.
        warp: channel shift and zoom per recording of the batch, or None.

    Returns:
        row_pointers int64 [T * B + 1] for rows r = t * B + b, units int32 [nnz] ascending within a
        row, counts float32 [nnz].

    Raises:
        ReaderError: dt is not positive, a recording is longer than `steps`, or the warp is not of
            length B.
    """
    index = np.asarray(index, dtype=np.int64).reshape(-1)
    _check_dt(dt)
    longest, where = _longest(data.times, data.offsets, index, dt)
    if longest > steps:
        raise ReaderError(
            f"recording {index[where]} has {longest} bins of {dt:g} s, but {steps} steps are given",
            f"bin_events, {data.name} {data.split}",
            "steps_needed(data, dt) gives enough for every recording",
        )
    if warp is not None and not len(warp.shift) == len(warp.zoom) == len(index):
        raise ReaderError(
            f"a warp for {len(warp.shift)} recordings, {len(index)} asked", "bin_events"
        )
    room = int((data.offsets[index + 1] - data.offsets[index]).sum())
    shifts, zooms = np.zeros(0, np.int64), np.zeros(0)
    if warp is not None:
        shifts, zooms = np.asarray(warp.shift, np.int64), np.asarray(warp.zoom, np.float64)
        room *= (int(zooms.max(initial=0)) + 1) ** 2
    arrays = data.times, data.units, data.offsets
    rows, cells, pointers = _spread(
        *arrays, index, float(dt), int(steps), data.n_units, shifts, zooms, room
    )
    units, counts = _compress(rows, cells, pointers)
    return pointers, units, counts


def steps_needed(data, dt: float) -> int:
    """Bins of `dt` seconds that the longest recording of an EventData fills (at least 1)."""
    _check_dt(dt)
    longest, _ = _longest(data.times, data.offsets, np.arange(len(data)), float(dt))
    return max(int(longest), 1)


def _check_dt(dt):
    if not dt > 0:
        raise ReaderError(f"dt = {dt} is not a positive number of seconds", "bin_events")
