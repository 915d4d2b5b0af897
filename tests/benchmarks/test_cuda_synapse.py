import importlib.util
import os

import pytest
import torch

from benchmarks import cuda_synapse

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNS = DEVICE == "cuda" or (
    os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton")
)


def row(density, lists, product=5.0, size=(100, 640, 700, 128), precision="tf32", **more):
    steps, batch, n_in, n = size
    half = {"lists": lists / 2, "torch_product": product / 2, "triton_product": product / 2} | more
    seconds = {f"{part}_{way}": s for part in ("forward", "weights") for way, s in half.items()}
    given = {"precision": precision, "density": density, "seeds": batch // 64 if n_in == n else 1}
    return (
        given
        | {"T": steps, "B": batch, "n_in": n_in, "n_out": n, "ordering": 1, "raster": 0}
        | seconds
    )


def test_a_product_wins_from_the_first_density_where_it_is_faster():
    # Ordering counts: 4.5 + 1 is more than 5.
    rows = [row(0.05, 4.5), row(0.01, 3.0), row(0.02, 4.0), row(0.1, 9.0)]
    assert cuda_synapse.crossover(rows) == {"tf32 700x128": 0.05}
    assert cuda_synapse.crossover(rows[1:3]) == {"tf32 700x128": None}
    wide = [row(0.2, 9.0, size=(500, 64, 1024, 1024))]
    assert cuda_synapse.product_from(rows + wide) == {"tf32": pytest.approx(0.1)}


def test_triton_multiplies_up_to_the_last_size_without_a_loss():
    def square(n, seeds, triton, **more):
        return row(0.02, 9.0, size=(100, 64 * seeds, n, n), triton_product=triton, **more)

    rows = [square(n, s, 2.0) for n in (64, 128) for s in (1, 10)]
    rows += [square(256, 1, 2.0), square(256, 10, 3.0), square(512, 1, 1.0)]
    assert cuda_synapse.triton_up_to(rows) == {"tf32": 128**2}
    alone = square(64, 1, 2.0, precision="tf32x3", torch_product=float("inf"))
    assert cuda_synapse.triton_up_to([*rows, alone]) == {"tf32": 128**2, "tf32x3": float("inf")}


@pytest.mark.skipif(not RUNS, reason="needs Triton, and a CUDA device or TRITON_INTERPRET=1")
def test_a_row_is_measured_and_both_ways_agree(monkeypatch):
    monkeypatch.setattr(cuda_synapse, "timed", lambda call, repeats: (call() is None, 0.0))
    found = cuda_synapse.one((2, 4, 12, 8), 0.2, "float32", seeds=2, device=DEVICE)
    assert found["largest_difference"] < 1e-3 and set(cuda_synapse.WAYS) < set(found)
