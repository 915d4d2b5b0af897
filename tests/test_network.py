import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.layer import Draws, Layer
from paraspike.network import Network, reduce_time
from paraspike.neurons import LIF, LeakyIntegrator, ReLU, Surrogate, cuba
from paraspike.papers import spsn
from paraspike.spikes import Spikes

DT = 1e-2


def activity(shape, density=0.05, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density).float()


@pytest.mark.parametrize("model", spsn.MODELS)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_seed_is_the_same_alone_and_among_others(model, backend):
    seeds, per_seed = (3, 8, 1), 4
    x = activity((15, per_seed * len(seeds), 40))
    samples = np.tile(np.arange(per_seed), len(seeds))

    def run(chosen):
        net = spsn.network(
            model, 40, (16, 12), 5, DT, seeds=[seeds[i] for i in chosen], backend=backend
        )
        rows = np.concatenate([np.arange(i * per_seed, (i + 1) * per_seed) for i in chosen])
        part = Spikes.from_lists(
            *Spikes.from_dense(x[:, rows].contiguous()).lists, (15, len(rows), 40)
        )
        owners = np.repeat([seeds[i] for i in chosen], per_seed)
        out = net(part, Draws(samples[rows], owners, trial=2))
        out.readout.square().sum().backward()
        return out.readout.detach(), [p.grad for p in net.parameters()]

    together, grads = run([0, 1, 2])
    alone, own = run([1])
    assert torch.equal(together[:, per_seed : 2 * per_seed], alone)
    for g, o in zip(grads, own, strict=True):
        assert torch.equal(g[1:2], o)


