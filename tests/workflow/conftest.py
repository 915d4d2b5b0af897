"""Toy projects, built once: one at paper and at quick scale, one whose notebook fails."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy import PAPER_TARGET, make, snakemake

FAIL = ("toy_first", "--config", "run=failing", "overrides={toy: {first: {fail: true}}}")


@dataclass(frozen=True)
class Built:
    """A toy's folder, what the bare build printed, its paper-scale file as it was before that, and
    the folder and output of another toy whose notebook fails."""

    folder: Path
    out: str
    paper_bytes: bytes
    failed_folder: Path
    failed_out: str


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    """A toy after a paper-scale run and a bare `snakemake`, and beside it one that failed."""
    folder = make(tmp_path_factory.mktemp("toy"))
    failing = make(tmp_path_factory.mktemp("failing"))
    paper = snakemake(folder, PAPER_TARGET, "--config", "scale=paper")
    assert paper.returncode == 0, paper.out
    before = (folder / PAPER_TARGET).read_bytes()
    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(snakemake, failing, *FAIL)
        bare = snakemake(folder)
    assert bare.returncode == 0, bare.out
    assert failed.result().returncode == 1
    return Built(folder, bare.out, before, failing, failed.result().out)


@pytest.fixture
def project(built, monkeypatch) -> Path:
    """The toy as the repository of this process and of the kernels it starts."""
    monkeypatch.setenv("PARASPIKE_ROOT", str(built.folder))
    monkeypatch.setenv("PYTHONPATH", str(built.folder / "src"))
    monkeypatch.delenv("PARASPIKE_DATA", raising=False)
    return built.folder
