"""Energy counters of this machine: RAPL for processors and memory, NVML for NVIDIA boards.

RAPL is three text files a domain, and no library stands between: of those at hand zeus 0.16 reports
a whole range too much for a window that begins just after a wrap and takes `psys` for one more
package, pyRAPL (2019) and pyJoules (2020) ignore wraps, and codecarbon fills gaps by estimates.
NVML is read through nvidia-ml-py (envs/cuda.txt).
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paraspike.errors import ReaderError

POWERCAP = Path("/sys/class/powercap")
DEVICES = ("cpu", "cuda")

# Seconds between samples of a power, as the e-prop paper sampled nvidia-smi.
SAMPLE = 0.01

_CURE = (
    "sudo chmod a+r {root}/intel-rapl:*/energy_uj (until the next boot), or for a group you are "
    "in: sudo chgrp GROUP and sudo chmod g+r on the same files (a udev rule keeps it)"
)


@dataclass(frozen=True)
class Counter:
    """A counter that could be read when it was found.

    read() gives joules since some time past or, with `is_power`, watts now; wraps: joules after
    which it starts again from 0; device: "cpu" or "cuda".  RAPL advances every 1 ms, NVML's energy
    every 20 to 100 ms, and a window should last 100 times as long: 10 s on a GPU.
    """

    name: str
    covers: str
    device: str
    read: Callable[[], float]
    is_power: bool = False
    wraps: float = math.inf


def counters(device: str | None = None) -> list[Counter]:
    """The energy counters of `device`, "cpu" or "cuda" (None: both), that can be read; maybe none.

    Raises:
        ReaderError: another device.
    """
    return _scan(device)[0]


def why_none(device: str | None = None) -> str:
    """Why `counters(device)` is empty, with the cure; "" if it is not."""
    found, reasons = _scan(device)
    return "" if found else "no energy counter can be read: " + "; ".join(reasons)


def _scan(device: str | None) -> tuple[list[Counter], list[str]]:
    """Counters, and a sentence for each thing that could not be read."""
    if device is not None and device not in DEVICES:
        raise ReaderError(
            f"no energy counters are known for {device!r}", "device", f"one of {DEVICES}, or None"
        )
    readers = {"cpu": _rapl, "cuda": _nvml}
    parts = [read() for name, read in readers.items() if device in (None, name)]
    return [c for found, _ in parts for c in found], [r for _, reasons in parts for r in reasons]


def _rapl(root: Path | None = None) -> tuple[list[Counter], list[str]]:
    """Packages, and memory where it has its own domain; psys, core and uncore would count twice.

    All of them or none: a sum that lacks one would pass for the whole.
    """
    root = root or POWERCAP
    found, reasons = [], []
    for folder in sorted(root.glob("intel-rapl:*")):
        name = f"RAPL domain {folder.name}"
        try:
            domain = (folder / "name").read_text().strip()
            if domain == "dram":
                package = folder.with_name(folder.name.rpartition(":")[0])
                domain, covers = f"dram of {(package / 'name').read_text().strip()}", "memory"
            elif domain.startswith("package"):
                covers = "the whole processor package, whoever uses it"
            else:
                continue
            name = "RAPL " + domain.replace("-", " ")
            wraps = _microjoules(folder / "max_energy_range_uj")
            read = partial(_microjoules, folder / "energy_uj")
            read()
        except PermissionError:
            cure = _CURE.format(root=root)
            reasons.append(f"{name} may not be read by this user; cure: {cure}")
        except (OSError, ValueError) as error:
            reasons.append(f"{name} cannot be read: {error}")
        else:
            found.append(Counter(name, covers, "cpu", read, wraps=wraps))
    if reasons:
        return [], reasons
    if not found:
        missing = f"{root} does not exist" if not root.is_dir() else f"{root} holds no package"
        reasons.append(f"no RAPL domain is readable: {missing}")
    return found, reasons


def _microjoules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _nvml() -> tuple[list[Counter], list[str]]:
    """Whole boards that CUDA_VISIBLE_DEVICES leaves visible (NVML numbers them by PCI bus)."""
    try:
        import pynvml
    except ImportError:
        return [], ["no NVML: pip install nvidia-ml-py, as envs/cuda.txt has it"]
    try:
        pynvml.nvmlInit()
        boards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return [], [f"no NVIDIA driver (NVML: {error})"]
    found, reasons = [], []
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    for index, board in enumerate(boards):
        if asked is not None and not _visible(asked, index, pynvml.nvmlDeviceGetUUID(board)):
            continue
        number = f" {index}" if len(boards) > 1 else ""
        name = f"NVML {pynvml.nvmlDeviceGetName(board)}{number}"
        for call, is_power in (
            (pynvml.nvmlDeviceGetTotalEnergyConsumption, False),
            (pynvml.nvmlDeviceGetPowerUsage, True),
        ):
            read = partial(_thousandth, call, board)
            try:
                read()
            except pynvml.NVMLError as error:
                reason = f"{name} reports neither energy nor power (NVML: {error})"
            else:
                covers = "the whole board" + (f", power every {SAMPLE:g} s" if is_power else "")
                found.append(Counter(name, covers, "cuda", read, is_power))
                break
        else:
            reasons.append(reason)
    if not found and not reasons:
        hidden = f"CUDA_VISIBLE_DEVICES={asked} names none (NVML counts boards, not MIG slices)"
        reasons.append(f"no NVIDIA GPU: {hidden if boards else 'the driver lists none'}")
    return found, reasons


def _visible(asked: str, index: int, uuid: str) -> bool:
    names = [name.strip() for name in asked.split(",")]
    return any(name == str(index) or (name and uuid.startswith(name)) for name in names)


def _thousandth(call, board) -> float:
    return call(board) / 1e3
