"""The readers on the real files where PARASPIKE_DATA has them; skipped with a reason elsewhere."""

import numpy as np

from paraspike.datasets import load, load_images


def test_mnist_is_the_published_one(real):
    real("mnist/t10k-images-idx3-ubyte.gz")
    data = load_images("mnist", "test")
    assert data.verified and len(data) == 10_000
    assert np.bincount(data.labels)[:3].tolist() == [980, 1135, 1032]
    assert abs(data.images.mean() / 255 - 0.1325) < 0.001


def test_shd_recordings(real):
    real("shd/shd_test.h5.gz")
    data = load("shd", "test", allow_unverified=True)
    assert data.n_units == 700 and len(np.unique(data.labels)) == 20
    assert 0.5 < data.duration < 1.5
    assert 3000 < len(data.times) / len(data) < 20_000
    starts = data.offsets[1:-1]
    assert (np.delete(np.diff(data.times), starts - 1) >= 0).all()


def test_nmnist_recordings(real):
    real("nmnist")
    for split, n in (("train", 1000), ("test", 100)):
        data = load("nmnist", split, allow_unverified=True)
        assert len(data) >= n and data.n_units == 2312
        assert 0.28 < data.duration < 0.35, "three saccades of 100 ms"
        assert 2000 < len(data.times) / len(data) < 8000
