"""LIF layers run piece by piece, and eligibility traces carried from piece to piece."""

import pytest
import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF, Surrogate
from paraspike.ops.eprop import reference as whole
from paraspike.ops.lif.reference import lif
from paraspike.ops.stateful import cpu as stateful_cpu
from paraspike.ops.stateful import reference as stateful_reference
from paraspike.ops.traces import cpu, reference
from paraspike.threads import set_threads

PIECES = [(0, 1), (1, 7), (7, 7), (7, 40)]
ALIF = LIF(
    a_uu=0.9, threshold=0.6, strict=False, beta=0.2, rho=0.97, reset="subtract",
    refractory="block_spike", refractory_steps=3, reset_grad="through",
    surrogate=Surrogate("triangle", 1 / 0.6, 0.5, band=0.4),
)  # fmt: skip


@pytest.mark.parametrize("neuron", [ALIF, LIF(reset="zero")], ids=["ALIF", "LIF"])
@pytest.mark.parametrize("n", [1, 70])
def test_pieces_make_the_whole(neuron, n):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(40, 3, n, generator=generator, dtype=torch.float64)
    w = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    spikes = lif(x, neuron, recurrent=w)
    slopes = []
    for function in (stateful_reference.stateful, stateful_cpu.stateful):
        state, z, psi = None, [], []
        for a, b in PIECES:
            fired, slope, state = function(x[a:b], neuron, state, w)
            z.append(fired.dense(torch.float64))
            psi.append(slope)
        assert torch.equal(torch.cat(z), spikes) and spikes.any()
        slopes.append(torch.cat(psi))
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-14)


def connection(n_in=20, n=37, batch=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    psi, signal, penalty = torch.rand(3, 40, batch, n, generator=generator, dtype=dtype) - 0.3
    z = (torch.rand(40, batch, n_in, generator=generator) < 0.2).to(dtype)
    zbar, last = [], torch.zeros(batch, n_in, dtype=dtype)
    for z_t in z:
        last = 0.9 * last + z_t
        zbar.append(last)
    return psi.clamp(min=0), signal, penalty, z, torch.stack(zbar)


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("regularised", [True, False])
def test_pieces_sum_to_the_gradient(beta, regularised):
    psi, signal, penalty, z, zbar = connection()
    penalty = penalty if regularised else None
    constants = {"kappa": 0.8, "beta": beta, "rho": 0.97}
    expected, _ = whole.gradients(psi, signal, z, alpha=0.9, regularisation=penalty, **constants)
    for function in (reference.traces, cpu.traces):
        for blocked in (False, True):
            total, state = torch.zeros_like(expected), None
            for a, b in PIECES:
                rest = None if penalty is None else penalty[a:b]
                state = function(psi[a:b], signal[a:b], rest, zbar[a:b], total, state,
                                 blocked=blocked, **constants)  # fmt: skip
            torch.testing.assert_close(total, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("blocked", [False, True])
def test_bits_do_not_depend_on_threads(blocked):
    psi, signal, penalty, _, zbar = connection(dtype=torch.float64)
    seen = []
    try:
        for count in (1, 2, 3):
            set_threads(count)
            total = torch.zeros(20, 37, dtype=torch.float64)
            state = cpu.traces(psi, signal, penalty, zbar, total, kappa=0.8, beta=0.1, rho=0.9,
                               blocked=blocked)  # fmt: skip
            seen.append((total, *state))
    finally:
        set_threads(1)
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))


@pytest.mark.parametrize("function", [reference.traces, cpu.traces])
def test_what_does_not_fit_is_named(function):
    psi, signal, penalty, _, zbar = connection()
    total = torch.zeros(20, 37, dtype=torch.float64)
    for change, word in [
        ({"signal": signal[:5]}, "signal is"),
        ({"zbar": zbar.float()}, "zbar is"),
        ({"total": total.T}, "total is"),
        ({"penalty": penalty[..., :3]}, "penalty is"),
        ({"state": (total, total)}, "ea is"),
    ]:
        given = {
            "psi": psi,
            "signal": signal,
            "penalty": None,
            "zbar": zbar,
            "total": total,
        } | change
        with pytest.raises(ReaderError, match=word):
            function(**given, kappa=0.8, beta=0.1, rho=0.9)
    for function in (stateful_reference.stateful, stateful_cpu.stateful):
        for x, neuron, w in [
            (torch.zeros(2, 3), ALIF, None),
            (psi, LIF(a_ii=0.5), None),
            (psi, LIF(reset_at="next_step"), None),
            (psi, ALIF, total),
        ]:
            with pytest.raises(ReaderError, match="operator stateful"):
                function(x, neuron, None, w)
