import pytest
import torch

from benchmarks import cuda_synapse


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_why():
    assert "CUDA device" in cuda_synapse.measure_all()["cannot_run"]


def test_crossover_is_the_first_density_where_a_product_wins():
    rows = [
        {"precision": "tf32", "n_in": 7, "n_out": 3, "density": d, "forward_torch_product": 3,
         "weights_torch_product": 2, "forward_triton_product": 2, "weights_triton_product": 2,
         "forward_lists": 100 * d, "weights_lists": 0}
        for d in (0.01, 0.05, 0.1)
    ]  # fmt: skip
    assert cuda_synapse.crossover(rows) == {"tf32 7x3": 0.05}
    assert cuda_synapse.crossover(rows[:1]) == {"tf32 7x3": None}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_both_ways_agree():
    found = cuda_synapse.measure_all(sizes=((5, 4, 64, 32),), densities=(0.05, 0.1))
    assert all(row["largest_difference"] < 1e-3 for row in found["rows"])
