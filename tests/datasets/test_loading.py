"""load and load_images: choice, cache, verification; digits and the latency code."""

import numpy as np
import pytest
import torch
from snntorch import spikegen

from paraspike.datasets import cache, cochlea, digits, encoders, load, load_images, shd
from paraspike.datasets.events import ImageData
from paraspike.datasets.loading import _READERS, _balanced
from paraspike.datasets.registry import dataset
from paraspike.errors import ReaderError


def same(a, b):
    for name in ("times", "units", "offsets", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.duration, a.checksum, a.verified) == (b.duration, b.checksum, b.verified)


def test_cochlea_is_made_once_and_then_read(house, monkeypatch):
    generate = cochlea.generate
    first = load("cochlea", "test", samples=25)
    monkeypatch.setattr(cochlea, "generate", lambda *_: pytest.fail("made again"))
    same(load("cochlea", "test", samples=25), first)
    assert first.verified and first.checksum.startswith("sha256:") and len(first) == 25
    assert first.times.dtype == np.float64 and first.units.dtype == np.int32
    assert first.duration == first.times.max()
    (kept,) = (house / "data" / "cache").iterdir()
    half = kept.read_bytes()[:5000]
    kept.unlink()
    kept.write_bytes(half)
    monkeypatch.setattr(cochlea, "generate", generate)
    same(load("cochlea", "test", samples=25), first)


def test_what_is_kept_cannot_be_changed_by_its_user(house):
    data = load("cochlea", "test", samples=20)
    before = data.times.copy()
    data.times[:] = 0
    np.testing.assert_array_equal(load("cochlea", "test", samples=20).times, before)


def test_seeds_make_other_speakers_saying_the_same_words(house):
    a, b = (load("cochlea", "train", samples=20, seed=seed) for seed in (0, 1))
    assert a.checksum != b.checksum
    np.testing.assert_array_equal(a.labels, b.labels)


def test_shd_layout_from_file_to_seconds(house, monkeypatch, tmp_path):
    made = cochlea.generate("train", 60)
    shd.write(tmp_path / "shd" / "shd_train.h5", made)
    monkeypatch.setenv("PARASPIKE_DATA", str(tmp_path))
    with pytest.raises(ReaderError, match="allow_unverified_data"):
        load("shd", "train")
    data = load("shd", "train", allow_unverified=True)
    assert not data.verified and data.checksum.startswith("md5:")
    np.testing.assert_array_equal(data.times, made.ticks.astype(np.float64))
    np.testing.assert_array_equal(data.speakers, made.speakers)
    monkeypatch.setattr(shd, "read", lambda *_: pytest.fail("read again"))
    same(load("shd", "train", allow_unverified=True, folder=tmp_path), data)
    part = load("shd", "train", allow_unverified=True, samples=40)
    assert (np.bincount(part.labels) == 2).all() and part.checksum == data.checksum
    with pytest.raises(ReaderError, match="61 samples asked of shd train, which has 60"):
        load("shd", "train", allow_unverified=True, samples=61)


def test_subset_takes_whole_recordings_in_order(house):
    data = load("cochlea", "train", samples=30)
    part = data.subset([7, 3, 7])
    assert part.labels.tolist() == data.labels[[7, 3, 7]].tolist()
    for k, i in enumerate((7, 3, 7)):
        ours = slice(part.offsets[k], part.offsets[k + 1])
        theirs = slice(data.offsets[i], data.offsets[i + 1])
        np.testing.assert_array_equal(part.times[ours], data.times[theirs])
        np.testing.assert_array_equal(part.units[ours], data.units[theirs])
    assert part.duration == part.times.max()
    assert len(data.subset([])) == 0


