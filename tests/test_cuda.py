"""Networks through backend cuda: on a GPU, or on the CPU under Triton's interpreter."""

import functools
import os

import numpy as np
import pytest
import torch

from paraspike import backends
from paraspike.layer import Draws
from paraspike.learning.bptt import Objective
from paraspike.learning import bptt
from paraspike.learning.optimizers import PerSeed
from paraspike.network import Network
from paraspike.neurons import SPSN, LeakyIntegrator, cuba
from paraspike.recurrent import RateTarget, RecurrentNetwork
from paraspike.spikes import Spikes

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()),
    reason="needs a CUDA device, or TRITON_INTERPRET=1",
)
DT, STEPS, PER_SEED, N_IN, CLASSES = 1e-2, 9, 3, 20, 4
SEEDS = (0, 1, 2)
READOUT = LeakyIntegrator.from_times(DT, 2e-2, 2e-2)
WHERE = ("reference", "cpu", "cuda")


@pytest.fixture(autouse=True)
def _cuda(monkeypatch):
    """Backend cuda on CPU tensors where there is no GPU."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(backends, "available", lambda backend: True)
        monkeypatch.setattr(backends, "device", lambda backend: torch.device("cpu"))


def feedforward(neuron, **options):
    return lambda seeds, backend: Network(
        (N_IN, 10, 9, CLASSES), neuron, READOUT, seeds, backend=backend, **options
    )


def recurrent(**options):
    return lambda seeds, backend: RecurrentNetwork(
        N_IN, (10,), CLASSES, neuron=cuba(DT, 2e-2, 2e-2), readout=READOUT, seeds=seeds,
        backend=backend, **options,
    )  # fmt: skip


def spsn(spike):
    return SPSN(READOUT, spike)


NETWORKS = {
    "LIF": feedforward(cuba(DT, 2e-2, 2e-2)),
    "LIF, delay, no bias": feedforward(cuba(DT, 2e-2, 2e-2), delay=2, bias=False),
    "SPSN-SB": feedforward(spsn("SB")),
    "SPSN-GS": feedforward(spsn("GS"), delay=1),
    "SPSN-T": feedforward(spsn("T")),
    "recurrent, BPTT": recurrent(rule="bptt", delay=1),
    "recurrent, e-prop": recurrent(rule="eprop"),
    "recurrent, e-prop, adaptive": recurrent(
        rule="eprop", feedback="adaptive", rate=RateTarget.from_times(DT)
    ),
}


def batch(update, seeds):
    """One update's input, labels and names of the samples, [T, S*B, N] in lists; a seed's are its own."""
    parts, labels = [], []
    for seed in seeds:
        rng = np.random.default_rng((seed, update))
        parts.append(rng.random((STEPS, PER_SEED, N_IN)) < 0.3)
        labels.append(rng.integers(0, CLASSES, PER_SEED))
    x = torch.from_numpy(np.concatenate(parts, 1).astype(np.float32))
    draws = Draws(np.tile(np.arange(PER_SEED), len(seeds)), np.repeat(seeds, PER_SEED), update)
    lists = Spikes.from_lists(*Spikes.from_dense(x).lists, x.shape)
    return lists, torch.from_numpy(np.concatenate(labels)), draws


@functools.cache
def trained(name, seeds, backend, updates=2, rate_budget=0.05):
    """(losses [updates, S], hidden spikes of the last pass, arrays) of a few updates."""
    net = NETWORKS[name](seeds, backend)
    with torch.no_grad():
        # Weights at which every hidden layer fires.
        for layer in net.layers[: len(net.layers) // 2 + 1]:
            layer.weight.mul_(3)
    device = net.layers[0].weight.device
    optimizer = PerSeed(net, "adamax", 5e-3)
    losses = []
    for update in range(updates):
        x, labels, draws = batch(update, seeds)
        m = bptt.step(net, optimizer, x, labels.to(device), draws, Objective("mean", rate_budget))
        losses.append(m.loss.cpu())
    with torch.no_grad():
        hidden = net(batch(9, seeds)[0], batch(9, seeds)[2]).hidden
    return torch.stack(losses), [h.dense().cpu() for h in hidden], net.arrays()


@pytest.mark.parametrize("name", NETWORKS)
def test_training_agrees_with_the_reference(name):
    losses, spikes, arrays = trained(name, SEEDS, "cuda")
    expected = trained(name, SEEDS, "reference")
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-6)
    # A potential within rounding of the threshold, or of its noise, may fall on its other side.
    for found, wanted in zip(spikes, expected[1], strict=True):
        assert wanted.sum() > 0 and (found != wanted).double().mean() < 1e-3
    for key, wanted in expected[2].items():
        np.testing.assert_allclose(arrays[key], wanted, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("backend", WHERE)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_trains_the_same_alone_and_among_others(name, backend):
    losses, spikes, arrays = trained(name, SEEDS, backend)
    alone = trained(name, SEEDS[1:2], backend)
    assert torch.equal(losses[:, 1], alone[0][:, 0])
    for together, own in zip(spikes, alone[1], strict=True):
        assert torch.equal(together[:, PER_SEED : 2 * PER_SEED], own)
    for key, own in alone[2].items():
        assert np.array_equal(arrays[key][1:2], own), key
