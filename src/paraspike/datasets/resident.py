"""Recordings that lie on a device as index lists: batches are gathered and augmented there.

Binned once on the host; a batch is then a selection of rows. The warp of `augment` is separable and
monotone, so that step t of a warped recording shows the row of one step of the recording itself, and each
event's unit appears at a range of units: no event is moved in time, sorted or counted again. The host sends
the numbers of the recordings and their warps, and waits for nothing.
"""

import weakref

import numpy as np
import torch

from paraspike.datasets.augment import Warp
from paraspike.datasets.binning import bin_events, own_bins, steps_needed
from paraspike.errors import ReaderError
from paraspike.ops.synapse.resident import Resident
from paraspike.spikes import Spikes

_AT_A_TIME = 256
_held = {}


def resident(data, dt: float, device, steps: int | None = None) -> "ResidentEvents":
    """The recordings of an EventData on a device, put there once and kept as long as `data` lives."""
    steps = steps or steps_needed(data, dt)
    place = (id(data), float(dt), str(device), steps)
    if place not in _held:
        _held[place] = ResidentEvents(data, dt, device, steps)
        weakref.finalize(data, _held.pop, place, None)
    return _held[place]


class ResidentEvents:
    """All recordings of an EventData on a device, in bins of dt seconds.

    Args:
        data: EventData.  dt: seconds per bin.  device: where they are kept.
        steps: T of every batch; None: as many as the longest recording needs.

    Raises:
        ReaderError: as `binning.bin_events`.
    """

    def __init__(self, data, dt: float, device, steps: int | None = None):
        self.steps, self.n_units = steps or steps_needed(data, dt), data.n_units
        self.device, n = torch.device(device), len(data)
        parts = [
            _by_recording(bin_events(data, np.arange(k, min(k + _AT_A_TIME, n)), dt, self.steps),
                          self.steps)
            for k in range(0, n, _AT_A_TIME)
        ]  # fmt: skip
        lengths, units, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        pointers = np.zeros(n * self.steps + 1, np.int64)
        np.cumsum(lengths.reshape(-1), out=pointers[1:])
        self.sizes = lengths.sum(1)
        self._labels = torch.from_numpy(np.asarray(data.labels)).to(self.device)
        self.pointers, self.units, self.counts = (
            torch.from_numpy(part).to(self.device) for part in (pointers, units, counts)
        )
        self.own = torch.from_numpy(own_bins(data, np.arange(n), dt)).to(self.device)
        at_start = data.span is not None
        self.pad = torch.zeros_like(self.own) if at_start else self.steps - self.own

    def batch(self, index, warp: Warp | None = None) -> Spikes:
        """Recordings `index` (integers [B], on the host), warped if asked, as `Spikes` [T, B, n_units] whose
        lists lie on the device and equal those of `binning.bin_events`.

        Raises:
            ReaderError: an index out of range, or a warp of another length.
        """
        index = np.asarray(index, np.int64).reshape(-1)
        if index.size and not 0 <= index.min() <= index.max() < len(self.sizes):
            raise ReaderError(f"recordings {index.min()} .. {index.max()} of {len(self.sizes)}",
                              "ResidentEvents.batch")  # fmt: skip
        if warp is not None and not len(warp.shift) == len(warp.zoom) == len(index):
            raise ReaderError(
                f"a warp for {len(warp.shift)} recordings, {len(index)} asked",
                "ResidentEvents.batch",
            )
        shape, sizes = (self.steps, len(index), self.n_units), self.sizes[index]
        # The mean of all recordings: what is chosen by density must not depend on a sample's neighbours, or
        # a seed beside others would get other bits than alone.
        events = len(index) * float(self.sizes.sum()) / max(1, len(self.sizes))
        chosen = self._sent(index)
        rows = torch.arange(self.steps, device=self.device)[:, None]
        if warp is None:
            first = chosen * self.steps + rows
            lists = self._gathered(first, torch.ones_like(first, dtype=torch.bool), sizes.sum())
            return Spikes.from_resident(Resident(*lists, shape, events))
        zoom = np.asarray(warp.zoom, np.float64)
        # As many output pixels show an input pixel, at most.
        most = zoom.astype(np.int64) + 1
        shifts, zooms = self._sent(np.asarray(warp.shift, np.float64)), self._sent(zoom)
        own, pad = self.own[chosen], self.pad[chosen]
        step = rows - pad
        source = _source(step, own.clamp(min=1).double(), torch.zeros_like(zooms), zooms)
        seen = (step >= 0) & (step < own) & (source >= 0) & (source < own)
        first = chosen * self.steps + torch.where(seen, pad + source, 0)
        lists = self._gathered(first, seen, (sizes * most).sum())
        lists = self._spread(*lists, shifts, zooms, (sizes * most**2).sum(), len(index))
        return Spikes.from_resident(Resident(*lists, shape, events))

    def labels(self, index) -> torch.Tensor:
        """Labels int64 [B] of recordings `index` (integers [B], on the host), on the device."""
        return self._labels[self._sent(np.asarray(index, np.int64))]

    def _sent(self, values):
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _gathered(self, first, seen, room):
        """Lists of the stored rows `first` [T, B], empty where not `seen`."""
        start = self.pointers[first].reshape(-1)
        lengths = (self.pointers[first + 1].reshape(-1) - start) * seen.reshape(-1)
        pointers = _summed(lengths)
        entry = torch.arange(int(room), device=self.device)
        row = torch.searchsorted(pointers, entry, right=True) - 1
        used = row < len(start)
        row = torch.where(used, row, 0)
        place = torch.where(used, start[row] + entry - pointers[row], 0)
        return pointers, self.units[place] * used, self.counts[place] * used

    def _spread(self, pointers, units, counts, shifts, zooms, room, batch):
        """The lists with each event at all units that show its own, in order."""
        n = self.n_units
        unit = torch.arange(n, device=self.device)
        size = torch.full((1, 1), n, dtype=torch.float64, device=self.device)
        source = _source(unit[None, :], size, shifts[:, None], zooms[:, None])
        wanted = unit.expand(batch, n).contiguous()
        begin = torch.searchsorted(source, wanted)
        number = torch.searchsorted(source, wanted, right=True) - begin
        entry = torch.arange(len(units), device=self.device)
        row = torch.searchsorted(pointers, entry, right=True) - 1
        used = row < len(pointers) - 1
        cell = torch.where(used, row % batch, 0) * n + units
        ends = _summed(number.reshape(-1)[cell] * used)
        copy = torch.arange(int(room), device=self.device)
        event = torch.searchsorted(ends, copy, right=True) - 1
        used = event < len(units)
        event = torch.where(used, event, 0)
        unit = begin.reshape(-1)[cell[event]] + copy - ends[event]
        return ends[pointers], torch.where(used, unit, 0).int(), counts[event] * used


