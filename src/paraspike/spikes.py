"""Spikes: what flows between spiking layers, as index lists, as a dense tensor, or both."""

import numpy as np
import torch

from paraspike.errors import ReaderError


def to_bits(raster: torch.Tensor) -> np.ndarray:
    """bool [T, B, N] as bits uint64 [T*B, ceil(N / 64)], laid out as `Spikes` has them."""
    t, b, n = raster.shape
    room = np.zeros((t * b, -(-n // 64) * 64), bool)
    room[:, :n] = raster.reshape(t * b, n).numpy()
    return np.packbits(room, axis=1, bitorder="little").view(np.uint64)


def from_bits(bits: np.ndarray, shape) -> torch.Tensor:
    """The bool raster [T, B, N] that `to_bits` packs."""
    eights = np.unpackbits(bits.view(np.uint8), axis=1, count=shape[2], bitorder="little")
    return torch.from_numpy(eights.view(bool)).reshape(shape)


class _Raster(torch.autograd.Function):
    """A raster made from bits or lists; its gradient goes to the carrier, wherever that lies."""

    @staticmethod
    def forward(ctx, carrier, raster):
        ctx.device = carrier.device
        return raster

    @staticmethod
    def backward(ctx, grad):
        return grad.to(ctx.device), None


class Spikes:
    """Spike counts of a batch, [T, B, N]; an input may hold counts above 1.

    Held as a dense float tensor, as index lists (in NumPy arrays, or `resident` on a device), as bits, or
    several of them; another form is made on first use. With rows r = t * B + b, the index lists are
    `row_pointers` int64 [T*B + 1], `units` int32 [events] (ascending within a row), `counts` float32
    [events]; the bits are uint64 [T*B, ceil(N / 64)], neuron n being bit n % 64 of word n // 64, and hold no
    counts above 1.

    `carrier` is the [T, B, N] tensor that takes part in autograd: the dense tensor itself, or a
    zero-stride stand-in of one element that receives the dense gradient.
    """

    def __init__(
        self, shape, dense=None, lists=None, bits=None, carrier=None, totals=None, near=None,
        resident=None,
    ):  # fmt: skip
        self.shape, self.near, self._resident = tuple(shape), near, resident
        self._dense, self._lists, self._bits, self._totals = dense, lists, bits, totals
        if carrier is None:
            where = None if resident is None else resident.units.device
            carrier = dense if dense is not None else torch.zeros((), device=where).expand(shape)
        self.carrier = carrier

    @classmethod
    def from_dense(cls, tensor: torch.Tensor) -> "Spikes":
        """Wrap a tensor [T, B, N]; autograd flows through the tensor itself."""
        if tensor.dim() != 3 or not tensor.is_floating_point():
            raise ReaderError(
                f"spikes must be a floating-point tensor [T, B, N], got {tensor.dtype} "
                f"of shape {list(tensor.shape)}",
                "Spikes.from_dense",
            )
        return cls(tensor.shape, dense=tensor)

    @classmethod
    def from_lists(cls, row_pointers, units, counts, shape) -> "Spikes":
        """Wrap compressed rows (NumPy arrays) of a [T, B, N] raster.

        Raises:
            ReaderError: the row pointers do not fit the shape or the lists; units are not in order, lie
                outside or come twice in a row; a count is zero.
        """
        from paraspike.ops.synapse.order import in_order

        t, b, _ = shape
        row_pointers = np.ascontiguousarray(row_pointers, np.int64)
        if len(row_pointers) != t * b + 1 or row_pointers[-1] != len(units) or row_pointers[0] != 0:
            raise ReaderError(
                f"{len(row_pointers)} row pointers ending at {row_pointers[-1]} do not fit "
                f"shape {tuple(shape)} with {len(units)} events",
                "Spikes.from_lists",
                "row_pointers has T*B + 1 entries, the last one is the number of events",
            )
        units = np.ascontiguousarray(units, np.int32)
        counts = np.ascontiguousarray(counts, np.float32)
        # Kernels use both as addresses.
        if len(counts) != len(units) or not in_order(row_pointers, units, counts, shape[2]):
            raise ReaderError(
                f"index lists do not describe a raster of {shape[2]} units",
                "Spikes.from_lists",
                "row_pointers never fall; in a row units rise within 0 .. N-1; a count for each, not zero",
            )
        return cls(shape, lists=(row_pointers, units, counts))

    @classmethod
    def from_bits(cls, bits, shape, carrier=None, totals=None, near=None) -> "Spikes":
        """Wrap bits uint64 [T*B, ceil(N / 64)] of a [T, B, N] raster; those beyond N must be zero.

        Args:
            totals: each neuron's spikes over time [B, N], if known; they may take part in autograd.
            near: bits, laid out alike, of the neurons within reach of their surrogate: the gradient of
                all others is of no use to whoever made these spikes.

        Raises:
            ReaderError: the bits do not fit the shape, or lie beyond N.
        """
        t, b, n = shape
        if bits.dtype != np.uint64 or bits.shape != (t * b, -(-n // 64)):
            raise ReaderError(
                f"bits {bits.dtype} {list(bits.shape)} do not fit shape {tuple(shape)}",
                "Spikes.from_bits",
                f"uint64 {[t * b, -(-n // 64)]}",
            )
        if n % 64 and (bits[:, -1] >> np.uint64(n % 64)).any():
            raise ReaderError(f"bits are set beyond neuron {n - 1}", "Spikes.from_bits")
        return cls(shape, bits=bits, carrier=carrier, totals=totals, near=near)

    @classmethod
    def from_resident(cls, resident) -> "Spikes":
        """Wrap an `ops.synapse.resident.Resident`: index lists on a device, whose order is not checked."""
        return cls(resident.shape, resident=resident)

    def detached(self) -> "Spikes":
        """The same spikes outside autograd."""
        dense = None if self._dense is None else self._dense.detach()
        totals = None if self._totals is None else self._totals.detach()
        return Spikes(
            self.shape, dense, self._lists, self._bits, None, totals, resident=self._resident
        )

    def steps(self, start: int, stop: int) -> "Spikes":
        """Steps start .. stop of them, outside autograd; no raster is made for it."""
        t, b, n = self.shape
        stop = min(stop, t)
        shape, first, last = (stop - start, b, n), start * b, stop * b
        if self._resident is not None:
            return Spikes.from_resident(self._resident.steps(start, stop))
        if self._lists is not None:
            pointers, units, counts = self._lists
            low, high = pointers[first], pointers[last]
            lists = pointers[first : last + 1] - low, units[low:high], counts[low:high]
            return Spikes(shape, lists=lists)
        if self._bits is not None:
            return Spikes(shape, bits=self._bits[first:last])
        return Spikes(shape, dense=self._dense.detach()[start:stop])

    @property
    def lists(self):
        """(row_pointers, units, counts) as NumPy arrays; counted from another form if need be."""
        if self._lists is None and self._resident is not None:
            self._lists = self._resident.to_host()
        if self._lists is None:
            t, b, n = self.shape
            raster = self.dense().detach().cpu().reshape(t * b, n)
            rows, units = torch.nonzero(raster, as_tuple=True)
            counts = raster[rows, units].numpy().astype(np.float32)
            pointers = np.zeros(t * b + 1, np.int64)
            np.cumsum(np.bincount(rows.numpy(), minlength=t * b), out=pointers[1:])
            self._lists = (pointers, units.numpy().astype(np.int32), counts)
        return self._lists

    def on(self, device):
        """The index lists on a device, as `Resident`; copied there once, and kept.

        Lists in NumPy arrays go there without a wait. To list a dense tensor, the host counts its spikes.
        """
        device = torch.device(device)
        if self._resident is None or self._resident.units.device.type != device.type:
            from paraspike.ops.synapse.resident import Resident

            self._resident = Resident.from_host(self.lists, self.shape, device)
        return self._resident

    @property
    def bits(self):
        """uint64 [T*B, ceil(N / 64)], of spikes that were given as bits."""
        return self._bits

    @property
    def has_lists(self) -> bool:
        """True where index lists exist already, so that using them costs no conversion."""
        return self._lists is not None or self._resident is not None

    @property
    def density(self) -> float | None:
        """Share of non-zeros, where index lists exist already; else None."""
        if self._lists is None:
            return None if self._resident is None else self._resident.density
        return len(self._lists[1]) / max(1, int(np.prod(self.shape)))

    @property
    def has_bits(self) -> bool:
        """True where bits exist already."""
        return self._bits is not None

    @property
    def binary(self) -> bool:
        """True where no count differs from 1."""
        return self._bits is not None or bool((self.lists[2] == 1).all())

    @property
    def totals(self) -> torch.Tensor:
        """Spikes of each neuron over time, [B, N]; with gradients where the spikes have them."""
        if self._totals is None:
            self._totals = self.dense(self.carrier.dtype).sum(0)
        return self._totals

    def dense(self, dtype=torch.float32) -> torch.Tensor:
        """The raster as a tensor [T, B, N]; gradients go to the carrier."""
        if self._dense is None:
            raster = self._raster(dtype)
            carried = self.carrier.requires_grad
            self._dense = _Raster.apply(self.carrier, raster) if carried else raster
        return self._dense.to(dtype)

    def _raster(self, dtype):
        t, b, n = self.shape
        if self._bits is not None:
            return from_bits(self._bits, self.shape).to(dtype)
        if self._resident is not None:
            return self._resident.dense(dtype)
        pointers, units, counts = self._lists
        rows = np.repeat(np.arange(t * b, dtype=np.int64), np.diff(pointers))
        flat = torch.zeros(t * b * n, dtype=dtype)
        flat[torch.from_numpy(rows * n + units)] = torch.from_numpy(counts).to(dtype)
        return flat.reshape(self.shape)

    def __repr__(self) -> str:
        form = " + ".join(
            name
            for name, part in (
                ("dense", self._dense),
                ("lists", self._lists),
                ("resident", self._resident),
                ("bits", self._bits),
            )
            if part is not None
        )
        return f"Spikes(T={self.shape[0]}, B={self.shape[1]}, N={self.shape[2]}, {form})"
