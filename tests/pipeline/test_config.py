"""The config: every key documented, every mistake caught with the nearest valid name."""

import json

import jsonschema
import pytest
import yaml

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.parameters import Parameter, from_text, read_parameters
from paraspike.pipeline import closing, config, keys, plan
from paraspike.pipeline.description import Paper, read_papers
from paraspike.pipeline.estimate import evaluate, rows


def refused(values: dict) -> str:
    """The message for a config that is wrong; five lines at most."""
    with pytest.raises(ReaderError) as caught:
        plan.build(config.load(values))
    assert len(str(caught.value).splitlines()) <= 5
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"scael": "quick"}, ["unknown key 'scael'", "did you mean 'scale'"]),
        ({"scale": "quik"}, ["scale: 'quik'", "'smoke', 'quick' or 'paper'"]),
        ({"threads": "two"}, ["threads: 'two'", "valid integer"]),
        ({"threads": 0}, ["threads: '0'", "greater than or equal to 1"]),
        ({"allow_unverified_data": "maybe"}, ["allow_unverified_data: 'maybe'", "valid boolean"]),
        ({"run": "../x"}, ["run: '../x'", "pattern"]),
        ({"papers": ["spns"]}, ["unknown paper 'spns'", "did you mean 'spsn'"]),
        ({"dataset": "sdh"}, ["unknown data set 'sdh'", "did you mean 'shd'"]),
        ({"overrides": {"spsm": {}}}, ["unknown paper 'spsm'", "did you mean 'spsn'"]),
        (
            {"overrides": {"spsn": {"augmentatoin": {}}}},
            ["unknown experiment 'augmentatoin'", "did you mean 'augmentation'"],
        ),
        (
            {"overrides": {"spsn": {"augmentation": {"epoch": 2}}}},
            ["unknown parameter 'epoch'", "spsn.augmentation", "did you mean 'epochs'"],
        ),
        (
            {"overrides": {"spsn": {"augmentation": {"epochs": 2.5}}}},
            ["epochs: 2.5 is a number, not an integer"],
        ),
        (
            {"overrides": {"spsn": {"augmentation": {"seeds": ["zero"]}}}},
            ["seeds: 'zero' is a text, not an integer"],
        ),
        (
            {"split": {"spsn": {"augmentation": ["epochs"]}}},
            ["unknown split parameter 'epochs'", "models"],
        ),
    ],
    ids=lambda case: json.dumps(case)[:40] if isinstance(case, dict) else "",
)
def test_mistakes_are_told(values, expected):
    message = refused({"backend": "cpu"} | values)
    assert all(text in message for text in expected), message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"experiments": {"a": {"timde": True}}}, ["experiments.a.timde", "mean 'timed'"]),
        ({"experiments": {"a": {"timed": "yes"}}}, ["experiments.a.timed: 'yes'", "boolean"]),
        ({"budget": None}, ["budget: 'None'", "valid number"]),
    ],
    ids=str,
)
def test_mistakes_in_a_papers_file_are_told(change, expected):
    right = {"title": "T", "budget": 1, "experiments": {}, "figures": {}}
    assert config.validate(Paper, right, "file").budget == 1
    with pytest.raises(ReaderError) as caught:
        config.validate(Paper, right | change, "file")
    assert all(text in str(caught.value) for text in expected), caught.value


