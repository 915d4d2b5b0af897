"""Spiking sequential MNIST: the sheet's thresholds, crossed pixel by pixel."""

import numpy as np
import pytest

from paraspike.datasets import load_images, load_sequential
from paraspike.datasets.binning import bin_events, steps_needed
from paraspike.datasets.encoders import THRESHOLDS, threshold_crossing
from paraspike.datasets.events import ImageData
from paraspike.errors import ReaderError


def made(images):
    images = np.asarray(images, np.uint8)
    return ImageData("made", "train", images, np.arange(len(images)), 10, "sha256:0", True)


def row(*pixels):
    return threshold_crossing(made([[pixels]]))


def events(data, i):
    mine = slice(data.offsets[i], data.offsets[i + 1])
    return list(zip(np.rint(data.times[mine] / 1e-3).astype(int), data.units[mine], strict=True))


def from_the_sheet(image):
    """tonic's SMNIST(num_neurons=79, duplicate=False), in loops."""
    thresholds = [int(254 * k / 38) for k in range(39)]
    pixels, found = [int(p) for p in image.reshape(-1)], []
    for i, p in enumerate(pixels):
        found += [(i, 79 - 79)] * (p == 255)
        for k, threshold in enumerate(thresholds if i + 1 < len(pixels) else ()):
            if p < threshold <= pixels[i + 1]:
                found.append((i, 79 - k))
            if pixels[i + 1] < threshold <= p:
                found.append((i, 79 - 39 - k))
    return sorted(found)


def test_events_are_the_sheets():
    noise = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    noise[noise > 240] = 255
    digits = load_images("digits", "test", samples=5)
    for images in (made(noise), digits):
        data = threshold_crossing(images)
        for i in range(len(images)):
            assert events(data, i) == from_the_sheet(images.images[i])
        assert data.n_units == 79 and data.times.dtype == np.float64
        assert data.units.dtype == np.int32 and data.offsets.dtype == np.int64
        np.testing.assert_array_equal(data.labels, images.labels)
        assert data.duration == data.times.max() < 0.784
        assert (data.checksum, data.split) == (images.checksum, images.split)
        assert data.name == f"sequential-{images.name}"
        assert set(data.units.tolist()) == {0, *range(2, 40), *range(41, 79)}


@pytest.mark.parametrize("level", [0, 100, 254])
def test_a_constant_image_is_silent(level):
    data = threshold_crossing(made(np.full((2, 28, 28), level)))
    assert len(data.times) == 0 and data.offsets.tolist() == [0, 0, 0] and data.duration == 0


def test_a_full_pixel_touches_at_its_own_time():
    assert events(row(255, 255, 254, 255), 0) == [(0, 0), (1, 0), (3, 0)]
    assert events(row(0, 255), 0)[-1] == (1, 0)


def test_a_ramp_crosses_every_threshold_but_the_first_up_and_down():
    up = row(*range(256))
    assert [u for _, u in events(up, 0)] == [*range(78, 40, -1), 0]
    assert [t + 1 for t, u in events(up, 0) if u] == THRESHOLDS[1:].tolist()
    down = row(*range(254, -1, -1))
    assert [u for _, u in events(down, 0)] == list(range(2, 40))
    jump = row(0, 254, 0)
    assert events(jump, 0) == [(0, u) for u in range(41, 79)] + [(1, u) for u in range(2, 40)]


@pytest.mark.parametrize("side", [None, 14])
def test_pixels_can_be_read_back_up_to_a_threshold(side):
    images = load_images("digits", "train", samples=20)
    data = threshold_crossing(images, side=side)
    pixels = images.images.astype(float)
    if side:
        pixels = np.rint(pixels.reshape(20, 14, 2, 14, 2).mean((2, 4)))
    pixels = pixels.reshape(20, -1)
    crossed = np.zeros((20, pixels.shape[1] + 1, 79), int)
    step = np.rint(data.times / 1e-3).astype(int)
    np.add.at(crossed, (np.repeat(np.arange(20), np.diff(data.offsets)), step, data.units), 1)
    rises = crossed[:, :, 41:].sum(2) - crossed[:, :, 2:41].sum(2)
    level = (pixels[:, :1, None] >= THRESHOLDS).sum(2) + np.cumsum(rises[:, :-2], 1)
    np.testing.assert_array_equal(level, (pixels[:, 1:, None] >= THRESHOLDS).sum(2))
    np.testing.assert_array_equal(crossed[:, :-1, 0], pixels == 255)


