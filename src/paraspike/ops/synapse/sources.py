"""Presynaptic activity as the kernels take it."""

import numpy as np
import torch

from paraspike.ops.jit import njit
from paraspike.ops.simd import set_bits
from paraspike.ops.synapse.chunks import BITS, DENSE, LISTS
from paraspike.spikes import Spikes


def source_of(x: Spikes, real):
    """The presynaptic activity in the form it is held in, as the kernels take it."""
    pointers, units = np.zeros(1, np.int64), np.empty(0, np.int32)
    counts, words, raster = np.empty(0, real), np.empty(0, np.uint16), np.empty(0, real)
    n_words, kind = 0, DENSE
    if x.has_lists:
        kind = LISTS
        pointers, units, counts = x.lists
        counts = counts.astype(real, copy=False)
    elif x.has_bits:
        kind, words = BITS, x.bits.view(np.uint16).reshape(-1)
        n_words = 4 * x.bits.shape[1]
    else:
        dtype = torch.float64 if real is np.float64 else torch.float32
        raster = x.dense(dtype).detach().contiguous().reshape(-1).numpy()
    return kind, pointers, units, counts, words, n_words, raster


def density_of(source, shape) -> float:
    """Share of non-zeros; 1 for a dense raster, which is not counted beforehand."""
    size = max(1, int(np.prod(shape)))
    if source[0] == LISTS:
        return len(source[2]) / size
    return _count_bits(source[4].view(np.uint64)) / size if source[0] == BITS else 1.0


@njit
def _count_bits(words):
    total = 0
    for word in words:
        total += set_bits(word)
    return total
