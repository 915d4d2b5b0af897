"""bin_events and draw_warp against dense loops and torch's affine_grid / grid_sample."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.datasets.augment import Warp, draw_warp
from paraspike.datasets.binning import bin_events, steps_needed
from paraspike.datasets.events import EventData
from paraspike.errors import ReaderError


def event_data(recordings, n_units):
    """EventData from lists of (times, units)."""
    lengths = [len(times) for times, _ in recordings]
    times = np.concatenate([np.sort(np.asarray(t, float)) for t, _ in recordings])
    return EventData(
        name="made",
        split="train",
        times=times,
        units=np.concatenate([np.asarray(u, np.int32) for _, u in recordings]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.zeros(len(recordings), np.int64),
        speakers=None,
        n_units=n_units,
        n_classes=1,
        duration=float(times.max(initial=0)),
        checksum="sha256:0",
        verified=True,
    )


def random_data(rng, n, n_units, longest):
    recordings = []
    for _ in range(n):
        events = int(rng.integers(0, 60))
        recordings.append((rng.uniform(0, longest, events), rng.integers(0, n_units, events)))
    return event_data(recordings, n_units)


def own_raster(data, i, dt):
    """The recording's own raster [T_i, units], one event at a time."""
    part = slice(data.offsets[i], data.offsets[i + 1])
    bins = np.ceil(data.times[part] / dt).astype(int)
    raster = np.zeros((bins.max(initial=-1) + 1, data.n_units), np.float32)
    for step, unit in zip(bins, data.units[part], strict=True):
        raster[step, unit] += 1
    return raster


def dense(rows, steps, batch, n_units):
    pointers, units, counts = rows
    assert pointers.dtype == np.int64 and units.dtype == np.int32 and counts.dtype == np.float32
    raster = np.zeros((steps * batch, n_units), np.float32)
    for row in range(steps * batch):
        part = slice(pointers[row], pointers[row + 1])
        assert (np.diff(units[part]) > 0).all(), "units ascend and are unique within a row"
        raster[row, units[part]] = counts[part]
    return raster.reshape(steps, batch, n_units)


def pad(rasters, steps):
    return np.stack([np.pad(r, ((steps - len(r), 0), (0, 0))) for r in rasters], axis=1)


def torch_warp(raster, shift, zoom):
    """torchvision's RandomAffine(translate=(shift, 0), scale=zoom, nearest, fill 0), in float64."""
    if raster.size == 0:
        return raster
    image = torch.from_numpy(raster).double()[None, None]
    theta = [[1 / zoom, 0, -2 * shift / raster.shape[1] / zoom], [0, 1 / zoom, 0]]
    theta = torch.tensor([theta], dtype=torch.float64)
    grid = torch.nn.functional.affine_grid(theta, image.shape, align_corners=False)
    moved = torch.nn.functional.grid_sample(
        image, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved[0, 0].float().numpy()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 40), st.integers(0, 5))
def test_bins_as_a_dense_loop_does(seed, n, n_units, spare):
    rng = np.random.default_rng(seed)
    dt = float(rng.choice([1e-3, 4e-3, 1e-2]))
    data = random_data(rng, n, n_units, 0.12)
    index = rng.integers(0, n, size=int(rng.integers(1, 6)))
    steps = steps_needed(data, dt) + spare
    expected = pad([own_raster(data, i, dt) for i in index], steps)
    ours = dense(bin_events(data, index, dt, steps), steps, len(index), n_units)
    np.testing.assert_array_equal(ours, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 60), st.floats(0.4, 2.5))
def test_warps_as_grid_sample_does(seed, n, n_units, widest):
    rng = np.random.default_rng(seed)
    data = random_data(rng, n, n_units, 0.05)
    index = np.arange(n)
    low, high = sorted((1.0, widest))
    zoom = rng.uniform(low, high, n)
    shift = rng.integers(-n_units, n_units + 1, n)
    steps = steps_needed(data, 1e-3)
    own = [own_raster(data, i, 1e-3) for i in index]
    expected = [torch_warp(r, s, z) for r, s, z in zip(own, shift, zoom, strict=True)]
    rows = bin_events(data, index, 1e-3, steps, Warp(shift, zoom))
    np.testing.assert_array_equal(dense(rows, steps, n, n_units), pad(expected, steps))