def test_choice_is_balanced_seeded_and_nested():
    labels = np.repeat(np.arange(5), [100, 3, 100, 100, 100])
    chosen = _balanced("made", "train", labels, 83, 0)
    assert np.bincount(labels[chosen]).tolist() == [20, 3, 20, 20, 20]
    assert (np.diff(chosen) > 0).all()
    assert set(_balanced("made", "train", labels, 41, 0)) < set(chosen)
    assert set(_balanced("made", "train", labels, 83, 1)) != set(chosen)
    assert len(_balanced("made", "train", labels, len(labels), 0)) == len(labels)


def test_digits_are_scikit_learns_split_in_proportion():
    from sklearn.datasets import load_digits

    train, test = digits.read("train"), digits.read("test")
    assert (len(train), len(test)) == (1437, 360)
    share = np.bincount(test.labels) / np.bincount(np.concatenate([train.labels, test.labels]))
    assert np.abs(share - 360 / 1797).max() < 0.005
    images = np.concatenate([train.images, test.images])
    assert images.shape == (1797, 28, 28) and images.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == len(np.unique(load_digits().images, axis=0))
    assert images.max() == 255 and images.min() == 0
    # A scaled digit still looks like itself: averaged back to 8 x 8, its nearest is near and alike.
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(train.images[:50] / 16.0), 8)
    known = load_digits()
    distance = np.linalg.norm(
        pooled.numpy().reshape(50, 1, -1) - known.images.reshape(1797, -1), axis=2
    )
    assert (known.target[distance.argmin(1)] == train.labels[:50]).all()
    assert distance.min(1).max() < distance.mean() / 2


def test_latency_code_is_snntorchs():
    images = load_images("digits", "test", samples=30)
    data = encoders.latency(images, duration=0.05, threshold=0.3)
    bright = torch.from_numpy(images.images.reshape(30, -1) / np.float32(255))
    dense = spikegen.latency(
        bright, num_steps=50, threshold=0.3, normalize=True, linear=True, clip=True
    ).numpy()
    ours = np.zeros_like(dense)
    owner = np.repeat(np.arange(30), np.diff(data.offsets))
    ours[np.rint(data.times / 1e-3).astype(int), owner, data.units] = 1
    np.testing.assert_array_equal(ours, dense)
    assert len(data.times) == dense.sum()
    for r in range(30):
        assert (np.diff(data.times[data.offsets[r] : data.offsets[r + 1]]) >= 0).all()


def test_latency_of_a_dark_image_is_silence():
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, 0, 5] = 255
    made = ImageData("digits", "train", images, np.zeros(2, np.int64), 10, "sha256:0", True)
    data = encoders.latency(made)
    assert data.offsets.tolist() == [0, 0, 1] and data.units.tolist() == [5]
    assert data.times.tolist() == [0.0]
    with pytest.raises(ReaderError, match="at least two steps"):
        encoders.latency(made, duration=1e-3)


def test_digits_as_events_keep_their_labels():
    data = load("digits", "train", samples=50)
    images = load_images("digits", "train", samples=50)
    np.testing.assert_array_equal(data.labels, images.labels)
    assert (np.bincount(data.labels) == 5).all() and data.n_units == 784
    assert data.checksum == images.checksum and data.verified


def test_events_are_no_images_and_unknown_names_are_refused(house):
    with pytest.raises(ReaderError, match="holds events, not images"):
        load_images("shd", "train")
    for call in (load, load_images):
        with pytest.raises(ReaderError, match="'imagenet' is unknown"):
            call("imagenet", "train")
        with pytest.raises(ReaderError, match="split 'valid'"):
            call("digits", "valid")
    with pytest.raises(ReaderError, match="shd_test.h5.gz is not on this machine"):
        load("shd", "test")


def test_readers_are_the_registrys():
    assert all(dataset(name).reader == reader.__name__ for name, reader in _READERS.items())


def test_keys_depend_on_what_they_are_told(tmp_path):
    file = tmp_path / "code.py"
    file.write_text("a")
    first = cache.key("x", file)
    file.write_text("b")
    assert len({first, cache.key("x", file), cache.key("y", file)}) == 3
