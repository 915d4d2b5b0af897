"""The multithreading paper's figures on made-up results: they show the numbers they were given."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import multithreading_example  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from paraspike import claims, judges  # noqa: E402
from paraspike.papers import multithreading_extras as extras  # noqa: E402
from paraspike.papers import multithreading_figures as figures  # noqa: E402
from paraspike.papers import multithreading_published as published  # noqa: E402
from paraspike.papers import multithreading_timelines as timelines  # noqa: E402
from paraspike.pipeline.description import read_papers  # noqa: E402

MODULES = (figures, timelines, extras)
NAMES = list(read_papers()["multithreading"].figures)


@pytest.fixture(scope="module")
def tree():
    return multithreading_example.tree()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def draw(name, results):
    return next(getattr(m, name) for m in MODULES if hasattr(m, name))(results)


def texts(ax):
    return " ".join(t.get_text() for t in ax.texts)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_draws_without_bindsnet_and_with_one_batch_size(name):
    fig = draw(name, multithreading_example.tree(batches=(128,), bindsnet=False))
    fig.canvas.draw()
    assert "scale quick" in fig.get_supxlabel() and fig.get_suptitle()


def test_figure4_shows_ours_bindsnets_and_the_authors_raw_data(tree):
    fig = figures.figure4(tree)
    ours = {line.get_label(): line for line in fig.axes[0].get_lines()}
    assert ours["Algorithm 2, batch 128"].get_ydata() == pytest.approx([1000, 500, 500, 250])
    assert ours["BindsNET, batch 32"].get_ydata() == pytest.approx([1 / 1.5e-3])
    raw = {line.get_label(): line for line in fig.axes[2].get_lines()}
    assert raw["batch 32"].get_ydata()[0] == pytest.approx(1205.1)
    assert not any("Queue" in line.get_label() for line in fig.axes[3].get_lines())


def test_without_a_gpu_figures_3_and_5_say_so_and_show_the_authors(tree):
    for fig in (figures.figure3(tree), figures.figure5(tree)):
        assert "no cuda on this machine" in texts(fig.axes[0])
        assert not fig.axes[0].get_lines()
    assert fig.axes[2].get_lines()


def test_figure2_sets_the_speedup_beside_the_published(tree):
    lines = {line.get_label(): line for line in figures.figure2(tree).axes[2].get_lines()}
    assert lines["as published"].get_ydata() == pytest.approx([1, 2, 4 / 3])
    assert lines["published, batch 128"].get_ydata() == pytest.approx([1, 507 / 252])


def test_figure1_sets_shares_beside_the_published(tree):
    fig = timelines.figure1(tree)
    assert "layers 40" in texts(fig.axes[0]) and "weights 30" in texts(fig.axes[0])
    assert "inside matrix products, as published: 20 %" in fig.get_supxlabel()


def test_figures_6_and_7_hold_the_authors_measurements(tree):
    diamonds = [
        line for line in timelines.figure6(tree).axes[0].get_lines() if line.get_marker() == "D"
    ]
    assert sorted(y for line in diamonds for y in line.get_ydata())[-1] == pytest.approx(
        20.11, rel=1e-3
    )
    assert len(timelines.figure7(tree).axes[0].patches) == 6
    assert published.timeline().duration_ms.iloc[-1] == pytest.approx(7.6466)


def test_the_faults(tree):
    fig = figures.faults(tree)
    line = fig.axes[0].get_lines()[0]
    assert line.get_ydata() == pytest.approx([0.5] * 3)
    raw = [x for x in fig.axes[0].get_lines() if x.get_label().startswith("published")][0]
    assert raw.get_ydata()[0] == pytest.approx(409.5 / 1205.1, rel=1e-3)


def test_causes_mark_where_two_threads_break_even(tree):
    assert "32 us" in texts(extras.causes(tree).axes[2])


def test_the_cure_says_whether_bits_are_the_same(tree):
    fig = extras.cure(tree)
    assert "the same bits with every thread count; BindsNET 0.3.4" in fig.get_supxlabel()
    other = multithreading_example.tree()
    other["cure"]["same_bits"].values[1] = 0
    assert "NOT the same bits" in extras.cure(other).get_supxlabel()
    lines = {x.get_label(): x for x in fig.axes[1].get_lines()}
    assert lines["this engine"].get_ydata() == pytest.approx([1, 2, 2])


def test_learning_says_by_how_much(tree):
    assert "+10.0 points" in extras.learning(tree).axes[0].get_title("left")


def test_the_model_is_called_one(tree):
    fig = extras.scaling(tree)
    labels = [x.get_label() for x in fig.axes[0].get_lines()]
    assert sum("modelled" in label for label in labels) == 3 and "measured" in labels
    assert "95 % parallel (90 to 100 by round)" in labels[0]


def test_every_claim_of_the_paper_finds_its_numbers(tree):
    rows = [claim for claim in claims.load() if claim.paper == "multithreading"]
    assert len(rows) >= 25
    found = {claim.id: claims.judge(claim, tree) for claim in rows}
    for name, row in found.items():
        gpu = "gpu" in name
        unmeasured = gpu or name.endswith(("scheduler", "bottleneck"))
        assert np.isnan(row["measured"]) == unmeasured, (name, row)
        assert row["verdict"] in claims.VERDICTS
    assert found["multithreading-profile-total"]["verdict"] == "reproduced"
    assert found["multithreading-snn-doubled"]["measured"] == pytest.approx(1)
    assert found["multithreading-temporal"]["verdict"] == "reproduced"
    assert judges.REPLICATES
