"""minimal.py <paper> <experiment> ...: the plain command where only a GPU machine's few packages are found.

Hidden is every package that none of them requires. With TRITON_INTERPRET=1 backend cuda runs on CPU tensors.
"""

import importlib.metadata as metadata
import os
import re
import runpy
import sys
from pathlib import Path

FEW = ("torch", "triton", "numpy", "scipy", "h5py", "xarray", "seaborn", "pandas")


class Without:
    """A finder that does not find what is hidden."""

    def __init__(self, finder, hidden):
        self.finder, self.hidden = finder, hidden

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *more):
        return None if name.split(".")[0] in self.hidden else self.finder.find_spec(name, *more)


def name_of(text):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", text)[0]).lower()


def hidden():
    waiting, seen = list(FEW), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [name_of(w) for w in wanted if "extra ==" not in w]
    owners = metadata.packages_distributions().items()
    return {module for module, by in owners if not any(name_of(o) in seen for o in by)}


if __name__ == "__main__":
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if interpreted:
        runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    without = hidden() - {"paraspike"}
    before = set(sys.modules)
    sys.meta_path[:] = [Without(finder, without) for finder in sys.meta_path]
    import torch

    from paraspike import backends
    from paraspike.pipeline import plain

    if interpreted and not torch.cuda.is_available():
        backends.available = lambda backend: True
        backends.device = lambda backend: torch.device("cpu")
    status = plain.main(sys.argv[1], sys.argv[2:])
    found = {module.split(".")[0] for module in set(sys.modules) - before} & without
    sys.exit(status or (f"imported: {found}" if found else 0))
