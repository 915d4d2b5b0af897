import pytest
import torch

from benchmarks import cuda_lif


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_why_and_measures_nothing():
    for result in (
        cuda_lif.fused_layer(),
        cuda_lif.recurrent_layer(),
        *cuda_lif.sweep([(32, 1, 4)]),
    ):
        assert "no CUDA device" in result["unavailable"]
        assert not {"seconds", "potential", "persistent"} & set(result)


def test_a_sweep_leaves_the_launch_table_as_it_was():
    table = cuda_lif.cuda_launch.LAUNCH
    cuda_lif.sweep([(32, 1, 4)], repeats=1, steps=2, batch=1, neurons=8)
    assert cuda_lif.cuda_launch.LAUNCH is table


def test_bytes_follow_the_chunk_of_the_launch(monkeypatch):
    monkeypatch.setattr(cuda_lif.cuda_launch, "LAUNCH", ((0, 32, 1, 16), (1000, 32, 1, 8)))
    assert cuda_lif.own_bytes("states", 999) == 21 and cuda_lif.own_bytes("states", 1000) == 22
    assert cuda_lif.own_bytes("potential", 999) == 24
