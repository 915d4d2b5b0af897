"""Sparse SNNs on tiles (Finkbeiner & Neftci, SNUFA 2022): its neuron and its networks."""

import pandas as pd

from paraspike import paths
from paraspike.ipu.mapping import slots_of
from paraspike.neurons import LIF, Surrogate

# Fact sheet, section 1.1: u' = a u + gain (1 - a) I, one decay at every step whatever a step lasts.
DECAY, THRESHOLD, SECOND, SLOPE = 0.95, 1.0, 0.9, 10.0
GAINS = {"through": 10.0, "masked": 20.0}
# Tiles of an IPU that hold neurons.
USABLE_TILES = 1471
# Potentials of the poster's example.
POSTER = (0.8, 1.2, -0.5, 0.6, 0.95, 0.1, 0.98)
# Slots of the input's list: N-MNIST's in the log; SHD's in the poster's figures.
INPUT_SLOTS = {"nmnist": 32, "shd": 48}


def neuron(second: float = SECOND, reset: str = "through", band: float | None = None) -> LIF:
    """The published neuron: u <- a u + gain (1 - a) I, a spike above 1, then zero.

    Args:
        second: the second threshold: only above it does a neuron get a gradient.
        reset: `through` as on the IPU, where the gradient does not see it (gain 10), or `masked` as in
            SparseSpikes, where it ends there (gain 20).
        band: instead of the second threshold, the two-sided band |u - 1| < band (Perez-Nieves & Goodman).
    """
    window = {"below": THRESHOLD - second} if band is None else {"band": band}
    return LIF(
        a_uu=DECAY,
        a_ui=0.0,
        c0=GAINS[reset] * (1 - DECAY),
        threshold=THRESHOLD,
        reset="zero",
        reset_at="spike",
        reset_grad=reset,
        surrogate=Surrogate("fast_sigmoid", SLOPE, **window),
    )


def capacities(sizes, activity: float) -> list[int]:
    """Slots of every layer's list for a maximum activity (share of a layer's neurons), readout last."""
    return [slots_of(activity, n) for n in sizes[1:]]


def layer_sizes(per_tile: int, layers: int, ipus: int = 1, n_in: int = 700, n_out: int = 20):
    """Neurons of input, hidden layers and output that fill the published 1,471 tiles of every IPU: each
    IPU's are shared out evenly among its layers, the output's on the last one taken off before."""
    sizes = [n_in]
    for ipu in range(ipus):
        tiles = USABLE_TILES - (-(-n_out // per_tile) if ipu == ipus - 1 else 0)
        here = layers // ipus
        sizes += [per_tile * (tiles // here + (k < tiles % here)) for k in range(here)]
    return [*sizes, n_out]


def benchmarks(figure: str = "") -> pd.DataFrame:
    """Rows of the published benchmark's configurations whose figure begins so; layer sizes as texts,
    abbreviated where there are many layers."""
    table = pd.read_csv(paths.published("ipu", "bench_configs.csv"))
    return table[table.figure.str.startswith(figure)]


if __name__ == "__main__":
    from paraspike.pipeline import plain

    raise SystemExit(plain.main("ipu"))
