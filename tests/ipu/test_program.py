"""The tile program computes what the operators compute, on one IPU and on several."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import Layer, Spikes, backends
from paraspike.errors import ReaderError
from paraspike.ipu.machine import MACHINES, Machine
from paraspike.ipu.network import TileNetwork
from paraspike.layer import Draws
from paraspike.machine import label
from paraspike.network import Network
from paraspike.neurons import LIF, SPSN, LeakyIntegrator, Surrogate
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


def test_all_of_a_program_is_carried_out():
    """A superstep that the executor does not know would silently do nothing."""
    from paraspike.ipu import execute, mapping, program

    placed = mapping.place([5, 6, 3], [5, 6, 3], dataclasses.replace(SMALL), batch=2, steps=3)
    made = program.Program(placed)
    source = Path(execute.__file__).read_text()
    names = {step.name for _, step in (*made.forward, *made.backward)}
    assert len(names) == 13 and all(f'"{name}"' in source for name in names)
