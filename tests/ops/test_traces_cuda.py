"""LIF layers run piece by piece and eligibility traces in Triton, against the reference."""

import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

from paraspike.backends import operators  # noqa: E402
from paraspike.errors import ReaderError  # noqa: E402
from paraspike.learning.streaming import Stream  # noqa: E402
from paraspike.neurons import LIF, LeakyIntegrator, Surrogate  # noqa: E402
from paraspike.ops.stateful import cuda as stateful_cuda  # noqa: E402
from paraspike.ops.stateful import reference as stateful_reference  # noqa: E402
from paraspike.ops.synapse import cuda as synapse_cuda  # noqa: E402
from paraspike.ops.traces import cuda, reference  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PIECES = [(0, 1), (1, 4), (4, 4), (4, 9)]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@st.composite
def neurons(draw):
    eighth = st.integers(1, 8).map(lambda k: k / 8)
    return LIF(
        a_uu=draw(st.sampled_from([0.5, 1.0])),
        threshold=draw(eighth),
        strict=draw(st.booleans()),
        beta=draw(st.sampled_from([0.0, 0.25])),
        rho=0.5,
        reset=draw(st.sampled_from(["none", "zero", "subtract"])),
        refractory=draw(st.sampled_from(["none", "block_spike", "clamp_input"])),
        refractory_steps=draw(st.integers(0, 3)),
        surrogate=Surrogate(
            draw(st.sampled_from(Surrogate.SHAPES)), 1.5, 0.5, draw(st.sampled_from([0.4, torch.inf]))
        ),
    )  # fmt: skip


@given(
    neurons(), st.integers(1, 3), st.sampled_from([1, 9, 16, 130]), st.booleans(),
    st.sampled_from([torch.float32, torch.float64]), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=25)
def test_pieces_equal_the_reference(neuron, batch, n, recurrent, dtype, seed):
    generator = torch.Generator().manual_seed(seed)

    def eighths(*shape):
        return ((torch.randn(shape, generator=generator, dtype=dtype) * 8).round() / 8).to(DEVICE)

    # Few enough steps that all sums of eighths, halved at each, are exact.
    x, w = eighths(9, batch, n), eighths(n, n) if recurrent else None
    results = []
    for function in (stateful_reference.stateful, stateful_cuda.stateful):
        state, z, psi = None, [], []
        for a, b in PIECES:
            fired, slope, state = function(x[a:b], neuron, state, w)
            z.append(fired.dense(dtype))
            psi.append(slope)
        results.append((torch.cat(z), torch.cat(psi)))
    (z, psi), (z2, psi2) = results
    assert torch.equal(z2, z)
    torch.testing.assert_close(
        psi2, psi, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-12
    )


def connection(batch, n_in, n, dtype, seed=1):
    generator = torch.Generator().manual_seed(seed)
    psi, signal, penalty = torch.rand(3, 9, batch, n, generator=generator, dtype=dtype) - 0.3
    z = (torch.rand(9, batch, n_in, generator=generator) < 0.3).to(dtype)
    zbar, last = [], torch.zeros(batch, n_in, dtype=dtype)
    for z_t in z:
        last = 0.9 * last + z_t
        zbar.append(last)
    return [v.to(DEVICE) for v in (psi.clamp(min=0), signal, penalty, torch.stack(zbar))]


@given(
    st.integers(1, 4), st.sampled_from([1, 16, 20, 37]), st.sampled_from([1, 33, 70]),
    st.sampled_from([0.0, 0.3]), st.booleans(), st.booleans(),
    st.sampled_from([torch.float32, torch.float64]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=20)
def test_traces_and_sums_equal_the_reference(
    batch, n_in, n, beta, regularised, blocked, dtype, seed
):
    psi, signal, penalty, zbar = connection(batch, n_in, n, dtype, seed)
    constants = {"kappa": 0.8, "beta": beta, "rho": 0.97, "blocked": blocked}
    results = []
    for function in (reference.traces, cuda.traces):
        total, state = torch.ones(n_in, n, dtype=dtype, device=DEVICE), None
        for a, b in PIECES:
            rest = penalty[a:b] if regularised else None
            state = function(psi[a:b], signal[a:b], rest, zbar[a:b], total, state, **constants)
        results.append((total, *state))
    for expected, actual in zip(*results, strict=True):
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=10 * tolerance)


