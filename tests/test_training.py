import numpy as np
import pytest
import torch

from paraspike import checkpoints, training
from paraspike.datasets import load
from paraspike.errors import ReaderError
from paraspike.evaluation import evaluate
from paraspike.learning.bptt import Objective
from paraspike.papers import spsn
from paraspike.training import Augmentation, Settings, Trainee, make_batch, train, train_together

DT = 2e-2
SETTINGS = Settings(
    dt=DT,
    epochs=3,
    batch_size=24,
    learning_rate=5e-3,
    augmentation=Augmentation(),
    objective=Objective("mean", 0.2),
)


@pytest.fixture(scope="module")
def data():
    return load("cochlea", "train", samples=60)


def fresh(data, model="SPSN-SB", seeds=(5, 2)):
    return spsn.network(model, data.n_units, (24,), data.n_classes, DT, seeds=seeds, backend="cpu")


def same(a, b):
    assert a.keys() == b.keys()
    return all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("model", spsn.MODELS)
def test_training_learns(data, model):
    net = fresh(data, model)
    settings = Settings(dt=DT, epochs=12, batch_size=20, learning_rate=2e-2)
    history = train(net, data, settings)
    assert history.loss.shape == (2, 12)
    assert (history.loss[:, -1] < history.loss[:, 0]).all()
    accuracy = evaluate(net, data, settings).accuracy
    assert (accuracy > 20).all(), "chance is 5 %"


def test_the_same_run_twice_gives_the_same_bits(data):
    runs = []
    for _ in range(2):
        net = fresh(data)
        history = train(net, data, SETTINGS)
        runs.append((net.arrays(), history.loss, evaluate(net, data, SETTINGS).readout))
    assert same(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1]) and np.array_equal(runs[0][2], runs[1][2])


@pytest.mark.parametrize("model", ["LIF", "SPSN-GS"])
def test_a_seed_trains_the_same_alone_and_among_others(data, model):
    together, alone = fresh(data, model, (5, 2, 9)), fresh(data, model, (2,))
    for net in (together, alone):
        train(net, data, SETTINGS)
    for name, array in alone.arrays().items():
        assert np.array_equal(together.arrays()[name][1:2], array), name


def test_an_arm_trains_the_same_alone_and_beside_others(data):
    other = Settings(dt=DT, epochs=5, batch_size=24, augmentation=Augmentation())
    plain = Settings(dt=DT, epochs=2, batch_size=24)
    alone = fresh(data)
    expected = train(alone, data, SETTINGS)
    beside = [fresh(data, "LIF"), fresh(data), fresh(data, "ReLU")]
    histories = train_together(
        [Trainee(net, s) for net, s in zip(beside, (other, SETTINGS, plain), strict=True)], data
    )
    assert same(beside[1].arrays(), alone.arrays())
    assert np.array_equal(histories[1].loss, expected.loss)
    assert [h.loss.shape[1] for h in histories] == [5, 3, 2]
    assert not any(np.isnan(h.loss).any() for h in histories)


@pytest.mark.parametrize("every, kept", [(0.0, [1, 2, 3]), (1e9, [1, 3])])
def test_interrupted_training_resumes_with_the_same_bits(data, tmp_path, monkeypatch, every, kept):
    monkeypatch.setattr(training, "SAVE_EVERY", every)
    undisturbed, seen = fresh(data), []
    expected = train(undisturbed, data, SETTINGS)
    file = tmp_path / "checkpoints" / "arm.pt"
    save = checkpoints.save

    def save_then_stop(arm):
        save(arm)
        seen.append(arm.epoch)
        if len(seen) == len(kept) - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train(fresh(data), data, SETTINGS, file)
    resumed = fresh(data)
    history = train(resumed, data, SETTINGS, file)
    assert same(resumed.arrays(), undisturbed.arrays())
    assert np.array_equal(history.loss, expected.loss)
    assert seen == kept and [p.name for p in file.parent.iterdir()] == ["arm.pt"]


def test_nan_is_reported_at_once_with_epoch_batch_and_seed(data):
    net = fresh(data, "ReLU", (5, 2))
    with torch.no_grad():
        net.layers[0].weight[1, 0, 0] = float("inf")
    with pytest.raises(
        ReaderError, match=r"epoch 1, batch \d+: the loss is (nan|inf)[\s\S]*seeds \[2\]"
    ):
        train(net, data, SETTINGS)


def test_a_dead_network_is_reported_once_a_layer(data):
    net = fresh(data, "LIF")
    with torch.no_grad():
        for p in net.layers[0].parameters():
            p.mul_(0)
    with pytest.warns(RuntimeWarning, match="hidden layer 1 fired no spike") as caught:
        train(net, data, Settings(dt=DT, epochs=2, batch_size=20))
    assert len([w for w in caught if "fired no spike" in str(w.message)]) == 1


def test_stochastic_passes_differ_and_trials_repeat(data):
    net = fresh(data)
    first, again, other = (evaluate(net, data, SETTINGS, trial=t).readout for t in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_accuracy_does_not_depend_on_the_batch_size(data):
    net = fresh(data)
    small, large = (evaluate(net, data, SETTINGS, batch_size=b) for b in (7, 128))
    assert np.array_equal(small.predicted, large.predicted)
    np.testing.assert_allclose(small.spikes_per_ms, large.spikes_per_ms, rtol=1e-5)


def test_spikes_per_ms_counts_all_hidden_neurons(data):
    net = fresh(data)
    result = evaluate(net, data, SETTINGS)
    x = make_batch(data, np.tile(np.arange(len(data)), 2), np.repeat([5, 2], len(data)), DT)
    from paraspike.layer import Draws

    with torch.no_grad():
        hidden = net(
            x, Draws(np.tile(np.arange(len(data)), 2), np.repeat([5, 2], len(data)), 0, "test")
        ).hidden
    for i in range(2):
        rows = slice(i * len(data), (i + 1) * len(data))
        expected = float(hidden[0].dense()[:, rows].sum(2).mean()) / (DT * 1e3)
        assert result.spikes_per_ms[i] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("given", [{"optimizer": "adamw"}, {"batch_size": 0}, {"dt": 0.0}])
def test_settings_out_of_range_are_refused(given):
    with pytest.raises(ReaderError):
        Settings(**given)
