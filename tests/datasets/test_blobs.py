"""The synthetic event-camera set: pinned, prefix-stable, in N-MNIST's layout and density."""

import numpy as np
import pytest

from paraspike import randomness
from paraspike.datasets import blobs, load
from paraspike.datasets.events import content_checksum
from paraspike.errors import ReaderError

PINNED = "sha256:6cd5841f0f2c407f4205ed064cfedc43b6b9a5f6e7ce79803a3582430b685004"


def arrays(data):
    return data.ticks, data.units, data.offsets, data.labels


@pytest.fixture(scope="module")
def train():
    return blobs.generate("train", 60)


@pytest.mark.parametrize("compiled", [True, False])
def test_content_is_frozen(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(blobs, "numba", None)
        monkeypatch.setattr(randomness, "numba", None)
    data = blobs.generate("test", 10)
    assert content_checksum(*arrays(data)) == PINNED, "blobs has changed: a new data set"


def test_a_smaller_set_is_the_beginning_of_a_larger_one(train):
    few = blobs.generate("train", 20)
    events = few.offsets[-1]
    np.testing.assert_array_equal(few.ticks, train.ticks[:events])
    np.testing.assert_array_equal(few.units, train.units[:events])
    np.testing.assert_array_equal(few.offsets, train.offsets[:21])


def test_layout_and_density_are_nmnists(train):
    train.checked("blobs", 0.3)
    assert train.n_units == 34 * 34 * 2 and train.ticks.max() < 300
    assert (np.bincount(train.labels) == 6).all()
    per_ms = np.diff(train.offsets) / 300
    assert 10 < per_ms.mean() < 16 and per_ms.min() > 4
    polarity = train.units >= 34 * 34
    assert 0.4 < polarity.mean() < 0.6


def test_splits_and_seeds_differ_but_classes_stay(train):
    other = blobs.generate("train", 60, seed=1)
    assert len(other.ticks) != len(train.ticks)

    def mean_image(data, label):
        picture = np.zeros(34 * 34)
        for r in np.flatnonzero(data.labels == label):
            units = data.units[data.offsets[r] : data.offsets[r + 1]] % (34 * 34)
            picture += np.bincount(units, minlength=34 * 34)
        return picture - picture.mean()

    same = [np.corrcoef(mean_image(train, k), mean_image(other, k))[0, 1] for k in range(10)]
    cross = [
        np.corrcoef(mean_image(train, k), mean_image(other, (k + 1) % 10))[0, 1] for k in range(10)
    ]
    assert np.mean(same) > 0.75 > 0.6 > np.mean(cross)


def test_loading_by_name_and_bad_requests():
    data = load("blobs", "test", samples=12)
    assert (data.name, len(data), data.n_classes) == ("blobs", 12, 10) and data.verified
    for split, samples in (("valid", 3), ("train", 0)):
        with pytest.raises(ReaderError):
            blobs.generate(split, samples)
