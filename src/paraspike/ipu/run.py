"""One pass of a tile program inside autograd."""

from dataclasses import dataclass

import torch

from paraspike.errors import ReaderError
from paraspike.ipu.execute import Executor
from paraspike.ipu.program import Program
from paraspike.ipu.tiles import Lists, TileLayer
from paraspike.neurons import LIF, LeakyIntegrator
from paraspike.ops.compact.reference import lists, spread


@dataclass
class Part:
    """What a layer of a program is made of: neuron, policy of its list, offsets [T, B] of its scans."""

    neuron: LIF | LeakyIntegrator
    policy: str = "first"
    offsets: torch.Tensor | None = None


def lists_of(raster: torch.Tensor, near=None, slots: int | None = None) -> Lists:
    """Spike lists of a raster [T, B, N], whose counts may be above 1; all that fit if `slots` is None.

    near: bool [T, B, N], silent neurons that are listed after the spikes, for they get a gradient.
    """
    near = torch.zeros_like(raster, dtype=torch.bool) if near is None else near
    fired = raster != 0
    if slots is None:
        slots = int((fired | near).sum(-1).max()) if raster.numel() else 1
    ids, counts, lost = lists(fired, near, max(1, slots))
    values = raster.gather(-1, ids.clamp(min=0))
    return Lists(*(list(v.unbind(0)) for v in (ids, counts, values, lost)))


class Run(torch.autograd.Function):
    """One pass of a program: raster of the last layer's list, or a readout's potential, [T, B, N].

    `layers` is a list that receives the layers on their tiles, with their lists.
    """

    @staticmethod
    def forward(ctx, carrier, given: Lists, program: Program, parts, layers, *weights):
        blocks = program.mapping.blocks
        made = [
            TileLayer(block, weights[2 * k], weights[2 * k + 1], p.neuron, p.policy, p.offsets)
            for k, (block, p) in enumerate(zip(blocks, parts, strict=True))
        ]
        layers[:] = made
        ctx.executor = Executor(program, made, wants_input=ctx.needs_input_grad[0])
        batch, last = carrier.shape[1], made[-1]
        ctx.executor.forward(given, batch)
        ctx.given, ctx.shape = given, carrier.shape
        if not carrier.shape[0]:
            return carrier.new_zeros(0, batch, blocks[-1].n, dtype=last.weight.dtype)
        if not isinstance(last.neuron, LIF):
            return torch.stack(last.potential)
        return listed(last, None)[0].to(last.weight.dtype)

    @staticmethod
    def backward(ctx, grad):
        executor = ctx.executor
        last = executor.layers[-1]
        grads = list(grad.unbind(0))
        if isinstance(last.neuron, LIF):
            grads = [
                g.gather(1, ids.clamp(min=0)) for g, ids in zip(grads, last.out.ids, strict=True)
            ]
        sent = executor.backward(grads)
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = grad.new_zeros(*ctx.shape[:2], ctx.shape[2] + 1)
            for t, (ids, _, _) in enumerate(map(ctx.given.at, range(ctx.shape[0]))):
                of_input[t].scatter_(1, torch.where(ids < 0, ctx.shape[2], ids), sent[t])
            of_input = of_input[..., :-1]
        found = []
        for layer in executor.layers:
            bias = None if layer.of_bias is None else layer.from_tiles(layer.of_bias)
            found += [layer.from_tiles(layer.of_weight), bias]
        return of_input, None, None, None, None, *found


def listed(layer: TileLayer, shape) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [T, B, N] twice: the spikes in a layer's lists, and all their entries."""
    if not layer.out.ids:
        return torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    return spread(torch.stack(layer.out.ids), torch.stack(layer.out.counts), layer.block.n)


def refuse(neuron, recurrent, where: str) -> None:
    """What the tile program lacks.

    Raises:
        ReaderError: names it.
    """
    if recurrent is not None:
        raise ReaderError(
            "backend ipu (simulated) lacks recurrent layers", where, "cpu and reference have them"
        )
    if not isinstance(neuron, (LIF, LeakyIntegrator)):
        raise ReaderError(
            f"backend ipu (simulated) lacks neurons of type {type(neuron).__name__}",
            where,
            "LIF and LeakyIntegrator run on tiles",
        )
