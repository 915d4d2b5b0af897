import importlib.util
import subprocess
import sys

import pytest
import torch

from paraspike import backends
from paraspike.errors import ReaderError


def test_auto_picks_what_is_there():
    assert backends.resolve("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_names_the_cure_in_five_lines():
    with pytest.raises(ReaderError, match="backend=cpu") as error:
        backends.resolve("cuda")
    assert len(str(error.value).splitlines()) <= 5


@pytest.mark.parametrize(
    "name, word",
    [("cdua", "did you mean 'cuda'"), ("tpu9", "one of|did you mean")],
)
def test_unknown_and_empty_backends(name, word):
    with pytest.raises(ReaderError, match=word):
        backends.resolve(name)


def test_every_entry_of_the_table_exists():
    for name, row in backends.TABLE.items():
        for backend in row:
            if backend == "cuda" and importlib.util.find_spec("triton") is None:
                continue
            assert callable(backends.operator(name, backend))


def test_triton_is_imported_by_the_cuda_operators_alone():
    code = "import sys, paraspike.layer, paraspike.backends as b; b._operators('reference')"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('triton' in sys.modules)"], check=True)


def test_a_missing_operator_is_named():
    with pytest.raises(ReaderError, match="backend reference lacks operator layer"):
        backends.operator("layer", "reference")
