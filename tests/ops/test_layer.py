from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.neurons import LIF, LeakyIntegrator, Surrogate
from paraspike.ops.integrate import reference as integration
from paraspike.ops.layer import cpu
from paraspike.ops.lif import reference as lif
from paraspike.ops.synapse.reference import synapse
from paraspike.spikes import Spikes
from paraspike.threads import set_threads

# Few variants, for each is compiled; test_lif.py goes through all options of the normal form.
PLAIN = LIF(a_uu=0.9, reset="subtract", surrogate=Surrogate(slope=3.0))
RICH = LIF(
    a_ii=0.7, a_uu=0.8, a_ui=0.5, c0=0.2, c1=0.1, reset="zero", reset_at="next_step", reset_grad="full",
    gate_input=True, beta=0.3, rho=0.9, refractory="block_spike", refractory_steps=2,
    surrogate=Surrogate(slope=3.0),
)  # fmt: skip
READOUT = LeakyIntegrator(0.6, 0.8, 0.3)


def raster(shape, density, seed, dtype=torch.float64, top=3):
    rng = np.random.default_rng(seed)
    counts = (rng.random(shape) < density) * rng.integers(1, top + 1, shape)
    return torch.from_numpy(counts).to(dtype)


def given_as(form, dense):
    """The same raster as `Spikes` in one form, and the leaf that receives its gradient."""
    if form == "dense":
        leaf = dense.clone().requires_grad_()
        return Spikes.from_dense(leaf), leaf
    leaf = torch.zeros((), dtype=dense.dtype).expand(dense.shape).requires_grad_()
    lists = Spikes.from_dense(dense).lists
    if form == "lists":
        return Spikes(dense.shape, lists=lists, carrier=leaf), leaf
    words = -(-dense.shape[2] // 64)
    eights = np.zeros((dense.shape[0] * dense.shape[1], words * 8), np.uint8)
    packed = np.packbits(dense.reshape(len(eights), -1).numpy() > 0, axis=1, bitorder="little")
    eights[:, : packed.shape[1]] = packed
    return Spikes.from_bits(eights.view(np.uint64), dense.shape, leaf), leaf


def composed(x, weight, bias, neuron, recurrent, delay, local=False):
    currents = synapse(x, weight, bias, delay)
    if isinstance(neuron, LIF):
        return lif.lif(currents, neuron, recurrent=recurrent, local=local)
    return integration.sequential(currents, neuron)


def both(dense, form, weight, bias, neuron, recurrent=None, delay=0, seed=0, local=False):
    """[output, gradients of input, weight, bias, recurrent weight] of the reference and of the kernel.
    The objective uses the spikes and their totals over time."""
    results = []
    dtype = dense.dtype
    shape = (*dense.shape[:2], weight.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    to_spikes = torch.randn(shape, generator=generator, dtype=dtype)
    to_totals = torch.randn(shape[1:], generator=generator, dtype=dtype)
    for fused in (False, True):
        leaves = [
            None if v is None else v.clone().requires_grad_() for v in (weight, bias, recurrent)
        ]
        if fused:
            spikes, x = given_as(form, dense)
            out = cpu.layer(spikes, leaves[0], leaves[1], neuron, leaves[2], delay, local=local)
            totals = out.totals if isinstance(out, Spikes) else out.sum(0)
            out = out.dense(dtype) if isinstance(out, Spikes) else out
        else:
            x = dense.clone().requires_grad_()
            out = composed(x, *leaves[:2], neuron, leaves[2], delay, local)
            totals = out.sum(0)
        ((out * to_spikes).sum() + (totals * to_totals).sum()).backward()
        leaves = [leaf for leaf in (x, *leaves) if leaf is not None]
        # A single step leaves the recurrent weights without a gradient in the reference.
        grads = [torch.zeros_like(v) if v.grad is None else v.grad for v in leaves]
        results.append([out.detach(), *grads])
    return results


@given(
    st.sampled_from([PLAIN, RICH, READOUT]),
    st.sampled_from(["lists", "bits", "dense"]),
    st.integers(1, 40), st.integers(1, 9), st.integers(1, 3), st.integers(1, 70), st.integers(1, 70),
    st.sampled_from([0.0, 0.05, 0.4, 1.0]), st.booleans(), st.booleans(), st.integers(0, 3),
    st.integers(0, 999), st.booleans(),
)  # fmt: skip
@settings(max_examples=80)
def test_layer_equals_the_reference(
    neuron, form, t, per_seed, seeds, n_in, n, density, biased, recurrent, delay, seed, local
):
    dense = raster((t, per_seed * seeds, n_in), density, seed, top=1 if form == "bits" else 3)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    stack = (seeds,) if seeds > 1 else ()
    weight, bias = draw(*stack, n_in, n) / n_in**0.5, draw(*stack, n) if biased else None
    loop = draw(*stack, n, n) / n if recurrent and neuron is not READOUT else None
    expected, actual = both(dense, form, weight, bias, neuron, loop, delay, seed, local)
    if neuron is not READOUT:
        assert torch.equal(actual[0], expected[0])
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-9)


@given(
    st.integers(1, 40), st.integers(1, 9), st.integers(1, 2), st.integers(1, 150), st.integers(1, 70),
    st.sampled_from([0.0, 0.05, 0.5, 50.0]), st.booleans(), st.integers(0, 3), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=40)
def test_gradients_go_to_neurons_within_reach_of_the_surrogate(
    t, per_seed, seeds, hidden, n, band, one_sided, delay, seed
):
    """The first with a band or a second threshold: the next one's gradient goes to few, all or none."""
    near = LIF(
        reset="subtract", surrogate_at="post", refractory="block_spike", refractory_steps=2, beta=0.3,
        rho=0.9, surrogate=Surrogate(slope=3.0, **{"below" if one_sided else "band": band}),
    )  # fmt: skip
    dense = raster((t, per_seed * seeds, 20), 0.3, seed)
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        torch.randn(seeds, *shape, generator=generator, dtype=torch.float64) / shape[0] ** 0.5
        for shape in ((20, hidden), (hidden, n))
    )
    aim = torch.randn(t, per_seed * seeds, n, generator=generator, dtype=torch.float64)
    results = []
    for fused in (False, True):
        leaves = [w.clone().requires_grad_() for w in (first, second)]
        x = dense.clone().requires_grad_()
        if fused:
            middle = cpu.layer(Spikes.from_dense(x), leaves[0], None, near)
            out = cpu.layer(middle, leaves[1], None, READOUT, delay=delay)
            assert middle.near is not None
        else:
            out = composed(
                composed(x, leaves[0], None, near, None, 0), leaves[1], None, READOUT, None, delay
            )
        (out * aim).sum().backward()
        results.append([out.detach(), x.grad, *(w.grad for w in leaves)])
    for a, e in zip(*results, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-9)


