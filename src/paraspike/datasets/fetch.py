"""Getting data sets: two addresses, retries, broken downloads resumed, checksum before the name."""

import os
from pathlib import Path

import pooch
import requests

from paraspike import paths
from paraspike.datasets.locate import folders, md5_of, missing
from paraspike.datasets.registry import DATASETS, SourceFile, dataset
from paraspike.errors import ReaderError
from paraspike.progress import tqdm

RETRIES = 2
_CHUNK = 1 << 16
_TIMEOUT = (10, 60)


class Resuming:
    """A pooch downloader that goes on where a broken download stopped.

    What has arrived is kept as <target>.part until it is whole; a server that does not know ranges
    sends everything again.
    """

    def __init__(self, target: Path):
        self.part = target.with_name(f".{target.name}.part")

    def __call__(self, url, output_file, _keeper):
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            whole = (
                have > 0 and answer.status_code == requests.codes.requested_range_not_satisfiable
            )
            if not whole:
                answer.raise_for_status()
                go_on = answer.status_code == requests.codes.partial_content
                self._receive(answer, have if go_on else 0)
        os.replace(self.part, output_file)

    def _receive(self, answer, have):
        left = answer.headers.get("Content-Length")
        bar = tqdm(
            total=have + int(left) if left else None,
            initial=have,
            desc=self.part.name.removeprefix(".").removesuffix(".part"),
            unit="B",
            unit_scale=True,
            disable=os.environ.get("PARASPIKE_PROGRESS") == "0",
        )
        with bar, open(self.part, "ab" if have else "wb") as file:
            for piece in answer.iter_content(_CHUNK):
                file.write(piece)
                bar.update(len(piece))


def fetch(name: str, *, allow_unverified: bool = False) -> list[Path]:
    """Every file of a data set, on this machine afterwards: found, or fetched into data/<name>/.

    Args:
        allow_unverified: be content with a file already there that is not the published one.

    Returns:
        One path per file; none for sets that are made here.

    Raises:
        ReaderError: no address gave the published file, or another file lies in its place.
    """
    found = dataset(name)
    files = [part for split in found.parts.values() for part in split]
    return [_fetch_part(name, alternatives, allow_unverified) for alternatives in files]


def _fetch_part(name, alternatives: tuple[SourceFile, ...], allow_unverified) -> Path:
    others = []
    for place in folders(name):
        for source in alternatives:
            path = place / source.name
            if path.is_file():
                if md5_of(path) == source.md5:
                    return path
                others.append(path)
    if others and allow_unverified:
        return others[0]
    source = alternatives[0]
    target = paths.root() / "data" / name / source.name
    if target in others:
        raise ReaderError(
            f"{source.name} is there, but is not the published file of {name}",
            target,
            "move it away to fetch the published one, or use it: 'allow_unverified_data: true'",
        )
    return download(name, source, target)


def download(name: str, source: SourceFile, target: Path) -> Path:
    """One file from the first of its addresses that gives the published content.

    Raises:
        ReaderError: none did; names the file, its addresses and where to put it by hand.
    """
    checksum = f"sha256:{source.sha256}" if source.sha256 else f"md5:{source.md5}"
    failures = []
    for url in source.urls:
        keeper = pooch.create(
            path=target.parent,
            base_url="",
            registry={source.name: checksum},
            urls={source.name: url},
            retry_if_failed=RETRIES,
        )
        try:
            return Path(keeper.fetch(source.name, downloader=Resuming(target)))
        except requests.exceptions.RequestException as error:
            failures.append(_reason(error))
        except ValueError:
            failures.append("what came is not the published file")
    raise missing(name, source, folders(name), "; ".join(dict.fromkeys(failures)))


def _reason(error):
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server answered {answer.status_code}"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    return "no connection" if isinstance(error, requests.exceptions.ConnectionError) else str(error)


def fetch_all(names: list[str], *, allow_unverified: bool = False) -> list[ReaderError]:
    """Fetch data sets one after the other, one line each; what could not be had is returned."""
    failures = []
    for name in names or list(DATASETS):
        try:
            files = fetch(name, allow_unverified=allow_unverified)
            where = ", ".join(paths.relative(path) for path in files)
            print(f"{name}: {where or 'made on this machine'}")
        except ReaderError as error:
            failures.append(error)
    return failures
