"""SPSN on a GPU: figure 5's layer in its arms, and the forms of integration, alone and fused with spiking."""

import numpy as np
import torch

from benchmarks.cuda_lif import copy_rate, timed
from paraspike import backends
from paraspike.layer import Draws, Layer
from paraspike.papers import spsn

LENGTHS, BATCHES = (100, 300, 1000, 3000, 10_000), (1, 64)
N_IN, NEURONS, DENSITY, DT = 128, 128, 0.02, 1e-3
# Neurons (B * N) that integration's forms are measured at, and calls in a row.
COUNTS, REPEATS = (128, 2048, 8192, 16_384, 32_768, 65_536, 131_072), 10
# float32 read and written once per neuron and step by SB or GS, forward and backward: currents, spikes and
# the gradient's factor; gradient, factor and the currents' gradient.
NEURON_BYTES = 24


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


def too_long(known: list[tuple[int, float]], steps: int, limit: float) -> str | None:
    """Why a call would break the limit (seconds), by the growth between the last two known (steps, seconds), at
    least linear and at most quadratic, by the latter where one alone is known; or None."""
    if not known:
        return None
    power, (before, seconds) = 2.0, known[-1]
    if len(known) > 1:
        (earlier, least), _ = known[-2:]
        power = float(np.clip(np.log(seconds / least) / np.log(before / earlier), 1.0, 2.0))
    expected = seconds * (steps / before) ** power
    if seconds > 0.05 and expected > limit:
        return f"up to {expected:.0f} s a call by {seconds:.2g} s at {before} steps"
    return None


def forms(lengths=LENGTHS, neurons=COUNTS, most: int = 2**28) -> list[dict]:
    """Forward seconds of each form of `integrate` at T steps and B * N neurons, at most `most` elements: rows
    of form, steps, neurons, seconds, over_floor (of 8 bytes a neuron and step)."""
    from paraspike.ops.integrate import cuda

    rate, rows = copy_rate(), []
    integrator = spsn.neuron("SPSN-SB", DT).integrator
    for steps, count in _sizes(lengths, neurons, most):
        x = torch.randn(steps, 1, count, device=backends.device("cuda"))
        for form in cuda.FORMS[1:]:
            seconds = timed(lambda: cuda.integrate(x, integrator, form), REPEATS)[0]  # noqa: B023
            row = {"form": form, "steps": steps, "neurons": count, "seconds": seconds}
            rows.append(row | {"over_floor": seconds * rate / (8 * x.numel())})
    return rows


def fused_forms(lengths=LENGTHS, neurons=COUNTS, most: int = 2**28) -> list[dict]:
    """Seconds, forward and backward, of SPSN-SB fused with its integration by each plan of `integrate`: rows of
    form (walk, split), steps, neurons, seconds, over_floor (of `NEURON_BYTES`)."""
    from paraspike.ops.integrate import cuda

    rate, rows, planned = copy_rate(), [], cuda.plan
    fire, neuron = backends.operator("integrate_and_fire", "cuda"), spsn.neuron("SPSN-SB", DT)
    try:
        for steps, count in _sizes(lengths, neurons, most):
            x = torch.randn(steps, 1, count, device=backends.device("cuda"), requires_grad=True)
            grad, names = torch.ones_like(x), np.arange(1)

            def once(x=x, grad=grad, names=names):
                x.grad = None
                fire(x, neuron, 0, "spike", names, 0).backward(grad)

            for form in ("walk", "split"):
                cuda.plan = lambda shape, blocks, *_, form=form, **__: planned(shape, blocks, form)
                seconds = timed(once, REPEATS)[0]
                row = {"form": form, "steps": steps, "neurons": count, "seconds": seconds}
                rows.append(row | {"over_floor": seconds * rate / (NEURON_BYTES * x.numel())})
    finally:
        cuda.plan = planned
    return rows


def _sizes(lengths, neurons, most):
    return [(steps, n) for steps in lengths for n in neurons if steps * n <= most]
