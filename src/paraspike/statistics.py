"""Statistics of spike trains."""

import numpy as np


def rate_hz(spikes: np.ndarray, dt: float) -> float:
    """Mean firing rate in Hz of spikes [T, B, N], dt in seconds."""
    return float(spikes.mean() / dt)


def isi_cv(spikes: np.ndarray, fewest: int = 3) -> float:
    """Coefficient of variation of inter-spike intervals, mean over the trains of [T, B, N] that have
    at least `fewest` intervals: 0 for a clock, about sqrt(1 - p) for Bernoulli spikes of chance p,
    1 for a Poisson train. NaN where no train has enough spikes."""
    values = []
    for train in spikes.reshape(len(spikes), -1).T:
        gaps = np.diff(np.flatnonzero(train))
        if len(gaps) >= fewest:
            values.append(gaps.std() / gaps.mean())
    return float(np.mean(values)) if values else float("nan")


def synchrony(spikes: np.ndarray) -> float:
    """Golomb and Rinzel's measure over neurons: standard deviation over time of the population's
    mean, divided by the root mean of the neurons' variances over time; per sample of [T, B, N], then averaged.
    1 when all fire together, about 1 / sqrt(N) when independent. NaN where nothing varies."""
    population = spikes.mean(2).var(0)
    single = spikes.var(0).mean(1)
    moving = single > 0
    if not moving.any():
        return float("nan")
    return float(np.sqrt(population[moving] / single[moving]).mean())
