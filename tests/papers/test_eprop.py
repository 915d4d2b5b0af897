"""The e-prop paper's neurons and networks against loops written from its sheet, and its baseline."""

import math

import numpy as np
import pytest
import torch

from paraspike.backends import operators
from paraspike.errors import ReaderError
from paraspike.learning import bptt
from paraspike.learning.eprop import EveryStep
from paraspike.ops.stateful.reference import stateful
from paraspike.papers import eprop
from paraspike.papers.eprop import ARMS, CONNECTIVITY, lsnn, network, superspike
from paraspike.papers.eprop_baseline import Baseline
from paraspike.papers.eprop_experiments import SpikeCost, settings
from paraspike.spikes import Spikes

# Without refractory steps; the experiments' tests use the same, for each form compiles its own kernels.
DT = 0.02


def raster(steps, batch, n, density=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, n, generator=generator) < density).double()


def currents(steps=300, seed=0):
    """Mostly sparse, some of it far above threshold, some negative."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.1, 0.3, (steps, 3, 8)) * (rng.random((steps, 3, 8)) < 0.5)
    return x * np.array([0.3, 1, 1, 2, 2, 4, 8, 0])


def as_in_the_sheet(x, dt, adaptive):
    """Section 2, the neuron phase of a hidden neuron; dt in milliseconds, currents x [T, B, N]."""
    alpha, rho, beta = math.exp(-dt / 20), math.exp(-dt / 2000), 0.0174 if adaptive else 0.0
    v, a, r = (np.zeros(x.shape[1:]) for _ in range(3))
    spikes, slopes = [], []
    for current in x:
        v, a, r = alpha * v + current, rho * a, np.where(r > 0, r - dt, r)
        level = 0.6 + beta * a
        psi = np.where(r > 0, 0, 0.3 / 0.6 * np.maximum(0, 1 - abs(v - level) / 0.6))
        z = (r <= 0) & (v >= level)
        v, a, r = v - 0.6 * z, a + z, np.where(z, 5.0, r)
        spikes.append(z), slopes.append(psi)
    return np.array(spikes, float), np.array(slopes)


@pytest.mark.parametrize("adaptive", [True, False], ids=["ALIF", "LIF"])
@pytest.mark.parametrize("dt", [1, 2, 4, 10])
def test_the_lsnn_neuron_is_the_sheets(dt, adaptive):
    x = currents()
    wanted, slopes = as_in_the_sheet(x, dt, adaptive)
    neuron = lsnn(dt / 1000, adaptive)
    spikes, psi, _ = stateful(torch.from_numpy(x), neuron)
    np.testing.assert_array_equal(spikes.dense(torch.float64), wanted)
    np.testing.assert_allclose(psi, slopes, rtol=0, atol=1e-12)
    whole = operators("reference").lif(torch.from_numpy(x), neuron)
    np.testing.assert_array_equal(whole, wanted)
    assert 0.05 < wanted.mean() < 0.5 and neuron.adaptive == adaptive
    assert 0.05 < (slopes > 0).mean() < 0.95


def test_adaptation_spaces_the_spikes_out():
    x = torch.full((1000, 1, 1), 0.08, dtype=torch.float64)
    counts = []
    for adaptive in (True, False):
        spikes, _, _ = stateful(x, lsnn(1e-3, adaptive))
        counts.append(float(spikes.dense().sum()))
    assert 5 < counts[0] < 0.8 * counts[1]


def test_refractory_steps_and_rates_in_seconds():
    # The spike's own step is the first of the 5 ms.
    steps = {1e-3: 4, 2e-3: 2, 2.5e-3: 1, 4e-3: 1, 5e-3: 0, 0.01: 0}
    assert {dt: lsnn(dt).refractory_steps for dt in steps} == steps
    target = eprop.rate_target(2e-3)
    assert (target.target, target.weight) == (0.02, 1e-3)
    assert target.keep == pytest.approx(math.exp(-2 / 500))
    assert eprop.readout(4e-3).a_uu == pytest.approx(math.exp(-4 / 20))


class Spike(torch.autograd.Function):
    """The baseline's own spike, as its program has it."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad / (100 * ctx.saved_tensors[0].abs() + 1) ** 2


def baseline_loss(x, labels, w_in, w_rec, w_out):
    """Section 3 for x [B, T, N_in]: loss, readout, spikes."""
    alpha, beta = math.exp(-1 / 5), math.exp(-1 / 10)
    batch, hidden = len(x), w_in.shape[1]
    syn, mem, out = (x.new_zeros(batch, hidden) for _ in range(3))
    flow, y = (x.new_zeros(batch, w_out.shape[1]) for _ in range(2))
    spikes, readout = [], [y]
    for t in range(x.shape[1]):
        h1 = x[:, t] @ w_in + (0 if w_rec is None else out @ w_rec)
        out = Spike.apply(mem - 1)
        mem = (beta * mem + syn) * (1 - out.detach())
        syn = alpha * syn + h1
        spikes.append(out)
    for out in spikes:
        y = beta * y + flow
        flow = alpha * flow + out @ w_out
        readout.append(y)
    readout, spikes = torch.stack(readout, 1), torch.stack(spikes, 1)
    log_p = torch.log_softmax(readout.max(1)[0], 1)
    loss = -log_p[torch.arange(batch), labels].mean()
    loss = loss + 2e-6 * spikes.sum() + 2e-6 * (spikes.sum(dim=(0, 1)) ** 2).mean()
    return loss, readout, spikes


