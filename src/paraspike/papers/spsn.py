"""SPSN (Arnaud Yarga & Wood, arXiv 2306.12666): its networks, and its algorithms as published."""

import dataclasses

import numpy as np
import torch

from paraspike import backends, training
from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.learning.bptt import Objective
from paraspike.network import Network
from paraspike.neurons import (
    LIF,
    SPSN,
    Identity,
    LeakyIntegrator,
    ReLU,
    Surrogate,
    cuba,
)
from paraspike.ops.integrate.reference import parallel, sequential
from paraspike.ops.surrogate import Fire

MODELS = ("LIF", "SPSN-SB", "SPSN-GS", "ReLU")
STOCHASTIC = ("SPSN-SB", "SPSN-GS")

# Table I: budgets on firing, in spikes per neuron and step.
RATE_BUDGET = {"SPSN-SB": 0.4, "SPSN-GS": 0.1}

# A backend's fused operators would take the place of the published ones.
_SEPARATE = {"layer": None, "network": None, "integrate_and_fire": None}


def lif(
    dt: float, tau_syn: float = 0.02, tau_mem: float = 0.02, form: str = "code", **options
) -> LIF:
    """The paper's LIF, times in seconds.

    form "code": u <- 0 at the spike, detached, as the authors' program has it; "paper": equation 6
    read literally, where the reset wipes out the next step's potential, its input included.
    """
    reset = {"code": {"reset_at": "spike"}, "paper": {"reset_at": "next_step", "gate_input": True}}
    if form not in reset:
        raise ReaderError(f"form {form!r} is unknown", "papers.spsn.lif", "code or paper")
    given = {
        "surrogate": Surrogate("fast_sigmoid", 100.0),
        "reset": "zero",
        **reset[form],
        **options,
    }
    return cuba(dt, tau_syn, tau_mem, **given)


def neuron(model: str, dt: float, tau_syn: float = 0.02, tau_mem: float = 0.02, **options):
    """The hidden neuron of a model: "LIF", "SPSN-SB", "SPSN-GS" or "ReLU"; "SPSN-T", "SPSN-D" are
    the deterministic forms (thresholds 1 and 0.1). Times in seconds.

    Raises:
        ReaderError: no such model.
    """
    if model == "LIF":
        return lif(dt, tau_syn, tau_mem, **options)
    if model == "ReLU":
        return ReLU()
    form = model.removeprefix("SPSN-")
    if form not in ("SB", "GS", "T", "D"):
        raise ReaderError(
            f"model {model!r} is unknown", "papers.spsn", f"one of {', '.join(MODELS)}"
        )
    threshold = {"D": 0.1}.get(form, 1.0)
    integrator = LeakyIntegrator.from_times(dt, tau_syn, tau_mem)
    return SPSN(integrator, form, **{"threshold": threshold, **options})


def network(
    model: str,
    n_in: int,
    hidden,
    n_out: int,
    dt: float,
    *,
    tau_syn=0.02,
    tau_mem=0.02,
    seeds=(0,),
    backend="auto",
) -> Network:
    """n_in - hidden - n_out with a leaky-integrator readout of the same time constants; the
    non-spiking net has torch.nn.Linear's initialisation and a plain linear readout: nothing in it
    remembers."""
    sizes, hidden_neuron = (n_in, *hidden, n_out), neuron(model, dt, tau_syn, tau_mem)
    if model == "ReLU":
        return Network(sizes, hidden_neuron, Identity(), seeds, init="linear", backend=backend)
    readout = LeakyIntegrator.from_times(dt, tau_syn, tau_mem)
    return Network(sizes, hidden_neuron, readout, seeds, backend=backend)


def rate_budget(model: str, regime: str) -> float:
    """Theta of equation 21 that a regime asks of a model; 0 outside "augmentation+regularisation"."""
    return RATE_BUDGET[model] if regime == "augmentation+regularisation" else 0.0


def settings(
    regime: str,
    theta: float = 0.0,
    readout: str = "mean",
    shift=0.1,
    scale=0.3,
    rate_weight=1.0,
    **given,
):
    """Training settings of a regime: basic, augmentation or augmentation+regularisation."""
    known = ("basic", "augmentation", "augmentation+regularisation")
    if regime not in known:
        raise ReaderError(
            f"regime {regime!r} is unknown", "papers.spsn", f"one of {', '.join(known)}"
        )
    warp = None if regime == "basic" else training.Augmentation(shift, scale)
    return training.Settings(
        objective=Objective(readout, theta, rate_weight), augmentation=warp, **given
    )


