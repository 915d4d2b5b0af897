"""Sparse masks and deep rewiring: counts, signs and zeros hold, and a seed is the same alone."""

import io

import numpy as np
import pytest
import torch

from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.learning.optimizers import PerSeed
from paraspike.learning.rewiring import DeepR, _choose, sparse_mask
from paraspike.neurons import LIF, Identity

NAMES = ("hidden/weight", "hidden/recurrent_weight")


class Sparse(torch.nn.Module):
    """A recurrent hidden layer, sparse in both weights, and a dense readout."""

    def __init__(self, seeds, densities=(0.1, 0.2), sizes=(30, 20, 5)):
        super().__init__()
        n_in, n, n_out = sizes
        one = 0 if seeds is None else seeds
        hidden = Layer(
            n_in,
            n,
            LIF(a_uu=0.9, c0=1.0, a_ui=0.0, threshold=0.2),
            seeds=seeds,
            recurrent=True,
            mask=sparse_mask(n_in, n, densities[0], one, "mask/in"),
            recurrent_mask=sparse_mask(n, n, densities[1], one, "mask/rec"),
            name="hidden",
            backend="reference",
        )
        readout = Layer(n, n_out, Identity(), seeds=seeds, name="out", backend="reference")
        self.layers = torch.nn.ModuleList([hidden, readout])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def weights(net):
    hidden = net.layers[0]
    return (
        (hidden.weight.detach(), hidden.mask),
        (hidden.recurrent_weight.detach(), hidden.recurrent_mask),
    )


def noise(seed, update, shape):
    draw = torch.Generator().manual_seed(1000 * seed + update)
    return torch.randn(shape, generator=draw)


def run(net, optimizer, rewiring, updates, seeds):
    """Steps on gradients of noise, everywhere, that differ by seed and update alone."""
    moved = {name: 0 for name in NAMES}
    for update in updates:
        for p in net.parameters():
            shape = p.shape[1:] if seeds else p.shape
            each = [noise(seed, update, shape) for seed in seeds or (0,)]
            p.grad = torch.stack(each) if seeds else each[0]
        rewiring.pull()
        optimizer.step()
        for name, count in rewiring.step().items():
            moved[name] = moved[name] + count
    return moved


def trained(seeds, updates=60, densities=(0.1, 0.2), rate=0.02, **options):
    net = Sparse(seeds, densities)
    optimizer = PerSeed(net, "adam", rate)
    rewiring = DeepR(net.layers, optimizer, **options)
    return net, rewiring, run(net, optimizer, rewiring, range(updates), seeds)


@pytest.mark.parametrize("density", [0.003, 0.01, 0.1, 0.5, 1.0])
def test_masks_have_exactly_their_density(density):
    mask = sparse_mask(70, 33, density, 3, "a")
    assert mask.shape == (70, 33) and mask.dtype == torch.bool
    assert mask.sum() == round(density * 70 * 33)


def test_masks_are_their_seeds_and_streams_alone():
    masks = sparse_mask(40, 30, 0.1, (5, 2), "a")
    assert torch.equal(masks[1], sparse_mask(40, 30, 0.1, 2, "a"))
    others = (masks[0], sparse_mask(40, 30, 0.1, 2, "b"))
    assert not any(torch.equal(masks[1], other) for other in others)
    many = sparse_mask(20, 10, 0.1, range(400), "a").float().mean(0)
    assert many.min() > 0.02 and many.max() < 0.2, "any place is as likely"


@pytest.mark.parametrize("n, count", [(1, 1), (7, 7), (1000, 1), (1000, 250), (1000, 251)])
def test_choices_are_distinct_and_in_range(n, count):
    chosen = _choose(1, "s", n, count)
    assert len(np.unique(chosen)) == len(chosen) == count and 0 <= chosen.min() <= chosen.max() < n
    seen = np.zeros(n, int)
    for trial in range(200):
        seen[_choose(1, "s", n, count, trial)] += 1
    share = 200 * count / n
    assert abs(seen - share).max() <= 6 * np.sqrt(share) + 2


