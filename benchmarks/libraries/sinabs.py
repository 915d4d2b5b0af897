"""Sinabs: LIF layers over [B, T, N]."""

import math

import torch
from torch import nn

from benchmarks.libraries.stacks import Stack, TorchRunner, dense
from benchmarks.workloads import BETA, SLOPE, THRESHOLD

PACKAGES = ("sinabs",)
DIFFERS = (
    "spikes at u >= threshold; the reset takes part in the gradient; surrogate passed in by us"
)


def modes(workload):
    if workload.kind not in ("train", "infer"):
        return ()
    return ("layer",) if workload.recurrent else ("layer", "layer, torch.compile")


def _surrogate(v_mem, threshold):
    return 1 / (SLOPE * (v_mem - threshold).abs() + 1) ** 2


def build(workload, mode, data):
    from sinabs.activation import MembraneSubtract, SingleSpike
    from sinabs.layers import LIF, LIFRecurrent

    options = {
        "tau_mem": -1 / math.log(BETA),
        "spike_threshold": torch.tensor(THRESHOLD),
        "spike_fn": SingleSpike,
        "reset_fn": MembraneSubtract(),
        "surrogate_grad_fn": _surrogate,
        "norm_input": False,
    }
    cells = [LIF(**options) for _ in data.weights]
    if workload.recurrent:
        n = workload.sizes[1]
        cells[0] = LIFRecurrent(rec_connect=nn.Linear(n, n, bias=False), **options)
    for cell in cells:
        cell.tau_mem.requires_grad_(False)
    net = Stack(workload, data, cells, by_layer=True, time=1)
    if workload.recurrent:
        # The layer itself holds the recurrent connection: the stack's is the same parameter.
        cells[0].rec_connect.weight = net.recurrent.weight
    if "compile" in mode:
        net.compile()

    def forget():
        for cell in cells:
            cell.reset_states()

    return TorchRunner(workload, data, net, dense(data, batch_first=True), before=forget)
