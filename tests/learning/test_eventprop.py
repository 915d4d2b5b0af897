import dataclasses

import numpy as np
import pytest
import torch

from paraspike.datasets import load
from paraspike.errors import ReaderError
from paraspike.learning.eventprop import EventPropNetwork, evaluate, scale_weights, train
from paraspike.ops.eventprop import reference
from paraspike.randomness import uniform


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train"), load("digits", "test")


def make(seeds=(0,), hidden=40, **options):
    settings = {"duration": 0.15, "tau_syn": 0.01, "seeds": seeds} | options
    return EventPropNetwork(784, hidden, 10, **settings)


def test_it_learns_digits(digits):
    train_data, test_data = digits
    network = make((3, 4))
    scale_weights(network, train_data)
    before = evaluate(network, test_data)
    history = train(network, train_data, epochs=3, learning_rate=0.01)
    after = evaluate(network, test_data)
    assert before.shape == after.shape == (2,)
    assert (before < 30).all() and (after > 85).all()
    assert (np.diff(history.loss) < 0).all() and (history.train_accuracy[:, -1] > 85).all()
    assert history.spikes.shape == (2, 3) and (history.spikes > 1).all()


def test_a_recurrent_network_learns_too(digits):
    data = digits[0].subset(np.arange(300))
    network = make(recurrent=True)
    scale_weights(network, data)
    before = network.w_rec.detach().clone()
    history = train(network, data, epochs=4, learning_rate=0.01)
    assert history.train_accuracy[0, -1] > 75
    assert not torch.equal(before, network.w_rec)


def test_a_seed_learns_the_same_alone_and_among_others(digits):
    data = digits[0].subset(np.arange(70))
    found = []
    for seeds in ((5, 7, 9), (9,)):
        network = make(seeds, hidden=13, recurrent=True)
        scale_weights(network, data, samples=30)
        history = train(network, data, epochs=2, batch_size=32, learning_rate=0.01)
        weights = [w[-1].detach() for w in (network.w_in, network.w_rec, network.w_out)]
        found.append([*weights, *(torch.from_numpy(h[-1]) for h in vars(history).values())])
        found[-1].append(torch.tensor(evaluate(network, data)[-1]))
    for together, alone in zip(*found, strict=True):
        assert torch.equal(together, alone)


def test_weights_are_drawn_from_the_seed():
    network = make((2, 6), hidden=7, recurrent=True)
    assert network.w_in.shape == (2, 784, 7) and network.w_in.dtype == torch.float32
    assert network.w_rec.shape == (2, 7, 7) and network.w_out.shape == (2, 7, 10)
    expected = (2 * uniform(6, "init/0/weight", [0], 784, 7)[:, 0] - 1) * (3 / 784) ** 0.5
    np.testing.assert_allclose(network.w_in[1].detach(), expected, atol=1e-7)
    assert make().w_rec is None and make().constants["horizon"] == 0.15


def test_scaled_weights_give_the_spikes_asked_for(digits):
    data = digits[0].subset(np.arange(60))
    network = make((0, 1))
    with torch.no_grad():
        network.w_in[1] *= 7
    scale_weights(network, data, spikes=2.0)
    _, counts = network(network.events(data, np.tile(np.arange(60), (2, 1))))
    per_neuron = counts.reshape(2, -1).double().mean(1).tolist()
    assert per_neuron == pytest.approx([2.0, 2.0], rel=0.03)
    with pytest.raises(ReaderError, match="gives 1e\\+06 spikes"):
        scale_weights(make(), data.subset([0]), spikes=1e6)


def test_silent_neurons_wake_or_are_reported(digits):
    data = digits[0].subset(np.arange(64))
    for wake in (0.0, 3.0):
        network = make()
        with torch.no_grad():
            network.w_in -= 0.1
        with pytest.warns(RuntimeWarning, match="epoch 1, batch 1: no hidden neuron fired") as seen:
            history = train(network, data, epochs=8, learning_rate=0.02, wake=wake)
        assert len(seen) == 1
        assert history.spikes[0, 0] == 0 and (history.spikes[0, -1] > 0) == (wake > 0)


def test_the_reference_serves_as_operator(digits):
    data = digits[0].subset(np.arange(3))
    networks = [make(hidden=4), make(hidden=4, operator=reference.eventprop)]
    for network in networks:
        with torch.no_grad():
            network.w_in *= 20
        train(network, data, epochs=1)
    for fast, slow in zip(*(n.parameters() for n in networks), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_named(digits):
    data = digits[1].subset(np.arange(5))
    with pytest.raises(ReaderError, match="784 units and 10 classes do not fit"):
        evaluate(EventPropNetwork(700, 5, 10, duration=0.1), data)
    with pytest.raises(ReaderError, match="a network of 784 inputs and 9 readouts"):
        train(EventPropNetwork(784, 5, 9, duration=0.1), data, epochs=1)
    with pytest.raises(ReaderError, match="0 samples"):
        train(make(), data.subset([]), epochs=1)
    with pytest.raises(ReaderError, match="784 x 0 x 10 neurons"):
        make(hidden=0)
    for wrong in ({"epochs": -1}, {"batch_size": 0}, {"learning_rate": 0.0}, {"wake": -1.0}):
        with pytest.raises(ReaderError, match=next(iter(wrong))):
            train(make(), data, **{"epochs": 1} | wrong)
    broken = make((4, 8))
    with torch.no_grad():
        broken.w_out[1] = 1e38
        broken.w_in *= 30
    with pytest.raises(ReaderError, match=r"not finite[\s\S]*epoch 1, batch 1, seeds \[8\]"):
        train(broken, data, epochs=1)
    backwards = dataclasses.replace(data, times=data.times[::-1])
    with pytest.raises(ReaderError, match="earlier than the event before it"):
        evaluate(make(), backwards)
