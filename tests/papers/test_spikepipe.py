"""SpikePipe's neuron against autograd and its sheet's formulas; its layers and networks."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.ops.lif import cpu
from paraspike.papers import spikepipe
from paraspike.papers.spikepipe import EXAMPLE, Bilinear, nearest_lif, spike
from paraspike.papers.spikepipe_layers import Readout, SpikingLayer, layers, logits, narrower
from paraspike.papers.spikepipe_unrolled import LIF_SECTION, SECTION
from paraspike.pipelining.networks import NETWORKS, Network, conv, dense


class Window(torch.autograd.Function):
    """Spikes given, derivative given."""

    @staticmethod
    def forward(ctx, v, fired, slope):
        ctx.save_for_backward(slope)
        return fired.to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None


def by_autograd(currents, neuron):
    """Section 2.1 as it stands there, with detached gates."""
    s = 1 / (neuron.c + neuron.lam)
    m = (neuron.c - neuron.lam) / (neuron.c + neuron.lam)
    old_v = old_i = torch.zeros_like(currents[0])
    g, out = 1.0, []
    for i in currents.unbind(0):
        v = s * (i + g * old_i) + m * g * old_v
        fired = v.detach() > neuron.threshold
        seen = v.detach().clone()
        if neuron.mask_on_post_reset:
            seen[fired] = 0
        inside = (seen - neuron.threshold).abs() <= neuron.alpha
        out.append(Window.apply(v, fired, inside.to(v.dtype) / (2 * neuron.alpha)))
        g, old_v, old_i = (~fired).to(v.dtype), v, i
    return torch.stack(out)


def both_ways(function, currents, grad):
    x = currents.clone().requires_grad_()
    spikes = function(x)
    spikes.backward(grad)
    return spikes.detach(), x.grad


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


NEURONS = st.builds(
    Bilinear,
    c=st.floats(0.5, 10),
    lam=st.floats(0.05, 4),
    threshold=st.floats(0.1, 1),
    alpha=st.floats(0.1, 1),
    mask_on_post_reset=st.booleans(),
)


@given(
    NEURONS,
    st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 9)),
    st.sampled_from([0.3, 2.0, 10.0]),
    st.integers(0, 2**20),
)
@settings(max_examples=50)
def test_backward_equals_autograd(neuron, shape, strength, seed):
    x, grad = strength * drawn(*shape, seed=seed), drawn(*shape, seed=seed + 1)
    wanted, wanted_grad = both_ways(lambda x: by_autograd(x, neuron), x, grad)
    spikes, found = both_ways(lambda x: spike(x, neuron), x, grad)
    assert torch.equal(spikes, wanted)
    torch.testing.assert_close(found, wanted_grad, rtol=0, atol=1e-12)
    # Step by step in torch, as on a GPU.
    spikes, potential = spikepipe.forward(x, neuron)
    assert torch.equal(spikes, wanted)
    found = spikepipe.backward(grad, potential, neuron)
    torch.testing.assert_close(found, wanted_grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("post", [True, False])
@pytest.mark.parametrize(
    "level, rate", [(0.0, 0), (-5.0, 0), (100.0, 1)], ids=["0", "silent", "full"]
)
def test_silent_and_saturated_trains(post, level, rate):
    neuron = Bilinear(mask_on_post_reset=post)
    x, grad = torch.full((7, 2, 3), level, dtype=torch.float64), drawn(7, 2, 3)
    spikes, found = both_ways(lambda x: spike(x, neuron), x, grad)
    assert spikes.mean() == rate
    wanted = both_ways(lambda x: by_autograd(x, neuron), x, grad)[1]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    if rate:
        # Each step on its own: threshold = alpha, so that what fired lies on the window's closed end.
        own = neuron.scale * grad if post else torch.zeros_like(grad)
        torch.testing.assert_close(found, own, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3, 2), (0, 3, 2), (4, 0, 2), (3, 2, 4, 5, 5)])
def test_any_shape(shape):
    x, grad = 2 * drawn(*shape), drawn(*shape)
    found = both_ways(lambda x: spike(x, EXAMPLE), x, grad)
    assert found[0].shape == found[1].shape == x.shape
    if x.numel():
        for a, b in zip(found, both_ways(lambda x: by_autograd(x, EXAMPLE), x, grad), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_round_as_torch_does(dtype):
    """More neurons than a kernel walks together, columns of a tensor that is not contiguous."""
    x, grad = (drawn(9, 1300, 2, seed=s, dtype=dtype).transpose(1, 2) for s in (0, 1))
    spikes, found = both_ways(lambda x: spike(x, EXAMPLE), 2 * x, grad)
    wanted, potential = spikepipe.forward(2 * x, EXAMPLE)
    assert spikes.dtype == dtype
    assert torch.equal(spikes, wanted)
    torch.testing.assert_close(found, spikepipe.backward(grad, potential, EXAMPLE))


def test_a_spike_gates_the_old_potential_and_the_old_current_alone():
    """By hand, s = 1/2 and m = 0.6: the first step fires with V = 1, the third stays below."""
    neuron = Bilinear(c=1.6, lam=0.4, threshold=0.9)
    x = torch.tensor([2.0, 0.5, 0.25], dtype=torch.float64)[:, None]
    spikes, v = spike(x, neuron, trace=True)
    assert neuron.scale == 0.5 and neuron.leak == pytest.approx(0.6)
    assert spikes[:, 0].tolist() == [1, 0, 0]
    assert v[:, 0].tolist() == pytest.approx([1.0, 0.25, 0.5 * (0.25 + 0.5) + 0.6 * 0.25])


def test_the_normal_form_agrees_up_to_the_first_spike():
    x = drawn(40, 2, 30).abs() * 0.5
    mine, engine = spike(x, EXAMPLE), cpu.lif(x, nearest_lif(EXAMPLE))
    before = (mine.cumsum(0) - mine) == 0
    assert torch.equal(mine[before], engine[before])
    assert before.any() and not torch.equal(mine, engine)


def test_the_normal_form_is_the_silent_neuron():
    neuron = Bilinear(threshold=1.0, alpha=0.9, mask_on_post_reset=False)
    x, grad = 0.5 * drawn(15, 3, 20), drawn(15, 3, 20)
    mine, wanted = both_ways(lambda x: spike(x, neuron), x, grad)
    quiet = mine.sum(0) == 0
    assert quiet.sum() > 20
    engine, found = both_ways(lambda x: cpu.lif(x, nearest_lif(neuron)), x, grad)
    assert torch.equal(engine[:, quiet], mine[:, quiet])
    torch.testing.assert_close(found[:, quiet], wanted[:, quiet], rtol=0, atol=1e-12)


def test_figure_3():
    assert EXAMPLE.scale == pytest.approx(0.235294, abs=5e-7)
    assert EXAMPLE.leak == pytest.approx(0.882353, abs=5e-7)
    found = spikepipe.example()
    assert {len(v) for v in found.values()} == {20}
    assert np.flatnonzero(found["spikes"]).tolist() == [3, 6, 16, 18]
    after = found["spikes"].nonzero()[0] + 1
    np.testing.assert_allclose(found["potential"][after], EXAMPLE.scale * found["currents"][after])


@pytest.mark.parametrize("edges", [SECTION, LIF_SECTION], ids=["figure 1", "figure 2"])
def test_walking_the_signal_flow_graph_gives_the_neuron(edges):
    neuron = EXAMPLE if edges is LIF_SECTION else dataclasses.replace(EXAMPLE, threshold=1e9)
    x = drawn(30, 1).abs()
    gains = {"1": 1.0, "s": neuron.scale, "m": neuron.leak}
    delayed, potential = {e: 0.0 for e in edges if e.delay}, []
    for current in x[:, 0].tolist():
        value = {"I": current, "sI": 0.0, "V": 0.0, "Q": 0.0, "S": 0.0}
        for node in ("sI", "V", "S", "Q"):
            for e in edges:
                if e.target == node and e.gain == ">":
                    value[node] = float(value[e.source] > neuron.threshold)
                elif e.target == node:
                    value[node] += delayed[e] if e.delay else gains[e.gain] * value[e.source]
        delayed = {e: 0.0 if value.get(e.cleared_by) else value[e.source] for e in delayed}
        potential.append(value["V"])
    np.testing.assert_allclose(potential, spike(x, neuron, trace=True)[1][:, 0], rtol=1e-12)


def test_the_readout_is_the_section_without_leak():
    x = (drawn(12, 3, 7) > 0).double()
    linear = torch.nn.Linear(7, 4, bias=False).double()
    section = Bilinear(c=3.0, lam=0.0, threshold=1e9)
    potential = spike(linear(x), section, trace=True)[1]
    torch.testing.assert_close(Readout(linear)(x), 3.0 * potential[-1])
    torch.testing.assert_close(Readout(linear, 0.5)(x), 1.5 * potential[-1])


@pytest.mark.parametrize("post", [True, False])
def test_weight_and_input_gradients_of_a_layer(post):
    """dW = sum_t dI[t] x[t]^T, dx[t] = W^T dI[t]."""
    x, grad = drawn(6, 3, 5).requires_grad_(), drawn(6, 3, 4)
    layer = SpikingLayer(torch.nn.Linear(5, 4).double(), Bilinear(mask_on_post_reset=post))
    layer(x).backward(grad)
    weight = layer.synapse.weight
    _, d = both_ways(lambda i: by_autograd(i, layer.neuron), layer.synapse(x).detach(), grad)
    torch.testing.assert_close(weight.grad, torch.einsum("tbo,tbi->oi", d, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(x.grad, d @ weight, rtol=0, atol=1e-12)


def test_time_folded_into_the_batch_is_every_step_on_its_own():
    stack = layers(Network("small", 6, (conv(1, 3, 8, True), *dense(48, 5, 4))), seed=3)
    x = (drawn(6, 2, 1, 8, 8) > 0.5).float()
    currents = torch.stack([stack[0].synapse(step) for step in x])
    spikes = spike(currents, stack[0].neuron)
    pooled = torch.stack([step.unflatten(-1, (4, 2)).amax(-1) for step in spikes])
    pooled = pooled.unflatten(-2, (4, 2)).amax(-2)
    assert torch.equal(stack[0](x), pooled) and 0 < pooled.mean() < 1
    assert stack[1](pooled).shape == (6, 2, 5)
    assert logits(stack, x).shape == (2, 4)


def test_networks_have_the_sheets_shapes():
    amr = layers(narrower(NETWORKS["amr4"], 0.25))
    assert [tuple(layer.synapse.weight.shape) for layer in amr] == [
        (8, 1, 3, 3), (16, 8, 3, 3), (32, 256), (11, 32),
    ]  # fmt: skip
    assert logits(amr, torch.zeros(64, 2, 1, 16, 16)).shape == (2, 11)
    mlp = layers(NETWORKS["mlp3"], seed=1)
    assert [layer.synapse.in_features for layer in mlp] == [784, 512, 256]
    assert not torch.equal(mlp[0].synapse.weight, layers(NETWORKS["mlp3"])[0].synapse.weight)
    assert torch.equal(mlp[1].synapse.bias, layers(NETWORKS["mlp3"], seed=1)[1].synapse.bias)


def test_every_layer_of_a_deep_network_fires():
    x = (drawn(16, 20, 64, dtype=torch.float32) > 0.5).float()
    for layer in layers(Network("deep", 16, dense(64, *[96] * 5, 10)))[:-1]:
        x = layer(x)
        assert 0.005 < x.mean() < 0.5


@pytest.mark.parametrize("wrong", [{"c": -1.0}, {"alpha": 0.0}, {"threshold": float("nan")}])
def test_no_neuron(wrong):
    with pytest.raises(ReaderError, match="no neuron"):
        Bilinear(**wrong)


def test_no_share():
    with pytest.raises(ReaderError, match="share"):
        narrower(NETWORKS["mlp3"], 0.0)
