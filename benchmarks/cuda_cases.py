"""What `python -m benchmarks.cuda` times: groups of cases that take their turns together."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks import cuda_lif, cuda_spsn, floors, workloads
from benchmarks.compare import densities, differences
from benchmarks.cuda_turns import Case
from benchmarks.libraries import OURS, YARDSTICK, adapter, versions
from paraspike import __version__, backends
from paraspike.neurons import cuba
from paraspike.papers import spsn

PEERS = ("snntorch", "spikingjelly", YARDSTICK)
LAYER = {"steps": 500, "batch": 64, "neurons": 1024}
FIGURE5 = "figure 5, SPSN's layer"


def version(library: str) -> str:
    """As recorded; ours also where the package runs from a checkout that nobody installed."""
    return __version__ if library == OURS else versions(library)


def absent(library: str) -> str | None:
    """Why a peer is left out, or None."""
    if "not installed" in version(library):
        return f"left out: not installed ({' / '.join(adapter(library).PACKAGES)})"
    return None


def _case(workload, steps, batch, library, mode, start, traffic) -> Case:
    """A case, or the line that says why there is none."""
    why = absent(library)
    case = Case(workload, steps, batch, library, mode, None if why else start, traffic)
    case.version = version(library)
    case.notes += [why] if why else []
    return case


def layer(steps=500, batch=64, neurons=1024, device="cuda") -> Iterator[list[Case]]:
    """A LIF layer over given currents [T, B, N], forward + backward: ours, both ways back, and the peers; ours
    alone, beside the memory floor, of current-based LIF and of SPSN."""
    name = f"LIF layer of {neurons}"
    traffic = float(cuda_lif.FLOOR_BYTES * steps * batch * neurons)
    data = partial(_currents, steps, batch, neurons, device)

    def case(library, mode, make, workload=name):
        return _case(workload, steps, batch, library, mode, lambda: _both(make(), *data()), traffic)

    def ours(neuron, keep):
        return lambda: partial(backends.operator("lif", "cuda"), neuron=neuron, keep=keep)

    lif, jelly = adapter(OURS).neuron(), adapter("spikingjelly")
    keeps = cuda_lif.KEEPS
    group = [case(OURS, f"keeps {keep}", ours(lif, keep)) for keep in keeps]
    group.append(case("snntorch", "step", lambda: adapter("snntorch").layer().to(device)))
    for mode in ("multi-step", jelly.FUSED):
        group.append(case("spikingjelly", mode, partial(_jelly, mode, device)))
    group.append(case(YARDSTICK, "unbind", lambda: adapter(YARDSTICK).layer))
    yield group
    current = cuba(1e-3, 5e-3, 1e-2)
    title = f"current-based {name}"
    yield [case(OURS, f"keeps {keep}", ours(current, keep), title) for keep in keeps]
    fire, names = backends.operator("integrate_and_fire", "cuda"), np.arange(batch)
    traffic = float(cuda_spsn.NEURON_BYTES * steps * batch * neurons)
    for form in spsn.STOCHASTIC:
        neuron = spsn.neuron(form, cuda_spsn.DT)

        def make(neuron=neuron):
            return lambda x: fire(x, neuron, 0, "spike", names, 0)

        yield [case(OURS, "fused", make, f"{form} layer of {neurons}")]


def _currents(steps, batch, neurons, device):
    draw = torch.Generator(device).manual_seed(0)
    x = torch.randn(steps, batch, neurons, device=device, generator=draw).mul_(2.0)
    return x.requires_grad_(), torch.randn(x.shape, device=device, generator=draw)


def _both(function, x, grad):
    def call():
        function(x).backward(grad)
        # Not before the call: its memory would count as one that a call finds.
        x.grad = None

    return call


def _jelly(mode, device):
    from spikingjelly.activation_based import functional

    node = adapter("spikingjelly").node(mode).to(device)

    def function(x):
        functional.reset_net(node)
        return node(x)

    return function


def networks(words=("w2-500", "w2r", "w2i"), compiled=True, device="cuda") -> Iterator[list[Case]]:
    """Training steps and inference of the workloads that `make bench` has, by the same adapters."""
    for workload in workloads.select(list(words)):
        # All libraries' steps are compiled from one method in one process; beyond its limit torch would
        # run them as they are, without a word.
        torch.compiler.reset()
        with torch._dynamo.config.patch(recompile_limit=256, fail_on_recompile_limit_hit=True):
            yield network(workload, compiled, device)


def network(workload, compiled=True, device="cuda") -> list[Case]:
    """A workload's cases. Outputs are held to the torch loop's, which comes first, as a case is built."""
    data, truth, group = workloads.draw(workload), {}, []

    def start(library, mode):
        more = {"backend": "cuda"} if library == OURS else {}
        runner = adapter(library).build(workload, mode, data, **more).to(device)
        found = runner.outputs()
        if library == YARDSTICK and not truth:
            truth.update(found)
            noted = workloads.check_densities(workload, densities(workload, found))
        else:
            noted = differences(found, truth)[1] if truth else "not compared: the torch loop failed"
        case = next(c for c in group if (c.arm, c.mode) == (library, mode))
        case.notes.append(noted)
        runner.restore()
        return runner.step

    for library in (YARDSTICK, OURS, *PEERS[:2]):
        more = {"device": "cuda"} if library == "spikingjelly" else {}
        for mode in adapter(library).modes(workload, **more):
            if compiled or "compile" not in mode:
                begin = partial(start, library, mode)
                sizes = (workload.name, workload.steps, workload.batch)
                group.append(_case(*sizes, library, mode, begin, floors.traffic(workload)))
    return group


def figure5(
    lengths=cuda_spsn.LENGTHS, batches=cuda_spsn.BATCHES, limit=20.0, arms=None
) -> Iterator:
    """The published layer's training step at each length and batch, batch 1 first; an arm that would take
    longer than `limit` seconds by its last two lengths is left out there."""
    layers = cuda_spsn.layers_by_arm(arms)
    for batch in batches:
        known = {}
        for steps in sorted(lengths):
            traffic = float(cuda_spsn.layer_bytes(steps, batch))
            x, draws = cuda_spsn.activity(steps, batch)
            group = []
            for arm, module in layers.items():
                start = partial(_training, module, x, draws)
                case = _case(FIGURE5, steps, batch, OURS, "forward + backward", start, traffic)
                case.arm = arm
                if why := cuda_spsn.too_long(known.get(arm), steps, limit):
                    case.start = None
                    case.notes.append(f"left out: {why}")
                group.append(case)
            yield group
            # By now they have been timed.
            for case in group:
                if case.rounds:
                    known.setdefault(case.arm, []).append((steps, float(np.median(case.rounds))))


def _training(module, x, draws):
    def call():
        module.zero_grad(set_to_none=True)
        module(x, draws).sum().backward()

    return call
