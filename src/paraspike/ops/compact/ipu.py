"""Spike lists as tiles make them: each worker compacts 64 flags, a combining tile joins the pieces."""

import torch
from torch.nn.functional import pad

from paraspike.ops.compact import reference
from paraspike.ops.compact.reference import _Listed, check, spread
from paraspike.spikes import Spikes, from_bits

# Flags a worker compacts (fact sheet, section 1.3).
PIECE = 64


def pieces(flags):
    """Every worker's list: ids int64 [B, pieces, 64], those set first, in order, and counts [B, pieces].

    flags: bool [B, N] as they arrive on the compacting tiles.
    """
    batch, n = flags.shape
    states = pad(flags, (0, -n % PIECE)).reshape(batch, -(-n // PIECE), PIECE)
    order = (~states).to(torch.int8).argsort(stable=True, dim=-1)
    first = PIECE * torch.arange(states.shape[1])[:, None]
    return order + first, states.sum(-1)


def combine(ids, counts, offset=None, level=None):
    """All workers' lists one after another, [B, N], -1 past the last, and their number [B].

    offset: [B], the neuron at which the order begins; level: [B, N], the largest first instead.
    """
    begins = counts.cumsum(-1) - counts
    total = counts.sum(-1)
    batch, n = ids.shape[0], ids.shape[1] * ids.shape[2]
    k = torch.arange(ids.shape[2])
    place = begins[..., None] + k
    used = k < counts[..., None]
    if offset is not None:
        ahead = (used & (ids < offset[:, None, None])).sum((1, 2))
        place = (place - ahead[:, None, None]) % total.clamp(min=1)[:, None, None]
    joined = ids.new_full((batch, n + 1), -1)
    place = torch.where(used, place, n).reshape(batch, n)
    joined.scatter_(1, place, torch.where(used, ids, -1).reshape(batch, n))
    joined = joined[:, :n]
    if level is not None:
        height = level.gather(1, joined.clamp(min=0)).masked_fill(joined < 0, -torch.inf)
        joined = joined.gather(1, height.argsort(stable=True, dim=1, descending=True))
    return joined, total


def joined(spikes, near, slots: int):
    """Both thresholds' lists as one of `slots` entries, as `reference.lists` gives them for [B, N]."""
    (ids, fired), (others, close) = spikes, near
    kept = fired.clamp(max=slots)
    more = close.clamp(max=slots).minimum(slots - kept)
    k = torch.arange(slots)
    width = ids.shape[1]
    if not width:
        return ids.new_full((len(ids), slots), -1), *_counted(fired, close, kept, more)
    here = ids.gather(1, k.clamp(max=width - 1).expand(len(ids), -1))
    there = others.gather(1, (k - kept[:, None]).clamp(0, width - 1))
    entries = (kept + more)[:, None]
    out = torch.where(k < kept[:, None], here, torch.where(k < entries, there, -1))
    return out, *_counted(fired, close, kept, more)


def _counted(fired, close, kept, more):
    return torch.stack((kept, kept + more), -1), torch.stack((fired - kept, close - more), -1)


def lists(fired, near, slots, policy="first", offset=None, level=None):
    """ids, counts and lost for bool [B, N], by pieces; arguments as `reference.lists` at one step."""
    order = {
        "offset": offset if policy == "random" else None,
        "level": level if policy == "largest" else None,
    }
    parts = [combine(*pieces(flags), **order) for flags in (fired, near & ~fired)]
    return joined(*parts, slots)


def compact(spikes: Spikes, near, slots: int, policy="first", offset=None, potential=None):
    """As `reference.compact`, step by step on tiles."""
    check(slots, policy, offset, potential)
    raster = spikes.dense(spikes.carrier.dtype)
    if near is None:
        near = torch.ones_like(raster, dtype=torch.bool)
        near = near if spikes.near is None else from_bits(spikes.near, raster.shape)
    if not raster.numel():
        return reference.compact(spikes, near, slots, policy, offset, potential)
    flat = raster.detach().reshape(-1, raster.shape[-1])
    level = None if potential is None else potential.reshape(flat.shape)
    offset = None if offset is None else offset.reshape(-1)
    made = lists(flat > 0, near.reshape(flat.shape), slots, policy, offset, level)
    ids, counts, lost = (v.reshape(*raster.shape[:2], -1) for v in made)
    kept, listed = spread(ids, counts, raster.shape[-1])
    return Spikes.from_dense(_Listed.apply(raster, kept, listed)), counts, lost
