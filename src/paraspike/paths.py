"""Where things lie: every path starts at the repository's root, whatever the working folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paraspike.errors import ReaderError


def root() -> Path:
    """The repository: $PARASPIKE_ROOT, else the checkout this package was installed from.

    Raises:
        ReaderError: neither holds `notebooks/` or `data/published/`.
    """
    asked = os.environ.get("PARASPIKE_ROOT")
    folder = Path(asked) if asked else Path(__file__).resolve().parents[2]
    if not (folder / "notebooks").is_dir() and not (folder / "data" / "published").is_dir():
        raise ReaderError(
            "no paraspike repository found",
            "PARASPIKE_ROOT" if asked else "the folder this package was installed from",
            "install with 'pip install -e .' from a clone, or set PARASPIKE_ROOT to the clone",
        )
    return folder.resolve()


def resolve(path: str | Path) -> Path:
    """A path as parameters give it: relative ones count from the root, absolute ones stay."""
    return root() / Path(path)


def relative(path: str | Path) -> str:
    """The path as a reader of this repository types it (absolute where it lies outside)."""
    path = Path(path)
    return str(path.relative_to(root())) if path.is_relative_to(root()) else str(path)


def results(*parts: str) -> Path:
    """A place under results/."""
    return root().joinpath("results", *parts)


def published(*parts: str) -> Path:
    """A place under data/published/, the papers' own numbers."""
    return root().joinpath("data", "published", *parts)


def notebook(paper: str, name: str) -> Path:
    """The notebook of one experiment."""
    return root() / "notebooks" / paper / f"{name}.ipynb"


def newest(paper: str) -> Path:
    """The latest results/<run>/<paper>.nc.

    Raises:
        ReaderError: there is none yet.
    """
    files = results().glob(f"*/{paper}.nc")
    if found := max(files, key=lambda file: file.stat().st_mtime, default=None):
        return found
    what, where = f"nothing measured yet for {paper}", f"results/*/{paper}.nc"
    raise ReaderError(what, where, f"run snakemake {paper} first")


def kept(paper: str) -> list[str]:
    """What was measured for the paper on other devices, as the reader types it."""
    return sorted(map(relative, root().glob(f"data/measured/*/{paper}.nc")))


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write to the yielded path, which takes `path`'s place when the block ends without error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
