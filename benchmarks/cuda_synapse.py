"""A synapse on a GPU: sums over index lists against products, over densities and sizes.

Where the ways cross is what `ops.synapse.cuda.PRODUCT_FROM` and `TRITON_UP_TO` want to know;
`benchmarks.cuda_tables` measures it.
"""

import functools
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.cuda_lif import timed
from paraspike.errors import ReaderError
from paraspike.ops.table import PRECISIONS
from paraspike.spikes import Spikes

# (T, B, N_in, N_out): SHD's input at ten seeds, hidden to hidden, a wide layer.
SIZES = ((100, 640, 700, 128), (100, 640, 128, 128), (500, 64, 1024, 1024))
DENSITIES = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2)
# Layers whose products are compared, and at how many seeds: fewer and more synapses than TRITON_UP_TO has.
SQUARES, SEEDS = (64, 128, 256, 512, 1024), (1, 10)
WAYS = tuple(
    f"{part}_{form}"
    for part in ("forward", "weights")
    for form in ("lists", "torch_product", "triton_product")
)
_AMONG = 20


def resident(shape, density: float, seed: int = 0, device="cuda") -> Spikes:
    """Random spikes [T, B, N] as lists on the GPU."""
    from paraspike.ops.synapse.resident import Resident

    steps, batch, n = shape
    generator = torch.Generator(device).manual_seed(seed)
    raster = torch.rand(steps * batch, n, device=device, generator=generator) < density
    pointers = torch.zeros(steps * batch + 1, dtype=torch.int64, device=device)
    pointers[1:] = raster.sum(1).cumsum(0)
    units = raster.nonzero()[:, 1].int()
    return Spikes.from_resident(
        Resident(pointers, units, torch.ones(len(units), device=device), shape)
    )


def ways(spikes, weight, grad, precision: str) -> dict:
    """The calls of `WAYS`: forward pass and weight gradient, by lists and by either product, of `Spikes` on the
    weights' device, weight [S, N_in, N] and grad [T, S*B, N]."""
    from paraspike.ops.synapse import cuda

    calls = {}
    dense = spikes.dense()
    arms = [("lists", spikes, "lists", "auto")]
    arms += [(f"{product}_product", dense, "dense", product) for product in ("torch", "triton")]
    for name, x, form, product in arms:
        given = {"precision": precision, "form": form, "product": product}
        calls[f"forward_{name}"] = functools.partial(cuda.synapse, x, weight, None, **given)
        calls[f"weights_{name}"] = functools.partial(
            cuda.weight_gradient, x, grad, 0, len(weight), **given
        )
    return calls


def plan() -> Iterator[tuple]:
    """Arguments of `one`: densities at each size; then square layers at each number of seeds."""
    for precision in PRECISIONS:
        for size in SIZES:
            for density in DENSITIES:
                yield size, density, precision
        for n in SQUARES:
            for seeds in SEEDS:
                yield (100, 64 * seeds, n, n), 0.02, precision, seeds


def one(size, density: float, precision: str, seeds: int = 1, device="cuda") -> dict:
    """Seconds of each of the `ways` (infinite where there is none), of `ordering` the lists by neuron, which a
    batch's first weight gradient pays for, and of making a `raster` of them; how far both are apart."""
    from paraspike.ops.synapse import cuda

    steps, batch, n_in, n = size
    spikes = resident((steps, batch, n_in), density, device=device)
    weight = torch.randn(seeds, n_in, n, device=device)
    grad = torch.randn(steps, batch, n, device=device)
    row = {"T": steps, "B": batch, "n_in": n_in, "n_out": n, "seeds": seeds, "density": density}
    row["precision"] = precision
    with torch.no_grad():
        for name, call in ways(spikes, weight, grad, precision).items():
            try:
                row[name] = timed(call, _AMONG)[0]
            except ReaderError:
                row[name] = float("inf")
        lists = spikes.on(device)
        row["ordering"] = timed(lambda: lists.steps(0, steps).by_unit(seeds), _AMONG)[0]
        row["raster"] = timed(lambda: Spikes.from_resident(lists).dense(), _AMONG)[0]
        sums = cuda.synapse(spikes, weight, None, form="lists")
        products = cuda.synapse(spikes.dense(), weight, None, form="dense")
    row["largest_difference"] = float((sums - products).abs().max())
    return row


def _both(row, way) -> float:
    """Seconds of the forward pass and the weight gradient of a batch of lists, one way."""
    more = row["ordering"] if way == "lists" else row["raster"]
    return row[f"forward_{way}"] + row[f"weights_{way}"] + more


def _product(row) -> float:
    return min(_both(row, way) for way in ("torch_product", "triton_product"))


def crossover(rows) -> dict:
    """Per precision and size, the least measured density at which a product is faster, forward and weight
    gradient together; None where lists are throughout."""
    found = {}
    for row in sorted((r for r in rows if r["seeds"] == 1), key=lambda r: r["density"]):
        key = f"{row['precision']} {row['n_in']}x{row['n_out']}"
        if found.get(key) is None:
            found[key] = row["density"] if _product(row) < _both(row, "lists") else None
    return found


def product_from(rows) -> dict:
    """Per precision, the geometric mean over sizes of where they cross; the densest measured where nowhere."""
    found = {}
    here = [r for r in rows if (r["T"], r["B"], r["n_in"], r["n_out"]) in SIZES]
    for key, density in crossover(here).items():
        found.setdefault(key.split()[0], []).append(density or max(DENSITIES))
    return {name: float(np.exp(np.mean(np.log(v)))) for name, v in found.items()}


def triton_up_to(rows) -> dict:
    """Per precision, the most synapses of a square layer up to which Triton's product is the faster one at
    every number of seeds; infinite where torch has none."""
    found, possible = {}, {r["precision"] for r in rows if r["forward_torch_product"] < np.inf}
    for row in rows:
        if row["density"] == 0.02 and row["n_in"] == row["n_out"] and row["T"] == 100:
            faster = _both(row, "triton_product") <= _both(row, "torch_product")
            sizes = found.setdefault(row["precision"], {})
            sizes[row["n_in"]] = sizes.get(row["n_in"], True) and faster
    last = {}
    for name, sizes in found.items():
        good = [n for n in sizes if all(sizes[k] for k in sizes if k <= n)]
        last[name] = max(good, default=0) ** 2 if name in possible else float("inf")
    return last
