"""The house look: equal bytes, loud absences, published values that cannot be taken for ours."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from paraspike import plots  # noqa: E402
from paraspike.errors import ReaderError  # noqa: E402

ATTRS = {
    "dataset": "shd",
    "data_verified": 0,
    "scale": "quick",
    "backend": "cpu",
    "seeds": "[0, 1]",
}
DATA = xr.Dataset({"x": ("seed", [1.0, 3.0])}, {"seed": [0, 1]}, ATTRS)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawing():
    fig, ax = plots.figure()
    measured = {("LIF", "basic"): (3.0, 0.5), ("LIF", "augmentation"): (4.0, np.nan)}
    plots.bars(ax, measured, {("LIF", "basic"): (5.0, 0.2)}, "published (V100)")
    plots.title(fig, "A title", DATA)
    return fig, ax


def test_two_processes_draw_the_same_bytes(tmp_path):
    plots.save(drawing()[0], tmp_path / "one")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_plots\n"
        "test_plots.plots.save(test_plots.drawing()[0], test_plots.Path(sys.argv[2]) / 'two')"
    )
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", program, here, str(tmp_path)], check=True)
    for kind in ("svg", "png"):
        one, two = ((tmp_path / f"{n}.{kind}").read_bytes() for n in ("one", "two"))
        assert one == two and len(one) > 1000
    assert len(list(tmp_path.iterdir())) == 4


def test_published_values_are_hollow_and_named():
    _, ax = drawing()
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts == ["basic", "augmentation", "published (V100)"]
    diamonds = [line for line in ax.lines if line.get_marker() == "D" and len(line.get_xdata())]
    (one,) = diamonds
    assert one.get_markerfacecolor() == "white" and list(one.get_ydata()) == [5.0]
    bars = [patch.get_height() for patch in ax.patches]
    assert bars == [3.0, 4.0]
    assert one.get_xdata()[0] == pytest.approx(
        ax.patches[0].get_x() + ax.patches[0].get_width() / 2
    )


def test_the_figure_says_what_it_was_made_from():
    fig, _ = drawing()
    assert fig.get_supxlabel() == "data shd (unverified) · scale quick · backend cpu · 2 seeds"
    timed = DATA.assign_attrs(timed=1, device="V100", threads=2, dataset="none")
    timed["disturbed"] = ((), 1.0)
    assert plots.context(timed).endswith("V100, 2 thread(s) · disturbed by other processes")
    assert plots.context(DATA.drop_attrs()) == ""


def test_what_is_missing_is_named():
    tree = xr.DataTree.from_dict({"/": xr.Dataset(), "readout": DATA})
    assert (
        plots.need(tree, "readout", "x").equals(DATA) and plots.need(DATA, "readout", "x") is DATA
    )
    with pytest.raises(ReaderError, match="no experiment 'duration'"):
        plots.need(tree, "duration", "x")
    with pytest.raises(ReaderError, match="readout holds no 'y'"):
        plots.need(tree, "readout", "y")


def test_colours_are_told_apart():
    inks = {plots.colour(m) for m in ("LIF", "SPSN-SB", "SPSN-GS", "ReLU", "another")}
    assert len(inks) == 5 and plots.colour("another") == plots.colour("another")


def test_spread_needs_two_values_for_a_deviation():
    assert plots.spread(DATA.x, "seed") == pytest.approx((2.0, np.sqrt(2)))
    mean, deviation = plots.spread(DATA.x[:1], "seed")
    assert mean == 1 and np.isnan(deviation)
    assert np.isnan(plots.spread(DATA.x * np.nan, "seed")[0])


def test_notes_stand_below_the_context():
    fig, _ = plots.figure()
    data = xr.Dataset(attrs={"scale": "quick"})
    plots.title(fig, "a", data, "", "rate 2 (published 1)", C=data)
    assert fig.get_supxlabel() == "scale quick\nrate 2 (published 1)\nC: scale quick"
