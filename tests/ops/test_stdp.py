import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import threads
from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.ops.stdp import PostPre, cpu, reference
from paraspike.spikes import Spikes

NEURON = LIF(a_uu=0.9, threshold=1.3, strict=False, refractory="clamp_input", refractory_steps=2)


def plain_loop(raster, w, neuron, rule, learn, lower_bound=None):
    """The sheet's equations for one image, synapse by synapse, and for a batch by summing over images."""
    steps, batch, n_in = raster.shape
    n_out = w.shape[1]
    w = w.clone().tolist()
    v = [[0.0] * n_out for _ in range(batch)]
    refrac = [[0] * n_out for _ in range(batch)]
    x_pre = [[0.0] * n_in for _ in range(batch)]
    x_post = [[0.0] * n_out for _ in range(batch)]
    before = [[0.0] * n_in for _ in range(batch)]
    out = torch.zeros(steps, batch, n_out, dtype=torch.float64)

    def trace(x, s):
        x = x * rule.trace_decay
        return x + rule.trace_scale * s if rule.traces_additive else rule.trace_scale if s else x

    for t in range(steps):
        now = raster[t].tolist()
        for b in range(batch):
            for j in range(n_out):
                v[b][j] *= neuron.a_uu
                current = sum(before[b][i] * w[i][j] for i in range(n_in)) * neuron.a_ui
                v[b][j] += 0 if refrac[b][j] > 0 else current
                refrac[b][j] -= 1
                fired = v[b][j] > neuron.threshold if neuron.strict else v[b][j] >= neuron.threshold
                if fired:
                    refrac[b][j], v[b][j] = neuron.refractory_steps, 0.0
                if lower_bound is not None:
                    v[b][j] = max(v[b][j], lower_bound)
                out[t, b, j] = fired
                x_post[b][j] = trace(x_post[b][j], float(fired))
            x_pre[b] = [trace(x, s) for x, s in zip(x_pre[b], now[b], strict=True)]
        before = now
        for i in range(n_in):
            for j in range(n_out):
                if learn:
                    drop = sum(now[b][i] * x_post[b][j] for b in range(batch))
                    rise = sum(x_pre[b][i] * out[t, b, j].item() for b in range(batch))
                    w[i][j] = w[i][j] - rule.nu[0] * drop + rule.nu[1] * rise
                    w[i][j] = min(max(w[i][j], rule.bounds[0]), rule.bounds[1])
    return out, torch.tensor(w, dtype=torch.float64).reshape(n_in, n_out)


def case(steps, batch, n_in, n_out, density, seed, dtype=torch.float64, counts=False, low=0.0):
    generator = torch.Generator().manual_seed(seed)
    raster = (torch.rand(steps, batch, n_in, generator=generator) < density).to(dtype)
    if counts:
        raster = raster * torch.randint(1, 4, raster.shape, generator=generator)
    # As much input per step as makes a neuron fire every few steps, whatever the density.
    scale = 1.5 / max(1.0, density * n_in)
    w = low + (scale - low) * torch.rand(n_in, n_out, generator=generator, dtype=torch.float64)
    return Spikes.from_dense(raster), w.to(dtype)


def run(operator, spikes, w, *options):
    w = w.clone()
    return operator(spikes, w, *options), w


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
    st.booleans(),
    st.sampled_from([(None, None), (0.0, 1.0), (None, 0.4), (0.3, None)]),
    st.sampled_from([None, -0.1]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**20),
)
@settings(max_examples=40)
def test_reference_equals_the_plain_loop(shape, additive, bounds, lower, strict, learn, seed):
    rule = PostPre((0.05, 0.1), 0.8, 0.7, additive, *bounds)
    neuron = LIF(
        a_uu=0.9, a_ui=0.8, strict=strict, refractory="clamp_input", refractory_steps=seed % 4
    )
    spikes, w = case(*shape, 0.6, seed, counts=True, low=-0.5)
    actual = run(reference.stdp, spikes, w, neuron, rule, learn, lower)
    expected = plain_loop(spikes.dense(torch.float64), w, neuron, rule, learn, lower)
    assert torch.equal(actual[0].dense(torch.float64), expected[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-12, atol=1e-12)


@st.composite
def situations(draw):
    shape = (
        draw(st.sampled_from([1, 2, 7, 25])),
        draw(st.sampled_from([1, 2, 5, 33])),
        draw(st.sampled_from([1, 3, 40])),
        draw(st.sampled_from([1, 5, 16])),
    )
    rule = PostPre(
        draw(st.sampled_from([(0.0, 0.0), (1e-3, 0.0), (0.0, 1e-2), (2e-3, 1e-2), (-1e-3, -1e-2)])),
        draw(st.sampled_from([0.0, 0.1, 0.95, 1.0])),
        draw(st.sampled_from([1.0, 0.6])),
        draw(st.booleans()),
        *draw(st.sampled_from([(None, None), (0.0, 0.2), (None, 0.1), (0.05, None)])),
    )
    density = draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    return shape, density, rule, draw(st.integers(0, 2**20))


@given(situations(), st.booleans(), st.sampled_from([None, -0.2]), st.booleans())
@settings(max_examples=60)
def test_cpu_equals_reference_in_double_precision(situation, counts, lower, learn):
    shape, density, rule, seed = situation
    spikes, w = case(*shape, density, seed, counts=counts, low=-0.1)
    expected, actual = (
        run(f, spikes, w, NEURON, rule, learn, lower) for f in (reference.stdp, cpu.stdp)
    )
    assert torch.equal(expected[0].dense(torch.float64), actual[0].dense(torch.float64))
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-10, atol=1e-10)
    if not learn:
        assert torch.equal(actual[1], w)


