import importlib.util
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_a_precision_that_a_backend_lacks_is_refused(precision):
    ops = backends.operators("reference")
    assert backends.operators("reference", "float32") is ops
    with pytest.raises(ReaderError, match=f"'{precision}'.*\n.*backend reference\n.*float32"):
        backends.operators("reference", precision)


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


def test_a_package_that_an_operator_needs_is_named(monkeypatch):
    monkeypatch.setitem(backends.TABLE, "lif", {"cuda": ("lif.cuda", "lif", "Triton")})
    error = ModuleNotFoundError("No module named 'triton'", name="triton")
    monkeypatch.setattr(
        backends.importlib, "import_module", lambda name: (_ for _ in ()).throw(error)
    )
    with pytest.raises(ReaderError, match="needs triton, which is not installed"):
        backends.operator("lif", "cuda")


def test_a_numba_that_refuses_this_numpy_takes_backend_cpu_alone(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    code = (
        "from paraspike import backends\nprint(backends.operators('reference').backend)\n"
        "try: backends.resolve('cpu')\nexcept backends.ReaderError as error: print(error)"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    told = done.stdout.splitlines()
    assert told[0] == "reference" and "needs numba, which cannot be imported" in told[1]
    assert "NumPy 2.4 or less: backend cpu cannot run" in done.stderr


def test_a_cuda_row_says_triton_if_its_files_have_kernels():
    folder = Path(backends.__file__).parent / "ops"
    for name, row in backends.TABLE.items():
        if "cuda" in row:
            module, _, what = row["cuda"]
            operator, file = module.split(".")
            files = [
                folder / operator / f"{file}.py",
                *(folder / operator).glob("*cuda*.py"),
            ]
            kernels = any("import triton" in f.read_text() for f in files)
            assert ("Triton" in what) == kernels == (file == "cuda"), (name, what)
