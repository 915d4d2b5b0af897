"""The convolutional layer against torch's convolution and against the dense layer it stands for."""

import pytest
import torch
from torch.nn.functional import conv1d

from paraspike.backends import operators
from paraspike.convolution import ConvLayer
from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.neurons import LeakyIntegrator
from paraspike.papers.eprop import lsnn
from paraspike.spikes import Spikes

NEURON = lsnn(0.02)
N_IN, FILTERS, WIDTH, STRIDE, PLACES = 13, 3, 4, 2, 5


def layer(seeds=(0,), backend="reference", dtype=torch.float64, **options):
    return ConvLayer(N_IN, FILTERS, WIDTH, STRIDE, NEURON, seeds, backend=backend, **options).to(
        dtype
    )


def raster(steps=15, batch=6, density=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, N_IN, generator=generator) < density).double()


def late(x, steps):
    return torch.cat([torch.zeros_like(x[:steps]), x[: max(0, len(x) - steps)]])


@pytest.mark.parametrize("delay", [0, 3, 40])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_it_is_torchs_convolution_and_the_neuron_per_seed(delay, gain):
    made, x = layer((4, 9), delay=delay, gain=gain), raster()
    assert made.n_out == FILTERS * PLACES and made.weight.shape == (2, FILTERS, WIDTH)
    found = made(Spikes.from_dense(x)).dense(torch.float64)
    for s, block in enumerate(x.chunk(2, 1)):
        rows = conv1d(block.reshape(-1, 1, N_IN), made.weight[s][:, None], stride=STRIDE)
        currents = gain * rows.reshape(15, 3, FILTERS * PLACES)
        wanted = operators("reference").lif(late(currents, delay), NEURON)
        assert torch.equal(found[:, 3 * s : 3 * s + 3], wanted)
        assert bool(wanted.any()) == (delay < 15)


def test_a_tensor_is_taken_as_well():
    made, x = layer(), raster()
    assert torch.equal(made(x).dense(), made(Spikes.from_dense(x)).dense())


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_seed_gives_the_same_bits_alone_and_among_others(backend):
    x, pull = raster().float(), torch.rand(15, 6, FILTERS * PLACES)
    found = {}
    for seeds in ((7, 2, 5), (2,)):
        made = layer(seeds, backend, torch.float32)
        spikes = made(Spikes.from_dense(x.repeat(1, len(seeds), 1))).dense()
        (spikes * pull.repeat(1, len(seeds), 1)).sum().backward()
        i = seeds.index(2)
        found[seeds] = made.weight[i], spikes[:, 6 * i : 6 * i + 6], made.weight.grad[i]
    for many, alone in zip(*found.values(), strict=True):
        assert torch.equal(many, alone) and alone.any()


def test_compiled_equals_the_reference():
    x, pull, found = raster(), torch.rand(15, 6, FILTERS * PLACES), []
    for backend, dtype in (("reference", torch.float64), ("cpu", torch.float32)):
        made = layer((3,), backend, dtype, delay=1)
        spikes = made(Spikes.from_dense(x.to(dtype))).dense(dtype)
        (spikes * pull.to(dtype)).sum().backward()
        found.append((spikes.detach().double(), made.weight.grad.double()))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("delay", [0, 2])
def test_gradients_are_those_of_the_dense_layer_it_stands_for(delay):
    conv = layer((6,), delay=delay)
    dense = Layer(
        N_IN, FILTERS * PLACES, NEURON, seeds=(6,), bias=False, delay=delay, backend="reference"
    ).double()
    place = {
        (STRIDE * p + k, PLACES * f + p): (f, k)
        for f in range(FILTERS)
        for p in range(PLACES)
        for k in range(WIDTH)
    }
    with torch.no_grad():
        dense.weight.zero_()
        for (i, j), (f, k) in place.items():
            dense.weight[0, i, j] = conv.weight[0, f, k]
    x, pull = raster(), torch.rand(15, 6, FILTERS * PLACES, dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [
        made(Spikes.from_dense(own)).dense(torch.float64)
        for made, own in zip((conv, dense), inputs, strict=True)
    ]
    assert torch.equal(*outputs) and 0.05 < outputs[0].mean() < 0.6
    for out in outputs:
        (out * pull).sum().backward()
    shared = torch.zeros_like(conv.weight)
    for (i, j), (f, k) in place.items():
        shared[0, f, k] += dense.weight.grad[0, i, j]
    torch.testing.assert_close(conv.weight.grad, shared)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    assert shared.all()


def test_weights_start_within_their_bound():
    weight = ConvLayer(200, 40, 150, 10, NEURON, (0, 1), backend="reference").weight.detach()
    bound = (3 / 150) ** 0.5
    assert weight.abs().max() <= bound and not torch.equal(weight[0], weight[1])
    assert float(weight.std()) == pytest.approx(150**-0.5, rel=0.03)


@pytest.mark.parametrize(
    "sizes",
    [(0, 4, 2), (3, 0, 2), (3, 14, 2), (3, 4, 0)],
    ids=["filters", "width 0", "width above the channels", "stride"],
)
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(ReaderError, match="ConvLayer 'conv'"):
        ConvLayer(N_IN, *sizes, NEURON)


def test_another_neuron_or_input_is_refused():
    with pytest.raises(ReaderError, match="LeakyIntegrator"):
        ConvLayer(N_IN, 3, 4, 2, LeakyIntegrator(0.0, 0.9, 1.0))
    for x in (torch.zeros(5, 2, N_IN + 1), torch.zeros(5, 3, N_IN), torch.zeros(5, N_IN)):
        with pytest.raises(ReaderError, match="does not fit"):
            layer((0, 1))(x)
