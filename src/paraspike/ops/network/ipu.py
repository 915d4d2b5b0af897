"""A whole network as one tile program on one Bow IPU, executed on the CPU."""

from paraspike.ipu.machine import MACHINES
from paraspike.ipu.run import run_layers


def network(layers, x, draws=None):
    """Readout [T, S*B, C] and hidden spikes of feedforward LIF layers; each keeps its `counts` and `lost`.

    Args:
        layers: `Layer`s, the readout last.  x: `Spikes` [T, S*B, N_in].  draws: as `Network.forward`.

    Raises:
        ReaderError: what tiles lack, input that does not fit, or a network that does not fit the machine.
    """
    return run_layers(layers, x, draws, MACHINES["Bow"])[:2]
