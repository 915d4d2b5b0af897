"""Backend cuda on a device that computes nothing: tensors lie where they should, and the host does not wait."""

import os

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available():
    pytest.skip("needs Triton's compiler, and no CUDA device", allow_module_level=True)

from paraspike import backends
from paraspike.datasets import load
from paraspike.datasets.encoders import bernoulli
from paraspike.evaluation import evaluate
from paraspike.layer import Draws
from paraspike.learning import bptt
from paraspike.learning.bptt import Objective
from paraspike.learning.competition import Competition
from paraspike.learning.optimizers import PerSeed
from paraspike.learning.stdp import bindsnet
from paraspike.neurons import SPSN, LeakyIntegrator, cuba
from paraspike.ops.stdp import PostPre
from paraspike.ops.synapse.resident import Resident
from paraspike.papers import eprop, ipu_ways, spsn
from paraspike.papers.eprop_experiments import AsGeNN
from paraspike.papers.eprop_experiments import settings as eprop_settings
from paraspike.spikes import Spikes
from paraspike.training import Trainee, train_together
from tests.fake_cuda import fake_cuda

DT, T, S, B, N_IN, N = 5e-2, 40, 3, 4, 20, 24
# Where the host may wait: when a network or a data set is sent, at an epoch's end, in evaluation; and when a
# neuron is first used, for its constants.
MAY_WAIT = (
    "network.Network.__init__",
    "recurrent.RecurrentNetwork.__init__",
    "resident.ResidentEvents.__init__",
    "training.Trainee._add_up",
    "evaluation.evaluate",
    "eprop_experiments.AsGeNN.test",
    "cuda.constants",
    "cuda._spectrum",
)


def rand(*shape, dtype=torch.float32, grad=True):
    return torch.rand(shape, device="cuda", dtype=dtype).requires_grad_(grad)


def listed(steps, batch, n, events=200):
    """Index lists of which only the device knows what they hold."""
    pointers = torch.zeros(steps * batch + 1, dtype=torch.long, device="cuda")
    units = torch.zeros(events, dtype=torch.int32, device="cuda")
    return Spikes.from_resident(
        Resident(pointers, units, rand(events, grad=False), (steps, batch, n))
    )


def of_host(steps, batch, n):
    lists = np.arange(steps * batch + 1), np.zeros(steps * batch), np.ones(steps * batch)
    return Spikes.from_lists(*lists, (steps, batch, n))


def test_what_a_gpu_refuses_and_waits_for_is_noticed():
    with fake_cuda() as device:
        x, host = rand(4, 3), torch.ones(4, 3)
        assert x.is_cuda and x.device == torch.device("cuda:0") and not host.is_cuda
        with pytest.raises(RuntimeError, match="same device"):
            x + host
        with pytest.raises(RuntimeError, match="same device"):
            host[x > 0]
        for wait in (
            lambda: x.sum().item(),
            lambda: bool((x > 0).all()),
            lambda: x.tolist(),
            lambda: x[x > 0],
            lambda: x[torch.tensor([0, 1])],
            lambda: x.detach().copy_(host),
            lambda: host.to("cuda"),
            lambda: host.to("cuda", non_blocking=True),
            lambda: host.pin_memory().to("cuda"),
            lambda: torch.tensor([1.0], device="cuda"),
            lambda: torch.cuda.synchronize(),
        ):
            device.forget()
            wait()
            assert len(device.waits) == 1
        device.forget()
        (host.pin_memory().to("cuda", non_blocking=True) * x).sum().backward()
        assert not device.waits and device.sent == 1 and x.grad.is_cuda
        assert x.to(x.device).data_ptr() == x.data_ptr() and x[1:].data_ptr() == x.data_ptr() + 12


def lif(dtype, recurrent=None, **options):
    def run():
        x = rand(T, S * B, N, dtype=dtype)
        if recurrent is not None:
            options["recurrent"] = rand(*recurrent, N, N, dtype=dtype)
        for neuron in (cuba(1e-3, 2e-2, 2e-2), eprop.lsnn(1e-3)):
            out = backends.operator("lif", "cuda")(x, neuron, **options)
            (out[0] if options.get("trace") else out).sum().backward()
        assert x.grad.shape == x.shape

    return run


def integrate(form):
    leak = LeakyIntegrator.from_times(1e-3, 2e-2, 2e-2)
    return lambda: (
        backends.operator("integrate", "cuda")(rand(300, B, N), leak, form).sum().backward()
    )


