"""paraspike: five ways to train spiking neural networks faster, on one engine."""

import importlib

__version__ = "0.1.0"

_EXPORTS = {
    "Layer": "paraspike.layer",
    "Network": "paraspike.network",
    "Spikes": "paraspike.spikes",
    "ReaderError": "paraspike.errors",
}


def __getattr__(name: str):
    """Import what is asked for only then: `import paraspike` alone costs nothing."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'paraspike' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
