"""The runner alone: what papermill would let pass, and what happens when a kernel ends."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import psutil
import pytest
from toy import environment, notebook

from paraspike.datasets import shd
from paraspike.datasets.events import Recordings
from paraspike.errors import ReaderError
from paraspike.pipeline.lease import gpu
from paraspike.pipeline.runner import NotebookFailed, run_notebook


def test_unknown_parameter_is_refused_before_anything_runs(project):
    with pytest.raises(ReaderError, match="unknown parameter 'epoch'(?s:.*)did you mean 'epochs'"):
        run_notebook("notebooks/toy/first.ipynb", "results/x.ipynb", {"epoch": 3})
    assert not (project / "results/x.ipynb").exists()


def test_dead_kernel_is_told_and_the_notebook_kept(project):
    notebook(
        project / "notebooks/toy/dying.ipynb",
        ("n = 1", ["parameters"]),
        ("print('so far')", []),
        ("import os\n\nos._exit(9)", []),
    )
    with pytest.raises(NotebookFailed, match="its kernel died") as caught:
        run_notebook("notebooks/toy/dying.ipynb", "results/dying.ipynb", {"n": 2})
    assert len(str(caught.value).splitlines()) <= 5
    book = nbformat.read(project / "results/dying.ipynb", as_version=4)
    assert any("so far" in str(cell.get("outputs")) for cell in book.cells)


def test_what_the_reader_can_cure_is_told_in_five_lines(project, tmp_path, monkeypatch):
    recordings = Recordings(
        ticks=np.linspace(0.0, 0.5, 40),
        units=np.arange(40),
        offsets=np.array([0, 20, 40]),
        labels=np.array([3, 7]),
        speakers=None,
        ticks_per_second=1,
        n_units=700,
        n_classes=20,
    )
    file = tmp_path / "shd" / "shd_train.h5"
    file.parent.mkdir()
    shd.write(file, recordings)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("PARASPIKE_DATA", str(tmp_path))
    notebook(
        project / "notebooks/toy/loading.ipynb",
        ("allow = False", ["parameters"]),
        ("from paraspike.datasets import load\n\nload('shd', 'train', allow_unverified=allow)", []),
    )
    executed = "results/loading.ipynb"
    for allow, names in (
        (True, ["shd_train.h5 cannot be read", "damaged or of another kind"]),
        (False, ["is not the published file of shd", "allow_unverified_data: true"]),
    ):
        with pytest.raises(NotebookFailed) as caught:
            run_notebook("notebooks/toy/loading.ipynb", executed, {"allow": allow}, "results/l.log")
        lines = str(caught.value).splitlines()
        assert len(lines) <= 5 and lines[-1].startswith(f"  open: {executed}")
        assert all(name in str(caught.value) for name in [*names, str(file)]), lines
        assert (project / "results/l.log").read_text().splitlines() == lines


def test_last_cell_runs_the_notebook_again(project):
    executed = project / "results/quick-cpu/notebooks/toy/first.ipynb"
    code = nbformat.read(executed, as_version=4).cells[-1].source
    calls = []
    module = type(sys)("paraspike.pipeline.runner")
    module.run_notebook = lambda *given: calls.append(given)
    exec(code.replace("from paraspike.pipeline.runner import run_notebook", ""), vars(module))
    [(source, copy, parameters)] = calls
    assert (source, copy) == ("notebooks/toy/first.ipynb", "results/scratch/toy/first.ipynb")
    assert parameters == {
        "epochs": 2,
        "backend": "cpu",
        "scale": "quick",
        "output": "results/scratch/toy/first.nc",
    }


def test_sigterm_ends_the_kernel_and_keeps_the_notebook(project, tmp_path):
    call = (
        "from paraspike.pipeline.runner import run_notebook; "
        "run_notebook('notebooks/toy/first.ipynb', 'results/ended.ipynb', {'wait': 60})"
    )
    variables = environment(project) | {"PARASPIKE_ROOT": str(project)}
    process = subprocess.Popen([sys.executable, "-c", call], env=variables, cwd=tmp_path)
    kernels = []
    for _ in range(100):
        kernels = psutil.Process(process.pid).children(recursive=True)
        executed = project / "results/ended.ipynb"
        if kernels and executed.exists() and "injected-parameters" in executed.read_text():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) != 0
    _, alive = psutil.wait_procs(kernels, timeout=5)
    assert kernels and not alive
    assert nbformat.read(project / "results/ended.ipynb", as_version=4).cells


def test_gpu_lease_gives_each_run_another_gpu(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    with gpu("cuda"):
        first = os.environ["CUDA_VISIBLE_DEVICES"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
        with gpu("cuda"):
            assert {first, os.environ["CUDA_VISIBLE_DEVICES"]} == {"6", "7"}
    with gpu("cpu"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "6,7"
