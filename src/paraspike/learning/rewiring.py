"""Networks that stay sparse: masks of a given density, and deep rewiring while they learn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.learning.optimizers import PerSeed
from paraspike.randomness import permutation, words


def sparse_mask(
    n_in: int, n_out: int, density: float, seed: int | Sequence[int], stream: str
) -> torch.Tensor:
    """Exactly round(density * n_in * n_out) connections at random places, for `Layer`'s masks.

    Args:
        density: share of the places that are connected, above 0 and up to 1.
        seed: of the experiment, or one for each of S networks.
        stream: what is connected ("mask/hidden"); other streams draw other places.

    Returns:
        bool [n_in, n_out], or [S, n_in, n_out] for several seeds, each as drawn for it alone.

    Raises:
        ReaderError: the density is out of range, or too low for one connection.
    """
    if not 0 < density <= 1 or not (count := round(density * n_in * n_out)):
        raise ReaderError(
            f"density {density:g} of {n_in} x {n_out} places",
            f"sparse_mask, stream {stream!r}",
            "above 0 and up to 1, so that there is a connection at all",
        )
    if not isinstance(seed, (int, np.integer)):
        return torch.stack([sparse_mask(n_in, n_out, density, int(s), stream) for s in seed])
    mask = torch.zeros(n_in * n_out, dtype=torch.bool)
    mask[torch.from_numpy(_choose(seed, stream, mask.numel(), count))] = True
    return mask.reshape(n_in, n_out)


@dataclass(frozen=True)
class _Pair:
    """A layer's weight, its mask and the signs +1 or -1 of its places, all of one shape."""

    layer: Layer
    what: str
    sign: torch.Tensor | None = None

    @property
    def name(self) -> str:
        return f"{self.layer.name}/{self.what}"

    @property
    def weight(self) -> torch.nn.Parameter:
        return getattr(self.layer, self.what)

    @property
    def mask(self) -> torch.Tensor | None:
        return self.layer.mask if self.what == "weight" else self.layer.recurrent_mask

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.layer.seeds or (0,)


