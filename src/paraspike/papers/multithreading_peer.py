"""BindsNET itself: the published network in BindsNET 0.3.4, for the sweep and for the equality tests."""

import functools
import importlib
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from paraspike.errors import ReaderError
from paraspike.stub import stand_in

# What BindsNET imports at its top for data sets, environments and plots; none of it runs here.
UNUSED = ("torchvision", "cv2", "gymnasium", "ale_py", "skimage", "tensorboardX")


@functools.cache
def installed() -> str:
    """BindsNET's version, or "" where it is not installed or cannot be imported."""
    try:
        stand_in(*UNUSED)
        importlib.import_module("bindsnet.network")
        return version("bindsnet")
    except (ImportError, PackageNotFoundError):
        return ""


class BindsNET:
    """The network of `multithreading.Network`, with the same arguments.

    Raises:
        ReaderError: BindsNET is not installed.
    """

    def __init__(self, weights: Sequence[torch.Tensor], batch: int, nu, bounds=(0.0, 1.0)):
        if not installed():
            raise ReaderError(
                "BindsNET is not installed",
                "envs/peers.txt",
                "`make` installs it, without its torch",
            )
        from bindsnet.learning import PostPre
        from bindsnet.network import Network
        from bindsnet.network.nodes import Input, LIFNodes
        from bindsnet.network.topology import Connection

        self.net = Network(dt=1.0, batch_size=batch)
        layers = [Input(len(weights[0]), traces=True)]
        layers += [LIFNodes(w.shape[1], traces=True) for w in weights]
        for i, layer in enumerate(layers):
            self.net.add_layer(layer, str(i))
        self.connections = []
        for i, w in enumerate(weights):
            with warnings.catch_warnings():
                # It warns that nothing will be learned: the fault that is reproduced.
                warnings.simplefilter("ignore")
                link = Connection(
                    *layers[i : i + 2],
                    w=w.clone(),
                    update_rule=PostPre,
                    nu=nu if any(nu) else None,
                    wmin=bounds[0],
                    wmax=bounds[1],
                )
            self.connections.append(link)
            self.net.add_connection(link, str(i), str(i + 1))

    def present(self, spikes: torch.Tensor) -> None:
        """Step through spikes [T, B, N_0]."""
        self.net.run({"0": spikes}, time=len(spikes))

    def reset(self) -> None:
        """Forget potentials and traces, keep weights."""
        self.net.reset_state_variables()

    def recorded(self, spikes: torch.Tensor) -> list[torch.Tensor]:
        """Spikes [T, B, N] of each layer after the input, while presenting `spikes`."""
        from bindsnet.network.monitors import Monitor

        names = [str(i + 1) for i in range(len(self.connections))]
        for name in names:
            self.net.add_monitor(Monitor(self.net.layers[name], ["s"], len(spikes)), name)
        self.present(spikes)
        return [self.net.monitors.pop(name).get("s").float() for name in names]

    def weights(self) -> list[torch.Tensor]:
        return [connection.w.data for connection in self.connections]
