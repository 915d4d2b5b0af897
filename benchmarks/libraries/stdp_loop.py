"""W1 in torch: BindsNET's LIF neurons and PostPre rule in one loop over time."""

import math

import numpy as np
import torch

from benchmarks.workloads import STDP

# BindsNET's LIFNodes, in mV above rest and steps of 1 ms.
DECAY, TRACE_DECAY = math.exp(-1 / 100), math.exp(-1 / 20)
THRESHOLD, REFRACTORY = 13.0, 5


class STDPLoop:
    """Layers of LIF neurons, each connection with one step of delay, weights changed every step."""

    def __init__(self, workload, data):
        self.inputs = torch.from_numpy(data.inputs).float()
        self.initial = [torch.from_numpy(w) for w in data.weights]
        self.weights = [w.clone() for w in self.initial]

    def restore(self):
        for weight, initial in zip(self.weights, self.initial, strict=True):
            weight.copy_(initial)

    def step(self):
        self._present()

    def _present(self):
        """One presentation [T, B, N_in]; returns each layer's spikes over time, [B, N]."""
        (low, high), batch = STDP["nu"], self.inputs.shape[1]
        sizes = [self.inputs.shape[2], *(w.shape[1] for w in self.weights)]
        spikes = [torch.zeros(batch, n) for n in sizes]
        traces = [torch.zeros(batch, n) for n in sizes]
        u = [torch.zeros(batch, n) for n in sizes[1:]]
        rest = [torch.zeros(batch, n) for n in sizes[1:]]
        totals = [torch.zeros(batch, n) for n in sizes]
        for x in self.inputs.unbind(0):
            currents = [s @ w for s, w in zip(spikes, self.weights, strict=False)]
            spikes[0] = x
            for i, current in enumerate(currents):
                u[i].mul_(DECAY).add_(current.masked_fill_(rest[i] > 0, 0.0))
                rest[i].sub_(1)
                fired = u[i] >= THRESHOLD
                rest[i].masked_fill_(fired, REFRACTORY)
                u[i].masked_fill_(fired, 0.0)
                spikes[i + 1] = fired.float()
            for trace, s, total in zip(traces, spikes, totals, strict=True):
                trace.mul_(TRACE_DECAY).masked_fill_(s != 0, 1.0)
                total.add_(s)
            for i, weight in enumerate(self.weights):
                weight.addmm_(spikes[i].T, traces[i + 1], alpha=-low)
                weight.addmm_(traces[i].T, spikes[i + 1], alpha=high)
                weight.clamp_(STDP["wmin"], STDP["wmax"])
        return totals

    def outputs(self) -> dict[str, np.ndarray]:
        self.restore()
        found = {f"spikes{i}": t.numpy() for i, t in enumerate(self._present()[1:], 1)}
        return found | {f"weights{i}": w.numpy().copy() for i, w in enumerate(self.weights, 1)}
