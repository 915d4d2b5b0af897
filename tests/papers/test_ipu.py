"""The paper's neuron against a loop written from the sheet, its experiments, and the crossover's arms."""

import numpy as np
import pytest
import torch

from paraspike import Spikes
from paraspike.datasets import load
from paraspike.errors import ReaderError
from paraspike.papers import ipu, ipu_crossover, ipu_extras
from paraspike.papers import ipu_experiments as experiments
from paraspike.papers import ipu_ways as ways

KEYWORDS = {
    "hidden": [24], "dt": 0.02, "epochs": 2, "batch_size": 10, "learning_rate": 0.005,
    "seeds": [0, 4],
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return load("blobs", "train", samples=40), load("blobs", "test", samples=30)


@pytest.mark.parametrize("reset", ["through", "masked"])
def test_neuron_is_the_sheets_loop(reset):
    """Sheet 1.1 and 1.4 for one layer: potentials, spikes, and the gradient of the input by hand."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, 7, generator=generator, dtype=torch.float64) * 0.8
    aim = torch.randn(30, 3, 7, generator=generator, dtype=torch.float64)
    gain = {"through": 10, "masked": 20}[reset] * 0.05
    u = torch.zeros(3, 7, dtype=torch.float64)
    potentials, spikes = [], []
    for x_t in x:
        u = 0.95 * (u - u * (u > 1)) + gain * x_t
        potentials.append(u)
        spikes.append((u > 1).double())
    delta, expected = torch.zeros(3, 7, dtype=torch.float64), []
    for u, g in zip(reversed(potentials), aim.flip(0), strict=True):
        # The gradient of the next step passes the reset as it stands (IPU) or ends at a spike.
        delta = 0.95 * delta * (1 if reset == "through" else (u <= 1))
        delta = delta + g * (u > 0.9) / (10 * (u - 1).abs() + 1) ** 2
        expected.append(gain * delta)
    from paraspike.ops.lif.cpu import lif

    given = x.clone().requires_grad_()
    out = lif(given, ipu.neuron(reset=reset))
    (out * aim).sum().backward()
    assert torch.equal(out.detach(), torch.stack(spikes)) and 5 < out.sum() < 500
    torch.testing.assert_close(given.grad, torch.stack(expected).flip(0), rtol=1e-10, atol=1e-12)


def test_a_network_has_the_published_lists_and_first_weights():
    net = ways.network([2312, 512, 128, 10], ways.Sparse(activity=0.05))
    assert [layer.capacity for layer in net.layers] == [24, 6, 2]
    late = ways.network([2312, 512, 128, 10], ways.Sparse(activity=0.05, shifted=True))
    # The sheet's list of what the published sweep applies: 32 to the first, 24 to the second.
    assert [layer.capacity for layer in late.layers] == [32, 24, 6]
    bound = 2 * (6 / 2312) ** 0.5
    assert bound * 0.99 < net.layers[0].weight.abs().max() <= bound
    assert all(layer.delay == 1 and layer.bias is None for layer in net.layers)


def test_lists_that_hold_everything_train_as_two_thresholds_do(data):
    """Same batches, same bits: without overflow a capacity changes nothing, whatever the policy."""
    arms = {
        "free": ways.Sparse(),
        "wide": ways.Sparse(activity=1.0),
        "random": ways.Sparse(activity=1.0, policy="random"),
    }
    found = experiments.fit(arms, *data, **KEYWORDS)
    for name in ("wide", "random"):
        np.testing.assert_array_equal(found[name].loss, found["free"].loss)
        assert float(found[name].spikes_lost.max()) == 0
    tight = experiments.fit({"tight": ways.Sparse(activity=0.05)}, *data, **KEYWORDS)["tight"]
    assert not np.array_equal(tight.loss, found["free"].loss)
    lost = tight.spikes_lost.values
    assert lost.shape == (2, 2) and lost[0].max() > 5 and (lost <= 100).all()


def test_training_resumes_with_its_threshold(data, tmp_path):
    arms = {"annealed": ways.Sparse(anneal=True, activity=0.2)}
    whole = experiments.fit(arms, *data, **KEYWORDS)["annealed"]
    kept = KEYWORDS | {"checkpoints": tmp_path}
    half = experiments.fit(arms, *data, **kept | {"epochs": 1})["annealed"]
    file = next(tmp_path.glob("*.pt"))
    assert half.sizes["epoch"] == 1 and file.is_file()
    net = ways.network([5, 4, 3], arms["annealed"])
    moving = ways.Annealing(net, 0.9)
    assert net.layers[0].neuron.surrogate.below == 101
    for _ in range(20):
        moving.step()
    assert moving.second == pytest.approx(0.9, abs=2e-4)
    again = ways.Annealing(net, 0.9)
    again.load_state_dict(moving.state_dict())
    assert net.layers[1].neuron.surrogate.below == pytest.approx(0.1, abs=2e-4)
    assert whole.sizes["epoch"] == 2


def test_sparse_training_learns(data):
    arms = ways.chosen(["dense BPTT", "two thresholds"])
    found = experiments.fit(arms, *data, **KEYWORDS | {"epochs": 12, "dt": 0.01})
    for name, result in found.items():
        assert float(result.train_accuracy.isel(epoch=-1).mean()) > 25, name
    with pytest.raises(ReaderError, match="unknown"):
        ways.chosen(["sparse"])
    with pytest.raises(ReaderError, match="hidden"):
        experiments.fit(arms, *data, **KEYWORDS | {"hidden": []})


def test_the_crossovers_arms_compute_the_same_network():
    """All with the same weights fire the same; all but the windowed arm have the same gradients."""
    made, fired, near = ipu_crossover.steps_of(64, 0.1, 6, 4, 2, "cpu", ipu_crossover.ARMS)
    assert np.abs(np.array(fired) - 0.1).max() < 0.03 and (np.array(near) >= np.array(fired)).all()
    grads = {}
    for name, step in made.items():
        step()
        held = getattr(step, "args", ()) or [c.cell_contents for c in step.__closure__]
        net = next(part for part in held if isinstance(part, torch.nn.Module))
        grads[name] = [p.grad.clone() for p in net.parameters()]
    windowed, *others = grads.values()
    for grad in others[1:]:
        for a, b in zip(grad, others[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(windowed[0], others[0][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activity", [0.02, 0.5])
def test_layers_fire_as_much_as_asked(activity):
    net = ipu_crossover.stack(128, 3, True, "cpu")
    x = Spikes.from_dense(ipu_crossover.raster(20, 8, 128, activity))
    shares = ipu_crossover.calibrate(net, x, activity)
    assert np.abs(np.array(shares) / activity - 1).max() < 0.12
    with pytest.raises(ReaderError, match="were asked"):
        ipu_crossover.calibrate(net, Spikes.from_dense(torch.zeros(4, 2, 128)), activity)


def test_arms_that_a_backend_lacks_are_named(capsys):
    assert ipu_crossover.runnable(ipu_crossover.ARMS, "cpu") == list(ipu_crossover.ARMS)
    left = ipu_crossover.runnable(ipu_crossover.ARMS, "cuda")
    assert left == ["dense, fused", "dense, unbind"]
    assert "not on backend cuda, left out: event-driven" in capsys.readouterr().out


def test_nothing_simulated_is_timed():
    with pytest.raises(ReaderError, match="no measured times"):
        ipu_crossover.side_by_side([8], [0.1], 1, 2, 2, 1, "ipu")


def test_the_spike_tensors_figure_is_the_posters(tmp_path):
    fig = ipu_extras.representation()
    words = [t.get_text() for t in fig.axes[1].texts]
    assert words[words.index("ids") + 1 : words.index("ids") + 5] == ["1", "4", "6", ""]
    assert words[words.index("counts") + 1 : words.index("counts") + 3] == ["1", "3"]
