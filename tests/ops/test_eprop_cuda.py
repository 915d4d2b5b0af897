"""Factorised e-prop in Triton against the reference."""

import os

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

from paraspike.errors import ReaderError  # noqa: E402
from paraspike.ops.eprop import cuda, reference  # noqa: E402
from paraspike.spikes import Spikes  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIF = {"alpha": 0.95}
ALIF = {"alpha": 0.95, "kappa": 0.8, "beta": 0.4, "rho": 0.99}


def layer(shape, n_in, density, top=1, seed=0, dtype=torch.float64):
    """(psi, learning signal, regularisation, inputs, recurrent spikes) of a made-up layer."""
    generator = torch.Generator().manual_seed(seed)
    t, b, n = shape

    def raster(units, most):
        fired = torch.rand(t, b, units, generator=generator) < density
        return (fired * torch.randint(1, most + 1, fired.shape, generator=generator)).to(dtype)

    psi = 0.5 * torch.rand(shape, generator=generator, dtype=dtype)
    psi = psi * (torch.rand(shape, generator=generator) < 0.7)
    signals = torch.randn(2, *shape, generator=generator, dtype=dtype)
    return [v.to(DEVICE) for v in (psi, *signals, raster(n_in, top), raster(n, 1))]


def with_lists(raster):
    return Spikes.from_lists(*Spikes.from_dense(raster).lists, raster.shape)


@given(
    st.integers(1, 12), st.integers(1, 3), st.integers(1, 9), st.sampled_from([1, 5, 33, 130]),
    st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([1, 4]), st.sampled_from([LIF, ALIF]),
    st.booleans(), st.booleans(), st.sampled_from([(0, 1), (1, 0), (3, 60)]),
    st.sampled_from(["lists", "dense"]), st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 999),
)  # fmt: skip
@example(1, 1, 1, 1, 1.0, 1, ALIF, True, True, (0, 1), "lists", torch.float64, 0)
@settings(max_examples=25)
def test_equals_the_reference(
    t, b, n_in, n, density, top, constants, regularised, recurrent, delays, form, dtype, seed
):
    psi, signal, penalty, x, z = layer((t, b, n), n_in, density, top, seed, dtype)
    options = constants | {"regularisation": penalty if regularised else None, "delays": delays}
    z = z if recurrent else None
    expected = reference.gradients(psi, signal, x, z, **options)
    given_ = (with_lists(x), None if z is None else with_lists(z)) if form == "lists" else (x, z)
    actual = cuda.gradients(psi, signal, *given_, form=form, **options)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    for a, e in zip(actual, expected, strict=True):
        if e is None:
            assert a is None
            continue
        scale = max(1.0, float(e.abs().max()))
        torch.testing.assert_close(a, e, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("form", ["lists", "dense"])
def test_a_seed_gives_the_same_bits_alone_and_among_others(form):
    data = layer((8, 6, 20), 9, 0.3, dtype=torch.float32)

    def run(psi, signal, penalty, x, z, **options):
        x, z = (with_lists(x), with_lists(z)) if form == "lists" else (x, z)
        return cuda.gradients(
            psi, signal, x, z, regularisation=penalty, form=form, **ALIF, **options
        )

    together = run(*data, seeds=2)
    alone = run(*(a[:, -3:].contiguous() for a in data))
    assert together[0].shape == (2, 9, 20) and alone[0].shape == (9, 20)
    assert all(torch.equal(g[1], a) for g, a in zip(together, alone, strict=True))


@pytest.mark.parametrize("shape, n_in", [((0, 2, 3), 4), ((5, 0, 3), 4), ((5, 2, 3), 0)])
def test_nothing_to_sum(shape, n_in):
    psi, signal, _, x, z = layer(shape, n_in, 0.5)
    of_inputs, of_recurrent = cuda.gradients(psi, signal, x, z, **LIF)
    assert of_inputs.shape == (n_in, 3) and of_recurrent.shape == (3, 3)
    assert not of_inputs.any() and (n_in == 0 or not of_recurrent.any())


def test_strided_operands_that_take_part_in_autograd():
    psi, signal, _, x, z = layer((6, 4, 21), 9, 0.5)
    x = x.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    signal = signal.transpose(0, 2).contiguous().transpose(0, 2).requires_grad_()
    for actual, expected in zip(
        *[f.gradients(psi, signal, x, z, **ALIF) for f in (cuda, reference)], strict=True
    ):
        assert not actual.requires_grad
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_lengths_and_batches_compile_nothing_again():
    given_ = getattr(cuda.scan, "do_not_specialize", None)
    given_ = cuda.scan.kwargs["do_not_specialize"] if given_ is None else given_
    held = [cuda.scan.arg_names[k] if isinstance(k, int) else k for k in given_]
    assert {"steps", "width"} <= set(held)


def test_what_does_not_fit_is_named(monkeypatch):
    psi, signal, _, x, z = layer((4, 2, 3), 5, 0.5)
    with pytest.raises(ReaderError, match="learning_signal is"):
        cuda.gradients(psi, signal.float(), x, z, **LIF)
    with pytest.raises(ReaderError, match="alpha = 2"):
        cuda.gradients(psi, signal, x, z, alpha=2)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ReaderError, match="psi lies on cpu"):
        cuda.gradients(*(v.cpu() for v in (psi, signal, x, z)), **LIF)
