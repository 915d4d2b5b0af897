"""Runs the program of supersteps over layers on tiles, forward and back."""

import torch

from paraspike.ipu.program import GROUP, Program
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
            grads: of the last layer's list entries [T][B, s], or of its potentials [T][B, N].

        Returns:
            gradient of the input's entries [T][B, s], zero unless wanted.
        """
        zeros = [
            [torch.zeros_like(ids, dtype=self.layers[0].weight.dtype) for ids in source.ids]
            for source in (self.lists, *(layer.out for layer in self.layers[:-1]))
        ]
        self.sent = [*zeros, grads]
        self.later = [tuple(torch.zeros_like(v) for v in layer.state) for layer in self.layers]
        for t in reversed(range(len(self.lists.ids))):
            for turn, superstep in self.program.backward:
                for index in turn:
                    self._backward(superstep.name, index, t)
        return self.sent[0]

    def _forward(self, name, index, t):
        layer = self.layers[index]
        if name == "broadcast":
            layer.arriving = self._arriving(index, t)
        elif name == "gather":
            layer.gather(layer.arriving, self.batch)
        elif name == "update":
            layer.update()
        elif isinstance(layer.neuron, LIF):
            {"compact": layer.compact, "combine": lambda: layer.combine(t), "store": layer.store}[
                name
            ]()

    def _backward(self, name, index, t):
        layer = self.layers[index]
        if name == "recall":
            layer.arriving = self._arriving(index, t)
        elif name == "delta":
            grad = self.sent[index + 1][t]
            layer.e, self.later[index] = layer.delta(t, grad, self.later[index])
        elif layer.arriving is None:
            return
        elif name == "scatter":
            layer.scatter(layer.arriving, layer.e)
        elif index == 0 and not self.wants_input:
            return
        elif name == "products":
            layer.partial = layer.products(layer.arriving, layer.e)
        elif name == "reduce":
            layer.partial = torch.stack([g.sum(-1) for g in layer.partial.split(GROUP, -1)], -1)
        elif name == "reduce_groups":
            layer.partial = layer.partial.sum(-1)
        elif name == "send_back":
            self.sent[index][t - self.program.delay] = layer.partial

    def _arriving(self, index, t):
        """The list that reaches a layer at step t; None while nothing has arrived yet."""
        source = self.layers[index - 1].out if index else self.lists
        at = t - self.program.delay
        return source.at(at) if at >= 0 else None
