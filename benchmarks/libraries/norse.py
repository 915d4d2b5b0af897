"""Norse: LIFBoxCell, stepped by hand or lifted over time."""

import torch
from torch import nn

from benchmarks.libraries.stacks import Stack, TorchRunner, dense
from benchmarks.workloads import BETA, THRESHOLD

PACKAGES = ("norse",)
DIFFERS = (
    "its SuperSpike surrogate has slope 1 whatever alpha is; the reset takes part in the gradient; "
    "weights times 10, for its neuron scales the input by dt / tau"
)
_DT = 1e-3


def modes(workload):
    if workload.kind not in ("train", "infer"):
        return ()
    return (
        ("step", "step, torch.compile")
        if workload.recurrent
        else ("step", "Lift", "step, torch.compile")
    )


class _Cell(nn.Module):
    """A cell that starts from a potential of its own shape, which torch.compile needs."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, state):
        from norse.torch.functional.lif_box import LIFBoxFeedForwardState

        return self.cell(x, state or LIFBoxFeedForwardState(v=torch.zeros_like(x)))


class _Lifted(nn.Module):
    def __init__(self, cell):
        super().__init__()
        from norse.torch import Lift

        self.lifted = Lift(cell)

    def forward(self, x):
        return self.lifted(x)[0]


def build(workload, mode, data):
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract
    from norse.torch.module.lif_box import LIFBoxCell

    p = LIFBoxParameters(
        tau_mem_inv=torch.tensor((1 - BETA) / _DT),
        v_th=torch.tensor(THRESHOLD),
        reset_method=reset_subtract,
    )
    by_layer = mode == "Lift"
    wrap = _Lifted if by_layer else _Cell
    cells = [wrap(LIFBoxCell(p, dt=_DT)) for _ in data.weights]
    gain = 1 / (1 - BETA)
    net = Stack(workload, data, cells, by_layer, compiled="compile" in mode, gain=gain)
    return TorchRunner(workload, data, net, dense(data))
