"""Spikes: what flows between spiking layers, as index lists, as a dense tensor, or both."""

import numpy as np
import torch

from paraspike.errors import ReaderError


class Spikes:
    """Spike counts of a batch, [T, B, N]; an input may hold counts above 1.

    Held as a dense float tensor, as index lists, or both; the other form is made on first use.
    The index lists are compressed rows r = t * B + b: `row_pointers` int64 [T*B + 1], `units` int32
    [events] (ascending within a row), `counts` float32 [events].

    `carrier` is the [T, B, N] tensor that takes part in autograd: the dense tensor itself, or a
    zero-stride stand-in of one element that receives the dense gradient.
    """

    def __init__(self, shape, dense=None, lists=None, carrier=None):
        self.shape = tuple(shape)
        self._dense, self._lists = dense, lists
        if carrier is None:
            carrier = dense if dense is not None else torch.zeros(()).expand(self.shape)
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
            ReaderError: the row pointers do not fit the shape or the lists.
        """
        t, b, _ = shape
        row_pointers = np.ascontiguousarray(row_pointers, np.int64)
        if len(row_pointers) != t * b + 1 or row_pointers[-1] != len(units) or row_pointers[0] != 0:
            raise ReaderError(
                f"{len(row_pointers)} row pointers ending at {row_pointers[-1]} do not fit "
                f"shape {tuple(shape)} with {len(units)} events",
                "Spikes.from_lists",
                "row_pointers has T*B + 1 entries, the last one is the number of events",
            )
        lists = (
            row_pointers,
            np.ascontiguousarray(units, np.int32),
            np.ascontiguousarray(counts, np.float32),
        )
        return cls(shape, lists=lists)

    @property
    def lists(self):
        """(row_pointers, units, counts) as NumPy arrays; counted from the dense tensor if need be."""
        if self._lists is None:
            dense = self._dense.detach().cpu()
            t, b, n = self.shape
            rows, units = torch.nonzero(dense.reshape(t * b, n), as_tuple=True)
            counts = dense.reshape(t * b, n)[rows, units].numpy().astype(np.float32)
            pointers = np.zeros(t * b + 1, np.int64)
            np.cumsum(np.bincount(rows.numpy(), minlength=t * b), out=pointers[1:])
            self._lists = (pointers, units.numpy().astype(np.int32), counts)
        return self._lists

    @property
    def has_lists(self) -> bool:
        """True where index lists exist already, so that using them costs no conversion."""
        return self._lists is not None

    def dense(self, dtype=torch.float32) -> torch.Tensor:
        """The raster as a tensor [T, B, N], outside autograd unless it was made from one."""
        if self._dense is None:
            t, b, n = self.shape
            pointers, units, counts = self._lists
            rows = np.repeat(np.arange(t * b, dtype=np.int64), np.diff(pointers))
            flat = torch.zeros(t * b * n, dtype=dtype)
            flat[torch.from_numpy(rows * n + units)] = torch.from_numpy(counts).to(dtype)
            self._dense = flat.reshape(self.shape)
        return self._dense.to(dtype)

    def densities(self, blocks: int) -> np.ndarray:
        """Share of non-zero entries in each of `blocks` equal runs of samples, [blocks]."""
        t, b, n = self.shape
        rows = np.diff(self.lists[0]).reshape(t, blocks, b // blocks)
        return rows.sum((0, 2)) / max(1, t * (b // blocks) * n)

    def __repr__(self) -> str:
        form = " + ".join(
            name
            for name, part in (("dense", self._dense), ("lists", self._lists))
            if part is not None
        )
        return f"Spikes(T={self.shape[0]}, B={self.shape[1]}, N={self.shape[2]}, {form})"
