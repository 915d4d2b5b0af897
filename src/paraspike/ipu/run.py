"""One pass of a tile program inside autograd."""

from dataclasses import dataclass

import torch

from paraspike.errors import ReaderError
from paraspike.ipu.execute import Executor
from paraspike.ipu.mapping import Mapping, place
from paraspike.ipu.program import Program
from paraspike.ipu.tiles import Lists, TileLayer
from paraspike.listing import offsets
from paraspike.neurons import LIF, LeakyIntegrator
from paraspike.ops.compact.reference import lists, spread
from paraspike.spikes import Spikes, from_bits


@dataclass
class Part:
    """What a layer of a program is made of: neuron, policy of its list, offsets [T, B] of its scans, whether
    it keeps its potentials."""

    neuron: LIF | LeakyIntegrator
    policy: str = "first"
    offsets: torch.Tensor | None = None
    keeps: bool = False


def lists_of(raster: torch.Tensor, near=None) -> Lists:
    """Spike lists of a raster [T, B, N], whose counts may be above 1, with as many slots as are needed.

    near: bool [T, B, N], silent neurons that are listed after the spikes, for they get a gradient.
    """
    near = torch.zeros_like(raster, dtype=torch.bool) if near is None else near
    fired = raster != 0
    slots = int((fired | near).sum(-1).max()) if raster.numel() else 1
    ids, counts, lost = lists(fired, near, max(1, slots))
    values = raster.gather(-1, ids.clamp(min=0))
    return Lists(*(list(v.unbind(0)) for v in (ids, counts, values, lost)))


class Run(torch.autograd.Function):
    """One pass of a program: of every layer the raster of its lists, or a readout's potential, [T, B, N].

    `layers` is a list that receives the layers on their tiles, with their lists.
    """

    @staticmethod
    def forward(ctx, carrier, given: Lists, program: Program, parts, layers, *weights):
        ctx.set_materialize_grads(False)
        blocks = program.mapping.blocks
        layers[:] = [
            TileLayer(block, w, b, part.neuron, part.policy, part.offsets, part.keeps)
            for block, part, w, b in zip(blocks, parts, weights[::2], weights[1::2], strict=True)
        ]
        ctx.executor = Executor(program, list(layers), wants_input=ctx.needs_input_grad[0])
        ctx.executor.forward(given, carrier.shape[1])
        ctx.given, ctx.shape = given, carrier.shape
        return tuple(_shown(layer, carrier.shape[:2]) for layer in layers)

    @staticmethod
    def backward(ctx, *grads):
        executor = ctx.executor
        found = [
            None if grad is None else _of_entries(layer, grad)
            for layer, grad in zip(executor.layers, grads, strict=True)
        ]
        sent = executor.backward(found)
        of_input = None
        if ctx.needs_input_grad[0]:
            n_in = ctx.shape[2]
            of_input = executor.layers[0].weight.new_zeros(*ctx.shape[:2], n_in + 1)
            for t, (ids, _, _) in enumerate(map(ctx.given.at, range(ctx.shape[0]))):
                of_input[t].scatter_(1, torch.where(ids < 0, n_in, ids), sent[t])
            of_input = of_input[..., :-1]
        of_weights = []
        for layer in executor.layers:
            bias = None if layer.of_bias is None else layer.from_tiles(layer.of_bias)
            of_weights += [layer.from_tiles(layer.of_weight), bias]
        return of_input, None, None, None, None, *of_weights


def listed(layer: TileLayer, shape) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [T, B, N] twice: the spikes in a layer's lists, and all their entries."""
    if not layer.out.ids:
        return torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    return spread(torch.stack(layer.out.ids), torch.stack(layer.out.counts), layer.block.n)