def membrane_as_published(x: torch.Tensor, integrator: LeakyIntegrator) -> torch.Tensor:
    """Equation 15 with the authors' padding: three spectra of 2 T points multiplied.

    The product of two kernels and the input needs 3 T - 2 points, so the tail wraps round into the
    first T - 1 outputs. x and result are [T, B, N].
    """
    steps = x.shape[0]
    m = torch.arange(steps, dtype=x.dtype, device=x.device)
    l_kernel, k_kernel = integrator.a_ii**m, integrator.a_ui * integrator.a_uu**m
    response = torch.fft.rfft(l_kernel, 2 * steps) * torch.fft.rfft(k_kernel, 2 * steps)
    spectrum = torch.fft.rfft(x, 2 * steps, dim=0) * response.reshape(-1, 1, 1)
    return torch.fft.irfft(spectrum, 2 * steps, dim=0)[:steps]


def lif_as_published(x: torch.Tensor, neuron: LIF) -> torch.Tensor:
    """The authors' LIF loop, which indexes x[t]: each index's backward adds a whole [T, B, N] tensor,
    so the backward pass costs O(T^2). Same spikes and gradients as the reference's unbind loop."""
    return _lif_loop([x[t] for t in range(x.shape[0])], neuron)


def lif_unbind(x: torch.Tensor, neuron: LIF) -> torch.Tensor:
    """The same loop over x.unbind(0): one backward for all steps, O(T)."""
    return _lif_loop(x.unbind(0), neuron)


def _lif_loop(inputs, neuron):
    i = u = torch.zeros_like(inputs[0])
    spikes = []
    for x_t in inputs:
        i = neuron.a_ii * i + x_t
        u = neuron.a_uu * u + neuron.a_ui * i
        distance = u - neuron.threshold
        s = Fire.apply(distance, distance.detach() > 0, distance.detach(), neuron.surrogate)
        u = u * (1 - s.detach())
        spikes.append(s)
    return torch.stack(spikes)


def noise_as_published(like: torch.Tensor, seeds, stream, samples, trial) -> torch.Tensor:
    """Uniform in (0, 1) from torch's own generator, as the authors' program draws it; not keyed."""
    return torch.rand_like(like)


def operators_as_published(backend: str = "auto") -> backends.Operators:
    """Operators that compute what the authors' program computed: LIF by the slicing loop, SPSN's
    membrane by the FFT with 2 T points, torch's random numbers, dense matrix products."""
    name = backends.resolve(backend)
    base = backends.operators("cuda" if name == "cuda" else "reference")
    labels = base.labels | {
        "lif": "slicing loop as published",
        "integrate": "FFT, 2T points as published",
        "noise": "torch.rand as published",
    }
    return dataclasses.replace(
        base,
        lif=lif_as_published,
        integrate=membrane_as_published,
        noise=noise_as_published,
        labels=labels,
        **_SEPARATE,
    )


def padding_error(steps: int, integrator: LeakyIntegrator, padded, trials: int = 8, seed: int = 0):
    """Relative rms error of a membrane algorithm against the recurrence in float64, on white noise."""
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((steps, trials, 16)))
    exact = sequential(x, integrator)
    error = padded(x.float(), integrator).double() - exact
    return float(error.square().mean().sqrt() / exact.square().mean().sqrt())


def duration_layers(n_in, neurons, dt, tau_syn=0.02, tau_mem=0.02, backend="auto") -> dict:
    """Figure 5's arms on a backend: one Linear + neuron layer each, by name.

    LIF as published, LIF unbind and SPSN-SB (FFT) exist everywhere; LIF fused and SPSN-SB (scan) where
    the backend has compiled kernels.
    """
    name = backends.resolve(backend)
    plain = backends.operators("cuda" if name == "cuda" else "reference")
    plain = dataclasses.replace(plain, **_SEPARATE)
    chosen = {
        "LIF as published": ("LIF", dataclasses.replace(plain, lif=lif_as_published)),
        "LIF unbind": ("LIF", dataclasses.replace(plain, lif=lif_unbind)),
        "SPSN-SB (FFT)": (
            "SPSN-SB",
            dataclasses.replace(plain, integrate=parallel, noise=noise_as_published),
        ),
    }
    compiled = {"LIF fused": ("LIF", "lif"), "SPSN-SB (scan)": ("SPSN-SB", "integrate")}
    for arm, (model, operator) in compiled.items():
        if not backends.TABLE[operator].get(name, ("reference",))[0].endswith("reference"):
            chosen[arm] = (model, backends.operators(name))
    device = backends.device(name)
    return {
        arm: Layer(n_in, neurons, neuron(model, dt, tau_syn, tau_mem), backend=ops).to(device)
        for arm, (model, ops) in chosen.items()
    }


if __name__ == "__main__":
    from paraspike.pipeline import plain

    raise SystemExit(plain.main("spsn"))
