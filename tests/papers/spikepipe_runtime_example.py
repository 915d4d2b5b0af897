"""What the runtime's tests hand to processes, which must be able to import it."""

import os
import signal
import struct
import sys
import time
from dataclasses import dataclass

import torch
from torch import distributed

from paraspike.papers.spikepipe_layers import layers
from paraspike.pipelining.networks import Network, conv, dense

DENSE = Network("dense", 5, dense(12, 9, 8, 7, 4))
PLANES = Network("planes", 4, (conv(1, 3, 8, True), conv(3, 4, 4, True), *dense(16, 6, 5)))
SHAPES = {"dense": (5, 3, 12), "planes": (4, 3, 1, 8, 8)}


def dense_layers():
    return layers(DENSE)


def planes_layers():
    return layers(PLANES)


def momentum(parameters):
    return torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=1e-3)


def adam(parameters):
    return torch.optim.Adam(parameters, 5e-3)


@dataclass(frozen=True)
class Batches:
    """Random spikes and labels, of each sample its own."""

    network: Network

    def _generator(self, sample, what):
        return torch.Generator().manual_seed(2 * sample + what)

    def inputs(self, sample):
        shape = SHAPES[self.network.name]
        return (torch.rand(shape, generator=self._generator(sample, 0)) < 0.5).float()

    def labels(self, sample):
        shape = SHAPES[self.network.name]
        classes = self.network.layers[-1].n_out
        return torch.randint(0, classes, (shape[1],), generator=self._generator(sample, 1))


class SlowSecond(torch.optim.SGD):
    """Descent that takes its time over layer 2 of DENSE."""

    def step(self):
        if self.param_groups[0]["params"][0].shape == (8, 9):
            time.sleep(0.1)
        super().step()


class Growing(Batches):
    """Its third batch has one sample more."""

    def inputs(self, sample):
        x = super().inputs(sample)
        return x if sample < 2 else torch.cat([x, x[:, :1]], 1)


class Descent:
    """Gradient descent that starts at once: torch's optimisers import a compiler for two seconds."""

    def __init__(self, parameters):
        self.parameters, self.param_groups = parameters, [{"params": parameters}]

    @torch.no_grad()
    def step(self):
        for p in self.parameters:
            p -= 0.1 * p.grad

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None


class Momentum(Descent):
    """Gradient descent with a state."""

    def __init__(self, parameters):
        super().__init__(parameters)
        self.speeds = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self):
        for p, speed in zip(self.parameters, self.speeds, strict=True):
            p -= speed.mul_(0.9).add_(p.grad, alpha=0.05)


class Faulty(torch.nn.Module):
    """A layer that at its fourth sample does something else."""

    def __init__(self, layer, fault):
        super().__init__()
        self.layer, self.fault, self.calls = layer, fault, 0

    @property
    def synapse(self):
        return self.layer.synapse

    def forward(self, x, synapse=None):
        self.calls += 1
        # The first call is the worker's own, before the samples.
        if self.calls == 5:
            {"killed": self.killed, "hangs": self.hangs}[self.fault]()
        return self.layer(x, synapse)

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self):
        time.sleep(600)


def faulty_layers(fault):
    """DENSE with a fault in layer 4, which contiguous schedules put on the last processor."""
    stack = layers(DENSE)
    return [*stack[:3], Faulty(stack[3], fault)]


def never_ready(parameters):
    """An optimiser factory that hangs."""
    time.sleep(600)


def size_of(desk, data):
    return len(data)


def echo(desk, data):
    return data


def stops(desk):
    """At its task this process is stopped."""
    desk.say("running", "W", 2, 5)
    os.kill(os.getpid(), signal.SIGSTOP)


def stops_in_its_answer(desk):
    """It announces 50 MB, sends a thousand bytes and is stopped."""
    desk.say("answering")
    os.write(desk._pipe.fileno(), struct.pack("!i", 50_000_000) + bytes(1000))
    os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_each_other(desk):
    desk.together()
    desk.say("waiting", "F", 2 + desk.rank, 0)
    distributed.recv(torch.zeros(1), 1 - desk.rank)


def computes_while_others_sleep(desk, seconds):
    """The first process computes before its first word, as a compiler does, the others wait for that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01 if desk.rank else 0)
    desk.together()
    return desk.rank


def threads_of(desk):
    """Threads of torch and Numba here, and heavy modules that nobody asked for."""
    loaded = [name for name in ("xarray", "pandas", "matplotlib") if name in sys.modules]
    import numba

    return torch.get_num_threads(), numba.get_num_threads(), loaded
