"""A loop in torch without any SNN library: the yardstick, and the truth that outputs are held to."""

import numpy as np
import torch

from benchmarks.libraries.stacks import FastSigmoid, Stack, TorchRunner, dense
from benchmarks.libraries.stdp_loop import STDPLoop
from benchmarks.workloads import BETA, STDP_DT, THRESHOLD

PACKAGES = ("torch",)
DIFFERS = ""


def modes(workload):
    if workload.kind in ("stdp", "encode"):
        return ("loop",)
    both = ("step", "layer, unbind", "step, torch.compile")
    return tuple(m for m in both if not (workload.recurrent and m.startswith("layer")))


def cell(x, u):
    """u <- beta u + x; spike where u > threshold; u <- u - threshold there, unseen by the gradient."""
    u = x if u is None else BETA * u + x
    s = FastSigmoid.apply(u - THRESHOLD)
    return s, u - THRESHOLD * s.detach()


def layer(x):
    """Currents [T, B, N] -> spikes."""
    u, spikes = None, []
    for x_t in x.unbind(0):
        s, u = cell(x_t, u)
        spikes.append(s)
    return torch.stack(spikes)


class _Bernoulli:
    """Bernoulli spikes at the images' rates, uint8 [T, B, N]."""

    def __init__(self, workload, data):
        self.probability = torch.from_numpy(data.rates * np.float32(STDP_DT))
        self.probability = self.probability.expand(workload.steps, *data.rates.shape)

    def step(self):
        self.spikes = torch.bernoulli(self.probability)

    def outputs(self):
        self.step()
        return {"spikes1": self.spikes.sum(0).numpy()}

    def restore(self):
        pass


def build(workload, mode, data):
    if workload.kind == "stdp":
        return STDPLoop(workload, data)
    if workload.kind == "encode":
        return _Bernoulli(workload, data)
    by_layer = mode.startswith("layer")
    cells = [layer if by_layer else cell] * len(data.weights)
    net = Stack(workload, data, cells, by_layer, compiled="compile" in mode)
    return TorchRunner(workload, data, net, dense(data))
