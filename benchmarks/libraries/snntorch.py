"""snnTorch: Leaky, stepped by the user's loop."""

import torch
from torch import nn

from benchmarks.libraries.stacks import Stack, TorchRunner, dense
from benchmarks.workloads import BETA, SLOPE, THRESHOLD

PACKAGES = ("snntorch",)
DIFFERS = (
    "subtracts the threshold one step after the spike, after the decay (its default); "
    "'reset at the spike' does so at once, and twice where u exceeds two thresholds"
)
_AT_SPIKE = "step, reset at the spike"


def modes(workload):
    if workload.kind not in ("train", "infer"):
        return ()
    every = ("step", _AT_SPIKE, "layer, unbind", "step, torch.compile")
    return tuple(m for m in every if not (workload.recurrent and m.startswith("layer")))


class _Cell(nn.Module):
    def __init__(self, delayed):
        super().__init__()
        import snntorch
        from snntorch import surrogate

        gradient = surrogate.fast_sigmoid(slope=SLOPE)
        options = {"beta": BETA, "threshold": THRESHOLD, "spike_grad": gradient}
        self.leaky = snntorch.Leaky(**options, reset_delay=delayed)

    def forward(self, x, u):
        return self.leaky(x, torch.zeros_like(x) if u is None else u)


class _Layer(_Cell):
    def forward(self, x):
        u, spikes = None, []
        for x_t in x.unbind(0):
            s, u = super().forward(x_t, u)
            spikes.append(s)
        return torch.stack(spikes)


def layer():
    """Currents [T, B, N] -> spikes, by a loop over time."""
    return _Layer(delayed=True)


def build(workload, mode, data):
    by_layer = mode.startswith("layer")
    kind = _Layer if by_layer else _Cell
    cells = [kind(delayed=mode != _AT_SPIKE) for _ in data.weights]
    net = Stack(workload, data, cells, by_layer, compiled="compile" in mode)
    return TorchRunner(workload, data, net, dense(data))
