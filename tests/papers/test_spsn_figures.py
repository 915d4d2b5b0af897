"""SPSN's figures on made-up results: they show the numbers they were given, few or many."""

import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import spsn_example  # noqa: E402
import xarray as xr  # noqa: E402

from paraspike import paths  # noqa: E402
from paraspike.errors import ReaderError  # noqa: E402
from paraspike.papers import (  # noqa: E402
    spsn,
    spsn_extras,
    spsn_figures,
    spsn_published,
    spsn_times,
)

FIGURES = ["figure1c", "figure2", "figure3", "figure4", "figure5", "figure6"]
EXTRAS = ["table1", "table2", "padding", "statistics", "recurrent", "generality"]


def draw(name, results):
    module = spsn_figures if name in FIGURES else spsn_extras
    return getattr(module, name)(results)


@pytest.fixture(scope="module")
def tree():
    return spsn_example.tree()


@pytest.fixture(scope="module")
def few():
    """One seed, two models, one threshold."""
    return spsn_example.tree(models=["LIF", "SPSN-SB"], seeds=[3], thresholds=[0.2])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", FIGURES + EXTRAS)
def test_every_figure_draws_from_few_arms_too_and_says_its_source(name, few):
    fig = draw(name, few)
    data = "digits" if name in ("recurrent", "generality") else "cochlea (synthetic)"
    unseen = name in ("figure1c", "figure5", "padding")
    assert ("data " + data in fig.get_supxlabel()) != unseen
    assert "scale quick" in fig.get_supxlabel() and fig.get_suptitle()


def test_figure3_shows_our_means_and_the_published_ones(tree):
    axes = spsn_figures.figure3(tree).axes
    accuracy = tree["augmentation"]["test_accuracy"].mean("seed")
    bars = [patch.get_height() for patch in axes[1].patches]
    assert bars == pytest.approx(accuracy.values.flatten().tolist())
    diamonds = [line.get_ydata() for line in axes[1].lines if line.get_marker() == "D"]
    assert sorted(float(y[0]) for y in diamonds if len(y)) == sorted(
        [73.99, 85.09, 77.08, 86.89, 75.32, 86.10, 70.24, 69.40]
    )
    labels = [t.get_text() for t in axes[2].get_legend().get_texts()]
    assert "published (V100, whole SHD)" in labels and axes[2].get_yscale() == "log"


def test_figure5_shows_medians_and_three_baselines(tree):
    left, right, _ = spsn_figures.figure5(tree).axes
    seconds = tree["duration"]["seconds"].median("repeat")
    drawn = {line.get_label(): line.get_ydata() for line in left.lines}
    assert set(drawn) == set(seconds.arm.values)
    np.testing.assert_allclose(drawn["LIF unbind"], seconds.sel(arm="LIF unbind"))
    ratios = {line.get_label(): line.get_ydata() for line in right.lines}
    assert {"LIF as published", "LIF unbind", "LIF fused", "published (V100)"} <= set(ratios)
    expected = seconds.sel(arm="LIF as published") / seconds.sel(arm="SPSN-SB (FFT)")
    np.testing.assert_allclose(ratios["LIF as published"], expected)


def test_figure5_takes_the_ratio_apart_at_the_longest_length(tree):
    seconds = tree["duration"]["seconds"].copy()
    times = {"LIF as published": 40.0, "LIF unbind": 8.0, "LIF fused": 0.5, "SPSN-SB (FFT)": 0.25}
    for arm, value in times.items():
        seconds.loc[{"arm": arm, "length": 3000}] = value
    flags = xr.zeros_like(seconds.isel(repeat=0, drop=True))
    flags.loc[{"arm": "LIF unbind", "length": 3000}] = 1
    results = spsn_example.changed(tree, "duration", seconds=seconds, disturbed=flags)
    figure = spsn_figures.figure5(results)
    (table,) = figure.axes[2].child_axes[0].tables
    texts = [table[row, 0].get_text().get_text() for row in range(5)]
    assert texts[0].startswith("3,000 steps, EPYC")
    assert texts[1:] == ["5x (disturbed)", "16x (disturbed)", "2x", "160x"]
    assert table[4, 1].get_text().get_text() == "4000x"
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert len(crosses) == 1 and list(crosses[0].get_xydata()[0]) == [3000, 8]


