"""The runner alone: what papermill would let pass, and what happens when a kernel ends."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from toy import environment, notebook

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
