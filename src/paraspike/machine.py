"""Facts of the machine and the checkout that go into a run's record: no host name, no path."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paraspike import paths

RECORDED = ("numpy", "scipy", "xarray", "torch", "numba", "triton", "snntorch", "h5netcdf", "h5py")


def device(backend: str) -> str:
    """The processor or accelerator a backend runs on, in words; no host name."""
    if backend == "cuda":
        return _nvidia("name")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def label(backend: str) -> str:
    """How a backend is called in figures, tables and messages."""
    return "ipu (simulated)" if backend == "ipu" else backend


def driver(backend: str) -> str:
    """The accelerator driver's version, "none" on a processor."""
    return _nvidia("driver_version") if backend == "cuda" else "none"


def _command(*words: str) -> str:
    try:
        done = subprocess.run(
            words, cwd=paths.root(), capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _nvidia(field: str) -> str:
    return _command("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader").partition("\n")[
        0
    ]


def commit() -> tuple[str, bool | str]:
    """The checkout's commit and whether files differ from it; "unknown" without git. Where only files came
    along, $PARASPIKE_COMMIT says it: a hash, with a "+" behind it where files differ."""
    if told := os.environ.get("PARASPIKE_COMMIT"):
        return told.rstrip("+"), told.endswith("+")
    changed = _command("git", "status", "--porcelain")
    return _command("git", "rev-parse", "HEAD"), changed if changed == "unknown" else bool(changed)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
