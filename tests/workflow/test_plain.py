"""Experiments by `python -m paraspike.papers.<paper> <experiment>`: what the runner writes, without it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from paraspike import netcdf, netcdf_plain, paths, training
from paraspike.errors import ReaderError
from paraspike.netcdf import open_run
from paraspike.pipeline import plain
from paraspike.pipeline.config import load, read_yaml
from paraspike.pipeline.plan import build
from paraspike.pipeline.runner import run_notebook
from paraspike.training import Trainee

# Seconds each; where times are measured, all but them is compared.
TINY = "seeds=[0] train_samples=20 test_samples=20 hidden=[8] dt=0.05 epochs=1 batch_size=10"
RUNS = {
    "spsn": f"readout {TINY} models=SPSN-SB,LIF readouts=mean",
    "ipu": "model activities=[0.01,0.1] depths=[2]",
    "eprop": "sparse densities=0.1/0.1 hidden=8 seeds=[0] train_samples=20 test_samples=20 dt=0.05 epochs=1"
    " dataset=blobs",
    "spikepipe": "schedules networks=mlp3 batches=[1] arrays=[32] processors=[2,3] map_batches=[1,8]",
    "multithreading": "tasks profiled_images=2 chain_layers=8 chain_neurons=10 pools=[0,8] steps=3",
}
TIMED = ("multithreading",)


def python(*words):
    where = {"PYTHONPATH": os.pathsep.join(sys.path), "PARASPIKE_PROGRESS": "0"}
    done = subprocess.run(
        [sys.executable, *words], env=os.environ | where, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("paper", RUNS)
def test_the_command_writes_what_the_runner_writes(paper, tmp_path):
    experiment, *words = RUNS[paper].split()
    backend, file = "reference", tmp_path / "plain.nc"
    python(
        "-m",
        f"paraspike.papers.{paper}",
        experiment,
        *words,
        "--backend",
        backend,
        "--output",
        str(file),
    )
    notebook = paths.notebook(paper, experiment)
    values = plain.from_words(words, notebook) | {"backend": backend}
    other = tmp_path / "runner.nc"
    run_notebook(notebook, tmp_path / "executed.ipynb", values | {"output": str(other)})
    if paper not in TIMED:
        assert file.read_bytes() == other.read_bytes()
        return
    found, wanted = open_run(file), open_run(other)
    assert found.attrs == wanted.attrs
    assert {n: (v.dims, v.shape, v.attrs) for n, v in found.variables.items()} == {
        n: (v.dims, v.shape, v.attrs) for n, v in wanted.variables.items()
    }


def test_nothing_but_the_few_packages_of_a_gpu_machine_is_needed(tmp_path):
    experiment, *words = RUNS["spsn"].split()
    files = [tmp_path / "minimal.nc", tmp_path / "whole.nc"]
    words += ["--backend", "reference", "--output"]
    # First the one that makes the data quickly and keeps them.
    python("-m", "paraspike.papers.spsn", experiment, *words, str(files[1]))
    python(paths.root() / "tests/minimal.py", "spsn", experiment, *words, str(files[0]))
    found, wanted = map(open_run, files)
    xr.testing.assert_identical(found, wanted)


def test_an_interrupted_run_leaves_no_file_and_goes_on(tmp_path, monkeypatch, capsys):
    words = ["readout", *TINY.split(), "epochs=3", "models=LIF", "readouts=mean"]
    words += ["--backend", "reference", "--output"]
    end, epochs = Trainee.end, []

    def ends(arm, samples):
        end(arm, samples)
        epochs.append(arm.epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainee, "end", ends)
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    cut, whole = tmp_path / "cut.nc", tmp_path / "whole.nc"
    assert plain.main("spsn", [*words, str(cut)]) == 130
    assert "goes on" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert plain.main("spsn", [*words, str(cut)]) == 0
    assert len(epochs) == 3
    assert plain.main("spsn", [*words, str(whole)]) == 0
    assert len(epochs) == 6 and cut.read_bytes() == whole.read_bytes()


def test_help_lists_the_parameters_of_an_experiment(capsys):
    with pytest.raises(SystemExit, match="0"):
        plain.main("spsn", ["readout", "--help"])
    assert "  epochs=4  passes over the training set\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "known are: augmentation, duration"),
        (["raedout"], "did you mean 'readout'"),
        (["readout", "epoch=3"], "did you mean 'epochs'"),
        (["readout", "epochs"], "no key=value"),
        (["readout", "epochs=many"], "'many' is a text, not an integer"),
        (["readout", "--backend", "cup"], "did you mean 'cpu'"),
        (["readout", "scale=papr"], "did you mean 'paper'"),
        (["readout", "seeds=[]"], "no seeds are given"),
        (["readout", "--backend", "reference", "--output", "/dev/null/a.nc"], "cannot be written"),
    ],
)
def test_what_is_wrong_is_told_with_the_nearest_name(words, told, capsys):
    assert plain.main("spsn", words) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, default, value",
    [
        ("[1, 2]", [0], [1, 2]), ("1,2", [0], [1, 2]), ("3", [0], [3]), ("[]", [0], []),
        ("a b,c", [""], ["a b", "c"]), ("[LIF]", [""], ["LIF"]), ("1e-3", 0.1, 1e-3), ("true", False, True),
        ("1", "", "1"), ("5", None, 5),
    ],
)  # fmt: skip
def test_values_are_read_by_the_type_of_the_default(text, default, value):
    assert plain._value(text, default) == value


@pytest.mark.parametrize("scale", plain.SCALES)
def test_scales_are_those_of_the_pipeline(scale):
    config = load(
        read_yaml(paths.root() / "config/config.yaml")
        | {"scale": scale, "backend": "cpu", "split": {}}
    )
    for job in build(config).jobs:
        given = plain.of_scale(job.paper, job.experiment, scale)
        own = {k: v for k, v in job.parameters.items() if k in given}
        assert given == own, (job.paper, job.experiment)


def test_without_yaml_only_the_notebooks_own_scale_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.warns(UserWarning, match="notebook's defaults"):
        assert plain.of_scale("spsn", "readout", "quick") == {"scale": "quick"}
    with pytest.raises(ReaderError, match="PyYAML is not installed"):
        plain.of_scale("spsn", "readout", "paper")


def test_files_written_without_h5netcdf_read_the_same(tmp_path):
    data = xr.Dataset(
        {
            "a": (("x", "t"), np.array([[1.0, np.nan], [3, 4]]), {"units": "s"}),
            "b": ("x", [True, False]),
            "c": ("free", np.arange(3, dtype=np.int32)),
            "s": ("x", ["ab", "ü"]),
            "z": ((), 2.5),
        },
        coords={"x": ["p", "q"], "t": [0.5, 1.5], "label": ("x", [1, 2], {"units": "1"})},
        attrs={"title": "τ", "n": 3, "l": [1, 2], "f": 1.5},
    )
    ours, theirs = tmp_path / "ours.nc", tmp_path / "theirs.nc"
    netcdf.write(data, theirs)
    netcdf_plain.write(netcdf.canonical(data), ours)
    xr.testing.assert_identical(open_run(ours), open_run(theirs))
