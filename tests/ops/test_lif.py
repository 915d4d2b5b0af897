import itertools

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.neurons import LIF, Surrogate, cuba
from paraspike.ops.lif import cpu, reference

SLOPE = 3.0
RESETS = list(itertools.product(("none", "zero", "subtract"), ("spike", "next_step")))


def both_ways(function, x, grad):
    x = x.clone().requires_grad_()
    spikes = function(x)
    spikes.backward(grad)
    return spikes.detach(), x.grad


def plain_loop(x, n):
    """The normal form without gradients, written out from its definition for one option set each."""
    i = u = a = before = fired = torch.zeros_like(x[0])
    left = torch.zeros_like(x[0])
    out = []
    for x_t in x:
        idle = (left <= 0).to(x.dtype)
        if n.refractory == "clamp_input":
            x_t = x_t * idle
        i = n.a_ii * i + x_t
        drive = n.a_ui * i + n.c0 * x_t + n.c1 * before
        late = n.reset_at == "next_step"
        if late and n.reset == "zero":
            u = torch.where(fired > 0, drive * (0 if n.gate_input else 1), n.a_uu * u + drive)
        else:
            u = n.a_uu * u + drive - (n.threshold * fired if late and n.reset == "subtract" else 0)
        level = n.threshold + n.beta * a
        fired = ((u > level) if n.strict else (u >= level)).to(x.dtype)
        if n.refractory == "block_spike":
            fired = fired * idle
        if not late and n.reset == "zero":
            u = torch.where(fired > 0, 0.0, u)
        if not late and n.reset == "subtract":
            u = u - n.threshold * fired
        a = n.rho * a + fired
        left = torch.where(fired > 0, float(n.refractory_steps), left - 1)
        before = x_t
        out.append(fired)
    return torch.stack(out)


