"""The runtime's figure: every arm that was run is there, what was not is left out."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from spikepipe_pictures import legible, words

from paraspike.papers.spikepipe_runtime_figures import runtime


def test_arms_that_ran_are_drawn_with_their_speedup():
    arms = ["one process", "runtime, contiguous", "torch 1F1B", "data parallel"]
    seconds = np.array([[[0.004, 0.004]], [[0.002, 0.002]], [[np.nan, np.nan]], [[0.003, 0.003]]])
    cell = ("arm", "processors")
    data = xr.Dataset(
        {
            "seconds": ((*cell, "repeat"), seconds),
            "steady": ((*cell, "repeat"), 0.9 * seconds),
            "busy": ((*cell, "repeat"), np.full_like(seconds, 0.5)),
            "difference": (cell, [[0.0], [1e-9], [np.nan], [0.2]]),
            "modelled": (cell, [[np.nan], [2.0], [np.nan], [np.nan]]),
            "delay": (cell, [[0.0], [3.0], [0.0], [0.0]]),
        },
        {"arm": arms, "processors": [2], "repeat": [0, 1]},
        {"cores": 2, "network": "8-4", "batch_size": 4, "updates": 8, "caveat": ""},
    )
    fig = runtime(data)
    legible(fig)
    said = words(fig)
    assert "2.00, total delay 3" in said and "1.33" in said and "torch 1F1B" not in said
    # Of the runtime's arms alone: 0.2 is data parallelism's.
    assert any("emulator: 1e-09" in text for text in said)
    plt.close(fig)
