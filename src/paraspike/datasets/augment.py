"""SPSN's two augmentations on event rasters: a channel shift, and a zoom of time and channels.

The image [T_i, units] of a recording is resampled as torch's affine_grid and grid_sample do it
(nearest neighbour, zeros outside, align_corners=False), which is what torchvision's RandomAffine
calls: out(t, c) = in(nearest((t - t0) / zoom + t0), nearest((c - c0 - shift) / zoom + c0)) with
(t0, c0) the image's centre. The map is separable and monotone, so binning.py applies it to event
lists by the range of output pixels that show an input pixel.
"""

from dataclasses import dataclass

import numpy as np

from paraspike.errors import ReaderError
from paraspike.ops.jit import njit
from paraspike.randomness import uniform


@dataclass(frozen=True)
class Warp:
    """One warp per recording: shift int64 [B] in whole channels (up is positive), zoom float64 [B]
    (above 1 enlarges)."""

    shift: np.ndarray
    zoom: np.ndarray


@njit
def source_index(pixel, size, shift, zoom):
    """The input pixel that output pixel `pixel` of an axis shows; outside 0 .. size - 1 means none.

    Operations in the order of torch's affine_grid and grid_sample, so that float64 ties fall alike.
    """
    if size == 1:
        grid = 0.0
    else:
        step = 2.0 / (size - 1)
        grid = -1.0 + step * pixel if pixel < size // 2 else 1.0 - step * (size - 1 - pixel)
        grid = grid * (size - 1) / size
    grid = grid * (1.0 / zoom) + (-2.0 * shift / size) / zoom
    return np.int64(np.rint(((grid + 1.0) * size - 1.0) / 2.0))


def draw_warp(
    seed, index, epoch: int, shift: float = 0.1, scale: float = 0.3, *, n_units: int
) -> Warp:
    """SPSN's random warps for recordings `index` [B] in an epoch.

    Args:
        seed: the run's seed, or one per recording [B].
        shift: largest channel shift as a fraction of n_units; drawn uniformly, rounded to channels.
        scale: zoom is uniform in 1 - scale .. 1 + scale, the same for time and channels.

    Raises:
        ReaderError: shift is negative, or scale is not in [0, 1).
    """
    if not (shift >= 0 and 0 <= scale < 1):
        raise ReaderError(
            f"shift {shift} or scale {scale} is out of range",
            "draw_warp",
            "shift >= 0, 0 <= scale < 1",
        )
    u = 2.0 * uniform(seed, "augment", index, 1, 2, trial=epoch)[0].astype(np.float64) - 1.0
    return Warp(np.rint(u[:, 0] * shift * n_units).astype(np.int64), 1.0 + scale * u[:, 1])
