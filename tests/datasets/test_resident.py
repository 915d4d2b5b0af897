"""Batches gathered and augmented on the device, against `bin_events`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.datasets.augment import Warp, draw_warp
from paraspike.datasets.binning import bin_events, steps_needed
from paraspike.datasets.events import EventData
from paraspike.datasets.resident import ResidentEvents
from paraspike.errors import ReaderError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DT = 0.01


def data_of(rng, n, n_units, longest, span=None):
    lengths = rng.integers(0, 60, n)
    lengths[0] = max(lengths[0], 1)
    times = np.concatenate([np.sort(rng.uniform(0, rng.uniform(DT, longest), k)) for k in lengths])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    units = rng.integers(0, n_units, len(times)).astype(np.int32)
    labels = np.zeros(n, np.int64)
    return EventData("made", "train", times, units, offsets, labels, None, n_units, 1, longest, "none", True,
                     span)  # fmt: skip


def same(data, held, index, warp):
    expected = bin_events(data, index, DT, held.steps, warp)
    spikes = held.batch(index, warp)
    assert spikes.shape == (held.steps, len(index), data.n_units)
    for actual, wanted in zip(spikes.lists, expected, strict=True):
        assert np.array_equal(actual, wanted)
    return spikes


@given(
    st.integers(0, 999), st.sampled_from([1, 2, 7, 30]), st.sampled_from([0.0, 0.3, 0.9]),
    st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_batches_equal_those_of_the_host(seed, n_units, widest, spanned, warped):
    rng = np.random.default_rng(seed)
    data = data_of(rng, 9, n_units, 0.4, span=0.5 if spanned else None)
    held = ResidentEvents(data, DT, DEVICE, None if seed % 2 else 70)
    index = rng.integers(0, 9, 6)
    warp = None
    if warped:
        zoom = 1 + widest * rng.uniform(-1, 1, 6)
        warp = Warp(rng.integers(-n_units, n_units + 1, 6), zoom)
    same(data, held, index, warp)


def test_the_real_size_and_its_density():
    rng = np.random.default_rng(0)
    data = data_of(rng, 300, 700, 1.0)
    held, index = ResidentEvents(data, DT, DEVICE), rng.permutation(300)[:64]
    assert held.steps == steps_needed(data, DT)
    true = float((held.batch(np.arange(300)).dense() != 0).double().mean())
    for epoch in range(3):
        warp = draw_warp(3, index, epoch, n_units=700)
        spikes = same(data, held, index, warp)
        # Of all recordings: what is chosen by it is the same whatever lies beside a sample.
        assert spikes.on(DEVICE).density == pytest.approx(true)


def test_what_does_not_fit_is_named():
    data = data_of(np.random.default_rng(0), 4, 5, 0.2)
    held = ResidentEvents(data, DT, DEVICE)
    with pytest.raises(ReaderError, match="recordings 0 .. 4 of 4"):
        held.batch([0, 4])
    with pytest.raises(ReaderError, match="a warp for 1"):
        held.batch([0, 1], Warp(np.zeros(1, int), np.ones(1)))


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_the_host_never_waits():
    data = data_of(np.random.default_rng(0), 40, 30, 0.4)
    held, index = ResidentEvents(data, DT, DEVICE), np.arange(20)
    warp = draw_warp(3, index, 0, n_units=30)
    torch.cuda.set_sync_debug_mode("error")
    try:
        held.batch(index, warp)
        held.batch(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
