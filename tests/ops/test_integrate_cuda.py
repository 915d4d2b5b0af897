import os

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from paraspike.errors import ReaderError
from paraspike.neurons import LeakyIntegrator
from paraspike.ops.integrate import reference

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a CUDA device", allow_module_level=True)

from paraspike.ops.integrate import cuda  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EQUAL = LeakyIntegrator.from_times(1e-3, 2e-2, 2e-2)
UNEQUAL = LeakyIntegrator.from_times(1e-3, 5e-3, 2e-2)
SLOW = LeakyIntegrator(0.9999, 0.9995, 5e-4)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """The interpreter scans element by element."""
    monkeypatch.setattr(cuda, "TILE", (16, 4))


def short_segments(patch, most=8):
    patch.setattr(cuda, "segment_length", lambda steps: min(most, max(1, steps)))


def gradient(function, x, neuron, weight):
    leaf = x.clone().requires_grad_()
    out = function(leaf, neuron)
    out.backward(weight)
    return out.detach().cpu(), leaf.grad.cpu()


def truth(x, n):
    """The same two filters by SciPy in float64."""
    current = lfilter([1.0], [1.0, -n.a_ii], x.double().numpy(), axis=0)
    return torch.from_numpy(lfilter([n.a_ui], [1.0, -n.a_uu], current, axis=0))


@given(
    st.sampled_from(["auto", "walk", "split", "scan", "fft"]),
    st.tuples(st.integers(0, 21), st.integers(1, 3), st.integers(1, 9)),
    st.floats(0, 0.999),
    st.floats(0, 0.999),
    st.integers(0, 999),
)
@example("split", (17, 1, 130), 0.5, 0.5, 0)
@example("walk", (1, 1, 1), 0.0, 0.0, 0)
@example("scan", (17, 2, 5), 0.95, 0.95, 0)
@settings(max_examples=25)
def test_every_form_equals_the_reference_forward_and_backward(form, shape, a_ii, a_uu, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    weight = torch.randn(shape, generator=generator)
    n = LeakyIntegrator(a_ii, a_uu, 1 - a_uu)
    want = gradient(reference.sequential, x.double(), n, weight.double())
    with pytest.MonkeyPatch.context() as patch:
        short_segments(patch)
        got = gradient(lambda v, n: cuda.integrate(v, n, form), x.to(DEVICE), n, weight.to(DEVICE))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("form", ["walk", "split", "scan", "fft"])
@pytest.mark.parametrize("n", [EQUAL, UNEQUAL, SLOW], ids=["equal", "unequal", "slow"])
def test_hundreds_of_steps_against_float64(form, n):
    x = torch.randn(300, 1, 2, generator=torch.Generator().manual_seed(3))
    error = (cuda.integrate(x.to(DEVICE), n, form).cpu().double() - truth(x, n)).abs().max()
    assert error < 3e-6 * max(1.0, float(truth(x.abs(), n).abs().max()))


@pytest.mark.parametrize("form", ["walk", "split", "scan"])
def test_eighths_are_exact(form):
    n = LeakyIntegrator(0.5, 0.5, 0.5)
    x = torch.randint(0, 3, (11, 2, 3), generator=torch.Generator().manual_seed(0)) / 8
    with pytest.MonkeyPatch.context() as patch:
        short_segments(patch, 4)
        assert torch.equal(cuda.integrate(x.to(DEVICE), n, form).cpu(), reference.sequential(x, n))


def test_bits_depend_on_neither_programs_nor_the_rest_of_the_batch(monkeypatch):
    short_segments(monkeypatch)
    x = torch.randn(20, 4, 37, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    whole = cuda.integrate(x, UNEQUAL, "walk")
    assert torch.equal(whole, cuda.integrate(x, UNEQUAL, "split"))
    # 20 steps are 3 segments: two programs, of which one takes two.
    monkeypatch.setattr(cuda, "RESIDENT", 4)
    assert cuda.plan(x.shape, 2).each == 2
    assert torch.equal(whole, cuda.integrate(x, UNEQUAL, "split"))
    for b in range(4):
        assert torch.equal(whole[:, b : b + 1], cuda.integrate(x[:, b : b + 1], UNEQUAL, "split"))


@pytest.mark.parametrize("form", ["walk", "split", "scan", "fft"])
def test_no_steps_nan_and_strides(form, monkeypatch):
    short_segments(monkeypatch, 2)
    assert cuda.integrate(torch.zeros(0, 2, 3, device=DEVICE), EQUAL, form).shape == (0, 2, 3)
    assert cuda.integrate(torch.zeros(2, 0, 3, device=DEVICE), EQUAL, form).shape == (2, 0, 3)
    assert cuda.integrate(torch.full((5, 1, 1), torch.nan).to(DEVICE), EQUAL, form).isnan().all()
    x = torch.randn(4, 9, 3).transpose(0, 1)
    torch.testing.assert_close(
        cuda.integrate(x.to(DEVICE), EQUAL, form).cpu(), reference.sequential(x, EQUAL)
    )


@given(st.integers(1, 100_000), st.integers(1, 5000))
@example(10_000, 64)
def test_plans_cover_every_step_once_and_do_not_flood_the_device(steps, blocks):
    how = cuda.plan((steps, 3, 5), blocks)
    assert (how.segments - 1) * how.segment < steps <= how.segments * how.segment
    assert (how.programs - 1) * how.each < how.segments <= how.programs * how.each
    assert how.programs == 1 or blocks * how.programs <= cuda.RESIDENT
    assert how.programs == 1 if blocks >= cuda.WALK_FROM else how.each == 1 or blocks > 1
    # The order of the arithmetic is T's alone.
    assert how.segment == cuda.plan((steps, 1, 1), 1).segment
    assert how.segments <= 2 * steps**0.5 + 1


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 130))
@settings(max_examples=20)
def test_powers_are_steps_without_input(a_ii, a_uu, a_ui, count):
    i, u = 0.7, -0.4
    p_ii, p_uu, p_ui = cuda.powers(LeakyIntegrator(a_ii, a_uu, a_ui), count)
    expected = (p_ii * i, p_uu * u + p_ui * i)
    for _ in range(count):
        i *= a_ii
        u = a_uu * u + a_ui * i
    np.testing.assert_allclose((i, u), expected, rtol=1e-9, atol=1e-12)


