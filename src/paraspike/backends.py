"""Backends: their names, what is available, and which implementation of which operator each one has.

Nothing falls back silently: the table below is the whole truth, an unavailable backend or a missing
operator is an error that names the cure.
"""

import difflib
import functools
import importlib
from dataclasses import MISSING, dataclass, field, fields

import torch

from paraspike.errors import ReaderError
from paraspike.machine import label

BACKENDS = ("reference", "cpu", "cuda", "ipu")

# operator -> backend -> (module, function, what it is)
TABLE = {
    "lif": {
        "reference": ("lif.reference", "lif", "loop over time, autograd"),
        "cpu": ("lif.cpu", "lif", "compiled scan"),
        "cuda": (
            "lif.cuda",
            "lif",
            "Triton, all time steps fused; recurrent in one launch, or a CUDA graph of steps",
        ),
    },
    "integrate": {
        "reference": ("integrate.reference", "sequential", "loop over time, autograd"),
        "cpu": ("integrate.cpu", "integrate", "compiled scan"),
        "cuda": (
            "integrate.cuda",
            "integrate",
            "Triton, float32: segments of time side by side, or one pass where neurons are many",
        ),
    },
    "spsn": {
        "reference": ("spsn.reference", "spike", "torch"),
        "cpu": ("spsn.reference", "spike", "torch"),
        "cuda": ("spsn.cuda", "spike", "Triton, float32: one kernel each way"),
    },
    "synapse": {
        "reference": ("synapse.reference", "synapse", "matrix product"),
        "cpu": (
            "synapse.cpu",
            "synapse",
            "sum of the weight rows of spikes, register-blocked product where they are dense",
        ),
        "cuda": (
            "synapse.cuda",
            "synapse",
            "Triton: sum of the weight rows of spikes in lists; matrix product where they are dense",
        ),
    },
    "compact": {
        "reference": ("compact.reference", "compact", "sort by rank"),
        "cpu": ("compact.cpu", "compact", "compiled, from bits to bits"),
        "cuda": ("compact.reference", "compact", "sort by rank"),
        "ipu": ("compact.ipu", "compact", "pieces of 64 flags joined, simulated"),
    },
    "noise": {
        "reference": ("noise.reference", "noise", "Philox, compiled for the CPU"),
        "cpu": ("noise.reference", "noise", "Philox, compiled for the CPU"),
        "cuda": ("noise.cuda", "noise", "Philox in Triton, on the device"),
    },
    "integrate_and_fire": {
        "cpu": (
            "spsn.cpu",
            "integrate_and_fire",
            "integrate, noise and spsn in one compiled pass for float32 SB and GS at temperature 1, "
            "in turn for other forms",
        ),
        "cuda": (
            "spsn.cuda",
            "integrate_and_fire",
            "Triton, float32: integration, noise and spikes in one kernel for SB and GS, two for T and D",
        ),
    },
    "layer": {
        "cpu": (
            "layer.cpu",
            "layer",
            "synapse, delay, recurrence and LIF or leaky integrator in one compiled pass",
        ),
        "ipu": ("layer.ipu", "layer", "supersteps on tiles, simulated"),
    },
    "network": {
        "ipu": ("network.ipu", "network", "supersteps on tiles, all layers at once, simulated"),
    },
    "eprop": {
        "reference": ("eprop.reference", "gradients", "eligibility traces online, loop over time"),
        "cpu": (
            "eprop.cpu",
            "gradients",
            "one reverse scan per neuron, weight gradient into the rows of spikes",
        ),
        "cuda": (
            "eprop.cuda",
            "gradients",
            "Triton: one reverse scan per neuron; weight gradient as the synapse's",
        ),
    },
    "stateful": {
        "reference": ("stateful.reference", "stateful", "loop over time"),
        "cpu": ("stateful.cpu", "stateful", "compiled walk, state kept between calls"),
        "cuda": (
            "stateful.cuda",
            "stateful",
            "Triton: all steps in one kernel, state kept between calls",
        ),
    },
    "traces": {
        "reference": ("traces.reference", "traces", "loop over time, all synapses at each step"),
        "cpu": (
            "traces.cpu",
            "traces",
            "compiled, synapses in registers; or a block of steps by three products",
        ),
        "cuda": ("traces.cuda", "traces", "Triton: synapses in registers over all steps of a call"),
    },
    "loss": {
        "cuda": (
            "loss.cuda",
            "losses",
            "Triton: sum over time and cross entropy, all seeds at once",
        ),
    },
    "eventprop": {
        "reference": ("eventprop.reference", "eventprop", "event by event, a sample at a time"),
        "cpu": ("eventprop.cpu", "eventprop", "compiled, samples shared out among the threads"),
    },
    "stdp": {
        "reference": ("stdp.reference", "stdp", "loop over time"),
        "cpu": (
            "stdp.cpu",
            "stdp",
            "strips of columns, whole batch and all steps in one compiled pass",
        ),
        "cuda": ("stdp.cuda", "stdp", "Triton: blocks of columns, whole batch and all steps"),
    },
}


