"""What a notebook's `parameters` cell says: names, runnable defaults, types and what each means."""

import ast
import difflib
import io
import json
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from paraspike.errors import ReaderError


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell: name, default value and its trailing comment."""

    name: str
    default: object
    meaning: str

    def problem(self, value: object) -> str | None:
        """Why `value` does not fit the type of the default, or None."""
        return _problem(value, self.default)


def code_cells(notebook: str | Path) -> list[dict]:
    """The code cells of a notebook as {"source": str, "tags": list}.

    Raises:
        ReaderError: no such file, or not a notebook.
    """
    try:
        cells = json.loads(Path(notebook).read_text())["cells"]
    except FileNotFoundError:
        raise ReaderError("no such notebook", notebook) from None
    except (ValueError, KeyError, TypeError):
        raise ReaderError("this file is not a notebook", notebook) from None
    return [
        {"source": "".join(cell["source"]), "tags": cell.get("metadata", {}).get("tags", [])}
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def read_parameters(notebook: str | Path) -> dict[str, Parameter]:
    """The parameters of a notebook by name, in order.

    Raises:
        ReaderError: not exactly one cell tagged `parameters`, or a default that is not a literal.
    """
    tagged = [cell["source"] for cell in code_cells(notebook) if "parameters" in cell["tags"]]
    if len(tagged) != 1:
        raise ReaderError(
            f"{len(tagged)} cells are tagged `parameters`, one is needed",
            notebook,
            "tag the cell that sets the defaults",
        )
    comments = _comments(tagged[0])
    found = {}
    for statement in ast.parse(tagged[0]).body:
        target = (
            statement.targets[0]
            if isinstance(statement, ast.Assign)
            else getattr(statement, "target", None)
        )
        try:
            name, default = target.id, ast.literal_eval(statement.value)
        except (AttributeError, ValueError):
            line = ast.get_source_segment(tagged[0], statement).splitlines()[0]
            raise ReaderError(
                f"a parameters cell holds only `name = literal` lines, not {line!r}", notebook
            ) from None
        found[name] = Parameter(name, default, comments.get(statement.end_lineno, ""))
    return found


def parameter_names(notebook: str | Path) -> list[str]:
    """The names a notebook's parameters cell assigns, in order."""
    return list(read_parameters(notebook))


def check_values(
    values: Mapping[str, object], parameters: Mapping[str, Parameter], where: str
) -> None:
    """Refuse a name the notebook does not have, or a value of another type than the default's.

    Raises:
        ReaderError: names the key, and the nearest valid name or the type that is wanted.
    """
    for name, value in values.items():
        if name not in parameters:
            raise ReaderError(f"unknown parameter {name!r}", where, did_you_mean(name, parameters))
        if problem := parameters[name].problem(value):
            raise ReaderError(
                f"{name}: {problem}", where, f"the default is {parameters[name].default!r}"
            )


def from_text(value: object, default: object) -> object:
    """A command line's value: nested texts are read as YAML where the default is no text."""
    if isinstance(value, list):
        inner = default[0] if isinstance(default, list) and default else default
        return [from_text(item, inner) for item in value]
    if not isinstance(value, str) or isinstance(default, str):
        return value
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest valid one, else all of them."""
    valid = [str(v) for v in valid]
    near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(valid) or 'none'}"


def _problem(value: object, default: object) -> str | None:
    if default is None:
        return None
    if isinstance(default, list):
        if not isinstance(value, list):
            return f"{value!r} is not a list"
        found = (_problem(item, default[0]) for item in value) if default else ()
        return next((problem for problem in found if problem), None)
    wanted = (int, float) if type(default) is float else type(default)
    if not isinstance(value, wanted) or (isinstance(value, bool) and type(default) is not bool):
        return f"{value!r} is {_article(type(value))}, not {_article(type(default))}"
    return None


def _article(kind: type) -> str:
    words = {
        int: "an integer",
        float: "a number",
        str: "a text",
        bool: "true or false",
        list: "a list",
    }
    return words.get(kind, f"a {kind.__name__}")


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
