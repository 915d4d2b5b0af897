"""The synthetic set: pinned, prefix-stable, in SHD's layout, made of what it says it is made of."""

import dataclasses

import numpy as np
import pytest

from paraspike import randomness
from paraspike.datasets import cochlea, shd
from paraspike.datasets.binning import bin_events, steps_needed
from paraspike.datasets.cochlea import Difficulty
from paraspike.datasets.events import content_checksum
from paraspike.errors import ReaderError

PINNED = "sha256:51f51bc7b4435c5d4d4bf9ed787e26074f838aae35e91b1e3fd3c40593739e12"


@pytest.fixture(scope="module")
def train():
    return cochlea.generate("train", 200)


def arrays(data):
    return data.ticks, data.units, data.offsets, data.labels, data.speakers


@pytest.mark.parametrize("compiled", [True, False])
def test_content_is_frozen(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(cochlea, "numba", None)
        monkeypatch.setattr(randomness, "numba", None)
    data = cochlea.generate("test", 10)
    assert content_checksum(*arrays(data)) == PINNED, "cochlea has changed: a new data set"


def test_a_smaller_set_is_the_beginning_of_a_larger_one(train):
    few = cochlea.generate("train", 30)
    events = few.offsets[-1]
    np.testing.assert_array_equal(few.ticks, train.ticks[:events])
    np.testing.assert_array_equal(few.units, train.units[:events])
    np.testing.assert_array_equal(few.offsets, train.offsets[:31])


def test_threads_change_nothing(monkeypatch, train):
    from paraspike import threads

    monkeypatch.setattr(threads, "_count", 3)
    monkeypatch.setattr(threads, "_pool", None)
    for ours, theirs in zip(arrays(cochlea.generate("train", 200)), arrays(train), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_layout_is_shds(train, tmp_path):
    shd.write(tmp_path / "cochlea_train.h5", train)
    again = shd.read([tmp_path / "cochlea_train.h5"], "train")
    for ours, theirs in zip(arrays(again), arrays(train), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_classes_are_balanced_and_test_speakers_unheard(train):
    assert (np.bincount(train.labels) == 10).all()
    test = cochlea.generate("test", 120)
    assert not set(train.speakers) & set(test.speakers)
    assert len(set(train.speakers)) == Difficulty().speakers[0]
    assert len(set(test.speakers)) == Difficulty().speakers[1]
    together = {(s, k) for s, k in zip(test.speakers, test.labels, strict=True)}
    assert len(together) == 120, "every speaker says every word"


def test_sizes_are_those_of_the_quick_scale(train):
    data = train.events("cochlea", "train")
    ends = data.times[data.offsets[1:] - 1]
    assert ends.min() > 0.45 and ends.max() < 1.0
    steps = steps_needed(data, 0.01)
    pointers, units, _ = bin_events(data, np.arange(200), 0.01, steps)
    density = len(units) / (steps * 200 * 700)
    assert 0.015 < density < 0.12
    assert 2000 < len(units) / 200 < 9000


def test_dead_time_is_kept(train):
    ms = np.rint(train.ticks.astype(np.float64) * 1000).astype(int)
    for r in range(5):
        part = slice(train.offsets[r], train.offsets[r + 1])
        order = np.lexsort((ms[part], train.units[part]))
        same = np.diff(train.units[part][order].astype(int)) == 0
        assert np.diff(ms[part][order])[same].min() == 1 + Difficulty().dead_time


def test_background_is_poisson_at_its_rate():
    quiet = dataclasses.replace(Difficulty(), peak_rate=0.0, background=20.0, dead_time=0)
    data = cochlea.generate("train", 60, difficulty=quiet)
    per_channel = np.bincount(data.units, minlength=700)
    words = cochlea._utterances(
        quiet, "train", np.arange(60), data.labels, data.speakers.astype(int), 0
    )
    expected = 20.0 * words[2].sum() / 1000
    assert abs(per_channel.mean() / expected - 1) < 0.01
    assert 0.85 < per_channel.var() / per_channel.mean() < 1.15


def test_a_formant_fires_where_its_track_is():
    plain = Difficulty(
        bands=((100, 300),), closure=0.0, background=0.0, speakers=(1, 1), knot_jitter=0.0
    )
    data = cochlea.generate("train", 20, difficulty=plain)
    centres, _, lengths = cochlea._utterances(
        plain, "train", np.arange(20), np.arange(20), np.zeros(20, int), 0
    )
    ms = np.rint(data.ticks.astype(np.float64) * 1000)
    for r in range(20):
        part = slice(data.offsets[r], data.offsets[r + 1])
        units = data.units[part].astype(float)
        assert units.min() >= centres[r].min() - plain.half_width - 1
        assert units.max() <= centres[r].max() + plain.half_width + 1
        early = ms[part] < 0.02 * lengths[r]
        assert abs(units[early].mean() - centres[r, 0, 0]) < 12


def test_test_speakers_are_shifted_further():
    hard = dataclasses.replace(Difficulty(), shift=(0.0, 60.0), stretch=(0.0, 0.0))
    means = {}
    for split in ("train", "test"):
        data = cochlea.generate(split, 120, difficulty=hard)
        sums = np.add.reduceat(data.units.astype(float), data.offsets[:-1])
        means[split] = (sums / np.diff(data.offsets)).reshape(6, 20).mean(1)
    assert np.ptp(means["train"]) < 15 and np.ptp(means["test"]) > 80


def test_refuses_what_it_cannot_make():
    with pytest.raises(ReaderError, match="split 'valid'"):
        cochlea.generate("valid")
    with pytest.raises(ReaderError, match="0 samples"):
        cochlea.generate("train", 0)