def test_whole_numbers_are_coefficients_as_well():
    x = torch.randn(9, 1, 2, generator=torch.Generator().manual_seed(0))
    for n in (LeakyIntegrator(0, 1, 1), LeakyIntegrator(1, 0, 2)):
        assert all(type(v) is float for v in (*cuda.decays(n), *cuda.powers(n, 3)))
        torch.testing.assert_close(
            cuda.integrate(x.to(DEVICE), n).cpu(), reference.sequential(x, n)
        )


def test_a_second_derivative_is_refused():
    x = torch.ones(2, 1, 1, device=DEVICE, requires_grad=True)
    (grad,) = torch.autograd.grad(cuda.integrate(x, EQUAL).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_what_is_refused_is_named():
    with pytest.raises(ReaderError, match="float64 activity"):
        cuda.integrate(torch.zeros(1, 1, 1, dtype=torch.float64, device=DEVICE), EQUAL)
    with pytest.raises(ReaderError, match=r"shape \[1, 1\]"):
        cuda.integrate(torch.zeros(1, 1, device=DEVICE), EQUAL)
    with pytest.raises(ReaderError, match="form 'fast' is unknown"):
        cuda.integrate(torch.zeros(1, 1, 1, device=DEVICE), EQUAL, "fast")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts compiled variants on a GPU")
def test_new_lengths_and_batches_compile_nothing():
    def variants():
        kernels = (cuda.walk_kernel, cuda.ends_kernel)
        return [len(k.device_caches[torch.cuda.current_device()][0]) for k in kernels]

    cuda.integrate(torch.zeros(300, 3, 32, device=DEVICE), EQUAL, "split")
    before = variants()
    for steps, batch in ((1, 1), (129, 16), (1000, 7), (4096, 1)):
        for form in ("walk", "split"):
            cuda.integrate(torch.zeros(steps, batch, 32, device=DEVICE), EQUAL, form)
    assert variants() == before
