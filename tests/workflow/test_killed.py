"""Kill -9 in the middle of a real experiment, started as the pipeline starts it."""

import os
import signal
import subprocess
import sys
import time

import psutil

from paraspike import paths

OUTPUT = "results/killed/augmentation.nc"
PARAMETERS = {
    "models": ["SPSN-GS"],
    "regimes": ["augmentation"],
    "seeds": [0, 1],
    "train_samples": 100,
    "test_samples": 20,
    "hidden": [32],
    "dt": 0.02,
    "epochs": 40,
    "batch_size": 25,
    "backend": "cpu",
    "scale": "smoke",
    "output": OUTPUT,
}
CALL = f"""
from paraspike.pipeline.runner import run_notebook
run_notebook("notebooks/spsn/augmentation.ipynb", "results/killed/executed.ipynb", {PARAMETERS})
"""


def start(folder):
    """The notebook through the runner, in a session of its own."""
    variables = os.environ | {"PARASPIKE_ROOT": str(folder)}
    return subprocess.Popen([sys.executable, "-c", CALL], env=variables, start_new_session=True)


def kill(process):
    """SIGKILL to the runner's process group and, as a kernel leads a group of its own, to that."""
    kernels = psutil.Process(process.pid).children(recursive=True)
    for group in {process.pid, *(os.getpgid(kernel.pid) for kernel in kernels)}:
        os.killpg(group, signal.SIGKILL)
    process.wait()
    assert kernels and not psutil.wait_procs(kernels, timeout=5)[1]


def test_killed_and_started_again_gives_the_bytes_of_an_undisturbed_run(tmp_path):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        (folder / "data").mkdir(parents=True)
        (folder / "notebooks").symlink_to(paths.root() / "notebooks")
        (folder / "data" / "published").symlink_to(paths.published())
    undisturbed, process = start(calm), start(killed)
    deadline = time.monotonic() + 60
    while not (found := list(killed.glob("results/.checkpoints/*/[!.]*"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    kill(process)
    assert not (killed / OUTPUT).exists(), "it was to be killed in the middle of training"
    again = start(killed)
    assert again.wait(60) == undisturbed.wait(60) == 0
    assert not found[0].parent.exists(), "the second start was to go on from it, then remove it"
    for name in (OUTPUT, OUTPUT.replace(".nc", ".weights.npz")):
        assert (calm / name).read_bytes() == (killed / name).read_bytes()
