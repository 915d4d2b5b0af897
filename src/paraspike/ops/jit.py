"""numba.njit with a disk cache that notices edits in imported helpers.

Numba keys its cache on the file of the decorated function alone, so an edited helper in another
module goes unseen; here the cache folder carries the hash of every kernel source.
"""

import functools
import hashlib
import os
import warnings
from pathlib import Path

try:
    import numba
except ImportError as error:
    # Also one that is there and refuses this NumPy.
    numba = None
    warnings.warn(
        f"{error}: backend cpu cannot run, and the host's share of others is slow", stacklevel=1
    )


@functools.cache
def cache_folder() -> Path:
    """<user cache>/paraspike/numba-<hash of the kernel sources>; $PARASPIKE_CACHE moves its root."""
    package = Path(__file__).parents[1]
    sources = [
        *package.glob("ops/**/*.py"),
        *package.glob("datasets/*.py"),
        package / "randomness.py",
    ]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    root = os.environ.get("PARASPIKE_CACHE") or (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paraspike"
    )
    return Path(root) / f"numba-{digest.hexdigest()[:16]}"


def njit(function=None, **options):
    """numba.njit that frees the GIL, divides as NumPy does and caches into `cache_folder()`; without numba
    the function as it is, which gives the same bits, slowly."""
    if function is None:
        return functools.partial(njit, **options)
    if numba is None:
        return function
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        # The Python error model would test every divisor for zero, which keeps loops scalar.
        defaults = {"nogil": True, "cache": True, "error_model": "numpy"}
        return numba.njit(**defaults | options)(function)
    finally:
        numba.config.CACHE_DIR = before