def test_warps_drawn_for_the_real_size_as_grid_sample_does():
    rng = np.random.default_rng(3)
    recordings = [(rng.uniform(0, 0.4, 900), rng.integers(0, 700, 900)) for _ in range(8)]
    data = event_data(recordings, 700)
    warp = draw_warp(5, np.arange(8), 2, n_units=700)
    steps = steps_needed(data, 1e-3)
    ours = dense(bin_events(data, np.arange(8), 1e-3, steps, warp), steps, 8, 700)
    own = [own_raster(data, i, 1e-3) for i in range(8)]
    expected = [torch_warp(r, s, z) for r, s, z in zip(own, warp.shift, warp.zoom, strict=True)]
    np.testing.assert_array_equal(ours, pad(expected, steps))


def test_no_warp_is_the_warp_that_does_nothing():
    data = random_data(np.random.default_rng(1), 3, 20, 0.1)
    steps, index = steps_needed(data, 1e-3), np.arange(3)
    still = bin_events(data, index, 1e-3, steps, Warp(np.zeros(3, int), np.ones(3)))
    for ours, theirs in zip(bin_events(data, index, 1e-3, steps), still, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_times_on_an_edge_lie_on_it_whatever_their_last_bit():
    times = np.arange(40) * 0.01
    data = event_data([(times, np.zeros(40))], 1)
    assert steps_needed(data, 0.01) == 40
    pointers, _, counts = bin_events(data, [0], 0.01, 40)
    np.testing.assert_array_equal(np.diff(pointers), 1)
    np.testing.assert_array_equal(counts, 1)


def test_empty_recordings_give_empty_rows():
    data = event_data([([], []), ([0.002], [1])], 3)
    raster = dense(bin_events(data, [0, 1], 1e-3, 4), 4, 2, 3)
    assert raster.sum() == 1 and raster[3, 1, 1] == 1


def test_draws_depend_on_seed_recording_and_epoch_alone():
    index = np.arange(500)
    warp = draw_warp(0, index, 3, n_units=700)
    part = draw_warp(0, index[100:120], 3, n_units=700)
    np.testing.assert_array_equal(warp.shift[100:120], part.shift)
    np.testing.assert_array_equal(warp.zoom[100:120], part.zoom)
    assert np.abs(warp.shift).max() in (69, 70) and warp.shift.dtype == np.int64
    assert 0.7 < warp.zoom.min() < 0.71 and 1.29 < warp.zoom.max() < 1.3
    assert abs(warp.shift.mean()) < 6 and abs(warp.zoom.mean() - 1) < 0.03
    mixed = draw_warp(np.repeat([0, 1], 2), [7, 8, 7, 8], 0, n_units=700)
    alone = draw_warp(1, [7, 8], 0, n_units=700)
    np.testing.assert_array_equal(mixed.zoom[2:], alone.zoom)
    assert not np.array_equal(mixed.zoom[:2], alone.zoom)
    assert not np.array_equal(draw_warp(1, [7, 8], 1, n_units=700).zoom, alone.zoom)


def test_refuses_what_cannot_be_binned():
    data = event_data([([0.05], [0])], 1)
    with pytest.raises(ReaderError, match="recording 0 has 51 bins"):
        bin_events(data, [0], 1e-3, 20)
    with pytest.raises(ReaderError, match="not a positive number"):
        bin_events(data, [0], 0.0, 20)
    with pytest.raises(ReaderError, match="warp for 2 recordings, 1 asked"):
        bin_events(data, [0], 1e-3, 60, Warp(np.zeros(2, int), np.ones(2)))
    with pytest.raises(ReaderError, match="scale 1"):
        draw_warp(0, [0], 0, scale=1.0, n_units=700)
