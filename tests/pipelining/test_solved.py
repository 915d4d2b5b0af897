import json

import pytest

from paraspike.errors import ReaderError
from paraspike.pipelining import __main__ as command
from paraspike.pipelining import solved
from paraspike.pipelining.heuristics import lpt
from paraspike.pipelining.networks import NETWORKS, network
from paraspike.pipelining.tasks import task_graph

GRID = [(b, a, m) for b in solved.BATCHES for a in solved.ARRAYS for m in solved.PROCESSORS]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_cell_is_solved_and_never_worse_than_longest_task_first(name):
    # Reading replays every schedule over 60 samples.
    cells = solved.all_of(name)
    assert sorted(cells) == sorted(GRID)
    for (batch, array, processors), cell in cells.items():
        graph = task_graph(network(name), batch, (array, array))
        periods = [point.schedule.period for point in cell.points]
        totals = [point.total_delay for point in cell.points]
        assert graph.lower_bound(processors) <= cell.period_bound <= periods[0]
        assert periods[0] <= lpt(graph, processors).period
        assert sorted(set(periods)) == periods and sorted(set(totals), reverse=True) == totals
        assert totals[-1] == 0
        assert all(0 <= point.bound <= point.total_delay for point in cell.points)
        for point in cell.points:
            assert point.schedule.period >= graph.iteration_bound(point.schedule.staleness)


def test_the_goal_of_the_grid():
    gaps = [cell.gap for name in NETWORKS for cell in solved.all_of(name).values()]
    assert len(gaps) == 60 and min(gaps) >= 0
    assert sum(gaps) / len(gaps) < 0.03


def test_values_to_meet():
    # The sheet's 3.99 and 2.97 (section 7) are of rounded units, see test_optimal.py; in exact cycles vgg8
    # needs a total delay of 9 for 3.994 and amr4 gets no further than 2.965, both proven.
    vgg8, amr4 = solved.cell("vgg8", 1, 32, 4), solved.cell("amr4", 1, 32, 3)
    assert vgg8.within().schedule.speedup >= 3.98 and vgg8.within().total_delay == 8
    assert [p.bound for p in vgg8.points if p.schedule.speedup > 3.99][-1] == 9
    assert amr4.within().schedule.speedup >= 2.96 and amr4.within().total_delay == 3
    assert 339218 / amr4.period_bound < 2.97


def test_unknown_cells_say_what_to_do():
    with pytest.raises(ReaderError, match="nothing is solved for 'resnet'"):
        solved.best("resnet", 1, 32, 2)
    with pytest.raises(ReaderError, match="5 processors is not solved"):
        solved.best("mlp3", 1, 32, 5)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder of solved schedules of its own, empty yet, and mlp3's first cell."""
    line = (solved.FOLDER / "mlp3.jsonl").read_text().splitlines()[0]
    monkeypatch.setattr(solved, "FOLDER", tmp_path)
    solved.cell.cache_clear()
    yield tmp_path / "mlp3.jsonl", json.loads(line)
    solved.cell.cache_clear()


def test_a_tampered_schedule_is_not_read(copy):
    file, row = copy
    key = row["network"], row["batch"], row["array"], row["processors"]

    def says(changed, message):
        file.write_text(json.dumps(changed) + "\n")
        solved.cell.cache_clear()
        with pytest.raises(ReaderError, match=message):
            solved.cell(*key)

    overlapping = json.loads(json.dumps(row))
    for place in overlapping["points"][0]["placed"]:
        place[:] = [0, 0]
    says(overlapping, "the checker rejects a schedule: .* while it still runs")
    delayed = json.loads(json.dumps(row))
    delayed["points"][0]["verdict"]["staleness"] = [0, 0, 0]
    says(delayed, "the checker rejects")
    says(row | {"proven": [[10**9, 50]]}, "contradicts a schedule")
    says(row | {"period_bound": row["period_bound"] + 1}, "contradicts a schedule")
    says(row | {"cycles": [c + 1 for c in row["cycles"]]}, "other task cycles")


def test_solving_from_the_command_line(copy, capsys):
    file, row = copy
    cell = ["--networks", "mlp3", "--batches", "1", "--arrays", "32", "--processors", "2"]
    arguments = ["solve", *cell, "--seconds", "2", "--workers", "1"]
    command.main(arguments)
    assert (
        "[mlp3 1/1] mlp3, batch 1, 32 x 32, 2 processors: period 38960" in capsys.readouterr().out
    )
    made = json.loads(file.read_text())
    totals = [[sum(p["verdict"]["staleness"]) for p in r["points"]] for r in (row, made)]
    assert totals[0] == totals[1] == [3, 2, 1, 0]
    periods = [[p["period"] for p in r["points"]] for r in (row, made)]
    assert periods[0][0] == periods[1][0] and periods[0][-1] == periods[1][-1]
    assert made["period_bound"] == row["period_bound"]
    command.main(arguments)
    assert "period" not in capsys.readouterr().out
    command.main([*arguments, "--again"])
    again = json.loads(file.read_text())
    assert all(
        a["period"] <= b["period"] for a, b in zip(again["points"], made["points"], strict=True)
    )
    assert len(again["proven"]) >= len(made["proven"])
