"""The sparse layer of Finkbeiner & Neftci 2022 as a static-shape PyTorch module for PopTorch to compile.

A layer's spikes at one step are two tensors of fixed shape [B, s]: ids of neurons and values. A neuron above
the threshold has value 1; one between the second threshold and the threshold has value 0 and passes a
gradient; the rest of the list is padding without either. As long as no list overflows this is dense
backpropagation through time whose surrogate derivative is zero below the second threshold, on any machine.
`on_ipu` hands it to Graphcore's SDK, which could not be had: that path was never run on it.

Three things differ from the published IPU operator: a full list keeps the largest potentials (theirs the
first ones in scan order), neurons cannot be placed on tiles, and a network is one program on one IPU,
because PopTorch pipelines batches where the published scheme runs all layers in lock-step.
"""

import importlib
import os
import sys

import torch
from torch import nn
from torch.nn import functional as F

from paraspike.errors import ReaderError

_API = ("Options", "trainingModel", "inferenceModel", "identity_loss", "isRunningOnIpu")
_CURE = (
    "train with backend cpu, or use the cost model. For a real IPU: poptorch is not on PyPI, its wheel (for "
    "one minor version of Python) comes with Graphcore's Poplar SDK, whose enable.sh is to be sourced; never "
    "`pip install popart`, which is something else."
)


class SparseLayer(nn.Module):
    """Weighted sum of the listed inputs, then a leaky integrate-and-fire neuron; one step a call.

        x  = u, or 0 where u > threshold
        u' = decay x + gain (1 - decay) sum_k values_k W[ids_k]

    (graphcore_snn and SparseSpikes, the sheet papers/ipu.md, section 1.1; both spike where u' > threshold).
    The surrogate derivative is SuperSpike, 1 / (slope |u' - threshold| + 1)^2 above `second_threshold`.
    Potentials and thresholds share one unit; gain is per unit of weight.

    Args:
        weight: [N_in, N_out] floating point, copied.
        capacity: s, entries a list can hold, 1 to N_out.
        reset: what the gradient sees of it. through: nothing, du'/du = decay (the IPU operator); masked:
            du'/du = decay (1 - spike) (SparseSpikes, whose gain is 20).
    """

    def __init__(
        self,
        weight: torch.Tensor,
        capacity: int,
        *,
        decay: float = 0.95,
        gain: float = 10.0,
        threshold: float = 1.0,
        second_threshold: float = 0.9,
        slope: float = 10.0,
        reset: str = "through",
    ):
        super().__init__()
        shape = list(weight.shape)
        floating = len(shape) == 2 and weight.is_floating_point()
        _need(floating, f"weights {shape} of {weight.dtype} are not a floating [N_in, N_out]")
        _need(capacity in range(1, shape[1] + 1), f"capacity {capacity} is not 1 to {shape[1]}")
        _need(second_threshold <= threshold, f"{second_threshold=} is above {threshold=}")
        _need(reset in ("through", "masked"), f"reset = {reset!r} is unknown", "through or masked")
        self.weight = nn.Parameter(weight.detach().clone())
        self.capacity = int(capacity)
        self.decay, self.gain = float(decay), float(gain)
        self.threshold, self.second_threshold = float(threshold), float(second_threshold)
        self.slope, self.reset = float(slope), reset

    def forward(self, ids: torch.Tensor, values: torch.Tensor, u: torch.Tensor):
        """One step: ids [B, s_in] int64 and values [B, s_in] of the inputs, potentials u [B, N_out] of the
        step before, not yet reset. Returns ids [B, s], values [B, s] and the new u [B, N_out]."""
        current = (F.embedding(ids, self.weight) * values.unsqueeze(2)).sum(1)
        fired = (u.detach() > self.threshold).to(u.dtype)
        held = u - (u * fired).detach() if self.reset == "through" else u * (1 - fired)
        u = self.decay * held + self.gain * (1 - self.decay) * current
        return *self.compact(u), u

    def compact(self, u: torch.Tensor):
        """The list of potentials u [B, N_out], largest first: ids [B, s] int64, values [B, s]."""
        top, ids = torch.topk(u, self.capacity, dim=1, largest=True, sorted=True)
        x = top - self.threshold
        # Straight through: f' is the surrogate derivative, and f - f is exactly 0 where f + (1 - f) is not 1.
        f = x / (1 + self.slope * x.abs())
        values = (top.detach() > self.threshold).to(u.dtype) + (f - f.detach())
        # Asked this way round a NaN stays in the list and is seen.
        return ids, values.masked_fill(top.detach() <= self.second_threshold, 0.0)

    def silent(self, batch: int):
        """An empty list and potentials at rest: ids [B, s], values [B, s], u [B, N_out]."""
        values = self.weight.new_zeros(batch, self.capacity)
        u = self.weight.new_zeros(batch, self.weight.shape[1])
        return torch.zeros_like(values, dtype=torch.int64), values, u

    def overflow(self, u: torch.Tensor):
        """[2] int64: spikes (u > threshold) and near-threshold neurons (second threshold < u <= threshold)
        of potentials u [B, N_out] for which the lists had no room. Spikes have the first places."""
        spikes, both = (
            ((u.detach() > level).int().sum(1) - self.capacity).clamp(min=0).sum()
            for level in (self.threshold, self.second_threshold)
        )
        return torch.stack([spikes, both - spikes])


