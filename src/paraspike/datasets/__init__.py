"""Data sets: registry, fetch and verify, readers, synthetic sets, binning, augmentation."""

from paraspike.datasets.events import EventData, ImageData
from paraspike.datasets.loading import load, load_images, load_sequential

__all__ = ["EventData", "ImageData", "load", "load_images", "load_sequential"]
