"""SpikingJelly: LIFNode in multi-step and single-step mode."""

from torch import nn

from benchmarks.libraries.stacks import FastSigmoid, Stack, TorchRunner, dense
from benchmarks.workloads import BETA, SLOPE, THRESHOLD

PACKAGES = ("spikingjelly",)
DIFFERS = (
    "surrogate passed in by us (its own SoftSign is slope / 2 times as high); on a GPU its fused kernels, "
    "which take its own surrogates alone, run as a mode with that"
)


# Its fused kernels take its own surrogates alone.
FUSED = "multi-step, its own SoftSign: fused"


def modes(workload, device="cpu"):
    fused = (FUSED,) if device == "cuda" and not workload.recurrent else ()
    return _modes(workload) + (fused if workload.kind in ("train", "infer") else ())


def _modes(workload):
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


def node(mode="multi-step"):
    """One layer's LIFNode; in multi-step mode it takes currents [T, B, N]."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.LIFNode(
        tau=1 / (1 - BETA),
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=None,
        surrogate_function=surrogate.SoftSign(SLOPE) if mode == FUSED else FastSigmoid.apply,
        detach_reset=True,
        step_mode="m" if mode.startswith("multi-step") else "s",
    )


def implementation() -> str:
    """What its multi-step LIF runs on here, by its own account."""
    import torch
    from spikingjelly.activation_based import functional

    if not hasattr(functional, "neuron_implementation"):
        return "its release does not tell what its LIF runs on"
    told = functional.neuron_implementation("lif", torch.device("cuda"))
    return f"multi-step LIF with its own surrogate runs on {told['implementation']}"


def build(workload, mode, data):
    from spikingjelly.activation_based import functional

    many = mode.startswith("multi-step")
    nodes = [node(mode) for _ in data.weights]
    cells = nodes if many else [_Cell(n) for n in nodes]
    net = Stack(workload, data, cells, many, compiled="compile" in mode)
    return TorchRunner(workload, data, net, dense(data), before=lambda: functional.reset_net(net))
