"""An experiment without Snakemake and papermill: the code cells of its notebook, in this process.

    python -m paraspike.papers.<paper> <experiment> [key=value ...] [--scale quick|paper|smoke]
        [--backend reference|cpu|cuda|auto] [--output file.nc] [--show]

Cells tagged `plot` only show what the notebook has found, and are left out. --show prints the command with
every value written out, for a machine without PyYAML, where scales cannot be read.
"""

import argparse
import ast
import linecache
import shlex
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.parameters import (
    check_values,
    code_cells,
    did_you_mean,
    from_text,
    read_parameters,
)

SCALES = ("smoke", "quick", "paper")
# Packages whose name is not that of what they are imported as.
PACKAGES = {"sklearn": "scikit-learn", "yaml": "PyYAML"}
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def execute(notebook: str | Path, parameters: Mapping) -> dict:
    """Run a notebook's code cells with these values for its parameters; returns its names.

    Raises:
        ReaderError: an unknown parameter, a value of the wrong type, a package that is not installed.
    """
    file = paths.resolve(notebook)
    name = paths.relative(file)
    check_values(parameters, read_parameters(file), name)
    names = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(file), 1):
        if "plot" in cell["tags"]:
            continue
        place = f"{name}, code cell {number}"
        # So that a traceback shows the lines.
        linecache.cache[place] = (0, None, cell["source"].splitlines(True), place)
        try:
            exec(compile(cell["source"], place, "exec"), names)
        except ModuleNotFoundError as error:
            if error.name.startswith("paraspike"):
                raise
            what = f"package {error.name} is not installed"
            hint = f"pip install {PACKAGES.get(error.name, error.name)}"
            raise ReaderError(what, place, hint) from error
        if "parameters" in cell["tags"]:
            names |= parameters
    return names


def from_words(words: list[str], notebook: Path) -> dict:
    """{parameter: value} of `key=value` words, read by the type of the notebook's default.

    A list is [a, b] or a,b.

    Raises:
        ReaderError: a word without `=`, an unknown parameter, a value of another type.
    """
    known, found = read_parameters(notebook), {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ReaderError(
                f"{word!r} is no key=value", "the command line", did_you_mean(key, known)
            )
        found[key] = _value(text, known[key].default) if key in known else text
    check_values(found, known, "the command line")
    return found


def _value(text: str, default):
    if isinstance(default, str):
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if not isinstance(default, list):
        return value
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[] ").split(",")]
        if default and not isinstance(default[0], str):
            value = [_value(part, default[0]) for part in value]
    return list(value) if isinstance(value, list | tuple) else [value]


def of_scale(paper: str, experiment: str, scale: str) -> dict:
    """What config/<scale>.yaml gives an experiment; nothing, with a warning, at quick scale without PyYAML,
    for the notebooks' defaults are of that scale.

    Raises:
        ReaderError: no PyYAML at another scale.
    """
    try:
        import yaml
    except ModuleNotFoundError:
        if scale == "quick":
            warnings.warn(
                "PyYAML is not installed: the notebook's defaults are taken", stacklevel=2
            )
            return {"scale": scale}
        hint = "write the values out: where it is installed, --show prints them"
        raise ReaderError("PyYAML is not installed", f"config/{scale}.yaml", hint) from None
    sizes = yaml.safe_load((paths.root() / "config" / f"{scale}.yaml").read_text())
    about = yaml.safe_load((paths.root() / "workflow/papers" / f"{paper}.yaml").read_text())
    known = read_parameters(paths.notebook(paper, experiment))
    given = {"scale": scale}
    if "dataset" in known and sizes.get("dataset") in about.get("datasets", ()):
        given["dataset"] = sizes["dataset"]
    given |= sizes.get(paper, {}).get(experiment) or {}
    return {
        key: from_text(value, known[key].default) if key in known else value
        for key, value in given.items()
    }


def main(paper: str, words: list[str] | None = None) -> int:
    """The command of one paper; returns the exit status."""
    folder = paths.root() / "notebooks" / paper
    known = sorted(file.stem for file in folder.glob("*.ipynb") if file.stem != "figures")
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(
        prog=f"python -m paraspike.papers.{paper}",
        description=f"Runs an experiment: {', '.join(known)}.",
        epilog=_help(paper, next((word for word in words if word in known), None)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", nargs="?", help="with --help its parameters are listed")
    parser.add_argument("parameters", nargs="*", metavar="key=value")
    parser.add_argument("--scale", choices=SCALES, help="of config/<scale>.yaml")
    parser.add_argument("--backend")
    parser.add_argument("--output", help="netCDF to write, from the repository's root on")
    parser.add_argument("--show", action="store_true", help="print the command written out")
    asked = parser.parse_intermixed_args(words)
    try:
        if asked.experiment not in known:
            what = (
                f"unknown experiment {asked.experiment!r}" if asked.experiment else "no experiment"
            )
            raise ReaderError(what, paper, did_you_mean(asked.experiment, known))
        notebook = paths.notebook(paper, asked.experiment)
        values = of_scale(paper, asked.experiment, asked.scale) if asked.scale else {}
        values |= from_words(asked.parameters, notebook)
        chosen = {"backend": asked.backend, "output": asked.output}
        values |= {key: value for key, value in chosen.items() if value is not None}
        if (scale := values.get("scale", "quick")) not in SCALES:
            hint = did_you_mean(scale, SCALES)
            raise ReaderError(f"unknown scale {scale!r}", "the command line", hint)
        if asked.show:
            pairs = [f"{key}={value}" for key, value in values.items()]
            print(
                shlex.join(["python", "-m", f"paraspike.papers.{paper}", asked.experiment, *pairs])
            )
        else:
            execute(notebook, values)
    except ReaderError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted: the same command goes on from the last checkpoint, if there is one",
            file=sys.stderr,
        )
        return 130
    return 0


def _help(paper: str, experiment: str | None) -> str | None:
    """An experiment's parameters with their defaults and meanings."""
    if experiment is None:
        return None
    parameters = read_parameters(paths.notebook(paper, experiment)).values()
    lines = [f"  {p.name}={p.default}  {p.meaning}" for p in parameters]
    return "\n".join([f"parameters of {experiment}:", *lines])
