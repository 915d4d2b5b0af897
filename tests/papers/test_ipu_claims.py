"""The IPU poster's claims: judges that can fail, on results made for them."""

import numpy as np
import pytest
import xarray as xr

from paraspike import claims
from paraspike.papers.ipu_model import model

CLAIMS = {c.id.removeprefix("ipu-"): c for c in claims.load() if c.paper == "ipu"}


@pytest.fixture(scope="module")
def modelled():
    return model("Bow", (["Bow"], [3], [0.01, 0.05]), ([2, 8, 32], [0.05]), ([1, 16], [2], [0.05]))


def crossover(shd=2.0, growing=(0.1, 0.4, 6.0)):
    """Dense training steps: 48 samples of the SHD network, 24 of those that grow."""
    return xr.Dataset(
        {
            "published_network_seconds": (("depth", "run"), [[shd] * 3]),
            "growing_network_seconds": (("per_tile", "run"), [[s] * 3 for s in growing]),
        },
        coords={"depth": [3], "per_tile": [2, 8, 32]},
        attrs={"published_batch": 48, "growing_batch": 24},
    )


def capacity(near, alone, ids=(1, 4, 6, -1)):
    axes = ("threshold", "seed")
    return xr.Dataset(
        {
            "second_cosine": (axes, [near, alone]),
            "second_test_accuracy": (axes, [near, alone]),
            "poster_ids": ("slot", list(ids)),
            "poster_counts": ("entry", [1, 3]),
        },
        coords={"threshold": ["0.9", "1"], "seed": [0, 1, 2]},
    )


def judge(name, backend="cuda", dataset="blobs", **groups):
    facts = {"scale": "quick", "backend": backend, "data_verified": 1, "dataset": dataset}
    root = xr.Dataset(attrs={"paper": "ipu", "scale": "quick", "backend": backend})
    parts = {
        k: v.assign_attrs(facts | {"dataset": dataset if k == "capacity" else "none"})
        for k, v in groups.items()
    }
    return claims.judge(CLAIMS[name], xr.DataTree.from_dict({"/": root, **parts}))


def test_the_model_says_that_throughput_grows_with_sparsity(modelled):
    row = judge("sparsity", model=modelled)
    assert row["verdict"] == "reproduced" and row["kind"] == "modelled" and row["measured"] > 1.1
    nothing = modelled.assign(throughput=modelled.throughput * np.nan)
    assert judge("sparsity", model=nothing)["verdict"] == "not tested here"
    flat = modelled.assign(throughput=modelled.throughput * 0 + 5.0)
    assert judge("sparsity", model=flat)["verdict"] == "not reproduced"


@pytest.mark.parametrize(("seconds", "verdict"), [(0.001, "not reproduced"), (2.0, "reproduced")])
def test_against_a_gpu_measured_at_hand(modelled, seconds, verdict):
    groups = {"model": modelled, "crossover": crossover(seconds)}
    row = judge("gpu", **groups)
    rate = float(modelled.throughput.sel(task="SHD", machine="Bow", depth=3, activity=0.05))
    assert row["verdict"] == verdict and row["measured"] == pytest.approx(
        rate * seconds / 48, rel=1e-3
    )
    # Beside a processor it stays indicative.
    here = judge("gpu", backend="cpu", **groups)
    assert here["verdict"] == "not tested here" and here["measured"] == row["measured"]
    assert judge("gpu-sparser", **groups)["measured"] > row["measured"]


def test_the_factor_with_neurons_per_tile_counts_what_fits(modelled):
    growing = {"model": modelled, "crossover": crossover(growing=(0.1, 0.4, 60.0))}
    row = judge("neurons-per-tile", **growing)
    # 32 a tile do not fit, whatever a GPU would need for them.
    assert (
        row["verdict"] == "reproduced"
        and "32 a tile" not in row["note"].split("measured here")[1].split(";")[0]
    )
    falling = {"model": modelled, "crossover": crossover(growing=(0.1, 0.05, 60.0))}
    assert judge("neurons-per-tile", **falling)["verdict"] == "not reproduced"
    assert judge("neurons-per-tile-work", model=modelled)["verdict"] == "not tested here"


def test_scaling_is_undecided_where_the_barriers_decide(modelled):
    slow = float(modelled.ipu_efficiency_slow.sel(scaling="weak", ipus=16).min())
    row = judge("scaling", model=modelled)
    assert row["verdict"] == ("reproduced" if slow >= 0.8 else "not tested here")
    for factor, verdict in ((0.5, "not reproduced"), (1.5, "reproduced")):
        made = modelled.assign(
            ipu_efficiency=modelled.ipu_efficiency * factor,
            ipu_efficiency_slow=modelled.ipu_efficiency_slow * factor,
        )
        assert judge("scaling", model=made)["verdict"] == verdict


def test_neurons_near_threshold():
    good, bad = np.array([0.9, 0.88, 0.87]), np.array([0.6, 0.62, 0.65])
    assert judge("near-threshold", capacity=capacity(good, bad))["verdict"] == "reproduced"
    assert judge("near-threshold", capacity=capacity(bad, good))["verdict"] == "not reproduced"
    row = judge("near-threshold-accuracy", capacity=capacity(100 * good, 100 * bad))
    assert row["verdict"] == "direction holds (synthetic)"
    real = judge(
        "near-threshold-accuracy", dataset="nmnist", capacity=capacity(100 * good, 100 * bad)
    )
    assert real["verdict"] == "reproduced"


def test_the_posters_list():
    fine = np.ones(3)
    assert judge("spike-tensor", capacity=capacity(fine, fine))["verdict"] == "reproduced"
    wrong = capacity(fine, fine, ids=(1, 6, 4, -1))
    assert judge("spike-tensor", capacity=wrong)["verdict"] == "not reproduced"


def test_what_nothing_here_can_judge_says_so():
    for name in ("better-suited", "bow-peak"):
        assert judge(name)["verdict"] == "not tested here"
    assert len(CLAIMS) == 13 and {c.kind for c in CLAIMS.values()} == {"measured", "modelled"}
