import importlib.util
import os

import pytest
import torch

from benchmarks import cuda_spsn
from paraspike import backends

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton")


def test_bytes_of_a_layer():
    # Per step: 2 inputs read twice; 3 neurons with 8 numbers each; 4 bytes a number.
    assert cuda_spsn.layer_bytes(10, 5, 2, 3) == 10 * 5 * 4 * (2 * 2 + 3 * 8)


def test_an_arm_is_left_out_before_it_breaks_the_limit():
    def long(*known):
        return cuda_spsn.too_long(list(known), 10_000, 1.0)

    assert long() is None and long((100, 0.001)) is None
    # One length alone: quadratic. Two: as they grew, linear here, 0.1 s to 0.6 s; never less than that.
    assert "10 s a call" in long((1000, 0.1)) and long((3000, 0.08)) is None
    assert long((500, 0.03), (1000, 0.06)) is None
    assert (
        "11 s a call" in long((1000, 0.111), (3000, 0.999))
        and long((1000, 0.2), (3000, 0.2)) is None
    )


@pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1 and Triton")
def test_all_forms_run_on_the_interpreter(monkeypatch):
    """What the numbers mean is for a GPU; that every form runs is shown here."""
    from paraspike.ops.integrate import cuda

    monkeypatch.setattr(backends, "resolve", lambda name="auto": "cuda")
    monkeypatch.setattr(backends, "device", lambda backend: torch.device("cpu"))
    monkeypatch.setattr(cuda_spsn, "copy_rate", lambda: 1e9)
    called, plan = [], cuda.plan

    def timed(function, repeats):
        function()
        called.append(repeats)
        return 1.0, 1.0

    monkeypatch.setattr(cuda_spsn, "timed", timed)
    assert len(cuda_spsn.forms((3,), (5, 50), most=149)) == 4
    # More than one segment, soon.
    monkeypatch.setattr(cuda, "WHOLE", 4)
    monkeypatch.setattr(cuda, "SHORTEST", 4)
    rows = cuda_spsn.fused_forms((9,), (5,))
    assert [r["form"] for r in rows] == ["walk", "split"] and cuda.plan is plan
    assert called == [cuda_spsn.REPEATS] * 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_short_run():
    assert all(row["seconds"] > 0 for row in cuda_spsn.forms((200,), (64,)))
    assert all(row["seconds"] > 0 for row in cuda_spsn.fused_forms((200,), (64,)))
