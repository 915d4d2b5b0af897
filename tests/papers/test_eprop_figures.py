"""Units and marks of the e-prop figures; that they are drawn at all, the smoke run tests."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from paraspike.papers.eprop_figures import figure1, figure3, growth, largest_complete


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_published_inference_lies_on_the_published_marks():
    """GeNN's LSNN and TensorFlow's LSTM at batch 1 as if they had been measured here, in J and s."""
    joules, seconds = np.array([0.2792250069, 2.067183593]), np.array([6.865539e-3, 48.8193e-3])
    axes = ("device", "model", "batch")
    data = xr.Dataset(
        {
            "seconds": ((*axes, "repeat"), seconds.reshape(1, 2, 1, 1)),
            "energy": (axes, joules.reshape(1, 2, 1)),
            "energy_delay": (axes, (joules * seconds).reshape(1, 2, 1)),
            "test_accuracy": (("device", "model"), [[90.0, 95.0]]),
        },
        coords={"device": ["cuda"], "model": ["LSNN", "LSTM"], "batch": [1], "repeat": [0]},
    )
    fig = figure1(data)
    for ax, here in zip(fig.axes, ((6.866, 48.82), (279.2, 2067), (1917, 100918)), strict=True):
        drawn = {line.get_label(): line.get_ydata()[0] for line in ax.lines}
        for model, value in zip(("LSNN", "LSTM"), here, strict=True):
            (ours,) = [y for label, y in drawn.items() if label.startswith(f"{model} here")]
            (known,) = [y for label, y in drawn.items() if model in label and "Titan V" in label]
            assert ours == pytest.approx(value, rel=1e-3) == pytest.approx(known, rel=1e-3)
        assert not any("not measurable" in text.get_text() for text in ax.texts)


def test_without_counters_the_panels_say_so():
    axes = ("device", "model", "batch")
    nothing = np.full((1, 2, 1), np.nan)
    data = xr.Dataset(
        {
            "seconds": ((*axes, "repeat"), np.ones((1, 2, 1, 1))),
            "energy": (axes, nothing),
            "energy_delay": (axes, nothing),
            "test_accuracy": (("device", "model"), [[90.0, 95.0]]),
        },
        coords={"device": ["cpu"], "model": ["LSNN", "LSTM"], "batch": [1], "repeat": [0]},
        attrs={"energy_reason": "cpu: no RAPL"},
    )
    fig = figure1(data)
    said = [any("not measurable" in t.get_text() for t in ax.texts) for ax in fig.axes]
    assert said == [False, True, True] and "cpu: no RAPL" in fig._supxlabel.get_text()


def training():
    """Times that grow with the square and with the first power of the length; one that did not fit."""
    lengths = np.array([50, 200, 800])
    seconds = np.stack([lengths**2.0, lengths])[:, None, :, None] * np.ones((2, 2, 3, 2)) / 1e6
    peak = np.ones((2, 2, 3))
    seconds[0, 1, 2], peak[0, 1, 2] = np.nan, np.nan
    names = ["BPTT as published", "eProp online"]
    return xr.Dataset(
        {
            "seconds": (("arm", "hidden", "length", "repeat"), seconds),
            "size_peak": (("size_arm", "hidden", "length"), peak),
        },
        coords={"arm": names, "size_arm": names, "hidden": [64, 128], "length": lengths},
        attrs={"budget": 2.0, "batch_size": 8},
    )


def test_what_did_not_fit_is_marked_and_growth_is_of_a_size_that_did():
    data = training()
    assert largest_complete(data) == 64
    assert growth(data, "BPTT as published", 64) == pytest.approx(2)
    assert growth(data, "eProp online", 64) == pytest.approx(1)
    assert np.isnan(growth(data.isel(length=[0]), "eProp online", 64))
    fig = figure3(data)
    marks = [sum("out of memory" in t.get_text() for t in ax.texts) for ax in fig.axes[:3]]
    assert marks == [0, 1, 0]
    assert "BPTT as published 2.00, eProp online 1.00" in fig._supxlabel.get_text()
