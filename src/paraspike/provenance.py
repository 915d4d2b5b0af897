"""What a run is made of: its notebook's code cells and every module they import from this package.

Found by reading imports, never by importing: a notebook is hashed in milliseconds, without torch.
"""

import ast
import functools
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.parameters import code_cells, did_you_mean

PACKAGE = Path(__file__).resolve().parent
DOTTED = re.compile(rf"{PACKAGE.name}(\.\w+)+")
BACKENDS = ("reference", "cpu", "cuda", "ipu")
# These word messages, start a run and describe the machine for its record; no measured value passes through.
UNINVOLVED = ("errors", "machine", "pipeline.plain", "progress")


def closure(path: str | Path, backend: str, exclude: Sequence[str] = ("plots",)) -> list[Path]:
    """The modules of this package that a notebook or module imports, directly or through others.

    Of an operator's files that carry a backend's name (cuda.py, cuda_kernels.py, kernels_cuda.py) only
    those of the reference and of the run's own backend count; `UNINVOLVED` modules never do. The
    package's top `__init__` only re-exports, so it leads to modules but is no input itself.

    Args:
        path: an .ipynb (cells tagged `plot` aside) or .py file; itself not in the answer.
        backend: reference, cpu, cuda or ipu.
        exclude: modules, named below `paraspike`, that the result does not depend on.

    Returns:
        Absolute paths, sorted.
    """
    path = Path(path).resolve()
    found: set[Path] = set()
    waiting = [m for source in _sources(path, exclude) for m in _imports(source, _package_of(path))]
    while waiting:
        module = waiting.pop()
        for file in _files(module):
            if file in found or file == path or not _wanted(file, backend, exclude):
                continue
            found.add(file)
            waiting += _imports(file.read_text(), _package_of(file))
            if file == PACKAGE / "backends.py":
                waiting += _operators()
    return sorted(found)


def code_hash(path: str | Path, backend: str, exclude: Sequence[str] = ("plots",)) -> str:
    """sha256 over a notebook's code cells (or a module's text) and its import closure.

    Markdown, outputs and notebook metadata do not count; with "plots" excluded, neither do cells
    tagged `plot`. Data that a package keeps beside its modules (*.jsonl) counts with it.
    """
    path = Path(path).resolve()
    digest = sha256()
    for source in _sources(path, exclude):
        digest.update(source.encode() + b"\0")
    modules = closure(path, backend, exclude)
    beside = [
        data
        for file in modules
        if file.stem == "__init__"
        for data in sorted(file.parent.glob("*.jsonl"))
    ]
    for file in [*modules, *beside]:
        digest.update(
            file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0"
        )
    return digest.hexdigest()


def reference(paper: str) -> str:
    """What results of a paper cite: its DOI or arXiv number, from data/published/papers.yaml.

    Raises:
        ReaderError: the file has no entry for the paper, or the entry no reference.
    """
    file = paths.published("papers.yaml")
    known, current = {}, None
    # Two levels of `key: value` lines, read here as PyYAML may not be installed.
    for line in file.read_text().splitlines():
        if line[:1].isalpha():
            current = known.setdefault(line.partition(":")[0], {})
        elif current is not None and ":" in line:
            key, _, value = line.partition(":")
            current[key.strip()] = value.strip().strip("\"'")
    if "reference" not in known.get(paper, {}):
        what = f"no reference for paper {paper!r}"
        raise ReaderError(what, paths.relative(file), did_you_mean(paper, known))
    return known[paper]["reference"]


def _sources(path: Path, exclude: Sequence[str]) -> list[str]:
    if path.suffix != ".ipynb":
        return [path.read_text()]
    cells = code_cells(path)
    return [
        cell["source"] for cell in cells if "plots" not in exclude or "plot" not in cell["tags"]
    ]


def _package_of(path: Path) -> str:
    """The dotted package a file's relative imports start from; "" outside this package."""
    if not path.is_relative_to(PACKAGE):
        return ""
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).parent.parts))


@functools.lru_cache(maxsize=1024)
def _imports(source: str, package: str) -> tuple[str, ...]:
    """Dotted names below `paraspike` that a source imports, in functions and by text too."""
    if not package:
        # A notebook's magics are no Python.
        lines = source.split("\n")
        source = "\n".join(
            "pass" if line.lstrip().startswith(("%", "!")) else line for line in lines
        )
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += [node.value] if DOTTED.fullmatch(node.value) else []
    return tuple(name for name in names if name.split(".")[0] == PACKAGE.name)


def _files(module: str) -> Iterable[Path]:
    """The files a dotted name makes Python read: the module and the packages above it."""
    module = _exports(PACKAGE / "__init__.py", _stamp(PACKAGE / "__init__.py")).get(module, module)
    folder = PACKAGE
    for part in module.split(".")[1:]:
        file = folder / f"{part}.py"
        if file.is_file():
            yield file
        folder = folder / part
        if (folder / "__init__.py").is_file():
            yield folder / "__init__.py"


def _operators() -> list[str]:
    """Every operator module: paraspike.backends loads them by name."""
    files = (PACKAGE / "ops").glob("*/*.py")
    return [
        ".".join((PACKAGE.name, "ops", f.parent.name, f.stem))
        for f in files
        if f.stem != "__init__"
    ]


def _wanted(file: Path, backend: str, exclude: Sequence[str]) -> bool:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    name = ".".join(parts)
    if any(name == e or name.startswith(e + ".") for e in (*exclude, *UNINVOLVED)):
        return False
    if parts[0] != "ops" or len(parts) != 3:
        return True
    # Whole words: `cuda`, `cuda_kernels` and `kernels_cuda` are one backend's.
    owners = set(parts[-1].split("_")) & set(BACKENDS)
    return not owners or bool(owners & {"reference", backend})


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns


@functools.lru_cache(maxsize=8)
def _exports(init: Path, stamp: int) -> dict[str, str]:
    """`paraspike.name` -> module, from the literal map `_EXPORTS` of the package's `__init__`."""
    for node in ast.parse(init.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_EXPORTS":
            return {f"{PACKAGE.name}.{k}": v for k, v in ast.literal_eval(node.value).items()}
    return {}