def test_events_are_in_order_within_each_image():
    data = load_sequential("digits", "train", samples=30)
    for i in range(30):
        assert events(data, i) == sorted(set(events(data, i)))


def test_small_images_are_averaged_squares():
    image = np.zeros((28, 28), np.uint8)
    image[:2, 2:4] = 255
    image[:2, 6:8] = 255
    image[0, 6] = 252
    data = threshold_crossing(made([image]), side=14)
    on, off = list(range(41, 79)), list(range(2, 40))
    assert events(data, 0) == (
        [(0, u) for u in on]
        + [(1, u) for u in [0, *off]]
        + [(2, u) for u in on]
        + [(3, u) for u in off]
    )
    assert events(threshold_crossing(made([image]), side=28), 0) == from_the_sheet(image)


def test_no_images_give_no_events():
    data = threshold_crossing(made(np.zeros((0, 28, 28))), side=14)
    assert len(data) == 0 and data.offsets.tolist() == [0] and len(data.units) == 0


def test_resolution_scales_time_and_a_choice_is_load_images():
    data = load_sequential("digits", "test", samples=20, side=14, resolution=4e-3, seed=3)
    fast = load_sequential("digits", "test", samples=20, side=14, seed=3)
    np.testing.assert_allclose(data.times, 4 * fast.times, rtol=1e-12)
    images = load_images("digits", "test", samples=20, seed=3)
    np.testing.assert_array_equal(data.labels, images.labels)
    assert data.name == "sequential-digits" and data.n_classes == 10


def test_mnist_is_coded_as_tonic_codes_it(real):
    real("mnist/t10k-images-idx3-ubyte.gz")
    data = load_sequential("mnist", "test", samples=20)
    images = load_images("mnist", "test", samples=20)
    assert data.verified
    for i in range(20):
        assert events(data, i) == from_the_sheet(images.images[i])


def test_what_cannot_be_coded_is_refused(house):
    images = load_images("digits", "train", samples=10)
    for side in (0, 1, 5, 56):
        with pytest.raises(ReaderError, match=f"side {side} for images of 28 x 28"):
            threshold_crossing(images, side=side)
    for resolution in (0, -1e-3, float("nan")):
        with pytest.raises(ReaderError, match="s per pixel"):
            threshold_crossing(images, resolution=resolution)
    grey = ImageData("made", "train", images.images / 255, images.labels, 10, "sha256:0", True)
    for wrong in (grey, made(np.zeros((3, 784))), made(np.zeros((3, 1, 1)))):
        with pytest.raises(ReaderError, match=r"uint8 \[n, height, width\]"):
            threshold_crossing(wrong)
    with pytest.raises(ReaderError, match="holds events, not images"):
        load_sequential("shd", "train")
    with pytest.raises(ReaderError, match="'imagenet' is unknown"):
        load_sequential("imagenet", "train")


def test_images_start_together_and_last_all_their_pixels():
    data = load_sequential("digits", "test", samples=20, side=14)
    steps = steps_needed(data, 1e-3)
    assert steps == 196 and steps_needed(data.subset([0]), 1e-3) == 196
    pointers, _, _ = bin_events(data, [3, 4], 1e-3, steps)
    first = np.flatnonzero(np.diff(pointers)) // 2
    events = data.times[data.offsets[3] : data.offsets[5]]
    assert first[0] == round(events.min() * 1e3) and first[-1] == round(events.max() * 1e3)
