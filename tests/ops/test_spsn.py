import numpy as np
import pytest
import torch
from scipy import stats

from paraspike.neurons import SPSN, LeakyIntegrator, Surrogate
from paraspike.ops.integrate.reference import sequential
from paraspike.ops.spsn import cpu
from paraspike.ops.spsn.reference import spike
from paraspike.randomness import uniform
from paraspike.threads import set_threads

INTEGRATOR = LeakyIntegrator.from_times(1e-3, 2e-2, 2e-2)
N = 40_000


def noise(seed=0, n=N):
    return torch.rand(n, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("form, factor", [("SB", 1), ("GS", 2)])
@pytest.mark.parametrize("u", [-2.0, -0.3, 0.0, 0.5, 1.5])
def test_chance_of_a_spike(form, factor, u):
    neuron = SPSN(INTEGRATOR, form)
    fired = int(spike(torch.full((N, 1, 1), u, dtype=torch.float64), neuron, noise()).sum())
    chance = 1 / (1 + np.exp(-factor * u))
    assert stats.binomtest(fired, N, chance).pvalue > 1e-4


@pytest.mark.parametrize("u", [-1.0, 0.0, np.log(2), 2.0])
def test_sb_gradient_is_rho_squared_times_one_minus_rho(u):
    x = torch.full((5, 1, 1), u, dtype=torch.float64, requires_grad=True)
    spike(x, SPSN(INTEGRATOR, "SB"), noise(n=5)).sum().backward()
    rho = 1 / (1 + np.exp(-u))
    np.testing.assert_allclose(x.grad.numpy(), rho**2 * (1 - rho), rtol=1e-12)


def test_sb_gradient_peaks_at_4_27ths():
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64).reshape(-1, 1, 1).requires_grad_()
    spike(x, SPSN(INTEGRATOR, "SB"), noise(n=8001)).sum().backward()
    assert float(x.grad.max()) == pytest.approx(4 / 27, abs=1e-7)
    assert float(x.detach()[x.grad.argmax()]) == pytest.approx(np.log(2), abs=2e-3)


def test_gs_equals_torch_gumbel_softmax_for_the_same_gumbel_difference():
    """Two Gumbel draws enter only by their difference, which is one logistic draw."""
    generator = torch.Generator().manual_seed(5)
    u = torch.randn(200, 1, 1, generator=generator, dtype=torch.float64)
    g = -torch.log(-torch.log(torch.rand(2, 200, 1, 1, generator=generator, dtype=torch.float64)))
    one = torch.sigmoid(g[0] - g[1])
    for temperature in (0.5, 1.0, 2.0):
        mine, theirs = u.clone().requires_grad_(), u.clone().requires_grad_()
        spikes = spike(mine, SPSN(INTEGRATOR, "GS", temperature=temperature), one)
        soft = torch.softmax(torch.stack([theirs + g[0], -theirs + g[1]]) / temperature, 0)[0]
        assert torch.equal(spikes.detach(), (soft > 0.5).double())
        spikes.sum().backward()
        soft.sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-12)


def test_gs_mean_gradient_at_zero_is_a_third():
    x = torch.zeros(N, 1, 1, dtype=torch.float64, requires_grad=True)
    spike(x, SPSN(INTEGRATOR, "GS"), noise()).sum().backward()
    assert float(x.grad.mean()) == pytest.approx(1 / 3, abs=0.003)


def test_slope_of_sb():
    u = torch.full((3, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
    spike(u, SPSN(INTEGRATOR, "SB", slope=5.0), noise(n=3)).sum().backward()
    rho = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(u.grad.numpy(), 5 * rho**2 * (1 - rho), rtol=1e-12)


@pytest.mark.parametrize("form", ["T", "D"])
def test_deterministic_forms(form):
    u = torch.tensor([0.5, 1.2, 1.25, 1.5], dtype=torch.float64).reshape(4, 1, 1).requires_grad_()
    neuron = SPSN(
        INTEGRATOR, form, threshold=1.0 if form == "T" else 0.1, surrogate=Surrogate(slope=2.0)
    )
    spikes = spike(u, neuron, None)
    assert spikes.flatten().tolist() == ([0, 1, 1, 1] if form == "T" else [1, 1, 0, 1])
    spikes.sum().backward()
    at = u.detach().flatten() - neuron.threshold
    if form == "D":
        at = at - torch.cat([torch.zeros(1), u.detach().flatten()[:-1]])
    slope = 1 / (2 * at.abs() + 1) ** 2
    expected = slope if form == "T" else slope - torch.cat([slope[1:], torch.zeros(1)])
    torch.testing.assert_close(u.grad.flatten(), expected)


FORMS = [("SB", 1, 1), ("SB", 4, 1), ("GS", 1, 1), ("GS", 1, 0.5), ("T", 1, 1), ("D", 1, 1)]


@pytest.mark.parametrize("form, slope, temperature", FORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (0, 2, 3), (17, 3, 333)])
def test_cpu_equals_integration_then_the_reference(form, slope, temperature, shape):
    generator = torch.Generator().manual_seed(1)
    neuron = SPSN(INTEGRATOR, form, slope=slope, temperature=temperature, threshold=0.1)
    x = 9 * torch.randn(shape, generator=generator)
    grad = torch.randn(shape, generator=generator)
    seeds, samples = np.arange(shape[1]) + 5, np.arange(shape[1]) * 3

    def two_steps(x):
        noise = torch.from_numpy(uniform(seeds, "s", samples, shape[0], shape[2], 7))
        return spike(sequential(x, INTEGRATOR), neuron, noise)

    def fused(x):
        return cpu.integrate_and_fire(x, neuron, seeds, "s", samples, 7)

    results = []
    for function in (two_steps, fused):
        leaf = x.clone().requires_grad_()
        spikes = function(leaf)
        spikes.backward(grad)
        results.append((spikes.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    # 1 - y loses up to one float32 rounding of 1 where y is near it, here and in the reference.
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("form", ["SB", "GS"])
def test_cpu_saturates_and_keeps_nan_visible(form):
    neuron, key = SPSN(INTEGRATOR, form), ([0], "s", [0], 0)
    for level, rate in ((1e6, 1.0), (-1e6, 0.0)):
        x = torch.full((5, 1, 8), level, requires_grad=True)
        spikes = cpu.integrate_and_fire(x, neuron, *key)
        spikes.sum().backward()
        assert float(spikes.detach().mean()) == rate and not x.grad.isnan().any()
    x = torch.full((2, 1, 3), float("nan"), requires_grad=True)
    cpu.integrate_and_fire(x, neuron, *key).sum().backward()
    assert x.grad.isnan().all()


def test_cpu_bits_do_not_depend_on_threads():
    x, neuron = torch.randn(20, 5, 130), SPSN(INTEGRATOR, "GS")
    seen = []
    try:
        for count in (1, 3):
            set_threads(count)
            leaf = x.clone().requires_grad_()
            spikes = cpu.integrate_and_fire(leaf, neuron, np.arange(5), "s", np.arange(5), 0)
            spikes.square().sum().backward()
            seen.append((spikes.detach(), leaf.grad))
    finally:
        set_threads(1)
    assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])