def test_runs_give_the_same_bits_and_totals_may_be_strided():
    psi, signal, penalty, zbar = connection(3, 20, 33, torch.float32)
    seen = []
    for strided in (False, True, False):
        total = (
            torch.zeros(33, 20, device=DEVICE).T if strided else torch.zeros(20, 33, device=DEVICE)
        )
        state = cuda.traces(psi, signal, penalty, zbar, total, kappa=0.8, beta=0.1, rho=0.9)
        seen.append((total, *state))
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))


def test_a_stream_learns_as_by_the_reference():
    steps, batch, n_in, n, classes = 7, 2, 9, 12, 3
    generator = torch.Generator().manual_seed(2)
    x = (torch.rand(steps, batch, n_in, generator=generator) < 0.4).double().to(DEVICE)
    sizes = (n_in, n), (n, n), (n, classes), (classes,)
    weights = [torch.randn(s, generator=generator).double().to(DEVICE) / 2 for s in sizes]
    neuron = LIF(a_uu=0.9, threshold=0.6, beta=0.2, rho=0.97, reset="subtract", refractory="block_spike",
                 refractory_steps=2, surrogate=Surrogate("triangle", 1 / 0.6, 0.5))  # fmt: skip
    labels, found = torch.tensor([0, 2], device=DEVICE), []
    plain = operators("reference")
    fast = replace(
        plain, synapse=synapse_cuda.synapse, stateful=stateful_cuda.stateful, traces=cuda.traces
    )
    for ops in (plain, fast):
        stream = Stream(*weights, neuron, LeakyIntegrator(0.0, 0.8, 1.0), chunk=3, backend=ops)
        found.append([stream(x, labels), *stream.take()])
    assert found[0][1].any()
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_lengths_and_batches_compile_nothing_again():
    for kernel in (cuda.walk, stateful_cuda.walk):
        given_ = getattr(kernel, "do_not_specialize", None)
        given_ = kernel.kwargs["do_not_specialize"] if given_ is None else given_
        held = [kernel.arg_names[k] if isinstance(k, int) else k for k in given_]
        assert {"steps", "batch"} <= set(held)


def test_what_does_not_fit_is_named(monkeypatch):
    psi, signal, _, zbar = connection(2, 4, 6, torch.float32)
    total = torch.zeros(4, 6, device=DEVICE)
    with pytest.raises(ReaderError, match="signal is"):
        cuda.traces(psi, signal[:5], None, zbar, total, kappa=0.8)
    state = total.new_zeros(0), total.new_zeros(2, 6, 4).transpose(1, 2)
    with pytest.raises(ReaderError, match="not contiguous"):
        cuda.traces(psi, signal, None, zbar, total, state, kappa=0.8)
    with pytest.raises(ReaderError, match="float16"):
        stateful_cuda.stateful(psi.half(), LIF())
    with pytest.raises(ReaderError, match="operator stateful"):
        stateful_cuda.stateful(psi, LeakyIntegrator(0.0, 0.5, 1.0))
    with pytest.raises(ReaderError, match="recurrent weights torch.float64"):
        stateful_cuda.stateful(psi, LIF(), None, torch.zeros(6, 6, device=DEVICE).double())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ReaderError, match="lies on cpu"):
        stateful_cuda.stateful(psi.cpu(), LIF())
    cpu = [v.cpu() for v in (psi, signal, zbar, total)]
    with pytest.raises(ReaderError, match="psi lies on cpu"):
        cuda.traces(cpu[0], cpu[1], None, cpu[2], cpu[3], kappa=0.8)
