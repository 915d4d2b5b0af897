"""Spike lists: the poster's example, both implementations, and gradients of what is listed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import Layer, Spikes, backends
from paraspike.errors import ReaderError
from paraspike.neurons import LIF, Surrogate
from paraspike.ops.compact import cpu, reference
from paraspike.spikes import to_bits

POSTER = torch.tensor([0.8, 1.2, -0.5, 0.6, 0.95, 0.1, 0.98])


def by_hand(u, first, second, slots, policy, offset):
    """One list in ten lines: ids, counts, lost."""
    n = len(u)
    spikes = [i for i in range(n) if u[i] > first]
    near = [i for i in range(n) if second < u[i] <= first]
    order = {
        "first": lambda i: i,
        "random": lambda i: (i - offset) % n,
        "largest": lambda i: (-u[i], i),
    }[policy]
    spikes, near = sorted(spikes, key=order), sorted(near, key=order)
    kept = spikes[:slots]
    more = near[: slots - len(kept)]
    lost = [len(spikes) - len(kept), len(near) - len(more)]
    return kept + more, [len(kept), len(kept) + len(more)], lost


def test_the_posters_example():
    u = POSTER.reshape(1, 1, -1)
    ids, counts, lost = reference.lists(u > 1.0, u > 0.9, 4)
    assert ids.tolist() == [[[1, 4, 6, -1]]] and counts.tolist() == [[[1, 3]]]
    assert not lost.any()


@given(
    st.integers(0, 4), st.integers(0, 3), st.integers(1, 200), st.integers(1, 60),
    st.sampled_from(reference.POLICIES), st.sampled_from([0.0, 0.1, 0.6, 3.0]), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=80)
def test_both_equal_ten_lines_by_hand(t, b, n, slots, policy, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few values, so that potentials tie.
    u = 1 + scale * torch.randint(-6, 6, (t, b, n), generator=generator) / 8
    offset = torch.randint(0, n, (t, b), generator=generator)
    fired, near = u > 1.0, u > 0.9
    ids, counts, lost = reference.lists(fired, near, slots, policy, offset, u)
    for row in np.ndindex(t, b):
        entries, count, gone = by_hand(u[row].tolist(), 1.0, 0.9, slots, policy, int(offset[row]))
        assert ids[row].tolist() == (entries + [-1] * slots)[:slots]
        assert counts[row].tolist() == count and lost[row].tolist() == gone
    kept, listed = reference.spread(ids, counts, n)
    spikes = Spikes.from_bits(to_bits(fired), (t, b, n), near=to_bits(near))
    out, counted, missed = cpu.compact(spikes, None, slots, policy, offset, u)
    assert torch.equal(counted, counts) and torch.equal(missed, lost)
    assert torch.equal(out.dense() > 0, kept) and torch.equal(out.totals, kept.sum(0).float())
    if lost.any():
        assert np.array_equal(out.near, to_bits(listed))


def layers(backend, policy, below, slots, delay=0):
    lif = LIF(a_uu=0.9, a_ui=0.0, c0=1.0, surrogate=Surrogate(slope=10.0, below=below))
    ops = backends.operators(backend)
    made = [
        Layer(30, 90, lif, capacity=slots, policy=policy, delay=delay, name="0", backend=ops),
        Layer(90, 40, lif, capacity=slots, policy=policy, delay=delay, name="1", backend=ops),
    ]
    return torch.nn.ModuleList(made).double()


@pytest.mark.parametrize("policy", reference.POLICIES)
@pytest.mark.parametrize("slots", [1, 12, 90])
def test_layers_with_lists_are_the_same_on_both_backends(policy, slots):
    raster = (torch.rand(12, 3, 30, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    found = []
    for backend in ("reference", "cpu"):
        net = layers(backend, policy, 0.3, slots, delay=1)
        with torch.no_grad():
            for layer in net:
                layer.weight.mul_(4)
        middle = net[0](Spikes.from_dense(raster))
        out = net[1](middle)
        (out.totals**2).sum().backward()
        lost = [layer.lost.sum().item() for layer in net]
        assert (sum(lost) > 0) == (slots < 90) and out.totals.sum() > 0
        found.append([out.dense(torch.float64).detach(), *(v.weight.grad for v in net), lost])
    for a, b in zip(found[0][:-1], found[1][:-1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert found[0][-1] == found[1][-1]


def test_gradients_are_those_of_a_network_whose_lists_are_constants():
    """Autograd through the reference LIF, spikes masked by what the lists held."""
    raster = (torch.rand(10, 2, 30, generator=torch.Generator().manual_seed(2)) < 0.4).double()
    net = layers("cpu", "first", 0.4, 6)
    with torch.no_grad():
        net[0].weight.mul_(4), net[1].weight.mul_(8)
    out = net[1](net[0](Spikes.from_dense(raster)))
    out.totals.pow(2).sum().backward()
    plain = layers("reference", "first", 0.4, None)
    plain.load_state_dict(net.state_dict())
    x = raster
    for layer in plain:
        spikes = layer(x)
        _, before, _ = layer.ops.lif(
            x.detach() @ layer.weight + layer.bias, layer.neuron, trace=True
        )
        before = before.detach()
        ids, counts, lost = reference.lists(before > 1, before > 0.6, 6)
        kept, listed = reference.spread(ids, counts, layer.n_out)
        assert lost.any()
        held = spikes * listed
        x = held - (held * ~kept).detach()
        assert torch.equal(x > 0, kept)
    x.sum(0).pow(2).sum().backward()
    for a, b in zip(net, plain, strict=True):
        torch.testing.assert_close(a.weight.grad, b.weight.grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(a.bias.grad, b.bias.grad, rtol=1e-9, atol=1e-12)


def test_a_seed_has_the_same_lists_alone_and_among_others():
    lif = LIF(a_uu=0.9, a_ui=0.0, c0=4.0, surrogate=Surrogate(below=0.2))
    raster = (torch.rand(8, 3, 30, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    from paraspike.layer import Draws

    def run(seeds):
        layer = Layer(30, 70, lif, seeds=seeds, capacity=5, policy="random", backend="cpu")
        x = Spikes.from_dense(raster.repeat(1, len(seeds), 1))
        out = layer(x, Draws(np.tile(np.arange(3), len(seeds)), np.repeat(seeds, 3), 4, "train"))
        return out.dense().chunk(len(seeds), 1)

    together = run((5, 9))
    assert torch.equal(run((9,))[0], together[1]) and not torch.equal(*together)


def test_bad_lists_are_refused():
    lif = LIF()
    for bad in ({"capacity": 0}, {"capacity": 3, "policy": "last"}):
        with pytest.raises(ReaderError, match="list of"):
            Layer(3, 4, lif, backend="cpu", **bad)
    with pytest.raises(ReaderError, match="recurrent"):
        Layer(3, 4, lif, recurrent=True, capacity=2, backend="cpu")
    with pytest.raises(ReaderError, match="that adapt"):
        Layer(3, 4, LIF(beta=0.2), capacity=2, backend="reference")
    with pytest.raises(ReaderError, match="offset"):
        reference.lists(torch.ones(1, 1, 3) > 0, torch.ones(1, 1, 3) > 0, 2, "random")


def test_largest_tells_very_near_ties_apart():
    u = torch.tensor([2.0, 2.0 + 1e-12, 0.0], dtype=torch.float64).reshape(1, 1, 3)
    spikes = Spikes.from_bits(to_bits(u > 1), (1, 1, 3), near=to_bits(u > 1))
    out, _, lost = cpu.compact(spikes, None, 1, "largest", None, u)
    assert out.dense().flatten().tolist() == [0, 1, 0] and lost.tolist() == [[[1, 0]]]