def baseline(**options):
    made = Baseline(30, 14, 5, **options).double()
    with torch.no_grad():
        # With their own weights, so few inputs would not make it fire.
        made.w_in.mul_(6), made.w_out.mul_(3)
    return made


@pytest.mark.parametrize("recurrent", [True, False])
def test_the_baseline_is_the_sheets_whichever_way_it_takes_steps(recurrent):
    x, labels = raster(60, 4, 30, 0.1).transpose(0, 1), torch.tensor([0, 3, 4, 1])
    found = []
    for slicing in (True, False):
        made = baseline(slicing=slicing, recurrent=recurrent)
        loss = made.loss(x, labels)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in made.parameters())])
    for sliced, whole in zip(*found, strict=True):
        assert torch.equal(sliced, whole)
    held = {"w_in": None, "w_rec": None, "w_out": None} | dict(made.named_parameters())
    loss, readout, spikes = baseline_loss(x, labels, *held.values())
    assert 0.02 < float(spikes.detach().mean()) < 0.5 and len(found[0]) == (4 if recurrent else 3)
    actual_readout, actual_spikes = made(x)
    assert torch.equal(actual_spikes, spikes) and actual_readout.shape == (4, 61, 5)
    torch.testing.assert_close(actual_readout, readout)
    made_by = {n: p for n, p in held.items() if p is not None}
    wanted = torch.autograd.grad(loss, list(made_by.values()))
    torch.testing.assert_close(found[0][0], loss.detach())
    actual = dict(zip([n for n, _ in made.named_parameters()], found[0][1:], strict=True))
    for name, grad in zip(made_by, wanted, strict=True):
        torch.testing.assert_close(actual[name], grad, msg=name)


def test_the_fused_baseline_is_the_program_shifted():
    steps = 60
    x, labels = raster(steps, 4, 30, 0.1), torch.tensor([0, 3, 4, 1])
    program = baseline(slicing=False, recurrent=False)
    made = network("BPTT LIF", "feedforward", 14, 30, 5, DT, backend="reference").double()
    with torch.no_grad():
        made.layers[0].weight[0] = program.w_in
        made.layers[1].weight[0] = program.w_out
    activity = made(Spikes.from_dense(x))
    readout, spikes = program(x.transpose(0, 1))
    fired = activity.hidden[0].dense(torch.float64).transpose(0, 1)
    assert fired.mean() > 0.02 and torch.equal(fired[:, : steps - 2], spikes[:, 2:])
    shifted = activity.readout[: steps - 3].transpose(0, 1)
    assert readout.shape[1] == steps + 1 and not readout[:, :4].any()
    torch.testing.assert_close(shifted, readout[:, 4:])
    grads = []
    for y, owner in ((shifted, made), (readout[:, 4:], program)):
        loss = torch.nn.functional.cross_entropy(y.amax(1), labels)
        grads.append(torch.autograd.grad(loss, list(owner.parameters())))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours[0], theirs)
    assert superspike() == made.layers[0].neuron


@pytest.mark.parametrize("connectivity", CONNECTIVITY)
def test_the_baselines_weights_have_its_deviation(connectivity):
    made = network("BPTT LIF", connectivity, 120, 200, 50, DT, seeds=(3, 4), backend="reference")
    found = {name: p.detach() for name, p in made.named_parameters()}
    rows = {"layers.0.weight": 200, "layers.1.weight": 120}
    rows |= {"layers.0.recurrent_weight": 120} if connectivity == "recurrent" else {}
    assert found.keys() == rows.keys()
    for name, n_in in rows.items():
        for weight in found[name]:
            assert float(weight.std()) == pytest.approx(0.2 / math.sqrt(n_in), rel=0.03), name
            assert abs(float(weight.mean())) < 0.05 * float(weight.std())
    program = Baseline(200, 120, 50, slicing=False)
    assert float(program.w_in.detach().std()) == pytest.approx(0.2 / math.sqrt(200), rel=0.03)


