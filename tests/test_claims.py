"""Verdicts: what a claim's needs, its data and its numbers make of it."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from scipy import stats

from paraspike import claims, judges, needs
from paraspike.errors import ReaderError
from paraspike.judges import Judge, Missing, compare, select, weigh
from paraspike.netcdf import describe, write

HIGH, LOW = [80.0, 81, 82, 80, 81], [70.0, 71, 72, 70, 71]
AB = {"A": "train/accuracy[model=A]"}, {"B": "train/accuracy[model=B]"}


def tree(a=HIGH, b=LOW, **attrs):
    """accuracy[model, seed] of models A and B, and times that grow as length^1.5."""
    train = xr.Dataset(
        {"accuracy": (("model", "seed"), np.array([a, b], float))},
        {"model": ["A", "B"], "seed": range(len(a))},
    )
    length = np.array([100, 1000, 300])
    timing = xr.Dataset(
        {"seconds": (("length", "repeat"), length[:, None] ** 1.5 * np.array([1, 1.1, 0.9]))},
        {"length": length, "repeat": range(3)},
    )
    train = describe(train, accuracy=("accuracy", "percent"))
    timing = describe(timing, seconds=("time", "s"), length=("length", "steps"))
    facts = {"scale": "paper", "backend": "cuda", "dataset": "shd", "data_verified": 1} | attrs
    device = {"dataset": "none", "device": "Tesla V100-SXM2"}
    groups = {"train": train.assign_attrs(facts), "timing": timing.assign_attrs(facts | device)}
    root = xr.Dataset(attrs={"paper": "toy", "scale": facts["scale"], "backend": facts["backend"]})
    return xr.DataTree.from_dict({"/": root, **groups})


def row(judge, left=AB[0], right=AB[1], about="accuracy", needs=None, published=None, **more):
    needs = {"dataset": "shd", "scale": "paper", "seeds": 3} if needs is None else needs
    fixed = {"id": "c", "paper": "toy", "figure": "2B", "statement": "s", "quantity": "q"}
    return claims.Claim(
        **fixed | more,
        unit="percent",
        about=about,
        left=left,
        right=right,
        judge=judge,
        needs=needs,
        published=published,
    )


GREATER = {"method": "greater"}
TEN = {"method": "difference", "tolerance": 2, "better": "higher"}
FLAT = {"method": "slope", "along": "length", "low": -0.1, "high": 0.1}
TIME = {"left": {"t": "timing/seconds"}, "right": {}, "about": "time"}
COCHLEA = {"dataset": "cochlea", "scale": "quick"}
OTHER_SPLIT = json.dumps(
    [
        {"name": "shd", "samples": n, "split": split, "verified": False}
        for split, n in (("test", 3), ("train", 9))
    ]
)
NEAR = {"a": [70.0, 75, 80, 70, 75], "b": [70.0, 74, 80, 70, 75]}


@pytest.mark.parametrize(
    "claim, results, verdict, said",
    [
        (row(GREATER), tree(), "reproduced", "Welch p ="),
        (row(GREATER), tree(LOW, HIGH), "not reproduced", "A 70.8 against B 80.8"),
        (row(GREATER), tree(**NEAR), "not reproduced", "Welch p ="),
        (row(TEN, published=10), tree(), "reproduced", "within 2 of 10"),
        (row(TEN, published=4), tree(), "beyond", "within 2 of 4"),
        (row(TEN, published=20), tree(), "not reproduced", "within 2 of 20"),
        (
            row(GREATER),
            tree(data_verified=0, data=OTHER_SPLIT),
            "not tested here",
            "the published data files (these are others: train 9 and test 3 samples); the direction",
        ),
        (row(GREATER), tree(scale="quick"), "not tested here", "needs scale paper (here quick)"),
        (row(GREATER), tree(HIGH[:2], LOW[:2]), "not tested here", "3 seeds (here 2)"),
        (row(GREATER), tree(scale="smoke"), "not tested here", "smoke scale"),
        (row(GREATER), tree(**COCHLEA), "direction holds (synthetic)", "needs dataset shd"),
        (
            row(GREATER),
            tree(LOW, HIGH, **COCHLEA),
            "not tested here",
            "no clear direction on cochlea",
        ),
        (row(GREATER), tree(**NEAR, **COCHLEA), "not tested here", "no clear direction on cochlea"),
        (row(TEN, published=10), tree(**COCHLEA), "not tested here", "needs dataset shd"),
        (row(GREATER, about="augmentation"), tree(**COCHLEA), "not tested here", "was tuned"),
        (row(GREATER, about="augmentation"), tree(), "reproduced", "Welch"),
        (
            row(GREATER, about="augmentation"),
            tree(**COCHLEA),
            "not tested here",
            "augmentation gains for the LIF network",
        ),
        (row(GREATER | {"at_least": 1.1}), tree(), "reproduced", "a factor 1.1 counts"),
        (row(GREATER | {"at_least": 1.2}), tree(), "not reproduced", "a factor 1.2 counts"),
        (row(GREATER), tree([80, 81], [70, 71], **COCHLEA), "direction holds (synthetic)", "n = 2"),
        (
            row(GREATER),
            tree([80, 90], [70, 79], **COCHLEA),
            "not tested here",
            "no clear direction",
        ),
        (
            row(GREATER),
            tree([80, 70], [71, 69], **COCHLEA),
            "not tested here",
            "no clear direction",
        ),
        (row(GREATER), tree([80], [70], **COCHLEA), "not tested here", "one value each"),
        (row(GREATER), tree(HIGH, np.divide(LOW, 10)), "not tested here", "near chance: B 7.08 %"),
        (
            row({"method": "similar", "tolerance": 20}),
            tree([80], [70], **COCHLEA),
            "not tested here",
            "no clear direction",
        ),
        (row(FLAT, needs={}, **TIME), tree(), "not reproduced", "exponent of length"),
        (
            row(FLAT | {"low": 1, "high": 2}, needs={"backend": "cuda"}, **TIME),
            tree(backend="cpu"),
            "not tested here",
            "needs backend cuda (here cpu); the direction shows here",
        ),
        (row(FLAT, needs={"device": "H200"}, **TIME), tree(), "not tested here", "device H200"),
        (row({"method": "none"}), tree(), "not tested here", "q"),
        (row(GREATER, left={"x": "other/y"}), tree(), "not tested here", "other was not run"),
        (row(GREATER, left={"x": "train/y"}), tree(), "not tested here", "holds no y"),
        (
            row(GREATER, left={"C": "train/accuracy[model=C]"}),
            tree(),
            "not tested here",
            "no model C (has A, B)",
        ),
    ],
)
def test_verdict_and_note(claim, results, verdict, said):
    judged = claims.judge(claim, results)
    assert judged["verdict"] == verdict and said in judged["note"]
    assert list(judged) == claims.COLUMNS


def test_a_sentence_that_cannot_be_judged_still_shows_what_was_measured():
    judged = claims.judge(row({"method": "none"}, right={}), tree())
    assert judged["verdict"] == "not tested here" and judged["measured"] == 80.8


def test_an_unmet_need_still_shows_what_was_measured():
    judged = claims.judge(row(TEN, published=10), tree(scale="quick", data_verified=0))
    assert judged["measured"] == 10 and judged["data"] == "shd (unverified)"


@pytest.mark.parametrize("length, verdict", [("last", "not tested here"), ("first", "reproduced")])
def test_times_taken_on_a_busy_machine_are_not_judged(length, verdict):
    results = tree()
    timing = results["timing"].to_dataset().assign(disturbed=("length", [0.0, 1.0, 0.0]))
    results["timing"] = xr.DataTree(timing)
    left = {"t": f"timing/seconds[length={length}]"}
    claim = row({"method": "between", "low": 1}, needs={}, left=left, right={}, about="time")
    judged = claims.judge(claim, results)
    assert judged["verdict"] == verdict and judged["measured"] > 900
    assert ("other processes" in judged["note"]) == (length == "last")


def test_scale_paper_takes_the_published_parameters(monkeypatch, tmp_path):
    (tmp_path / "parameters.csv").write_text(
        "experiments,parameter,published\n"
        'train other,epochs,200\ntrain,samples,0\ntrain,hidden,"[3, 4]"\nother,dt,1\n'
    )
    monkeypatch.setattr(needs.paths, "published", lambda paper, name: tmp_path / name)
    stored = {"epochs": 200.0, "samples": 0, "hidden": [3, 4], "dt": 5}
    assert (
        claims.judge(row(GREATER), tree(parameters=json.dumps(stored)))["verdict"] == "reproduced"
    )
    stored |= {"epochs": 8, "hidden": [3]}
    results = tree(parameters=json.dumps(stored))
    judged = claims.judge(row(GREATER), results)
    assert judged["verdict"] == "not tested here"
    assert "needs epochs 200 (here 8), hidden [3, 4] (here [3]);" in judged["note"]
    assert claims.judge(row(GREATER, needs={}), results)["verdict"] == "reproduced"


def test_weights_taken_from_a_run_bring_its_parameters(monkeypatch, tmp_path):
    (tmp_path / "parameters.csv").write_text("experiments,parameter,published\ntrain,epochs,200\n")
    monkeypatch.setattr(needs.paths, "published", lambda paper, name: tmp_path / name)
    results = tree()
    results["train"].attrs |= {"parameters": '{"epochs": 8}', "weights_sha256": "abc"}
    used = ["timing/seconds"]
    assert needs.departures(results, used) == []
    results["timing"].attrs["inputs"] = '{"weights": "abc"}'
    assert needs.departures(results, used) == ["epochs 200 (here 8)"]


def test_selection():
    results = tree()
    assert select(results, "train/accuracy[model=Z|B, seed=max]") == 72
    assert select(results, "timing/seconds[length=last, repeat=median]") == 1000**1.5
    assert select(results, "timing/seconds[length=300.0, repeat=first]") == 300**1.5
    assert float(select(results, "-2.5")) == -2.5
    with pytest.raises(Missing, match="no axis epoch"):
        select(results, "train/accuracy[epoch=last]")
    with pytest.raises(ValueError, match="not experiment/variable"):
        select(results, "accuracy of A")


def test_the_significance_test_is_welch_over_seeds():
    a, b = np.array(HIGH) - 9.5, np.array([70.0, 75, 66, 72, 71])
    left, right = (xr.DataArray(v, dims="seed") for v in (a, b))
    truth = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
    assert judges.welch(a, b) == pytest.approx(truth)
    found = compare(left, right, ("a", "b"))
    assert not found.holds and f"p = {truth:.2g}" in found.text and not found.towards
    assert compare(left, right - 9, ("a", "b")).towards
    assert judges.welch([1, 1], [0, 0]) == 0 and np.isnan(judges.welch([1], [0]))
    assert compare(left[:1], right[2:3], ("a", "b")).holds


def test_all_pairs_must_be_greater():
    arrays = {k: xr.DataArray(np.add(HIGH, d), dims="seed") for k, d in (("x", 0), ("y", 9))}
    low = {"z": xr.DataArray(LOW, dims="seed")}
    assert weigh(Judge(method="greater"), arrays, low, None).measured == pytest.approx(10)
    worse = weigh(Judge(method="greater"), low | arrays, low, None)
    assert not worse.holds and worse.text.startswith("z")


@pytest.mark.parametrize(
    "judge, a, b, holds, measured",
    [
        ({"method": "similar", "tolerance": 1}, [5, 5.5], [5, 6], True, -0.25),
        ({"method": "similar", "factor": 1.1}, [5, 5], [6, 6], False, 5 / 6),
        ({"method": "not_above", "tolerance": 0.5}, [5, 5], [1, 1], False, 4),
        ({"method": "not_above", "tolerance": 0.5}, [5, 5], [8, 8], True, -3),
        ({"method": "between", "low": 4}, [5, 5], [0], True, 5),
        ({"method": "between", "high": 4}, [5, 5], [0], False, 5),
    ],
)
def test_bounds(judge, a, b, holds, measured):
    sides = ({"a": xr.DataArray(a, dims="seed")}, {"b": xr.DataArray(b, dims="seed")})
    found = weigh(Judge(**judge), *sides, None)
    assert (found.holds, found.measured) == (holds, pytest.approx(measured))


@pytest.mark.parametrize("measured, holds, beyond", [(6, True, False), (20, False, True)])
def test_ratio_with_a_factor(measured, holds, beyond):
    sides = ({"a": xr.DataArray([measured], dims="repeat")}, {"b": xr.DataArray(1.0)})
    found = weigh(Judge(method="ratio", factor=2, better="higher"), *sides, 8.0)
    assert (found.holds, found.beyond) == (holds, beyond)


def test_a_wrong_row_is_named(tmp_path):
    good = row(GREATER).model_dump(exclude_defaults=True)
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump([good | {"publishd": 3}]))
    with pytest.raises(ReaderError, match="'c': publishd"):
        claims.load(file)
    file.write_text(yaml.safe_dump([good, good]))
    with pytest.raises(ReaderError, match="twice"):
        claims.load(file)


def test_the_table_round_trips_and_fits_the_terminal(tmp_path, capsys):
    file = tmp_path / "claims.yaml"
    rows = [row(GREATER), row(TEN, published=4, id="d", note="long " * 60)]
    file.write_text(yaml.safe_dump([r.model_dump(exclude_defaults=True) for r in rows]))
    write(tree(), tmp_path / "toy.nc")
    table = claims.judge_all([tmp_path / "toy.nc"], file)
    claims.write_csv(table, tmp_path / "claims.csv")
    again = pd.read_csv(tmp_path / "claims.csv")
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
    claims.print_table(again, 70)
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 70
    assert any(line.startswith("d (2B)") for line in printed)
    assert sorted(tmp_path.iterdir()) == [
        tmp_path / n for n in ("claims.csv", "claims.yaml", "toy.nc")
    ]


def test_without_results_every_claim_is_not_tested(tmp_path):
    table = claims.judge_all([])
    assert len(table) == len(claims.load()) and (table.verdict == "not tested here").all()
    unasked = [c.id for c in claims.load() if not c.left]
    assert table.note.str.contains("was not run").sum() == len(table) - len(unasked)


def test_what_another_device_measured_adds_rows_that_name_it(tmp_path):
    wanted = {"dataset": "shd", "scale": "paper", "seeds": 3, "backend": "cuda"}
    rows = [row(GREATER, needs=wanted), row(GREATER, id="d", left={"A": "other/x"}, right={})]
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump([r.model_dump(mode="json") for r in rows]))
    own, kept = tmp_path / "own.nc", tmp_path / "kept.nc"
    write(tree(**COCHLEA, backend="cpu"), own)
    write(tree(), kept)
    table = claims.judge_all([own], file, [kept])
    assert table.claim_id.tolist() == ["c", "d", "c"]
    assert table.verdict.tolist()[0] != "reproduced" and table.verdict.tolist()[2] == "reproduced"
    assert table.backend.tolist()[::2] == ["cpu", "cuda"]
    assert table.note[2].startswith("measured on Tesla V100-SXM2, ")
    assert "measured on" not in table.note[0]
