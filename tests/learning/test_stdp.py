import math

import pytest
import torch

from paraspike.errors import ReaderError
from paraspike.learning.stdp import STDPNetwork, bindsnet
from paraspike.ops.lif import reference as lif
from paraspike.spikes import Spikes

SIZES = (60, 40, 20, 10)


def bernoulli(steps, batch, n, rate, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, n, generator=generator) < rate).float()


def test_the_normal_form_is_bindsnets_neuron():
    """LIFNodes.forward in absolute mV, written from the sheet."""
    x = 6 * torch.rand(200, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    v = torch.full((3, 5), -65.0, dtype=torch.float64)
    refrac = torch.zeros_like(v)
    spikes = []
    for x_t in x:
        v = math.exp(-1 / 100) * (v + 65) - 65
        v = v + torch.where(refrac > 0, 0.0, x_t)
        refrac = refrac - 1
        s = v >= -52
        refrac = torch.where(s, 5.0, refrac)
        v = torch.where(s, -65.0, v)
        spikes.append(s.to(x.dtype))
    spikes = torch.stack(spikes)
    assert spikes.sum() > 100
    assert torch.equal(lif.lif(x, bindsnet(1e-3)), spikes)


@pytest.mark.parametrize("dt, steps", [(1e-3, 5), (5e-4, 10), (2e-3, 3), (1e-4, 50)])
def test_refractory_steps_follow_dt(dt, steps):
    assert bindsnet(dt).refractory_steps == steps


def bindsnet_network(weights, nu):
    pytest.importorskip("bindsnet", reason="compares with BindsNET 0.3.4, which is not required")
    from bindsnet.learning import PostPre
    from bindsnet.network import Network
    from bindsnet.network.monitors import Monitor
    from bindsnet.network.nodes import Input, LIFNodes
    from bindsnet.network.topology import Connection

    network = Network(dt=1.0)
    layers = [Input(n=len(weights[0]), traces=True)]
    layers += [LIFNodes(n=w.shape[1], traces=True) for w in weights]
    for i, layer in enumerate(layers):
        network.add_layer(layer, name=str(i))
    for i, w in enumerate(weights):
        link = Connection(
            layers[i], layers[i + 1], w=w.clone(), update_rule=PostPre, nu=nu, wmin=0.0, wmax=1.0
        )
        network.add_connection(link, source=str(i), target=str(i + 1))
        network.add_monitor(Monitor(layers[i + 1], ["s"], time=60), name=str(i + 1))
    return network


@pytest.mark.filterwarnings("ignore:nu is set to zeros")
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("nu", [(1e-4, 1e-2), (0.0, 0.0)])
def test_spikes_and_weights_are_bindsnets_batch_after_batch(backend, nu):
    ours = STDPNetwork(SIZES, nu=nu, backend=backend, seed=3)
    theirs = bindsnet_network(ours.weights, nu)
    start = [w.clone() for w in ours.weights]
    for batch in range(3):
        x = bernoulli(60, 8, SIZES[0], 0.25, batch)
        layers = ours.run(Spikes.from_dense(x))
        theirs.run({"0": x}, time=60)
        for i, spikes in enumerate(layers):
            expected = theirs.monitors[str(i + 1)].get("s").float()
            assert torch.equal(spikes.dense(), expected), (batch, i)
        for i, w in enumerate(ours.weights):
            torch.testing.assert_close(
                w, theirs.connections[str(i), str(i + 1)].w.data, rtol=1e-4, atol=1e-5
            )
        theirs.reset_state_variables()
    assert all(s.dense().mean() > 0.01 for s in layers[:2])
    assert torch.equal(start[0], ours.weights[0]) == (nu == (0.0, 0.0))


def test_backends_agree_over_several_batches():
    networks = [STDPNetwork(SIZES, backend=b, seed=1) for b in ("reference", "cpu")]
    for batch in range(2):
        x = Spikes.from_dense(bernoulli(50, 8, SIZES[0], 0.2, batch))
        a, b = (network.run(x) for network in networks)
        assert [torch.equal(p.dense(), q.dense()) for p, q in zip(a, b, strict=True)] == [True] * 3
    for p, q in zip(networks[0].weights, networks[1].weights, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_a_layer_hears_the_one_before_a_step_later():
    network = STDPNetwork((1, 1, 1), nu=(0.0, 0.0), wmin=13.0, wmax=13.0)
    x = torch.zeros(4, 1, 1)
    x[0] = 1
    first, second = network.run(Spikes.from_dense(x))
    assert first.dense().flatten().tolist() == [0, 1, 0, 0]
    assert second.dense().flatten().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 5), (20, 1, 5), (20, 3, 5)])
def test_silent_and_saturated_input(backend, rate, shape):
    network = STDPNetwork((5, 4), backend=backend)
    start = network.weights[0].clone()
    (spikes,) = network.run(Spikes.from_dense(torch.full(shape, rate)))
    assert spikes.shape == (*shape[:2], 4)
    assert (spikes.dense().sum() > 0) == (rate == 1.0 and shape[0] > 1)
    if rate == 0.0:
        assert torch.equal(network.weights[0], start)


def test_state_is_reset_and_without_learning_weights_stay():
    network = STDPNetwork((30, 20, 10), seed=2)
    start = [w.clone() for w in network.weights]
    x = Spikes.from_dense(bernoulli(30, 4, 30, 0.4))
    runs = [network.run(x, learn=False) for _ in range(2)]
    assert all(torch.equal(w, s) for w, s in zip(network.weights, start, strict=True))
    assert all(torch.equal(a.dense(), b.dense()) for a, b in zip(*runs, strict=True))
    network.run(x)
    assert not torch.equal(network.weights[0], start[0])


def test_initial_weights_follow_seed_and_bounds():
    a, b, c = (STDPNetwork((50, 40), seed=s, wmin=w) for s, w in ((0, 0.0), (0, 0.0), (1, 0.0)))
    assert torch.equal(a.weights[0], b.weights[0]) and not torch.equal(a.weights[0], c.weights[0])
    assert a.weights[0].dtype == torch.float32 and a.weights[0].shape == (50, 40)
    assert abs(a.weights[0].mean() - 0.5) < 0.02
    narrow = STDPNetwork((50, 40), wmin=-0.2, wmax=0.2).weights[0]
    assert narrow.min() < -0.19 and narrow.max() < 0.2
    assert STDPNetwork((50, 40), wmin=0.5, wmax=None).weights[0].min() == 0.5


def test_errors():
    with pytest.raises(ReaderError, match=r"sizes \[5\] make no network"):
        STDPNetwork((5,))
    with pytest.raises(ReaderError, match="wmin = 1.0"):
        STDPNetwork((5, 4), wmin=1.0, wmax=0.0)
    with pytest.raises(ReaderError, match="do not fit spikes"):
        STDPNetwork((5, 4)).run(Spikes.from_dense(torch.zeros(2, 1, 6)))
