import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError
from paraspike.layer import Draws
from paraspike.learning.bptt import Objective, evaluate_batch, step
from paraspike.learning.optimizers import PerSeed
from paraspike.network import Activity
from paraspike.papers import spsn
from paraspike.spikes import Spikes


def make(seeds=2, per_seed=3, t=5, sizes=(4, 6)):
    generator = torch.Generator().manual_seed(0)
    batch = seeds * per_seed
    hidden = [(torch.rand(t, batch, n, generator=generator) < 0.5).float() for n in sizes]
    return Activity(torch.randn(t, batch, 3, generator=generator), hidden), torch.arange(batch) % 3


def test_loss_is_one_mean_cross_entropy_per_seed():
    activity, labels = make()
    total, metrics = evaluate_batch(activity, labels, 2, Objective())
    logits = activity.readout.mean(0)
    each = torch.stack(
        [cross_entropy(logits[:3], labels[:3]), cross_entropy(logits[3:], labels[3:])]
    )
    torch.testing.assert_close(metrics.loss, each)
    torch.testing.assert_close(total, each.sum())
    assert metrics.correct.tolist() == [
        int((logits[i : i + 3].argmax(1) == labels[i : i + 3]).sum()) for i in (0, 3)
    ]


@pytest.mark.parametrize("theta", [0.1, 0.5, 0.9])
def test_budget_is_equation_21_over_time_and_batch(theta):
    activity, labels = make()
    plain, _ = evaluate_batch(activity, labels, 2, Objective())
    total, metrics = evaluate_batch(activity, labels, 2, Objective(rate_budget=theta))
    excess = 0.0
    for seed in range(2):
        rows = slice(3 * seed, 3 * seed + 3)
        fired = sum(h[:, rows].mean((0, 1)).sum().item() for h in activity.hidden)
        assert metrics.spikes_per_step[seed].item() == pytest.approx(fired)
        excess += max(0.0, fired - theta * 10) ** 2
    assert (total - plain).item() == pytest.approx(excess, rel=1e-5)


def test_a_step_refuses_a_loss_that_is_not_finite_and_leaves_the_weights():
    net = spsn.network("LIF", 4, (5,), 3, 1e-2, seeds=(4, 9))
    with torch.no_grad():
        net.layers[-1].bias[1] = float("nan")
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = PerSeed(net, "adamax", 1e-3)
    x = Spikes.from_dense(torch.ones(3, 4, 4))
    draws = Draws(np.arange(4), np.repeat([4, 9], 2))
    with pytest.raises(ReaderError, match=r"nan[\s\S]*seeds \[9\]"):
        step(net, optimizer, x, torch.zeros(4, dtype=torch.int64), draws, Objective())
    for p, b in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(p, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["adamax", "adam", "sgd"])
def test_stepping_seed_by_seed_equals_torch_on_the_whole(name):
    from paraspike.learning.optimizers import OPTIMIZERS

    nets = [spsn.network("ReLU", 4, (5,), 3, 1e-2, seeds=(4, 9)) for _ in range(3)]
    optimizers = [PerSeed(nets[0], name, 0.05), OPTIMIZERS[name](nets[1].parameters(), lr=0.05)]
    optimizers.append(PerSeed(nets[2], name, 0.05, sliced=False))
    x = Spikes.from_dense(torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1)))
    for _ in range(4):
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            net(x).readout.square().sum().backward()
            optimizer.step()
    for a, b, c in zip(*[net.parameters() for net in nets], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(c, b, rtol=1e-5, atol=1e-6)