def _summed(lengths):
    """Where each of these lengths begins, and where the last one ends."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _source(pixel, size, shift, zoom):
    """As `augment.source_index`, the same float64 operations in the same order, for tensors; `size` is one
    too, as torch multiplies by the reciprocal of a number."""
    step = 2.0 / (size - 1).clamp(min=1)
    low, high = -1.0 + step * pixel, 1.0 - step * (size - 1 - pixel)
    grid = torch.where(pixel < torch.div(size, 2, rounding_mode="floor"), low, high)
    grid = torch.where(size == 1, 0.0, grid * (size - 1) / size)
    grid = grid * (1.0 / zoom) + (-2.0 * shift / size) / zoom
    return torch.round(((grid + 1.0) * size - 1.0) / 2.0).long()


def _by_recording(lists, steps):
    """(events of each row [B, T], units, counts) of `bin_events`, a recording after another."""
    pointers, units, counts = lists
    lengths = np.diff(pointers).reshape(steps, -1).T
    begins = np.zeros(lengths.size, np.int64)
    np.cumsum(lengths.reshape(-1)[:-1], out=begins[1:])
    begins = begins.reshape(lengths.shape).T.reshape(-1)
    place = np.repeat(begins - pointers[:-1], np.diff(pointers)) + np.arange(len(units))
    moved_units, moved_counts = np.empty_like(units), np.empty_like(counts)
    moved_units[place], moved_counts[place] = units, counts
    return lengths, moved_units, moved_counts
