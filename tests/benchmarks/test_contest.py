import numpy as np
import pytest

from benchmarks import contest, report, workloads
from benchmarks.compare import differences
from benchmarks.contest import Entry, Failed

W2 = workloads.select(["w2-100"])[0]


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Children that answer at once with a given time, or fail; yields those still alive."""
    alive, times = [], {}

    class Child:
        def __init__(self, library, mode, workload, threads, folder):
            if isinstance(times[mode], str):
                raise Failed(times[mode])
            self.mode, self.started = mode, {"version": "1.0"}
            self.outputs = tmp_path / "outputs.npz"
            np.savez(self.outputs, spikes1=np.ones((2, 3)))
            alive.append(mode)

        def ask(self, what, limit=0):
            seconds = [times[self.mode]] * what["repeats"]
            return {"seconds": seconds, "others": 0.02, "peak_rss_mb": 12.0}

        def close(self):
            alive.remove(self.mode)

    monkeypatch.setattr(contest, "Child", Child)
    return alive, times


def test_best_mode(pretended, tmp_path):
    alive, times = pretended
    times |= {"step": 0.3, "layer": 0.2, "compile": "did not finish within 120 s"}
    slow = {}
    found = contest.best_of("snntorch", W2, 2, tmp_path, ["step", "layer", "compile"], slow)
    assert [e.mode for e in found] == ["layer", "step", "compile"]
    assert alive == ["layer"]
    assert "best of 3 modes" in found[0].notes
    assert found[1].notes == ["tried once, not the best mode"]
    assert found[2].notes == ["did not finish within 120 s"]
    again = contest.best_of("snntorch", W2, 2, tmp_path, ["compile"], slow)
    assert "not tried" in again[0].notes[0] and W2.label in again[0].notes[0]


def test_in_turn(pretended, tmp_path):
    alive, times = pretended
    times |= {"step": 0.1}
    found = contest.best_of("snntorch", W2, 2, tmp_path, ["step"])
    contest.in_turn(found, rounds=5)
    assert len(found[0].rounds) == 5 and len(found[0].rounds[0]) == 2
    assert found[0].median == 0.1 and not found[0].disturbed


def test_absent_library_is_a_row(monkeypatch, tmp_path):
    monkeypatch.setattr(contest, "versions", lambda name: "not installed")
    (entry,) = contest.best_of("spyx", W2, 2, tmp_path, ["scan, jitted step"])
    values = report.row(entry, 0.0125, 0.006)
    assert "not installed (spyx / jax)" in values["note"]
    assert np.isnan(values["seconds_median"]) and values["floor_seconds"] == 0.0125


def test_differences():
    truth = {"spikes1": np.full((2, 2), 10.0), "loss": np.array(3.0)}
    same, words = differences(dict(truth), truth)
    assert same and words == "same outputs, up to: spikes by 0 %, loss by 0 %"
    near = truth | {"spikes1": np.full((2, 2), 10.01)}
    assert differences(near, truth)[0]
    same, words = differences(truth | {"spikes1": np.full((2, 2), 9.0)}, truth)
    assert not same and words == "differs: spikes by 10 %, loss by 0 %"
    assert not differences({"loss": truth["loss"]}, truth)[0]


def test_a_child_answers(tmp_path):
    """The whole way through one process: built, compared, timed, its memory read."""
    workload = workloads.select(["w1-10"])[0].short()
    entry = Entry("torch loop", "loop", workload, 1)
    entry.start(tmp_path)
    entry.stop()
    assert entry.notes == [] and entry.rounds and entry.median > 0
    assert 0 <= entry.peak_rss_mb < 50
    assert entry.outputs["spikes1"].shape == (32, 320)


def test_a_child_says_why_it_failed(tmp_path):
    entry = Entry("torch loop", "loop", W2.short(), 1)
    entry.library = "nengo"
    entry.start(tmp_path)
    assert entry.child is None and "no adapter" in entry.notes[0]
