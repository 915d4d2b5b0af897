"""Networks: stacks of layers with a readout; seeds are an axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.layer import Draws, Layer
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class Activity:
    """What a forward pass leaves: readout [T, S*B, C] and hidden activity, one [T, S*B, N] a layer:
    `Spikes`, or a tensor where it is real-valued."""

    readout: torch.Tensor
    hidden: list[Spikes | torch.Tensor]


class Arrays(nn.Module):
    """A module whose weights and masks leave and enter as NumPy arrays."""

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


class Network(Arrays):
    """Hidden layers of one neuron type and a readout, for several seeds at once.

    Args:
        sizes: neurons per layer, input first, readout last, e.g. (700, 128, 128, 128, 20).
        neuron: of the hidden layers.  readout: neuron of the last layer.
        seeds: one independent network for each.  backend, bias, init, delay, policy: as `Layer`.
        capacities: slots of each layer's spike list, readout last; None for one without.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        neuron,
        readout,
        seeds=(0,),
        *,
        bias=True,
        init="kaiming",
        delay=0,
        capacities=None,
        policy="first",
        backend="auto",
    ):
        super().__init__()
        if len(sizes) < 2:
            raise ReaderError(
                f"sizes {list(sizes)} make no network", "Network", "input and readout"
            )
        self.seeds = tuple(int(s) for s in seeds)
        self.ops = backends.operators(backend)
        kinds = [neuron] * (len(sizes) - 2) + [readout]
        slots = [None] * len(kinds) if capacities is None else list(capacities)
        if len(slots) != len(kinds):
            raise ReaderError(
                f"{len(slots)} capacities for {len(kinds)} layers", "Network", "one a layer"
            )
        self.layers = nn.ModuleList(
            Layer(
                a,
                b,
                kind,
                seeds=self.seeds,
                bias=bias,
                delay=delay,
                capacity=s,
                policy=policy,
                init=init,
                name=str(i),
                backend=self.ops,
            )
            for i, (a, b, kind, s) in enumerate(
                zip(sizes[:-1], sizes[1:], kinds, slots, strict=True)
            )
        )
        self.to(backends.device(self.ops.backend))

    def forward(self, x: Spikes, draws: Draws | None = None) -> Activity:
        if self.ops.network is not None:
            return Activity(*self.ops.network(self.layers, x, draws))
        hidden = []
        for layer in self.layers:
            x = layer(x, draws)
            hidden.append(x)
        readout = hidden.pop()
        dtype = self.layers[-1].weight.dtype
        return Activity(readout.dense(dtype) if isinstance(readout, Spikes) else readout, hidden)


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
