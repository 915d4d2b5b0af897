"""Where things lie."""

import os

import pytest

from paraspike import paths
from paraspike.errors import ReaderError


def test_the_newest_results_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "results", lambda: tmp_path)
    with pytest.raises(ReaderError, match="run snakemake toy first"):
        paths.newest("toy")
    for age, name in ((20, "old"), (10, "new"), (30, "older")):
        file = tmp_path / name / "toy.nc"
        file.parent.mkdir()
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    assert paths.newest("toy") == tmp_path / "new" / "toy.nc"


def test_what_other_devices_measured_is_found_by_paper(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    assert paths.kept("toy") == []
    for device in ("v100", "h200"):
        (tmp_path / "data" / "measured" / device).mkdir(parents=True)
        for name in ("toy.nc", "bench_layer.nc"):
            (tmp_path / "data" / "measured" / device / name).touch()
    assert paths.kept("toy") == [f"data/measured/{d}/toy.nc" for d in ("h200", "v100")]
