"""The model against the one real log: fit of its free constants, and what it says of cells left out."""

import functools

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from paraspike import paths
from paraspike.ipu.constants import FREE
from paraspike.ipu.cost import batch_seconds
from paraspike.ipu.machine import MACHINES
from paraspike.ipu.mapping import place
from paraspike.ipu.program import Program

SPLITS = ("depth", "activity")
_START = (45e3, 20.0, 3.0, 0.5)
# Milliseconds that the log's means over 25 epochs may be wrong by, by the fact sheet (section 3).
UNCERTAINTY = 0.3
_BOUNDS = ((0, 0, 0, 0.05), (np.inf, np.inf, np.inf, 1.5))


def cells() -> pd.DataFrame:
    """The log's twelve cells: activity, depth, sizes, slots, milliseconds of a training step.

    Keras prints whole milliseconds, so `low` and `high`, half a millisecond below the least and above
    the largest run's mean, bound what the time can have been: the widest reading, `UNCERTAINTY` the fact
    sheet's.
    """
    table = pd.read_csv(paths.published("ipu", "ipu_log_nmnist_agg.csv"))
    numbers = lambda text: [int(n) for n in text.split("|")]  # noqa: E731
    return pd.DataFrame(
        {
            "activity": table.max_activity,
            "depth": table.num_hidden_layers,
            "sizes": table.dense_sizes.map(numbers),
            "slots": table.sparse_sizes.map(numbers),
            "ms": table.mean_ms_per_train_step,
            "low": table.min_of_runs - 0.5,
            "high": table.max_of_runs + 0.5,
        }
    )


@functools.cache
def _programs() -> tuple[Program, ...]:
    return tuple(
        Program(place(cell.sizes, cell.slots, MACHINES["Bow"], batch=48, steps=100))
        for cell in cells().itertuples()
    )


def predict(free: dict | None = None) -> np.ndarray:
    """Milliseconds of a training step for the log's cells, by the model."""
    return np.array([1e3 * batch_seconds(p, "adam", free) for p in _programs()])


def fit(which=None) -> dict[str, float]:
    """The free constants that fit the cells `which` (bool [12], None for all), by relative least squares."""
    ms = cells().ms.to_numpy()
    which = np.ones(len(ms), bool) if which is None else np.asarray(which)
    chosen = [p for p, w in zip(_programs(), which, strict=True) if w]

    def residuals(x):
        free = dict(zip(FREE, x, strict=True))
        return [
            1e3 * batch_seconds(p, "adam", free) / t - 1
            for p, t in zip(chosen, ms[which], strict=True)
        ]

    found = least_squares(residuals, _START, bounds=_BOUNDS, x_scale=_START)
    return dict(zip(FREE, map(float, found.x), strict=True))


@functools.cache
def left_out() -> dict[tuple, dict]:
    """The constants fitted without the cells of one depth or one activity, by (split, value left out)."""
    table = cells()
    return {(s, v): fit(table[s].to_numpy() != v) for s in SPLITS for v in table[s].unique()}


def held_out(key: str) -> np.ndarray:
    """Milliseconds of each cell as predicted by a fit to the cells with another `key`, one of `SPLITS`."""
    group = cells()[key].to_numpy()
    out = np.empty(len(group))
    for (split, one), free in left_out().items():
        if split == key:
            out[group == one] = predict(free)[group == one]
    return out


def linear(key: str) -> np.ndarray:
    """As `held_out`, for a plain linear fit in slots and depth: three coefficients."""
    slots, _ = _layer()
    return _regression(key, slots, cells().depth.to_numpy(float))


def empirical(key: str) -> np.ndarray:
    """As `held_out`, for a fit linear in slots, their root and the layer's size: as many coefficients as
    the model has free constants, and nothing of the machine."""
    slots, size = _layer()
    return _regression(key, slots, np.sqrt(slots), size)


def _layer():
    """Slots and neurons of the first hidden layer of every cell."""
    table = cells()
    return (table[name].map(lambda s: s[1]).to_numpy(float) for name in ("slots", "sizes"))


def _regression(key, *columns):
    table = cells()
    columns = np.stack([np.ones(len(table)), *columns], 1)
    group, ms = table[key].to_numpy(), table.ms.to_numpy()
    out = np.empty(len(group))
    for one in np.unique(group):
        rest = group != one
        weights = columns[rest] / ms[rest, None]
        out[~rest] = columns[~rest] @ np.linalg.lstsq(weights, np.ones(rest.sum()), rcond=None)[0]
    return out
