"""Optimisers from torch, stepped seed by seed."""

import torch

from paraspike.errors import ReaderError

OPTIMIZERS = {"adamax": torch.optim.Adamax, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class PerSeed:
    """A torch optimiser over each seed's slice of a network's [S, ...] parameters.

    torch rounds what is left over after whole vectors of a tensor differently, so a seed's update
    would change in its last bits with the number of seeds that share a tensor.

    Raises:
        ReaderError: the optimiser's name is unknown.
    """

    def __init__(self, network, name: str, learning_rate: float):
        if name not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise ReaderError(
                f"optimizer {name!r} is unknown", "training settings", f"one of {known}"
            )
        self.parameters = list(network.parameters())
        # Leaves that share the parameters' memory.
        self.slices = [[part.requires_grad_() for part in p.detach()] for p in self.parameters]
        # One pass over a parameter and its moments instead of ten.
        options = {"fused": True} if name == "adam" else {}
        self.torch = OPTIMIZERS[name](sum(self.slices, []), lr=learning_rate, **options)

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        for p, parts in zip(self.parameters, self.slices, strict=True):
            for part, grad in zip(parts, p.grad, strict=True):
                part.grad = grad
        self.torch.step()

    def state_dict(self):
        return self.torch.state_dict()

    def load_state_dict(self, state):
        self.torch.load_state_dict(state)
