"""What `make bench-cuda` does short of timing a GPU; every case runs under Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from benchmarks import cuda, cuda_cases, cuda_report, cuda_spsn, cuda_turns
from benchmarks.cuda_turns import COLUMNS, Case, in_turn
from benchmarks.libraries import NAMES, OURS, YARDSTICK
from benchmarks.workloads import Workload
from paraspike import backends
from paraspike.errors import ReaderError

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNS = DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
with_kernels = pytest.mark.skipif(
    not (RUNS and importlib.util.find_spec("triton")),
    reason="needs Triton, and a CUDA device or TRITON_INTERPRET=1",
)
FACTS = {
    "part": "layer",
    "device": "NVIDIA H200",
    "driver": "590.1",
    "copy_rate": 4e12,
    "versions": {"torch": "2.11"},
    "spikingjelly": "not installed",
    "date": "2026-11-22T00:00:00+00:00",
    "commit": "abc",
    "dirty": True,
}
# What a machine with a GPU need not have.
ABSENT = (
    *("numba", "llvmlite", "pydantic", "psutil", "h5netcdf", "tqdm", "yaml", "pooch", "sklearn", "ortools"),
    *("snntorch", "spikingjelly", "nbformat", "papermill", "snakemake"),
)  # fmt: skip
BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def case(seconds=(2.0, 1.0, 4.0), arm=OURS, **more):
    made = Case("W", 5, 3, arm, "fast", None, bytes=8e12, version="1", **more)
    made.rounds, made.others, made.peak_mb, made.first = list(seconds), [0.0], 1.5, 9.0
    return made


@pytest.mark.parametrize(
    "words, said",
    [
        (["lyer"], "unknown"),
        (["--rounds", "4"], "rounds"),
        (["--limit", "0"], "limit"),
        (["--limit", "nan"], "limit"),
        (["--epochs", "0"], "epochs"),
    ],
)
def test_bad_arguments_are_refused(words, said):
    with pytest.raises(ReaderError, match=said):
        cuda.arguments(words)


def test_parts_come_in_their_order_and_once():
    assert tuple(cuda.arguments([]).parts) == cuda.PARTS[:-1]
    assert cuda.arguments(["table2"]).parts == ["table2"]
    assert cuda.arguments(["figure5", "layer", "layer"]).parts == ["layer", "figure5"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_why_and_records_nothing(tmp_path):
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "benchmarks.cuda", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == ""
    assert "nothing timed, nothing recorded" in done.stderr and "no CUDA device" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interpreter_is_not_timed(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "no speed" in cuda.cannot_run()


def test_a_row():
    row = case().row(4e12)
    assert tuple(row) == COLUMNS
    assert row["seconds_median"] == 2 and (row["seconds_min"], row["seconds_max"]) == (1, 4)
    assert row["floor_seconds"] == 2 and row["over_floor"] == 1 and row["of_copy_rate"] == 1
    assert row["bytes_per_s"] == 4e12 and row["rounds"] == 3
    empty = case(()).row(4e12)
    assert np.isnan(empty["seconds_median"]) and np.isnan(empty["of_copy_rate"])


def test_turns_begin_with_another_case_each_round_and_failures_stay_alone(monkeypatch):
    monkeypatch.setattr(cuda_turns, "MOST_REPEATS", 1)
    order = []

    def start(name, error=None, wait=0.0):
        def call():
            order.append(name)
            if error and order.count(name) > error:
                raise RuntimeError("broken\nlines")
            if wait:
                cuda_turns.time.sleep(wait)

        return lambda: call

    def missing():
        raise ImportError("no such library")

    group = [
        Case("W", 1, 1, "a", "", start("a")),
        Case("W", 1, 1, "b", "", start("b")),
        Case("W", 1, 1, "late", "", start("late", error=5)),
        Case("W", 1, 1, "early", "", missing),
        Case("W", 1, 1, "slow", "", start("slow", wait=0.05)),
        Case("W", 1, 1, "none", "", None),
    ]
    in_turn(group, 5, limit=0.04)
    a, b, late, early, slow, none = group
    # Four calls each to get ready: two timed, one for memory, one more for the repeats as it is short.
    assert [n for n in order if n in "ab"][8:] == list("abbaababba")
    assert len(a.rounds) == len(b.rounds) == 5 and a.peak_mb >= 0 and a.first >= 0
    assert late.rounds == [] and late.notes == ["RuntimeError: broken"]
    assert early.notes == ["ImportError: no such library"]
    assert slow.rounds == [] and "the limit is 0.04 s" in slow.notes[0]
    assert none.rounds == [] and all(c.call is None and c.start is None for c in group)


def test_nothing_is_begun_after_its_time_and_what_there_is_is_written():
    written, made = [], [Case("W", 1, 1, name, "", lambda: lambda: None) for name in "ab"]
    in_turn(made, 5, after=lambda: written.append([len(c.rounds) for c in made]))
    assert written == [[k, k] for k in range(1, 6)]
    late = Case("W", 1, 1, "late", "", lambda: pytest.fail("begun"))
    in_turn([late], 5, until=0.0)
    assert late.rounds == [] and "time given was over" in late.notes[0]


def test_a_run_that_is_killed_leaves_the_rounds_it_had(tmp_path, monkeypatch):
    def groups(part, options):
        yield [Case("W", 1, 1, OURS, "first", lambda: lambda: None, bytes=1.0)]

        def killed():
            raise SystemExit("killed")

        yield [
            Case("W", 2, 1, OURS, "second", lambda: lambda: None, bytes=1.0),
            Case("W", 2, 1, "late", "", lambda: killed, bytes=1.0),
        ]

    monkeypatch.setattr(cuda, "groups", groups)
    with pytest.raises(SystemExit):
        cuda.measure("layer", cuda.arguments([]), FACTS, tmp_path, np.inf)
    frame = pd.read_csv(tmp_path / "bench_layer.csv")
    assert list(frame["mode"]) == ["first"] and list(frame["rounds"]) == [5]


def test_a_part_that_breaks_costs_no_other(tmp_path, monkeypatch, capsys):
    def measure(part, *_):
        if part == "layer":
            raise ReaderError("no such data", "here")
        return [tmp_path / part]

    monkeypatch.setattr(cuda, "cannot_run", lambda: None)
    monkeypatch.setattr(cuda, "facts", lambda options: FACTS)
    monkeypatch.setattr(cuda, "measure", measure)
    assert cuda.main([*cuda.PARTS, "--output", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "no such data" in said.err and all(str(tmp_path / p) in said.out for p in cuda.PARTS[1:])


def test_the_three_files(tmp_path):
    left = case((), "snntorch", notes=["left out: not installed (snntorch)"])
    cases = [case(), case((8.0,), YARDSTICK), left]
    rows = [c.row(FACTS["copy_rate"]) for c in cases]
    csv, page, nc = cuda_report.write(rows, FACTS, tmp_path / "deep" / "bench_layer")
    assert sorted(f.name for f in csv.parent.iterdir()) == [csv.name, page.name, nc.name]
    frame = pd.read_csv(csv)
    assert tuple(frame.columns) == COLUMNS and list(frame["arm"]) == [OURS, YARDSTICK, "snntorch"]
    text = page.read_text()
    assert "left out, not installed: snntorch" in text and "abc, with changes" in text
    assert "| W | 5 | 3 | 2 | 4 |" in text and "4 TB/s" in text
    with xr.open_dataset(nc, engine="scipy", decode_times=False, decode_timedelta=False) as data:
        assert data.attrs["device"] == "NVIDIA H200" and data.attrs["dirty"] == "true"
        np.testing.assert_array_equal(data["seconds_median"], [2.0, 8.0, np.nan])
        assert list(data["arm"].values.astype(str)) == [OURS, YARDSTICK, "snntorch"]
        assert all({"units", "long_name"} <= set(v.attrs) for v in data.variables.values())
    before = nc.read_bytes()
    cuda_report.write(rows, FACTS, tmp_path / "deep" / "bench_layer")
    assert nc.read_bytes() == before


def test_rows_of_nothing_but_left_out_are_written(tmp_path):
    rows = [case((), notes=["left out: why"]).row(1.0)]
    assert all(f.is_file() for f in cuda_report.write(rows, FACTS, tmp_path / "bench"))


def test_slug():
    assert cuda_report.slug("NVIDIA H200 (141 GB)") == "nvidia-h200-141-gb"


def test_results_of_a_device_are_tracked():
    given = ["git", "check-ignore", "-q", "data/measured/nvidia-h200/bench_layer.nc"]
    assert subprocess.run(given, cwd=ROOT).returncode != 0


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(backends, "resolve", lambda name="auto": "cuda")
    monkeypatch.setattr(backends, "device", lambda backend: torch.device(DEVICE))
    monkeypatch.setattr(cuda_turns, "MOST_REPEATS", 1)


def timed(groups, rounds=1):
    """The cases of all groups, timed as they come."""
    return [case for group in groups for case in in_turn(group, rounds)]


def check(cases):
    for made in cases:
        assert made.rounds or "not installed" in made.notes[-1], (made.arm, made.mode, made.notes)
        assert made.row(1e12)["floor_seconds"] > 0


@with_kernels
def test_layer_cases_run(here):
    cases = timed(cuda_cases.layer(4, 2, 8, device=DEVICE))
    check(cases)
    assert {c.arm for c in cases} == {OURS, *cuda_cases.PEERS}


@with_kernels
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", ["train", "infer"])
def test_network_cases_run_and_are_held_to_the_loop(here, kind, recurrent):
    sizes = (12, 6, 3) if recurrent else (12, 6, 5, 4, 3)
    workload = Workload("tiny", kind, sizes, 4, 2, 0.3, recurrent)
    cases = in_turn(cuda_cases.network(workload, compiled=False, device=DEVICE), 1)
    check(cases)
    assert {c.arm for c in cases} == {OURS, *cuda_cases.PEERS} < set(NAMES)
    ours = [c for c in cases if c.arm == OURS]
    assert ours and all("same outputs" in c.notes[0] for c in ours)


def test_the_networks_are_those_of_make_bench():
    limit = torch._dynamo.config.recompile_limit
    found = []
    for group in cuda_cases.networks():
        assert torch._dynamo.config.recompile_limit > limit
        found.append((group[0].workload, group[0].steps, group[0].batch))
        assert (YARDSTICK, "step, torch.compile") in {(c.arm, c.mode) for c in group}
        assert group[0].arm == YARDSTICK
    assert found == [("W2", 500, 64), ("W2r", 500, 64), ("W2i", 500, 64), ("W2i", 500, 1)]
    assert torch._dynamo.config.recompile_limit == limit
    plain = [c.mode for group in cuda_cases.networks(["w2r"], compiled=False) for c in group]
    assert plain and not any("compile" in mode for mode in plain)


@with_kernels
def test_figure_5_runs(here, monkeypatch):
    for name, value in {"N_IN": 4, "NEURONS": 4}.items():
        monkeypatch.setattr(cuda_spsn, name, value)
    arms = ["LIF as published", "SPSN-SB (scan)"]
    cases = timed(cuda_cases.figure5((2,), (2,), arms=arms))
    check(cases)
    assert [c.arm for c in cases] == arms
    table = cuda_report.ratios(pd.DataFrame([c.row(1e12) for c in cases]))
    assert f"{arms[0]} / ours" in table and len(table) == 1


@with_kernels
def test_a_quadratic_arm_is_left_out_by_its_last_length(here, monkeypatch):
    for name, value in {"N_IN": 4, "NEURONS": 4}.items():
        monkeypatch.setattr(cuda_spsn, name, value)
    groups = cuda_cases.figure5((3, 3000), (1,), limit=1.0)
    for case in next(groups):
        case.rounds = [0.5]
    assert all(c.start is None and "left out: up to" in c.notes[0] for c in next(groups))


@with_kernels
def test_it_needs_neither_numba_nor_pydantic_nor_other_packages(tmp_path):
    """All modules of the benchmark and a layer of the CUDA backend, random numbers included."""
    code = f"""{BLOCK}
