import os

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.layer import Draws, Layer
from paraspike.neurons import SPSN, LeakyIntegrator, Surrogate
from paraspike.ops.integrate import reference as integration
from paraspike.ops.spsn import reference
from paraspike.randomness import uniform

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a CUDA device", allow_module_level=True)

from paraspike.ops.integrate import cuda as integrate_cuda  # noqa: E402
from paraspike.ops.spsn import cuda  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTEGRATOR = LeakyIntegrator.from_times(1e-3, 2e-2, 2e-2)
EIGHTHS = LeakyIntegrator(0.5, 0.5, 0.5)
shapes = st.tuples(st.integers(0, 20), st.integers(1, 3), st.integers(1, 9))
seeds = st.integers(0, 999)


def run(function, x, weight):
    leaf = x.clone().requires_grad_()
    spikes = function(leaf)
    spikes.backward(weight)
    return spikes.detach().cpu(), leaf.grad.cpu()


def normal(shape, seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def draw(shape, trial=7):
    samples = np.arange(shape[1]) * 3
    noise = uniform(np.arange(shape[1]) + 5, "s", samples, shape[0], shape[2], trial)
    return torch.from_numpy(noise)


def key(shape, trial=7):
    return np.arange(shape[1]) + 5, "s", np.arange(shape[1]) * 3, trial


def certain(u, neuron, noise):
    """Where rounding cannot decide the spike."""
    chance = torch.sigmoid((2.0 if neuron.spike == "GS" else neuron.slope) * u)
    return (noise - chance).abs() > 1e-5


def short_segments(patch):
    patch.setattr(integrate_cuda, "segment_length", lambda steps: min(8, max(1, steps)))


def set_columns(patch, count):
    """Columns of programs from which one program walks all of time."""
    patch.setattr(integrate_cuda, "WALK_FROM", count)
    patch.setattr(cuda, "WALK_FROM", count)


@given(
    st.sampled_from(["SB", "GS"]),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([1.0, 4.0]),
    shapes,
    seeds,
)
@example("GS", 1.0, 1.0, (9, 1, 130), 0)
@settings(max_examples=15)
def test_stochastic_forms_equal_the_reference(form, temperature, slope, shape, seed):
    neuron = SPSN(INTEGRATOR, form, slope=slope, temperature=temperature)
    u, weight = normal(shape, seed)
    noise = draw(shape)
    want = run(lambda v: reference.spike(v, neuron, noise), u, weight)
    got = run(lambda v: cuda.spike(v, neuron, noise.to(DEVICE)), u.to(DEVICE), weight.to(DEVICE))
    sure = certain(u, neuron, noise)
    assert torch.equal(got[0][sure], want[0][sure]) and sure.float().sum() >= 0.99 * u.numel()
    torch.testing.assert_close(got[1], want[1], rtol=2e-4, atol=4e-6)


@given(
    st.sampled_from(["T", "D"]),
    st.sampled_from(Surrogate.SHAPES),
    st.sampled_from([(np.inf, np.inf), (0.5, np.inf), (np.inf, 0.25)]),
    shapes,
    seeds,
)
@example("D", "fast_sigmoid", (np.inf, np.inf), (9, 1, 130), 0)
@settings(max_examples=25)
def test_threshold_forms_equal_the_reference_to_the_bit_on_eighths(form, shape, window, size, seed):
    of = Surrogate(shape, 2.0, 0.5, *window)
    neuron = SPSN(INTEGRATOR, form, threshold=0.25, surrogate=of)
    u, weight = [(8 * a).round() / 8 for a in normal(size, seed)]
    want = run(lambda v: reference.spike(v, neuron, None), u, weight)
    got = run(lambda v: cuda.spike(v, neuron, None), u.to(DEVICE), weight.to(DEVICE))
    assert torch.equal(got[0], want[0])
    torch.testing.assert_close(got[1], want[1], rtol=1e-5, atol=1e-6)


@given(
    st.sampled_from([("SB", 1.0), ("GS", 1.0), ("GS", 0.5), ("T", 1.0), ("D", 1.0)]),
    shapes,
    st.booleans(),
    seeds,
)
@example(("SB", 1.0), (9, 2, 130), False, 0)
@example(("GS", 1.0), (1, 1, 1), True, 0)
@settings(max_examples=20)
def test_fused_equals_the_operators_in_turn(form, shape, whole, seed):
    neuron = SPSN(EIGHTHS, form[0], temperature=form[1], slope=2.0, threshold=0.25)
    # Without noise every sum is exact for so many steps, so that spikes are the same to the bit.
    shape = shape if form[0] in ("SB", "GS") else (min(10, shape[0]), *shape[1:])
    x, weight = normal(shape, seed)
    x = (8 * x).round() / 8
    noise = draw(shape)
    u = integration.sequential(x, EIGHTHS)
    want = run(
        lambda v: reference.spike(integration.sequential(v, EIGHTHS), neuron, noise), x, weight
    )
    with pytest.MonkeyPatch.context() as patch:
        short_segments(patch)
        set_columns(patch, 1 if whole else 10**9)
        got = run(
            lambda v: cuda.integrate_and_fire(v, neuron, *key(shape)),
            x.to(DEVICE),
            weight.to(DEVICE),
        )
    stochastic = form[0] in ("SB", "GS")
    sure = certain(u, neuron, noise) if stochastic else torch.ones_like(u, dtype=torch.bool)
    assert torch.equal(got[0][sure], want[0][sure])
    torch.testing.assert_close(got[1], want[1], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["SB", "GS"])
def test_a_sample_has_the_same_bits_in_any_batch(form, monkeypatch):
    short_segments(monkeypatch)
    shape, neuron = (19, 4, 18), SPSN(INTEGRATOR, form)
    x, weight = (a.to(DEVICE) for a in normal(shape, 2))
    owners, stream, samples, trial = key(shape)

    def of(rows):
        return run(
            lambda v: cuda.integrate_and_fire(
                v, neuron, owners[rows], stream, samples[rows], trial
            ),
            9 * x[:, rows].contiguous(),
            weight[:, rows].contiguous(),
        )

    set_columns(monkeypatch, 1)
    together = of(slice(0, 4))
    set_columns(monkeypatch, 10**9)
    for b in range(4):
        # Of three segments, each on its own, or two on one program.
        monkeypatch.setattr(integrate_cuda, "RESIDENT", (2, 3)[b % 2])
        alone = of(slice(b, b + 1))
        for a, c in zip(alone, together, strict=True):
            assert torch.equal(a, c[:, b : b + 1])


@pytest.mark.parametrize("form", ["SB", "GS"])
def test_saturation_silence_and_nan(form):
    neuron = SPSN(INTEGRATOR, form)
    for level, rate in ((1e6, 1.0), (-1e6, 0.0)):
        x = torch.full((5, 1, 8), level, device=DEVICE, requires_grad=True)
        spikes = cuda.integrate_and_fire(x, neuron, *key(x.shape))
        spikes.sum().backward()
        assert float(spikes.detach().mean()) == rate and not x.grad.isnan().any()
    x = torch.full((2, 1, 3), torch.nan, device=DEVICE, requires_grad=True)
    cuda.integrate_and_fire(x, neuron, *key(x.shape)).sum().backward()
    assert x.grad.isnan().all()


@pytest.mark.parametrize("form", ["SB", "GS", "T", "D"])
def test_without_a_gradient_the_spikes_are_the_same(form):
    neuron = SPSN(INTEGRATOR, form, threshold=0.1)
    x = 9 * torch.randn(6, 2, 5, device=DEVICE)
    spikes = cuda.integrate_and_fire(x, neuron, *key(x.shape))
    kept = cuda.integrate_and_fire(x.requires_grad_(), neuron, *key(x.shape))
    assert torch.equal(spikes, kept) and not spikes.requires_grad and kept.requires_grad
    with torch.no_grad():
        assert torch.equal(spikes, cuda.integrate_and_fire(x, neuron, *key(x.shape)))


@pytest.mark.parametrize("model", [SPSN(INTEGRATOR, "SB"), SPSN(INTEGRATOR, "GS"), INTEGRATOR])
def test_a_stack_of_seeds_equals_each_seed_alone_and_the_reference(model):
    """A whole layer of the backend: the input's products are one per seed in the reference synapse."""
    x = (torch.rand(9, 6, 4, generator=torch.Generator().manual_seed(4)) < 0.3).float()
    names, owners = np.tile(np.arange(3), 2), np.repeat([7, 8], 3)

    def passed(backend, seeds, rows):
        ops = backends._operators(backend)
        layer = Layer(4, 6, model, seeds=seeds, backend=ops)
        device = DEVICE if backend == "cuda" else "cpu"
        out = layer.to(device)(x[:, rows].to(device), Draws(names[rows], owners[rows], 1))
        out.square().sum().backward()
        return out.detach().cpu(), layer.weight.grad.cpu()

    spikes, grad = passed("cuda", (7, 8), slice(0, 6))
    want, want_grad = passed("reference", (7, 8), slice(0, 6))
    torch.testing.assert_close(spikes, want)
    torch.testing.assert_close(grad, want_grad, rtol=1e-4, atol=1e-4)
    for s, rows in enumerate((slice(0, 3), slice(3, 6))):
        alone, alone_grad = passed("cuda", ((7, 8)[s],), rows)
        assert torch.equal(alone, spikes[:, rows])
        assert torch.equal(alone_grad[0], grad[s])


def test_the_last_steps_of_more_than_2_to_the_31_elements():
    steps, n = (2**15 + 3, 2**16) if DEVICE == "cuda" else (9, 68)
    x = torch.zeros(steps, 1, n, device=DEVICE)
    spikes = cuda.integrate_and_fire(x, SPSN(INTEGRATOR), 5, "s", [1], 0)
    # A silent neuron fires with probability 1/2; a number knows nothing of how many neurons there are.
    fired = torch.from_numpy(uniform(5, "s", [1], steps, 64)[-3:] < 0.5).float()
    assert torch.equal(spikes[-3:, :, :64].cpu(), fired)
    del spikes
    x[-2] = 1.0
    u = integrate_cuda.integrate(x, EIGHTHS)
    assert not u[:-2].any() and bool((u[-2:] == 0.5).all())


def test_what_is_refused_is_named():
    x = torch.zeros(1, 1, 2, device=DEVICE)
    with pytest.raises(ReaderError, match="float64 activity"):
        cuda.spike(x.double(), SPSN(INTEGRATOR, "T"), None)
    with pytest.raises(ReaderError, match="float64 activity"):
        cuda.integrate_and_fire(x.double(), SPSN(INTEGRATOR), *key(x.shape))
    for noise in (None, x.double(), x[..., :1]):
        with pytest.raises(ReaderError, match="no noise that fits"):
            cuda.spike(x, SPSN(INTEGRATOR), noise)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts compiled variants on a GPU")
def test_new_lengths_batches_trials_and_streams_compile_nothing():
    def fire(steps, batch, stream, trial):
        x = torch.zeros(steps, batch, 32, device=DEVICE)
        cuda.integrate_and_fire(x, SPSN(INTEGRATOR), 0, stream, np.arange(batch), trial)
        return len(cuda.fire_kernel.device_caches[torch.cuda.current_device()][0])

    before = fire(300, 3, "a", 0)
    for case in ((1, 1, "b", 1), (129, 16, "c", 2**32 - 1), (1000, 64, "d", 16)):
        assert fire(*case) == before
