"""Unsupervised features by STDP: one winner an image learns it, and weights are kept at one sum.

PostPre alone makes all neurons of a layer alike, because nothing keeps them apart. Here the neuron that
fires most
for an image, less a handicap for having won often, is the only one to learn from it (the winner-take-all of
Diehl
& Cook 2015, between images instead of by inhibition within them); afterwards its weights are scaled to `norm`.
"""

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.learning.stdp import STDPNetwork
from paraspike.spikes import Spikes


class Competition:
    """A layer of LIF neurons that learn features of images.

    Args:
        n_in, neurons: pixels and features.
        norm: sum of a neuron's weights, drawn from U(0, 1) at first.
        seed: of the weights.
        nu: rates of depression and potentiation.
        handicap: spikes a neuron is held back by for each win beyond its share.
        backend: a backend's name.

    Attributes:
        weights: float32 [n_in, neurons].
    """

    def __init__(
        self,
        n_in: int,
        neurons: int,
        *,
        norm: float = 40.0,
        seed: int = 0,
        nu: tuple[float, float] = (1e-4, 1e-2),
        handicap: float = 0.5,
        backend: str = "auto",
    ):
        if norm <= 0 or handicap < 0:
            raise ReaderError(f"norm {norm}, handicap {handicap}", "Competition", "norm above 0")
        self.net = STDPNetwork((n_in, neurons), nu=nu, seed=seed, backend=backend)
        self.norm, self.handicap, self.seed = norm, handicap, seed
        self.wins = torch.zeros(neurons, device=self.weights.device)
        self._scale(slice(None))

    @property
    def weights(self) -> torch.Tensor:
        return self.net.weights[0]

    def _scale(self, columns):
        w = self.weights[:, columns]
        self.weights[:, columns] = w * (self.norm / w.sum(0).clamp(min=1e-12))

    def load(self, templates: np.ndarray) -> None:
        """Take weights from templates [<= neurons, ...], scaled as all are; the other neurons keep theirs.

        Raises:
            ReaderError: more templates than neurons, or of another size.
        """
        flat = torch.from_numpy(templates.reshape(len(templates), -1).astype(np.float32)).T
        if flat.shape[0] != len(self.weights) or flat.shape[1] > self.weights.shape[1]:
            raise ReaderError(
                f"templates {list(templates.shape)} for weights {list(self.weights.shape)}",
                "Competition.load",
            )
        self.weights[:, : flat.shape[1]] = flat.to(self.weights)
        self._scale(slice(None))

    def respond(self, spikes: Spikes) -> torch.Tensor:
        """Features of images given as spikes [T, B, N_in]: each neuron's spikes, [B, neurons]."""
        return self.net.run(spikes, learn=False)[0].totals

    def learn(self, spikes: Spikes) -> torch.Tensor:
        """Let each image's winner learn it; returns the winners, [B]."""
        held = self.handicap * (self.wins - self.wins.mean())
        winners = (self.respond(spikes) - held).argmax(1)
        raster = spikes.dense().to(winners.device)
        for j in winners.unique().tolist():
            own = Spikes.from_dense(raster[:, winners == j].contiguous())
            column = self.weights[:, [j]].contiguous()
            self.net.teach(own, column)
            self.weights[:, [j]] = column
            self._scale([j])
        self.wins += torch.bincount(winners, minlength=len(self.wins))
        return winners
