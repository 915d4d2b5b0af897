"""A synapse on a GPU: sums over index lists against products, over densities and sizes.

`measure_all()` gives a dict of what was measured; `python -m benchmarks.cuda_synapse` prints it as JSON. Where
the two ways cross is what `ops.synapse.cuda.PRODUCT_FROM` wants to know.
"""

import functools
import json

import torch

from paraspike.measure import measure
from paraspike.spikes import Spikes

# (T, B, N_in, N_out): SHD's input at ten seeds, hidden to hidden, a wide layer.
SIZES = ((100, 640, 700, 128), (100, 640, 128, 128), (500, 64, 1024, 1024))
DENSITIES = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2)
PRECISIONS = ("float32", "tf32", "bf16")
WAYS = tuple(
    f"{part}_{form}"
    for part in ("forward", "weights")
    for form in ("lists", "torch_product", "triton_product")
)
_AMONG = 20


def why_not() -> str | None:
    """Why this machine cannot run it, or None."""
    if not torch.cuda.is_available():
        return f"needs a CUDA device, and torch {torch.__version__} finds none"
    return None


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


def seconds(function) -> float:
    """Median time of a call, of calls one after another without a wait in between."""

    def several():
        for _ in range(_AMONG):
            function()

    return measure(several, repeats=5, warmup=2).median / _AMONG


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


def one(size, density: float, precision: str, seeds: int = 1) -> dict:
    """Seconds of each of the `ways`, and of ordering the lists by neuron, which a batch's first weight gradient
    pays for."""
    from paraspike.ops.synapse import cuda

    steps, batch, n_in, n = size
    spikes = resident((steps, batch, n_in), density)
    dense = spikes.dense()
    weight = torch.randn(seeds, n_in, n, device="cuda")
    grad = torch.randn(steps, batch, n, device="cuda")
    row = {"T": steps, "B": batch, "n_in": n_in, "n_out": n, "seeds": seeds, "density": density}
    row["precision"] = precision
    with torch.no_grad():
        for name, call in ways(spikes, weight, grad, precision).items():
            row[name] = seconds(call)

    def order():
        lists = spikes.on("cuda")
        lists.steps(0, steps).by_unit(seeds)

    row["ordering"] = seconds(order)
    row["largest_difference"] = float(
        (
            cuda.synapse(spikes, weight, None, form="lists")
            - cuda.synapse(dense, weight, None, form="dense")
        )
        .abs()
        .max()
    )
    return row


def crossover(rows) -> dict:
    """Per precision and size, the least measured density at which a product is faster, forward and weight
    gradient together; None where lists are throughout."""
    found = {}
    for row in rows:
        key = f"{row['precision']} {row['n_in']}x{row['n_out']}"
        products = (
            row[f"forward_{p}_product"] + row[f"weights_{p}_product"] for p in ("torch", "triton")
        )
        faster = min(products) < row["forward_lists"] + row["weights_lists"]
        if faster and found.get(key) is None:
            found[key] = row["density"]
        found.setdefault(key, None)
    return found


def measure_all(sizes=SIZES, densities=DENSITIES, precisions=PRECISIONS) -> dict:
    """{"device", "rows": one a size, density and precision, "crossover"}; {"cannot_run": why} without a GPU."""
    if (reason := why_not()) is not None:
        return {"cannot_run": reason}
    rows = [one(size, d, p) for p in precisions for size in sizes for d in densities]
    several = [one(size, densities[1], p, seeds=10) for p in precisions for size in sizes[:2]]
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "rows": rows + several,
        "crossover": crossover(rows),
    }


if __name__ == "__main__":
    print(json.dumps(measure_all(), indent=1))
