import numpy as np
import pytest

from benchmarks import pack_shd
from paraspike.datasets import shd
from paraspike.datasets.events import Recordings


def recordings(rng, n=5):
    sizes = np.array([0, 400, 1, 0, 60])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    steps = [np.sort(rng.integers(0, 1200, size)) for size in sizes]
    ticks = (np.concatenate(steps) / 1e3).astype(np.float16)
    units = rng.integers(0, 700, offsets[-1])
    return Recordings(ticks, units, offsets, np.arange(n), np.arange(n) % 3, 1, 700, 20)


def by_time_and_unit(found):
    owner = np.repeat(np.arange(len(found)), np.diff(found.offsets))
    return np.array(sorted(zip(owner, found.ticks.astype(float), found.units, strict=True)))


@pytest.mark.parametrize("kept", [None, 3])
def test_what_is_unpacked_is_what_was_packed(tmp_path, kept):
    source, packed, out = tmp_path / "a.h5", tmp_path / "a.npz", tmp_path / "data" / "b.h5"
    shd.write(source, recordings(np.random.default_rng(3)))
    words = ["pack", str(source), str(packed)] + ([str(kept)] if kept else [])
    assert pack_shd.main(words) == 0 and pack_shd.main(["unpack", str(packed), str(out)]) == 0
    before, after = shd.read([source], ""), shd.read([out], "")
    n = kept or len(before)
    assert len(after) == n
    for name in ("labels", "speakers"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[:n])
    np.testing.assert_array_equal(np.diff(after.offsets), np.diff(before.offsets)[:n])
    expected = by_time_and_unit(before)
    np.testing.assert_array_equal(by_time_and_unit(after), expected[expected[:, 0] < n])


def test_times_between_milliseconds_are_refused(tmp_path, capsys):
    made = recordings(np.random.default_rng(3))
    made.ticks[:] = np.sort(np.full(len(made.ticks), 0.00351, np.float16))
    shd.write(tmp_path / "a.h5", made)
    assert pack_shd.main(["pack", str(tmp_path / "a.h5"), str(tmp_path / "a.npz")]) == 1
    assert "whole milliseconds" in capsys.readouterr().err
    assert not (tmp_path / "a.npz").exists()
