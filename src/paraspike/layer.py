"""A layer: synapse x delay x neuron, for one network or for several seeds side by side."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.listing import check_capacity, hand_on
from paraspike.neurons import LIF, SPSN, Identity, LeakyIntegrator, ReLU
from paraspike.randomness import uniform
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class Draws:
    """Names the random numbers of one forward pass.

    Attributes:
        samples: integers that name the samples, [B] or [S*B].
        seeds: seed of each of them, same shape.
        trial: epoch or pass.  purpose: "train", "test", ...
    """

    samples: np.ndarray
    seeds: np.ndarray
    trial: int = 0
    purpose: str = "train"


class Layer(nn.Module):
    """One layer, [T, B, N_in] -> [T, B, N_out]; `Spikes` in gives `Spikes` out, a tensor a tensor.

    Args:
        n_in, n_out: neurons before and in this layer.
        neuron: LIF, SPSN, LeakyIntegrator, ReLU or Identity.
        seeds: None for one plain layer (weight [N_in, N_out]), or seeds [S] for a stack of S
            independent ones (weight [S, N_in, N_out], activity [T, S*B, N]).
        bias: add a trainable bias, zero at first.
        delay: steps between presynaptic activity and its effect.
        recurrent: add trainable weights [N_out, N_out] by which a LIF layer's spikes drive it at the
            next step.
        local: no gradient goes back through the recurrent spikes, as in e-prop.
        mask, recurrent_mask: bool [N_in, N_out] and [N_out, N_out], or one for each seed [S, ...];
            where they are false there is no synapse, and never a weight.
        capacity: slots of its spike list at each step; what does not fit is lost, and counted in `lost`
            and `counts` (int64 [T, S*B, 2], `ops.compact.reference.lists`). The gradient goes to entries of
            the list alone; for the neurons near threshold give the surrogate `below`.
        policy: which spikes stay on overflow: first, random or largest.
        init: "kaiming" draws weights from U(-sqrt(3 / n_in), sqrt(3 / n_in)), bias 0 (SPSN's code);
            "linear" draws both from U(-1 / sqrt(n_in), 1 / sqrt(n_in)), as torch.nn.Linear does.
        name: names this layer's random streams; layers of one network need different names.
        backend: a backend's name, or an `Operators`.

    Raises:
        ReaderError: sizes or delay out of range, input of another shape.
    """

    def __init__(
        self,
        n_in,
        n_out,
        neuron,
        *,
        seeds=None,
        bias=True,
        delay=0,
        recurrent=False,
        local=False,
        mask=None,
        recurrent_mask=None,
        capacity=None,
        policy="first",
        init="kaiming",
        name="layer",
        backend="auto",
    ):
        super().__init__()
        if n_in < 1 or n_out < 1 or delay < 0:
            raise ReaderError(
                f"layer of {n_in} x {n_out} with delay {delay} steps", f"Layer {name!r}"
            )
        self.n_in, self.n_out, self.neuron, self.delay, self.name = n_in, n_out, neuron, delay, name
        self.ops = backends.operators(backend)
        self.seeds = None if seeds is None else tuple(int(s) for s in seeds)
        if init not in ("kaiming", "linear"):
            raise ReaderError(f"init {init!r} is unknown", f"Layer {name!r}", "kaiming or linear")
        bound = ((3 if init == "kaiming" else 1) / n_in) ** 0.5
        spread = bound if init == "linear" else 0.0
        weight = self._drawn("weight", n_in, bound)
        offset = self._drawn("bias", 1, spread)[..., 0, :]
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(offset) if bias else None
        self.recurrent_weight, self.local = None, local
        if recurrent:
            if not isinstance(neuron, LIF):
                raise ReaderError(
                    f"a layer of {type(neuron).__name__} cannot be recurrent",
                    f"Layer {name!r}",
                    "LIF can",
                )
            spread = ((3 if init == "kaiming" else 1) / n_out) ** 0.5
            self.recurrent_weight = nn.Parameter(self._drawn("recurrent", n_out, spread))
        if recurrent_mask is not None and not recurrent:
            raise ReaderError("a recurrent mask without recurrence", f"Layer {name!r}")
        self._masked("mask", mask, self.weight)
        self._masked("recurrent_mask", recurrent_mask, self.recurrent_weight)
        self.capacity, self.policy = capacity, policy
        self.counts = self.lost = None
        if capacity is not None:
            check_capacity(self)
        # Share of the last pass computed by products instead of sums over spikes, where that is decided.
        self.product_share = None
        self._calls = 0

    def _masked(self, what, mask, weight):
        if mask is not None:
            # Its own, as rewiring changes it in place.
            mask = torch.as_tensor(mask).clone()
            if mask.dtype != torch.bool or mask.shape not in (weight.shape, weight.shape[-2:]):
                raise ReaderError(
                    f"{what} {mask.dtype} {list(mask.shape)}",
                    f"Layer {self.name!r}",
                    f"bool {list(weight.shape[-2:])}, or {list(weight.shape)} for one per seed",
                )
            with torch.no_grad():
                weight.mul_(mask)
        self.register_buffer(what, mask)

    def _drawn(self, what: str, rows: int, bound: float) -> torch.Tensor:
        """U(-bound, bound), [rows, n_out] or [S, rows, n_out]."""
        stream = f"init/{self.name}/{what}"
        stack = [
            torch.from_numpy(uniform(seed, stream, [0], rows, self.n_out)[:, 0]) * 2 * bound - bound
            for seed in self.seeds or (0,)
        ]
        return torch.stack(stack) if self.seeds else stack[0]

    def forward(self, x, draws: Draws | None = None):
        spikes = x if isinstance(x, Spikes) else None
        shape = tuple(x.shape)
        if len(shape) != 3 or shape[2] != self.n_in or shape[1] % len(self.seeds or (0,)):
            raise ReaderError(
                f"input of shape {list(shape)} does not fit [T, B, {self.n_in}]"
                + (f" with B a multiple of {len(self.seeds)} seeds" if self.seeds else ""),
                f"Layer {self.name!r}",
            )
        given = x if spikes is not None else Spikes.from_dense(x)
        weight = self.weight if self.mask is None else self.weight * self.mask
        potential, listed = None, self.capacity is not None
        if self.ops.layer is not None and isinstance(self.neuron, (LIF, LeakyIntegrator)):
            notes = {}
            more = {"marks": True, "trace": self.policy == "largest"} if listed else {}
            out = self.ops.layer(
                given,
                weight,
                self.bias,
                self.neuron,
                self.looped,
                self.delay,
                notes=notes,
                local=self.local,
                **more,
            )
            if more.get("trace"):
                out, potential = out
            self.product_share = notes["product_share"]
        else:
            currents = self.ops.synapse(given, weight, self.bias, self.delay)
            if listed:
                out, potential, *_ = self.ops.lif(currents, self.neuron, trace=True)
            else:
                out = self.activate(currents, draws)
        if listed:
            out = hand_on(self, out, potential, draws)
        if spikes is None:
            return out.dense(weight.dtype) if isinstance(out, Spikes) else out
        fires = self.neuron.fires and not isinstance(out, Spikes)
        return Spikes.from_dense(out) if fires else out

    @property
    def looped(self) -> torch.Tensor | None:
        """The recurrent weights, masked."""
        mask = self.recurrent_mask
        return self.recurrent_weight if mask is None else self.recurrent_weight * mask

    def activate(self, currents: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """The neuron's activity [T, B, N_out] for input currents of the same shape."""
        neuron = self.neuron
        if isinstance(neuron, LIF):
            loop = self.looped
            return self.ops.lif(
                currents,
                neuron,
                **({} if loop is None else {"recurrent": loop, "local": self.local}),
            )
        if isinstance(neuron, LeakyIntegrator):
            return self.ops.integrate(currents, neuron)
        if isinstance(neuron, SPSN):
            draws = self.own_draws(currents.shape[1]) if draws is None else draws
            stream = f"{draws.purpose}/{self.name}"
            if self.ops.integrate_and_fire is not None:
                return self.ops.integrate_and_fire(
                    currents, neuron, draws.seeds, stream, draws.samples, draws.trial
                )
            u = self.ops.integrate(currents, neuron.integrator)
            noise = None
            if neuron.spike in ("SB", "GS"):
                noise = self.ops.noise(u, draws.seeds, stream, draws.samples, draws.trial)
            return self.ops.spsn(u, neuron, noise)
        if isinstance(neuron, ReLU):
            return torch.relu(currents)
        if isinstance(neuron, Identity):
            return currents
        raise ReaderError(
            f"no operator for a neuron of type {type(neuron).__name__}", "Layer.activate"
        )

    def own_draws(self, batch: int) -> Draws:
        """Fresh noise at every call, for a layer used on its own."""
        self._calls += 1
        seeds = self.seeds or (0,)
        return Draws(np.arange(batch), np.repeat(seeds, batch // len(seeds)), self._calls, "call")

    def extra_repr(self) -> str:
        seeds = "" if self.seeds is None else f", seeds={list(self.seeds)}"
        return f"{self.n_in}, {self.n_out}, {type(self.neuron).__name__}{seeds}"
