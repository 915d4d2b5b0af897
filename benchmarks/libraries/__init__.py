"""One adapter per library, all with the same small interface.

Each module has PACKAGES (distributions whose versions are recorded), DIFFERS (what it computes
otherwise, or ""), `modes(workload)` (names of the ways it offers, () where it offers none), and
`build(workload, mode, data) -> Runner`. Nothing heavy is imported before `build`.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np

from paraspike.errors import ReaderError

# Ours first, then the yardstick, which is no library: a loop in torch, also the truth for outputs.
OURS, NEAR, YARDSTICK = "paraspike", "paraspike near", "torch loop"
# Not taken for the fastest peer: Brian2 runs another algorithm, one image at a time.
NO_PEERS = (OURS, NEAR, YARDSTICK, "brian2")
_MODULES = {
    OURS: "ours",
    NEAR: "ours_near",
    YARDSTICK: "plain",
    "snntorch": "snntorch",
    "spikingjelly": "spikingjelly",
    "norse": "norse",
    "sinabs": "sinabs",
    "spyx": "spyx",
    "bindsnet": "bindsnet",
    "brian2": "brian2",
}
NAMES = tuple(_MODULES)


class Runner(Protocol):
    """A network ready to run on its input; one with a `remark()` has a line for its note."""

    def step(self) -> None:
        """One training step, one inference or one STDP presentation, as the workload says."""

    def outputs(self) -> dict[str, np.ndarray]:
        """spikes1.. : spikes of each layer's neurons over time [B, N] (summed over B for STDP);
        loss [] and gradient1.. [N_in, N_out] for training, weights1.. after STDP."""

    def restore(self) -> None:
        """Put the workload's weights back, outside what is timed."""


def adapter(name: str):
    """The module of one library.

    Raises:
        ReaderError: there is none.
    """
    if name not in _MODULES:
        raise ReaderError(
            f"library {name!r} has no adapter", "benchmarks/libraries", f"one of {', '.join(NAMES)}"
        )
    return importlib.import_module(f"benchmarks.libraries.{_MODULES[name]}")


def versions(name: str) -> str:
    """Versions of the packages behind an adapter, "not installed" where one is missing."""
    found = []
    for package in adapter(name).PACKAGES:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("not installed")
    return " / ".join(found)
