import numpy as np
import pytest
import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LeakyIntegrator
from paraspike.ops.integrate.reference import parallel
from paraspike.ops.lif import cpu, reference
from paraspike.papers import spsn, spsn_recurrent

DT = 1e-3
LI = LeakyIntegrator.from_times(DT, 2e-2, 2e-2)


def spiking_input(steps=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * (torch.rand(steps, 3, 8, generator=generator, dtype=torch.float64) < 0.1)


def loop(x, form):
    """Equations 5 and 6 (paper) or the authors' program (code), one neuron at a time."""
    alpha = beta = np.exp(-DT / 0.02)
    i = u = s = np.zeros(x.shape[1:])
    out = []
    for x_t in x.numpy():
        i = alpha * i + x_t
        if form == "paper":
            u = (beta * u + (1 - beta) * i) * (1 - s)
            s = (u > 1).astype(float)
        else:
            u = beta * u + (1 - beta) * i
            s = (u > 1).astype(float)
            u = u * (1 - s)
        out.append(s)
    return torch.from_numpy(np.stack(out))


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize("function", [reference.lif, cpu.lif], ids=["reference", "cpu"])
def test_lif_equals_the_sheets_loop(form, function):
    x = spiking_input()
    expected = loop(x, form)
    assert expected.sum() > 50
    assert torch.equal(function(x, spsn.lif(DT, form=form)), expected)


def test_the_two_forms_are_not_the_same():
    x = spiking_input()
    assert not torch.equal(loop(x, "paper"), loop(x, "code"))


@pytest.mark.parametrize("published", [spsn.lif_as_published, spsn.lif_unbind])
def test_baselines_compute_what_the_engine_computes(published):
    x, n = spiking_input(), spsn.lif(DT)
    grad = torch.randn_like(x)
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    outs = [f(leaf, n) for f, leaf in zip((published, reference.lif), leaves, strict=True)]
    for out in outs:
        out.backward(grad)
    assert torch.equal(outs[0], outs[1])
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


@pytest.mark.parametrize("steps, expected", [(10, 0.48), (61, 0.07), (100, 0.013), (150, 0.0014)])
def test_published_padding_leaks_as_the_sheet_measured(steps, expected):
    assert spsn.padding_error(steps, LI, spsn.membrane_as_published) == pytest.approx(
        expected, rel=0.25
    )
    assert spsn.padding_error(steps, LI, parallel) < 1e-5


def test_published_padding_is_not_causal():
    """An input at the last step shows in earlier outputs: the tail of the two kernels' product,
    (1 - beta) (T - 2 - n) beta^(T + 1 + n) where alpha = beta, wraps round to step n."""
    steps, beta = 100, LI.a_uu
    x = torch.zeros(steps, 1, 1, dtype=torch.float64)
    x[-1] = 1.0
    leaked = spsn.membrane_as_published(x, LI).flatten().numpy()
    n = np.arange(steps - 1)
    np.testing.assert_allclose(
        leaked[:-1], (1 - beta) * (steps - 2 - n) * beta ** (steps + 1 + n), atol=1e-12
    )
    assert leaked[-1] == pytest.approx(1 - beta)


def test_table_one():
    assert spsn.RATE_BUDGET == {"SPSN-SB": 0.4, "SPSN-GS": 0.1}
    assert spsn.rate_budget("SPSN-SB", "augmentation") == 0
    assert spsn.rate_budget("SPSN-GS", "augmentation+regularisation") == 0.1
    n = spsn.lif(1e-3)
    assert n.a_ii == n.a_uu == pytest.approx(0.951229, abs=1e-6) and n.threshold == 1.0


def test_an_idle_net_fires_half_the_time():
    net = spsn.network("SPSN-SB", 5, (128, 128, 128), 20, DT)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    from paraspike.layer import Draws
    from paraspike.spikes import Spikes

    out = net(Spikes.from_dense(torch.zeros(50, 4, 5)), Draws(np.arange(4), np.zeros(4, np.int64)))
    fired = sum(h.dense().detach().mean((0, 1)).sum().item() for h in out.hidden)
    assert fired == pytest.approx(192, abs=2)


def test_unknown_names_are_refused():
    for call in (
        lambda: spsn.neuron("SPSN-XX", DT),
        lambda: spsn.lif(DT, form="x"),
        lambda: spsn.settings("augmented"),
    ):
        with pytest.raises(ReaderError, match="is unknown"):
            call()


@pytest.mark.parametrize("model", ["SPSN-SB", "SPSN-GS", "SPSN-D"])
def test_two_pass_recurrence_equals_itself_run_step_by_step(model):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 2, 6, generator=generator, dtype=torch.float64)
    w = 0.3 * torch.randn(6, 6, generator=generator, dtype=torch.float64)
    noise = torch.rand(40, 2, 6, generator=generator, dtype=torch.float64)
    n = spsn.neuron(model, 1e-2)
    u, s = spsn_recurrent.two_pass(x, w, n, noise)
    from paraspike.ops.integrate.reference import sequential
    from paraspike.ops.spsn.reference import spike

    h = spike(sequential(x, n.integrator), n, noise)
    fed = x.clone()
    fed[1:] += h[:-1] @ w
    torch.testing.assert_close(u, sequential(fed, n.integrator))
    published, _ = spsn_recurrent.two_pass(x, w, n, noise, as_published=True)
    torch.testing.assert_close(published, u + sequential(x, n.integrator))


def test_without_recurrent_weights_all_forms_agree():
    x = torch.randn(30, 2, 5, dtype=torch.float64)
    noise = torch.rand(30, 2, 5, dtype=torch.float64)
    for model in ("SPSN-SB", "SPSN-GS", "SPSN-D"):
        n = spsn.neuron(model, 1e-2)
        error, mismatch = spsn_recurrent.approximation_error(
            x, torch.zeros(5, 5, dtype=torch.float64), n, noise
        )
        assert error < 1e-10 and mismatch == 0