@given(
    st.sampled_from(RESETS),
    st.booleans(),
    st.booleans(),
    st.sampled_from([("none", 0), ("block_spike", 2), ("clamp_input", 3)]),
    st.sampled_from([0.0, 0.4]),
    st.integers(0, 2**20),
)
@settings(max_examples=60)
def test_reference_spikes_equal_a_plain_loop(reset, gate, strict, refractory, beta, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randint(1, 9, (3,), generator=generator).tolist()
    # Eighths keep every potential exact, so that the strict and the lax comparison differ.
    x = torch.randint(-8, 24, shape, generator=generator, dtype=torch.float64) / 8
    n = LIF(
        a_ii=0.5, a_uu=0.5, a_ui=0.5, c0=0.25, c1=0.5, beta=beta, rho=0.5, strict=strict, gate_input=gate,
        reset=reset[0], reset_at=reset[1], refractory=refractory[0], refractory_steps=refractory[1],
    )  # fmt: skip
    assert torch.equal(reference.lif(x, n), plain_loop(x, n))


def test_equality_at_threshold_separates_strict_from_lax():
    x = torch.ones(1, 1, 1)
    assert reference.lif(x, LIF(a_uu=0.0, a_ui=1.0)).item() == 0
    assert reference.lif(x, LIF(a_uu=0.0, a_ui=1.0, strict=False)).item() == 1


@pytest.mark.parametrize("reset, at", RESETS)
@pytest.mark.parametrize("reset_grad", ["through", "masked", "full"])
def test_reference_gradient_is_the_hand_derived_one(reset, at, reset_grad):
    """Two steps of one neuron, differentiated by hand with surrogate sigma."""
    n = LIF(a_ii=0.0, a_uu=0.5, a_ui=1.0, reset=reset, reset_at=at, reset_grad=reset_grad,
            surrogate=Surrogate(slope=SLOPE))  # fmt: skip
    x = torch.tensor([1.5, 0.9], dtype=torch.float64).reshape(2, 1, 1).requires_grad_()
    spikes = reference.lif(x, n)
    spikes[1].sum().backward()
    v0 = 1.5
    sigma = lambda v: 1 / (SLOPE * abs(v - 1) + 1) ** 2  # noqa: E731
    kept = {"none": v0, "zero": 0.0, "subtract": v0 - 1}[reset]
    v1 = 0.5 * kept + 0.9 if at == "spike" else {
        "none": 0.5 * v0, "zero": 0.0, "subtract": 0.5 * v0 - 1}[reset] + 0.9  # fmt: skip
    scale = 0.5 if at == "spike" or reset != "subtract" else 1.0
    through_state = 0.0 if reset == "zero" and reset_grad != "through" else 0.5
    through_spike = 0.0
    if reset_grad == "full" and reset != "none":
        through_spike = -sigma(v0) * (v0 * 0.5 if reset == "zero" else scale)
    expected = sigma(v1) * (through_state + through_spike)
    assert x.grad[0].item() == pytest.approx(expected, abs=1e-12)
    assert x.grad[1].item() == pytest.approx(sigma(v1), abs=1e-12)


OPTIONS = [
    dict(zip(("reset", "reset_at", "gate_input", "reset_grad", "surrogate_at"), o, strict=True))
    for o in itertools.product(
        ("none", "zero", "subtract"), ("spike", "next_step"), (False, True),
        ("through", "masked", "full"), ("pre", "post"),
    )
    if not (o[0] == "none" and (o[1], o[2], o[3], o[4]) != ("spike", False, "masked", "pre"))
    and not (o[0] == "subtract" and o[2])
    and not (o[1] == "next_step" and o[4] == "post")
    and not (o[1] == "spike" and o[2])
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_cpu_equals_reference(options):
    generator = torch.Generator().manual_seed(7)
    shapes = [((9, 2, 300), torch.float64), ((1, 1, 1), torch.float64)]
    # Kernels are compiled once more for float32: two variants stand for all.
    if options in OPTIONS[:2]:
        shapes.append(((20, 3, 5), torch.float32))
    for shape, dtype in shapes:
        n = LIF(
            a_ii=0.8,
            a_uu=0.9,
            a_ui=0.3,
            c0=0.2,
            c1=0.1,
            surrogate=Surrogate(slope=SLOPE),
            **options,
        )
        x = 2 * torch.randn(shape, generator=generator, dtype=dtype)
        grad = torch.randn(shape, generator=generator, dtype=dtype)
        expected, actual = (
            both_ways(lambda v, f=f, n=n: f(v, n), x, grad) for f in (reference.lif, cpu.lif)
        )
        assert torch.equal(expected[0], actual[0])
        tolerance = 1e-10 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(actual[1], expected[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", Surrogate.SHAPES)
def test_cpu_has_every_surrogate(shape):
    n = cuba(1e-3, 5e-3, 1e-2, surrogate=Surrogate(shape, 1.7, 0.3))
    x = torch.randn(15, 2, 4, dtype=torch.float64) * 3
    grad = torch.randn_like(x)
    expected, actual = (
        both_ways(lambda v, f=f: f(v, n), x, grad) for f in (reference.lif, cpu.lif)
    )
    assert expected[0].sum() > 0
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("level", [0.0, 1e3, float("nan")])
def test_cpu_at_the_edges_silent_saturated_and_nan(level):
    n = cuba(1e-3, 5e-3, 1e-2)
    x = torch.full((6, 2, 3), level)
    grad = torch.ones_like(x)
    expected, actual = (
        both_ways(lambda v, f=f: f(v, n), x, grad) for f in (reference.lif, cpu.lif)
    )
    assert torch.equal(expected[0], actual[0])
    assert expected[0].mean() == (1.0 if level == 1e3 else 0.0)
    torch.testing.assert_close(actual[1], expected[1], equal_nan=True)


def test_no_steps_and_strided_input():
    n = cuba(1e-3, 5e-3, 1e-2)
    assert cpu.lif(torch.zeros(0, 2, 3), n).shape == (0, 2, 3)
    assert reference.lif(torch.zeros(0, 2, 3), n).shape == (0, 2, 3)
    x = torch.randn(3, 8, 5).transpose(0, 1) * 4
    assert torch.equal(cpu.lif(x, n), reference.lif(x, n))


@given(
    st.sampled_from(RESETS),
    st.sampled_from(["through", "masked", "full"]),
    st.booleans(),
    st.sampled_from([("none", 0), ("block_spike", 1), ("clamp_input", 3)]),
    st.sampled_from([0.0, 0.4]),
    st.integers(1, 12),
    st.integers(0, 2**20),
)
@settings(max_examples=12)
def test_cpu_has_the_whole_normal_form(reset, reset_grad, gate, refractory, beta, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, *torch.randint(1, 24, (2,), generator=generator).tolist())
    n = LIF(
        a_ii=0.5, a_uu=0.5, a_ui=0.5, c0=0.25, beta=beta, rho=0.5, gate_input=gate, reset=reset[0],
        reset_at=reset[1], refractory=refractory[0], refractory_steps=refractory[1],
        reset_grad=reset_grad, surrogate=Surrogate(slope=SLOPE), strict=False,
    )  # fmt: skip
    x = torch.randint(-8, 24, shape, generator=generator, dtype=torch.float64) / 8
    grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    expected, actual = (
        both_ways(lambda v, f=f: f(v, n), x, grad) for f in (reference.lif, cpu.lif)
    )
    assert torch.equal(expected[0], actual[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mechanism", ["zero", "subtract"])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("function", [reference.lif, cpu.lif], ids=["reference", "cpu"])
def test_lif_against_snntorch_synaptic(mechanism, delay, function):
    """snnTorch resets one step late by default and detaches that reset; without delay it does not.

    Inputs are scaled by (1 - beta). Its subtraction without delay takes one threshold more, and gives
    it back a step later, from a potential still above threshold; the input is small enough for none.
    """
    alpha, beta, steps = 0.8, 0.9, 200
    n = LIF(
        a_ii=alpha, a_uu=beta, a_ui=1 - beta, reset=mechanism, reset_at="next_step" if delay else "spike",
        gate_input=True, reset_grad="masked" if delay else "full", surrogate=Surrogate(slope=25.0),
    )  # fmt: skip
    peer = snntorch.Synaptic(
        alpha=alpha, beta=beta, reset_mechanism=mechanism, reset_delay=delay,
        spike_grad=snntorch.surrogate.fast_sigmoid(slope=25),
    )  # fmt: skip
    x = 0.6 * (torch.rand(steps, 4, 16, generator=torch.Generator().manual_seed(1)) < 0.6).float()
    grad = torch.randn(steps, 4, 16, generator=torch.Generator().manual_seed(2))

    def theirs(v):
        syn, mem = peer.init_synaptic()
        out = []
        for v_t in v.unbind(0):
            spike, syn, mem = peer(v_t * (1 - beta), syn, mem)
            out.append(spike)
        return torch.stack(out)

    expected, actual = both_ways(theirs, x, grad), both_ways(lambda v: function(v, n), x, grad)
    assert expected[0].sum() > 500
    assert int((expected[0] != actual[0]).sum()) == 0
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-4, atol=1e-5)
