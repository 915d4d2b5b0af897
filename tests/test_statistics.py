import numpy as np
import pytest

from paraspike import statistics


def bernoulli(p, t=4000, n=20):
    return (np.random.default_rng(0).random((t, 2, n)) < p).astype(np.float32)


def test_bernoulli_trains_have_known_statistics():
    spikes = bernoulli(0.3)
    assert statistics.rate_hz(spikes, 1e-3) == pytest.approx(300, rel=0.02)
    assert statistics.isi_cv(spikes) == pytest.approx(0.7**0.5, rel=0.03)
    assert statistics.synchrony(spikes) == pytest.approx(20**-0.5, rel=0.05)


def test_a_clock_is_regular_and_in_step():
    spikes = np.zeros((100, 1, 4), np.float32)
    spikes[::5] = 1
    assert statistics.isi_cv(spikes) == 0
    assert statistics.synchrony(spikes) == pytest.approx(1)


def test_silence_has_no_statistics():
    silent = np.zeros((10, 2, 3), np.float32)
    assert statistics.rate_hz(silent, 1e-3) == 0
    assert np.isnan(statistics.isi_cv(silent)) and np.isnan(statistics.synchrony(silent))
