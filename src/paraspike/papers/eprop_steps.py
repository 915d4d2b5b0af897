"""One training step of every method of figure 3, on made-up input that is the same or drawn alike for all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.learning import bptt, eventprop
from paraspike.learning.optimizers import PerSeed
from paraspike.learning.streaming import Stream
from paraspike.papers.eprop import EVENTPROP, lsnn, network, rate_target, readout
from paraspike.papers.eprop_baseline import Baseline
from paraspike.papers.eprop_experiments import settings
from paraspike.papers.eprop_sparse import rewiring, sparse_network
from paraspike.spikes import Spikes

# Methods by name: (what runs it, its network's name or way of running).
METHODS = {
    "BPTT as published": ("baseline", "slicing"),
    "BPTT fair": ("baseline", "unbind"),
    "BPTT fused": ("network", "BPTT LIF"),
    "BPTT ALIF fused": ("network", "BPTT ALIF"),
    "eProp online": ("stream", "online"),
    "eProp chunked": ("stream", "chunked"),
    "eProp factorised": ("network", "eProp ALIF"),
    "eProp 2 layers": ("network", "eProp ALIF, 2 layers"),
    "eProp 3 layers": ("network", "eProp ALIF, 3 layers"),
    "eProp convolution": ("network", "eProp ALIF, convolution"),
    EVENTPROP: ("events", ""),
    "eProp fixed sparse": ("sparse", "fixed"),
    "eProp Deep-R": ("sparse", "Deep-R 80/20"),
}
# Of sparse networks, input and recurrent; and steps that a stream takes at a time, by how it runs.
DENSITY, CHUNK = 0.1, {"online": 50, "chunked": 100}


@dataclass(frozen=True)
class Task:
    """A training step: hidden neurons, time steps of `dt` seconds, samples; inputs fire with `density`."""

    hidden: int
    steps: int
    batch: int
    dt: float = 1e-3
    n_in: int = 700
    n_out: int = 20
    density: float = 0.015
    seed: int = 0

    @property
    def labels(self) -> torch.Tensor:
        return torch.arange(self.batch) % self.n_out

    def piece(self, index: int, steps: int) -> torch.Tensor:
        """Steps index * steps ... of the input, [steps, B, N_in], without making the rest."""
        generator = torch.Generator().manual_seed(1000003 * self.seed + index)
        shape = (steps, self.batch, self.n_in)
        return (torch.rand(shape, generator=generator) < self.density).float()


def step_of(method: str, task: Task, backend="auto", ahead: bool = True) -> Callable[[], None]:
    """One training step of a method, optimiser included; weights change from call to call.

    Input in the form that the method takes is made beforehand, except for the baseline's raster
    [B, T, N_in], which belongs to its step as in its program.

    Args:
        backend: of everything that this engine computes; the baseline is torch's, on that backend's device.
        ahead: False: streams make their input piece by piece as they go.

    Raises:
        ReaderError: no such method, or the backend lacks its operator.
    """
    if method not in METHODS:
        raise ReaderError(f"method {method!r} is unknown", "papers.eprop_times", ", ".join(METHODS))
    kind, name = METHODS[method]
    make = {"baseline": _baseline, "network": _network, "stream": _stream, "events": _events}
    make["sparse"] = _sparse
    return make[kind](name, task, backends.resolve(backend), ahead)


def _lists(task):
    made = Spikes.from_dense(task.piece(0, task.steps))
    return Spikes.from_lists(*made.lists, made.shape)


def _baseline(name, task, backend, _):
    device = backends.device(backend)
    model = Baseline(task.n_in, task.hidden, task.n_out, slicing=name == "slicing", seed=task.seed)
    model, labels = model.to(device), task.labels.to(device)
    optimizer = torch.optim.Adamax(model.parameters(), lr=2e-4)
    given = _lists(task)

    def step():
        raster = Spikes.from_lists(*given.lists, given.shape).dense().transpose(0, 1)
        optimizer.zero_grad()
        model.loss(raster.contiguous().to(device), labels).backward()
        optimizer.step()

    return step


def _made(name, task, backend):
    sizes = task.hidden, task.n_in, task.n_out, task.dt
    return network(name, "recurrent", *sizes, seeds=(task.seed,), backend=backend)


def _network(name, task, backend, _):
    return _trained(_made(name, task, backend), name, task)


def _sparse(kind, task, backend, _):
    sizes = task.n_in, task.hidden, task.n_out, task.dt
    made = sparse_network(kind, *sizes, DENSITY, DENSITY, (task.seed,), backend)
    return _trained(made, "eProp ALIF", task, lambda optimizer: rewiring(kind, made, optimizer))


def _trained(made, name, task, follow=lambda optimizer: None):
    """A step of `made` with the settings of `name`; `follow(optimizer)` gives what steps after it, or None."""
    how = settings(name, task.dt, 1, task.batch, 1e-3, 2e-4)
    optimizer = PerSeed(made, how.optimizer, how.learning_rate)
    given, labels = _lists(task), task.labels.to(made.layers[0].weight.device)
    moves = follow(optimizer)

    def step():
        bptt.step(made, optimizer, given, labels, None, how.objective)
        if moves is not None:
            moves.step()

    return step


def _stream(name, task, backend, ahead):
    made = _made("eProp ALIF", task, backend)
    held = [p[0].detach().requires_grad_() for p in made.parameters()]
    optimizer = torch.optim.Adam(held, lr=1e-3, fused=True)
    names = [n for n, _ in made.named_parameters()]
    order = ("layers.0.weight", "layers.0.recurrent_weight", "layers.1.weight", "layers.1.bias")
    weights = [held[names.index(n)] for n in order]
    stream = Stream(
        *weights, lsnn(task.dt), readout(task.dt), chunk=CHUNK[name], blocked=name == "chunked",
        rate=rate_target(task.dt), backend=backend,
    )  # fmt: skip

    def pieces():
        size = CHUNK[name]
        for index in range(-(-task.steps // size)):
            yield task.piece(index, min(size, task.steps - index * size))

    made_ahead = list(pieces()) if ahead else None

    def step():
        stream.reset()
        for piece in made_ahead or pieces():
            stream(piece, task.labels)
        for weight, grad in zip(weights, stream.take(), strict=True):
            weight.grad = grad
        optimizer.step()

    return step


def _events(_, task, backend, __):
    operator = backends.operator("eventprop", backend)
    made = eventprop.EventPropNetwork(
        task.n_in, task.hidden, task.n_out, duration=task.steps * task.dt + 0.05,
        seeds=(task.seed,), recurrent=True, operator=operator,
    )  # fmt: skip
    optimizer = PerSeed(made, "adam", 1e-3)
    step_, sample, unit = torch.nonzero(task.piece(0, task.steps), as_tuple=True)
    order = np.lexsort((unit, step_, sample))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sample, minlength=task.batch))])
    events = step_.numpy()[order] * task.dt, unit.numpy()[order], offsets.astype(np.int64)
    with torch.no_grad():
        # Three spikes a neuron, as it is trained.
        for _ in range(40):
            if made(events)[1].double().mean() >= 3:
                break
            made.w_in *= 1.2

    def step():
        optimizer.zero_grad()
        logits, _ = made(events)
        torch.nn.functional.cross_entropy(logits, task.labels).backward()
        optimizer.step()

    return step
