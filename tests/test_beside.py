"""The same figure of another device, below the reader's own."""

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import xarray as xr  # noqa: E402

from paraspike import plots  # noqa: E402
from paraspike.beside import beside  # noqa: E402
from paraspike.netcdf import Elsewhere, open_elsewhere, write  # noqa: E402


def results(height: float, **attrs) -> xr.DataTree:
    data = xr.Dataset({"seconds": ("x", [height, 2 * height])}, attrs={"paper": "toy"} | attrs)
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"paper": "toy"}), "times": data})


def draw(tree):
    data = plots.need(tree, "times", "seconds")
    fig, (left, right) = plots.figure(1, 2, (6, 3), width_ratios=[2, 1])
    left.plot(data["seconds"], label="time")
    low = fig.add_subplot(right.get_subplotspec())
    low.axis("off")
    fig.legend(*left.get_legend_handles_labels(), loc="outside right upper")
    plots.title(fig, "Times", data)
    return fig


@pytest.fixture(autouse=True)
def none_left_open():
    plt.close("all")
    yield
    plt.close("all")


def test_without_others_the_figure_is_the_reader_s_own():
    fig = beside(draw, results(1.0), [])
    assert fig.get_suptitle() == "Times" and not fig.subfigs
    lacking = Elsewhere("X", "x/toy.nc", xr.DataTree())
    assert not beside(draw, results(1.0), [lacking]).subfigs


def test_another_device_s_figure_stands_below_and_names_it(tmp_path):
    files = [tmp_path / "h200" / "toy.nc", tmp_path / "v100" / "toy.nc"]
    write(results(8.0, timed=1, device="NVIDIA H200", threads=1), files[0])
    write(results(9.0), files[1])
    fig = beside(draw, results(1.0), open_elsewhere(files))
    assert plt.get_fignums() == [fig.number], "nothing else is left open"
    own, h200, v100 = fig.subfigs
    assert own.get_suptitle() == "Times\non this machine"
    assert h200.get_suptitle() == "Times\non NVIDIA H200"
    assert h200.get_supxlabel() == f"{files[0]}: NVIDIA H200, 1 thread(s)"
    assert "on v100" in v100.get_suptitle(), "untimed runs are named by their folder"
    heights = [part.axes[0].lines[0].get_ydata()[0] for part in (own, h200, v100)]
    assert heights == [1, 8, 9]
    assert np.allclose(fig.get_size_inches(), (6, 3 * 3 + 0.9))
    svg, png = plots.save(fig, tmp_path / "times")
    assert svg.stat().st_size > 1000 and png.stat().st_size > 1000
    boxes = [part.get_tightbbox() for part in (own, h200, v100)]
    assert boxes[0].y0 >= boxes[1].y1 - 0.05 and boxes[1].y0 >= boxes[2].y1 - 0.05


def test_the_reader_s_own_results_must_hold_what_is_drawn():
    with pytest.raises(plots.NotMeasuredError, match="no experiment 'times'"):
        beside(draw, xr.DataTree(), [Elsewhere("X", "x/toy.nc", results(1.0))])
