"""The modelled benchmarks of the IPU paper: what they hold, which way they go, what their figures say."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

from paraspike import netcdf
from paraspike.ipu import calibration, cost
from paraspike.ipu.machine import MACHINES
from paraspike.ipu.mapping import place
from paraspike.ipu.program import Program
from paraspike.papers import ipu_figures
from paraspike.papers import ipu_model as modelled
from paraspike.papers.ipu import layer_sizes

FIGURES = ("throughput", "per_tile", "multi_ipu", "traces", "calibration")


@pytest.fixture(scope="module")
def data():
    return modelled.model(
        "Bow",
        (["Bow", "Mk1"], [2, 3], [0.01, 0.1, 0.5]),
        ([2, 16, 32], [0.01, 0.05]),
        ([1, 4, 16], [2], [0.05]),
    )


def test_every_variable_says_what_it_is_and_survives_the_file(data, tmp_path):
    netcdf.check(data, data.attrs)
    assert {v.attrs["kind"] for v in data.data_vars.values()} == {"modelled", "published"}
    published = {n for n, v in data.data_vars.items() if v.attrs["kind"] == "published"}
    assert published == {"log_ms", "log_low", "log_high"}
    assert "method" not in data.dims
    netcdf.write(data, tmp_path / "model.nc")
    assert netcdf.open_run(tmp_path / "model.nc").identical(data)


def test_throughput_is_the_cost_models_and_falls_with_activity(data):
    assert data.throughput.dims == ("task", "machine", "depth", "activity")
    assert (data.throughput.diff("activity").fillna(-1) < 0).all()
    sizes, slots = modelled.network("SHD", MACHINES["Bow"], 3, 0.1)
    assert sizes == layer_sizes(2, 3, 1, 700, 20)
    program = Program(place(sizes, slots, MACHINES["Bow"], batch=48, steps=100))
    here = data.sel(task="SHD", machine="Bow", depth=3, activity=0.1)
    assert float(here.throughput) == pytest.approx(cost.throughput(program))
    seconds = 100 * float(here.cycles.sum()) / data.clock_hz
    assert 48 / seconds == pytest.approx(float(here.throughput))
    assert here.throughput_low <= here.throughput <= here.throughput_high


def test_cells_of_the_log_are_on_the_lines_and_held_out_as_by_calibration(data):
    for cell in data[["fitted_ms", "cell_depth", "cell_activity"]].transpose("cell").cell:
        one = data.sel(cell=cell)
        at = {"depth": int(one.cell_depth), "activity": float(one.cell_activity)}
        if at["depth"] in data.depth and at["activity"] in data.activity:
            rate = data.throughput.sel(task="N-MNIST", machine="Bow", **at)
            # A list of the log is up to two slots shorter or longer: it is cut from unrounded sizes.
            assert 48e3 / float(one.fitted_ms) == pytest.approx(float(rate), rel=0.02)
    held = data.held_out_ms.sel(split="depth")
    out = data.cell_depth.values == 3
    alone = calibration.predict(calibration.fit(~out))
    np.testing.assert_allclose(held.sel(predictor="cycle model")[out], alone[out])
    np.testing.assert_allclose(held.sel(predictor="linear"), calibration.linear("depth"))
    np.testing.assert_allclose(held.sel(predictor="empirical"), calibration.empirical("depth"))
    np.testing.assert_allclose(data.fitted_ms, calibration.predict())
    assert ((data.constant_low <= data.constant) & (data.constant <= data.constant_high)).all()


def test_what_does_not_fit_is_marked(data):
    room = {name: MACHINES[name].sram / 1024 for name in ("Bow", "Mk1")}
    for name, kib in room.items():
        assert (data.fits.sel(machine=name) == (data.memory.sel(machine=name) <= kib)).all()
    assert (data.throughput.isnull() == ~data.fits).all()
    assert not data.fits.sel(machine="Mk1", task="DVS Gesture").any()
    assert data.tile_fits.sel(per_tile=[2, 16]).all() and not data.tile_fits.sel(per_tile=32).any()
    assert np.isfinite(data.tile_throughput).all()
    none = modelled.cost_of([700, 4000, 20], [48] * 3, MACHINES["Mk1"], "adam", per_tile=2)
    assert not none["fits"] and np.isnan(none["throughput"]) and np.isnan(none["cycles"]).all()


def test_more_neurons_a_tile_are_slower_but_do_more(data):
    assert (data.tile_throughput.diff("per_tile") < 0).all()
    assert (data.tile_updates.diff("per_tile") > 0).all()
    assert list(data.tile_depth) == [3, 24, 48]


def test_weak_and_strong_scaling_meet_at_the_most_ipus(data):
    one = data.isel(ipu_per_tile=0, ipu_activity=0)
    weak, strong = one.sel(scaling="weak"), one.sel(scaling="strong")
    assert float(weak.ipu_throughput[-1]) == pytest.approx(float(strong.ipu_throughput[-1]))
    assert list(weak.ipu_held) == [2, 2, 2] and list(np.diff(strong.ipu_held) < 0) == [True, True]
    assert weak.ipu_fits.all() and not strong.ipu_fits[0] and strong.ipu_fits[-1]
    assert len(set(strong.ipu_neurons.values)) == 1
    for here in (weak, strong):
        assert here.ipu_efficiency[0] == 1 and (np.diff(here.ipu_efficiency) < 0).all()
        assert (here.ipu_efficiency_slow <= here.ipu_efficiency).all()
    assert (np.diff(strong.ipu_throughput) > 0).all() and (np.diff(weak.ipu_throughput) < 0).all()


def test_traces_fill_the_step_and_the_file_opens(data, tmp_path):
    assert set(np.unique(data.trace)) == {0, 1, 2}
    total = float(data.cycles.sel(task="SHD", machine="Bow", depth=3, activity=0.1)[:3].sum())
    assert 0 < float(data.trace_cycles.sum()) < total
    for way in ("forward", "backward"):
        steps = data.superstep_cycles[data.superstep_way.values == way]
        assert float(steps.sum()) == pytest.approx(float(data.trace_cycles.sel(direction=way)))
    file = modelled.chrome_trace(tmp_path / "trace.json")
    events = json.loads(file.read_text())["traceEvents"]
    assert {e["tid"] for e in events if e["ph"] == "X"} == set(range(0, 1472, 8))


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_that_they_are_modelled(data, name):
    fig = getattr(ipu_figures, name)(data)
    assert "modelled" in fig._suptitle.get_text()
    drawn = [ax for ax in fig.axes if ax.has_data()]
    for ax in drawn:
        text = " ".join((ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()))
        assert "modelled" in text
    words = " ".join(text.get_text() for ax in fig.axes for text in ax.texts)
    labels = {str(h) for ax in fig.axes for h in ax.get_legend_handles_labels()[1]}
    if name == "multi_ipu":
        assert "no log of several IPUs exists" in words
    if name in ("per_tile", "multi_ipu"):
        assert "does not fit SRAM" in labels
    if name == "throughput":
        assert "do not fit SRAM, not drawn:\nMk1: all networks" in words
        assert "Bow: 2, 3 layers from 50 %\nMk1: all networks" in words
    if name == "calibration":
        assert all(str(free) in words for free in data.free.values)
        assert any("published" in label for label in labels)
        for predictor in data.predictor.values:
            own = [label for label in labels if f"{predictor}, a whole" in label]
            assert len(own) == 2 and all("median" in label and "worst" in label for label in own)
        note = fig._supxlabel.get_text()
        assert "10 of 12 cells fitted; held out, by depth and activity, 7 and 10" in note
    plt.close(fig)
