"""The tile program computes what the operators compute, on one IPU and on several."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import Layer, Spikes, backends
from paraspike.errors import ReaderError
from paraspike.ipu import program
from paraspike.ipu.execute import Executor
from paraspike.ipu.machine import MACHINES, Machine
from paraspike.ipu.network import TileNetwork
from paraspike.layer import Draws
from paraspike.machine import label
from paraspike.network import Network
from paraspike.neurons import LIF, SPSN, LeakyIntegrator, Surrogate
from paraspike.papers import eprop, spsn
from paraspike.papers import ipu as paper

SMALL = Machine("small", 40, 256 * 1024, 1e9, 4, "G", "for tests")
READOUT = LeakyIntegrator(0.5, 0.9, 0.3)


def raster(shape, density, seed, counts=False):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(shape, generator=generator) < density).double()
    return x * torch.randint(1, 4, shape, generator=generator) if counts else x


def run(net, x, seed, draws=None):
    """Readout, spikes of the hidden layers and gradients for a random aim."""
    net.zero_grad()
    activity = net(Spikes.from_dense(x), draws)
    aim = torch.randn(
        activity.readout.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    (activity.readout * aim).sum().backward()
    hidden = [h.dense(torch.float64) for h in activity.hidden]
    gradients = [p.grad for p in net.parameters()]
    return [activity.readout.detach(), *hidden, *gradients], [
        layer.lost for layer in getattr(net, "network", net).layers
    ]


@pytest.fixture(scope="module", autouse=True)
def small_machine():
    MACHINES["small"] = SMALL
    yield
    del MACHINES["small"]


@given(
    st.integers(1, 4), st.integers(0, 9), st.integers(1, 4),
    st.lists(st.integers(1, 70), min_size=4, max_size=4),
    st.integers(0, 2), st.sampled_from([None, 2, 6, 20]), st.sampled_from(["first", "random", "largest"]),
    st.booleans(), st.sampled_from(["masked", "through", "full"]), st.sampled_from(["zero", "subtract"]),
    st.sampled_from([{"below": 0.1}, {"below": 0.5}, {"band": 0.3}, {}]), st.booleans(), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=60)
def test_program_equals_operators(
    ipus, steps, batch, sizes, delay, slots, policy, spiking, grad, reset, window, counts, seed
):
    """All layers at once on 1 to 4 IPUs against the layers of backend reference one after another."""
    lif = LIF(
        a_uu=0.8, a_ui=0.0, c0=1.0, reset=reset, reset_grad=grad, surrogate=Surrogate(slope=10, **window)
    )  # fmt: skip
    sizes = [12, *sizes]
    capacities = [slots] * 3 + [slots if spiking else None]
    net = Network(
        sizes, lif, lif if spiking else READOUT, delay=delay, capacities=capacities, policy=policy,
        backend="reference",
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.mul_(4)
            layer.bias.uniform_(-0.2, 0.4, generator=torch.Generator().manual_seed(seed))
    x = raster((steps, batch, 12), 0.3, seed, counts)
    draws = Draws(torch.arange(batch).numpy(), torch.zeros(batch).long().numpy(), 2)
    expected, lost = run(net, x, seed, draws)
    tiles = TileNetwork(net, "small", ipus)
    actual, _ = run(tiles, x, seed, draws)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)
    if steps:
        for a, e in zip(tiles.lost, lost, strict=True):
            assert e is None or torch.equal(a, e)
    assert len({block.ipu for block in tiles.mapping.blocks}) == ipus


NEURONS = {
    "spsn": LIF(a_ii=0.7, a_uu=0.8, a_ui=0.2, threshold=0.3),
    "eprop": LIF(a_uu=0.9, a_ui=1.0, threshold=0.6, beta=0.2, rho=0.9, reset="subtract",
                 refractory="block_spike", refractory_steps=2, surrogate=Surrogate("triangle", 1.0, 0.3)),
    "bilinear": LIF(a_uu=0.75, a_ui=0.0, c0=0.5, c1=0.5, threshold=0.5, reset_at="next_step",
                    gate_input=True, reset_grad="full"),
    "clamped": LIF(a_uu=0.9, a_ui=0.5, threshold=0.5, refractory="clamp_input", refractory_steps=3,
                   surrogate=Surrogate(band=0.4), surrogate_at="post"),
    "graphcore": paper.neuron(),
}  # fmt: skip


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("backend", ["cpu"])
def test_every_papers_neuron_runs_on_tiles(name, backend):
    """Layer by layer with backend ipu, seeds as an axis, against the compiled layer."""
    lif, found = NEURONS[name], []
    x = raster((9, 6, 20), 0.4, 1)
    for chosen in (backend, "ipu"):
        ops = backends.operators(chosen)
        made = [
            Layer(20, 33, lif, seeds=(0, 3), delay=1, name="0", backend=ops),
            Layer(33, 5, READOUT, seeds=(0, 3), name="1", backend=ops),
        ]
        net = torch.nn.ModuleList(made).double()
        with torch.no_grad():
            net[0].weight.mul_(5)
        given = x.clone().requires_grad_()
        spikes = net[0](Spikes.from_dense(given))
        out = net[1](spikes)
        out.square().sum().backward()
        assert spikes.totals.sum() > 10
        near = given.grad
        if all(map(torch.isfinite, torch.tensor(lif.surrogate.reach))):
            assert spikes.near is not None
        found.append([spikes.dense(torch.float64).detach(), out.detach(), near,
                      *(p.grad for p in net.parameters())])  # fmt: skip
    for a, e in zip(*found, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-10)


@given(st.integers(1, 90), st.integers(1, 12), st.integers(0, 4), st.integers(0, 999))
@settings(max_examples=15)
def test_lists_that_hold_everything_give_dense_two_threshold_bptt(hidden, batch, depth, seed):
    """No list overflows: equal to BPTT whose surrogate is masked by H(u - th2) (autograd, dense)."""
    lif = paper.neuron(second=0.6)
    sizes = [10] + [hidden] * depth + [4]
    nets = [
        Network(sizes, lif, lif, delay=1, capacities=capacities, backend=backend).double()
        for capacities, backend in (([n for n in sizes[1:]], "cpu"), (None, "reference"))
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    x = raster((7, batch, 10), 0.5, seed)
    first, lost = run(nets[0], x, seed)
    second, _ = run(nets[1], x, seed)
    assert not any(v.any() for v in lost)
    for a, e in zip(first, second, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)


def test_what_the_backend_lacks_is_refused_by_name():
    ops = backends.operators("ipu")
    x = Spikes.from_dense(raster((3, 2, 8), 0.5, 0).float())
    with pytest.raises(ReaderError, match=r"ipu \(simulated\) lacks operator synapse"):
        Layer(8, 4, SPSN(READOUT), backend=ops)(x)
    with pytest.raises(ReaderError, match="lacks recurrent layers"):
        Layer(8, 4, LIF(), recurrent=True, backend=ops)(x)
    with pytest.raises(ReaderError, match="lacks neurons of type SPSN"):
        TileNetwork(Network((8, 4, 2), SPSN(READOUT), READOUT, backend="cpu"))
    with pytest.raises(ReaderError, match="lacks operator stdp"):
        ops.stdp(x)
    assert backends.resolve("ipu") == "ipu" and label("ipu") == "ipu (simulated)"


def test_a_network_that_does_not_fit_is_refused_before_it_runs():
    net = Network((700, 600, 20), paper.neuron(), READOUT, backend="cpu")
    x = Spikes.from_dense(torch.zeros(2000, 64, 700))
    with pytest.raises(
        ReaderError, match=r"layer \d needs \d+ KiB on tile \d+ of IPU 0, \d+ KiB more"
    ):
        TileNetwork(net)(x)


def test_a_superstep_that_nobody_carries_out_is_noticed():
    net = Network((5, 6, 3), paper.neuron(), READOUT, backend="cpu").double()
    tiles = TileNetwork(net, "small")
    tiles(Spikes.from_dense(raster((3, 2, 5), 0.5, 0)))
    made = program.Program(tiles.mapping, 0)
    assert len({step.name for _, step in (*made.forward, *made.backward)}) == 13
    made.forward[1][1].name = "gossip"
    executor = Executor(made, [])
    executor.layers = [None] * 2
    with pytest.raises((KeyError, AttributeError)):
        executor._forward("gossip", 0, 0)


def test_input_that_does_not_fit_is_refused():
    net = Network((20, 6, 3), paper.neuron(), READOUT, seeds=(0, 1, 2), backend="cpu").double()
    tiles = TileNetwork(net, "small")
    for shape in ((3, 4, 20), (3, 3, 13), (3, 3, 23)):
        with pytest.raises(ReaderError, match="does not fit"):
            tiles(Spikes.from_dense(torch.zeros(shape).double()))
    with pytest.raises(ReaderError, match="does not fit"):
        tiles(torch.zeros(3, 3, 20))
    for wrong in ({"ipus": 0}, {"ipus": 99}, {"machine": "Bo"}):
        with pytest.raises(ReaderError):
            TileNetwork(net, **wrong)


@pytest.mark.parametrize("policy", ["first", "random", "largest"])
def test_a_network_of_backend_ipu_is_one_tile_program(policy):
    """Seeds, lists that overflow, no bias, single precision, gradients of input and hidden spikes."""
    found = []
    x = raster((7, 6, 20), 0.4, 3).float()
    draws = Draws(np.tile(np.arange(3), 2), np.repeat([0, 5], 3), 1)
    for backend in ("cpu", "ipu"):
        net = Network((20, 40, 30, 5), paper.neuron(), READOUT, (0, 5), bias=False, delay=1,
                      capacities=(6, 4, None), policy=policy, backend=backend)  # fmt: skip
        with torch.no_grad():
            net.layers[0].weight.mul_(4), net.layers[1].weight.mul_(6)
        given = Spikes.from_dense(x.clone().requires_grad_())
        activity = net(given, draws)
        hidden = sum((h.totals**2).sum() for h in activity.hidden)
        (activity.readout.square().sum() + hidden).backward()
        lost = [layer.lost for layer in net.layers[:2]]
        assert lost[0].sum() > 0 and net.layers[2].lost is None
        found.append([activity.readout.detach(), given.carrier.grad, *lost,
                      *(p.grad for p in net.parameters())])  # fmt: skip
    for a, e in zip(*found, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)
    big = Network((700, *[980] * 20, 20), paper.neuron(), READOUT, backend="ipu")
    with pytest.raises(ReaderError, match="KiB more|tiles are needed"):
        big(Spikes.from_dense(torch.zeros(100, 48, 700)))


@pytest.mark.parametrize("shape", [(0, 2, 20), (4, 0, 20), (0, 0, 20), (1, 1, 20)])
@pytest.mark.parametrize("backend", ["cpu", "ipu", "reference"])
def test_no_steps_no_samples(shape, backend):
    net = Network((20, 40, 5), paper.neuron(), READOUT, capacities=(6, None), backend=backend)
    out = net(Spikes.from_dense(torch.zeros(shape)))
    out.readout.sum().backward()
    assert out.readout.shape == (*shape[:2], 5)
    assert all(p.grad is None or not p.grad.isnan().any() for p in net.parameters())


def test_the_papers_own_networks_run_on_tiles():
    """What spsn and eprop train, feedforward: built by their own constructors."""
    nets = {
        "spsn": lambda b: spsn.network("LIF", 30, (24, 24), 4, 0.01, backend=b),
        "eprop": lambda b: Network((30, 24, 4), eprop.lsnn(0.01), eprop.readout(0.01), backend=b),
        "eprop LIF": lambda b: Network(
            (30, 24, 4), eprop.lsnn(0.01, adaptive=False), eprop.readout(0.01), backend=b
        ),
    }
    x = raster((12, 3, 30), 0.5, 4)
    for name, build in nets.items():
        outs = []
        for backend in ("cpu", "ipu"):
            net = build(backend).double()
            with torch.no_grad():
                net.layers[0].weight.mul_(5)
            activity = net(Spikes.from_dense(x))
            activity.readout.square().sum().backward()
            assert activity.hidden[0].totals.sum() > 5, name
            outs.append([activity.readout.detach(), *(p.grad for p in net.parameters())])
        for a, e in zip(*outs, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-9)


def test_refractory_neurons_are_not_near_threshold():
    lif = LIF(a_uu=0.9, a_ui=0.0, c0=1.0, refractory="block_spike", refractory_steps=2,
              surrogate=Surrogate(slope=10, below=0.6))  # fmt: skip
    found = []
    for backend in ("cpu", "ipu"):
        net = Network((20, 50, 4), lif, READOUT, capacities=(5, None), backend=backend).double()
        with torch.no_grad():
            net.layers[0].weight.mul_(4)
        net(Spikes.from_dense(raster((9, 3, 20), 0.5, 5))).readout.square().sum().backward()
        found.append([net.layers[0].lost, *(p.grad for p in net.parameters())])
    assert found[0][0].sum() > 0
    for a, e in zip(*found, strict=True):
        torch.testing.assert_close(a, e)
    with pytest.raises(ReaderError, match="refractory"):
        Network((20, 50, 4), lif, READOUT, capacities=(5, None), backend="reference")