def test_what_lies_out_of_reach_gets_no_gradient():
    triangle = LIF(surrogate=Surrogate("triangle", slope=2.0))
    assert triangle.surrogate.reach == (-0.5, 0.5)
    x = Spikes.from_dense(raster((30, 4, 20), 0.3, 0))
    weight = (
        torch.randn(20, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3
    )
    middle = cpu.layer(x, weight.requires_grad_(), None, triangle)
    _, before, _ = lif.lif(synapse(x.dense(torch.float64), weight, None), triangle, trace=True)
    within = ((before - 1).abs() <= 0.5).reshape(120, 100)
    bits = np.unpackbits(middle.near.view(np.uint8), axis=1, count=100, bitorder="little")
    assert (bits == within.detach().numpy()).mean() > 0.999 and 0.05 < bits.mean() < 0.25
    carrier = middle.carrier
    carrier.retain_grad()
    cpu.layer(middle, torch.ones(100, 3, dtype=torch.float64), None, READOUT).sum().backward()
    assert ((carrier.grad.reshape(120, 100) != 0) == torch.from_numpy(bits == 1)).all()


def test_float32_over_several_strips_chunks_and_blocks():
    dense = raster((150, 20, 300), 0.05, 1, torch.float32)
    generator = torch.Generator().manual_seed(0)
    # Multiples of 1/64 add up exactly in any order, so no spike may differ.
    weight = (2 * torch.randn(300, 200, generator=generator)).round() / 64
    expected, actual = both(dense, "lists", weight, None, PLAIN)
    assert torch.equal(actual[0], expected[0]) and 0.005 < expected[0].mean() < 0.5
    for a, e in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, e, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("batch", [1, 20])
def test_bits_depend_neither_on_threads_nor_on_the_form_of_the_input(batch, recurrent):
    dense = raster((40, batch, 60), 0.15, 3, torch.float32, top=1)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(60, 200, generator=generator) / 4
    loop = torch.randn(200, 200, generator=generator) / 20 if recurrent else None
    seen = []
    try:
        for count, form in ((1, "lists"), (1, "dense"), (2, "lists"), (3, "bits")):
            set_threads(count)
            seen.append(both(dense, form, weight, None, PLAIN, loop)[1])
    finally:
        set_threads(1)
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("density, share", [(0.02, 0.0), (0.6, 1.0)])
def test_products_take_over_where_spikes_are_dense_and_change_no_bit(density, share, monkeypatch):
    dense = raster((50, 8, 64), density, 0, torch.float32)
    weight = torch.randn(64, 40, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def run(pack):
        monkeypatch.setattr(cpu, "_PACK_ABOVE", pack)
        notes, weight.grad = {}, None
        out = cpu.layer(given_as("lists", dense)[0], weight, None, PLAIN, notes=notes)
        out.totals.sum().backward()
        return out.dense(), weight.grad, notes["product_share"]

    chosen, never = run(0.0), run(2.0)
    assert (chosen[2], never[2]) == (share, 0.0)
    assert torch.equal(chosen[0], never[0]) and torch.equal(chosen[1], never[1])


def test_gradcheck_where_smooth():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.randn(7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *v: cpu.layer(Spikes.from_dense(v[0]), v[1], v[2], READOUT, delay=1), (x, w, b)
    )


@pytest.mark.parametrize("level, rate", [(0.0, 0.0), (1e3, 1.0), (float("nan"), 0.0)])
def test_silent_saturated_and_nan_inputs(level, rate):
    dense = torch.full((6, 5, 3), level, dtype=torch.float64)
    expected, actual = both(dense, "dense", torch.ones(3, 4, dtype=torch.float64), None, PLAIN)
    assert actual[0].mean() == rate
    for a, e in zip(actual[:2], expected[:2], strict=True):
        torch.testing.assert_close(a, e, equal_nan=True)


def test_no_steps_no_samples_and_strided_tensors():
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).T.requires_grad_()
    for shape in ((0, 2, 4), (3, 0, 4)):
        out = cpu.layer(Spikes.from_dense(torch.zeros(shape)), weight, None, PLAIN)
        assert out.shape == (*shape[:2], 3) and out.dense().shape == out.shape
        out.totals.sum().backward()
    x = 3 * torch.rand(5, 9, 4, generator=torch.Generator().manual_seed(1)).transpose(0, 1)
    contiguous = cpu.layer(
        Spikes.from_dense(x.contiguous()), weight.detach().contiguous(), None, PLAIN
    )
    assert torch.equal(
        cpu.layer(Spikes.from_dense(x), weight, None, PLAIN).dense(), contiguous.dense()
    )


def test_a_second_backward_pass_gives_the_same_gradient():
    dense = raster((20, 4, 10), 0.3, 0, torch.float32)
    weight = torch.randn(10, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
    total = cpu.layer(Spikes.from_dense(dense), weight, None, PLAIN).totals.sum()
    first, second = (torch.autograd.grad(total, weight, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second) and first.any()


def test_shapes_and_dtypes_that_do_not_fit_are_refused():
    x = Spikes.from_dense(torch.zeros(3, 4, 5))
    for weight in (torch.zeros(6, 2), torch.zeros(3, 5, 2)):
        with pytest.raises(ReaderError, match="do not fit"):
            cpu.layer(x, weight, None, PLAIN)
    with pytest.raises(ReaderError, match="float16"):
        cpu.layer(x, torch.zeros(5, 2, dtype=torch.float16), None, PLAIN)
    with pytest.raises(ReaderError, match="cannot be recurrent"):
        Layer(5, 2, READOUT, recurrent=True)
    with pytest.raises(ReaderError, match="mask"):
        Layer(5, 2, PLAIN, mask=torch.ones(5, 2))
    with pytest.raises(ReaderError, match="without recurrence"):
        Layer(5, 2, PLAIN, recurrent_mask=torch.ones(2, 2, dtype=bool))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_masked_recurrent_delayed_module_trains_only_its_synapses(backend):
    draw = torch.Generator().manual_seed(0)
    mask, loop_mask = (
        torch.rand(12, 9, generator=draw) < 0.4,
        torch.rand(9, 9, generator=draw) < 0.4,
    )
    options = {"recurrent": True, "mask": mask, "recurrent_mask": loop_mask, "delay": 2}
    module = Layer(12, 9, PLAIN, backend=backend, **options)
    x = 4 * raster((20, 3, 12), 0.3, 2, torch.float32)
    out = module(x)
    out.sum().backward()
    for weight, where in ((module.weight, mask), (module.recurrent_weight, loop_mask)):
        assert (
            not weight[~where].any() and not weight.grad[~where].any() and weight.grad[where].any()
        )
    assert not out[:2].any()
    peer = Layer(12, 9, PLAIN, backend="reference", name="peer", **options)
    peer.load_state_dict(module.state_dict())
    torch.testing.assert_close(peer(x), out)


def test_potentials_are_traced():
    x = raster((9, 2, 5), 0.5, 0)
    weight = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, potential = cpu.layer(Spikes.from_dense(x), weight, None, PLAIN, trace=True)
    _, before, _ = lif.lif(x @ weight, PLAIN, trace=True)
    torch.testing.assert_close(potential, before)


def test_several_python_threads_may_call_it_at_once():
    dense = raster((30, 16, 40), 0.2, 0, torch.float32)
    weight = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)) / 3

    def run(_=None):
        leaf = weight.clone().requires_grad_()
        out = cpu.layer(given_as("lists", dense)[0], leaf, None, PLAIN)
        out.totals.square().sum().backward()
        return out.dense(), leaf.grad

    try:
        set_threads(2)
        alone = run()
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(run, range(16)))
    finally:
        set_threads(1)
    for out, grad in together:
        assert torch.equal(out, alone[0]) and torch.equal(grad, alone[1])


