"""Runs the program of supersteps over layers on tiles, forward and back."""

import torch

from paraspike.ipu.program import Program
from paraspike.ipu.tiles import Lists, TileLayer
from paraspike.neurons import LIF


class Executor:
    """A mapped network that runs forward and back over lists of spikes.

    Args:
        program: its supersteps.  layers: a `TileLayer` for each block of the mapping.
        wants_input: the gradient of the input's entries too, which training does without.
    """

    def __init__(self, program: Program, layers: list[TileLayer], wants_input: bool = False):
        self.program, self.layers, self.wants_input = program, layers, wants_input

    def forward(self, lists: Lists, batch: int) -> None:
        """Run all steps; each layer's lists stay in its `out`, a readout's potentials in `potential`."""
        self.lists, self.batch = lists, batch
        for layer in self.layers:
            layer.begin(batch)
        for t in range(len(lists.ids)):
            for turn, superstep in self.program.forward:
                for index in turn:
                    self._forward(superstep.name, index, t)

    def backward(self, grads: list) -> list:
        """Run all steps back; gradients of weights stay in the layers.

        Args:
            grads: for every layer None, or of its list's entries [T][B, s], or of a readout's potentials
                [T][B, N].

        Returns:
            gradient of the input's entries [T][B, s], zero unless wanted.
        """
        self.sent = [self._zeros(self.lists.ids)]
        for layer, grad in zip(self.layers, grads, strict=True):
            like = layer.out.ids if isinstance(layer.neuron, LIF) else layer.potential
            self.sent.append(self._zeros(like) if grad is None else grad)
        self.later = [tuple(torch.zeros_like(v) for v in layer.state) for layer in self.layers]
        for t in reversed(range(len(self.lists.ids))):
            for turn, superstep in self.program.backward:
                for index in turn:
                    self._backward(superstep.name, index, t)
        return self.sent[0]

    def _zeros(self, like):
        return [torch.zeros_like(v, dtype=self.layers[0].weight.dtype) for v in like]

    def _forward(self, name, index, t):
        layer = self.layers[index]
        steps = {
            "gather": lambda: layer.gather(layer.arriving, self.batch),
            "update": layer.update,
            "compact": layer.compact,
            "combine": lambda: layer.combine(t),
            "store": layer.store,
        }
        if name == "broadcast":
            layer.arriving = self._arriving(index, t)
        elif name in ("gather", "update") or isinstance(layer.neuron, LIF):
            steps[name]()

    def _backward(self, name, index, t):
        layer = self.layers[index]
        if name == "recall":
            layer.arriving = self._arriving(index, t)
            return
        if name == "delta":
            grad = self.sent[index + 1][t]
            layer.e, self.later[index] = layer.delta(t, grad, self.later[index])
            return
        steps = {
            "scatter": layer.scatter,
            "products": layer.products,
            "reduce": lambda: layer.reduce(self.program.group),
            "reduce_groups": layer.reduce_groups,
            "send_back": lambda: self._send_back(index, t - self.program.delay),
        }
        step = steps[name]
        idle = layer.arriving is None or (name != "scatter" and not index and not self.wants_input)
        if not idle:
            step()

    def _send_back(self, index, at):
        self.sent[index][at] = self.sent[index][at] + self.layers[index].partial

    def _arriving(self, index, t):
        """The list that reaches a layer at step t; None while nothing has arrived yet."""
        source = self.layers[index - 1].out if index else self.lists
        at = t - self.program.delay
        return source.at(at) if at >= 0 else None
