import importlib.util
import os

import pytest
import torch

from benchmarks import cuda_spsn
from paraspike import backends
from paraspike.errors import ReaderError

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_why_and_times_nothing(capsys):
    assert cuda_spsn.main() == 0
    said = capsys.readouterr()
    assert "no CUDA device" in said.err and said.out == ""
    for function in (cuda_spsn.figure5, cuda_spsn.neuron_alone, cuda_spsn.forms):
        with pytest.raises(ReaderError, match="no CUDA device"):
            function()


def test_bytes_of_a_layer():
    # Per step: 2 inputs read twice; 3 neurons with 8 numbers each; 4 bytes a number.
    assert cuda_spsn.layer_bytes(10, 5, 2, 3) == 10 * 5 * 4 * (2 * 2 + 3 * 8)


def test_a_quadratic_baseline_is_left_out_before_it_breaks_the_limit():
    assert cuda_spsn.too_long(None, 100, 1.0) is None
    assert cuda_spsn.too_long((100, 0.001), 10_000, 1.0) is None
    assert cuda_spsn.too_long((1000, 0.1), 3000, 1.0) is None
    assert "10 s a call" in cuda_spsn.too_long((1000, 0.1), 10_000, 1.0)


@pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1 and Triton")
def test_all_of_it_runs_on_the_interpreter(monkeypatch):
    """What the numbers mean is for a GPU; that every arm and form runs is shown here."""
    monkeypatch.setattr(backends, "resolve", lambda name="auto": "cuda")
    monkeypatch.setattr(backends, "device", lambda backend: torch.device("cpu"))
    monkeypatch.setattr(cuda_spsn, "copy_rate", lambda: 1e9)
    small = {"N_IN": 4, "NEURONS": 8, "REPEATS": 1, "WARMUP": 0}
    for name, value in small.items():
        monkeypatch.setattr(cuda_spsn, name, value)
    made = cuda_spsn.figure5((3, 6), (2,), limit=1e9)
    arms = {row["arm"] for row in made["rows"]}
    assert {"LIF as published", "LIF unbind", "SPSN-SB (FFT)", "SPSN-SB (scan)"} <= arms
    assert len(made["rows"]) == 2 * len(arms) and "SPSN-GS (scan)" in arms
    for row in made["rows"]:
        assert row["seconds"] > 0 and row["over_floor"] > 0 and row["speedup"] > 0
    assert ("LIF fused" in arms) != any(r["arm"] == "LIF fused" for r in made["left_out"])
    assert len(cuda_spsn.neuron_alone((3,), (1, 2), 8)) == 4
    assert len(cuda_spsn.forms((3, 4), (5, 50), most=150)) == 4 * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_short_run():
    made = cuda_spsn.figure5((20,), (1,))
    assert made["rows"] and all(row["seconds"] > 0 for row in made["rows"])
    assert cuda_spsn.neuron_alone((20,), (1,)) and cuda_spsn.forms((20,), (64,))