def test_figure5_says_which_arm_is_absent(tree):
    arms = ["LIF as published", "LIF unbind", "SPSN-SB (FFT)"]
    data = tree["duration"].to_dataset().sel(arm=arms)
    cells = spsn_times.factors(data, 4000).iloc[:, 0].tolist()
    assert cells[1:3] == ["LIF fused: not measured"] * 2 and cells[3].endswith("x")


def test_another_learning_rate_and_weight_are_said(tree):
    words = "learning rate 0.005 (published 0.001) · weight of the regulariser 0.0001 (published 1)"
    assert words in spsn_figures.figure4(tree).get_supxlabel()
    assert f"with regularisation: {words}" in spsn_extras.table2(tree).get_supxlabel()
    paper = spsn_example.tree(scale="paper", dataset="shd")
    assert "published" not in spsn_figures.figure4(paper).get_supxlabel()


def test_published_budgets_are_those_of_the_runs():
    assert spsn_published.budgets() == spsn.RATE_BUDGET
    assert spsn_published.regularised() == {"SPSN-SB": (120, 89.23), "SPSN-GS": (37, 89.73)}


def test_figure4_shows_thresholds_in_order_of_rate(tree):
    (ax,) = spsn_figures.figure4(tree).axes
    rates = tree["regularisation"]["spikes_per_ms"].mean("seed").sel(model="SPSN-GS")
    lines = [c.lines[0].get_xdata() for c in ax.containers if c.get_label() == "SPSN-GS"]
    np.testing.assert_allclose(lines[0], np.sort(rates.values))
    assert ax.get_xscale() == "log"


def test_the_tables_hold_the_runs_own_values(tree):
    table = spsn_extras.table2(tree).axes[0].tables[0]
    cells = {k: cell.get_text().get_text() for k, cell in table.get_celld().items()}
    assert cells[4, -1] == "SPSN-SB, published" and cells[4, 2] == "89.2 ± 0.6"
    ours = tree["regularisation"]["test_accuracy"].sel(model="SPSN-SB", threshold=0.4)
    assert cells[3, 2] == f"{float(ours.mean()):.1f} ± {float(ours.std(ddof=1)):.1f}"
    assert cells[1, 2] == ""
    table = spsn_extras.table1(tree).axes[0].tables[0]
    rows = {
        table[r, -1].get_text().get_text(): [table[r, c].get_text().get_text() for c in (0, 1)]
        for r in range(1, 17)
    }
    assert rows["time step"] == ["0.001 s", "0.01 s"] and rows["epochs"] == ["200", "8"]


def test_a_threshold_that_was_not_run_is_said(few):
    table = spsn_extras.table2(few).axes[0].tables[0]
    texts = [cell.get_text().get_text() for cell in table.get_celld().values()]
    assert "not run" in texts


def test_single_datasets_are_drawn_before_they_are_saved():
    made = spsn_example.experiments()
    for name, experiment in (
        ("figure1c", "neurons"),
        ("figure2", "readout"),
        ("figure5", "duration"),
        ("figure6", "robustness"),
    ):
        assert draw(name, made[experiment].drop_attrs(deep=False)).axes


def test_a_missing_variable_is_an_error_that_names_it(tree):
    with pytest.raises(ReaderError, match="duration holds no 'seconds'"):
        spsn_figures.figure5(tree["duration"].to_dataset().drop_vars("seconds"))
    with pytest.raises(ReaderError, match="no experiment 'readout'"):
        spsn_figures.figure2(tree.filter(lambda node: node.name != "readout"))


def test_the_notebook_draws_every_figure_once():
    book = json.loads(paths.notebook("spsn", "figures").read_text())
    code = ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "code"]
    for name in FIGURES + EXTRAS:
        module = "spsn_figures" if name in FIGURES else "spsn_extras"
        line = f'plots.save(beside({module}.{name}, results, others), folder / "{name}");'
        assert code.count(line) == 1
    assert all(not c.get("outputs") for c in book["cells"])
    assert book["metadata"]["kernelspec"]["name"] == "python3"