@pytest.mark.parametrize("model", spsn.MODELS)
def test_backends_agree(model):
    x = activity((30, 6, 50), seed=1)
    draws = Draws(np.arange(6), np.zeros(6, np.int64))
    seen = []
    for backend in ("reference", "cpu"):
        net = spsn.network(model, 50, (20, 20), 5, DT, backend=backend)
        part = Spikes.from_lists(*Spikes.from_dense(x).lists, x.shape)
        out = net(part, draws)
        out.readout.sum().backward()
        seen.append((out.readout.detach(), [p.grad for p in net.parameters()]))
    torch.testing.assert_close(seen[0][0], seen[1][0], rtol=1e-4, atol=1e-5)
    for a, b in zip(seen[0][1], seen[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_seed_of_dense_spikes_takes_products_and_leaves_its_neighbour_alone():
    layer = Layer(40, 6, ReLU(), seeds=(1, 2), backend="cpu")
    lif = Layer(40, 6, cuba(DT, 2e-2, 2e-2), seeds=(1, 2), backend="cpu")
    thin, thick = activity((9, 3, 40), 0.05), activity((9, 3, 40), 0.5)
    seen = {}
    for name, pair in {
        "sums": (thin, thin),
        "both": (thin, thick),
        "products": (thick, thick),
    }.items():
        x = torch.cat(pair, 1)
        x = Spikes.from_lists(*Spikes.from_dense(x).lists, x.shape)
        seen[name] = layer(x).split(3, 1)
        lif(x)
        assert lif.product_share == {"sums": 0.0, "both": 0.5, "products": 1.0}[name]
    assert torch.equal(seen["both"][0], seen["sums"][0])
    assert torch.equal(seen["both"][1], seen["products"][1])
    dense = backends.operator("synapse", "reference")(
        torch.cat((thin, thick), 1), layer.weight, layer.bias
    )
    torch.testing.assert_close(torch.cat(seen["both"], 1), torch.relu(dense))


def test_initial_weights_are_kaiming_uniform_without_bias():
    net = spsn.network("LIF", 700, (128, 128, 128), 20, 1e-3)
    assert sum(p.numel() for p in net.parameters()) == 125_332
    for layer in net.layers:
        bound = (3 / layer.n_in) ** 0.5
        assert 0.97 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not layer.bias.detach().any()


def test_the_net_without_memory_starts_as_torch_linear_does():
    for layer in spsn.network("ReLU", 700, (128,), 20, DT, seeds=(0, 1)).layers:
        bound = layer.n_in**-0.5
        for p in (layer.weight, layer.bias):
            assert 0.9 * bound < float(p.detach().abs().max()) <= bound
            assert float(p.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.2)


def test_layer_is_a_plain_module():
    model = nn.Sequential(
        Layer(6, 5, cuba(DT, 2e-2, 2e-2), name="a"),
        Layer(5, 2, LeakyIntegrator(0.5, 0.5, 0.5), name="b"),
    )
    x = 3 * activity((9, 4, 6), 0.5)
    out = model(x)
    assert isinstance(out, torch.Tensor) and out.shape == (9, 4, 2)
    copy = nn.Sequential(
        Layer(6, 5, cuba(DT, 2e-2, 2e-2), name="c"),
        Layer(5, 2, LeakyIntegrator(0.5, 0.5, 0.5), name="d"),
    )
    assert not torch.equal(copy(x), out)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(x), out)
    assert copy.to(torch.float64)(x.double()).dtype == torch.float64


def test_a_plain_stochastic_layer_draws_afresh_at_each_call():
    layer = Layer(3, 4, spsn.neuron("SPSN-SB", DT))
    x = torch.zeros(50, 2, 3)
    assert not torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("steps, delay", [(5, 0), (5, 2), (2, 5), (5, 5)])
def test_delay_shifts_the_currents(steps, delay):
    x = torch.randn(steps, 2, 3)
    late = Layer(3, 4, ReLU(), delay=delay)(x)
    now = Layer(3, 4, ReLU())(x)
    assert torch.equal(late[delay:], now[: max(0, steps - delay)])
    assert not late[:delay].any()


def test_what_does_not_fit_is_refused():
    layer = Layer(3, 4, LIF(), seeds=(0, 1))
    with pytest.raises(ReaderError, match=r"multiple of 2 seeds"):
        layer(torch.zeros(2, 3, 3))
    with pytest.raises(ReaderError, match=r"\[T, B, 3\]"):
        layer(torch.zeros(2, 2, 5))
    with pytest.raises(ReaderError, match="delay"):
        Layer(3, 4, LIF(), delay=-1)
    with pytest.raises(ReaderError, match="do not fit"):
        Network((3, 4), LIF(), ReLU()).load_arrays(
            {"layers.0.weight": np.zeros((1, 2, 2), np.float32)}
        )
    with pytest.raises(ReaderError, match="readout 'median'"):
        reduce_time(torch.zeros(2, 1, 1), "median")


def test_reductions_over_time():
    u = torch.tensor([[1.0], [4.0], [-2.0]]).reshape(3, 1, 1)
    assert {how: reduce_time(u, how).item() for how in ("mean", "max", "sum", "last")} == {
        "mean": 1.0, "max": 4.0, "sum": 3.0, "last": -2.0,
    }  # fmt: skip


@pytest.mark.parametrize("model", spsn.MODELS)
def test_no_steps_make_no_activity(model):
    net = spsn.network(model, 6, (4,), 3, DT, seeds=(0, 1), backend="cpu")
    x = Spikes.from_lists(np.zeros(1, np.int64), [], [], (0, 4, 6))
    out = net(x, Draws(np.arange(4), np.repeat([0, 1], 2)))
    assert out.readout.shape == (0, 4, 3) and out.hidden[0].shape == (0, 4, 4)


def test_layers_replace_a_snntorch_loop():
    """The README's swap: same spikes and weight gradients as Linear and snn.Leaky step by step."""
    lif = LIF(a_uu=0.9, reset="subtract", reset_at="next_step", surrogate=Surrogate(slope=25))
    net = nn.Sequential(
        Layer(40, 30, lif, bias=False, name="1"), Layer(30, 5, lif, bias=False, name="2")
    )
    linear = [nn.Linear(layer.n_in, layer.n_out, bias=False) for layer in net]
    leaky = [
        snntorch.Leaky(beta=0.9, spike_grad=snntorch.surrogate.fast_sigmoid(slope=25)) for _ in net
    ]
    with torch.no_grad():
        for layer, plain in zip(net, linear, strict=True):
            # Multiples of 1/64 add up exactly in any order.
            layer.weight.copy_((128 * layer.weight).round() / 64)
            plain.weight.copy_(layer.weight.T)
    x = activity((30, 4, 40), 0.2)
    memory, out = [neuron.init_leaky() for neuron in leaky], []
    for x_t in x:
        for i, (plain, neuron) in enumerate(zip(linear, leaky, strict=True)):
            x_t, memory[i] = neuron(plain(x_t), memory[i])
        out.append(x_t)
    expected, spikes = torch.stack(out), net(x)
    assert expected.sum() > 10 and torch.equal(spikes, expected)
    targets = torch.tensor([0, 1, 2, 3])
    for s in (expected, spikes):
        nn.functional.cross_entropy(s.mean(0), targets).backward()
    for layer, plain in zip(net, linear, strict=True):
        torch.testing.assert_close(layer.weight.grad.T, plain.weight.grad, rtol=1e-4, atol=1e-6)