def test_the_cost_of_spikes_is_the_sheets():
    rng = np.random.default_rng(3)
    readout = torch.from_numpy(rng.normal(size=(7, 4, 5)))
    layers = [torch.from_numpy(rng.integers(0, 200, (4, n)).astype(float)) for n in (6, 3)]
    labels = torch.tensor([0, 4, 1, 1])
    total, entropy, hits, *_ = SpikeCost().one_seed(readout, layers, labels)
    top = readout.numpy().max(0)
    log_p = top - np.log(np.exp(top).sum(1, keepdims=True))
    wanted = -log_p[np.arange(4), labels].mean()
    assert float(entropy) == pytest.approx(wanted)
    for fired in layers:
        wanted += 2e-6 * (fired.numpy().sum() + (fired.numpy().sum(0) ** 2).mean())
    assert float(total) == pytest.approx(wanted) and float(total - entropy) > 0.5
    assert int(hits) == (top.argmax(1) == labels.numpy()).sum()


def test_the_cost_of_spikes_of_a_network_is_that_of_its_raster():
    x, labels = raster(60, 4, 30, 0.1), torch.tensor([0, 3, 4, 1])
    made = network("BPTT LIF", "feedforward", 14, 30, 5, DT, backend="reference").double()
    with torch.no_grad():
        made.layers[0].weight.mul_(30)
    activity = made(Spikes.from_dense(x))
    total, metrics = bptt.evaluate_batch(activity, labels, 1, SpikeCost())
    fired = activity.hidden[0].dense(torch.float64)
    wanted = 2e-6 * (fired.sum() + (fired.sum((0, 1)) ** 2).mean())
    torch.testing.assert_close(total - metrics.loss[0], wanted)
    assert float(wanted.detach()) > 1e-4


def test_each_arm_is_trained_in_its_own_way():
    common = {"dt": 0.01, "epochs": 7, "batch_size": 4, "learning_rate": 0.1, "baseline_rate": 0.2}
    for arm in (*ARMS, eprop.GENN):
        how = settings(arm, **common, baseline_epochs=3)
        assert (how.dt, how.batch_size) == (0.01, 4)
        if arm == "BPTT LIF":
            assert (how.optimizer, how.learning_rate, how.epochs) == ("adamax", 0.2, 3)
            assert how.objective == SpikeCost()
        else:
            assert (how.optimizer, how.learning_rate, how.epochs) == ("adam", 0.1, 7)
            assert how.objective == EveryStep()
    assert settings("BPTT LIF", **common).epochs == 7


def gradients(arm, connectivity, backend, dtype=torch.float32):
    made = network(arm, connectivity, 12, 60, 5, DT, seeds=(1, 2), backend=backend).to(dtype)
    with torch.no_grad():
        # Loud enough for the baseline, whose weights are small, and not saturated for the others.
        made.layers[0].weight.mul_(20 if arm == "BPTT LIF" else 1)
    x, labels = raster(20, 4, 60, 0.15).to(dtype), torch.tensor([0, 3, 4, 1])
    objective = settings(arm, DT, 1, 4, 1e-3, 1e-3).objective
    activity = made(Spikes.from_dense(x))
    total, metrics = bptt.evaluate_batch(activity, labels, 2, objective)
    total.backward()
    assert len(activity.hidden) == made.depth and (metrics.rates > 0).all()
    return made, {name: p.grad for name, p in made.named_parameters()}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("connectivity", CONNECTIVITY)
def test_every_arm_learns_with_all_its_weights(arm, connectivity):
    made, found = gradients(arm, connectivity, "reference")
    kind = ARMS[arm]
    assert made.depth == kind.layers + kind.front and made.rule == kind.rule
    recurrent = [n for n in found if n.endswith("recurrent_weight")]
    assert len(recurrent) == (kind.layers if connectivity == "recurrent" else 0)
    for name, grad in found.items():
        assert grad is not None and torch.isfinite(grad).all(), name
        assert all(part.any() for part in grad), name


@pytest.mark.parametrize("arm", ["eProp ALIF", "BPTT LIF", "eProp ALIF, convolution"])
def test_compiled_arms_have_the_same_gradients(arm):
    _, wanted = gradients(arm, "recurrent", "reference", torch.float64)
    _, found = gradients(arm, "recurrent", "cpu")
    # The baseline's surrogate, of slope 100, enlarges what float32 rounds: the reference's, too.
    share = 1e-3 if arm == "BPTT LIF" else 1e-5
    for name, grad in wanted.items():
        error, scale = (found[name].double() - grad).abs().max(), grad.abs().max()
        assert float(error) < share * float(scale), name


def test_the_rate_regulariser_reaches_the_network():
    made = network("eProp ALIF", "recurrent", 4, 6, 3, DT, backend="reference", rate_weight=0.5)
    assert made.rate.weight == 0.5 and made.rate.target == 10 * DT
    assert network("BPTT LIF", "recurrent", 4, 6, 3, DT, backend="reference").rate is None


@pytest.mark.parametrize(
    "arm, connectivity", [("eProp", "recurrent"), ("eProp ALIF", "ring"), (eprop.GENN, "recurrent")]
)
def test_an_unknown_network_is_refused(arm, connectivity):
    with pytest.raises(ReaderError, match="no network"):
        network(arm, connectivity, 4, 6, 3, DT)