import runpy
runpy.run_path("tests/conftest.py")
import numpy as np, torch
from benchmarks import cuda, cuda_cases, cuda_report
from paraspike import Layer, Spikes, backends
from paraspike.papers import spsn
backends.resolve = lambda name="auto": "cuda"
backends.device = lambda backend: torch.device("{DEVICE}")
x = (torch.rand(3, 2, 4) < 0.5).float().to("{DEVICE}")
for neuron in (cuda_cases.adapter("paraspike").neuron(), spsn.neuron("SPSN-SB", 1e-3)):
    Layer(4, 5, neuron, backend="cuda").to("{DEVICE}")(x).sum().backward()
assert not cuda_cases.absent("paraspike")
from paraspike.threads import set_threads
set_threads(1)
from paraspike.randomness import uniform
np.save(sys.argv[1], uniform(7, "s", [3, 9], 4, 6, 2))
assert not set(sys.modules) & set({ABSENT})
try:
    backends.operator("lif", "cpu")
except backends.ReaderError as error:
    assert "needs llvmlite, which is not installed" in str(error), error
else:
    raise SystemExit("no refusal")
"""
    from paraspike.randomness import uniform

    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
    command = [sys.executable, "-c", code, str(tmp_path / "drawn.npy")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    drawn = np.load(tmp_path / "drawn.npy")
    np.testing.assert_array_equal(drawn, uniform(7, "s", [3, 9], 4, 6, 2))
