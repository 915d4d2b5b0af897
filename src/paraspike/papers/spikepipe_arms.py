"""SpikePipe's wall time: what each arm of the comparison runs inside its processes, on the same samples."""

import functools
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy

from paraspike.papers.spikepipe_layers import layers
from paraspike.pipelining.cut import Cut
from paraspike.pipelining.networks import Network, dense
from paraspike.pipelining.networks import network as named
from paraspike.pipelining.staleness import Emulator
from paraspike.threads import set_threads


def network_of(network: str, steps: int = 20) -> Network:
    """A stand-in network by its name, or a dense one of sizes like 784-512-10, run for so many steps.

    Raises:
        ReaderError: neither.
    """
    sizes = network.split("-")
    if len(sizes) < 2 or not all(size.isdigit() and int(size) for size in sizes):
        return named(network)
    return Network(network, steps, dense(*map(int, sizes)))


@dataclass(frozen=True)
class Job:
    """A network, its samples and how it is trained: factory, source and optimiser of every arm.

    Attributes:
        batch: samples of an update.  updates: of a timed run.
        rate: share of ones in the input.  learning_rate: of SGD, momentum 0.9.
    """

    network: Network
    batch: int
    updates: int
    seed: int = 0
    rate: float = 0.1
    learning_rate: float = 0.01

    def __call__(self) -> list[nn.Module]:
        return layers(self.network, seed=self.seed)

    def inputs(self, sample: int) -> torch.Tensor:
        """Spikes [T, B, ...] of one update."""
        return self._drawn(sample)[0]

    def labels(self, sample: int) -> torch.Tensor:
        """int64 [B]."""
        return self._drawn(sample)[1]

    def _drawn(self, sample):
        return _drawn(self.network, self.batch, self.seed, self.rate, sample)

    def optimizer(self, parameters) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, self.learning_rate, momentum=0.9)


@functools.lru_cache(256)
def _drawn(network, batch, seed, rate, sample):
    first, generator = network.layers[0], torch.Generator().manual_seed(1000 * seed + sample)
    shape = (first.n_in, first.side, first.side) if first.kernel > 1 else (first.n_in,)
    x = torch.rand((network.steps, batch, *shape), generator=generator) < rate
    return x.float(), torch.randint(0, network.layers[-1].n_out, (batch,), generator=generator)


def draw(desk, job: Job) -> None:
    """Make all samples, before a clock runs; a process keeps the latest 256."""
    desk.say("running")
    for sample in range(job.updates):
        job.inputs(sample)


@dataclass(frozen=True)
class Share:
    """What one process did of an arm: its clock at begin and end, weights by (layer, name), bytes it sent in an
    update, and the share of the time it was at work, NaN where that is not known."""

    begin: float
    end: float
    weights: dict[tuple[int, str], np.ndarray]
    sent: int = 0
    busy: float = float("nan")


def plain(desk, job: Job, threads: int = 1) -> Share:
    """Training in one process."""
    set_threads(threads)
    stack = job()
    optimizer = job.optimizer([p for layer in stack for p in layer.parameters()])
    _step(stack, job, 0)
    begin = begin_all(desk, stack)
    for sample in range(job.updates):
        _step(stack, job, sample)
        optimizer.step()
        optimizer.zero_grad()
    end = time.perf_counter()
    set_threads(1)
    return Share(begin, end, weights_of(enumerate(stack)), busy=1.0)


def data_parallel(desk, job: Job, processes: int) -> Share:
    """Each process its part of every batch; gradients are summed by gloo, as one vector."""
    stack, size = job(), job.batch // processes
    part = slice(desk.rank * size, (desk.rank + 1) * size)
    parameters = [p for layer in stack for p in layer.parameters()]
    optimizer, talking = job.optimizer(parameters), 0.0
    _step(stack, job, 0, part)
    distributed.all_reduce(torch.zeros(sum(p.numel() for p in parameters)))
    begin = begin_all(desk, stack)
    for sample in range(job.updates):
        _step(stack, job, sample, part)
        flat = torch.cat([p.grad.flatten() for p in parameters])
        clock = time.perf_counter()
        distributed.all_reduce(flat)
        talking += time.perf_counter() - clock
        flat /= processes
        for p, grad in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = grad.view_as(p)
        optimizer.step()
        optimizer.zero_grad()
    end = time.perf_counter()
    # Of a ring: each sends 2 (R - 1) / R gradients.
    sent = 2 * (processes - 1) * flat.nbytes // processes
    return Share(begin, end, weights_of(enumerate(stack)), sent, 1 - talking / (end - begin))


def emulated(desk, job: Job, staleness) -> dict:
    """Weights of `Emulator` after the job's updates, stash."""
    stack = job()
    optimizer = job.optimizer([p for layer in stack for p in layer.parameters()])
    emulator = Emulator(stack, staleness, optimizer)
    desk.say("running")
    for sample in range(job.updates):
        emulator.step(job.inputs(sample), job.labels(sample))
    return weights_of(enumerate(stack))


def task_seconds(desk, job: Job, repeats: int = 3) -> np.ndarray:
    """Seconds of F, B and W of each layer in this process, [layer, 3], the least of some repeats; the neurons'
    way back counts to B, of the first layer, which has none (1 us), to W."""
    stack, found = job(), np.full((repeats + 1, job.network.depth, 3), np.inf)
    optimizers = [job.optimizer(list(layer.parameters())) for layer in stack]
    desk.say("running")
    for repeat in range(repeats + 1):
        x, cuts = job.inputs(0), []
        for number, layer in enumerate(stack):
            clock = time.perf_counter()
            cuts.append(Cut(layer, x, layer.synapse))
            x = cuts[-1].out.detach()
            found[repeat, number, 0] = time.perf_counter() - clock
        logits = x.requires_grad_()
        error = torch.autograd.grad(cross_entropy(logits, job.labels(0)), logits)[0]
        for number in reversed(range(len(stack))):
            clock, synapse, above = time.perf_counter(), stack[number].synapse, error
            if number:
                error = cuts[number].below(above, synapse.weight.detach())
            between = time.perf_counter()
            pair = cuts[number].update(above)
            for p, grad in zip((synapse.weight, synapse.bias), pair, strict=True):
                p.grad = grad
            optimizers[number].step()
            found[repeat, number, 1] = between - clock if number else 1e-6
            found[repeat, number, 2] = time.perf_counter() - between
    return found[1:].min(0)


def _step(stack, job, sample, part=slice(None)):
    """Gradients of one update's samples."""
    x = job.inputs(sample)[:, part]
    for layer in stack:
        x = layer(x)
    cross_entropy(x, job.labels(sample)[part]).backward()


def begin_all(desk, modules) -> float:
    """The clock, when all are ready and what the first step left is forgotten."""
    for module in modules:
        module.zero_grad()
    desk.together()
    return time.perf_counter()


def weights_of(numbered) -> dict[tuple[int, str], np.ndarray]:
    """Of (number, layer) pairs, copied."""
    return {
        (number, name): p.detach().numpy().copy()
        for number, layer in numbered
        for name, p in layer.synapse.named_parameters()
    }
