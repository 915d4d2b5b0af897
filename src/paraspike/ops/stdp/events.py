"""Presynaptic spikes as the STDP kernel walks them: event lists, and where each event's trace lies."""

from typing import NamedTuple

import numpy as np
import torch

from paraspike.ops.jit import njit
from paraspike.ops.simd import LANES, lanes_below, load_some, set_bits, to_bits, trailing_zeros
from paraspike.spikes import Spikes
from paraspike.threads import run_blocks

_ONE = np.uint64(1)


class Events(NamedTuple):
    """Events of T steps and B images, and the inputs that have any, fewest images first.

    Attributes:
        batch: B.
        pointers: int64 [T*B + 1], events of row t * B + b.
        units: int32 [events].  counts: [events], or empty where every count is one.
        rows: int64 [R], the inputs in order.  place: int64 [N_in], each input's position in it.
        first: int64 [R + 1], each one's first slot.  images: int32 [slots].
        slots: int64 [N_in * B], of input i in image b at i * B + b.
    """

    batch: int
    pointers: np.ndarray
    units: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    place: np.ndarray
    first: np.ndarray
    images: np.ndarray
    slots: np.ndarray


@njit
def _pack(start, stop, raster, n, words, counted):
    zero, one = raster.dtype.type(0), raster.dtype.type(1)
    for row in range(start, stop):
        odd = np.uint16(0)
        for j in range(0, n, LANES):
            x = load_some(raster, row * n + j, lanes_below(n - j))
            fires = to_bits(x > zero)
            odd |= to_bits(x < zero) | to_bits(x > one) | (fires ^ to_bits(x >= one))
            words[row, j // LANES] = fires
        counted[row] = odd != 0


@njit
def _count_bits(start, stop, bits, numbers):
    for row in range(start, stop):
        number = 0
        for word in range(bits.shape[1]):
            number += set_bits(bits[row, word])
        numbers[row] = number


@njit
def _list_bits(start, stop, bits, pointers, units):
    for row in range(start, stop):
        at = pointers[row]
        for word in range(bits.shape[1]):
            left = bits[row, word]
            while left:
                units[at] = 64 * word + trailing_zeros(left)
                at += 1
                left &= left - _ONE


@njit
def _mark(pointers, units, batch, seen):
    for row in range(pointers.size - 1):
        for e in range(pointers[row], pointers[row + 1]):
            seen[units[e], row % batch] = True


@njit
def _number(seen, rows, place, first, images, slots):
    batch, slot = seen.shape[1], 0
    for k in range(rows.size):
        i = rows[k]
        place[i], first[k] = k, slot
        for b in range(batch):
            if seen[i, b]:
                slots[i * batch + b] = slot
                images[slot] = b
                slot += 1
    first[rows.size] = slot


def _packed(spikes, dtype):
    """The bits of a dense raster, or None where it holds counts."""
    steps, batch, n = spikes.shape
    real = torch.float64 if dtype == np.float64 else torch.float32
    raster = spikes.dense(real).detach().contiguous().numpy().reshape(-1)
    bits = np.zeros((steps * batch, -(-n // 64)), np.uint64)
    counted = np.zeros(steps * batch, np.bool_)
    run_blocks(_pack, steps * batch, raster, n, bits.view(np.uint16), counted, grain=16)
    return None if counted.any() else bits


def events(spikes: Spikes, dtype) -> Events:
    """The events of spikes [T, B, N_in], counts in `dtype`."""
    steps, batch, n_in = spikes.shape
    counts = np.empty(0, dtype)
    bits = spikes.bits if spikes.has_bits or spikes.has_lists else _packed(spikes, dtype)
    if bits is not None:
        pointers = np.zeros(steps * batch + 1, np.int64)
        run_blocks(_count_bits, steps * batch, bits, pointers[1:])
        np.cumsum(pointers, out=pointers)
        units = np.empty(pointers[-1], np.int32)
        run_blocks(_list_bits, steps * batch, bits, pointers, units)
        ever = np.bitwise_or.reduce(bits.reshape(steps, batch, -1), 0)
        seen = np.unpackbits(ever.view(np.uint8), axis=1, count=n_in, bitorder="little").T
        seen = np.ascontiguousarray(seen, np.bool_)
    else:
        pointers, units, given = spikes.lists
        if not spikes.binary:
            counts = given.astype(dtype)
        seen = np.zeros((n_in, batch), np.bool_)
        _mark(pointers, units, batch, seen)
    per_row = seen.sum(1)
    # In order of length, so that the processor predicts the ends of the loops over images.
    rows = np.argsort(per_row, kind="stable")[np.count_nonzero(per_row == 0) :]
    place, slots = np.zeros(n_in, np.int64), np.zeros(n_in * batch, np.int64)
    first, images = np.zeros(len(rows) + 1, np.int64), np.empty(per_row.sum(), np.int32)
    _number(seen, rows, place, first, images, slots)
    return Events(batch, pointers, units, counts, rows, place, first, images, slots)
