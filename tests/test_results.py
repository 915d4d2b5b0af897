"""Runs and their files: repeated bytes, refused Datasets, parts joined as the unsplit run."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import xarray as xr

from paraspike import merging, paths, results
from paraspike.errors import ReaderError
from paraspike.netcdf import canonical_json, write, write_weights

CELL = (
    'seeds = [0, 1]\nmodels = ["LIF", "SPSN-SB"]\nscale = "smoke"\nbackend = "cpu"\noutput = "o.nc"'
)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small repository with one notebook, elsewhere than the working folder."""
    book = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell(CELL)
    cell.metadata["tags"] = ["parameters"]
    book.cells = [nbformat.v4.new_code_cell("import numpy"), cell]
    (tmp_path / "repo/notebooks/spsn").mkdir(parents=True)
    nbformat.write(book, tmp_path / "repo/notebooks/spsn/toy.ipynb")
    (tmp_path / "repo/data/published").mkdir(parents=True)
    (tmp_path / "repo/data/published/papers.yaml").write_text(
        paths.published("papers.yaml").read_text()
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("PARASPIKE_ROOT", str(tmp_path / "repo"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "repo"


def toy(seeds=(0, 1), models=("LIF", "SPSN-SB")):
    """accuracy[model, seed], each value a function of its own coordinates alone."""
    values = [[10.0 * len(m) + s for s in seeds] for m in models]
    data = xr.Dataset(
        {"accuracy": (("model", "seed"), values), "chance": ((), 5.0)},
        coords={"model": list(models), "seed": list(seeds)},
    )
    return results.describe(data, accuracy=("accuracy", "percent"), chance=("chance", "percent"))


def begin(**values):
    namespace = {}
    exec(CELL, namespace)
    return results.Run.begin(namespace | values, paper="spsn", experiment="toy")


class Events(SimpleNamespace):
    def __len__(self):
        return 40


def test_a_run_writes_what_it_was(repository, capsys):
    run = begin(output="results/smoke-cpu/runs/spsn/toy.nc", weights=str(repository / "w.npz"))
    assert run.threads >= 1 and run.backend == "cpu" and run.headline is None
    events = Events(name="shd", split="test", checksum="ab12", verified=False)
    run.checkpoints.mkdir(parents=True)
    file = run.save(toy(), "LIF 30 %", weights={"w": np.eye(3)}, data=[events])
    assert file == repository / "results/smoke-cpu/runs/spsn/toy.nc"
    assert not run.checkpoints.exists()
    assert sorted(p.name for p in file.parent.iterdir()) == [
        "toy.nc",
        "toy.run.json",
        "toy.weights.npz",
    ]
    saved = results.open_run(file)
    assert json.loads(saved.attrs["parameters"]) == {
        "backend": "cpu",
        "models": ["LIF", "SPSN-SB"],
        "scale": "smoke",
        "seeds": [0, 1],
    }
    assert saved.attrs["seeds"] == "[0, 1]" and saved.attrs["references"] == "arXiv:2306.12666"
    assert saved.attrs["dataset"] == "shd" and saved.attrs["data_verified"] == 0
    assert json.loads(saved.attrs["data"])[0]["checksum"] == "ab12"
    xr.testing.assert_equal(saved, toy())
    np.testing.assert_array_equal(
        results.load_weights(run.output.with_suffix(".weights.npz"))["w"], np.eye(3)
    )
    record = json.loads(file.with_suffix(".run.json").read_text())
    assert record["headline"] == run.headline == "LIF 30 %" and record["wall_seconds"] >= 0
    assert {"commit", "dirty", "versions", "device", "threads", "load_before"} <= set(record)
    text = file.read_bytes()
    assert str(repository).encode() not in text and os.uname().nodename.encode() not in text
    assert "LIF 30 %" in capsys.readouterr().out
    again = begin(output="again.nc", weights=str(repository / "w.npz"))
    again.save(toy(), "another headline", weights={"w": np.eye(3)}, data=[events])
    assert again.output.read_bytes() == text


def test_two_processes_write_the_same_bytes(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_results import toy, Path\n"
        "from paraspike.netcdf import write, write_weights\n"
        "import numpy as np\n"
        "write(toy().assign_attrs(zeta='µ', alpha=[1, 2]), Path(sys.argv[2]))\n"
        "write_weights(Path(sys.argv[2] + '.npz'), {'b': np.arange(5.0), 'a': np.eye(2)})"
    )
    here = str(Path(__file__).parent)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, here, str(tmp_path / name)],
            env=os.environ | {"PYTHONHASHSEED": salt},
        )
        for name, salt in (("one", "1"), ("two", "2"))
    ]
    assert [process.wait() for process in running] == [0, 0]
    for suffix in ("", ".npz"):
        one, two = ((tmp_path / f"{n}{suffix}").read_bytes() for n in ("one", "two"))
        assert one == two and len(one) > 100
    with np.load(tmp_path / "one.npz") as archive:
        assert archive.files == ["a", "b"]


