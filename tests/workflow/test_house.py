"""Files that must agree with each other: environments, notebooks, papers, captions."""

import json
import re
import subprocess

import pytest
import torch
import yaml

from paraspike import paths
from paraspike.pipeline.description import read_papers

ROOT = paths.root()
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
LINES = 150


def requirements(name: str) -> dict[str, str]:
    """Package -> version clause of envs/<name>, `-r` followed."""
    found = {}
    for line in (ROOT / "envs" / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= requirements(line[3:].strip())
        elif line and not line.startswith("#"):
            package, clause = re.fullmatch(r"([A-Za-z0-9._-]+)((?:==|~=|>=)[\w.]+)", line).groups()
            found[package.lower()] = clause
    return found


def test_environments_parse_and_agree():
    cpu, cuda = requirements("cpu.txt"), requirements("cuda.txt")
    assert cpu["torch"] == "~=2.13.0"
    assert {k: v for k, v in cuda.items() if k in cpu} == cpu
    assert all(clause.startswith("==") for name, clause in cpu.items() if name != "torch")
    for kind in ("cpu", "cuda"):
        environment = yaml.safe_load((ROOT / "envs" / f"{kind}.yaml").read_text())
        python, _, pip = environment["dependencies"]
        assert python == "python=3.11"
        assert pip == {"pip": [f"-r {kind}.txt"]}
    files = [*(ROOT / "envs").iterdir(), ROOT / "Makefile", ROOT / "pyproject.toml"]
    assert not any("://" in file.read_text() for file in files)


def test_make_targets_echo_the_plain_commands():
    targets = ("all", "test", "lab", "fetch", "lint", "clean")
    made = subprocess.run(
        ["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for command in ("snakemake --report results/", "--durations=10", "jupyter lab"):
        assert command in made
    assert "results/.checkpoints" in made
    for command in ("ruff check", "snakefmt --check", "snakemake --lint", "NUMBA_NUM_THREADS=1"):
        assert command in made


def test_every_rule_names_its_environment():
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        rules = re.split(r"^\s*rule\b", file.read_text(), flags=re.MULTILINE)[1:]
        assert rules or file.stem == "common"
        assert all("conda:" in rule and "log:" in rule and '"""' in rule for rule in rules), file


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_notebook_is_plain_short_and_parameterised(file):
    book = json.loads(file.read_text())
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    assert "papermill" not in book["metadata"]
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    tags = [tag for cell in code for tag in cell["metadata"].get("tags", [])]
    assert tags.count("parameters") == 1
    lines = [line for cell in code for line in "".join(cell["source"]).splitlines() if line.strip()]
    assert len(lines) < LINES
    assert book["cells"][0]["cell_type"] == "markdown"
    assert "".join(book["cells"][0]["source"]).startswith("# ")


@pytest.mark.parametrize(
    ("name", "paper"), read_papers().items(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_paper_has_its_notebooks_and_captions(name, paper):
    wanted = {*paper.experiments, "figures"}
    assert {f.stem for f in (ROOT / "notebooks" / name).glob("*.ipynb")} == wanted
    captions = ROOT / "workflow" / "report" / name
    assert {f.stem for f in captions.glob("*.rst")} == set(paper.figures)
    for caption in captions.glob("*.rst"):
        sentences = len(re.findall(r"[.!?](?:\s|$)", caption.read_text()))
        assert 3 <= sentences <= 6, f"{caption.name}: {sentences} sentences"


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readmes_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    names = {"x": torch.ones(5, 4, 700), "targets": torch.arange(4)}
    for code in blocks:
        exec(code, names)
    assert names["logits"].shape == (64, 20) and names["spikes"].shape == (5, 4, 20)
    names["loss"].backward()
    assert names["net"][0].weight.grad.any()
    assert (
        len(blocks) == 5
        and names["counts"].shape == (4, 20)
        and names["deep"].depth == 2
        and names["gradients"][3].any()
    )
