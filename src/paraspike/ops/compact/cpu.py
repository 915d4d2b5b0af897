"""Spike lists of fixed capacity on the CPU, from bits to bits."""

import numpy as np
import torch

from paraspike.ops.compact.reference import POLICIES, check
from paraspike.ops.jit import njit
from paraspike.ops.simd import set_bits, trailing_zeros
from paraspike.spikes import Spikes, from_bits
from paraspike.threads import run_blocks

_ONE = np.uint64(1)


@njit
def _choose(words, row, n, room, policy, start, potential, found, out):
    """Set in out[row] the bits of `room` of the set bits of words[row], by policy."""
    count = 0
    for k in range(words.shape[1]):
        word = words[row, k]
        while word != 0:
            found[count] = 64 * k + trailing_zeros(word)
            count += 1
            word &= word - _ONE
    begin = 0
    if policy == 1:
        while begin < count and found[begin] < start:
            begin += 1
    if policy == 2:
        ahead = np.argsort(-potential[found[:count]], kind="mergesort")
        found[:count] = found[:count][ahead]
    for k in range(min(room, count)):
        unit = found[(begin + k) % count]
        out[row, unit // 64] |= _ONE << np.uint64(unit % 64)


@njit
def _truncate(start, stop, batch, n, words, near, slots, policy, offsets, potential, kept, listed,
              counts, lost):  # fmt: skip
    found = np.empty(n, np.int64)
    rest = np.empty((1, words.shape[1]), np.uint64)
    taken = np.empty((1, words.shape[1]), np.uint64)
    line = potential[0, 0]
    for row in range(start, stop):
        spikes, others = 0, 0
        for k in range(words.shape[1]):
            rest[0, k] = near[row, k] & ~words[row, k]
            spikes += set_bits(words[row, k])
            others += set_bits(rest[0, k])
        first = min(spikes, slots)
        second = min(others, slots - first)
        counts[row, 0], counts[row, 1] = first, first + second
        lost[row, 0], lost[row, 1] = spikes - first, others - second
        if policy == 2:
            line = potential[row // batch, row % batch]
        offset = offsets[row] if policy == 1 else 0
        if first == spikes:
            kept[row] = words[row]
        else:
            _choose(words, row, n, first, policy, offset, line, found, kept)
        if second == others:
            taken[0] = rest[0]
        else:
            taken[0] = 0
            _choose(rest, 0, n, second, policy, offset, line, found, taken)
        for k in range(words.shape[1]):
            listed[row, k] = kept[row, k] | taken[0, k]


def compact(spikes: Spikes, near, slots: int, policy="first", offset=None, potential=None):
    """As `reference.compact`; `spikes` must have bits, and `near` is ignored for the bits they carry."""
    check(slots, policy, offset, potential)
    steps, batch, n = spikes.shape
    words, rows = spikes.bits, steps * batch
    near = _everybody(rows, n) if spikes.near is None else spikes.near
    kept, listed = np.zeros_like(words), np.zeros_like(words)
    counts, lost = np.zeros((rows, 2), np.int64), np.zeros((rows, 2), np.int64)
    offsets = np.zeros(0, np.int64) if offset is None else offset.numpy().reshape(-1)
    # One layout for all, so that one kernel serves them.
    given = torch.zeros(1, 1, 1) if potential is None else potential
    given = given.detach().contiguous().numpy()
    run_blocks(_truncate, rows, batch, n, words, near, slots, POLICIES.index(policy), offsets, given,
               kept, listed, counts, lost)  # fmt: skip
    shape = (steps, batch, 2)
    counts, lost = torch.from_numpy(counts).reshape(shape), torch.from_numpy(lost).reshape(shape)
    if not lost.any():
        return spikes, counts, lost
    carrier, totals = _Listed.apply(spikes.carrier, spikes.totals, kept, listed)
    return Spikes.from_bits(kept, spikes.shape, carrier, totals, listed), counts, lost


class _Listed(torch.autograd.Function):
    """Carrier and totals of the spikes kept; only entries of the lists get a gradient."""

    @staticmethod
    def forward(ctx, carrier, totals, kept, listed):
        ctx.set_materialize_grads(False)
        ctx.listed, ctx.shape = listed, carrier.shape
        counted = from_bits(kept, carrier.shape).sum(0, dtype=totals.dtype)
        return torch.zeros((), dtype=carrier.dtype).expand(carrier.shape), counted

    @staticmethod
    def backward(ctx, grad, total):
        if grad is None and total is None:
            return None, None, None, None
        sent = total if grad is None else grad if total is None else grad + total
        return sent * from_bits(ctx.listed, ctx.shape), None, None, None


def _everybody(rows, n):
    """Without a window every neuron is within it."""
    bits = np.full((rows, -(-n // 64)), ~np.uint64(0))
    if n % 64:
        bits[:, -1] = (_ONE << np.uint64(n % 64)) - _ONE
    return bits
