"""One winner an image learns it; what is learned is worth more than what was there."""

import numpy as np
import pytest
import torch

from paraspike.datasets import load_images
from paraspike.datasets.encoders import bernoulli
from paraspike.errors import ReaderError
from paraspike.learning.competition import Competition
from paraspike.papers import multithreading_learning as paper


def shown(images, steps=40):
    return bernoulli(images, range(len(images)), steps, 0, "shown")


def test_only_winners_learn_and_every_sum_is_kept():
    images = load_images("digits", "train", samples=12).images
    layer = Competition(784, 30, seed=1)
    before = layer.weights.clone()
    winners = layer.learn(shown(images))
    changed = (layer.weights != before).any(0)
    assert set(changed.nonzero().flatten().tolist()) == set(winners.tolist())
    assert layer.wins.sum() == 12
    torch.testing.assert_close(layer.weights.sum(0), torch.full((30,), 40.0), rtol=1e-4, atol=0)


def test_a_winner_becomes_what_it_saw():
    images = np.zeros((4, 28, 28), np.uint8)
    images[:, :14] = 255
    layer = Competition(784, 1, seed=0)
    for _ in range(5):
        layer.learn(shown(images))
    w = layer.weights[:, 0].reshape(28, 28)
    assert w[:14].mean() > 1.5 * w[14:].mean()


def test_a_handicap_shares_out_the_wins():
    images = np.repeat(load_images("digits", "train", samples=1).images, 16, 0)
    wins = []
    for handicap in (0.0, 50.0):
        layer = Competition(784, 4, seed=0, handicap=handicap)
        for _ in range(4):
            layer.learn(shown(images))
        wins.append(layer.wins.max())
    assert wins[1] < wins[0]


def test_learned_features_beat_untrained_ones():
    train, test = (load_images("digits", s, samples=200) for s in ("train", "test"))
    found = dict(
        zip(
            paper.FEATURES,
            paper.compare(train, test, 40, 60, 1, 20, 0, "cpu").accuracy,
            strict=True,
        )
    )
    assert found["STDP"] > found["untrained"] + 5 and found["pixels"] > 80


def test_what_makes_no_competition_is_refused():
    with pytest.raises(ReaderError, match="norm"):
        Competition(4, 2, norm=0)
    with pytest.raises(ReaderError, match="templates"):
        Competition(4, 2).load(np.zeros((3, 4)))
    with pytest.raises(ReaderError, match="most"):
        bernoulli(np.zeros((1, 2, 2), np.uint8), [0], 3, 0, "x", most=2)
