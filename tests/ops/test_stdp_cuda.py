"""STDP in Triton against the reference."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

from paraspike.errors import ReaderError  # noqa: E402
from paraspike.neurons import LIF  # noqa: E402
from paraspike.ops.stdp import PostPre, cuda, cuda_kernels, reference  # noqa: E402
from paraspike.spikes import Spikes  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def case(shape, density, seed, counts=False):
    """Spikes [T, B, N_in], and weights in eighths that make a neuron fire every few steps."""
    steps, batch, n_in, n = shape
    generator = torch.Generator().manual_seed(seed)
    raster = (torch.rand(steps, batch, n_in, generator=generator) < density).float()
    if counts:
        raster = raster * torch.randint(1, 4, raster.shape, generator=generator)
    top = max(2, round(8 * 3 / max(1.0, density * n_in)))
    w = torch.randint(-1, top, (n_in, n), generator=generator) / 8
    return Spikes.from_dense(raster.to(DEVICE)), w.to(DEVICE)


def run(operator, spikes, w, *options):
    w = w.clone()
    return operator(spikes, w, *options).dense(), w


@st.composite
def rules(draw):
    """Powers of two throughout, so that a few steps are exact in float32 in any order."""
    return PostPre(
        draw(st.sampled_from([(0.0, 0.0), (1 / 16, 0.0), (0.0, 1 / 8), (-1 / 16, -1 / 8), (1 / 16, 1 / 8)])),
        draw(st.sampled_from([0.0, 0.5, 1.0])),
        draw(st.sampled_from([1.0, 0.5])),
        draw(st.booleans()),
        *draw(st.sampled_from([(None, None), (0.0, 0.25), (None, 0.5), (0.125, None)])),
    )  # fmt: skip


@given(
    st.tuples(st.integers(0, 5), st.sampled_from([1, 3, 17]), st.sampled_from([1, 5, 33]),
              st.sampled_from([1, 9, 18])),
    st.sampled_from([0.0, 0.3, 1.0]), rules(), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([None, -0.25, 0.125]), st.sampled_from(["none", "clamp_input"]), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=25)
def test_equals_the_reference(shape, density, rule, counts, learn, strict, lower, refractory, seed):
    neuron = LIF(a_uu=0.5, a_ui=0.5, threshold=0.5, strict=strict, refractory=refractory,
                 refractory_steps=seed % 3)  # fmt: skip
    spikes, w = case(shape, density, seed, counts)
    expected, actual = (
        run(f, spikes, w, neuron, rule, learn, lower) for f in (reference.stdp, cuda.stdp)
    )
    assert torch.equal(actual[0], expected[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-6, atol=1e-6)
    if not learn:
        assert torch.equal(actual[1], w)


def test_a_longer_run_stays_beside_the_reference():
    spikes, w = case((40, 5, 40, 20), 0.2, 1)
    neuron = LIF(a_uu=0.9, threshold=0.7, refractory="clamp_input", refractory_steps=2)
    rule = PostPre((1e-3, 1e-2), wmin=0.0, wmax=0.5)
    expected, actual = (run(f, spikes, w, neuron, rule) for f in (reference.stdp, cuda.stdp))
    assert 0.02 < expected[0].mean() < 0.5
    # A potential within rounding of the threshold may fall on either side; here none does.
    assert torch.equal(actual[0], expected[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-4, atol=1e-5)
    again = run(cuda.stdp, spikes, w, neuron, rule)
    assert all(torch.equal(a, b) for a, b in zip(actual, again, strict=True))


def test_strided_weights_and_lists():
    spikes, w = case((5, 3, 8, 6), 0.4, 1)
    rule = PostPre((1e-3, 1e-2))
    out, expected = run(cuda.stdp, spikes, w, LIF(), rule)
    lists = Spikes.from_lists(*spikes.lists, spikes.shape)
    strided = w.T.contiguous().T
    assert torch.equal(cuda.stdp(lists, strided, LIF(), rule).dense(), out)
    assert torch.equal(strided, expected) and not torch.equal(expected, w)


def test_lengths_and_batches_compile_nothing_again():
    for kernel, wanted in (
        (cuda_kernels.layer, {"steps", "batch", "rest"}),
        (cuda_kernels.presynaptic, {"steps", "width"}),
    ):
        given_ = getattr(kernel, "do_not_specialize", None)
        given_ = kernel.kwargs["do_not_specialize"] if given_ is None else given_
        assert wanted <= {kernel.arg_names[k] if isinstance(k, int) else k for k in given_}


def test_errors_name_what_is_wrong(monkeypatch):
    spikes, w = case((2, 1, 3, 2), 0.5, 0)
    with pytest.raises(ReaderError, match="do not fit spikes"):
        cuda.stdp(spikes, w[:2], LIF(), PostPre())
    with pytest.raises(ReaderError, match="weights are torch.float64"):
        cuda.stdp(spikes, w.double(), LIF(), PostPre())
    with pytest.raises(ReaderError, match="adaptive"):
        cuda.stdp(spikes, w, LIF(beta=0.1), PostPre())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ReaderError, match="weight lies on cpu"):
        cuda.stdp(spikes, w.cpu(), LIF(), PostPre())
