"""Wide layers, strip of neurons by strip, against the reference and against themselves."""

import numpy as np
import pytest
import torch

from paraspike.neurons import LIF, LeakyIntegrator, Surrogate
from paraspike.ops.integrate import reference as integration
from paraspike.ops.layer import cpu, wide
from paraspike.ops.lif import reference as lif
from paraspike.ops.synapse.reference import synapse
from paraspike.spikes import Spikes
from paraspike.threads import set_threads

# Few variants, for each is compiled.
NEAR = LIF(a_uu=0.9, c0=0.5, reset="zero", surrogate=Surrogate(slope=3.0, below=0.3))
RICH = LIF(
    a_ii=0.7, a_uu=0.8, a_ui=0.5, c0=0.2, c1=0.1, reset="zero", reset_at="next_step", reset_grad="full",
    gate_input=True, beta=0.3, rho=0.9, refractory="block_spike", refractory_steps=2,
    surrogate=Surrogate(slope=3.0, below=0.3),
)  # fmt: skip
READOUT = LeakyIntegrator(0.6, 0.8, 0.3)


def draw(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def composed(x, weight, bias, neuron, delay):
    currents = synapse(x, weight, bias, delay)
    if isinstance(neuron, LIF):
        return lif.lif(currents, neuron)
    return integration.sequential(currents, neuron)


def run(dense, form, weights, bias, neuron, delay, layer):
    """[spikes, potentials, gradients of all weights and of the input] of two layers: the second's gradient
    goes to the neurons of the first near threshold, or to all."""
    leaves = [w.clone().requires_grad_() for w in (*weights, bias)]
    x = dense.clone().requires_grad_()
    if layer is None:
        spikes = composed(x, leaves[0], leaves[2], neuron, delay)
        out, totals = composed(spikes, leaves[1], None, READOUT, delay), spikes.sum(0)
    else:
        given = Spikes.from_dense(x)
        if form == "lists":
            given = Spikes(dense.shape, lists=Spikes.from_dense(dense).lists, carrier=x)
        spikes = layer(given, leaves[0], leaves[2], neuron, delay=delay)
        totals, spikes = (
            spikes.totals,
            spikes if form == "bits" else Spikes.from_dense(spikes.dense(torch.float64)),
        )
        out = layer(spikes, leaves[1], None, READOUT, delay=delay)
        spikes = spikes.dense(torch.float64)
    ((out * draw(1, *out.shape)).sum() + (totals * draw(2, *totals.shape)).sum()).backward()
    return [spikes.detach(), out.detach(), x.grad, *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("neuron", [NEAR, RICH])
@pytest.mark.parametrize(
    "steps, per_seed, seeds, sizes, density, delay",
    [
        (40, 9, 1, (70, 130, 40), 0.05, 0),
        (7, 5, 2, (33, 65, 100), 0.5, 3),
        (150, 3, 2, (64, 64, 64), 0.1, 2),
        (1, 1, 1, (3, 70, 1), 1.0, 0),
        (2, 3, 1, (40, 20, 20), 0.4, 5),
    ],
)
def test_strips_equal_the_reference_however_they_are_computed(
    steps, per_seed, seeds, sizes, density, delay, neuron, monkeypatch
):
    monkeypatch.setattr(cpu, "is_wide", lambda shape, weight, recurrent: True)
    rng = np.random.default_rng(0)
    shape = steps, per_seed * seeds, sizes[0]
    dense = torch.from_numpy((rng.random(shape) < density) * rng.integers(1, 4, shape)).double()
    stack = (seeds,) if seeds > 1 else ()
    weights = [draw(k, *stack, *sizes[k : k + 2]) / sizes[k] ** 0.5 for k in range(2)]
    bias = 0.1 * draw(3, *stack, sizes[1])
    expected = run(dense, "dense", weights, bias, neuron, delay, None)
    try:
        for inputs_of_64 in (0, 1024):
            monkeypatch.setattr(wide, "INPUTS_OF_64", inputs_of_64)
            for dots in (0.0, 2.0):
                monkeypatch.setattr(wide, "DOTS_BELOW", dots)
                seen = []
                for events, threads, form in (
                    (2.0, 1, "bits"),
                    (-1.0, 2, "bits"),
                    (2.0, 3, "lists"),
                ):
                    monkeypatch.setattr(wide, "GATHER_BELOW", events)
                    monkeypatch.setattr(wide, "SCATTER_BELOW", events)
                    set_threads(threads)
                    seen.append(run(dense, form, weights, bias, neuron, delay, cpu.layer))
                assert torch.equal(seen[0][0], expected[0])
                for a, e in zip(seen[0], expected, strict=True):
                    torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-9)
                for a, b in zip(seen[0], seen[1], strict=True):
                    assert torch.equal(a, b)
                # Given without its bits, a surrogate's reach is unknown: the gradient goes to all.
                for a, e in zip(seen[2], expected, strict=True):
                    torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-9)
    finally:
        set_threads(1)


def test_a_wide_layer_is_computed_in_strips_and_traces_its_potential():
    weight = draw(0, 256, 300) / 16
    dense = (draw(1, 50, 3, 256) > 1).double()
    assert wide.is_wide(dense.shape, weight, None)
    assert not wide.is_wide((5, 3, 256), weight, None)
    assert not wide.is_wide(dense.shape, weight, draw(0, 300, 300))
    notes = {}
    out, potential = cpu.layer(
        Spikes.from_dense(dense), weight.requires_grad_(), None, NEAR, trace=True, notes=notes
    )
    spikes, before, _ = lif.lif(dense @ weight, NEAR, trace=True)
    assert torch.equal(out.dense(torch.float64), spikes) and notes["product_share"] == 0
    torch.testing.assert_close(potential, before.detach())


@pytest.mark.parametrize("shape", [(0, 2, 256), (3, 0, 256)])
def test_no_steps_and_no_samples(shape, monkeypatch):
    monkeypatch.setattr(wide, "ROWS_FROM", 0)
    weight, x = draw(0, 256, 256).requires_grad_(), torch.zeros(shape, dtype=torch.float64)
    x.requires_grad_()
    out = cpu.layer(Spikes.from_dense(x), weight, None, NEAR)
    assert out.shape == out.dense().shape == shape
    out.totals.sum().backward()
    assert not weight.grad.any() and x.grad.shape == shape