def fire(spike):
    def run():
        neuron = SPSN(LeakyIntegrator.from_times(1e-3, 2e-2, 2e-2), spike)
        x, key = rand(300, S * B, N), (np.repeat([1, 2, 3], B), "spike", np.arange(S * B), 0)
        backends.operator("integrate_and_fire", "cuda")(x, neuron, *key).sum().backward()
        noise = backends.operator("noise", "cuda")(x, *key)
        backends.operator("spsn", "cuda")(x, neuron, noise).sum().backward()

    return run


def synapse(given, **options):
    def run():
        x, weight, bias = given(T, S * B, N_IN), rand(S, N_IN, N), rand(S, N)
        out = backends.operator("synapse", "cuda")(x, weight, bias, 2, **options)
        out.sum().backward()
        assert weight.grad.is_cuda and bias.grad.is_cuda

    return run


def factorised(given):
    x = {"alpha": 0.9, "kappa": 0.8, "beta": 0.1, "rho": 0.9, "seeds": S}
    return lambda: backends.operator("eprop", "cuda")(
        *(rand(T, S * B, N) for _ in "ab"), given(T, S * B, N_IN), rand(T, S * B, N), **x
    )


def online():
    walk, traces = (backends.operator(name, "cuda") for name in ("stateful", "traces"))
    state = held = None
    for _ in range(2):
        spikes, psi, state = walk(rand(T, B, N), eprop.lsnn(1e-3), state, rand(N, N))
        total, zbar = rand(N, N, grad=False), spikes.dense()
        held = traces(psi, psi, psi, zbar, total, held, kappa=0.9, beta=0.1, rho=0.9)


def stdp(given):
    def run():
        for learn in (True, False):
            backends.operator("stdp", "cuda")(
                given(T, B, N_IN), rand(N_IN, N), bindsnet(1e-3), PostPre((1e-4, 1e-2), 0.9), learn
            )

    return run


def compact(policy):
    spikes, near = Spikes.from_dense(rand(T, B, N)), rand(T, B, N) > 0.5
    start = torch.zeros(T, B, dtype=torch.long, device="cuda")
    out, _, _ = backends.operator("compact", "cuda")(spikes, near, 6, policy, start, rand(T, B, N))
    out.dense().sum().backward()


