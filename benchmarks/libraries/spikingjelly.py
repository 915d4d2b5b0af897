"""SpikingJelly: LIFNode in multi-step and single-step mode."""

from torch import nn

from benchmarks.libraries.stacks import FastSigmoid, Stack, TorchRunner, dense
from benchmarks.workloads import BETA, THRESHOLD

PACKAGES = ("spikingjelly",)
DIFFERS = "surrogate passed in by us (its own SoftSign is slope / 2 times as high)"


def modes(workload):
    if workload.kind not in ("train", "infer"):
        return ()
    return ("step",) if workload.recurrent else ("multi-step", "step", "step, torch.compile")


class _Cell(nn.Module):
    """LIFNode keeps its own potential, so the stack's state goes unused."""

    def __init__(self, node):
        super().__init__()
        self.node = node

    def forward(self, x, state):
        return self.node(x), None


def build(workload, mode, data):
    from spikingjelly.activation_based import functional, neuron

    many = mode == "multi-step"
    nodes = [
        neuron.LIFNode(
            tau=1 / (1 - BETA),
            decay_input=False,
            v_threshold=THRESHOLD,
            v_reset=None,
            surrogate_function=FastSigmoid.apply,
            detach_reset=True,
            step_mode="m" if many else "s",
        )
        for _ in data.weights
    ]
    cells = nodes if many else [_Cell(node) for node in nodes]
    net = Stack(workload, data, cells, many, compiled="compile" in mode)
    return TorchRunner(workload, data, net, dense(data), before=lambda: functional.reset_net(net))
