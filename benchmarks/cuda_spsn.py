"""SPSN on a GPU: figure 5's layer against its baselines and the memory floor, and integration's forms.

`python -m benchmarks.cuda_spsn` prints what `figure5` and `forms` return, as JSON; without a GPU it says why
it cannot run.
"""

import json
import sys

import numpy as np
import torch

from benchmarks.cuda_lif import copy_rate
from paraspike import backends, machine
from paraspike.errors import ReaderError
from paraspike.layer import Draws, Layer
from paraspike.measure import measure, peak_memory
from paraspike.papers import spsn

LENGTHS, BATCHES = (100, 300, 1000, 3000, 10_000), (1, 64)
N_IN, NEURONS, DENSITY, DT = 128, 128, 0.02, 1e-3
REPEATS, WARMUP = 10, 3
# Seconds a call may take; the published loop's backward pass would take a quarter of an hour at worst.
LIMIT = 20.0
# float32 read and written once per neuron and step by SB or GS, forward and backward: currents, spikes and
# the gradient's factor; gradient, factor and the currents' gradient.
NEURON_BYTES = 24


def why_not() -> str | None:
    """Why nothing can be timed here, or None."""
    try:
        backends.resolve("cuda")
    except ReaderError as error:
        return error.what
    return None


def _require():
    if reason := why_not():
        raise ReaderError(reason, "benchmarks.cuda_spsn", "run it on a machine with an NVIDIA GPU")


def layer_bytes(steps: int, batch: int, n_in: int = N_IN, neurons: int = NEURONS) -> int:
    """Bytes once, forward and backward, of a dense float32 layer: its input for the product and for the
    weights' gradient, and per neuron what `NEURON_BYTES` counts, the currents' writing and their gradient's
    reading."""
    return steps * batch * (2 * 4 * n_in + (NEURON_BYTES + 2 * 4) * neurons)


def layers_by_arm(arms=None):
    layers = spsn.duration_layers(N_IN, NEURONS, DT, backend="cuda")
    gumbel = spsn.neuron("SPSN-GS", DT)
    layer = Layer(N_IN, NEURONS, gumbel, backend="cuda")
    layers["SPSN-GS (scan)"] = layer.to(backends.device("cuda"))
    return {arm: layer for arm, layer in layers.items() if arms is None or arm in arms}


def activity(steps, batch):
    generator = torch.Generator().manual_seed(steps)
    x = (torch.rand(steps, batch, N_IN, generator=generator) < DENSITY).float()
    return x.to(backends.device("cuda")), Draws(np.arange(batch), np.zeros(batch, np.int64))


def figure5(lengths=LENGTHS, batches=BATCHES, arms=None, limit: float = LIMIT) -> dict:
    """Times one layer, forward and backward, at each length and batch.

    Returns:
        device, copy_rate (bytes/s), labels (operator -> what it is), rows and left_out. A row: arm, steps,
        batch, seconds (median), least, disturbed, peak_mb, floor (`layer_bytes` over the copy rate),
        over_floor, and speedup of "SPSN-SB (scan)" over this arm's time. left_out: arm, steps, batch, why.

    Raises:
        ReaderError: no GPU.
    """
    _require()
    rate, layers, rows, left_out = copy_rate(), layers_by_arm(arms), [], []
    for batch in batches:
        known = {}
        for steps in sorted(lengths):
            x, draws = activity(steps, batch)
            for arm, layer in layers.items():
                if why := too_long(known.get(arm), steps, limit):
                    left_out.append({"arm": arm, "steps": steps, "batch": batch, "why": why})
                    continue
                row = _timed(layer, x, draws, layer_bytes(steps, batch) / rate)
                known[arm] = steps, row["seconds"]
                rows.append({"arm": arm, "steps": steps, "batch": batch, **row})
    for arm in {"LIF fused"} - set(layers) if arms is None or "LIF fused" in arms else ():
        left_out.append({"arm": arm, "why": "backend cuda has no compiled LIF"})
    ours = {(r["steps"], r["batch"]): r["seconds"] for r in rows if r["arm"] == "SPSN-SB (scan)"}
    for row in rows:
        base = ours.get((row["steps"], row["batch"]))
        row["speedup"] = row["seconds"] / base if base else None
    labels = backends.operators("cuda").labels
    return {
        "device": machine.device("cuda"),
        "copy_rate": rate,
        "labels": {k: labels[k] for k in ("lif", "integrate_and_fire")},
        "rows": rows,
        "left_out": left_out,
    }


