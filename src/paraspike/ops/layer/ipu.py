"""A layer as a tile program of its own: supersteps on tiles, executed on the CPU."""

import math

import torch

from paraspike.ipu.machine import MACHINES
from paraspike.ipu.mapping import place
from paraspike.ipu.program import Program
from paraspike.ipu.run import Part, Run, listed, lists_of, refuse
from paraspike.spikes import Spikes, from_bits, to_bits

_WHERE = "operator layer, backend ipu (simulated)"


def layer(
    x: Spikes,
    weight,
    bias,
    neuron,
    recurrent=None,
    delay: int = 0,
    trace: bool = False,
    notes=None,
    local: bool = False,
    marks: bool = False,
):
    """As `layer.cpu.layer`, without recurrence; the neurons within reach are always marked.

    One Bow IPU; the input's list takes what a step has most of, the output's all neurons.

    Raises:
        ReaderError: what tiles lack, or a network that does not fit their memory.
    """
    refuse(neuron, recurrent, _WHERE)
    steps, batch, n_in = x.shape
    n, stack = weight.shape[-1], weight if weight.dim() == 3 else weight[None]
    seeds = len(stack)
    raster = x.dense(weight.dtype).detach()
    near = torch.ones_like(raster, dtype=torch.bool) if x.carrier.requires_grad else None
    if x.near is not None:
        near = from_bits(x.near, x.shape)
    outs, marked, levels = [], [], []
    for s in range(seeds):
        rows = slice(s * batch // seeds, (s + 1) * batch // seeds)
        given = lists_of(raster[:, rows], None if near is None else near[:, rows])
        slots = given.ids[0].shape[1] if steps else 1
        mapping = place(
            [n_in, n], [slots, n], MACHINES["Bow"], batch=max(1, batch // seeds), steps=steps
        )
        offset = None if bias is None else bias.reshape(seeds, n)[s]
        made = []
        outs.append(
            Run.apply(
                x.carrier[:, rows],
                given,
                Program(mapping, delay),
                [Part(neuron, keeps=trace)],
                made,
                stack[s],
                offset,
            )[0]
        )
        levels += [torch.stack(made[0].levels) if made[0].levels else outs[-1].detach()]
        marked.append(listed(made[0], outs[-1].shape)[1] if neuron.fires else None)
    out = torch.cat(outs, 1)
    if notes is not None:
        notes["product_share"] = 0.0
    if not neuron.fires:
        return out
    bounded = any(map(math.isfinite, neuron.surrogate.reach))
    near = to_bits(torch.cat(marked, 1)) if bounded else None
    spikes = Spikes(out.shape, dense=out, near=near)
    return (spikes, torch.cat(levels, 1)) if trace else spikes
