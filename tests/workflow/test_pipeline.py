"""The workflow, driven as a reader drives it, on a toy paper without torch."""

import contextlib
import json
import re
import zipfile

import pytest
import xarray as xr
from toy import PAPER_TARGET, snakemake

from paraspike.pipeline import config, estimate, plan

DRY = ("--quiet", "host", "-n")


def jobs(text: str) -> set[str]:
    """The rules a dry run would execute."""
    return set(re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)) - {"all"}


@contextlib.contextmanager
def edited(file, old: str, new: str):
    """A file with some text replaced inside the block."""
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new))
    try:
        yield
    finally:
        file.write_text(before)


def test_bare_snakemake_builds_everything(built):
    run = built.folder / "results" / "quick-cpu"
    for name in ("toy.nc", "claims.csv", "figures/toy/line.svg", "figures/toy/line.png"):
        assert (run / name).stat().st_size > 0
    tree = xr.open_datatree(run / "toy.nc", engine="h5netcdf")
    assert set(tree.children) == {"first", "second"}
    assert re.search(r"toy first, \d+ s: x is 1.0 for 2 \(1 of 2 runs left\)", built.out)
    assert re.search(r"toy second, \d+ s: x is 1.0 for 1 \(0 of 2 runs left\)", built.out)
    assert "figures:   results/quick-cpu/figures\n" in built.out
    assert "over budget" not in built.out


def test_paper_scale_run_survives_a_bare_snakemake(built):
    assert (built.folder / PAPER_TARGET).read_bytes() == built.paper_bytes
    again = snakemake(built.folder, *DRY, PAPER_TARGET, "--config", "scale=paper")
    assert "Nothing to be done" in again.out


def test_parts_of_a_split_experiment_are_merged(built):
    folder = built.folder / "results/paper-cpu/runs/toy"
    assert {f.name for f in (folder / "first").glob("*.nc")} == {"models-LIF.nc", "models-ReLU.nc"}
    with xr.open_dataset(folder / "first.nc", engine="h5netcdf") as merged:
        assert list(merged.model.values) == ["LIF", "ReLU"]
    with zipfile.ZipFile(folder / "first.weights.npz") as weights:
        assert sorted(weights.namelist()) == ["LIF.npy", "ReLU.npy"]


def test_editing_plots_reruns_figures_only(built):
    with edited(built.folder / "src/paraspike/plots.py", "width", "height"):
        assert jobs(snakemake(built.folder, *DRY).out) == {"toy_figures", "toy_pages"}


def test_editing_a_training_module_reruns_the_runs(built):
    with edited(built.folder / "src/paraspike/training.py", "np.ones(2)", "np.ones(3)"):
        found = jobs(snakemake(built.folder, *DRY).out)
    assert {"toy_first", "toy_second"} <= found


def test_editing_markdown_reruns_nothing(built):
    with edited(built.folder / "notebooks/toy/first.ipynb", "# Toy", "# A better title"):
        assert "Nothing to be done" in snakemake(built.folder, *DRY).out


def test_editing_published_numbers_draws_and_judges_again(built):
    published = built.folder / "data/published"
    with (
        edited(published / "toy/table.csv", "1", "2"),
        edited(published / "claims.yaml", "]", "] "),
    ):
        found = jobs(snakemake(built.folder, *DRY).out)
    assert found == {"toy_figures", "toy_pages", "toy_judged", "claims_table"}


def test_a_paper_over_its_budget_is_named(project):
    made = plan.build(config.load({"backend": "cpu"}))
    assert 1 < estimate.spent(made, "toy") < 100
    assert estimate.budget_lines(made) == []
    made.papers["toy"] = made.papers["toy"].model_copy(update={"budget": 0.5})
    [line] = estimate.budget_lines(made)
    assert re.match(r"over budget: toy took about \d+ s, its budget is 0 s", line)


def test_estimate_uses_this_machine_where_it_can(project):
    made = plan.build(config.load({"backend": "cpu", "scale": "paper"}))
    first, second = estimate.rows(made)
    # The quick run took 3 s for two models and two epochs; here are two models and 200 epochs.
    assert first["hours"] * 3600 == pytest.approx(3.0 / 4 * 400 + 2 * estimate.OVERHEAD_SECONDS)
    assert (first["runs"], second["runs"]) == (2, 1)
    assert first["rate_from"] == "this machine's quick run"
    assert "Estimated, not measured: results/paper-cpu" in estimate.table(made)


def test_slurm_profile_dry_run(built):
    profile = ("--profile", "profiles/slurm", "--config", "run=on-slurm")
    done = snakemake(built.folder, *DRY, *profile)
    assert done.returncode == 0, done.out
    assert jobs(done.out) >= {"toy_first", "toy_second", "toy_figures"}
    assert "slurm_partition=debug" in done.out
    assert done.out.count("slurm_extra=--exclusive") == 1


def test_report_holds_figures_claims_and_notebooks(built):
    target = "results/quick-cpu/report.zip"
    done = snakemake(built.folder, "--report", target)
    assert done.returncode == 0, done.out
    with zipfile.ZipFile(built.folder / target) as archive:
        names = " ".join(archive.namelist())
    for wanted in ("line.svg", "claims.csv", "first.html", "figures.html"):
        assert wanted in names


def test_failure_is_told_in_ten_lines_and_the_notebook_is_kept(built):
    folder, lines = built.failed_folder, built.failed_out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("notebooks/toy/first.ipynb"))
    told = lines[
        start : next(i for i, line in enumerate(lines) if line.startswith("RuleException"))
    ]
    assert len(told) <= 10
    assert re.search(r"cell \[\d\], line 5", told[0])
    assert told[1].strip() == "raise ValueError('asked to fail')"
    assert told[2] == "ValueError: asked to fail"
    kept = folder / "results/failing/notebooks/toy/first.ipynb"
    assert f"open: {kept.relative_to(folder)}" in "\n".join(told)
    book = json.loads(kept.read_text())
    assert any(o["output_type"] == "error" for c in book["cells"] for o in c.get("outputs", []))
    assert (folder / "results/failing/logs/toy/first.log").read_text().splitlines() == told


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("dataset=shd", ("shd_train.h5", "data/shd/")),
        ("backnd=cpu", ("'backnd'", "did you mean 'backend'?")),
    ],
)
def test_message_for_the_reader_is_short_and_names_the_cure(built, values, names):
    done = snakemake(built.folder, "--config", values)
    chatter = ("Using workflow", "Config file", "paraspike:", "Assuming", "Building DAG")
    message = [line for line in done.out.splitlines() if line and not line.startswith(chatter)]
    assert done.returncode == 1
    assert len(message) <= 5
    assert all(name in "\n".join(message) for name in names)
