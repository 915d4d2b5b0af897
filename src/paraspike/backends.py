"""Backends: their names, what is available, and which implementation of which operator each one has.

Nothing falls back silently: the table of operators is the whole truth, an unavailable backend or a missing
operator is an error that names the cure.
"""

import difflib
import functools
import importlib
from dataclasses import MISSING, dataclass, field, fields, replace

import torch

from paraspike.errors import ReaderError
from paraspike.machine import label
from paraspike.ops.table import PRECISIONS, TABLE

BACKENDS = ("reference", "cpu", "cuda", "ipu")


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


def operators(backend: "str | Operators" = "auto", precision: str = "float32") -> Operators:
    """All operators of a backend, resolved; `Operators` are given back as they are.

    Args:
        precision: of what synapses and e-prop's weight gradient multiply, on backend cuda: float32, tf32x3,
            tf32 or bf16 (`ops.synapse.cuda.synapse`). Another than float32 is named by the operators' labels,
            which `Run.save` keeps where it is given them.

    Raises:
        ReaderError: as `resolve`, or a precision that the backend lacks.
    """
    found = backend if isinstance(backend, Operators) else _operators(resolve(backend))
    if precision == "float32":
        return found
    if precision not in PRECISIONS or found.backend != "cuda":
        has = ", ".join(PRECISIONS) if found.backend == "cuda" else "float32"
        where = f"backend {label(found.backend)}"
        raise ReaderError(f"products in precision {precision!r}", where, f"it has {has}")
    named = {
        name: f"{found.labels[name]}; products in {precision}" for name in ("synapse", "eprop")
    }
    multiplying = {
        name: functools.partial(getattr(found, name), precision=precision) for name in named
    }
    return replace(found, labels=found.labels | named, **multiplying)


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