@given(situations(), st.booleans())
@settings(max_examples=30)
def test_cpu_equals_reference_in_single_precision(situation, strict):
    shape, density, rule, seed = situation
    spikes, w = case(*shape, density, seed, torch.float32)
    neuron = LIF(a_uu=0.9, a_ui=0.9, threshold=1.3, strict=strict)
    (s, v), (s2, v2) = (run(f, spikes, w, neuron, rule) for f in (reference.stdp, cpu.stdp))
    # A potential within rounding of the threshold may fall on either side, and then all that follows
    # differs; the steps before that agree.
    differs = (s.dense() != s2.dense()).flatten(1).any(1)
    assert not differs[: min(3, len(differs))].any()
    if not differs.any():
        torch.testing.assert_close(v2, v, rtol=1e-4, atol=1e-5)


def test_weights_outside_their_bounds_are_clamped_at_the_first_step():
    raster = torch.zeros(3, 1, 3, dtype=torch.float64)
    raster[0, 0, 0] = raster[1, 0, 1] = 1
    rule = PostPre((0.3, 0.1), 0.5, wmin=-1.0, wmax=1.0)
    w = torch.tensor([[5.0, -5.0], [5.0, -5.0], [5.0, -5.0]], dtype=torch.float64)
    spikes = Spikes.from_dense(raster)
    expected, actual = (run(f, spikes, w, NEURON, rule) for f in (reference.stdp, cpu.stdp))
    torch.testing.assert_close(actual[1], expected[1])
    assert actual[1].abs().max() == 1


@pytest.mark.parametrize("n_out", [48, 128])
def test_any_number_of_threads_gives_the_same_bits(n_out):
    spikes, w = case(30, 32, 60, n_out, 0.1, 3, torch.float32)
    rule, before = PostPre(wmin=0.0, wmax=0.3), threads.get_threads()
    try:
        results = []
        for count in (1, 2, 3):
            threads.set_threads(count)
            results.append(run(cpu.stdp, spikes, w, NEURON, rule))
    finally:
        threads.set_threads(before)
    expected = run(reference.stdp, spikes, w, NEURON, rule)
    assert expected[0].dense().mean() > 0.01
    assert torch.equal(results[0][0].dense(), expected[0].dense())
    torch.testing.assert_close(results[0][1], expected[1], rtol=1e-4, atol=1e-5)
    for s, v in results[1:]:
        assert np.array_equal(s.bits, results[0][0].bits) and torch.equal(v, results[0][1])


def test_every_form_of_spikes_gives_the_same_bits():
    dense, w = case(9, 70, 70, 20, 0.3, 5, torch.float32)
    rule = PostPre(wmin=0.0, wmax=0.3)
    lists = Spikes.from_lists(*dense.lists, dense.shape)
    packed = np.packbits(dense.dense().numpy().reshape(-1, 70) > 0, axis=1, bitorder="little")
    bits = np.zeros((9 * 70, 16), np.uint8)
    bits[:, : packed.shape[1]] = packed
    forms = [dense, lists, Spikes.from_bits(bits.view(np.uint64), dense.shape)]
    results = [run(cpu.stdp, form, w, NEURON, rule) for form in forms]
    for s, v in results[1:]:
        assert np.array_equal(s.bits, results[0][0].bits) and torch.equal(v, results[0][1])


def test_strided_weights_and_no_steps():
    spikes, w = case(12, 3, 8, 6, 0.4, 1)
    rule = PostPre((1e-3, 1e-2))
    strided = w.T.contiguous().T
    out, expected = run(cpu.stdp, spikes, w, NEURON, rule)
    assert torch.equal(cpu.stdp(spikes, strided, NEURON, rule).dense(), out.dense())
    assert torch.equal(strided, expected) and not torch.equal(expected, w)
    for f in (reference.stdp, cpu.stdp):
        none = f(Spikes.from_dense(torch.zeros(0, 3, 8)), w, NEURON, rule)
        assert none.shape == (0, 3, 6)


@pytest.mark.parametrize("function", [reference.stdp, cpu.stdp], ids=["reference", "cpu"])
def test_errors_name_what_is_wrong(function):
    spikes, w = case(2, 1, 3, 2, 0.5, 0)
    with pytest.raises(ReaderError, match=r"weights \[4, 2\] do not fit spikes \[2, 1, 3\]"):
        function(spikes, torch.zeros(4, 2), NEURON, PostPre())
    with pytest.raises(ReaderError, match="weights are torch.float16"):
        function(spikes, w.half(), NEURON, PostPre())
    for options, word in (
        ({"a_ii": 0.1}, "input filter"),
        ({"beta": 0.1}, "adaptive"),
        ({"reset": "subtract"}, "reset 'subtract'"),
        ({"refractory": "block_spike"}, "block_spike"),
    ):
        with pytest.raises(ReaderError, match=word):
            function(spikes, w, LIF(**options), PostPre())


@pytest.mark.parametrize(
    "options, word",
    [
        ({"nu": (0.1, math.nan)}, "finite"),
        ({"trace_decay": 1.5}, "not in"),
        ({"wmin": 1.0, "wmax": 0.0}, "wmin = 1.0"),
    ],
)
def test_a_rule_refuses_bad_numbers(options, word):
    with pytest.raises(ReaderError, match=word):
        PostPre(**options)
