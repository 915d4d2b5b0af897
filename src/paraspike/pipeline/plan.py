"""From the config and workflow/papers/*.yaml to the list of jobs the workflow runs."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.parameters import Parameter, check_values, did_you_mean, from_text, read_parameters
from paraspike.pipeline.config import SCALE_KEYS, Config
from paraspike.pipeline.description import Experiment, Paper, read_papers
from paraspike.pipeline.jobs import Job, Plan, place
from paraspike.provenance import reference

EMBEDDED = ("cochlea", "digits", "blobs", "modulation")
REQUIRED = ("output", "backend", "scale")


def build(config: Config) -> Plan:
    """Check every name and value against the notebooks, then list the jobs.

    Raises:
        ReaderError: an unknown paper, experiment, parameter or data set, or a wrong type.
    """
    known = read_papers()
    asked = list(known) if config.settings.papers == "all" else config.settings.papers
    scale_file = f"config/{config.settings.scale}.yaml"
    _known(asked, known, "paper", "papers, in config/config.yaml and --config")
    _known(config.sizes.papers, known, "key", scale_file, extra=SCALE_KEYS)
    _known(
        config.settings.overrides, known, "paper", "overrides, in config/config.yaml and --config"
    )
    _known(config.split, known, "paper", "split")
    offered = {"embedded", *(name for paper in known.values() for name in paper.datasets)}
    _known(
        [config.dataset], sorted(offered), "data set", "dataset, in config/config.yaml and --config"
    )
    for name, paper in known.items():
        _known(
            config.grid(name),
            paper.experiments,
            "experiment",
            f"{name}, in {scale_file} or overrides",
        )
        _known(config.split.get(name, {}), paper.experiments, "experiment", f"split of {name}")
    papers = {name: known[name] for name in asked}
    for name in papers:
        reference(name)
    jobs = [
        job
        for name, paper in papers.items()
        for experiment in paper.experiments
        if _runs(config, paper, experiment)
        for job in _jobs(config, name, paper, experiment)
    ]
    figures = {name: _figures(config, name, paper) for name, paper in papers.items()}
    left_out = [
        f"{name} {e}"
        for name, p in papers.items()
        for e in p.experiments
        if not _runs(config, p, e)
    ]
    return Plan(config, papers, jobs, figures, left_out)


def _runs(config: Config, paper: Paper, experiment: str) -> bool:
    """A simulated backend has no times to measure."""
    return config.backend != "ipu" or not paper.experiments[experiment].timed


def _known(names, valid, kind: str, where: str, extra=()) -> None:
    for name in names:
        if name not in valid:
            raise ReaderError(
                f"unknown {kind} {name!r}", where, did_you_mean(name, [*valid, *extra])
            )


def _jobs(config: Config, name: str, paper: Paper, experiment: str) -> list[Job]:
    description = paper.experiments[experiment]
    cell = read_parameters(paths.notebook(name, experiment))
    given = _given(config, name, paper, experiment)
    needs = {
        parameter: place(config.run, "runs", name, needed, "", ".weights.npz")
        for parameter, needed in description.needs.items()
    }
    kinds = {"data": ".nc", "record": ".run.json"} | (
        {"weights": ".weights.npz"} if description.weights else {}
    )
    jobs = []
    for part, chosen in _parts(config, name, experiment, description, cell, given):
        outputs = {
            k: place(config.run, "runs", name, experiment, part, s) for k, s in kinds.items()
        }
        parameters = given | chosen | needs | {"output": outputs["data"]}
        datasets = _fetched({key: p.default for key, p in cell.items()} | parameters)
        jobs.append(
            Job(
                name,
                experiment,
                part,
                config.run,
                config.backend,
                config.threads if description.timed else None,
                parameters,
                outputs,
                list(needs.values()),
                datasets,
            )
        )
    return jobs


def _given(config: Config, name: str, paper: Paper, experiment: str) -> dict[str, Any]:
    """The parameters an experiment is given, before it is split: those of the workflow, those of
    the experiments whose weights it needs, and, before all others, those of the grid."""
    description = paper.experiments[experiment]
    file = paths.notebook(name, experiment)
    cell = read_parameters(file)
    where = f"{name}.{experiment}, in config/{config.settings.scale}.yaml or overrides"
    values = {
        key: from_text(value, cell[key].default) if key in cell else value
        for key, value in config.grid(name).get(experiment, {}).items()
    }
    check_values(values, cell, where)
    for required in (*REQUIRED, *description.needs):
        if required not in cell:
            raise ReaderError(f"no parameter {required!r}", paths.relative(file))
    common: dict[str, Any] = {"backend": config.backend, "scale": config.settings.scale}
    if "dataset" in cell and config.dataset != "embedded" and config.dataset in paper.datasets:
        common["dataset"] = config.dataset
    if "allow_unverified_data" in cell:
        common["allow_unverified_data"] = config.settings.allow_unverified_data
    taken: dict[str, Any] = {}
    for needed in description.needs.values():
        _known([needed], paper.experiments, "experiment", f"needs, in workflow/papers/{name}.yaml")
        theirs = {
            key: parameter.default
            for key, parameter in read_parameters(paths.notebook(name, needed)).items()
            if key != "output"
        } | _given(config, name, paper, needed)
        wanted = {key: parameter.default for key, parameter in cell.items()} | values
        taken |= {key: value for key, value in theirs.items() if key in cell} | _chosen(
            wanted, values, theirs, paper.experiments[needed].split, needed, where
        )
    return taken | common | values


def _chosen(wanted: Mapping, values: Mapping, theirs: Mapping, axes, needed: str, where: str):
    """Which of the needed experiment's networks are used: of its axes the values both have, and of
    its seeds the first.

    Raises:
        ReaderError: the grid asks for a network that the needed experiment does not train.
    """
    found = {}
    for axis in axes:
        if axis in wanted:
            found[axis] = [value for value in wanted[axis] if value in theirs[axis]]
            if not found[axis] or (axis in values and found[axis] != wanted[axis]):
                what = f"{axis} {wanted[axis]}: {needed} trains {theirs[axis]} only"
                raise ReaderError(what, where, f"give both experiments the same {axis}")
    if "seed" in wanted and theirs.get("seeds"):
        found["seed"] = theirs["seeds"][0]
        if values.get("seed", found["seed"]) not in theirs["seeds"]:
            what = f"seed {values['seed']}: {needed} trains {theirs['seeds']} only"
            raise ReaderError(what, where, "give one of them")
    return found


def _figures(config: Config, name: str, paper: Paper) -> Job:
    """The job of notebooks/<paper>/figures.ipynb: an SVG and a PNG of every figure."""
    folder = f"results/{config.run}/figures/{name}"
    measured = f"results/{config.run}/{name}.nc"
    tables = sorted(paths.published(name).glob("*.csv"))
    kept = paths.kept(name)
    inputs = [measured, *kept, *map(paths.relative, tables)]
    parameters = {"measured": measured, "output": folder} | ({"kept": kept} if kept else {})
    check_values(
        parameters,
        read_parameters(paths.notebook(name, "figures")),
        f"notebooks/{name}/figures.ipynb",
    )
    outputs = {
        f"{figure}_{kind}": f"{folder}/{figure}.{kind}"
        for figure in paper.figures
        for kind in ("svg", "png")
    }
    return Job(
        name, "figures", "", config.run, config.backend, None, parameters, outputs, inputs, []
    )


def _parts(
    config,
    name: str,
    experiment: str,
    description: Experiment,
    cell: Mapping[str, Parameter],
    values,
):
    axes = config.split.get(name, {}).get(experiment, [])
    _known(axes, description.split, "split parameter", f"split of {name}.{experiment}")
    lists = [values.get(axis, cell[axis].default) for axis in axes]
    for cut in product(*lists):
        chosen = {axis: [value] for axis, value in zip(axes, cut, strict=True)}
        text = "_".join(f"{axis}-{value}" for axis, value in zip(axes, cut, strict=True))
        yield re.sub(r"[^\w.+-]+", "-", text), chosen


def _fetched(values: Mapping[str, Any]) -> list[str]:
    """Values of parameters called `dataset` or `<something>_dataset` that name a fetched set."""
    named = [v for key, v in values.items() if key == "dataset" or key.endswith("_dataset")]
    return sorted({name for name in named if name not in EMBEDDED})
