"""The plain command on backend cuda, with nothing but the few packages that a GPU machine may have."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

pytest.importorskip("triton")
RUN = (
    "spsn augmentation models=SPSN-SB regimes=augmentation seeds=0,1 train_samples=6 test_samples=3"
    " hidden=4 dt=0.1 epochs=1 batch_size=6 --backend"
)


def run(backend, file):
    script, where = Path(__file__).with_name("minimal.py"), os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, script, *RUN.split(), backend, "--output", file],
        env=os.environ | {"PYTHONPATH": where, "PARASPIKE_PROGRESS": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(file) as found:
        assert found.attrs["backend"] == backend
        return found["loss"][:]


@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available(),
    reason="needs a CUDA device, or TRITON_INTERPRET=1",
)
def test_it_trains_as_the_reference_does(tmp_path):
    ours, wanted = (run(backend, tmp_path / f"{backend}.nc") for backend in ("cuda", "reference"))
    assert ours.size == 2 and np.isfinite(wanted).all()
    np.testing.assert_allclose(ours, wanted, rtol=1e-3)
