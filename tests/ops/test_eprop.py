import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.neurons import Surrogate
from paraspike.ops.eprop import cpu, reference
from paraspike.ops.surrogate import Fire, derivative
from paraspike.spikes import Spikes
from paraspike.threads import set_threads

LIF = {"alpha": 0.95}
ALIF = {"alpha": 0.95, "kappa": 0.8, "beta": 0.4, "rho": 0.99}


def layer(shape, n_in, density, top=1, seed=0, dtype=torch.float64):
    """(psi, learning signal, regularisation, inputs, recurrent spikes) of a made-up layer."""
    generator = torch.Generator().manual_seed(seed)
    t, b, n = shape

    def raster(units, most):
        fired = torch.rand(t, b, units, generator=generator) < density
        return (fired * torch.randint(1, most + 1, fired.shape, generator=generator)).to(dtype)

    psi = 0.5 * torch.rand(shape, generator=generator, dtype=dtype)
    psi = psi * (torch.rand(shape, generator=generator) < 0.7)
    signals = torch.randn(2, *shape, generator=generator, dtype=dtype)
    return psi, *signals, raster(n_in, top), raster(n, 1)


def with_lists(raster):
    pointers, units, counts = Spikes.from_dense(raster).lists
    return Spikes.from_lists(pointers, units, counts, raster.shape)


