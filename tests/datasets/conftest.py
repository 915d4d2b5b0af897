import os
from pathlib import Path

import pytest


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty repository: no data, no cache, PARASPIKE_DATA not set."""
    (tmp_path / "house" / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("PARASPIKE_ROOT", str(tmp_path / "house"))
    monkeypatch.delenv("PARASPIKE_DATA", raising=False)
    monkeypatch.setenv("PARASPIKE_PROGRESS", "0")
    return tmp_path / "house"


@pytest.fixture
def real():
    """A folder with a file of the real data sets; skips where there is none."""
    folder = os.environ.get("PARASPIKE_DATA")

    def find(name):
        if not folder:
            pytest.skip("PARASPIKE_DATA is not set")
        path = Path(folder) / name
        if not path.exists():
            pytest.skip(f"{name} is not in PARASPIKE_DATA")
        return path

    return find