def too_long(known, steps, limit):
    """Why a quadratic pass from the last known (steps, seconds) would break the limit, or None."""
    if known is None:
        return None
    before, seconds = known
    expected = seconds * (steps / before) ** 2
    if seconds > 0.05 and expected > limit:
        return f"up to {expected:.0f} s a call by {seconds:.2g} s at {before} steps"
    return None


def _timed(layer, x, draws, floor):
    def train_once():
        layer.zero_grad(set_to_none=True)
        layer(x, draws).sum().backward()

    # A slow baseline is timed fewer times: its own seconds say more than their median.
    first = measure(train_once, 1, 1).median
    timing = measure(train_once, REPEATS if first < 0.5 else 2, WARMUP if first < 0.5 else 0)
    return {
        "seconds": timing.median,
        "least": float(timing.seconds.min()),
        "disturbed": timing.disturbed,
        "peak_mb": peak_memory(train_once),
        "floor": floor,
        "over_floor": timing.median / floor,
    }


def neuron_alone(lengths=LENGTHS, batches=BATCHES, neurons: int = NEURONS) -> list[dict]:
    """`integrate_and_fire` without its synapse, forward and backward, against `NEURON_BYTES` over the copy
    rate: rows of form, steps, batch, seconds, floor, over_floor.

    Raises:
        ReaderError: no GPU.
    """
    _require()
    rate, rows, device = copy_rate(), [], backends.device("cuda")
    fire = backends.operator("integrate_and_fire", "cuda")
    for form in ("SPSN-SB", "SPSN-GS"):
        neuron = spsn.neuron(form, DT)
        for steps in lengths:
            for batch in batches:
                x = torch.randn(steps, batch, neurons, device=device, requires_grad=True)
                grad, names = torch.ones_like(x), np.arange(batch)

                def once(x=x, grad=grad, names=names, neuron=neuron):
                    x.grad = None
                    fire(x, neuron, 0, "spike", names, 0).backward(grad)

                seconds = measure(once, REPEATS, WARMUP).median
                floor = NEURON_BYTES * x.numel() / rate
                row = {"form": form, "steps": steps, "batch": batch, "seconds": seconds}
                rows.append(row | {"floor": floor, "over_floor": seconds / floor})
    return rows


def forms(lengths=LENGTHS, neurons=(128, 2048, 8192, 32_768, 131_072), most: int = 2**30) -> list:
    """Forward seconds of each form of `integrate` at T steps and B * N neurons: what its table needs.

    Args:
        most: elements a case may have.

    Returns:
        rows of form, steps, neurons, seconds, over_floor (of 8 bytes a neuron and step).

    Raises:
        ReaderError: no GPU.
    """
    _require()
    from paraspike.ops.integrate import cuda

    rate, rows = copy_rate(), []
    integrator = spsn.neuron("SPSN-SB", DT).integrator
    for steps in lengths:
        for count in neurons:
            if steps * count > most:
                continue
            x = torch.randn(steps, 1, count, device=backends.device("cuda"))
            for form in cuda.FORMS[1:]:
                timing = measure(lambda: cuda.integrate(x, integrator, form), REPEATS, WARMUP)  # noqa: B023
                row = {"form": form, "steps": steps, "neurons": count, "seconds": timing.median}
                rows.append(row | {"over_floor": timing.median * rate / (8 * x.numel())})
    return rows


def main() -> int:
    if reason := why_not():
        print(f"nothing timed: {reason}", file=sys.stderr)
        return 0
    made = {**figure5(), "neuron": neuron_alone(), "forms": forms()}
    print(json.dumps(made, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
