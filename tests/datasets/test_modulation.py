"""The synthetic radio set: pinned, prefix-stable, eleven modulations that can be told apart."""

import numpy as np
import pytest

from paraspike.datasets import load, modulation
from paraspike.datasets.events import content_checksum
from paraspike.datasets.modulation import NAMES, Difficulty, received
from paraspike.errors import ReaderError

PINNED = "sha256:65821842063d109b2ebe763ecf05460d1163b421f087d35749caf6d4c3ba56ad"
CLEAN = Difficulty(snr=(80, 80), phase=0, frequency=0)


def arrays(data):
    return data.ticks, data.units, data.offsets, data.labels


def maps(data):
    """How often each pixel is hit, [n, 256]."""
    rows = data.units.reshape(len(data.labels), -1)
    return np.stack([np.bincount(row, minlength=256) for row in rows]) / rows.shape[1]


@pytest.fixture(scope="module")
def train():
    return modulation.generate("train", 165)


def test_content_is_frozen():
    data = modulation.generate("test", 22)
    assert content_checksum(*arrays(data)) == PINNED, "modulation has changed: a new data set"


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_a_smaller_set_is_the_beginning_of_a_larger_one(train, monkeypatch, chunk):
    monkeypatch.setattr(modulation, "_CHUNK", chunk)
    few = modulation.generate("train", 25)
    np.testing.assert_array_equal(few.units, train.units[: 25 * 1024])
    np.testing.assert_array_equal(few.labels, train.labels[:25])


def test_layout(train):
    train.checked("modulation", 0.064)
    assert (np.bincount(train.labels) == 15).all() and train.n_classes == 11
    assert train.n_units == 256 and train.units.max() < 256
    ticks = train.ticks.reshape(165, 64, 16)
    assert (ticks == np.arange(64)[:, None]).all()
    assert (np.diff(train.units.reshape(165, 64, 16)) >= 0).all()


def test_a_simple_classifier_tells_the_classes_apart(train):
    test = modulation.generate("test", 110)
    centres = np.stack([np.sqrt(maps(train))[train.labels == k].mean(0) for k in range(11)])
    away = ((np.sqrt(maps(test))[:, None] - centres) ** 2).sum(-1)
    found = away.argmin(1)
    assert (found == test.labels).mean() > 0.5
    # Every class more often than by chance.
    assert all((found[test.labels == k] == k).mean() > 1 / 11 for k in range(11))


def test_splits_and_seeds_differ(train):
    for other in (modulation.generate("train", 165, seed=1), modulation.generate("test", 165)):
        assert not np.array_equal(other.units, train.units)
        assert np.array_equal(other.labels, train.labels)


def test_the_modulations_without_a_channel():
    i, q = received("train", np.arange(44), difficulty=CLEAN)
    np.testing.assert_allclose((i * i + q * q).mean(1), 1)
    label = np.array([NAMES[n % 11] for n in range(44)])
    for name in ("BPSK", "PAM4", "AM-DSB"):
        assert np.abs(q[label == name]).max() < 1e-3
    for name in ("GFSK", "CPFSK", "WBFM"):
        np.testing.assert_allclose(np.hypot(i, q)[label == name], 1, atol=1e-3)
    # CPFSK turns twice as far as GFSK in a symbol, whose bits are alike.
    turned = np.abs(np.diff(np.unwrap(np.arctan2(q, i)))) / (2 * np.pi)
    assert np.median(turned[label == "CPFSK"]) == pytest.approx(1 / 16, rel=0.01)
    assert np.median(turned[label == "GFSK"]) == pytest.approx(1 / 32, rel=0.01)
    # Most often at rest near a symbol: 8 angles, every second of them one of BPSK's or QPSK's.
    angle = np.arctan2(q, i)[label == "8PSK"]
    far = np.hypot(i, q)[label == "8PSK"] > 1.1
    off = np.abs(angle[far] / (np.pi / 4) - np.rint(angle[far] / (np.pi / 4)))
    assert np.median(off) < 0.1


def test_noise_has_the_power_asked_for():
    noisy = Difficulty(snr=(0, 0), phase=0, frequency=0)
    index = np.arange(0, 55, 11)
    _, q = received("train", index, difficulty=noisy)
    # BPSK has no quadrature: half of the noise, a quarter of all power.
    np.testing.assert_allclose((q * q).mean(1), 0.25, rtol=0.15)


def test_the_series_is_the_sine():
    turns = np.linspace(-3, 3, 2001)
    np.testing.assert_allclose(modulation._sine(turns), np.sin(2 * np.pi * turns), atol=1e-9)


def test_loading_by_name_and_bad_requests(house):
    data = load("modulation", "test", samples=12)
    assert (data.name, len(data), data.n_classes) == ("modulation", 12, 11) and data.verified
    assert data.duration == 0.063 and data.checksum.startswith("sha256:")
    assert modulation.fingerprint() != modulation.fingerprint(CLEAN)
    for split, samples in (("valid", 3), ("train", 0)):
        with pytest.raises(ReaderError):
            modulation.generate(split, samples)