class DeepR:
    """Deep rewiring: connections that a step of learning would turn round are moved elsewhere.

    Every place has a fixed sign. `step`, after each step of the optimiser, removes connections
    whose weight has the other sign now, and connects as many places, drawn from all that are free
    then (those just left too), with weight 0 and moments 0. The number of connections stays as it
    is; weights outside the mask are exactly 0 whatever (finite) gradient they had. The places drawn
    depend on the layer's seed, name and free places and on the number of the update alone.

    Sources: Bellec, Kappel, Maass, Legenstein, "Deep rewiring", ICLR 2018 (here without its random
    walk, and with optimisers that have moments); mlGeNN's deep_r.py, which rewires likewise.

    Args:
        layers: those that have a mask or recurrent mask are rewired, the others left alone. With
            seeds, each needs a mask of its own: [S, N_in, N_out].
        optimizer: PerSeed, or an optimiser of torch, that holds their weights.
        signs: "80/20": 80 % of the presynaptic neurons excite, 20 % inhibit; "50/50": every place
            at random. Weights of the other sign are turned round at once.
        l1_strength: added to the loss's gradient by `pull`, towards 0 on every connection.

    Raises:
        ReaderError: unknown signs, negative strength, no masks, masks shared by seeds, names that
            occur twice, or an optimiser of other weights.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        optimizer: PerSeed | torch.optim.Optimizer,
        *,
        signs: str = "80/20",
        l1_strength: float = 0.0,
    ):
        if signs not in ("80/20", "50/50"):
            raise ReaderError(f"signs {signs!r} are unknown", "DeepR", "80/20 or 50/50")
        if not l1_strength >= 0:
            raise ReaderError(f"l1_strength = {l1_strength:g}", "DeepR", "0 or more")
        self.optimizer, self.l1_strength = optimizer, l1_strength
        self.updates, self._pulled = 0, False
        pairs = (_Pair(layer, w) for layer in layers for w in ("weight", "recurrent_weight"))
        self.pairs = [replace(p, sign=_signs(p, signs)) for p in pairs if p.mask is not None]
        self._check()
        with torch.no_grad():
            for pair in self.pairs:
                turned = pair.weight * pair.sign < 0
                pair.weight.copy_(torch.where(turned, -pair.weight, pair.weight))
                pair.weight.masked_fill_(~pair.mask, 0)

    def _check(self):
        names = [pair.name for pair in self.pairs]
        if not names or len(set(names)) < len(names):
            what = f"masks to rewire: {names or 'none'}"
            raise ReaderError(what, "DeepR", "layers with masks, of unlike names")
        for pair in self.pairs:
            if pair.mask.shape != pair.weight.shape:
                what = f"seeds share the mask {list(pair.mask.shape)}"
                hint = f"one per seed, {list(pair.weight.shape)}: sparse_mask with all seeds"
                raise ReaderError(what, f"DeepR, {pair.name}", hint)
            # PerSeed has no leaf for a weight that is not a stack.
            if isinstance(self.optimizer, PerSeed):
                held = [p for p in self.optimizer.parameters if p.dim() == pair.weight.dim() == 3]
            else:
                held = [p for group in self.optimizer.param_groups for p in group["params"]]
            if not any(p is pair.weight for p in held):
                raise ReaderError("the optimiser does not hold this weight", f"DeepR, {pair.name}")

    @torch.no_grad()
    def pull(self) -> None:
        """Add the gradient of l1_strength * sum |w|; between backward and the optimiser's step.

        Raises:
            ReaderError: there is no gradient yet.
        """
        for pair in self.pairs if self.l1_strength else ():
            if pair.weight.grad is None:
                raise ReaderError("no gradient to add to", f"DeepR.pull, {pair.name}")
            pair.weight.grad.add_(pair.sign * pair.mask, alpha=self.l1_strength)
        self._pulled = True

    @torch.no_grad()
    def step(self) -> dict[str, np.ndarray]:
        """Rewire after a step of the optimiser; connections moved per weight and seed, int64 [S].

        Raises:
            ReaderError: `pull` was left out before the optimiser's step.
        """
        if self.l1_strength and not self._pulled:
            raise ReaderError("l1_strength without its pull", "DeepR.step", "call pull() before")
        moved = {
            pair.name: np.array([self._rewire(pair, s) for s in range(len(pair.seeds))], np.int64)
            for pair in self.pairs
        }
        self.updates, self._pulled = self.updates + 1, False
        return moved

    def _rewire(self, pair, s):
        """One step of seed number s, in few passes over its places; how many connections moved."""
        weight, mask, sign = (_stack(t)[s] for t in (pair.weight, pair.mask, pair.sign))
        lost = (weight * sign < 0).logical_and_(mask)
        mask.logical_xor_(lost)
        weight.mul_(mask)
        count = int(lost.sum())
        if count:
            self._connect(pair, s, count)
        return count

    def _connect(self, pair, s, count):
        """`count` of the free places of seed number s get a connection without a past."""
        mask = _stack(pair.mask)[s]
        free = np.flatnonzero(~mask.cpu().numpy())
        seed, stream = pair.seeds[s], f"rewire/{pair.name}"
        places = free[_choose(seed, stream, len(free), count, self.updates)]
        at = tuple(torch.from_numpy(i).to(mask.device) for i in divmod(places, mask.shape[1]))
        mask[at] = True
        for moment in self._moments(pair, s):
            moment[at] = 0

    def _moments(self, pair, s):
        """What the optimiser remembers of each weight of seed number s, each [N_in, N_out]."""
        weight, optimizer = pair.weight, self.optimizer
        if isinstance(optimizer, PerSeed):
            if optimizer.slices is not None:
                place = next(i for i, p in enumerate(optimizer.parameters) if p is weight)
                weight = optimizer.slices[place][s]
            optimizer = optimizer.torch
        kept = optimizer.state.get(weight, {}).values()
        kept = [v for v in kept if torch.is_tensor(v) and v.shape == weight.shape]
        return kept if weight is not pair.weight else [_stack(v)[s] for v in kept]

    def state_dict(self) -> dict:
        """Number of updates and signs; masks and moments are in the network's and optimiser's."""
        signs = {pair.name: pair.sign.to(torch.int8) for pair in self.pairs}
        return {"updates": self.updates, "signs": signs}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken, given the network's and the optimiser's of that moment.

        Raises:
            ReaderError: other weights, seeds or signs than this object's.
        """
        own, given = self.state_dict()["signs"], state["signs"]
        same = own.keys() == given.keys()
        if not same or not all(torch.equal(own[k], given[k].to(own[k])) for k in own):
            what = f"signs of {', '.join(given)}, not those of {', '.join(own)} here"
            hint = "same layers, seeds and kind of signs?"
            raise ReaderError(what, "DeepR.load_state_dict", hint)
        self.updates, self._pulled = int(state["updates"]), False


def _stack(tensor):
    """[S, N_in, N_out], also of one without seeds; shares its memory."""
    return tensor if tensor.dim() == 3 else tensor[None]


def _signs(pair, kind):
    """+1 or -1 of a weight's shape, by (seed, layer's name) alone."""
    rows, columns = pair.weight.shape[-2:]
    stream, stack = f"signs/{pair.name}", []
    for seed in pair.seeds:
        if kind == "80/20":
            excites = np.zeros((rows, columns), bool)
            excites[permutation(seed, stream, rows)[: round(0.8 * rows)]] = True
        else:
            excites = words(seed, stream, [0], rows, columns)[:, 0] >> 31 == 1
        stack.append(torch.from_numpy(np.where(excites, 1.0, -1.0)))
    return torch.stack(stack).reshape(pair.weight.shape).to(pair.weight.detach())


def _choose(seed, stream, n, count, trial=0):
    """`count` different ones of range(n), n < 2**32, any as likely as another, int64 [count]."""
    if 4 * count > n:
        return permutation(seed, stream, n, trial)[:count]
    draws = 2 * count + 16
    while True:
        drawn = words(seed, stream, [0], 1, draws, trial)[0, 0].astype(np.uint64)
        drawn = (drawn * np.uint64(n) >> np.uint64(32)).astype(np.int64)
        _, first = np.unique(drawn, return_index=True)
        if len(first) >= count:
            return drawn[np.sort(first)[:count]]
        draws *= 2
