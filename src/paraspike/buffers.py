"""Large arrays that are used again: a fresh one costs a page fault every 4 KiB when first touched."""

import threading
import weakref

import numpy as np
import torch

_SMALL = 1 << 18
_lock = threading.RLock()
_free: list[np.ndarray] = []
_lent = 0
_most = 0


def borrow(shape, dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised CPU tensor; its memory comes back here once nothing refers to the tensor.

    Free memory is kept up to the most that was lent at one time.
    """
    count = int(np.prod(shape, dtype=np.int64))
    size = count * dtype.itemsize
    if size < _SMALL:
        return torch.empty(tuple(shape), dtype=dtype)
    global _lent, _most
    with _lock:
        fits = [b for b in _free if size <= b.nbytes <= 2 * size]
        block = min(fits, key=lambda b: b.nbytes) if fits else None
        if block is None:
            block = np.empty(size, np.uint8)
        else:
            _free[:] = [b for b in _free if b is not block]
        _lent += block.nbytes
        _most = max(_most, _lent)
    # Only torch refers to this view, so that it dies with the last tensor on its memory.
    view = block[:size]
    weakref.finalize(view, _give_back, block).atexit = False
    return torch.from_numpy(view).view(dtype).reshape(tuple(shape))


def release() -> None:
    """Let go of all free memory."""
    with _lock:
        _free.clear()


def _give_back(block):
    global _lent
    with _lock:
        _lent -= block.nbytes
        _free.append(block)
        while _free and _lent + sum(b.nbytes for b in _free) > _most:
            _free.pop(0)
