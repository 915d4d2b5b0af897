"""Exact emulation of training with delayed gradients, in one process and without a pipeline.

papers/spikepipe.md, section 3.2; the semantics are inferred there, and where they are ours it is said here.
"""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from numbers import Integral

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError

VERSIONS = ("stash", "newest", "average")


def delays(stages: Sequence[int], factor: int = 2) -> list[int]:
    """Delay of each layer, in updates, for K stages of `stages` layers each: factor (K - k) in stage k.

    factor 2: forward and backward are ticks of their own (LayerPipe2; with one layer a stage 2 (L - l));
    factor 1: they share one period (PipeDream's 1F1B).

    Raises:
        ReaderError: no stage, an empty one, or a negative factor.
    """
    if not stages or min(stages) < 1 or factor < 0:
        raise ReaderError(f"stages of {list(stages)} layers, factor {factor}", "staleness.delays")
    later = range(len(stages) - 1, -1, -1)
    return [factor * k for k, layers in zip(later, stages, strict=True) for _ in range(layers)]


class Emulator:
    """Trains a stack of layers whose layer l sees weights that are staleness[l] updates old.

    Version n of a layer's weights holds its first n updates; below 0 they are version 0, the initial ones. The
    gradient of sample n = 0, 1, ... is taken with layer l at version n - staleness[l], and applied by the
    optimiser to the newest weights, version n, which makes version n + 1. Without staleness this is
    plain training, to the bit.

    Args:
        layers: modules, first to last, from input to logits [B, classes]. Each holds all of its parameters in
            `synapse`, a module affine in its input, and its forward(x, synapse=None) uses the function
            it is given instead.
        staleness: one delay a layer, in updates (`delays` has the usual ones).
        optimizer: of torch, over the parameters of all layers.
        versions: weights by which the error goes back through a layer:
            "stash": those of the forward pass, kept until then.
            "newest": the newest, nothing is kept (PipeMare).
            "average": a reconstruction of those of the forward pass, W(n) + D EMA(g), nothing kept but the
                average of g, the steps W(n) - W(n + 1) taken so far (lr times the gradient for SGD; ours
                for other optimisers). Its decay is (D - 1) / (D + 1), which gives it the mean age of the D
                latest, bias-corrected; of n < D steps taken, n count (ours). For D = 1 it is exact.
            In all of them the forward pass and with it the surrogate's window are those of version n - D.
        loss: of (logits, labels), a scalar to be minimised.

    Attributes:
        history: the loss of every sample so far, a list of floats.

    Raises:
        ReaderError: delays negative, not whole or not one a layer; versions unknown; an optimiser over other
            parameters, or a layer with parameters outside of its synapse.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        staleness: Sequence[int],
        optimizer: torch.optim.Optimizer,
        versions: str = "stash",
        loss: Callable = cross_entropy,
    ):
        self.layers, self.optimizer, self.versions = list(layers), optimizer, versions
        self.staleness, self.loss, self.history = list(staleness), loss, []
        self._refuse()
        self._weights = [
            _Weights(layer.synapse, delay, versions)
            for layer, delay in zip(self.layers, self.staleness, strict=True)
        ]

    def _refuse(self):
        if len(self.staleness) != len(self.layers) or not self.layers:
            raise ReaderError(
                f"{len(self.staleness)} delays for {len(self.layers)} layers",
                "Emulator",
                "one a layer",
            )
        if not all(isinstance(d, Integral) and d >= 0 for d in self.staleness):
            raise ReaderError(
                f"delays {self.staleness}", "Emulator", "whole numbers of updates, 0 or more"
            )
        if self.versions not in VERSIONS:
            raise ReaderError(
                f"versions {self.versions!r} are unknown",
                "Emulator",
                f"one of {', '.join(VERSIONS)}",
            )
        ids = lambda parameters: {id(p) for p in parameters}  # noqa: E731
        held = ids(itertools.chain(*(layer.parameters() for layer in self.layers)))
        synaptic = ids(itertools.chain(*(layer.synapse.parameters() for layer in self.layers)))
        stepped = ids(p for group in self.optimizer.param_groups for p in group["params"])
        if not held == synaptic == stepped:
            raise ReaderError(
                f"{len(held)} parameters in the layers, {len(synaptic)} of them in their synapses, "
                f"{len(stepped)} in the optimiser",
                "Emulator",
                "the same ones in all three",
            )

    @property
    def kept(self) -> list[int]:
        """Versions held at present beside the newest, one number a layer; the emulation holds them whatever
        `versions` is."""
        return [len(weights.old) for weights in self._weights]

    def step(self, x: torch.Tensor, labels: torch.Tensor) -> float:
        """Loss of one sample or microbatch; updates the weights.

        Args:
            x: what the first layer takes, e.g. [T, B, N].  labels: what `loss` takes, e.g. int64 [B].

        Raises:
            ReaderError: the loss is not finite; weights are left as they were.
        """
        for layer, weights in zip(self.layers, self._weights, strict=True):
            x = layer(x, weights.synapse())
        loss = self.loss(x, labels)
        if not torch.isfinite(loss):
            raise ReaderError(
                f"the loss is {loss.item()}",
                f"update {len(self.history)}",
                "lower the learning rate or the delays",
            )
        used = [weights.used() for weights in self._weights]
        wanted = [p for version in used for p in version.values()]
        gradients = iter(torch.autograd.grad(loss, wanted))
        for weights, version in zip(self._weights, used, strict=True):
            for name in version:
                weights.newest[name].grad = next(gradients)
            weights.keep()
        self.optimizer.step()
        self.optimizer.zero_grad()
        for weights in self._weights:
            weights.note()
        self.history.append(loss.item())
        return self.history[-1]


class _Weights:
    """The versions of one layer's parameters, each by name."""

    def __init__(self, module: nn.Module, delay: int, versions: str):
        self.module, self.newest = module, dict(module.named_parameters())
        self.versions = versions
        # Versions n - delay .. n - 1, or what there is of them.
        self.old = deque(maxlen=delay)
        self.delay, self.steps = delay, 0
        # A mean age of the average like that of the `delay` latest.
        self.decay = (delay - 1) / (delay + 1)
        self.average = {k: torch.zeros_like(p) for k, p in self.newest.items()}

    def used(self):
        """Version max(0, n - delay), that of this sample's forward pass."""
        return self.old[0] if self.old else self.newest

    def synapse(self) -> Callable:
        """The affine map of this sample, with the way back that `versions` names."""
        if not self.old:
            return self.module
        forward = self.old[0]
        if self.versions == "stash":
            return lambda x: functional_call(self.module, forward, (x,))
        backward = self.reconstructed() if self.versions == "average" else self.newest
        backward = {k: p.detach() for k, p in backward.items()}

        def apart(x):
            out = functional_call(self.module, forward, (x.detach(),))
            if not x.requires_grad:
                return out
            # Zero, through which the error goes back.
            through = functional_call(self.module, backward, (x,))
            return out + (through - through.detach())

        return apart

    def reconstructed(self):
        """Approximately `used`, from the newest version and the average step."""
        reach = min(self.steps, self.delay) / (1 - self.decay**self.steps)
        return {k: p + reach * self.average[k] for k, p in self.newest.items()}

    def keep(self):
        """Hold on to the newest version, which is about to change."""
        if self.delay:
            self.old.append(
                {k: p.detach().clone().requires_grad_() for k, p in self.newest.items()}
            )

    @torch.no_grad()
    def note(self):
        """Take account of the step just taken."""
        self.steps += 1
        if self.delay and self.versions == "average":
            for k, p in self.newest.items():
                self.average[k].lerp_(self.old[-1][k] - p, 1 - self.decay)
