"""Brian2 in C++ standalone mode: W1, one image after another on one thread. Optional.

Version 2.9.0 needs numpy < 2.3, so it lies beside the environment, in a folder on PYTHONPATH:
pip install --no-deps --target <folder> brian2==2.9.0 numpy==2.2.6 cython setuptools jinja2 markupsafe
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.workloads import STDP
from paraspike.errors import ReaderError

PACKAGES = ("brian2",)
# Its program runs in a process of its own, and compiling a second one takes half a minute.
SHORT_START = False
DIFFERS = (
    "one image after another with state carried over: weights change from image to image instead of "
    "by the batch's sum; time includes the start of the compiled program, whose memory is not measured"
)
_NEURON = "dv/dt = -v / (100*ms) : 1 (unless refractory)"
_RULE = {
    "model": """w : 1
        dpre/dt = -pre / (20*ms) : 1 (event-driven)
        dpost/dt = -post / (20*ms) : 1 (event-driven)""",
    "on_pre": "v_post += w * int(not_refractory_post)\npre = 1\nw = clip(w - nu_pre * post, w_min, w_max)",
    "on_post": "post = 1\nw = clip(w + nu_post * pre, w_min, w_max)",
}


def modes(workload):
    return ("C++ standalone, one image at a time",) if workload.kind == "stdp" else ()


class _Standalone:
    """All images in one run of a compiled program."""

    def __init__(self, workload, data):
        self.folder = Path(tempfile.mkdtemp(prefix="brian2-"))
        import brian2 as b

        b.set_device("cpp_standalone", directory=str(self.folder), build_on_run=False)
        b.prefs.codegen.cpp.extra_compile_args_gcc = ["-O3", "-march=native", "-ffast-math"]
        b.prefs.devices.cpp_standalone.openmp_threads = 0
        b.defaultclock.dt = 1 * b.ms
        image, unit, step = _events(data.inputs)
        source = b.SpikeGeneratorGroup(
            workload.sizes[0], unit, (image * workload.steps + step) * b.ms, sorted=False
        )
        (low, high), groups = STDP["nu"], [source]
        names = {"nu_pre": low, "nu_post": high, "w_min": STDP["wmin"], "w_max": STDP["wmax"]}
        parts = [source]
        for size, weight in zip(workload.sizes[1:], data.weights, strict=True):
            group = b.NeuronGroup(
                size,
                _NEURON,
                threshold="v >= 13",
                reset="v = 0",
                refractory=5 * b.ms,
                method="exact",
            )
            synapses = b.Synapses(groups[-1], group, **_RULE, delay=1 * b.ms, namespace=names)
            synapses.connect()
            synapses.w = weight.ravel()
            monitor = b.SpikeMonitor(group, record=False)
            groups.append(group)
            parts += [group, synapses, monitor]
        self.monitors = [part for part in parts if isinstance(part, b.SpikeMonitor)]
        net = b.Network(*parts)
        net.run(workload.steps * workload.batch * b.ms)
        b.device.build(directory=str(self.folder), run=False, compile=True)
        self.run = lambda: b.device.run(str(self.folder), with_output=False, run_args=[])

    def step(self):
        self.run()

    def outputs(self):
        self.step()
        return {f"spikes{i}": np.array(m.count[:]) for i, m in enumerate(self.monitors, 1)}

    def restore(self):
        pass

    def __del__(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def _events(raster):
    """(image, unit, step) of each one in uint8 [T, B, N]."""
    step, image, unit = np.nonzero(raster)
    return image, unit, step


def build(workload, mode, data):
    if not shutil.which("g++"):
        raise ReaderError("no C++ compiler for Brian2's standalone mode", "g++", "install g++")
    return _Standalone(workload, data)
