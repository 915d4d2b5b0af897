"""The emulator of delayed gradients against plain training, and against loops that keep every version."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from paraspike.errors import ReaderError
from paraspike.papers import spikepipe
from paraspike.papers.spikepipe_layers import layers, logits, narrower
from paraspike.pipelining.networks import NETWORKS, Network, conv, dense
from paraspike.pipelining.staleness import Emulator, delays
from paraspike.randomness import permutation, uniform

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, 5e-3),
}
DENSE = Network("dense", 5, dense(12, 9, 8, 7, 4))
PLANES = Network("planes", 4, (conv(1, 3, 8, True), conv(3, 4, 4, True), *dense(16, 6, 5)))
SHAPES = {"dense": (5, 3, 12), "planes": (4, 3, 1, 8, 8)}


def parameters(stack):
    return [p for layer in stack for p in layer.parameters()]


def samples(network, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = (torch.rand(SHAPES[network.name], generator=generator) < 0.5).float()
        classes = network.layers[-1].n_out
        yield x, torch.randint(0, classes, (x.shape[1],), generator=generator)


def emulated(network, staleness, name, versions="stash", count=9):
    stack = layers(network)
    emulator = Emulator(stack, staleness, OPTIMIZERS[name](parameters(stack)), versions)
    for x, labels in samples(network, count):
        emulator.step(x, labels)
    return emulator


def assert_same_bits(emulator, stack, losses):
    assert emulator.history == losses
    start = parameters(layers(DENSE if len(stack[0].synapse.weight.shape) == 2 else PLANES))
    for mine, wanted, old in zip(
        parameters(emulator.layers), parameters(stack), start, strict=True
    ):
        assert torch.equal(mine, wanted)
        assert not torch.equal(mine, old)


@pytest.mark.parametrize("versions", ["stash", "newest", "average"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("network", [DENSE, PLANES], ids=lambda n: n.name)
def test_without_delays_it_is_plain_training_to_the_bit(network, name, versions):
    stack, losses = layers(network), []
    optimizer = OPTIMIZERS[name](parameters(stack))
    for x, labels in samples(network, 9):
        optimizer.zero_grad()
        for layer in stack:
            x = layer(x)
        loss = cross_entropy(x, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert_same_bits(emulated(network, [0] * 4, name, versions), stack, losses)


def all_versions(network, staleness, name, count=9):
    """Whole copies of the stack after every update; layer l of update n is that of copy n - D_l."""
    newest = layers(network)
    optimizer = OPTIMIZERS[name](parameters(newest))
    copies, losses = [copy.deepcopy(newest)], []
    for n, (x, labels) in enumerate(samples(network, count)):
        mixed = [copy.deepcopy(copies[max(0, n - d)][k]) for k, d in enumerate(staleness)]
        for layer in mixed:
            x = layer(x)
        loss = cross_entropy(x, labels)
        loss.backward()
        for p, old in zip(parameters(newest), parameters(mixed), strict=True):
            p.grad = old.grad
        optimizer.step()
        losses.append(loss.item())
        copies.append(copy.deepcopy(newest))
    return newest, losses


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "staleness", [[6, 4, 2, 0], [2, 2, 1, 0], [0, 3, 0, 1], [20, 0, 0, 0]], ids=str
)
@pytest.mark.parametrize("network", [DENSE, PLANES], ids=lambda n: n.name)
def test_delays_equal_a_loop_that_keeps_all_versions(network, staleness, name):
    emulator = emulated(network, staleness, name)
    assert_same_bits(emulator, *all_versions(network, staleness, name))
    assert emulator.kept == [min(d, 9) for d in staleness]


def by_formulas(staleness, versions, count, lr=0.1):
    """Section 2.2 layer by layer for DENSE, SGD, all versions kept; float64."""
    start = [layer.double() for layer in layers(DENSE)]
    neuron = start[0].neuron
    stored = [[[p.detach().clone() for p in layer.synapse.parameters()] for layer in start]]
    for n, (x, labels) in enumerate(samples(DENSE, count)):
        used = [stored[max(0, n - d)][k] for k, d in enumerate(staleness)]
        inputs, potentials = [x.double()], []
        for weight, bias in used[:-1]:
            spikes, v = spikepipe.forward(linear(inputs[-1], weight, bias), neuron)
            inputs.append(spikes)
            potentials.append(v)
        row = (2 * inputs[-1].sum(0) - inputs[-1][-1]) / DENSE.steps
        out = linear(row, *used[-1])
        d = (out.softmax(1) - nn.functional.one_hot(labels, 4)) / len(labels)
        gradients = [(d.T @ row, d.sum(0))]
        error = (d @ back(stored, 3, staleness[3], versions)).expand_as(inputs[-1]) / DENSE.steps
        error = error * torch.tensor([2.0] * 4 + [1.0], dtype=torch.float64)[:, None, None]
        for k in (2, 1, 0):
            d = spikepipe.backward(error, potentials[k], neuron)
            gradients.insert(0, (torch.einsum("tbo,tbi->oi", d, inputs[k]), d.sum((0, 1))))
            error = d @ back(stored, k, staleness[k], versions)
        step = [
            [p - lr * g for p, g in zip(*pair, strict=True)]
            for pair in zip(stored[-1], gradients, strict=True)
        ]
        stored.append(step)
    return stored[-1]


def back(stored, k, delay, versions):
    """The weight matrix by which the error goes back through layer k, from all versions so far."""
    n = len(stored) - 1
    if versions == "stash" or n == 0 or delay == 0:
        return stored[max(0, n - delay)][k][0]
    if versions == "newest":
        return stored[n][k][0]
    decay = (delay - 1) / (delay + 1)
    weights = [decay**age for age in range(n)]
    steps = [stored[n - age - 1][k][0] - stored[n - age][k][0] for age in range(n)]
    mean = sum(w * s for w, s in zip(weights, steps, strict=True)) / sum(weights)
    return stored[n][k][0] + min(n, delay) * mean


@pytest.mark.parametrize("versions", ["stash", "newest", "average"])
@pytest.mark.parametrize("staleness", [[6, 4, 2, 0], [1, 3, 1, 2]], ids=str)
def test_the_way_back_is_that_of_the_named_version(versions, staleness):
    stack = [layer.double() for layer in layers(DENSE)]
    emulator = Emulator(stack, staleness, OPTIMIZERS["SGD"](parameters(stack)), versions)
    for x, labels in samples(DENSE, 12):
        emulator.step(x.double(), labels)
    for layer, pair in zip(stack, by_formulas(staleness, versions, 12), strict=True):
        for mine, wanted in zip(layer.synapse.parameters(), pair, strict=True):
            torch.testing.assert_close(mine.detach(), wanted, rtol=0, atol=1e-12)


class Scale(nn.Module):
    """y = w x, the smallest layer the emulator takes."""

    def __init__(self, weight):
        super().__init__()
        self.synapse = nn.Linear(1, 1, bias=False).double()
        nn.init.constant_(self.synapse.weight, weight)

    def forward(self, x, synapse=None):
        return (synapse or self.synapse)(x)


@pytest.mark.parametrize("versions", ["stash", "newest", "average"])
def test_a_linear_chain_by_hand(versions):
    """y = w2 w1 x with x = 1, loss (y - 1)^2 / 2, lr 0.1, delays 2 and 1: three updates."""
    chain = [Scale(0.5), Scale(2.0)]
    emulator = Emulator(
        chain, [2, 1], torch.optim.SGD(parameters(chain), 0.1), versions,
        loss=lambda y, wanted: 0.5 * (y - wanted).square().sum(),
    )  # fmt: skip
    w1, w2 = [0.5], [2.0]
    for n in range(3):
        a, b = w1[max(0, n - 2)], w2[max(0, n - 1)]
        error = a * b - 0.7
        # With one update's delay the average is the stash itself.
        through = w2[n] if versions == "newest" else b
        assert emulator.step(torch.ones(1, 1, dtype=torch.float64), 0.7) == pytest.approx(
            error**2 / 2
        )
        w1.append(w1[-1] - 0.1 * error * through)
        w2.append(w2[-1] - 0.1 * error * a)
    assert chain[0].synapse.weight.item() == pytest.approx(w1[-1], abs=1e-15)
    assert chain[1].synapse.weight.item() == pytest.approx(w2[-1], abs=1e-15)
    assert w1[-1] != w1[0]


def test_the_average_is_exact_for_steps_that_do_not_change():
    """A loss linear in the weights: every step is the same, and so is every kind of mean of them."""
    ends = []
    for versions in ("stash", "average"):
        layer = Scale(1.0)
        emulator = Emulator(
            [layer], [4], torch.optim.SGD(parameters([layer]), 0.25), versions, lambda y, _: y.sum()
        )
        for n in range(9):
            x = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
            loss = emulator.step(x, None)
            assert loss == 1.0 - 0.25 * max(0, n - 4)
        ends.append(layer.synapse.weight.item())
    assert ends == [1 - 9 * 0.25] * 2
    reconstructed = emulator._weights[0].reconstructed()["weight"].item()
    assert reconstructed == pytest.approx(emulator._weights[0].used()["weight"].item(), abs=1e-14)


def test_delays_of_stages():
    assert delays([1, 1, 1, 1]) == [6, 4, 2, 0]
    assert delays([2, 1, 3]) == [4, 4, 2, 0, 0, 0]
    assert delays([2, 1, 3], factor=1) == [2, 2, 1, 0, 0, 0]
    assert delays([3]) == delays([1, 2], factor=0) == [0, 0, 0]
    for stages, factor in (([], 2), ([2, 0], 2), ([1, 1], -1)):
        with pytest.raises(ReaderError, match="stages"):
            delays(stages, factor)


def test_grouped_layers_share_their_version():
    """Layers of one stage, wrapped into one module, are one layer with the stage's delay."""

    class Stage(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.synapse = nn.Sequential(*(layer.synapse for layer in inner))

        def forward(self, x, synapse=None):
            return (synapse or self.synapse)(x)

    ends = []
    for grouped in (False, True):
        chain = [Scale(w) for w in (0.5, 1.5, 0.8, 1.2)]
        stages = [Stage(chain[:2]), Stage(chain[2:])] if grouped else chain
        staleness = delays([1, 1]) if grouped else delays([2, 2])
        optimizer = torch.optim.SGD(parameters(chain), 0.1, momentum=0.5)
        emulator = Emulator(stages, staleness, optimizer, loss=lambda y, _: (y - 2).square().sum())
        for _ in range(8):
            emulator.step(torch.ones(1, 1, dtype=torch.float64), None)
        ends.append([p.item() for p in parameters(chain)])
    assert ends[0] == ends[1]


def test_quarter_of_amr4_trains_with_every_way_back():
    network = narrower(NETWORKS["amr4"], 0.25)
    x = (torch.from_numpy(uniform(0, "amr", range(2), network.steps, 256)) < 0.2).float()
    for versions in ("stash", "newest", "average"):
        stack = layers(network)
        emulator = Emulator(
            stack, delays([1] * 4), torch.optim.Adam(parameters(stack), 1e-3), versions
        )
        for _ in range(3):
            emulator.step(x.unflatten(2, (1, 16, 16)), torch.tensor([3, 10]))
        assert np.isfinite(emulator.history).all() and emulator.kept == [3, 3, 2, 0]


@pytest.mark.parametrize(
    "staleness, versions, message",
    [
        ([0, 0, 0], "stash", "3 delays for 4 layers"),
        ([1, 0, -1, 0], "stash", "delays"),
        ([1.5, 0, 0, 0], "stash", "delays"),
        ([1, 0, 0, 0], "oldest", "oldest"),
    ],
)
def test_refused(staleness, versions, message):
    stack = layers(DENSE)
    with pytest.raises(ReaderError, match=message):
        Emulator(stack, staleness, OPTIMIZERS["SGD"](parameters(stack)), versions)


def test_an_optimiser_over_other_parameters_is_refused():
    stack = layers(DENSE)
    with pytest.raises(ReaderError, match="in the optimiser"):
        Emulator(stack, [0] * 4, OPTIMIZERS["SGD"](parameters(stack[1:])))
    with pytest.raises(ReaderError, match="0 delays for 0 layers"):
        Emulator([], [], OPTIMIZERS["SGD"](parameters(stack)))


def test_a_loss_that_is_not_finite_leaves_the_weights():
    stack = layers(DENSE)
    emulator = Emulator(stack, [2, 1, 0, 0], OPTIMIZERS["Adam"](parameters(stack)))
    x, labels = next(samples(DENSE, 1))
    emulator.step(x, labels)
    before = copy.deepcopy([p.detach() for p in parameters(stack)])
    with torch.no_grad():
        stack[-1].synapse.bias[0] = float("nan")
    with pytest.raises(ReaderError, match="the loss is nan(.|\n)*update 1"):
        emulator.step(x, labels)
    assert all(
        torch.equal(p, old) for p, old in zip(parameters(stack)[:-1], before[:-1], strict=True)
    )
    assert len(emulator.history) == 1


def accuracy_on_digits(staleness, images, labels, epochs=3, steps=8):
    """Percent of 360 unseen digits, 8 x 8 pixels as rates, after SGD at a high learning rate."""

    def raster(chosen, trial):
        lot = uniform(0, "encode", chosen, steps, 64, trial)
        return torch.from_numpy((lot < images[chosen]).astype(np.float32))

    stack = layers(Network("digits", steps, dense(64, 48, 48, 48, 48, 10)))
    optimizer = torch.optim.SGD(parameters(stack), 0.05, momentum=0.9)
    emulator = Emulator(stack, staleness, optimizer)
    order = permutation(0, "split", len(images))
    for epoch in range(epochs):
        for chosen in order[360:][permutation(0, "shuffle", len(images) - 360, epoch)].reshape(
            -1, 16
        ):
            emulator.step(raster(chosen, epoch), labels[chosen])
    hits = logits(stack, raster(order[:360], epochs)).argmax(1) == labels[order[:360]]
    return 100 * hits.double().mean().item()


def test_delays_harm_training_by_sgd():
    """The direction of the sheet's table in section 7: per layer 2 (L - l) worst, a small delay little."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images, labels = found.images[:1784].reshape(-1, 64) / 16, torch.from_numpy(found.target[:1784])
    plain, short, long = (
        accuracy_on_digits(staleness, images, labels)
        for staleness in ([0] * 5, [1, 1, 1, 0, 0], delays([1] * 5))
    )
    assert plain > 65
    assert short > long + 20
    assert long < 35