REAL = torch.float32
OPERATORS = {
    "lif, potential": lif(REAL, keep="potential"),
    "lif, states, float64": lif(torch.float64, keep="states"),
    "lif, traced": lif(REAL, trace=True),
    "lif, persistent": lif(REAL, (S,), way="persistent"),
    "lif, persistent, local": lif(REAL, (), way="persistent", local=True),
    "lif, steps": lif(REAL, (S,), way="steps"),
    "lif, steps, traced": lif(REAL, (), way="steps", trace=True),
    **{f"integrate, {form}": integrate(form) for form in ("auto", "walk", "split", "scan", "fft")},
    **{f"SPSN-{spike}": fire(spike) for spike in ("SB", "GS", "T", "D")},
    "synapse, lists": synapse(listed, form="lists"),
    "synapse, lists, bf16": synapse(listed, form="lists", precision="bf16"),
    "synapse, lists of the host": synapse(of_host, form="lists"),
    **{
        f"synapse, {product}, {precision}": synapse(given, product=product, precision=precision)
        for given, product in ((rand, "triton"), (rand, "torch"))
        for precision in ("float32", "tf32", "bf16")
    },
    "synapse, lists multiplied": synapse(listed, form="dense"),
    "eprop": factorised(rand),
    "eprop, lists": factorised(listed),
    "eprop, online": online,
    "stdp": stdp(listed),
    "stdp, lists of the host": stdp(of_host),
    **{f"compact, {p}": (lambda p=p: compact(p)) for p in ("first", "random", "largest")},
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_keep_to_the_device_and_do_not_wait(name):
    with fake_cuda(MAY_WAIT) as device:
        OPERATORS[name]()
        assert not device.waits
        assert device.launches or name.startswith(("compact", "integrate, fft"))


DATA = load("blobs", "train", samples=14)


def trained(make, settings, attach=None):
    def run(seeds):
        arm = Trainee(make(seeds), settings)
        if attach:
            arm.attach(attach(arm.network))
        train_together([arm], DATA)
        evaluate(arm.network, DATA, arm.settings)

    return run


def of_spsn(model, regime="basic"):
    settings = spsn.settings(regime, 0.2, dt=DT, epochs=1, batch_size=8)
    return trained(
        lambda seeds: spsn.network(
            model, DATA.n_units, (8, 9), DATA.n_classes, DT, seeds=seeds, backend="cuda"
        ),
        settings,
    )


def of_eprop(arm, connectivity):
    return trained(
        lambda seeds: eprop.network(
            arm, connectivity, 16, DATA.n_units, DATA.n_classes, DT, seeds=seeds, backend="cuda",
            width=10, stride=5,
        ),
        eprop_settings(arm, DT, 1, 8, 1e-3, 1e-3, 1),
    )  # fmt: skip


def of_ipu(way):
    return trained(
        lambda seeds: ipu_ways.network(
            (DATA.n_units, 16, 12, DATA.n_classes), way, seeds, backend="cuda"
        ),
        ipu_ways.settings(DT, 1, 8, 1e-3),
        (lambda net: ipu_ways.Annealing(net, way.second)) if way.anneal else None,
    )


def as_genn(seeds):
    settings = eprop_settings("eProp ALIF", DT, 1, 8, 1e-3, 1e-3, 1)
    arm = AsGeNN(DATA, 16, True, seeds, settings, chunk=15, backend="cuda")
    train_together([arm], DATA)
    arm.test(DATA)


AUGMENTED = "augmentation+regularisation"
TRAINED = {
    "LIF": of_spsn("LIF"),
    "SPSN-SB, augmented": of_spsn("SPSN-SB", AUGMENTED),
    "SPSN-D": of_spsn("SPSN-D"),
    "ReLU, augmented": of_spsn("ReLU", AUGMENTED),
    "e-prop, recurrent": of_eprop("eProp ALIF", "recurrent"),
    "e-prop, adaptive feedback": of_eprop("eProp ALIF, adaptive feedback", "feedforward"),
    "e-prop, convolution": of_eprop("eProp ALIF, convolution", "feedforward"),
    "BPTT, recurrent": of_eprop("BPTT LIF", "recurrent"),
    "dense": of_ipu(ipu_ways.DENSE),
    "sparse lists": of_ipu(ipu_ways.Sparse(activity=0.2, policy="random", anneal=True)),
    "as GeNN": as_genn,
}


@pytest.mark.parametrize("name", TRAINED)
def test_training_waits_for_nothing_within_an_epoch(name):
    launches = []
    for seeds in ((5,), (5, 2, 7)):
        with fake_cuda(MAY_WAIT) as device:
            TRAINED[name](seeds)
            assert not device.waits
            assert device.permitted["training.Trainee._add_up"] > 0
            launches.append(device.launches)
    # A seed more is no launch more; each of GeNN's streams has its own.
    assert launches[0] == launches[1] or name == "as GeNN"


def test_features_are_learned_where_their_weights_lie():
    with fake_cuda() as device:
        images = np.random.default_rng(0).integers(0, 255, (B, N_IN), np.uint8)
        Competition(N_IN, N, backend="cuda").learn(bernoulli(images, np.arange(B), T, 0, "images"))
        assert device.launches["stdp.cuda_kernels.layer"] > 1


GROWING = {
    "LIF": lambda seeds: spsn.network("LIF", 700, (128,), 20, 1e-3, seeds=seeds, backend="cuda"),
    "SPSN-SB": lambda seeds: spsn.network(
        "SPSN-SB", 700, (99,), 20, 1e-3, seeds=seeds, backend="cuda"
    ),
    "e-prop": lambda seeds: eprop.network(
        "eProp ALIF", "recurrent", 256, 700, 20, 1e-3, seeds=seeds, backend="cuda"
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_nothing_is_compiled_again_for_other_lengths_batches_or_seeds(name):
    sizes = [(1, 500, 64), (1, 16, 1), (1, 1, 16), (1, 100, 57), (3, 499, 16), (3, 500, 64)]
    with fake_cuda(MAY_WAIT) as device:
        for seeds, steps, batch in sizes:
            net = GROWING[name](tuple(range(seeds)))
            samples, owners = np.tile(np.arange(batch), seeds), np.repeat(np.arange(seeds), batch)
            x = listed(steps, seeds * batch, 700)
            labels = torch.zeros(seeds * batch, dtype=torch.long, device="cuda")
            drawn = Draws(samples, owners, 0, "train")
            bptt.step(net, PerSeed(net, "adamax", 1e-3), x, labels, drawn, Objective(), check=False)
            if (seeds, steps, batch) == sizes[0]:
                first = len(device.compiled)
        # The way back of a recurrent layer takes a block of samples or, of a small batch, one at a time.
        again = [kernel for kernel, _, _ in device.compiled[first:]]
        assert again == ["lif.cuda_recurrent.backward"] * (name == "e-prop")
        assert not any("fp64" in kind for _, held, _ in device.compiled for _, kind in held)
