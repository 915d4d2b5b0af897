"""A network run as one tile program over one or several IPUs; backend `ipu (simulated)`."""

from torch import nn

from paraspike.errors import ReaderError
from paraspike.ipu.machine import machine as machine_of
from paraspike.ipu.run import refuse, run_layers
from paraspike.layer import Draws
from paraspike.network import Activity, Network
from paraspike.spikes import Spikes


class TileNetwork(nn.Module):
    """A `Network` of feedforward LIF layers as one tile program; same weights, same numbers, same gradients.

    Args:
        network: its layers' neurons, delays, capacities and policies are taken over, its weights shared.
            The input's list takes whatever an input has most of in one step.
        machine, ipus: what it is mapped to.  per_tile: neurons a tile, None for the fewest.

    Attributes:
        mapping: of the last pass; `lost` and `counts` are those of its layers.

    Raises:
        ReaderError: a layer that is recurrent or has another neuron; in a pass also what does not fit.
    """

    def __init__(self, network: Network, machine: str = "Bow", ipus: int = 1, per_tile=None):
        super().__init__()
        self.machine = machine_of(machine)
        if not 1 <= ipus <= self.machine.ipus:
            raise ReaderError(f"{ipus} IPUs", "TileNetwork", f"1 to {self.machine.ipus}")
        self.network, self.ipus, self.per_tile = network, ipus, per_tile
        self.mapping, self.seeds = None, network.seeds
        for layer in network.layers:
            refuse(layer.neuron, layer.recurrent_weight, f"layer {layer.name}")

    @property
    def layers(self):
        """The network's own layers."""
        return self.network.layers

    @property
    def lost(self) -> list:
        """What did not fit each layer's list in the last pass, int64 [T, S*B, 2]; None without a capacity."""
        return [layer.lost for layer in self.layers]

    def arrays(self):
        """As `Network.arrays`."""
        return self.network.arrays()

    def forward(self, x: Spikes, draws: Draws | None = None) -> Activity:
        readout, hidden, self.mapping = run_layers(
            self.layers, x, draws, self.machine, self.ipus, self.per_tile
        )
        return Activity(readout, hidden)
