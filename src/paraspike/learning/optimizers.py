"""Optimisers from torch, such that a seed's update does not depend on its neighbours."""

import torch

from paraspike.errors import ReaderError

OPTIMIZERS = {"adamax": torch.optim.Adamax, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class PerSeed:
    """A torch optimiser over a network's [S, ...] parameters; each seed's update has the bits it has alone.

    Args:
        sliced: step each seed's slice as a tensor of its own. A CPU rounds what is left over after
            whole vectors of a tensor differently, so that a seed's last bits would change with the
            number of seeds; a GPU does not, and S times as many tensors cost its host time in each
            step. None: on a CPU.

    Raises:
        ReaderError: the optimiser's name is unknown.
    """

    def __init__(self, network, name: str, learning_rate: float, sliced: bool | None = None):
        if name not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise ReaderError(
                f"optimizer {name!r} is unknown", "training settings", f"one of {known}"
            )
        self.parameters = list(network.parameters())
        if sliced is None:
            sliced = not any(p.is_cuda for p in self.parameters)
        # Leaves that share the parameters' memory.
        self.slices = (
            [[part.requires_grad_() for part in p.detach()] for p in self.parameters]
            if sliced
            else None
        )
        held = sum(self.slices, []) if sliced else self.parameters
        # One pass over a parameter and its moments instead of ten.
        options = {"fused": True} if name == "adam" else {}
        self.torch = OPTIMIZERS[name](held, lr=learning_rate, **options)

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        if self.slices is not None:
            for p, parts in zip(self.parameters, self.slices, strict=True):
                for part, grad in zip(parts, p.grad, strict=True):
                    part.grad = grad
        self.torch.step()

    def state_dict(self):
        return self.torch.state_dict()

    def load_state_dict(self, state):
        self.torch.load_state_dict(state)
