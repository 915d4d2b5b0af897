"""Index lists that lie on a device: rows of spikes, and the same events ordered by neuron."""

import numpy as np
import torch

from paraspike.errors import ReaderError


class Resident:
    """Spikes [T, B, N] as index lists in torch tensors, read and converted without the host waiting.

    Row r = t * B + b holds the events row_pointers[r] .. row_pointers[r + 1]. Entries outside of all rows
    are room that is not used: how many events there are is known on the device alone, so lists made
    there are allocated at an upper bound.

    Attributes:
        row_pointers: int64 [T*B + 1].  units: int32 [room], ascending within a row.
        counts: float32 [room].  shape: (T, B, N).
        events: how many there are, estimated where only the device knows.
    """

    def __init__(self, row_pointers, units, counts, shape, events: float | None = None):
        self.row_pointers, self.units, self.counts = row_pointers, units, counts
        self.events = len(units) if events is None else events
        self.shape = tuple(shape)
        steps, batch, _ = self.shape
        fits = (
            row_pointers.dtype == torch.int64
            and units.dtype == torch.int32
            and counts.dtype == torch.float32
            and row_pointers.shape == (steps * batch + 1,)
            and units.dim() == 1
            and units.shape == counts.shape
            and row_pointers.device == units.device == counts.device
        )
        if not fits:
            raise ReaderError(
                f"lists {row_pointers.dtype} {list(row_pointers.shape)}, {units.dtype} "
                f"{list(units.shape)}, {counts.dtype} {list(counts.shape)} for a raster {self.shape}",
                "ops/synapse/resident.py",
                "int64 [T*B + 1], int32 [room], float32 [room], on one device",
            )
        self._by_unit = {}

    @classmethod
    def from_host(cls, lists, shape, device) -> "Resident":
        """NumPy lists copied to a device; from page-locked memory, so that no kernel is waited for."""
        tensors = [torch.from_numpy(np.ascontiguousarray(part)) for part in lists]
        if torch.device(device).type == "cuda":
            tensors = [part.pin_memory() for part in tensors]
        return cls(*(part.to(device, non_blocking=True) for part in tensors), shape)

    @property
    def density(self) -> float:
        """Events by neurons, samples and steps."""
        return self.events / max(1, int(np.prod(self.shape)))

    def steps(self, start: int, stop: int) -> "Resident":
        """Steps start .. stop; the events stay where they are."""
        _, batch, n = self.shape
        pointers = self.row_pointers[start * batch : stop * batch + 1]
        share = self.events * (stop - start) / max(1, self.shape[0])
        return Resident(pointers, self.units, self.counts, (stop - start, batch, n), share)

    def rows(self) -> torch.Tensor:
        """The row of each entry [room], T*B where it belongs to none; int32 if that holds T*B, else int64."""
        entries = torch.arange(len(self.units), device=self.units.device)
        last = self.shape[0] * self.shape[1]
        rows = torch.searchsorted(
            self.row_pointers, entries, right=True, out_int32=last < 2**31 - 1
        )
        return torch.where(rows == 0, last, rows - 1)

    def dense(self, dtype=torch.float32) -> torch.Tensor:
        """The raster [T, B, N]."""
        steps, batch, n = self.shape
        rows = self.rows()
        inside = rows < steps * batch
        # What belongs to no row is put on a place of its own behind the raster.
        places = torch.where(inside, rows.long() * n + self.units, steps * batch * n)
        flat = torch.zeros(steps * batch * n + 1, dtype=dtype, device=self.units.device)
        return flat.scatter_(0, places, self.counts.to(dtype))[:-1].reshape(self.shape)

    def by_unit(self, seeds: int = 1):
        """The events ordered by (seed, neuron) and by row within: (pointers int64 [S*N + 1], rows [room],
        int32 or int64, counts [room]). Sorted once, then kept."""
        if seeds not in self._by_unit:
            steps, batch, n = self.shape
            rows = self.rows()
            wide = rows if seeds * n < 2**31 else rows.long()
            key = wide % max(1, batch) // max(1, batch // seeds) * n + self.units
            key = torch.where(rows < steps * batch, key, seeds * n)
            if seeds * n < 2**15:
                # A sort passes once over all entries for every 8 bits of their keys' type.
                key = key.short()
            key, order = torch.sort(key, stable=True)
            wanted = torch.arange(seeds * n + 1, device=key.device, dtype=key.dtype)
            pointers = torch.searchsorted(key, wanted)
            self._by_unit[seeds] = pointers, rows[order], self.counts[order]
        return self._by_unit[seeds]

    def to_host(self):
        """(row_pointers, units, counts) as NumPy arrays, as `Spikes.lists` has them; the host waits."""
        pointers = self.row_pointers.cpu().numpy()
        first, last = int(pointers[0]), int(pointers[-1])
        return (
            pointers - first,
            self.units[first:last].cpu().numpy(),
            self.counts[first:last].cpu().numpy(),
        )