def run_layers(
    layers, x: Spikes, draws, machine, ipus: int = 1, per_tile: int | None = None
) -> tuple[torch.Tensor, list[Spikes], Mapping]:
    """All layers as one program, seed by seed: readout [T, S*B, C], hidden spikes, and the mapping.

    Args:
        layers: feedforward `Layer`s with one delay, the readout last; `counts` and `lost` are set.
        draws: names the random offsets of the policy random.

    Raises:
        ReaderError: what tiles lack, input that does not fit, or a network that does not fit the machine.
    """
    first, seeds = layers[0], len(layers[0].seeds)
    for layer in layers:
        refuse(layer.neuron, layer.recurrent_weight, f"layer {layer.name}")
    if len({layer.delay for layer in layers}) > 1:
        raise ReaderError("delays that differ", "tile program", "one delay for all layers")
    if not isinstance(x, Spikes) or x.shape[2] != first.n_in or x.shape[1] % seeds:
        shape = list(x.shape) if hasattr(x, "shape") else type(x).__name__
        raise ReaderError(
            f"input {shape} does not fit [T, B, {first.n_in}]",
            "tile program",
            f"`Spikes`, B a multiple of {seeds} seeds",
        )
    if draws is None and any(layer.policy == "random" and layer.capacity for layer in layers):
        draws = first.own_draws(x.shape[1])
    dtype, batch = first.weight.dtype, x.shape[1] // seeds
    raster = x.dense(dtype).detach()
    near = torch.ones_like(raster, dtype=torch.bool) if x.carrier.requires_grad else None
    if x.near is not None:
        near = from_bits(x.near, x.shape)
    columns, counts, lost, mapping = [], [], [], None
    for s in range(seeds):
        rows = slice(s * batch, (s + 1) * batch)
        given = lists_of(raster[:, rows], None if near is None else near[:, rows])
        slots = [given.ids[0].shape[1] if given.ids else 1]
        slots += [layer.capacity or layer.n_out for layer in layers]
        sizes = [first.n_in, *(layer.n_out for layer in layers)]
        mapping = place(
            sizes,
            slots,
            machine,
            ipus=ipus,
            batch=max(1, batch),
            steps=x.shape[0],
            per_tile=per_tile,
        )
        parts, weights, made = [], [], []
        for layer in layers:
            policy = layer.policy if layer.capacity else "first"
            starts = offsets(layer, draws, x.shape[0])[:, rows] if policy == "random" else None
            parts.append(Part(layer.neuron, policy, starts))
            weight = layer.weight if layer.mask is None else layer.weight * layer.mask
            weights += [weight[s], None if layer.bias is None else layer.bias[s]]
        program = Program(mapping, first.delay)
        columns.append(Run.apply(x.carrier[:, rows], given, program, parts, made, *weights))
        counts.append([_stacked(layer.out.counts, x.shape[0], batch) for layer in made])
        lost.append([_stacked(layer.out.lost, x.shape[0], batch) for layer in made])
    outs = [torch.cat(column, 1) for column in zip(*columns, strict=True)]
    for k, layer in enumerate(layers):
        layer.counts = torch.cat([c[k] for c in counts], 1) if layer.capacity else None
        layer.lost = torch.cat([v[k] for v in lost], 1) if layer.capacity else None
    return outs[-1], [Spikes.from_dense(out) for out in outs[:-1]], mapping


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


def _shown(layer, shape):
    empty = layer.weight.new_zeros(*shape, layer.block.n)
    if not isinstance(layer.neuron, LIF):
        return torch.stack(layer.potential) if layer.potential else empty
    return listed(layer, empty.shape)[0].to(empty.dtype)


def _of_entries(layer, grad):
    """The gradient a layer hears [T, B, N]: of its list's entries, or of its potential."""
    steps = list(grad.unbind(0))
    if not isinstance(layer.neuron, LIF):
        return steps
    return [g.gather(1, ids.clamp(min=0)) for g, ids in zip(steps, layer.out.ids, strict=True)]


def _stacked(rows, steps, batch):
    return torch.stack(rows) if rows else torch.zeros(steps, batch, 2, dtype=torch.long)