def test_bytes_do_not_depend_on_order_or_on_where_the_data_came_from(tmp_path):
    write(toy().assign_attrs(b=1, a=2), tmp_path / "a.nc")
    again = results.open_run(tmp_path / "a.nc").assign_attrs(a=2, b=1)
    again = again[["chance", "accuracy"]].assign_attrs({"a": 2, "b": 1})
    write(again, tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


@pytest.mark.parametrize(
    "spoil, named",
    [
        (lambda d: d.accuracy.attrs.pop("units"), "'accuracy' has no units"),
        (lambda d: d.seed.attrs.pop("long_name"), "'seed' has no long_name"),
        (lambda d: d.attrs.update(note=None), "'note' is a NoneType"),
        (lambda d: d.attrs.update(note={"a": 1}), "'note' is a dict"),
    ],
)
def test_what_cannot_be_understood_later_is_refused_by_name(repository, spoil, named):
    run, data = begin(), toy()
    spoil(data)
    with pytest.raises(ReaderError, match=named):
        run.save(data, "x")
    assert not list(repository.glob("*.nc")) and not list(repository.glob("*.json"))


def test_a_simulated_backend_gives_no_times(repository):
    run = begin(backend="ipu")
    with pytest.raises(ReaderError, match=r"ipu \(simulated\) gives no measured times"):
        run.save(toy(), "x", timed=True)
    assert not list(repository.glob("*.nc"))


def test_a_dimension_needs_a_coordinate(repository):
    with pytest.raises(ReaderError, match="dimension 'seed' has no coordinate"):
        begin().save(toy().drop_vars("seed"), "x")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), paths.replacing(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_parameters_must_have_values_fit_for_json(repository):
    with pytest.raises(ReaderError, match="'seeds' is a ndarray"):
        begin(seeds=np.arange(2))
    with pytest.raises(ReaderError, match="'seeds' has no value"):
        results.Run.begin({"output": "o.nc"}, "spsn", "toy")
    with pytest.raises(ReaderError, match="no such notebook"):
        results.Run.begin({}, "spsn", "absent")
    with pytest.raises(ReaderError, match="does not end in .nc"):
        begin(output="o.txt")


def test_checkpoints_are_kept_apart_by_all_that_weights_depend_on_and_by_output(repository):
    key = begin().checkpoints
    assert begin().checkpoints == key and key.parent == paths.results(".checkpoints")
    assert begin(output="p.nc").checkpoints != key
    assert begin(seeds=[0]).checkpoints != key
    keys = []
    for checksum in ("ab12", "cd34", "cd34"):
        run = begin()
        run.reads(Events(name="shd", split="train", checksum=checksum, verified=False))
        keys.append(run.checkpoints)
    assert keys[1] == keys[2] and len({key, *keys}) == 3


def test_a_run_records_the_data_and_the_results_it_read(repository):
    weights = paths.results("smoke-cpu", "w.npz")
    write_weights(weights, {"w": np.eye(2)})
    run = begin(backend="cpu", scale="results/smoke-cpu/w.npz")
    run.reads(Events(name="shd", split="test", checksum="ab12", verified=True))
    run.checkpoints.mkdir(parents=True)
    saved = results.open_run(run.save(toy(), "x"))
    assert json.loads(saved.attrs["inputs"]) == {"scale": sha256(weights.read_bytes()).hexdigest()}
    assert json.loads(saved.attrs["data"])[0]["checksum"] == "ab12"
    assert saved.attrs["data_verified"] == 1 and not run.checkpoints.exists()


def part(folder, seeds, models, **attrs):
    base = {
        "paper": "spsn",
        "experiment": "toy",
        "scale": "smoke",
        "backend": "cpu",
        "code": "c",
        "operators": "{}",
        "data": canonical_json([{"name": "shd", "checksum": "x"}]),
        "data_verified": 1,
        "seeds": canonical_json(list(seeds)),
        "parameters": canonical_json({"seeds": list(seeds), "models": list(models), "lr": 0.1}),
    }
    file = folder / f"{'-'.join(map(str, seeds))}-{'-'.join(models)}.nc"
    write(toy(seeds, models).assign_attrs(base | attrs), file)
    return file


def test_parts_joined_equal_the_unsplit_run(tmp_path):
    grid = [part(tmp_path, [s], [m]) for m in ("SPSN-SB", "LIF") for s in (3, 0, 11)]
    whole = merging.merge_parts(grid)
    xr.testing.assert_identical(
        whole.drop_attrs(), toy((0, 3, 11), ("SPSN-SB", "LIF")).drop_attrs()
    )
    assert whole.accuracy.attrs == toy().accuracy.attrs
    assert json.loads(whole.attrs["parameters"]) == {
        "seeds": [3, 0, 11],
        "models": ["SPSN-SB", "LIF"],
        "lr": 0.1,
    }
    assert whole.attrs["seeds"] == "[0, 3, 11]"
    assert merging.merge_parts(grid[:1]).equals(toy([3], ["SPSN-SB"]))


def test_parts_that_do_not_make_a_grid_are_refused(tmp_path):
    grid = [part(tmp_path, [s], [m]) for m in ("LIF", "SPSN-SB") for s in (0, 1)]
    with pytest.raises(ReaderError, match="missing"):
        merging.merge_parts(grid[:3])
    with pytest.raises(ReaderError, match="twice"):
        merging.merge_parts([grid[0], *grid])
    with pytest.raises(ReaderError, match="'code'"):
        merging.merge_parts([grid[0], part(tmp_path, [1], ["LIF"], code="d")])
    odd = toy([1], ["LIF"]).assign(chance=((), 6.0, toy().chance.attrs))
    write(odd.assign_attrs(results.open_run(grid[0]).attrs), tmp_path / "odd.nc")
    with pytest.raises(ReaderError, match="do not fit"):
        merging.merge_parts([grid[0], tmp_path / "odd.nc"])


def test_a_paper_is_one_tree(tmp_path):
    parts = [part(tmp_path, [s], ["LIF"]) for s in (0, 1)]
    other = part(tmp_path, [5], ["LIF"], experiment="other")
    for name in ("a.nc", "b.nc"):
        merging.collect([*parts, other], tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    tree = results.open_paper(tmp_path / "a.nc")
    assert set(tree.children) == {"toy", "other"} and tree.attrs["scale"] == "smoke"
    xr.testing.assert_equal(tree["toy"].to_dataset(), toy((0, 1), ("LIF",)))
    assert tree["toy"].accuracy.attrs["units"] == "percent"
    with pytest.raises(ReaderError, match="one paper"):
        merging.collect([parts[0], part(tmp_path, [6], ["LIF"], paper="eprop")], tmp_path / "c.nc")
    with pytest.raises(ReaderError, match="no such results file"):
        results.open_paper(tmp_path / "none.nc")


def test_units_of_seconds_stay_numbers(tmp_path):
    times = results.describe(xr.Dataset({"t": ((), 2.5)}), t=("time", "seconds"))
    write(times, tmp_path / "t.nc")
    assert float(results.open_run(tmp_path / "t.nc").t) == 2.5


def test_weights_of_several_parts(tmp_path):
    write_weights(tmp_path / "a.npz", {"LIF": np.zeros((2, 3))})
    write_weights(tmp_path / "b.npz", {"LIF": np.ones((1, 3)), "ReLU": np.eye(2)})
    joined = results.load_weights([tmp_path / "a.npz", tmp_path / "b.npz"])
    assert joined["LIF"].tolist() == [[0] * 3, [0] * 3, [1] * 3]
    np.testing.assert_array_equal(joined["ReLU"], np.eye(2))
    with pytest.raises(ReaderError, match="no such results file"):
        results.load_weights(tmp_path / "c.npz")
