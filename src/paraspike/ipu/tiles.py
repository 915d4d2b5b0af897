"""A layer on its tiles: what each superstep does there.

Arrays with axes [..., tiles, neurons a tile] are tile memory: computing steps act on every tile's own
slice, and what crosses the tile axis is an exchange of the program. Potentials of all steps stay where
they are for the way back, as on the machine.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import embedding_bag, pad

from paraspike.neurons import LIF
from paraspike.ops.compact import ipu as compaction
from paraspike.ops.lif.reference import rest, step


@dataclass
class Lists:
    """Spike lists of all steps, one entry a step: ids [B, s]; counts [B, 2] (spikes, all entries); values
    [B, s], how many spikes an entry is (above 1 in inputs only); lost [B, 2], what did not fit."""

    ids: list = field(default_factory=list)
    counts: list = field(default_factory=list)
    values: list = field(default_factory=list)
    lost: list = field(default_factory=list)

    def at(self, t: int):
        """Ids, counts and values of one step."""
        return self.ids[t], self.counts[t], self.values[t]


class TileLayer:
    """One layer on its tiles.

    Args:
        block: of the mapping.  weight: [N_in, N].  bias: [N] or None.  neuron: LIF or LeakyIntegrator.
        policy, offsets: which entries of a full list stay; [T, B] for the policy random.
        keeps: store the potentials before the reset, [B, N] a step, in `levels`.
    """

    def __init__(
        self, block, weight, bias, neuron, policy="first", offsets=None, keeps: bool = False
    ):
        self.block, self.neuron, self.policy, self.offsets = block, neuron, policy, offsets
        self.keeps = keeps
        self.weight = self.to_tiles(weight.detach())
        self.bias = None if bias is None else self.to_tiles(bias.detach())
        self.of_weight = torch.zeros_like(self.weight)
        self.of_bias = None if bias is None else torch.zeros_like(self.bias)

    def to_tiles(self, rows):
        """[..., N] to [..., tiles, neurons a tile], what is left of the last tile empty."""
        block = self.block
        columns = torch.tensor(
            [n for tile in range(block.tiles) for n in block.neurons(tile)], dtype=torch.long
        )
        wide = pad(rows[..., columns], (0, block.tiles * block.per_tile - len(columns)))
        return wide.reshape(*rows.shape[:-1], block.tiles, block.per_tile).contiguous()

    def from_tiles(self, tiles):
        """[..., tiles, neurons a tile] to [..., N]."""
        return tiles.flatten(-2)[..., : self.block.n]

    def begin(self, batch: int):
        """Potentials at rest, nothing stored."""
        shape = (batch, self.block.tiles, self.block.per_tile)
        self.state = rest(self.weight.new_zeros(shape))
        self.before, self.currents, self.potential, self.out = [], [], [], Lists()
        self.levels = []

    def gather(self, arriving, batch: int):
        """Input currents: every tile adds up its slice of the rows of spikes that arrive."""
        if arriving is None:
            self.currents.append(torch.zeros_like(self.state[0]))
            return
        rows, used = _rows(arriving, 0)
        weights = torch.where(used, arriving[2], 0).to(self.weight.dtype)
        total = embedding_bag(rows, self.weight.flatten(1), per_sample_weights=weights, mode="sum")
        total = total.reshape(batch, *self.weight.shape[1:])
        self.currents.append(total if self.bias is None else total + self.bias)

    def update(self):
        """The neuron's step and its flags for both thresholds."""
        self.before.append(self.state)
        x = self.currents[-1]
        with torch.no_grad():
            if not isinstance(self.neuron, LIF):
                u, self.state = _integrate(x, self.neuron, self.state)
                self.potential.append(self.from_tiles(u))
                return
            adaptation = self.state[2]
            s, u, self.state = step(x, self.neuron, self.state)
            low, high = self.neuron.surrogate.reach
            at = u - self.neuron.threshold - self.neuron.beta * adaptation
            if self.neuron.surrogate_at == "post" and self.neuron.reset_at == "spike":
                at = at - (u if self.neuron.reset == "zero" else self.neuron.threshold) * s
            near = (at > low) & (at < high) & (s == 0)
            if self.neuron.refractory == "block_spike":
                near = near & (self.before[-1][5] <= 0)
            self.flags = [self.from_tiles(v) for v in (s > 0, near)]
            self.level = self.from_tiles(u)
            if self.keeps:
                self.levels.append(self.level)

    def compact(self):
        """Flags go to the compacting tiles, whose workers make their pieces."""
        self.pieces = [compaction.pieces(flags) for flags in self.flags]

    def combine(self, t: int):
        """Pieces go to the combining tiles, which make both thresholds' lists and join them."""
        level = self.level if self.policy == "largest" else None
        offset = self.offsets[t] if self.policy == "random" else None
        parts = [compaction.combine(*piece, offset, level) for piece in self.pieces]
        self.list = compaction.joined(*parts, self.block.slots)

    def store(self):
        """The list of this step to memory, for the next layer and for the way back."""
        ids, counts, lost = self.list
        for kept, new in zip(
            (self.out.ids, self.out.counts, self.out.values, self.out.lost),
            (ids, counts, torch.ones_like(ids), lost),
            strict=True,
        ):
            kept.append(new)

    def delta(self, t: int, grad, later):
        """Gradient of the input currents of step t, and of the state before it.

        Args:
            grad: of the list's entries [B, s], of which each tile keeps those of its own neurons; of the
                potential [B, N] of a neuron that does not fire.  later: of the state after step t.
        """
        x = self.currents[t].detach().requires_grad_()
        state = [v.detach().requires_grad_() for v in self.before[t]]
        with torch.enable_grad():
            if isinstance(self.neuron, LIF):
                ids, counts, _ = self.out.at(t)
                grad = _scattered(ids, counts[:, 1], grad, self.block.n)
                shown, _, after = step(x, self.neuron, tuple(state))
            else:
                shown, after = _integrate(x, self.neuron, tuple(state))
        # What depends on nothing differentiable, as the refractory steps left, has no gradient.
        pairs = [
            (o, g)
            for o, g in zip((shown, *after), (self.to_tiles(grad), *later), strict=True)
            if o.requires_grad
        ]
        found = torch.autograd.grad(
            [o for o, _ in pairs], [x, *state], [g for _, g in pairs], allow_unused=True
        )
        e, *earlier = [
            torch.zeros_like(v) if g is None else g for g, v in zip(found, (x, *state), strict=True)
        ]
        return e, earlier

    def scatter(self):
        """A dense weight gradient, updated in the rows of the spikes that arrived."""
        rows, used = _rows(self.arriving, 0)
        weights = torch.where(used, self.arriving[2], 0).to(self.e.dtype)
        flat, given = self.of_weight.flatten(1), self.e.flatten(1)
        for slot in range(rows.shape[1]):
            flat.index_add_(0, rows[:, slot], given * weights[:, slot, None])
        if self.of_bias is not None:
            self.of_bias += self.e.sum(0)

    def products(self):
        """Every tile's part [B, s, tiles] of the gradient of the entries that arrived."""
        rows, used = _rows(self.arriving, 1)
        parts = [
            torch.where(used[:, slot, None], (self.weight[rows[:, slot]] * self.e).sum(-1), 0)
            for slot in range(rows.shape[1])
        ]
        self.partial = torch.stack(parts, 1)

    def reduce(self, group: int):
        """Parts of each group of tiles go to one of them, which adds them up."""
        self.partial = torch.stack([g.sum(-1) for g in self.partial.split(group, -1)], -1)

    def reduce_groups(self):
        """The groups' sums are added up: the gradient [B, s] of the list that arrived."""
        self.partial = self.partial.sum(-1)


def _integrate(x, neuron, state):
    i, u, *others = state
    i = neuron.a_ii * i + x
    u = neuron.a_uu * u + neuron.a_ui * i
    return u, (i, u, *others)


def _rows(arriving, which):
    """Ids of a list, 0 past its end, and which entries count: its spikes (0) or all (1)."""
    ids, counts, _ = arriving
    used = torch.arange(ids.shape[1]) < counts[:, which, None]
    return torch.where(used, ids, 0), used


def _scattered(ids, entries, grad, n):
    """[B, N] of what the first `entries` [B] of a list carry [B, s]."""
    used = torch.arange(ids.shape[1]) < entries[:, None]
    out = grad.new_zeros(ids.shape[0], n + 1)
    return out.scatter_add_(1, torch.where(used, ids, n), torch.where(used, grad, 0))[:, :n]
