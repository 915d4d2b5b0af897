"""The definition of a sparse spike tensor: two thresholds and a fixed number of slots (Finkbeiner, Neftci)."""

import torch

from paraspike.errors import ReaderError
from paraspike.spikes import Spikes

POLICIES = ("first", "random", "largest")


def lists(fired, near, slots: int, policy: str = "first", offset=None, potential=None):
    """Ids of spikes, then of neurons near threshold, as many as there are slots.

    Args:
        fired, near: bool [T, B, N]: u > th1, and th2 < u <= th1 (spikes in `near` do not count twice).
        slots: entries of a list, the published s.
        policy: which entries stay on overflow: the `first` in scan order (as published), those behind a
            `random` offset [T, B] from which the scan starts and wraps around, or those with the `largest`
            potential [T, B, N]. Spikes come before neurons near threshold in all.

    Returns:
        ids int64 [T, B, slots], -1 past the last entry; counts int64 [T, B, 2]: spikes in the list, all
        entries; lost int64 [T, B, 2]: spikes and neurons near threshold that did not fit.

    Raises:
        ReaderError: an unknown policy, or one that lacks its offset or potential.
    """
    check(slots, policy, offset, potential)
    n = fired.shape[-1]
    place = torch.arange(n, device=fired.device).expand(fired.shape)
    if policy == "random":
        place = (place - offset[..., None]) % max(1, n)
    if policy == "largest":
        place = potential.argsort(stable=True, dim=-1, descending=True).argsort(-1)
    near = near & ~fired
    rank = torch.where(fired, place, torch.where(near, place + n, 2 * n))
    ids = rank.argsort(stable=True, dim=-1)[..., :slots]
    if ids.shape[-1] < slots:
        filler = ids.new_zeros(*ids.shape[:-1], slots - ids.shape[-1])
        ids = torch.cat((ids, filler), -1)
    wanted = torch.stack((fired.sum(-1), near.sum(-1)), -1)
    spikes = wanted[..., 0].clamp(max=slots)
    entries = (wanted.sum(-1)).clamp(max=slots)
    counts = torch.stack((spikes, entries), -1)
    lost = wanted - torch.stack((spikes, entries - spikes), -1)
    used = torch.arange(slots, device=ids.device) < entries[..., None]
    return torch.where(used, ids, -1), counts, lost


def spread(ids, counts, n: int):
    """bool [T, B, N] twice: the spikes in the lists, and all their entries."""
    kept, listed = (ids.new_zeros(*ids.shape[:2], n + 1, dtype=torch.bool) for _ in range(2))
    slot = torch.arange(ids.shape[-1], device=ids.device)
    kept.scatter_(2, torch.where(slot < counts[..., :1], ids, n), True)
    listed.scatter_(2, torch.where(slot < counts[..., 1:], ids, n), True)
    return kept[..., :n], listed[..., :n]


class _Listed(torch.autograd.Function):
    """Spikes that are in the lists; only entries of the lists get a gradient."""

    @staticmethod
    def forward(ctx, spikes, kept, listed):
        ctx.save_for_backward(listed)
        return spikes * kept

    @staticmethod
    def backward(ctx, grad):
        (listed,) = ctx.saved_tensors
        return grad * listed, None, None


def compact(spikes: Spikes, near, slots: int, policy="first", offset=None, potential=None):
    """Spikes as a list of `slots` entries hands them on.

    Args:
        spikes: [T, B, N] of a layer.  near: bool [T, B, N], the window of its surrogate.
        slots, policy, offset, potential: as `lists`.

    Returns:
        Spikes that fit, with a gradient for the entries of the lists alone; counts and lost, int64
        [T, B, 2], as `lists`. Spikes that are lost have reset their neurons all the same.
    """
    raster = spikes.dense(spikes.carrier.dtype)
    ids, counts, lost = lists(raster.detach() > 0, near, slots, policy, offset, potential)
    kept, listed = spread(ids, counts, raster.shape[-1])
    return Spikes.from_dense(_Listed.apply(raster, kept, listed)), counts, lost


def check(slots, policy, offset, potential):
    """Refuses arguments that make no lists."""
    if policy not in POLICIES:
        raise ReaderError(f"policy {policy!r} is unknown", "compact", f"one of {POLICIES}")
    if slots < 1:
        raise ReaderError(f"a list of {slots} slots", "compact", "1 or more")
    needs = {"random": ("offset", offset), "largest": ("potential", potential)}.get(policy)
    if needs is not None and needs[1] is None:
        raise ReaderError(f"policy {policy} without {needs[0]}", "compact")