class SparseNetwork(nn.Module):
    """Sparse layers in a stack, unrolled over T steps: one static graph, because poptorch.for_loop cannot
    train. Memory: T x B x s x N_out for each layer, s of the list that it reads.

    Args:
        weights: per layer [N_in, N_out], each layer's N_in the N_out before it.
        capacities: per layer, entries of its lists.
        delay: steps from a list to the layer that reads it, the first layer's input included: 1 as on the
            IPU, where all layers of a step run at once (what would arrive after step T is not seen), or 0.
        neuron: options of `SparseLayer`, the same for all layers.
    """

    def __init__(self, weights, capacities, *, delay: int = 1, **neuron):
        super().__init__()
        n, m = len(weights), len(capacities)
        _need(n == m > 0, f"{n} layers, {m} lists")
        _need(delay in (0, 1), f"delay = {delay!r} steps is unknown", "0 or 1")
        pairs = zip(weights, capacities, strict=True)
        self.layers = nn.ModuleList(SparseLayer(w, s, **neuron) for w, s in pairs)
        for one, two in zip(weights, weights[1:], strict=False):
            _need(one.shape[1] == two.shape[0], f"{one.shape} and {two.shape} do not stack")
        self.delay = int(delay)

    def forward(self, ids: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor | None = None):
        """Run T steps from rest.

        Args:
            ids: input neurons [T, B, s_in] int64; entries that are not valid may hold anything.
            valid: number of valid entries [T, B], always the first ones; or a mask [T, B, s_in], whose
                numbers, if it is not boolean, are the inputs' values.
            labels: classes [B] int64, or None.

        Returns:
            (counts, overflow), with labels (counts, loss, overflow): spike counts of the last layer
            [B, N_out]; mean softmax cross entropy of the counts; spikes and near-threshold neurons lost to
            full lists, over all steps and samples, [L, 2] int64: all zero means that the gradient is exact.
        """
        dims = f"{ids.dim()} dimensions of ids, {valid.dim()} of valid"
        _need(ids.dim() == 3 and valid.dim() in (2, 3), dims, "[T, B, s_in] and that or [T, B]")
        if valid.dim() == 2:
            valid = torch.arange(ids.shape[2], device=ids.device) < valid.unsqueeze(2)
        ids = ids.masked_fill(valid == 0, 0)
        values = valid.to(self.layers[0].weight.dtype)
        batch = ids.shape[1]
        rest = [layer.silent(batch) for layer in self.layers]
        potentials = [u for _, _, u in rest]
        # The input's list first, then each layer's: lists[k] is what layer k reads.
        lists = [(ids.new_zeros(batch, ids.shape[2]), values.new_zeros(batch, ids.shape[2]))]
        lists += [(i, v) for i, v, _ in rest]
        overflow = [ids.new_zeros(2) for _ in self.layers]
        counts = potentials[-1]
        for step in zip(ids.unbind(0), values.unbind(0), strict=True):
            fresh = [step]
            for k, layer in enumerate(self.layers):
                read = lists[k] if self.delay else fresh[k]
                i, v, potentials[k] = layer(*read, potentials[k])
                overflow[k] = overflow[k] + layer.overflow(potentials[k])
                fresh.append((i, v))
            lists = fresh
            counts = counts.scatter_add(1, *lists[-1])
        if labels is None:
            return counts, torch.stack(overflow)
        loss = F.cross_entropy(counts, labels)
        poptorch = sys.modules.get("poptorch")
        # PopTorch differentiates what is marked as the loss; on the CPU there is nothing to mark.
        if poptorch is not None and poptorch.isRunningOnIpu():
            loss = poptorch.identity_loss(loss, reduction="none")
        return counts, loss, torch.stack(overflow)


