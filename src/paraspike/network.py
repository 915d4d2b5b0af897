"""Layers and networks. A layer is synapse x delay x neuron; a network stacks layers; seeds are an axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.neurons import LIF, SPSN, Identity, LeakyIntegrator, ReLU
from paraspike.randomness import uniform
from paraspike.spikes import Spikes

# Share of non-zeros below which summing weight rows beats a matrix product (measured, two cores).
GATHER_BELOW = 0.2


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
        name: names this layer's random streams; layers of one network need different names.
        backend: a backend's name, or an `Operators`.

    Weights start from U(-sqrt(3 / n_in), sqrt(3 / n_in)) (SPSN's code: Kaiming uniform, gain 1).

    Raises:
        ReaderError: sizes or delay out of range, input of another shape.
    """

    def __init__(
        self, n_in, n_out, neuron, *, seeds=None, bias=True, delay=0, name="layer", backend="auto"
    ):
        super().__init__()
        if n_in < 1 or n_out < 1 or delay < 0:
            raise ReaderError(
                f"layer of {n_in} x {n_out} with delay {delay} steps", f"Layer {name!r}"
            )
        self.n_in, self.n_out, self.neuron, self.delay, self.name = n_in, n_out, neuron, delay, name
        self.ops = (
            backend if isinstance(backend, backends.Operators) else backends.operators(backend)
        )
        self.seeds = None if seeds is None else tuple(int(s) for s in seeds)
        bound = (3 / n_in) ** 0.5
        stack = [
            torch.from_numpy(uniform(seed, f"init/{name}", [0], n_in, n_out)[:, 0]) * 2 * bound
            - bound
            for seed in self.seeds or (0,)
        ]
        weight = torch.stack(stack) if self.seeds else stack[0]
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(*weight.shape[:-2], n_out)) if bias else None
        self.path = None
        self._calls = 0

    def forward(self, x, draws: Draws | None = None):
        spikes = x if isinstance(x, Spikes) else None
        shape = tuple(x.shape)
        if len(shape) != 3 or shape[2] != self.n_in or shape[1] % len(self.seeds or (0,)):
            raise ReaderError(
                f"input of shape {list(shape)} does not fit [T, B, {self.n_in}]"
                + (f" with B a multiple of {len(self.seeds)} seeds" if self.seeds else ""),
                f"Layer {self.name!r}",
            )
        currents = self.currents(x)
        out = self.activate(currents, draws)
        return Spikes.from_dense(out) if spikes is not None and self.neuron.fires else out

    def currents(self, x) -> torch.Tensor:
        """Input currents [T, B, N_out], delayed; `path` says afterwards how they were computed."""
        seeds = len(self.seeds or (0,))
        sparse = np.zeros(seeds, bool)
        if isinstance(x, Spikes) and x.has_lists and self.ops.gather is not None:
            sparse = x.densities(seeds) < GATHER_BELOW
        parts = []
        if sparse.any():
            parts.append(self.ops.gather(x, self.weight, self.bias))
        if not sparse.all():
            dense = x.dense(self.weight.dtype) if isinstance(x, Spikes) else x
            parts.append(self.ops.synapse(dense.to(self.weight.device), self.weight, self.bias))
        self.path = "gather" if sparse.all() else "both" if sparse.any() else "matrix product"
        out = parts[0]
        if len(parts) == 2:
            # Each seed by its own density, so that its bits do not depend on the others'.
            blocks = [part.chunk(seeds, 1) for part in parts]
            out = torch.cat([blocks[0 if s else 1][i] for i, s in enumerate(sparse)], 1)
        if self.delay:
            # The first `delay` steps see nothing, not even the bias: nothing has arrived yet.
            late = torch.zeros_like(out)
            late[self.delay :] = out[: max(0, len(out) - self.delay)]
            out = late
        return out

    def activate(self, currents: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """The neuron's activity [T, B, N_out] for input currents of the same shape."""
        neuron = self.neuron
        if isinstance(neuron, LIF):
            return self.ops.lif(currents, neuron)
        if isinstance(neuron, LeakyIntegrator):
            return self.ops.integrate(currents, neuron)
        if isinstance(neuron, SPSN):
            u = self.ops.integrate(currents, neuron.integrator)
            return self.ops.spsn(u, neuron, self._noise(u, draws))
        if isinstance(neuron, ReLU):
            return torch.relu(currents)
        if isinstance(neuron, Identity):
            return currents
        raise ReaderError(
            f"no operator for a neuron of type {type(neuron).__name__}", "Layer.activate"
        )

    def _noise(self, u, draws):
        if self.neuron.spike not in ("SB", "GS"):
            return None
        steps, batch, n = u.shape
        if draws is None:
            seeds = np.repeat(self.seeds or (0,), batch // len(self.seeds or (0,)))
            draws = Draws(np.arange(batch), seeds, self._calls, "call")
            self._calls += 1
        noise = uniform(
            draws.seeds, f"{draws.purpose}/{self.name}", draws.samples, steps, n, draws.trial
        )
        return torch.from_numpy(noise).to(device=u.device, dtype=u.dtype)

    def extra_repr(self) -> str:
        seeds = "" if self.seeds is None else f", seeds={list(self.seeds)}"
        return f"{self.n_in}, {self.n_out}, {type(self.neuron).__name__}{seeds}"


@dataclass(frozen=True)
class Activity:
    """What a forward pass leaves: readout [T, S*B, C] and hidden activity, one [T, S*B, N] a layer."""

    readout: torch.Tensor
    hidden: list[torch.Tensor]


class Network(nn.Module):
    """Hidden layers of one neuron type and a readout, for several seeds at once.

    Args:
        sizes: neurons per layer, input first, readout last, e.g. (700, 128, 128, 128, 20).
        neuron: of the hidden layers.  readout: neuron of the last layer.
        seeds: one independent network for each.  backend, bias: as `Layer`.
    """

    def __init__(
        self, sizes: Sequence[int], neuron, readout, seeds=(0,), *, bias=True, backend="auto"
    ):
        super().__init__()
        if len(sizes) < 2:
            raise ReaderError(
                f"sizes {list(sizes)} make no network", "Network", "input and readout"
            )
        self.seeds = tuple(int(s) for s in seeds)
        self.ops = (
            backend if isinstance(backend, backends.Operators) else backends.operators(backend)
        )
        kinds = [neuron] * (len(sizes) - 2) + [readout]
        pairs = zip(sizes[:-1], sizes[1:], kinds, strict=True)
        self.layers = nn.ModuleList(
            Layer(a, b, kind, seeds=self.seeds, bias=bias, name=str(i), backend=self.ops)
            for i, (a, b, kind) in enumerate(pairs)
        )
        self.to(backends.device(self.ops.backend))

    def forward(self, x: Spikes, draws: Draws | None = None) -> Activity:
        hidden = []
        for layer in self.layers:
            x = layer(x, draws)
            hidden.append(x.dense(layer.weight.dtype) if isinstance(x, Spikes) else x)
        return Activity(hidden.pop(), hidden)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights and biases by name, each [S, ...], as NumPy arrays."""
        return {
            name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()
        }

    def load_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Set weights and biases from `arrays`.

        Raises:
            ReaderError: names or shapes differ from this network's.
        """
        try:
            self.load_state_dict(
                {name: torch.from_numpy(np.asarray(a)) for name, a in arrays.items()}
            )
        except RuntimeError as error:
            raise ReaderError(
                "weights do not fit the network",
                str(error).splitlines()[-1].strip(),
                "same sizes and seeds?",
            ) from error


def reduce_time(u: torch.Tensor, how: str = "mean") -> torch.Tensor:
    """[T, B, C] -> [B, C]: mean, max, sum or last over time (SPSN paper, figure 2)."""
    if how == "mean":
        return u.mean(0)
    if how == "max":
        return u.amax(0)
    if how == "sum":
        return u.sum(0)
    if how == "last":
        return u[-1]
    raise ReaderError(f"readout {how!r} is unknown", "reduce_time", "mean, max, sum or last")