@dataclass(frozen=True)
class Operators:
    """The callables a network is computed with, and what each one is.

    `network` (all layers at once), `layer` (a whole LIF or integrating layer) and `integrate_and_fire` (SPSN
    after its synapse) are None where a backend has none: then `synapse`, `lif`, `integrate`, `noise` and
    `spsn` do it in turn. `loss` is None where seeds are taken one after another.
    """

    backend: str
    lif: callable
    integrate: callable
    spsn: callable
    synapse: callable
    noise: callable
    stdp: callable
    eprop: callable
    stateful: callable
    traces: callable
    compact: callable
    loss: callable = None
    layer: callable = None
    network: callable = None
    eventprop: callable = None
    integrate_and_fire: callable = None
    labels: dict = field(default_factory=dict)


def available(backend: str) -> bool:
    """Whether a backend can run on this machine."""
    if backend == "cuda":
        return torch.cuda.is_available()
    if backend == "cpu":
        from paraspike.ops.jit import numba

        return numba is not None
    return backend in ("reference", "ipu")


def resolve(name: str = "auto") -> str:
    """The backend meant by `name`; `auto` is cuda where there is a GPU, else cpu.

    Raises:
        ReaderError: the name is unknown or the backend cannot run here.
    """
    if name == "auto":
        name = "cuda" if available("cuda") else "cpu"
    if name not in BACKENDS:
        near = difflib.get_close_matches(str(name), ("auto", *BACKENDS), n=1)
        raise ReaderError(
            f"backend {name!r} is unknown",
            "backend",
            f"did you mean {near[0]!r}?" if near else f"one of auto, {', '.join(BACKENDS)}",
        )
    if name == "cpu" and not available(name):
        raise ReaderError(
            "backend cpu needs numba, which cannot be imported here",
            "Python's packages",
            "pip install numba (envs/cpu.txt has a version that fits its numpy), or name a backend",
        )
    if not available(name):
        built = torch.version.cuda or "none (this torch is built for the CPU)"
        raise ReaderError(
            "backend cuda asked for, but torch finds no CUDA device",
            f"torch {torch.__version__}, CUDA {built}",
            "install envs/cuda.txt on a machine with an NVIDIA GPU, or use backend=cpu",
        )
    return name


def device(backend: str) -> torch.device:
    """Where a resolved backend keeps its tensors."""
    return torch.device("cuda" if backend == "cuda" else "cpu")


def operator(name: str, backend: str):
    """One operator's callable.

    Raises:
        ReaderError: the backend has no such operator, or a package that it needs is not installed.
    """
    entry = TABLE.get(name, {}).get(backend)
    if entry is None:
        has = ", ".join(TABLE.get(name, {})) or "no backend"
        raise ReaderError(
            f"backend {label(backend)} lacks operator {name}",
            "paraspike.backends.TABLE",
            f"{has} has it",
        )
    module, function, _ = entry
    try:
        return getattr(importlib.import_module(f"paraspike.ops.{module}"), function)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("paraspike"):
            raise
        raise ReaderError(
            f"operator {name} of backend {label(backend)} needs {error.name}, which is not installed",
            f"paraspike.ops.{module}",
            f"pip install {error.name}; envs/{'cuda' if backend == 'cuda' else 'cpu'}.txt has its version",
        ) from error


def operators(backend: "str | Operators" = "auto") -> Operators:
    """All operators of a backend, resolved; `Operators` are given back as they are.

    Raises:
        ReaderError: as `resolve`.
    """
    return backend if isinstance(backend, Operators) else _operators(resolve(backend))


@functools.cache
def _operators(backend: str) -> Operators:
    present = [op for op in TABLE if backend in TABLE[op]]
    labels = {op: TABLE[op][backend][2] for op in present}
    found = {op: operator(op, backend) for op in present}
    needed = [f.name for f in fields(Operators) if f.default is MISSING and f.name in TABLE]
    lacking = {op: functools.partial(_lacking, op, backend) for op in needed if op not in found}
    return Operators(backend, labels=labels, **found, **lacking)


def _lacking(name, backend, *_, **__):
    """Stands where a backend has no such operator: using it names it."""
    operator(name, backend)
