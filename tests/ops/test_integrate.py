import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from paraspike.neurons import LeakyIntegrator
from paraspike.ops.integrate import cpu, reference
from paraspike.threads import set_threads

EQUAL = LeakyIntegrator.from_times(1e-3, 2e-2, 2e-2)
UNEQUAL = LeakyIntegrator.from_times(1e-3, 5e-3, 2e-2)
FORMS = {"sequential": reference.sequential, "parallel": reference.parallel, "cpu": cpu.integrate}


def truth(x, n):
    """The same two filters by SciPy."""
    current = lfilter([1.0], [1.0, -n.a_ii], x, axis=0)
    return lfilter([n.a_ui], [1.0, -n.a_uu], current, axis=0)


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.floats(0, 0.999),
    st.floats(0, 0.999),
    st.integers(0, 999),
)
@settings(max_examples=40)
def test_every_form_equals_scipy(shape, a_ii, a_uu, seed):
    n = LeakyIntegrator(a_ii, a_uu, 1 - a_uu)
    x = np.random.default_rng(seed).standard_normal(shape)
    for form in FORMS.values():
        torch.testing.assert_close(
            form(torch.from_numpy(x), n), torch.from_numpy(truth(x, n)), rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("gap", [0, 1e-15, 1e-12, 1e-9, 2e-8, 1e-6])
def test_nearly_equal_constants_do_not_cancel(gap):
    n = LeakyIntegrator(0.95, 0.95 + gap, 0.05)
    x = np.random.default_rng(0).standard_normal((400, 1, 2))
    torch.testing.assert_close(
        reference.parallel(torch.from_numpy(x), n),
        torch.from_numpy(truth(x, n)),
        rtol=1e-7,
        atol=1e-7,
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 61, 100, 150, 255, 1000, 3001, 10_000])
@pytest.mark.parametrize("n", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_fft_is_right_at_every_length_in_float32(steps, n):
    x = np.random.default_rng(steps).standard_normal((steps, 1, 4))
    error = np.abs(
        reference.parallel(torch.from_numpy(x).float(), n).double().numpy() - truth(x, n)
    )
    assert error.max() < 1e-5


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_gradient(form):
    x = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: form(v, UNEQUAL), (x,))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_steps_one_step_nan_and_strides(form):
    assert form(torch.zeros(0, 2, 3), EQUAL).shape == (0, 2, 3)
    torch.testing.assert_close(form(torch.ones(1, 1, 1), EQUAL), torch.full((1, 1, 1), EQUAL.a_ui))
    assert form(torch.full((3, 1, 1), float("nan")), EQUAL).isnan().all()
    x = torch.randn(4, 9, 3).transpose(0, 1)
    torch.testing.assert_close(form(x, EQUAL), reference.sequential(x.contiguous(), EQUAL))


def test_cpu_bits_do_not_depend_on_threads():
    x = torch.randn(30, 7, 333)
    try:
        set_threads(3)
        three = cpu.integrate(x, EQUAL)
    finally:
        set_threads(1)
    assert torch.equal(three, cpu.integrate(x, EQUAL))


@given(st.integers(1, 100_000))
def test_fast_length_is_smooth_and_long_enough(n):
    size = reference.fast_length(n)
    assert n <= size <= 2 * n and size % 2 == 0
    for p in (2, 3, 5):
        while size % p == 0:
            size //= p
    assert size == 1
