"""What counts as a run's code, on a small package written for the purpose."""

import nbformat
import pytest

from paraspike import provenance

FILES = {
    "__init__.py": '_EXPORTS = {"train": "paraspike.training"}\n',
    "training.py": "from paraspike.learning import bptt\nfrom . import backends, errors\n",
    "errors.py": "",
    "learning/__init__.py": "",
    "learning/bptt.py": "def step():\n    from ..extra import late\n",
    "extra.py": "READER = 'paraspike.reader'\n",
    "reader.py": "",
    "unused.py": "",
    "plots.py": "from paraspike import extra\n",
    "backends.py": "TABLE = {'lif': ('lif.reference', 'lif')}\n",
    "ops/__init__.py": "",
    "ops/helper.py": "",
    "ops/lif/__init__.py": "",
    "ops/lif/reference.py": "import paraspike.ops.helper\n",
    "ops/lif/cpu.py": "",
    "ops/lif/cuda.py": "",
    "ops/lif/cuda_kernels.py": "",
    "ops/lif/kernels_cuda.py": "",
    "ops/lif/rows_cpu.py": "",
    "ops/lif/cudalike.py": "",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package, in place of the real one."""
    folder = tmp_path / "paraspike"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    return folder


def write_notebook(file, *cells):
    """Cells are (kind, text, tags)."""
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    book = nbformat.v4.new_notebook()
    book.cells = [make[kind](text, metadata={"tags": tags}) for kind, text, tags in cells]
    nbformat.write(book, file)
    return file


@pytest.fixture
def notebook(tmp_path):
    """A notebook that trains and plots."""
    return write_notebook(
        tmp_path / "n.ipynb",
        ("markdown", "# Title", []),
        ("code", "%matplotlib inline\nfrom paraspike import train, plots", []),
        ("code", "seeds = [0]  # seeds", ["parameters"]),
        ("code", "plots.show()", ["plot"]),
    )


def names(package, found):
    return {file.relative_to(package).as_posix() for file in found}


def test_closure_follows_every_kind_of_import(package, notebook):
    assert names(package, provenance.closure(notebook, "cpu")) == {
        "training.py",
        "learning/__init__.py",
        "learning/bptt.py",
        "extra.py",
        "reader.py",
        "backends.py",
        "ops/__init__.py",
        "ops/helper.py",
        "ops/lif/__init__.py",
        "ops/lif/reference.py",
        "ops/lif/cpu.py",
        "ops/lif/rows_cpu.py",
        "ops/lif/cudalike.py",
    }
    with_plots = provenance.closure(notebook, "cpu", exclude=())
    assert "plots.py" in names(package, with_plots)


def test_only_the_run_backend_counts(package, notebook):
    cuda = names(package, provenance.closure(notebook, "cuda"))
    assert {"ops/lif/cuda.py", "ops/lif/cuda_kernels.py", "ops/lif/kernels_cuda.py"} <= cuda
    assert not {"ops/lif/cpu.py", "ops/lif/rows_cpu.py"} & cuda
    reference = names(package, provenance.closure(notebook, "reference"))
    assert {n for n in reference if n.startswith("ops/lif/")} == {
        "ops/lif/__init__.py",
        "ops/lif/reference.py",
        "ops/lif/cudalike.py",
    }


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("training.py", True),
        ("reader.py", True),
        ("ops/lif/cpu.py", True),
        ("ops/lif/cuda.py", False),
        ("ops/lif/cuda_kernels.py", False),
        ("ops/lif/rows_cpu.py", True),
        ("plots.py", False),
        ("errors.py", False),
        ("unused.py", False),
        ("__init__.py", False),
    ],
)
def test_hash_changes_with_what_is_used(package, notebook, name, changes):
    before = provenance.code_hash(notebook, "cpu")
    with (package / name).open("a") as file:
        file.write("# a comment\n")
    assert (provenance.code_hash(notebook, "cpu") != before) == changes


def test_data_beside_a_package_counts(package, notebook):
    before = provenance.code_hash(notebook, "cpu")
    kept = package / "ops" / "kept.jsonl"
    kept.write_text("[1]\n")
    first = provenance.code_hash(notebook, "cpu")
    kept.write_text("[2]\n")
    assert len({before, first, provenance.code_hash(notebook, "cpu")}) == 3


def test_figures_depend_on_plots(package, notebook):
    before = provenance.code_hash(notebook, "cpu", exclude=())
    (package / "plots.py").write_text("# new\n")
    assert provenance.code_hash(notebook, "cpu", exclude=()) != before


@pytest.mark.parametrize(
    ("cell", "changes"), [(0, False), (1, True), (2, True), (3, False)], ids=str
)
def test_hash_sees_code_cells_but_no_markdown_and_no_plots(package, notebook, cell, changes):
    before = provenance.code_hash(notebook, "cpu")
    book = nbformat.read(notebook, as_version=4)
    book.cells[cell].source += "\n# more"
    book.metadata["edited"] = "yes"
    if cell:
        book.cells[cell].outputs = [nbformat.v4.new_output("stream", text="hi")]
    nbformat.write(book, notebook)
    assert (provenance.code_hash(notebook, "cpu") != before) == changes
