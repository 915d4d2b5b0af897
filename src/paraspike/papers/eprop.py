"""E-prop (Knight & Nowotny, NICE 2022): its neurons, its networks by name, and its baseline's neuron."""

import math
from dataclasses import dataclass

import torch

from paraspike.convolution import ConvLayer
from paraspike.errors import ReaderError
from paraspike.neurons import LIF, LeakyIntegrator, Surrogate, decay
from paraspike.recurrent import RateTarget, RecurrentNetwork

# Sheet, section 2; times in seconds. The published beta is per unit of an adaptation that has decayed.
TAU_MEMBRANE, TAU_ADAPTATION, TAU_RATE = 0.02, 2.0, 0.5
THRESHOLD, BETA, DAMPENING, REFRACTORY = 0.6, 0.0174, 0.3, 5e-3
TARGET_HZ, RATE_WEIGHT = 10.0, 1e-3
# Section 3: the baseline's decays stay those of 1 ms however time is binned, as its program has it.
TAU_SYN, TAU_MEM, BASELINE_STEP, BASELINE_GAIN = 5e-3, 10e-3, 1e-3, 0.2

CONNECTIVITY = ("feedforward", "recurrent")


@dataclass(frozen=True)
class Arm:
    """A network by what differs: rule, cell, feedback, hidden layers, a convolution in front."""

    rule: str = "eprop"
    cell: str = "ALIF"
    feedback: str = "symmetric"
    layers: int = 1
    front: bool = False


# What each name in figures and claims stands for; "GeNN", "EventProp" and sparse arms train otherwise.
ARMS = {
    "eProp ALIF": Arm(),
    "eProp LIF": Arm(cell="LIF"),
    "BPTT LIF": Arm(rule="bptt", cell="SuperSpike"),
    "BPTT ALIF": Arm(rule="bptt"),
    "eProp ALIF, random feedback": Arm(feedback="random"),
    "eProp ALIF, adaptive feedback": Arm(feedback="adaptive"),
    "eProp ALIF, 2 layers": Arm(layers=2),
    "eProp ALIF, 3 layers": Arm(layers=3),
    "eProp ALIF, convolution": Arm(front=True),
}
GENN, EVENTPROP = "eProp ALIF, as GeNN", "EventProp LIF"


def lsnn(dt: float, adaptive: bool = True) -> LIF:
    """A neuron of the LSNN: v <- exp(-dt / 20 ms) v + x; a spike at 0.6 plus, where `adaptive`, 0.0174 per
    unit of an adaptation that decays over 2 s; then v less 0.6 and no spike for 5 ms, the spike's own
    step included. The pseudo-derivative is (0.3 / 0.6) max(0, 1 - |v - level| / 0.6); no gradient
    passes through the reset (sheet, section 2). dt in seconds.

    GeNN lets the adaptation decay before it is compared, the normal form after: beta carries that decay.
    """
    rho = decay(dt, TAU_ADAPTATION) if adaptive else 0.0
    steps = math.ceil(round(REFRACTORY / dt, 6)) - 1
    return LIF(
        a_uu=decay(dt, TAU_MEMBRANE),
        a_ui=1.0,
        threshold=THRESHOLD,
        strict=False,
        beta=BETA * rho,
        rho=rho,
        reset="subtract",
        refractory="block_spike" if steps else "none",
        refractory_steps=steps,
        reset_grad="through",
        surrogate=Surrogate("triangle", 1 / THRESHOLD, DAMPENING / THRESHOLD),
    )


def readout(dt: float) -> LeakyIntegrator:
    """y <- exp(-dt / 20 ms) y + x; dt in seconds."""
    return LeakyIntegrator(0.0, decay(dt, TAU_MEMBRANE), 1.0)


def rate_target(dt: float, weight: float = RATE_WEIGHT) -> RateTarget:
    """10 Hz, averaged over 500 ms; dt in seconds."""
    return RateTarget.from_times(dt, TARGET_HZ, weight, TAU_RATE)


def superspike() -> LIF:
    """The baseline's neuron (sheet, section 3): syn <- alpha syn + x, mem <- beta mem + syn with decays of
    5 and 10 ms, reset to zero by a detached spike that wipes the next step's whole potential, threshold
    1, surrogate 1 / (100 |v| + 1)^2.

    In its program x reaches the potential two steps later and recurrent spikes take three steps, not one;
    for a feedforward layer that only shifts the output (tested), `papers.eprop_baseline` has it as it is.
    """
    return LIF(
        a_ii=decay(BASELINE_STEP, TAU_SYN),
        a_uu=decay(BASELINE_STEP, TAU_MEM),
        a_ui=1.0,
        threshold=1.0,
        reset="zero",
        reset_at="next_step",
        gate_input=True,
        reset_grad="masked",
        surrogate=Surrogate("fast_sigmoid", 100.0),
    )


def superspike_readout() -> LeakyIntegrator:
    """The baseline's readout: the same two filters."""
    return LeakyIntegrator(decay(BASELINE_STEP, TAU_SYN), decay(BASELINE_STEP, TAU_MEM), 1.0)


def network(
    arm: str, connectivity: str, hidden: int, n_in: int, n_out: int, dt: float, *, seeds=(0,),
    backend="auto", rate_weight: float = RATE_WEIGHT, masks=None, filters=8, width=40, stride=20,
) -> RecurrentNetwork:  # fmt: skip
    """The network of an arm (`ARMS`), `hidden` neurons in each of its layers.

    Args:
        connectivity: "feedforward" or "recurrent".
        masks: (mask, recurrent mask) of the one hidden layer, or None.
        filters, width, stride: of the convolution, in channels.

    Raises:
        ReaderError: no such arm or connectivity.
    """
    if arm not in ARMS or connectivity not in CONNECTIVITY:
        raise ReaderError(
            f"no network {arm!r}, {connectivity!r}",
            "papers.eprop",
            f"one of {', '.join(ARMS)}; {' or '.join(CONNECTIVITY)}",
        )
    kind, recurrent = ARMS[arm], connectivity == "recurrent"
    common = {"seeds": seeds, "recurrent": recurrent, "rule": kind.rule, "backend": backend}
    if kind.cell == "SuperSpike":
        made = RecurrentNetwork(
            n_in, [hidden], n_out, superspike(), superspike_readout(), bias=False, **common
        )
        with torch.no_grad():
            for weights in made.parameters():
                weights.mul_(BASELINE_GAIN)
        return made
    neuron, front = lsnn(dt, kind.cell == "ALIF"), None
    if kind.front:
        front = ConvLayer(n_in, filters, width, stride, neuron, seeds, backend=backend)
    return RecurrentNetwork(
        n_in, [hidden] * kind.layers, n_out, neuron, readout(dt), feedback=kind.feedback, front=front,
        rate=rate_target(dt, rate_weight), masks=[masks] if masks else None, **common,
    )  # fmt: skip


if __name__ == "__main__":
    from paraspike.pipeline import plain

    raise SystemExit(plain.main("eprop"))
