"""What the torch libraries share: a stack of layers over time, its loss, its training step."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.workloads import GAIN, LEARNING_RATE, SLOPE, Data, Workload

# (current [B, N], state) -> (spikes [B, N], state); a state of None is the beginning.
Cell = Callable[[torch.Tensor, object], tuple[torch.Tensor, object]]


class FastSigmoid(torch.autograd.Function):
    """Spike where v > 0, with ds/dv = 1 / (slope |v| + 1)^2."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad / (SLOPE * v.abs() + 1) ** 2


class Stack(nn.Module):
    """Linear layers with spiking cells, run step by step or layer by layer.

    Args:
        workload, data: sizes and weights.
        cells: one for each layer: a `Cell`, or for `by_layer` a function of currents [T, B, N].
        by_layer: run each layer over the whole sequence before the next.
        compiled: torch.compile the step of the whole stack.
        gain: factor on the weights of a library whose neuron scales its input by 1 / gain.
        time: axis of time.
    """

    def __init__(
        self,
        workload: Workload,
        data: Data,
        cells,
        by_layer=False,
        compiled=False,
        gain=1.0,
        time=0,
    ):
        super().__init__()
        self.cells = nn.ModuleList(cells) if isinstance(cells[0], nn.Module) else cells
        self.by_layer, self.gain, self.time = by_layer, gain, time
        self.weights = [w * np.float32(gain) for w in data.weights]
        self.linears = nn.ModuleList(nn.Linear(*w.shape, bias=False) for w in data.weights)
        self.recurrent = None
        if data.recurrent is not None:
            self.weights.append(data.recurrent * np.float32(gain))
            self.recurrent = nn.Linear(*data.recurrent.shape, bias=False)
        self.restore()
        self.advance = torch.compile(self._advance) if compiled else self._advance

    def parameters_in_order(self) -> list[nn.Parameter]:
        """Weights [N_out, N_in] of the layers, then the recurrent one."""
        last = [self.recurrent.weight] if self.recurrent is not None else []
        return [linear.weight for linear in self.linears] + last

    def restore(self) -> None:
        with torch.no_grad():
            for parameter, weight in zip(self.parameters_in_order(), self.weights, strict=True):
                parameter.copy_(torch.from_numpy(weight.T))

    def _advance(self, x, states):
        """One time step of all layers: x [B, N_in], states one a layer and the last spikes."""
        after, spikes = [], []
        for i, (linear, cell) in enumerate(zip(self.linears, self.cells, strict=True)):
            current = linear(x)
            if i == 0 and self.recurrent is not None and states[-1] is not None:
                current = current + self.recurrent(states[-1])
            x, state = cell(current, states[i])
            after.append(state)
            spikes.append(x)
        return spikes, [*after, spikes[0]]

    def forward(self, x, every=False):
        """Spikes of the output neurons over time [B, N_out]; with `every`, those of each layer."""
        if self.by_layer:
            totals = []
            for linear, cell in zip(self.linears, self.cells, strict=True):
                x = cell(linear(x))
                totals.append(x.sum(self.time) if every or linear is self.linears[-1] else None)
            return totals if every else totals[-1]
        states = [None] * (len(self.linears) + 1)
        totals = [0.0] * len(self.linears)
        for x_t in x.unbind(self.time):
            spikes, states = self.advance(x_t, states)
            for i in range(0 if every else len(spikes) - 1, len(spikes)):
                totals[i] = totals[i] + spikes[i]
        return totals if every else totals[-1]


class TorchRunner:
    """A stack with its input, loss and optimiser.

    Args:
        net: called with the input, gives spikes over time [B, N_out]; `every=True` all layers'.
        before: called before each pass, for libraries that keep their state in the modules.
    """

    def __init__(self, workload, data, net, inputs, before=lambda: None):
        self.kind, self.steps = workload.kind, workload.steps
        self.net, self.inputs, self.before = net, inputs, before
        self.labels = torch.from_numpy(data.labels)
        self.parameters = net.parameters_in_order()
        self.adam = torch.optim.Adam(self.parameters, lr=LEARNING_RATE)
        self.restore = net.restore

    def to(self, device) -> "TorchRunner":
        """Network, input and labels moved to a device, once."""
        self.net.to(device)
        self.labels = self.labels.to(device)
        if isinstance(self.inputs, torch.Tensor):
            self.inputs = self.inputs.to(device)
        else:
            self.inputs = type(self.inputs).from_resident(self.inputs.on(device))
        return self

    def loss(self):
        self.before()
        return cross_entropy(self.net(self.inputs) * (GAIN / self.steps), self.labels)

    def step(self) -> None:
        if self.kind == "infer":
            with torch.no_grad():
                self.before()
                self.net(self.inputs)
            return
        self.adam.zero_grad(set_to_none=True)
        self.loss().backward()
        self.adam.step()

    def outputs(self) -> dict[str, np.ndarray]:
        with torch.no_grad():
            self.before()
            totals = self.net(self.inputs, every=True)
        found = {f"spikes{i}": t.cpu().numpy().copy() for i, t in enumerate(totals, 1)}
        if self.kind == "train":
            self.adam.zero_grad(set_to_none=True)
            loss = self.loss()
            loss.backward()
            found["loss"] = loss.detach().cpu().numpy()
            gain = getattr(self.net, "gain", 1.0)
            for i, parameter in enumerate(self.parameters, 1):
                grad = parameter.grad.cpu().numpy() * np.float32(gain)
                found[f"gradient{i}"] = grad.T if isinstance(self.net, Stack) else grad.copy()
            self.adam.zero_grad(set_to_none=True)
        return found


def dense(data: Data, batch_first=False) -> torch.Tensor:
    """The input as float32 [T, B, N], or [B, T, N]: the form dense libraries take."""
    x = torch.from_numpy(data.inputs).float()
    return x.transpose(0, 1).contiguous() if batch_first else x