def test_an_input_changed_before_the_way_back_is_noticed():
    x = raster((5, 2, 10), 0.5, 0, torch.float32)
    weight = torch.ones(10, 4, requires_grad=True)
    total = cpu.layer(Spikes.from_dense(x), weight, None, PLAIN).totals.sum()
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_without_gradients_no_history_is_kept(monkeypatch):
    shapes = []
    monkeypatch.setattr(
        cpu, "borrow", lambda s, d: shapes.append(tuple(s)) or torch.empty(s, dtype=d)
    )
    weight = torch.ones(10, 4, requires_grad=True)
    x = Spikes.from_dense(raster((50, 2, 10), 0.5, 0, torch.float32))
    with torch.no_grad():
        silent = cpu.layer(x, weight, None, PLAIN).dense()
    assert shapes == [(2, 1, 4)]
    assert torch.equal(silent, cpu.layer(x, weight, None, PLAIN).dense().detach())


def test_lists_that_point_outside_the_raster_are_refused():
    for pointers, units in (([0, 1], [3]), ([0, 1], [-1])):
        with pytest.raises(ReaderError, match="index lists"):
            Spikes.from_lists(pointers, units, [1.0], (1, 1, 3))
    with pytest.raises(ReaderError):
        Spikes.from_lists([0, 5, 1], [0], [1.0], (2, 1, 3))
    with pytest.raises(ReaderError, match="beyond neuron 2"):
        Spikes.from_bits(np.full((1, 1), 8, np.uint64), (1, 1, 3))
    with pytest.raises(ReaderError, match="delay"):
        cpu.layer(Spikes.from_dense(torch.ones(2, 1, 3)), torch.ones(3, 2), None, PLAIN, delay=-1)
