"""What to run: config/config.yaml and config/<scale>.yaml, checked before any work starts.

`python -m paraspike.pipeline.config --write` regenerates workflow/schemas/config.schema.json and
config/README.md from the models below and from the notebooks' parameters cells.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.parameters import did_you_mean

Grid = dict[str, dict[str, Any]]
Split = dict[str, dict[str, list[str]]]
SCALES = ("smoke", "quick", "paper")
# Snakemake hands these words of its command line on as texts.
WORDS = {"true": True, "false": False, "null": None}
SCALE_KEYS = ("dataset", "threads", "split")


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Settings(Model):
    """config/config.yaml, as overridden by --config."""

    scale: Literal["smoke", "quick", "paper"] = Field(
        "quick",
        description="Size of everything: smoke (tests, seconds), quick (minutes on two cores), "
        "paper (published sizes and data). The grids are in config/<scale>.yaml.",
    )
    backend: Literal["auto", "reference", "cpu", "cuda", "ipu"] = Field(
        "auto",
        description="Where the operators run; auto is cuda where there is a GPU, else cpu.",
    )
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = Field(
        None, description="Folder under results/; null means <scale>-<backend>."
    )
    papers: list[str] | Literal["all"] = Field(
        "all", description="all, or a list of papers to run: the file names in workflow/papers/."
    )
    dataset: str | None = Field(
        None,
        description="Data for every experiment with a `dataset` parameter: embedded (needs no "
        "network), or a fetched set such as shd; null means what config/<scale>.yaml says.",
    )
    allow_unverified_data: bool = Field(
        False,
        description="Accept data files whose checksum is not the published one; "
        "every result and claim then says so.",
    )
    threads: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Threads of one run, for torch, Numba and the kernels alike; null means what "
        "config/<scale>.yaml says. Timed runs use as many, but have the machine to themselves.",
    )
    split: Split | None = Field(
        None,
        description="Experiments cut into one job per value of these parameters, then merged: "
        "{paper: {experiment: [parameter]}}; null means what config/<scale>.yaml says.",
    )
    overrides: dict[str, Grid] = Field(
        {},
        description="Changes to the grid of config/<scale>.yaml: "
        "{paper: {experiment: {parameter: value}}}.",
    )


class Scale(Model):
    """config/<scale>.yaml: defaults of a scale; every other key is a paper with its grid."""

    dataset: str = Field("embedded", description="See config.yaml.")
    threads: int = Field(1, ge=1, description="See config.yaml.")
    split: Split = Field({}, description="See config.yaml.")
    papers: dict[str, Grid] = Field({}, description="{paper: {experiment: {parameter: value}}}.")


class Config(Model):
    """Settings with every null filled in.

    Attributes:
        backend: as asked; `resolved` is the one that runs.  run: folder under results/.
    """

    settings: Settings
    sizes: Scale

    @cached_property
    def backend(self) -> str:
        """The backend that runs, `auto` resolved."""
        return resolve_backend(self.settings.backend)

    @property
    def run(self) -> str:
        """Folder under results/."""
        return self.settings.run or f"{self.settings.scale}-{self.backend}"

    @property
    def dataset(self) -> str:
        """embedded, or the name of a fetched data set."""
        return self.settings.dataset or self.sizes.dataset

    @property
    def threads(self) -> int:
        """Threads of one run."""
        return self.settings.threads or self.sizes.threads

    @property
    def split(self) -> Split:
        """{paper: {experiment: [parameter]}}."""
        return self.sizes.split if self.settings.split is None else self.settings.split

    def grid(self, paper: str) -> Grid:
        """{experiment: {parameter: value}}, overrides applied."""
        grid = {name: dict(values) for name, values in self.sizes.papers.get(paper, {}).items()}
        for experiment, values in self.settings.overrides.get(paper, {}).items():
            grid.setdefault(experiment, {}).update(values)
        return grid


def load(values: Mapping | None = None) -> Config:
    """Check what config.yaml and --config say and read the scale's file.

    Args:
        values: the merged config (Snakemake's `config`); None reads config/config.yaml.

    Raises:
        ReaderError: names the key, and the nearest valid name or the type that is wanted.
    """
    if values is None:
        values = read_yaml(paths.root() / "config" / "config.yaml")
    values = {key: WORDS.get(str(value), value) for key, value in values.items()}
    settings = validate(Settings, values, "config/config.yaml and --config")
    file = paths.root() / "config" / f"{settings.scale}.yaml"
    found = read_yaml(file)
    sizes = {key: found.pop(key) for key in SCALE_KEYS if key in found}
    return Config(
        settings=settings, sizes=validate(Scale, sizes | {"papers": found}, paths.relative(file))
    )


def resolve_backend(name: str) -> str:
    """The backend meant by `auto`, found once: jobs inherit the answer through the environment.

    Torch is imported only where there is an NVIDIA driver to ask for.

    Raises:
        ReaderError: the backend cannot run here.
    """
    if name in ("cpu", "reference"):
        return name
    if name == "auto":
        known = os.environ.get("PARASPIKE_AUTO_BACKEND")
        if known or not shutil.which("nvidia-smi"):
            return known or "cpu"
    from paraspike.backends import resolve

    return resolve(name)


def read_yaml(file: Path) -> dict:
    """A YAML file that holds a mapping.

    Raises:
        ReaderError: no such file, or not a YAML mapping.
    """
    try:
        found = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise ReaderError("no such file", paths.relative(file)) from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise ReaderError("this is not YAML", f"{paths.relative(file)}, line {line}") from None
    if found is not None and not isinstance(found, dict):
        raise ReaderError("this file must hold `key: value` lines", paths.relative(file))
    return found or {}


def validate(model: type[BaseModel], values: Mapping, where: str) -> BaseModel:
    """An instance of the model; pydantic's findings become one message of a few lines.

    Raises:
        ReaderError: the first thing wrong, and how many more there are.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors()
    first = min(found, key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(found) - 1} more)" if len({str(e["loc"][:1]) for e in found}) > 1 else ""
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        raise ReaderError(
            f"unknown key {key!r}{more}", where, did_you_mean(name, _fields_at(model, first["loc"]))
        )
    alike = [e for e in found if e["loc"][0] == first["loc"][0]]
    wanted = "; ".join(dict.fromkeys(e["msg"].removeprefix("Input ") for e in alike))
    if len(alike) > 1:
        key, first = first["loc"][0], {"input": values.get(first["loc"][0])}
    raise ReaderError(
        f"{key}: {str(first['input'])[:60]!r} does not do{more}", where, f"it {wanted}"
    )


def _fields_at(model: type[BaseModel], location: tuple) -> list[str]:
    """Names allowed where an unknown key was found: those of the model that holds it."""
    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = [t for t in _types(field.annotation) if issubclass(t, BaseModel)] if field else []
        model = inner[0] if inner else model
    return list(model.model_fields)


def _types(annotation: Any) -> list[type]:
    if inner := getattr(annotation, "__args__", ()):
        return [t for part in inner for t in _types(part)]
    return [annotation] if isinstance(annotation, type) else []


def main(arguments: list[str]) -> None:
    """`--write` regenerates the schema and the table; without it, say which are out of date."""
    from paraspike.pipeline.keys import generated

    stale = {file: text for file, text in generated().items() if not _same(file, text)}
    if "--write" in arguments:
        for file, text in stale.items():
            with paths.replacing(file) as temporary:
                temporary.write_text(text)
    elif stale:
        names = ", ".join(paths.relative(file) for file in stale)
        sys.exit(f"out of date: {names}\n  hint: python -m paraspike.pipeline.config --write")


def _same(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text() == text


if __name__ == "__main__":
    main(sys.argv[1:])
