"""Networks through backend cuda: on a GPU, or on the CPU under Triton's interpreter."""

import functools
import os

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paraspike import backends
from paraspike.batches import make_batch
from paraspike.datasets import load
from paraspike.datasets.resident import resident
from paraspike.errors import ReaderError
from paraspike.evaluation import evaluate
from paraspike.layer import Draws
from paraspike.learning import bptt
from paraspike.learning.bptt import Objective
from paraspike.learning.optimizers import PerSeed
from paraspike.network import Network
from paraspike.neurons import SPSN, LeakyIntegrator, ReLU, cuba
from paraspike.papers import spsn as papers_spsn
from paraspike.recurrent import RateTarget, RecurrentNetwork
from paraspike.spikes import Spikes
from paraspike.training import Augmentation, Settings, Trainee, train

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


@pytest.mark.parametrize("name", ["SPSN-SB", "recurrent, e-prop"])
def test_another_precision_is_said_and_used_both_ways(name):
    # The interpreter multiplies in full precision: what is rounded to bfloat16 before it is what shows there.
    ops = backends.operators("cuda", precision="bf16")
    assert ops.labels["synapse"].endswith("products in bf16") and ops.labels["eprop"].endswith(
        "bf16"
    )
    assert backends.operators("cuda").labels["synapse"] != ops.labels["synapse"]
    x, labels, draws = batch(0, (0, 1))

    def gradients(backend):
        net = NETWORKS[name]((0, 1), backend)
        device = net.layers[0].weight.device
        total, _ = bptt.evaluate_batch(net(x, draws), labels.to(device), 2, Objective("mean"))
        total.backward()
        return total.detach().cpu(), [layer.weight.grad.cpu() for layer in net.layers]

    (loss, plain), (rounded, coarse) = gradients("cuda"), gradients(ops)
    assert loss != rounded and abs(loss - rounded) < 0.02 * abs(loss)
    for a, b in zip(plain, coarse, strict=True):
        # Rounding may move a spike, so gradients point the same way without being equal.
        assert not torch.equal(a, b) and torch.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.9


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


class Calls(TorchDispatchMode):
    """Counts calls of torch's operators, those of the way back too."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("neuron, budget", [(spsn("SB"), 0.05), (ReLU(), 0.0)])
def test_more_seeds_take_no_more_calls(neuron, budget):
    counts = []
    # Twice: what is kept from the first time on counts for neither.
    for seeds in (SEEDS, SEEDS[:1]) * 2:
        net = Network((N_IN, 8, CLASSES), neuron, READOUT, seeds, backend="cuda")
        x, labels, draws = batch(0, seeds)
        labels, objective = labels.to(net.layers[0].weight.device), Objective("mean", budget)
        with Calls() as calls:
            activity = net(x, draws)
            bptt.evaluate_batch(activity, labels, len(seeds), objective, net.ops)[0].backward()
        counts.append(calls.count)
    assert counts[2] <= counts[3]


DATA = load("blobs", "train", samples=14)
SETTINGS = Settings(
    dt=5e-2, epochs=2, batch_size=6, augmentation=Augmentation(), objective=Objective("mean", 0.2)
)


def fresh(backend, model="LIF"):
    return papers_spsn.network(
        model, DATA.n_units, (8,), DATA.n_classes, SETTINGS.dt, seeds=(5, 2), backend=backend
    )


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_batches_of_the_device_are_those_of_the_host(augmentation):
    rng, device = np.random.default_rng(0), backends.device("cuda")
    for epoch in range(3):
        index = rng.permutation(len(DATA))[:9]
        given = DATA, index, rng.integers(0, 9, 9), SETTINGS.dt, None, augmentation, epoch
        there = make_batch(*given, device=device)
        for found, wanted in zip(there.lists, make_batch(*given).lists, strict=True):
            assert np.array_equal(found, wanted)
        assert np.array_equal(
            resident(DATA, SETTINGS.dt, device).labels(index).cpu(), DATA.labels[index]
        )


@pytest.mark.parametrize("model", ["LIF", "SPSN-SB"])
def test_training_from_the_device_agrees_with_the_reference(model):
    seen = []
    for backend in ("cuda", "reference"):
        net = fresh(backend, model)
        history = train(net, DATA, SETTINGS)
        seen.append((history.loss, history.spikes_per_ms, evaluate(net, DATA, SETTINGS).readout))
    for found, wanted in zip(*seen, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_is_told_at_the_end_of_the_epoch():
    net = fresh("cuda", "ReLU")
    with torch.no_grad():
        net.layers[0].weight[1, 0, 0] = float("inf")
    with pytest.raises(ReaderError, match=r"epoch 1, batch \d+: the loss is (nan|inf)[\s\S]*\[2\]"):
        train(net, DATA, SETTINGS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", papers_spsn.MODELS)
def test_the_host_waits_for_nothing_within_an_epoch(model, monkeypatch):
    begin, end = Trainee.begin, Trainee.end

    def begins(arm):
        begin(arm)
        if arm.epoch:  # the first one compiles kernels and fills caches
            torch.cuda.set_sync_debug_mode("error")

    def ends(arm, samples):
        torch.cuda.set_sync_debug_mode("default")
        end(arm, samples)

    monkeypatch.setattr(Trainee, "begin", begins)
    monkeypatch.setattr(Trainee, "end", ends)
    try:
        train(fresh("cuda", model), DATA, SETTINGS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