def missing() -> str | None:
    """Why PopTorch cannot be used here, or None where it can. Imports it where it is installed."""
    try:
        poptorch = importlib.import_module("poptorch")
    # poptorch asserts its version of torch.
    except (ImportError, AssertionError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "poptorch":
            return "poptorch, Graphcore's PyTorch for the IPU, is not installed"
        return f"poptorch is installed and does not load: {error}"
    lacks = ", ".join(name for name in _API if not hasattr(poptorch, name))
    return f"the module named poptorch is not Graphcore's: no {lacks}" if lacks else None


def on_ipu(network: nn.Module, optimizer=None, *, machine: str = "ipu2", options=None):
    """The network compiled by PopTorch at its first call; called like the network itself.

    With an `optimizer` (one that PopTorch knows: SGD, Adam, AdamW or RMSprop of torch.optim, or one of
    poptorch.optim) a poptorch.trainingModel, whose call with labels is a whole training step: no backward(),
    no step(). Without, a poptorch.inferenceModel.

    Args:
        machine: ipu2, hardware; or model, Graphcore's simulator on the CPU, which logs no cycles.
        options: poptorch.Options to start from (caching, profiling, offline target); None for the defaults.

    Raises ReaderError where the SDK or an IPU is missing or the weights are float64.
    """
    _need(machine in ("ipu2", "model"), f"machine = {machine!r} is unknown", "ipu2 or model")
    reason = missing()
    if reason is not None:
        sdk = os.environ.get("POPLAR_SDK_ENABLED", "not set")
        where = f"the packages of {sys.executable}; POPLAR_SDK_ENABLED is {sdk}"
        version = f" PopTorch 3.3 needs torch 2.0.1, not {torch.__version__}."
        fits = torch.__version__.startswith("2.0.1")
        raise ReaderError(reason, where, _CURE if fits else _CURE + version)
    dtypes = {p.dtype for p in network.parameters()}
    _need(torch.float64 not in dtypes, "an IPU has no float64", "network.float()")
    poptorch = sys.modules["poptorch"]
    # Options of the caller's may be for an offline target, which needs no IPU.
    attached = machine == "model" or options is not None or poptorch.ipuHardwareIsAvailable()
    _need(attached, "no IPU is attached", "machine='model' simulates one")
    options = poptorch.Options() if options is None else options
    # Set either way: else the variable POPTORCH_IPU_MODEL changes the machine silently.
    options.useIpuModel(machine == "model")
    if optimizer is None:
        return poptorch.inferenceModel(network, options=options)
    return poptorch.trainingModel(network, options=options, optimizer=optimizer)


def _need(condition, what, hint=None):
    if not condition:
        raise ReaderError(what, "paraspike.ipu.poptorch", hint)