@pytest.mark.parametrize("signs", ["80/20", "50/50"])
@pytest.mark.parametrize("densities", [(1.0, 1.0), (0.3, 0.1), (0.01, 0.01)])
def test_numbers_signs_and_zeros_hold_over_many_steps(densities, signs):
    seeds = (4, 9, 11)
    net = Sparse(seeds, densities)
    optimizer = PerSeed(net, "adam", 0.02)
    rewiring = DeepR(net.layers, optimizer, signs=signs)
    first = [mask.clone() for _, mask in weights(net)]
    total = 0
    for update in range(60):
        total += sum(c.sum() for c in run(net, optimizer, rewiring, [update], seeds).values())
        for (weight, mask), pair, before in zip(weights(net), rewiring.pairs, first, strict=True):
            assert torch.equal(mask.sum((1, 2)), before.sum((1, 2)))
            assert not (weight * pair.sign < 0).any() and not weight[~mask].any()
    assert total > (0 if densities[0] < 0.1 else 500)
    for (weight, mask), before in zip(weights(net), first, strict=True):
        assert weight[mask].count_nonzero() > mask.sum() / 4
        assert torch.equal(mask, before) == (densities == (1.0, 1.0))


def test_signs_are_by_neuron_or_by_place():
    _, eighty, _ = trained((4, 9), 0, signs="80/20")
    _, fifty, _ = trained((4, 9), 0, signs="50/50")
    for pair in eighty.pairs:
        assert (pair.sign == pair.sign[:, :, :1]).all()
        rows = pair.sign.shape[1]
        assert ((pair.sign[:, :, 0] > 0).sum(1) == round(0.8 * rows)).all()
        assert not torch.equal(pair.sign[0], pair.sign[1])
    for pair in fifty.pairs:
        assert 0.4 < (pair.sign > 0).float().mean() < 0.6 and (pair.sign.abs() == 1).all()


def test_one_step_is_the_rule():
    """A lost connection's place is free again; the new ones start from nothing, the others stay."""
    seeds = (4,)
    net = Sparse(seeds)
    optimizer = PerSeed(net, "adam", 0.02)
    rewiring = DeepR(net.layers, optimizer)
    run(net, optimizer, rewiring, range(3), seeds)
    optimizer.zero_grad()
    (weight, mask), _ = weights(net)
    sign, before = rewiring.pairs[0].sign, mask.clone()
    lost = torch.zeros_like(mask)
    lost.view(-1)[mask.view(-1).nonzero()[::7]] = True
    with torch.no_grad():
        weight[lost] = -0.1 * sign[lost]
        weight[mask & ~lost] = 0.3 * sign[mask & ~lost]
        weight[~mask] = 5.0
    place = [p is net.layers[0].weight for p in optimizer.parameters].index(True)
    state = optimizer.torch.state[optimizer.slices[place][0]]

    def moments():
        return [state[name][None] for name in ("exp_avg", "exp_avg_sq")]

    remembered = [moment.clone() for moment in moments()]
    assert rewiring.step()[NAMES[0]].tolist() == [lost.sum()]
    new = mask & ~(before & ~lost)
    assert new.sum() == lost.sum() and not weight[new].any() and not weight[~mask].any()
    kept = before & ~lost
    assert mask[kept].all() and (weight[kept] == 0.3 * sign[kept]).all()
    for moment, old in zip(moments(), remembered, strict=True):
        assert not moment[new].any() and torch.equal(moment[~new], old[~new]) and old[new].any()


def test_a_weight_of_zero_stays():
    net = Sparse((4,))
    rewiring = DeepR(net.layers, PerSeed(net, "adam", 0.02))
    before = [mask.clone() for _, mask in weights(net)]
    for weight, _ in weights(net):
        weight.zero_()
    assert all(count.tolist() == [0] for count in rewiring.step().values())
    assert all(torch.equal(m, b) for (_, m), b in zip(weights(net), before, strict=True))


@pytest.mark.parametrize("signs, l1_strength", [("80/20", 0.0), ("50/50", 0.1)])
def test_a_seed_is_the_same_alone_or_among_others(signs, l1_strength):
    options = {"signs": signs, "l1_strength": l1_strength}
    together, _, moved = trained((4, 9, 11), **options)
    alone, _, moved_alone = trained((9,), **options)
    for (many, masks), (one, mask) in zip(weights(together), weights(alone), strict=True):
        assert torch.equal(many[1], one[0]) and torch.equal(masks[1], mask[0])
    for name in NAMES:
        assert moved[name][1] == moved_alone[name][0] > 10


