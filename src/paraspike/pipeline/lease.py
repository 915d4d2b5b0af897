"""One GPU for one run: lock files share a machine's GPUs out where no scheduler does."""

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def gpu(backend: str):
    """Hold one GPU for a CUDA run through a lock file and show the kernel that one only.

    Nothing is done for other backends, under Slurm (which has handed out GPUs already), or where no
    GPU can be counted.
    """
    gpus = _gpus() if backend == "cuda" and "SLURM_JOB_ID" not in os.environ else []
    if not gpus:
        yield
        return
    from filelock import FileLock, Timeout

    folder = Path(tempfile.gettempdir())
    while True:
        for index in gpus:
            try:
                held = FileLock(folder / f"paraspike-{os.getuid()}-gpu-{index}.lock").acquire(
                    timeout=0
                )
            except Timeout:
                continue
            with held, variables_set({"CUDA_VISIBLE_DEVICES": index}):
                yield
            return
        time.sleep(0.5)


def _gpus() -> list[str]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [index for index in given.split(",") if index]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


@contextmanager
def variables_set(variables: Mapping[str, str]):
    """Environment variables set inside the block, as before after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
