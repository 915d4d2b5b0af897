"""paraspike: Layer, given and giving spikes as index lists; STDP; spikes from rates."""

import math

import numpy as np
import torch
from torch import nn

from benchmarks.libraries.stacks import TorchRunner
from benchmarks.workloads import BETA, SEED, SLOPE, STDP, STDP_DT, THRESHOLD

PACKAGES = ("paraspike",)
DIFFERS = ""
# As in a script that knows nothing of `Spikes`: tensors in, between layers, and out.
DENSE = "Layer, dense in and out"


def modes(workload):
    return {"stdp": ("event-driven",), "encode": ("uniform < p",)}.get(
        workload.kind, ("Layer", DENSE)
    )


def lists(raster: np.ndarray):
    """A uint8 raster [T, B, N] as `Spikes`, held as index lists."""
    from paraspike import Spikes

    t, b, n = raster.shape
    rows, units = np.nonzero(raster.reshape(t * b, n))
    pointers = np.zeros(t * b + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=t * b), out=pointers[1:])
    return Spikes.from_lists(pointers, units, np.ones(len(units), np.float32), raster.shape)


def neuron(band=math.inf):
    """The neuron of every workload that trains."""
    from paraspike.neurons import LIF, Surrogate

    return LIF(
        a_uu=BETA,
        threshold=THRESHOLD,
        reset="subtract",
        reset_at="spike",
        reset_grad="masked",
        surrogate=Surrogate("fast_sigmoid", SLOPE, band=band),
    )


class _Net(nn.Module):
    def __init__(self, workload, data, band, backend):
        super().__init__()
        from paraspike import Layer

        self.data, layers = data, []
        for i, w in enumerate(data.weights):
            loop = workload.recurrent and i == 0
            layers.append(
                Layer(
                    *w.shape, neuron(band), bias=False, recurrent=loop, name=str(i), backend=backend
                )
            )
        self.layers = nn.ModuleList(layers)
        self.restore()

    def parameters_in_order(self):
        last = [self.layers[0].recurrent_weight] if self.data.recurrent is not None else []
        return [layer.weight for layer in self.layers] + last

    def restore(self):
        last = [self.data.recurrent] if self.data.recurrent is not None else []
        weights = [*self.data.weights, *last]
        with torch.no_grad():
            for parameter, weight in zip(self.parameters_in_order(), weights, strict=True):
                parameter.copy_(torch.from_numpy(weight))

    def forward(self, x, every=False):
        totals = []
        for layer in self.layers:
            x = layer(x)
            if every or layer is self.layers[-1]:
                totals.append(x.sum(0) if torch.is_tensor(x) else x.totals)
        return totals if every else totals[-1]


class _Runner(TorchRunner):
    def remark(self) -> str:
        """Which way each layer went at the density it met."""
        shares = [layer.product_share for layer in self.net.layers]
        return f"share of products in each layer: {', '.join(f'{s:.0%}' for s in shares)}"


class _STDP:
    def __init__(self, workload, data):
        from paraspike.learning.stdp import STDPNetwork

        self.net = STDPNetwork(workload.sizes, dt=STDP_DT, **STDP)
        self.initial = [torch.from_numpy(w) for w in data.weights]
        self.spikes = lists(data.inputs)

    def restore(self):
        for weight, initial in zip(self.net.weights, self.initial, strict=True):
            weight.copy_(initial)

    def step(self):
        self.net.run(self.spikes, learn=True)

    def outputs(self):
        self.restore()
        layers = self.net.run(self.spikes, learn=True)
        layers = layers[-len(self.initial) :]
        found = {f"spikes{i}": s.dense().sum(0).numpy() for i, s in enumerate(layers, 1)}
        weights = enumerate(self.net.weights, 1)
        return found | {f"weights{i}": w.numpy().copy() for i, w in weights}


class _Encoder:
    """Bernoulli spikes at the images' rates, from the keyed generator."""

    def __init__(self, workload, data):
        self.probability = data.rates * np.float32(STDP_DT)
        self.steps, self.trial = workload.steps, 0

    def step(self):
        from paraspike.randomness import uniform

        batch, n = self.probability.shape
        self.trial += 1
        draws = uniform(SEED, "bench/encode", np.arange(batch), self.steps, n, self.trial)
        self.spikes = draws < self.probability

    def outputs(self):
        self.step()
        return {"spikes1": self.spikes.sum(0).astype(np.float32)}

    def restore(self):
        pass


def build(workload, mode, data, band=math.inf, backend="cpu"):
    from paraspike.threads import set_threads

    set_threads()
    if workload.kind == "stdp":
        return _STDP(workload, data)
    if workload.kind == "encode":
        return _Encoder(workload, data)
    dense = mode == DENSE
    x = torch.from_numpy(data.inputs).float() if dense else lists(data.inputs)
    return _Runner(workload, data, _Net(workload, data, band, backend), x)