def with_bits(raster):
    t, b, n = raster.shape
    words = torch.zeros(t * b, -(-n // 64), dtype=torch.int64).numpy().view("uint64")
    for row, unit in torch.nonzero(raster.reshape(t * b, n)).tolist():
        words[row, unit // 64] |= 1 << (unit % 64)
    return Spikes.from_bits(words, raster.shape)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("function", [reference.gradients, cpu.gradients], ids=["reference", "cpu"])
@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["LIF", "ALIF"])
def test_equals_autograd_that_stops_at_the_recurrent_spikes(function, beta):
    """A whole recurrent network with refractoriness, reset and a leaky softmax readout (Bellec et al.
    2020): autograd sees a spike's way to the readout and to its own adaptation, not to the layer."""
    steps, batch, n_in, n, classes, idle = 30, 3, 7, 11, 4, 2
    alpha, kappa, rho, threshold = 0.9, 0.8, 0.97, 0.6
    generator = torch.Generator().manual_seed(3)
    triangle = Surrogate("triangle", 1 / threshold, 0.3 / threshold)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = (torch.rand(steps, batch, n_in, generator=generator) < 0.3).double()
    w_in, w_rec, w_out = drawn(n_in, n), 0.5 * drawn(n, n), drawn(n, classes)
    penalty, label = 0.1 * drawn(steps, batch, n), torch.tensor([0, 2, 3])
    w_in.requires_grad_()
    w_rec.requires_grad_()

    v = a = z = y = left = torch.zeros(batch, n, dtype=torch.float64)
    y, loss, kept = torch.zeros(batch, classes, dtype=torch.float64), 0, []
    for t in range(steps):
        v = alpha * v + x[t] @ w_in + z.detach() @ w_rec - threshold * z.detach()
        distance, free = v - threshold - beta * a, left <= 0
        fired = (distance > 0) & free
        z = Fire.apply(distance, fired, distance.detach(), triangle, free)
        a = rho * a + z
        left = torch.where(fired, float(idle), left - 1)
        y = kappa * y + z @ w_out
        error = torch.softmax(y, 1).detach() - torch.nn.functional.one_hot(label, classes)
        loss = loss + torch.nn.functional.cross_entropy(y, label, reduction="sum")
        loss = loss + (penalty[t] * z).sum()
        kept.append((derivative(distance.detach(), triangle) * free, error @ w_out.T, z.detach()))
    loss.backward()
    psi, signal, spikes = (torch.stack(part) for part in zip(*kept, strict=True))
    assert 0.02 < spikes.mean() < 0.5 and (psi == 0).any()

    constants = {"alpha": alpha, "kappa": kappa, "beta": beta, "rho": rho}
    actual = function(psi, signal, x, spikes, regularisation=penalty, **constants)
    for gradient, expected in zip(actual, (w_in.grad, w_rec.grad), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


@given(
    st.integers(1, 40), st.integers(1, 11), st.integers(1, 50), st.integers(1, 150),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]), st.sampled_from([1, 4]), st.sampled_from([LIF, ALIF]),
    st.booleans(), st.booleans(), st.sampled_from([(0, 1), (1, 0), (3, 60)]),
    st.sampled_from([torch.float32, torch.float64]), st.integers(0, 999),
)  # fmt: skip
@example(1, 1, 1, 1, 1.0, 1, ALIF, True, True, (0, 1), torch.float64, 0)
@example(1, 1, 1, 1, 0.0, 1, LIF, False, False, (0, 1), torch.float32, 0)
@example(33, 9, 20, 300, 0.1, 4, ALIF, True, True, (0, 1), torch.float64, 0)
@settings(max_examples=60)
def test_cpu_equals_reference(
    t, b, n_in, n, density, top, constants, regularised, recurrent, delays, dtype, seed
):
    psi, signal, penalty, x, z = layer((t, b, n), n_in, density, top, seed, dtype)
    options = constants | {"regularisation": penalty if regularised else None, "delays": delays}
    z = z if recurrent else None
    expected = reference.gradients(psi, signal, x, z, **options)
    actual = cpu.gradients(psi, signal, with_lists(x), z, **options)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    for a, e in zip(actual, expected, strict=True):
        if not recurrent and e is None:
            assert a is None
            continue
        scale = max(1.0, float(e.abs().max()))
        torch.testing.assert_close(a, e, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("density", [0.03, 0.6])
def test_lists_bits_and_dense_rasters_give_the_same_bits(density):
    psi, signal, penalty, x, z = layer((30, 5, 90), 70, density, dtype=torch.float32)
    options = ALIF | {"regularisation": penalty}
    dense = cpu.gradients(psi, signal, x, z, **options)
    for form in (with_lists, with_bits, Spikes.from_dense):
        assert same(dense, cpu.gradients(psi, signal, form(x), form(z), **options))


def test_real_valued_strided_activity_that_takes_part_in_autograd():
    psi, signal, penalty, x, z = layer((12, 4, 21), 9, 0.5)
    x = torch.randn(4, 12, 9, dtype=torch.float64).transpose(0, 1).requires_grad_()
    signal = signal.transpose(0, 2).contiguous().transpose(0, 2).requires_grad_()
    for actual, expected in zip(
        *[f.gradients(psi, signal, x, z, **ALIF) for f in (cpu, reference)], strict=True
    ):
        assert not actual.requires_grad and not expected.requires_grad
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [5, 100, 300])
def test_bits_do_not_depend_on_threads(n):
    psi, signal, penalty, x, z = layer((40, 10, n), 60, 0.1, 3, dtype=torch.float32)
    for source in (x, with_lists(x), x + 0.5):
        seen = []
        try:
            for count in (1, 2, 3):
                set_threads(count)
                seen.append(cpu.gradients(psi, signal, source, z, regularisation=penalty, **ALIF))
        finally:
            set_threads(1)
        assert same(seen[0], seen[1]) and same(seen[0], seen[2])


@pytest.mark.parametrize("per_seed", [1, 3, 9])
def test_a_seed_gives_the_same_bits_alone_and_among_others(per_seed):
    data = layer((20, 3 * per_seed, 50), 30, 0.1)
    for function in (reference.gradients, cpu.gradients):
        psi, signal, penalty, x, z = data
        together = function(psi, signal, x, z, regularisation=penalty, seeds=3, **ALIF)
        psi, signal, penalty, x, z = (a[:, -per_seed:].contiguous() for a in data)
        alone = function(psi, signal, x, z, regularisation=penalty, **ALIF)
        assert together[0].shape == (3, 30, 50) and alone[0].shape == (30, 50)
        assert same([g[2] for g in together], alone)


@pytest.mark.parametrize("shape, n_in", [((0, 2, 3), 4), ((5, 0, 3), 4), ((5, 2, 3), 0)])
def test_nothing_to_sum(shape, n_in):
    psi, signal, _, x, z = layer(shape, n_in, 0.5)
    for function in (reference.gradients, cpu.gradients):
        of_inputs, of_recurrent = function(psi, signal, x, z, **LIF)
        assert of_inputs.shape == (n_in, 3) and of_recurrent.shape == (3, 3)
        assert not of_inputs.any() and (n_in == 0 or not of_recurrent.any())


@pytest.mark.parametrize("function", [reference.gradients, cpu.gradients], ids=["reference", "cpu"])
@pytest.mark.parametrize(
    "change, word",
    [
        ({"psi": torch.zeros(4, 2)}, "psi must be"),
        ({"psi": torch.zeros(4, 2, 3, dtype=torch.float16)}, "psi must be"),
        ({"learning_signal": torch.zeros(4, 2, 4)}, "learning_signal is"),
        ({"learning_signal": torch.zeros(4, 2, 3, dtype=torch.float64)}, "learning_signal is"),
        ({"regularisation": torch.zeros(4, 1, 3)}, "regularisation is"),
        ({"inputs": torch.zeros(4, 3, 5)}, "inputs is"),
        ({"inputs": torch.zeros(4, 2, 5, dtype=torch.int64)}, "inputs is"),
        ({"inputs": None}, "inputs is"),
        ({"recurrent": torch.zeros(4, 2, 5)}, "recurrent is"),
        ({"recurrent": Spikes.from_dense(torch.zeros(3, 2, 3))}, "recurrent is Spikes"),
        ({"alpha": 1.5}, "alpha = 1.5"),
        ({"kappa": math.nan}, "kappa = nan"),
        ({"rho": -0.1}, "rho = -0.1"),
        ({"beta": math.inf}, "beta = inf"),
        ({"delays": (0, -1)}, "delays"),
        ({"delays": (1,)}, "delays"),
        ({"seeds": 3}, "2 samples"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_named(function, change, word):
    given_ = {
        "psi": torch.zeros(4, 2, 3), "learning_signal": torch.zeros(4, 2, 3),
        "inputs": torch.zeros(4, 2, 5), "recurrent": torch.zeros(4, 2, 3), "alpha": 0.9,
    }  # fmt: skip
    with pytest.raises(ReaderError, match=word):
        function(**given_ | change)