def test_cuda_without_a_gpu_stops_before_any_job(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = refused({"backend": "cuda"})
    assert "backend cuda" in message
    assert "backend=cpu" in message


@pytest.mark.parametrize("scale", config.SCALES)
def test_every_scale_fits_the_notebooks(scale):
    made = plan.build(config.load({"scale": scale, "backend": "cpu"}))
    assert made.config.run == f"{scale}-cpu"
    assert len({job.name for job in made.jobs}) == len(made.jobs)
    outputs = [file for job in made.jobs for file in job.outputs.values()]
    assert len(set(outputs)) == len(outputs)
    assert all(file.startswith(f"results/{scale}-cpu/") for file in outputs)
    for row in rows(made):
        assert row["hours"] > 0 and row["memory_mb"] > 0


def test_a_simulated_backend_leaves_out_what_is_timed(capsys):
    made = plan.build(config.load({"backend": "ipu", "papers": ["ipu"]}))
    assert {job.experiment for job in made.jobs} == {"model", "capacity", "training"}
    assert made.left_out == ["ipu crossover"] and made.config.run == "quick-ipu"
    closing.announce(made)
    said = capsys.readouterr().err
    assert "ipu (simulated)" in said and "left out, for they measure times: ipu crossover" in said
    assert not plan.build(config.load({"backend": "cpu"})).left_out


def test_dataset_reaches_the_experiments_that_take_one():
    made = plan.build(config.load({"dataset": "shd", "backend": "cpu"}))
    for job in made.jobs:
        cell = read_parameters(paths.notebook(job.paper, job.experiment))
        # A paper whose experiments cannot take the data set keeps its own.
        takes = "dataset" in cell and "shd" in made.papers[job.paper].datasets
        assert (job.parameters.get("dataset") == "shd") == takes
        assert ("shd" in job.datasets) == takes
    embedded = plan.build(config.load({"backend": "cpu"}))
    assert not any(job.datasets for job in embedded.jobs)


def test_words_of_the_command_line_are_yaml():
    given = {"allow_unverified_data": "true", "run": "null", "backend": "cpu"}
    settings = config.load(given).settings
    assert settings.allow_unverified_data is True
    assert settings.run is None
    made = plan.build(config.load({"overrides": {"spsn": {"readout": {"seeds": ["3"]}}}}))
    assert [j.parameters["seeds"] for j in made.jobs if j.experiment == "readout"] == [[3]]


def test_needed_weights_are_the_other_runs_output():
    made = plan.build(config.load({"scale": "paper", "backend": "cpu"}))
    for job in made.jobs:
        for parameter, needed in made.papers[job.paper].experiments[job.experiment].needs.items():
            makers = [j for j in made.jobs if (j.paper, j.experiment) == (job.paper, needed)]
            assert job.parameters[parameter] == makers[0].merged["weights"]
            assert job.parameters[parameter] in job.needs


def robustness(**overrides):
    made = plan.build(config.load({"backend": "cpu", "overrides": {"spsn": overrides}}))
    return next(job for job in made.jobs if job.experiment == "robustness").parameters


def test_an_experiment_that_reads_weights_has_the_constants_of_those_that_made_them():
    changed = {"hidden": [64, 32], "tau_mem": 0.01, "dt": 0.005, "seeds": [4, 5]}
    found = robustness(augmentation=changed)
    assert {key: found[key] for key in changed if key != "seeds"} == {
        key: value for key, value in changed.items() if key != "seeds"
    }
    assert found["seed"] == 4
    assert found["models"] == ["LIF", "SPSN-SB", "SPSN-GS"], "ReLU is trained, but fires no spikes"
    assert robustness(augmentation={"models": ["SPSN-GS"]})["models"] == ["SPSN-GS"]
    own = robustness(augmentation=changed, robustness={"seed": 5, "test_samples": 7})
    assert (own["seed"], own["test_samples"]) == (5, 7)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"robustness": {"seed": 3}}, ["seed 3", "augmentation trains [0, 1] only"]),
        (
            {"augmentation": {"models": ["ReLU"]}},
            ["SPSN-GS", "augmentation trains ['ReLU'] only", "the same models"],
        ),
        (
            {"augmentation": {"models": ["LIF"]}, "robustness": {"models": ["LIF", "SPSN-SB"]}},
            ["SPSN-SB", "augmentation trains ['LIF'] only"],
        ),
    ],
    ids=str,
)
def test_weights_that_nobody_trains_are_refused(overrides, expected):
    message = refused({"backend": "cpu", "overrides": {"spsn": overrides}})
    assert all(text in message for text in expected), message


def test_other_threads_rerun_timed_runs_only():
    one, two = (plan.build(config.load({"backend": "cpu", "threads": n})).jobs for n in (1, 2))
    changed = {a.experiment for a, b in zip(one, two, strict=True) if a.identity != b.identity}
    timed = {name for p in read_papers().values() for name, e in p.experiments.items() if e.timed}
    assert changed == timed and {"epoch_time", "duration"} < timed


def test_schema_and_readme_are_up_to_date():
    for file, text in keys.generated().items():
        assert file.read_text() == text, "run: python -m paraspike.pipeline.config --write"


def test_config_file_fits_the_generated_schema_and_names_every_key():
    values = yaml.safe_load((paths.root() / "config" / "config.yaml").read_text())
    schema = json.loads((paths.root() / "workflow/schemas/config.schema.json").read_text())
    jsonschema.validate(values, schema)
    assert list(values) == list(config.Settings.model_fields)


def test_values_are_compared_with_the_default_type():
    assert Parameter("x", 0.5, "").problem(1) is None
    assert Parameter("x", 1, "").problem(True) == "True is true or false, not an integer"
    assert Parameter("x", [[1]], "").problem([[1], ["a"]]) == "'a' is a text, not an integer"
    assert Parameter("x", [], "").problem(["anything", 1]) is None
    assert Parameter("x", None, "").problem(3) is None
    assert from_text(["1", "2"], [0]) == [1, 2]
    assert from_text("true", False) is True
    assert from_text("1e-3", "text") == "1e-3"


def test_cost_expressions_see_parameters_only():
    assert evaluate("len(a) * (n or 7) + sum(x for x in a)", {"a": [1, 2], "n": 0}, "here") == 17
    with pytest.raises(ReaderError, match="'epoch' is not a parameter(?s:.*)did you mean 'epochs'"):
        evaluate("epoch * 2", {"epochs": 1}, "here")
    with pytest.raises(ReaderError, match="cannot compute"):
        evaluate("1 / n", {"n": 0}, "here")


def test_what_other_devices_measured_is_an_input_of_figures_and_claims(monkeypatch):
    made = plan.build(config.load({"scale": "smoke", "backend": "cpu"})).figures["spsn"]
    assert "kept" not in made.parameters, "a notebook without it still runs"
    kept = ["data/measured/h200/spsn.nc"]
    monkeypatch.setattr(plan.paths, "kept", lambda paper: kept if paper == "spsn" else [])
    figures = plan.build(config.load({"scale": "smoke", "backend": "cpu"})).figures
    assert figures["spsn"].parameters["kept"] == kept and kept[0] in figures["spsn"].needs
    assert figures["spsn"].identity != made.identity
    assert "kept" not in figures["ipu"].parameters
