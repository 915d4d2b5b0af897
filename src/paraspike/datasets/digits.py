"""`digits`: scikit-learn's 1,797 handwritten digits, 8 x 8 of 17 grey levels, scaled to 28 x 28."""

import functools

import numpy as np

from paraspike.datasets.events import ImageData, content_checksum
from paraspike.randomness import permutation

TEST_IMAGES = 360


@functools.cache
def _all_images():
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    found = load_digits()
    small = found.images / 16.0
    # Order 1 interpolates between neighbours only, so grey levels stay within 0 .. 1.
    large = zoom(small, (1, 28 / 8, 28 / 8), order=1, grid_mode=True, mode="nearest")
    return np.rint(255 * large).astype(np.uint8), found.target.astype(np.int64)


def read(split: str) -> ImageData:
    """The fixed split, each class in proportion: 1,437 training and 360 test images."""
    images, labels = _all_images()
    order = permutation(0, "digits/split", len(labels))
    place = np.empty(len(labels))
    for label in range(10):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    by_place = np.argsort(place, kind="stable")
    chosen = np.sort(by_place[:TEST_IMAGES] if split == "test" else by_place[TEST_IMAGES:])
    images, labels = images[chosen], labels[chosen]
    return ImageData("digits", split, images, labels, 10, content_checksum(images, labels), True)
