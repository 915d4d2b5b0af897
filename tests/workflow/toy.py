"""A paper of two tiny notebooks in a copy of the workflow: the pipeline without torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
PAPER_TARGET = "results/paper-cpu/runs/toy/first.nc"
COPIED = ("Snakefile", "workflow", "profiles", "config/config.yaml", "src/paraspike", "envs")

PAPER = """\
title: Toy
budget: 100
datasets: [shd]
experiments:
  first: {weights: true, split: [models], work: len(models) * epochs, seconds_per_unit: 2.0}
  second: {timed: true, needs: {weights: first}}
figures: {line: A line}
"""

FIRST = """\
models = ["LIF", "ReLU"]  # networks
epochs = 2  # passes
rate = 0.5  # learning rate
fail = False  # stop with an error
wait = 0  # seconds to wait
dataset = "cochlea"  # data
backend = "auto"  # where
scale = "quick"  # size
output = "results/scratch/toy/first.nc"  # netCDF to write"""

SECOND = """\
weights = ""  # weights of the first
backend = "auto"  # where
scale = "quick"  # size
output = "results/scratch/toy/second.nc"  # netCDF to write"""

FIGURES = """\
measured = "results/quick-cpu/toy.nc"  # results
output = "results/scratch/toy/figures"  # folder"""

TRAINING = '''\
"""Stands in for the engine: writes a run's files without training anything."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

from paraspike import netcdf, paths


def finish(names, experiment, models):
    """Write netCDF, record and weights of a toy run."""
    file = paths.resolve(names["output"])
    file.parent.mkdir(parents=True, exist_ok=True)
    attrs = {"paper": "toy", "experiment": experiment, "code": "0", "data_verified": 1}
    attrs |= {key: names[key] for key in ("scale", "backend")}
    attrs |= {"operators": "{}", "parameters": "{}", "seeds": "[]", "data": "[]"}
    data = xr.Dataset({"x": ("model", np.ones(len(models)))}, {"model": models}, attrs)
    netcdf.write(data, file)
    if experiment == "first":
        netcdf.write_weights(file.with_suffix(".weights.npz"), dict.fromkeys(models, np.ones(2)))
    parameters = {key: names[key] for key in ("models", "epochs") if key in names}
    record = {"headline": f"x is 1.0 for {len(models)}", "wall_seconds": 3.0}
    record |= {"parameters": parameters}
    file.with_suffix(".run.json").write_text(json.dumps(record))
'''

PLOTS = '''\
"""Stands in for the house's plots."""

from pathlib import Path

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def draw(folder):
    """An SVG and a PNG."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "line.svg").write_text(SVG)
    (folder / "line.png").write_bytes(b"png")
'''


def notebook(file: Path, *cells: tuple[str, list]) -> None:
    """Write a notebook of code cells under one markdown title."""
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    book.cells = [nbformat.v4.new_markdown_cell("# Toy")]
    book.cells += [nbformat.v4.new_code_cell(text, metadata={"tags": tags}) for text, tags in cells]
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, file)


def make(folder: Path) -> Path:
    """A copy of the workflow whose only paper is the toy."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for file in (folder / "workflow" / "papers").glob("*.yaml"):
        file.unlink()
    write = {
        "workflow/papers/toy.yaml": PAPER,
        "workflow/report/toy/line.rst": "A line.\n",
        "config/smoke.yaml": "toy: {first: {epochs: 1}}\n",
        "config/quick.yaml": "toy: {first: {epochs: 2}}\n",
        "config/paper.yaml": "split: {toy: {first: [models]}}\ntoy: {first: {epochs: 200}}\n",
        "data/published/claims.yaml": "[]\n",
        "data/published/papers.yaml": "toy:\n  reference: a toy\n",
        "data/published/toy/table.csv": "x\n1\n",
        "src/paraspike/training.py": TRAINING,
        "src/paraspike/plots.py": PLOTS,
    }
    for name, text in write.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    training = "from paraspike import plots, training"
    stop = "import time\n\ntime.sleep(wait)\nif fail:\n    raise ValueError('asked to fail')"
    places = folder / "notebooks" / "toy"
    notebook(
        places / "first.ipynb",
        (training, []),
        (FIRST, ["parameters"]),
        (stop, []),
        ("training.finish(globals(), 'first', models)", []),
        ("print(plots)", ["plot"]),
    )
    notebook(
        places / "second.ipynb",
        (training, []),
        (SECOND, ["parameters"]),
        ("training.finish(globals(), 'second', ['LIF'])", []),
    )
    notebook(
        places / "figures.ipynb",
        ("from paraspike import plots, paths", []),
        (FIGURES, ["parameters"]),
        ("plots.draw(paths.resolve(output))", []),
    )
    return folder


def environment(folder: Path) -> dict:
    """The environment in which the copy, not the installed package, is imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PARASPIKE_", "SLURM_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PYTHONPATH": str(folder / "src"), "PATH": path}


def snakemake(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run snakemake in the copy; `out` holds standard output and error together."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=environment(folder) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    done.out = done.stdout
    return done