def test_updates_and_streams_draw_other_places():
    net = Sparse((4,), (0.1, 0.1), (20, 20, 5))
    rewiring = DeepR(net.layers, PerSeed(net, "adam", 0.02))
    start = [mask.clone() for _, mask in weights(net)]
    found = []
    for _ in range(2):
        for (weight, mask), pair in zip(weights(net), rewiring.pairs, strict=True):
            mask.copy_(start[0])
            weight.copy_(-pair.sign * mask)
        rewiring.step()
        found += [mask.clone() for _, mask in weights(net)]
    assert len({mask.numpy().tobytes() for mask in found}) == 4


@pytest.mark.parametrize("l1_strength", [0.0, 0.1])
def test_a_resumed_run_goes_on_bit_for_bit(l1_strength):
    seeds = (4, 9)
    whole, _, _ = trained(seeds, 60, l1_strength=l1_strength)
    net, rewiring, _ = trained(seeds, 37, l1_strength=l1_strength)
    file = io.BytesIO()
    parts = {"net": net, "optimizer": rewiring.optimizer, "rewiring": rewiring}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    net = Sparse(seeds)
    optimizer = PerSeed(net, "adam", 0.02)
    rewiring = DeepR(net.layers, optimizer, l1_strength=l1_strength)
    for name, part in {"net": net, "optimizer": optimizer, "rewiring": rewiring}.items():
        part.load_state_dict(state[name])
    run(net, optimizer, rewiring, range(37, 60), seeds)
    for (a, b), (c, d) in zip(weights(whole), weights(net), strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)
    assert rewiring.updates == 60


def test_gradients_outside_the_mask_do_not_matter():
    runs = []
    for outside in (0.0, 100.0):
        net = Sparse((4,), (0.1, 0.2))
        optimizer = PerSeed(net, "adam", 0.02)
        rewiring = DeepR(net.layers, optimizer)
        for update in range(40):
            for p in net.parameters():
                p.grad = noise(4, update, p.shape)
            for (weight, mask), pair in zip(weights(net), rewiring.pairs, strict=True):
                pair.weight.grad[~mask] = outside * noise(5, update, weight.shape)[~mask]
            optimizer.step()
            rewiring.step()
        runs.append(weights(net))
    for (a, b), (c, d) in zip(*runs, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)


def test_a_plain_layer_with_torchs_own_optimiser_gives_what_a_stack_of_one_does():
    stack, _, moved = trained((0,), 40)
    net = Sparse(None)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    rewiring = DeepR(net.layers, optimizer)
    plain = run(net, optimizer, rewiring, range(40), None)
    for (many, masks), (one, mask) in zip(weights(stack), weights(net), strict=True):
        assert torch.equal(masks[0], mask)
        torch.testing.assert_close(many[0], one, rtol=1e-4, atol=1e-6)
    assert all(plain[name].tolist() == moved[name].tolist() for name in NAMES)


@pytest.mark.parametrize("own", [True, False])
def test_moments_of_an_optimiser_over_a_stack_start_from_nothing(own):
    seeds = (4, 9)
    net = Sparse(seeds)
    whole = PerSeed(net, "adam", 0.02, sliced=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02) if own else whole
    rewiring = DeepR(net.layers, optimizer)
    run(net, optimizer, rewiring, range(2), seeds)
    optimizer = optimizer if own else optimizer.torch
    (weight, mask), _ = weights(net)
    before = mask.clone()
    weight[1] *= -1
    rewiring.step()
    new = mask & ~before
    assert not new[0].any() and new[1].any()
    for name in ("exp_avg", "exp_avg_sq"):
        moment = optimizer.state[net.layers[0].weight][name]
        assert not moment[new].any() and moment[before[0].expand_as(new) & ~mask].any()


