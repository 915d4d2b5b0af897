"""Events to rasters: a batch of recordings as compressed rows [T, B], right-aligned in time."""

import numpy as np

from paraspike.datasets.augment import Warp, source_index
from paraspike.errors import ReaderError
from paraspike.ops.jit import njit, numba
from paraspike.threads import run_blocks


@njit
def bin_of(time, dt):
    """ceil(time / dt); a time within a millionth of a bin's edge lies on it."""
    exact = time / dt
    nearest = np.rint(exact)
    return np.int64(nearest) if abs(exact - nearest) < 1e-6 else np.int64(np.ceil(exact))


def own_bins(data, index, dt: float) -> np.ndarray:
    """Bins of dt seconds of each recording of `index` up to its last event, int64 [B]; 0 where it has none."""
    stops = data.offsets[index + 1]
    filled = stops > data.offsets[index]
    last = data.times[np.maximum(stops - 1, 0)] if len(data.times) else np.zeros(len(index))
    return np.where(filled, _bins_of(last, dt) + 1, 0)


def _bins_of(times, dt):
    """`bin_of` of an array."""
    exact = times / dt
    nearest = np.rint(exact)
    return np.where(np.abs(exact - nearest) < 1e-6, nearest, np.ceil(exact)).astype(np.int64)


@njit
def _spread(start, stop, times, units, offsets, index, dt, steps, at_start, n_units, shifts, zooms, room,
            rows, cells, filled, row_counts):  # fmt: skip
    """Rows and units of the events of recordings start .. stop after their warp, ascending in unit
    within a recording, from rows[room[b]] on: filled[b] of them; and how many fall into each row."""
    batch = len(index)
    unit_first, unit_last = np.empty(n_units, np.int32), np.empty(n_units, np.int32)
    step_first, step_last = np.empty(steps, np.int32), np.empty(steps, np.int32)
    place = np.empty(n_units + 1, np.int32)
    for b in range(start, stop):
        first, last = offsets[index[b]], offsets[index[b] + 1]
        at = room[b]
        if first == last:
            continue
        own = bin_of(times[last - 1], dt) + 1
        pad = 0 if at_start else steps - own
        place[:] = 0
        for e in range(first, last):
            place[units[e] + 1] += 1
        for u in range(n_units):
            place[u + 1] += place[u]
        if len(zooms) == 0:
            for e in range(first, last):
                u, row = units[e], (pad + bin_of(times[e], dt)) * batch + b
                k = at + place[u]
                place[u] += 1
                rows[k], cells[k] = row, u
                row_counts[row + 1] += 1
            filled[b] = last - first
            continue
        bins = np.empty(last - first, np.int32)
        for e in range(first, last):
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
                        rows[at], cells[at] = row, unit
                        row_counts[row + 1] += 1
                        at += 1
            begin = place[u]
        filled[b] = at - room[b]


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
def _sort(start, stop, rows, cells, room, filled, place, units):
    """Stable scatter of recordings start .. stop into rows, which keeps units ascending; `place` begins
    as the rows' pointers. A row belongs to one recording."""
    for b in range(start, stop):
        for e in range(room[b], room[b] + filled[b]):
            units[place[rows[e]]] = cells[e]
            place[rows[e]] += 1


@njit
def _distinct(start, stop, pointers, units, kept):
    """How many different units each row of start .. stop holds, into kept[row + 1]."""
    for row in range(start, stop):
        count = 0
        for e in range(pointers[row], pointers[row + 1]):
            count += e == pointers[row] or units[e] != units[e - 1]
        kept[row + 1] = count


@njit
def _merge(start, stop, pointers, units, kept, out, counts):
    """Rows start .. stop with equal units summed."""
    for row in range(start, stop):
        at = kept[row] - 1
        for e in range(pointers[row], pointers[row + 1]):
            if e == pointers[row] or units[e] != units[e - 1]:
                at += 1
                out[at], counts[at] = units[e], 1
            else:
                counts[at] += 1


def bin_events(data, index, dt: float, steps: int, warp: Warp | None = None):
    """Recordings `index` [B] of an EventData as compressed rows of a raster [T = steps, B, units].

    An event at time t lies in bin ceil(t / dt) of its recording, whose own length is its last bin
    + 1 (as SPSN's program bins); recordings are aligned at their ends, zeros in front, or where they
    share a `span` at their starts. A warp acts on the recording's own raster, before padding. Equal
    events are counted.

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
    own = own_bins(data, index, dt)
    longest, where = own.max(initial=0), own.argmax() if len(own) else -1
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
    if numba is None and warp is None:
        return _in_numpy(data, index, own, float(dt), int(steps))
    sizes = data.offsets[index + 1] - data.offsets[index]
    shifts, zooms = np.zeros(0, np.int64), np.zeros(0)
    if warp is not None:
        shifts, zooms = np.asarray(warp.shift, np.int64), np.asarray(warp.zoom, np.float64)
        sizes = sizes * (int(zooms.max(initial=0)) + 1) ** 2
    room = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows, cells = np.empty(room[-1], np.int32), np.empty(room[-1], np.int32)
    batch, n_rows = len(index), steps * len(index)
    filled, pointers = np.zeros(batch, np.int64), np.zeros(n_rows + 1, np.int64)
    run_blocks(_spread, batch, data.times, data.units, data.offsets, index, float(dt), int(steps),
               data.span is not None, data.n_units, shifts, zooms, room, rows, cells, filled,
               pointers)  # fmt: skip
    np.cumsum(pointers, out=pointers)
    units = np.empty(pointers[-1], np.int32)
    run_blocks(_sort, batch, rows, cells, room, filled, pointers[:-1].copy(), units)
    kept = np.zeros(n_rows + 1, np.int64)
    run_blocks(_distinct, n_rows, pointers, units, kept)
    np.cumsum(kept, out=kept)
    out, counts = np.empty(kept[-1], np.int32), np.empty(kept[-1], np.float32)
    run_blocks(_merge, n_rows, pointers, units, kept, out, counts)
    return kept, out, counts


def _in_numpy(data, index, own, dt, steps):
    """`bin_events` without a warp on whole arrays, for machines without numba."""
    starts, sizes = data.offsets[index], data.offsets[index + 1] - data.offsets[index]
    owner = np.repeat(np.arange(len(index)), sizes)
    event = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + starts[owner]
    bins = _bins_of(data.times[event], dt)
    if data.span is None:
        bins += (steps - own)[owner]
    n_rows, n = steps * len(index), data.n_units
    cells, counts = np.unique(
        (bins * len(index) + owner) * n + data.units[event], return_counts=True
    )
    pointers = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(cells // n, minlength=n_rows), out=pointers[1:])
    return pointers, (cells % n).astype(np.int32), counts.astype(np.float32)


def steps_needed(data, dt: float) -> int:
    """Bins of `dt` seconds that the longest recording of an EventData, or its span, fills (at least 1)."""
    _check_dt(dt)
    if data.span is not None:
        return max(int(bin_of(float(data.span), float(dt))), 1)
    return int(own_bins(data, np.arange(len(data)), dt).max(initial=1))


def _check_dt(dt):
    if not dt > 0:
        raise ReaderError(f"dt = {dt} is not a positive number of seconds", "bin_events")
