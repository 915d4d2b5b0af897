"""BindsNET: W1 as its users write it, and its encoders."""

import numpy as np
import torch

from benchmarks.workloads import STDP, STDP_DT
from paraspike.stub import stand_in

PACKAGES = ("bindsnet",)
DIFFERS = "potentials are held in mV from -65, so that rounding differs"
# What BindsNET imports at its top for data sets, environments and plots; none of it runs here.
UNUSED = ("torchvision", "cv2", "gymnasium", "ale_py", "skimage", "tensorboardX")


def modes(workload):
    return {"stdp": ("run",), "encode": ("poisson", "bernoulli")}.get(workload.kind, ())


class _Network:
    def __init__(self, workload, data):
        from bindsnet.learning import PostPre
        from bindsnet.network import Network
        from bindsnet.network.nodes import Input, LIFNodes
        from bindsnet.network.topology import Connection

        self.net, self.steps = Network(dt=1.0, batch_size=workload.batch), workload.steps
        self.layers = [Input(workload.sizes[0], traces=True)]
        self.layers += [LIFNodes(n, traces=True) for n in workload.sizes[1:]]
        for i, layer in enumerate(self.layers):
            self.net.add_layer(layer, str(i))
        self.initial = [torch.from_numpy(w) for w in data.weights]
        self.connections = []
        for i, weight in enumerate(self.initial):
            source, target = self.layers[i : i + 2]
            options = {"w": weight.clone(), "update_rule": PostPre, **STDP}
            self.connections.append(Connection(source, target, **options))
            self.net.add_connection(self.connections[-1], str(i), str(i + 1))
        self.inputs = torch.from_numpy(data.inputs)

    def restore(self):
        for connection, weight in zip(self.connections, self.initial, strict=True):
            connection.w.data.copy_(weight)

    def step(self):
        self.net.reset_state_variables()
        self.net.run({"0": self.inputs}, time=self.steps)

    def outputs(self):
        from bindsnet.network.monitors import Monitor

        names = [str(i) for i in range(1, len(self.layers))]
        for name in names:
            monitor = Monitor(self.net.layers[name], ["s"], self.steps)
            self.net.add_monitor(monitor, name)
        self.restore()
        self.step()
        monitors = [self.net.monitors.pop(name) for name in names]
        found = {f"spikes{i}": m.get("s").float().sum(0).numpy() for i, m in enumerate(monitors, 1)}
        weights = enumerate(self.connections, 1)
        return found | {f"weights{i}": c.w.detach().numpy().copy() for i, c in weights}


class _Encoder:
    def __init__(self, workload, mode, data):
        from bindsnet.encoding import bernoulli, poisson

        images, steps = torch.from_numpy(data.rates), workload.steps
        if mode == "bernoulli":
            # It scales each image in place to its brightest pixel, whose probability is max_prob.
            chances = [float(image.max()) * STDP_DT for image in images]
            self.jobs = [
                lambda image=image, p=p: bernoulli(image.clone(), steps, max_prob=p)
                for image, p in zip(images, chances, strict=True)
            ]
        else:
            self.jobs = [lambda image=image: poisson(image, steps) for image in images]

    def step(self):
        self.spikes = torch.stack([job() for job in self.jobs], 1)

    def outputs(self):
        self.step()
        return {"spikes1": self.spikes.sum(0).numpy().astype(np.float32)}

    def restore(self):
        pass


def build(workload, mode, data):
    stand_in(*UNUSED)
    if workload.kind == "encode":
        return _Encoder(workload, mode, data)
    return _Network(workload, data)
