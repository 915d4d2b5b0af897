"""Ways to train with sparse lists and gradients, by name; the networks they make."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from paraspike import training
from paraspike.errors import ReaderError
from paraspike.learning.bptt import Objective
from paraspike.network import Network
from paraspike.papers.ipu import INPUT_SLOTS, capacities, neuron

# Published bounds of the first weights: +-2 sqrt(6 / n_in), against the engine's sqrt(3 / n_in).
INIT = 2 * 2**0.5


@dataclass(frozen=True)
class Sparse:
    """A way to train: how sparse lists and gradients are.

    Attributes:
        second: second threshold; None: every neuron gets a gradient, as in dense BPTT.
        activity: maximum activity, which sets the capacity of the lists; None: lists never overflow.
        policy: as `Layer`.  reset, band: as `papers.ipu.neuron`.
        anneal: the second threshold starts at -100 and halves its distance at every update, as SparseSpikes
            does (fact sheet, section 1.2); 20 updates bring it within 1e-4.
        shifted: a layer has the capacity of the layer before, as the published sweep applies them.
    """

    second: float | None = 0.9
    activity: float | None = None
    policy: str = "first"
    reset: str = "through"
    band: float | None = None
    anneal: bool = False
    shifted: bool = False


DENSE = Sparse(second=None)


def network(sizes, how: Sparse, seeds=(0,), *, delay: int = 1, backend="auto") -> Network:
    """A network of the paper's neurons from input to output, with lists as `how` says; no biases."""
    lif = neuron(-np.inf if how.second is None else how.second, how.reset, how.band)
    slots = None
    if how.activity is not None:
        slots = capacities(sizes, how.activity)
        if how.shifted:
            slots = [INPUT_SLOTS["nmnist"], *slots[:-1]]
        slots = [min(s, n) for s, n in zip(slots, sizes[1:], strict=True)]
    made = Network(
        sizes,
        lif,
        lif,
        seeds,
        bias=False,
        delay=delay,
        capacities=slots,
        policy=how.policy,
        backend=backend,
    )
    with torch.no_grad():
        for layer in made.layers:
            layer.weight.mul_(INIT)
    return made


def settings(dt, epochs, batch_size, learning_rate) -> training.Settings:
    """Cross entropy on spike counts of the last layer, Adam (fact sheet, section 1.5)."""
    objective = Objective(readout="sum")
    return training.Settings(dt, epochs, batch_size, learning_rate, "adam", objective)


class Annealing:
    """Lowers a network's second threshold to START and brings it back step by step."""

    START, RATE = -100.0, 0.5

    def __init__(self, net: Network, target: float):
        self.network, self.target = net, target
        self._set(self.START)

    def step(self) -> None:
        """After an update: half of the way to the target."""
        self._set(self.second + self.RATE * (self.target - self.second))

    def state_dict(self) -> dict:
        """Where the threshold is."""
        return {"second": self.second}

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        self._set(state["second"])

    def _set(self, second: float):
        self.second = second
        for layer in self.network.layers:
            surrogate = replace(layer.neuron.surrogate, below=layer.neuron.threshold - second)
            layer.neuron = replace(layer.neuron, surrogate=surrogate)


def sweep(activities, seconds, policies, at: float) -> dict[str, dict[str, Sparse]]:
    """The arms of the experiment `capacity`, by panel.

    capacity: lists of every maximum activity, as they are labelled; "as published": the same labels with
    every capacity one layer late, which is what the published sweep applies (fact sheet, 2.1).
    second: the second threshold without overflow. policy: what stays, at activity `at`. All annealed.
    """
    right = {f"{a:g}": Sparse(activity=a, anneal=True) for a in activities}
    return {
        "capacity": right,
        "as published": {name: replace(arm, shifted=True) for name, arm in right.items()},
        "second": {f"{s:g}": Sparse(second=s, anneal=True) for s in seconds} | {"none": DENSE},
        "policy": {p: Sparse(activity=at, policy=p, anneal=True) for p in policies},
    }


# Arms of the experiment `training`.
WAYS = {
    "dense BPTT": DENSE,
    "two thresholds": Sparse(anneal=True),
    "two thresholds, not annealed": Sparse(),
    "sparse lists, 10 %": Sparse(activity=0.1, anneal=True),
    "sparse lists, 5 %": Sparse(activity=0.05, anneal=True),
    "sparse lists, 10 %, masked reset": Sparse(activity=0.1, reset="masked", anneal=True),
    "two-sided band 0.2": Sparse(band=0.2),
    "spikes only": Sparse(second=1.0, anneal=True),
}


def chosen(names) -> dict[str, Sparse]:
    """Ways to train by name.

    Raises:
        ReaderError: there is none of that name.
    """
    for name in names:
        if name not in WAYS:
            raise ReaderError(
                f"arm {name!r} is unknown", "ipu training", f"one of {', '.join(WAYS)}"
            )
    return {name: WAYS[name] for name in names}
