"""A made-up results tree of the multithreading paper, small and with numbers that are easy to recognise."""

import json

import numpy as np
import xarray as xr

from paraspike.papers.multithreading_causes import FORMS
from paraspike.papers.multithreading_cure import ALONE, ENGINE, PEER, POOL
from paraspike.papers.multithreading_learning import FEATURES
from paraspike.papers.multithreading_tasks import PARTS

ARMS = ["as_published", "corrected"]
ATTRS = {
    "backend": "cpu", "scale": "quick", "dataset": "digits", "timed": 1, "device": "EPYC", "threads": 1,
    "seeds": "[0]", "paper": "multithreading",
}  # fmt: skip


def tree(batches=(32, 64, 128), bindsnet=True):
    """Times per image: 1 ms without a crew, 2 ms with one thread, n ms with n threads; temporal four times
    that.
    """
    groups = {
        "throughput": _throughput(list(batches), bindsnet),
        "cnn": _cnn(list(batches)),
        "tasks": _tasks(),
        "causes": _causes(),
        "cure": _cure(bindsnet),
        "learning": _learning(),
    }
    made = {f"/{name}": data.assign_attrs(ATTRS | data.attrs) for name, data in groups.items()}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=ATTRS), **made})


def _throughput(batches, bindsnet):
    threads = [0, 1, 2, 4]
    of_threads = np.array([1.0, 2.0, 2.0, 4.0]) * 1e-3
    of_coding = np.array([1.0, 4.0])
    seconds = np.einsum("c,k->ck", of_coding, of_threads)
    seconds = np.broadcast_to(
        seconds[None, None, None, :, None, :, None], (1, 2, 2, 2, len(batches), 4, 3)
    )
    seconds = seconds.copy()
    seconds[:, :, 1, 1] = np.nan
    peer = np.full((2, 2, len(batches), 3), 1.5e-3 if bindsnet else np.nan)
    return xr.Dataset(
        {
            "seconds": (("device", "arm", "form", "coding", "batch", "threads", "repeat"), seconds),
            "encoding_seconds": (("arm", "coding", "repeat"), np.full((2, 2, 3), 0.5e-3)),
            "peer_seconds": (("arm", "coding", "batch", "repeat"), peer),
            "temporal_loss": (("arm", "batch"), np.full((2, len(batches)), 75.0)),
        },
        coords={
            "device": ["cpu"], "arm": ARMS, "form": ["pool", "queue"], "coding": ["rate", "temporal"],
            "batch": batches, "threads": threads,
        },
        attrs={"cores": 2, "bindsnet": "0.3.4" if bindsnet else "not installed"},
    )  # fmt: skip


def _cnn(batches):
    processes = [1, 2, 4]
    seconds = np.broadcast_to(
        np.array([2.0, 1.0, 1.5])[None, None, None, :, None] * 1e-4, (1, 2, len(batches), 3, 3)
    )
    return xr.Dataset(
        {"seconds": (("device", "arm", "batch", "processes", "repeat"), seconds.copy())},
        coords={"device": ["cpu"], "arm": ARMS, "batch": batches, "processes": processes},
        attrs={"cores": 2},
    )


def _tasks():
    share = np.array([[0.4, 0.2, 0.15, 0.15, 0.1], [0.3, 0.2, 0.3, 0.1, 0.1]])
    parts = np.column_stack([100 * share, 100 * share[:, :3].sum(1)])
    pools = [0, 8]
    table = {
        name: (("pool_threads", "phase"), np.full((2, 2), value))
        for name, value in (("wait", 4e-3), ("execution", 4e-3), ("total", 8e-3), ("service", 8e-5))
    }
    return xr.Dataset(
        {
            "share": (("arm", "part"), share),
            "percent": (("arm", "parts"), parts),
            "product_share": ("arm", [0.2, 0.3]),
            "calls": ("arm", [1000.0, 1000.0]),
            **table,
            "wait_at": (("some_threads", "position"), np.arange(10.0)[None] * 1e-4),
            "start": (("step", "task"), np.tile(np.arange(6.0) * 1e-5, (3, 1))),
            "end": (("step", "task"), np.tile(np.arange(1, 7.0) * 1e-3, (3, 1))),
        },
        coords={
            "arm": ARMS, "part": list(PARTS), "parts": [*PARTS, "updates"], "pool_threads": pools,
            "some_threads": [8], "phase": ["layers", "weights"],
        },
    )  # fmt: skip


def _causes():
    threads, sizes = [0, 2, 4], [100, 1000]
    table = {
        name: (("form", "threads"), np.full((3, 3), value))
        for name, value in (
            ("wait", 2e-5),
            ("lock", 1e-5),
            ("ready", 1e-6),
            ("work", 3e-5),
            ("step", 1e-4),
        )
    }
    return xr.Dataset(
        table
        | {
            "task_work": (("form", "neurons"), np.tile([1e-5, 1e-4], (3, 1))),
            "speedup": (("form", "neurons"), np.array([[0.4, 0.8], [0.5, 1.5], [1.6, 1.9]])),
            "break_even": ("form", [np.inf, 3.2e-5, 0.0]),
        },
        coords={"form": list(FORMS), "threads": threads, "neurons": sizes},
        attrs={"cores": 2, "layers": 4, "steps": 5},
    )


def _cure(bindsnet):
    names, threads = [ENGINE, ALONE, POOL, PEER], [1, 2, 4]
    seconds = np.full((4, 3, 3), np.nan)
    seconds[0] = np.array([2, 1, 1])[:, None] * 1e-4
    seconds[1, 0], seconds[2] = 2e-3, np.array([3, 4, 5])[:, None] * 1e-3
    if bindsnet:
        seconds[3, :2] = 2.5e-3
    cores = [1, 2, 64]
    return xr.Dataset(
        {
            "seconds": (("contestant", "threads", "repeat"), seconds),
            "same_bits": ("threads", np.ones(3)),
            "parallel_fraction": ("repeat", [0.9, 0.95, 1.0]),
            "modelled_rate": (("repeat", "cores"), np.outer([0.9, 1, 1.1], [5e3, 9e3, 7e4])),
            "modelled_limit": ("weights", [1e6, 1e4]),
        },
        coords={
            "contestant": names,
            "threads": threads,
            "cores": cores,
            "weights": ["in the caches", "from memory each step"],
        },
        attrs={
            "hardware": json.dumps({"processor": "EPYC", "RAM": "24 GB"}),
            "bindsnet": "0.3.4" if bindsnet else "not installed",
            "cores_here": 2,
        },
    )


def _learning():
    accuracy = np.array([[80.0, 82.0], [90.0, 92.0], [85.0, 85.0], [95.0, 95.0]])
    return xr.Dataset(
        {
            "accuracy": (("features", "seed"), accuracy),
            "template": (
                ("neuron", "row", "column"),
                np.random.default_rng(0).random((40, 28, 28)),
            ),
        },
        coords={"features": list(FEATURES), "seed": [0, 1]},
    )
