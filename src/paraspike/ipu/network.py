"""A network run as one tile program over one or several IPUs; backend `ipu (simulated)`."""

import torch
from torch import nn

from paraspike.errors import ReaderError
from paraspike.ipu.machine import machine as machine_of
from paraspike.ipu.mapping import place
from paraspike.ipu.program import Program
from paraspike.ipu.run import Part, Run, listed, lists_of, refuse
from paraspike.layer import Draws
from paraspike.network import Activity, Network
from paraspike.spikes import Spikes


class TileNetwork(nn.Module):
    """A `Network` of feedforward LIF layers as one tile program; same weights, same numbers.

    Args:
        network: its layers' neurons, delays, capacities and policies are taken over, its weights shared.
            The input's list takes whatever an input has most of in one step.
        machine, ipus: what it is mapped to.  per_tile: neurons a tile, None for the fewest.

    Attributes:
        mapping: of the last pass.  counts, lost: of each layer, int64 [T, S*B, 2], after a pass.

    Raises:
        ReaderError: a layer that is recurrent or has another neuron; delays that differ; what does not
            fit the machine.
    """

    def __init__(self, network: Network, machine: str = "Bow", ipus: int = 1, per_tile=None):
        super().__init__()
        self.network, self.machine, self.ipus = network, machine_of(machine), ipus
        self.per_tile, self.seeds = per_tile, network.seeds
        for layer in network.layers:
            refuse(layer.neuron, layer.recurrent_weight, f"layer {layer.name}")
        if len({layer.delay for layer in network.layers}) > 1:
            raise ReaderError("delays that differ", "TileNetwork", "one delay for all layers")

    @property
    def layers(self):
        """The network's own layers."""
        return self.network.layers

    def arrays(self):
        """As `Network.arrays`."""
        return self.network.arrays()

    def forward(self, x: Spikes, draws: Draws | None = None) -> Activity:
        own = self.network.layers
        dtype = own[0].weight.dtype
        raster = x.dense(dtype).detach()
        blocks, hidden, counts, lost = [], [], [], []
        for s, rows in enumerate(raster.chunk(len(self.seeds), 1)):
            batch = rows.shape[1]
            span = slice(s * batch, (s + 1) * batch)
            given = lists_of(rows)
            slots = [given.ids[0].shape[1] if given.ids else 1]
            slots += [layer.capacity or layer.n_out for layer in own]
            self.mapping = place(
                [own[0].n_in, *(layer.n_out for layer in own)],
                slots,
                self.machine,
                ipus=self.ipus,
                batch=batch,
                steps=rows.shape[0],
                per_tile=self.per_tile,
            )
            parts = [
                Part(layer.neuron, layer.policy if layer.capacity else "first") for layer in own
            ]
            for part, layer in zip(parts, own, strict=True):
                if part.policy == "random":
                    if draws is None:
                        raise ReaderError("policy random without draws", "TileNetwork")
                    part.offsets = layer.offsets(draws, rows.shape[0])[:, span]
            weights = []
            for layer in own:
                weight = layer.weight if layer.mask is None else layer.weight * layer.mask
                weights += [weight[s], None if layer.bias is None else layer.bias[s]]
            made = []
            carrier = torch.zeros((), dtype=dtype).expand(rows.shape)
            program = Program(self.mapping, own[0].delay)
            blocks.append(Run.apply(carrier, given, program, parts, made, *weights))
            hidden.append([listed(v, (*rows.shape[:2], v.block.n))[0].to(dtype) for v in made[:-1]])
            counts.append([_stacked(layer.out.counts) for layer in made])
            lost.append([_stacked(layer.out.lost) for layer in made])
        join = lambda columns: [torch.cat(c, 1) for c in zip(*columns, strict=True)]  # noqa: E731
        self.counts, self.lost = join(counts), join(lost)
        return Activity(torch.cat(blocks, 1), [Spikes.from_dense(h) for h in join(hidden)])


def _stacked(rows):
    return torch.stack(rows) if rows else torch.zeros(0, 0, 2, dtype=torch.long)