def test_l1_pulls_every_connection_towards_zero():
    net = Sparse((4, 9))
    optimizer = PerSeed(net, "sgd", 0.5)
    rewiring = DeepR(net.layers, optimizer, l1_strength=1e-3)
    before = [weight.clone() for weight, _ in weights(net)]
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    rewiring.pull()
    optimizer.step()
    for (weight, mask), old in zip(weights(net), before, strict=True):
        torch.testing.assert_close(weight, old - 5e-4 * old.sign() * mask)
    rewiring.step()
    with pytest.raises(ReaderError, match=r"call pull\(\) before"):
        rewiring.step()
    optimizer.zero_grad()
    with pytest.raises(ReaderError, match="no gradient to add to"):
        rewiring.pull()


def test_a_layer_that_is_rewired_learns_through_its_connections_alone():
    seeds = (4, 9)
    net = Sparse(seeds)
    optimizer = PerSeed(net, "adam", 0.01)
    rewiring = DeepR(net.layers, optimizer)
    x = (torch.rand(20, 8, 30, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    labels = torch.arange(8) % 4
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x).mean(0), labels)
        loss.backward()
        for pair in rewiring.pairs:
            assert not pair.weight.grad[~pair.mask].any() and pair.weight.grad[pair.mask].any()
        optimizer.step()
        rewiring.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_masks_per_seed_act_as_each_alone_and_are_the_layers_own():
    seeds = (4, 9)
    mask = sparse_mask(6, 5, 0.4, seeds, "m")
    given = mask.clone()
    layer = Layer(6, 5, Identity(), seeds=seeds, mask=mask, backend="reference")
    x = torch.rand(3, 4, 6)
    for s, seed in enumerate(seeds):
        alone = Layer(6, 5, Identity(), seeds=(seed,), mask=mask[s], backend="reference")
        rows = slice(2 * s, 2 * s + 2)
        assert torch.equal(alone(x[:, rows]), layer(x)[:, rows])
    rewiring = DeepR([layer], torch.optim.Adam(layer.parameters()))
    with torch.no_grad():
        layer.weight.neg_()
    assert rewiring.step()["layer/weight"].tolist() == [12, 12]
    assert torch.equal(mask, given) and not torch.equal(layer.mask, given)
    with pytest.raises(ReaderError, match=r"\[6, 5\], or \[2, 6, 5\]"):
        Layer(6, 5, Identity(), seeds=seeds, mask=torch.ones(3, 6, 5, dtype=bool))


def test_what_cannot_be_rewired_is_refused():
    for density in (0.0, -0.1, 1.1, 1e-4, float("nan")):
        with pytest.raises(ReaderError, match="places"):
            sparse_mask(10, 10, density, 0, "a")
    net = Sparse((4, 9))
    optimizer = PerSeed(net, "adam", 0.02)
    with pytest.raises(ReaderError, match="'90/10' are unknown"):
        DeepR(net.layers, optimizer, signs="90/10")
    with pytest.raises(ReaderError, match="l1_strength = -1"):
        DeepR(net.layers, optimizer, l1_strength=-1.0)
    with pytest.raises(ReaderError, match="masks to rewire: none"):
        DeepR(net.layers[1:], optimizer)
    with pytest.raises(ReaderError, match="of unlike names"):
        DeepR([*net.layers, *net.layers], optimizer)
    with pytest.raises(ReaderError, match="does not hold this weight"):
        DeepR(Sparse((4, 9)).layers, optimizer)
    plain = Sparse(None)
    with pytest.raises(ReaderError, match="does not hold this weight"):
        DeepR(plain.layers, PerSeed(plain, "adam", 0.02))
    shared = Layer(6, 5, Identity(), seeds=(1, 2), mask=sparse_mask(6, 5, 0.4, 0, "m"))
    with pytest.raises(ReaderError, match=r"one per seed, \[2, 6, 5\]"):
        DeepR([shared], torch.optim.Adam(shared.parameters()))
    state = DeepR(net.layers, optimizer).state_dict()
    for other in (Sparse((4, 10)), Sparse((4,))):
        with pytest.raises(ReaderError, match="same layers, seeds and kind"):
            DeepR(other.layers, PerSeed(other, "adam", 0.02)).load_state_dict(state)
    with pytest.raises(ReaderError, match="same layers, seeds and kind"):
        DeepR(net.layers, optimizer, signs="50/50").load_state_dict(state)
