"""The schedules experiment: its table against the schedules themselves, its claims, and its figures."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from spikepipe_pictures import legible, words

from paraspike.errors import ReaderError
from paraspike.papers import spikepipe_claims, spikepipe_extras, spikepipe_figures, spikepipe_maps
from paraspike.papers import spikepipe_schedules as ways
from paraspike.pipelining import solved
from paraspike.pipelining.communication import communication
from paraspike.pipelining.heuristics import contiguous, lpt, wrap_around
from paraspike.pipelining.networks import network
from paraspike.pipelining.synchronous import all_reduce_bits, data_parallel
from paraspike.pipelining.tasks import task_graph


@pytest.fixture(scope="module")
def data():
    nets, batches, arrays, processors = ["mlp3", "amr4"], [1, 8], [32, 128], [3, 4]
    parts = [
        ways.compare(nets, batches, arrays, processors),
        spikepipe_maps.frontier(nets, 1, 32, processors),
        spikepipe_maps.against_data_parallel(nets, [1, 8], arrays, processors),
    ]
    merged = xr.merge(parts, join="exact", combine_attrs="drop_conflicts")
    return merged.assign_attrs(scale="quick", backend="cpu")


def test_the_table_holds_what_the_schedules_say(data):
    graph = task_graph(network("amr4"), 8, (128, 128))
    cell = data.sel(network="amr4", batch=8, array=128, processors=4)
    for way, schedule in ((ways.LPT, lpt(graph, 4)), (ways.MINMAX, contiguous(graph, 4))):
        here = cell.sel(way=way)
        assert float(here["period"]) == schedule.period
        assert float(here["speedup"]) == schedule.speedup == graph.total / schedule.period
        assert float(here["total_delay"]) == sum(schedule.staleness)
        assert float(here["utilisation"]) == pytest.approx(schedule.speedup / 4)
        assert float(here["speedup_filled"]) < schedule.speedup
    assert float(cell["period_bound"]) <= float(cell["period"].sel(way=ways.SOLVED))
    assert float(cell["overhead"].sel(way=ways.MINMAX)) == 0


def test_gains_are_over_standard_pipelining_and_up_to_as_many_processors_as_layers(data):
    assert np.isnan(data["gain"].sel(network="mlp3", processors=4)).all()
    gain = data["gain"].sel(network="amr4", batch=1, array=32, processors=3)
    graph = task_graph(network("amr4"))
    wanted = wrap_around(graph, 3).speedup / contiguous(graph, 3).speedup
    assert float(gain.sel(way=ways.WRAP)) == pytest.approx(wanted)
    assert float(gain.sel(way=ways.MINMAX)) == 1
    assert "gain" not in ways.compare(["mlp3"], [1], [32], [2], [ways.LPT])


def test_the_frontier_is_that_of_the_solved_cell(data):
    cell = solved.cell("amr4", 1, 32, 3)
    here = data.sel(network="amr4", processors=3)
    count = len(cell.points)
    assert here["frontier_delay"].values[:count].tolist() == [p.total_delay for p in cell.points]
    assert np.isnan(here["frontier_delay"].values[count:]).all()
    proofs = [
        (here["proven_speedup"].values[i], here["proven_delay"].values[i])
        for i in range(len(cell.proven))
    ]
    assert proofs == [(cell.points[0].schedule.work / p, bound) for p, bound in cell.proven]
    assert (np.diff(here["frontier_speedup"].values[:count]) < 0).all()


def test_data_parallelism_against_pipelining(data):
    graph = task_graph(network("amr4"), 8, (32, 32))
    here = data.sel(network="amr4", map_batch=8, array=32, processors=4)
    pipeline, parallel = lpt(graph, 4), data_parallel(graph, 4)
    assert float(here["data_parallel_gain"]) == pipeline.period / parallel.period > 1
    rate = 32 * 32
    slower = parallel.period + all_reduce_bits(graph, 4) / rate
    faster = pipeline.period + communication(pipeline).all_moved / rate
    assert float(here["data_parallel_gain_charged"]) == pytest.approx(faster / slower)
    split = wrap_around(graph, 4, limit="load").period / parallel.period
    assert float(here["data_parallel_gain_split"]) == split < float(here["data_parallel_gain"])
    alone = data.sel(network="amr4", map_batch=1, array=32, processors=4)
    assert float(alone["data_parallel_gain"]) < 1


def test_a_schedule_that_breaks_its_rules_enters_no_table(monkeypatch):
    def broken(graph, processors):
        return replace(lpt(graph, processors), staleness=(0,) * graph.depth)

    monkeypatch.setitem(ways.WAYS, ways.LPT, broken)
    monkeypatch.setattr(spikepipe_maps, "lpt", broken)
    with pytest.raises(ReaderError, match="reads stale weights"):
        ways.compare(["mlp3"], [1], [32], [3], [ways.LPT])
    with pytest.raises(ReaderError, match="reads stale weights"):
        spikepipe_maps.against_data_parallel(["mlp3"], [1], [32], [3])


def test_what_is_not_there_is_refused():
    with pytest.raises(ReaderError, match="ways \\['best'\\]"):
        ways.compare(["mlp3"], [1], [32], [2], ["best"])
    with pytest.raises(ReaderError, match="ways none"):
        ways.compare(["mlp3"], [1], [32], [2], [])
    with pytest.raises(ReaderError, match="5 processors is not solved"):
        ways.compare(["mlp3"], [1], [32], [5])
    with pytest.raises(ReaderError, match="'resnet' is unknown"):
        ways.compare(["resnet"], [1], [32], [2])


def claim(published):
    return SimpleNamespace(published=published)


@pytest.mark.parametrize(
    ("values", "holds", "beyond"),
    [([1.5, 1.8], True, False), ([1.0, 1.2], False, False), ([2.5, 2.5], True, True)],
)
def test_the_mean_gain_is_judged_within_a_tenth(values, holds, beyond):
    array = xr.DataArray(
        [[v, np.nan] for v in values], dims=("array", "x"), coords={"array": [32, 128]}
    )
    speedup = xr.DataArray(
        [[2.0, 1.0], [4.0, 1.0]],
        {"processors": [2, 3], "way": ["wrap-around", "1F1B"]},
        ("processors", "way"),
    )
    tree = xr.DataTree.from_dict({"schedules": xr.Dataset({"layers": 2, "speedup": speedup})})
    found = spikepipe_claims.mean_gain(tree, claim(1.6), {"wrap-around": array}, {})
    assert "over other baselines: 1F1B 2" in found.text
    assert (found.holds, found.beyond) == (holds, beyond)
    assert found.measured == pytest.approx(np.mean(values)) and "2 cells" in found.text


def test_some_above_and_mean_below():
    array = xr.DataArray([1.5, 2.1, np.nan])
    found = spikepipe_claims.some_above(None, claim(2), {"a": array}, {})
    assert found.holds and found.measured == 2.1 and "1 of 2" in found.text
    assert not spikepipe_claims.some_above(None, claim(3), {"a": array}, {}).holds
    shares = xr.DataArray([0.001, 0.007, 0.9], {"processors": [2, 3, 4]}, "processors")
    tree = xr.DataTree.from_dict({"schedules": xr.Dataset({"layers": 3})})
    found = spikepipe_claims.mean_below(tree, claim(0.5), {"a": shares}, {})
    assert found.holds and found.measured == pytest.approx(0.4) and "0.1 to 0.7 %" in found.text
    assert not spikepipe_claims.mean_below(tree, claim(0.3), {"a": shares}, {}).holds


@pytest.mark.parametrize(
    ("late", "published", "holds"),
    [
        ([89.5, 90.5, 90], 0, True),
        ([70, 71, 69], 0, False),
        ([70, 90, 95], 0, None),
        ([85, 86, 84], 10, True),
        ([81.2, 82, 81.5], 10, None),
        ([60, 61, 62], 10, False),
        ([75, 80, 95], 10, None),
    ],
)
def test_lost_accuracy_is_judged_by_its_interval(late, published, holds):
    accuracy = xr.DataArray(
        [[[[90.0, 91, 90], late]]],
        dims=("network", "optimizer", "arm", "seed"),
        coords={
            "network": ["net"],
            "optimizer": ["Adam"],
            "arm": ["exact", "per-layer 2(L-l)"],
            "seed": [0, 1, 2],
        },
    )
    tree = xr.DataTree.from_dict({"accuracy": xr.Dataset({"test_accuracy": accuracy})})
    side = {"net": accuracy.sel(network="net", optimizer="Adam", arm="per-layer 2(L-l)")}
    found = spikepipe_claims.loses_at_most(tree, claim(published), side, {})
    assert found.holds is holds
    assert found.measured == pytest.approx(np.mean([90, 91, 90]) - np.mean(late))


@pytest.mark.parametrize("name", ["speedups", "relative", "communication"])
def test_figures_are_legible(data, name):
    fig = getattr(spikepipe_figures, name)(data)
    legible(fig)
    plt.close(fig)


def test_the_map_is_legible_and_says_where_not_to_pipeline(data):
    fig = spikepipe_extras.when(data)
    legible(fig)
    gain = data["data_parallel_gain"].sel(network="amr4", array=32, map_batch=8, processors=4)
    assert any(text.startswith(f"{float(gain):.2f}") for text in words(fig))
    plt.close(fig)


def learnt(networks, delays):
    """Accuracies as the accuracy experiment saves them, for the figure that draws both."""
    arms = ["exact", "per-layer 2(L-l)", "least delay"]
    shape = (len(networks), 2, len(arms), 3)
    data = xr.Dataset(
        {
            "test_accuracy": (
                ("network", "optimizer", "arm", "seed"),
                np.linspace(50, 90, np.prod(shape)).reshape(shape),
            ),
            "delays": (("network", "arm", "layer"), delays),
        },
        {"network": networks, "optimizer": ["SGD", "Adam"], "arm": arms, "seed": [0, 1, 2]},
        {"processors": 3, "epochs": 2, "scale": "quick", "backend": "cpu"},
    )
    return data


def test_the_frontier_is_legible_and_every_way_is_in_it(data):
    delays = [[[0.0] * 4, [6, 4, 2, 0], [2, 1, 0, 0]]]
    tree = xr.DataTree.from_dict({"schedules": data, "accuracy": learnt(["amr4/4"], delays)})
    fig = spikepipe_extras.frontier(tree)
    fig.draw_without_rendering()
    said = words(fig)
    assert "trained at paper scale only" in said and "amr4/4: accuracy against delay" in said
    top = fig.axes[1]
    points = {line.get_label(): line.get_xydata()[0] for line in top.lines}
    here = data.sel(network="amr4", processors=3, batch=1, array=32)
    for way, (_, _, label) in spikepipe_extras.MARKS.items():
        shown = points[label or spikepipe_figures.LABELS[way]]
        wanted = float(here["total_delay"].sel(way=way)), float(here["speedup"].sel(way=way))
        assert shown == pytest.approx(wanted)
    plt.close(fig)


def test_the_charts_are_of_checked_schedules():
    fig = spikepipe_extras.charts("mlp3", 2)
    assert any("CP-SAT: speedup 1.98, total delay 2" in text for text in words(fig))
    plt.close(fig)


def test_the_table_shows_every_speedup_with_its_delay(data):
    fig = spikepipe_figures.table(data)
    fig.draw_without_rendering()
    best = data.sel(network="amr4", processors=3, batch=1, array=32, way=ways.SOLVED)
    shown = f"{float(best['speedup']):.2f} ({int(best['total_delay'])})"
    cells = [cell.get_text().get_text() for cell in fig.axes[0].tables[0].get_celld().values()]
    assert shown == "2.96 (3)" and shown in cells
    plt.close(fig)
