"""What every synthetic set does: check what is asked of it, and hash what its content depends on."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from paraspike.errors import ReaderError


def asked(name: str, split: str, samples: int | None, defaults: Mapping[str, int]) -> int:
    """How many samples of a split are meant.

    Raises:
        ReaderError: unknown split, or no samples asked.
    """
    if split not in defaults:
        raise ReaderError(f"split {split!r} is unknown", name, "train or test")
    samples = defaults[split] if samples is None else samples
    if samples < 1:
        raise ReaderError(f"{samples} samples asked", name, "1 or more")
    return samples


def content_hash(module: str, difficulty) -> str:
    """Hash of everything the content depends on besides split, samples and seed: the difficulty, a dataclass,
    and the generator's own code (`module` is its `__file__`)."""
    digest = hashlib.sha256(repr(dataclasses.astuple(difficulty)).encode())
    package = Path(__file__).parents[1]
    for source in (Path(module), package / "datasets" / "events.py", package / "randomness.py"):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
