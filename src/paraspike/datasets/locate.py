"""Where a data set's files are, and whether they are the published ones."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from paraspike import paths
from paraspike.datasets.registry import SourceFile, parts
from paraspike.errors import ReaderError


@dataclass(frozen=True)
class Found:
    """A file on this machine: path, its md5, and whether that is the published one."""

    path: Path
    md5: str
    verified: bool


def folders(name: str, folder: str | Path | None = None) -> list[Path]:
    """Where a data set's files are looked for, in order: `folder`, $PARASPIKE_DATA, data/ of the
    repository; each with its sub-folder `name` first."""
    asked = [folder, os.environ.get("PARASPIKE_DATA"), paths.root() / "data"]
    roots = [paths.resolve(root) for root in asked if root]
    return [place for root in roots for place in (root / name, root)]


def locate(name: str, split: str, *, folder=None, allow_unverified: bool = False) -> list[Found]:
    """The files of a split, one per part, the published ones before others.

    Raises:
        ReaderError: a file is missing, or only there with a checksum that is not the published one
            and `allow_unverified` is False.
    """
    places = folders(name, folder)
    return [_locate_part(name, part, places, allow_unverified) for part in parts(name, split)]


def _locate_part(name, alternatives: tuple[SourceFile, ...], places, allow_unverified) -> Found:
    others = []
    for place in places:
        for source in alternatives:
            path = place / source.name
            if path.is_file():
                md5 = md5_of(path)
                if md5 == source.md5:
                    return Found(path, md5, True)
                others.append((path, md5, source.md5))
    if not others:
        raise missing(name, alternatives[0], places)
    path, md5, published = others[0]
    if not allow_unverified:
        reason = f"md5 {md5}, published {published}" if published else "no published checksum"
        raise ReaderError(
            f"{path.name} is not the published file of {name} ({reason})",
            path,
            "set 'allow_unverified_data: true' to use it all the same; every result will say so",
        )
    return Found(path, md5, False)


def missing(name: str, source: SourceFile, places, why: str | None = None) -> ReaderError:
    """The error for a file that is nowhere, with its addresses and the place to put it by hand."""
    return ReaderError(
        f"{name}: {source.name} is not on this machine" + (f" ({why})" if why else ""),
        ", ".join(paths.relative(place) for place in places if place.is_dir())
        or "no existing folder",
        f"'make fetch', or get {' or '.join(source.urls)}\n"
        f"        and put it into data/{name}/ or $PARASPIKE_DATA/{name}/",
    )


def md5_of(path: Path) -> str:
    """md5 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
