"""The synapse in Triton against the reference: lists and products, forward and every gradient."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

from paraspike.errors import ReaderError  # noqa: E402
from paraspike.ops.synapse import cuda, cuda_kernels, cuda_products, reference  # noqa: E402
from paraspike.ops.synapse.resident import Resident  # noqa: E402
from paraspike.spikes import Spikes  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def raster(shape, density, seed, top=3, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    filled = (rng.random(shape) < density) * rng.integers(1, top + 1, shape)
    return torch.from_numpy(filled).to(dtype)


def listed(dense, kind="host"):
    """Spikes with lists: in NumPy arrays, or on the device with unused room before and behind."""
    pointers, units, counts = Spikes.from_dense(dense).lists
    if kind == "host":
        return Spikes.from_lists(pointers, units, counts, dense.shape)
    padded = pointers + 3, np.pad(units, (3, 5), constant_values=1), np.pad(counts, (3, 5))
    return Spikes.from_resident(Resident.from_host(padded, dense.shape, DEVICE))


def numbers(shape, seed, dtype, exact):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, dtype=dtype)
    return ((drawn * 8).round() / 8 if exact else drawn).to(DEVICE)


def outcome(function, x, leaves, grad, delay):
    """Output, and gradients of activity, weight and bias."""
    carrier = x.carrier if isinstance(x, Spikes) else x
    carrier.requires_grad_()
    leaves = [None if v is None else v.clone().requires_grad_() for v in leaves]
    out = function(x, *leaves, delay)
    out.backward(grad)
    found = [out.detach(), *(v.grad for v in (carrier, *leaves) if v is not None)]
    return [v.to(DEVICE) for v in found]


@given(
    st.integers(0, 4), st.integers(1, 2), st.sampled_from([None, 1, 3]), st.integers(1, 9),
    st.sampled_from([1, 7, 16, 33, 130]), st.sampled_from([0.0, 0.1, 1.0]), st.booleans(),
    st.sampled_from([0, 1, 3]), st.sampled_from(["host", "resident", "dense"]),
    st.sampled_from([torch.float32, torch.float64]), st.booleans(), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=20)
def test_equals_the_reference(
    t, per_seed, seeds, n_in, n, density, biased, delay, kind, dtype, exact, seed
):
    shape = t, per_seed * (seeds or 1), n_in
    dense = raster(shape, density, seed, dtype=dtype)
    stack = () if seeds is None else (seeds,)
    bias = numbers((*stack, n), seed + 1, dtype, exact) if biased else None
    leaves = numbers((*stack, n_in, n), seed, dtype, exact), bias
    grad = numbers((*shape[:2], n), seed + 2, dtype, exact)
    expected = outcome(reference.synapse, dense.clone().to(DEVICE), leaves, grad, delay)
    x = dense.to(DEVICE) if kind == "dense" else listed(dense, kind)
    form = "dense" if kind == "dense" else "lists"

    def function(*given):
        return cuda.synapse(*given, form=form)

    actual = outcome(function, x, leaves, grad, delay)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        # Sums of eighths are exact in any order; others are tens of terms of size 1.
        tolerance = 0 if exact else TOLERANCE[dtype]
        scale = max(1.0, float(e.abs().max())) if e.numel() else 1.0
        torch.testing.assert_close(a, e.to(a.dtype), rtol=0, atol=tolerance * scale)


@given(
    st.integers(0, 4), st.integers(1, 30), st.integers(1, 3), st.sampled_from([1, 16, 40, 70]),
    st.sampled_from([1, 17, 66]), st.booleans(), st.sampled_from([0, 1, 3]), st.booleans(),
    st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=20)
def test_products_of_many_seeds_equal_the_reference(
    t, per_seed, seeds, n_in, n, biased, delay, exact, seed
):
    shape = t, per_seed * seeds, n_in
    bias = numbers((seeds, n), seed + 1, torch.float32, exact) if biased else None
    leaves = numbers((seeds, n_in, n), seed, torch.float32, exact), bias
    grad = numbers((*shape[:2], n), seed + 2, torch.float32, exact)
    x = numbers(shape, seed + 3, torch.float32, exact)

    def function(*given):
        return cuda.synapse(*given, product="triton")

    expected = outcome(reference.synapse, x.clone(), leaves, grad, delay)
    for a, e in zip(outcome(function, x.clone(), leaves, grad, delay), expected, strict=True):
        scale = max(1.0, float(e.abs().max())) if e.numel() else 1.0
        torch.testing.assert_close(a, e, rtol=0, atol=0 if exact else 1e-5 * scale)


def test_long_sums_over_rows_are_split():
    x = numbers((300, 12, 5), 0, torch.float32, True)
    grad = numbers((300, 12, 70), 1, torch.float32, True)
    made = cuda.weight_gradient(x, grad, 1, 2, product="triton")
    for s in range(2):
        rows, lines = x[:-1, 6 * s : 6 * s + 6].flatten(0, 1), grad[1:, 6 * s : 6 * s + 6]
        assert torch.equal(made[s], rows.T @ lines.flatten(0, 1))
    alone = cuda.weight_gradient(
        x[:, 6:].contiguous(), grad[:, 6:].contiguous(), 1, product="triton"
    )
    assert torch.equal(made[1:], alone)
    bias = grad.new_empty(2, 70)
    cuda_kernels.seed_sums(grad, 1, 2, bias)
    assert torch.equal(bias, grad[1:].reshape(-1, 2, 6, 70).sum((0, 2)))


@pytest.mark.parametrize(
    "form, product", [("lists", "triton"), ("dense", "triton"), ("dense", "torch")]
)
def test_a_seed_gives_the_same_bits_alone_and_among_others(form, product):
    seeds, per_seed = 2, 3
    dense = raster((7, seeds * per_seed, 12), 0.3, 0, dtype=torch.float32)
    weight, bias = numbers((seeds, 12, 20), 1, torch.float32, False), numbers((seeds, 20), 2,
                                                                              torch.float32, False)  # fmt: skip
    grad = numbers((7, seeds * per_seed, 20), 3, torch.float32, False)

    def function(*given):
        return cuda.synapse(*given, form=form, product=product)

    def run(part, which):
        x = listed(dense[:, part].contiguous(), "resident")
        return outcome(function, x, (weight[which], bias[which]), grad[:, part].contiguous(), 1)

    out, of_x, of_weight, of_bias = run(slice(None), slice(None))
    alone = run(slice(-per_seed, None), slice(-1, None))
    among = out[:, -per_seed:], of_x[:, -per_seed:], of_weight[-1:], of_bias[-1:]
    assert all(torch.equal(a, b) for a, b in zip(among, alone, strict=True))


def test_choice_by_density_is_told():
    for density, taken in ((0.02, "lists"), (0.5, "dense")):
        dense, notes = raster((8, 3, 50), density, 0, 1, torch.float32), {}
        weight = numbers((50, 8), 0, torch.float32, True)
        out = cuda.synapse(listed(dense), weight, None, notes=notes)
        assert notes["form"] == taken and notes["precision"] == "float32"
        assert notes["product_share"] == (taken == "dense") and notes["product"] == "triton"
        assert notes["density"] == pytest.approx(float((dense != 0).float().mean()))
        assert torch.equal(out, reference.synapse(dense.to(DEVICE), weight, None))
    notes = {}
    cuda.synapse(dense.to(DEVICE), weight, None, notes=notes)
    assert notes["form"] == "dense" and notes["density"] is None


@pytest.mark.parametrize("form", ["lists", "dense"])
@pytest.mark.parametrize("precision, unit", [("tf32x3", 2**-20), ("tf32", 2**-10), ("bf16", 2**-8)])
def test_lower_precision_by_name(form, precision, unit):
    dense = raster((5, 2, 20), 0.3, 0, dtype=torch.float32)
    leaves = numbers((20, 24), 1, torch.float32, False), None
    grad = numbers((5, 2, 24), 2, torch.float32, False)
    before = torch.backends.cuda.matmul.fp32_precision

    def function(*given):
        return cuda.synapse(*given, precision=precision, form=form)

    expected = outcome(reference.synapse, dense.to(DEVICE), leaves, grad, 0)
    actual = outcome(function, listed(dense), leaves, grad, 0)
    for a, e in zip(actual, expected, strict=True):
        # Two rounded operands of up to a few units each, tens of terms.
        torch.testing.assert_close(a, e, rtol=0, atol=16 * unit * float(e.abs().max()))
    if precision == "bf16":
        assert not torch.equal(actual[0], expected[0])
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_lists_on_a_device_are_spikes_like_others():
    dense = raster((6, 3, 11), 0.3, 4, dtype=torch.float32)
    spikes = listed(dense, "resident")
    assert spikes.has_lists and torch.equal(spikes.dense().cpu(), dense)
    assert torch.equal(spikes.steps(2, 5).dense().cpu(), dense[2:5])
    assert torch.equal(spikes.detached().totals.cpu(), dense.sum(0))
    for actual, expected in zip(spikes.lists, Spikes.from_dense(dense).lists, strict=True):
        assert np.array_equal(actual, expected)
    pointers, rows, counts = spikes.on(DEVICE).by_unit(3)
    order = [
        (s, q, t * 3 + s) for s in range(3) for q in range(11) for t in range(6) if dense[t, s, q]
    ]
    assert rows[: len(order)].tolist() == [r for _, _, r in order]
    assert counts[: len(order)].tolist() == [float(dense[r // 3, s, q]) for s, q, r in order]
    assert pointers.tolist() == np.cumsum([0, *(dense != 0).sum(0).reshape(-1).tolist()]).tolist()
    part, weight = spikes.steps(2, 5), numbers((11, 6), 1, torch.float32, True)
    expected = reference.synapse(dense[2:5].to(DEVICE), weight, None)
    assert torch.equal(cuda.synapse(part, weight, None, form="lists"), expected)
    grad = numbers((3, 3, 6), 2, torch.float32, True)
    of_weight = cuda.weight_gradient(part, grad, form="lists")[0]
    rows = dense[2:5].reshape(9, 11).to(DEVICE)
    assert torch.equal(of_weight, rows.T @ grad.reshape(9, 6))


def test_lengths_and_batches_compile_nothing_again():
    kernels = [
        getattr(cuda_kernels, k) for k in ("currents", "weight_sums", "row_sums", "add_parts")
    ]
    for function in (*kernels, cuda_products.by_rows, cuda_products.over_rows):
        names = {p for p in triton_names(function) if p in VARYING}
        assert names <= set(held_open(function)), function
    if DEVICE == "cuda":
        compiled = [len(cuda_kernels.currents.device_caches[0][0])]
        for t, b in ((3, 1), (16, 16), (33, 8)):
            x = listed(raster((t, b, 16), 0.1, 0, dtype=torch.float32))
            weight = torch.ones(16, 16, device=DEVICE, requires_grad=True)
            cuda.synapse(x, weight, None, form="lists").sum().backward()
            compiled.append(len(cuda_kernels.currents.device_caches[0][0]))
        assert compiled[1] == compiled[-1]


VARYING = {"batch", "per_seed", "delay", "rows_in_all", "segments", "splits", "rows_of_seed", "seeds",
           "begin", "shift", "share", "size", "parts_in_all", "steps"}  # fmt: skip


def triton_names(function):
    return function.arg_names


def held_open(function):
    """Arguments that are not specialised on."""
    given = getattr(function, "do_not_specialize", None)
    if given is None:
        given = function.kwargs.get("do_not_specialize", ())
    return [function.arg_names[k] if isinstance(k, int) else k for k in given]


@pytest.mark.parametrize(
    "change, word",
    [
        ({"weight": torch.zeros(4, 2).half()}, "weights are torch.float16"),
        ({"weight": torch.zeros(5, 2)}, "activity"),
        ({"weight": torch.zeros(2, 4, 2)}, "activity"),
        ({"x": torch.zeros(2, 3, 4).double()}, "x is torch.float64"),
        ({"bias": torch.zeros(3)}, "bias"),
        ({"delay": -1}, "delay"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"form": "lists"}, "form 'lists'"),
        ({"product": "cublas"}, "product 'cublas'"),
        ({"product": "torch", "precision": "tf32x3"}, "precision tf32x3"),
    ],
)
def test_what_does_not_fit_is_named(change, word):
    operands = {"x": torch.zeros(2, 3, 4), "weight": torch.zeros(4, 2), "bias": None} | change
    operands = {k: v.to(DEVICE) if torch.is_tensor(v) else v for k, v in operands.items()}
    with pytest.raises(ReaderError, match=word):
        cuda.synapse(**operands)


def test_off_the_gpu_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ReaderError, match="weight lies on cpu"):
        cuda.synapse(torch.zeros(2, 3, 4), torch.zeros(4, 2), None)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_the_host_never_waits():
    def fresh():
        # Lists that nothing has been made of yet, neither their order by neuron nor a raster.
        return listed(raster((20, 8, 64), 0.02, 0, dtype=torch.float32), "resident")

    weight = torch.randn(64, 32, device=DEVICE, requires_grad=True)
    bias = torch.randn(32, device=DEVICE, requires_grad=True)
    dense = torch.rand(20, 8, 64, device=DEVICE, requires_grad=True)
    for form, first, second in (
        ("lists", fresh(), fresh()), ("dense", dense, dense), ("dense", fresh(), fresh()),
    ):  # fmt: skip
        cuda.synapse(first, weight, bias, 1, form=form).sum().backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            cuda.synapse(second, weight, bias, 1, form=form).sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
