import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.neurons import LIF, LeakyIntegrator, Surrogate, cuba

triton = pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("neither a CUDA device nor TRITON_INTERPRET=1", allow_module_level=True)

from paraspike.ops.lif import cuda, cuda_kernels, cuda_launch, cuda_loops, reference  # noqa: E402

# Masked lanes hold a potential of minus infinity, which NumPy, under the interpreter, warns of.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
RESETS = list(itertools.product(("none", "zero", "subtract"), ("spike", "next_step")))
RICH = LIF(
    a_ii=0.5, a_uu=0.5, a_ui=0.5, c0=0.25, c1=0.5, reset_at="next_step", reset_grad="full", gate_input=True,
    beta=0.5, rho=0.5, refractory="block_spike", refractory_steps=2, surrogate=Surrogate(slope=3.0),
)  # fmt: skip
LAUNCH = cuda_launch.LAUNCH


@pytest.fixture(scope="module", autouse=True)
def short_chunks():
    """Several chunks in a few steps, and a kernel compiles in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_launch, "LAUNCH", ((0, 32, 1, 2),))
        yield


def both_ways(function, x, grad, *weights):
    """[spikes, gradients of x and of the weights]"""
    leaves = [v.clone().requires_grad_() for v in (x, *weights)]
    spikes = function(*leaves)
    spikes.backward(grad)
    # A single step leaves the recurrent weights without a gradient in the reference.
    return [spikes.detach(), *(torch.zeros_like(v) if v.grad is None else v.grad for v in leaves)]


def eighths(shape, generator, dtype=torch.float64):
    """Exact in every sum and product below, so that no order of additions changes a spike."""
    return (torch.randint(-8, 24, shape, generator=generator) / 8).to(DEVICE, dtype)


def noise(shape, generator, dtype=torch.float64):
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def same(actual, expected, tolerance=1e-10):
    assert torch.equal(actual[0], expected[0])
    for a, e in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, e, rtol=tolerance, atol=tolerance)


NEURON = st.builds(
    lambda reset, refractory, beta, shape, window, **rest: LIF(
        a_ii=0.5, a_uu=0.5, a_ui=0.5, c0=0.25, beta=beta, rho=0.5, reset=reset[0], reset_at=reset[1],
        refractory=refractory[0], refractory_steps=refractory[1],
        surrogate=Surrogate(shape, 1.7, 0.6, **window), **rest,
    ),
    reset=st.sampled_from(RESETS),
    refractory=st.sampled_from([("none", 0), ("block_spike", 2), ("clamp_input", 3)]),
    beta=st.sampled_from([0.0, 0.5]),
    shape=st.sampled_from(Surrogate.SHAPES),
    window=st.sampled_from([{}, {"below": 0.3}, {"band": 0.4}]),
    c1=st.sampled_from([0.0, 0.5]),
    strict=st.booleans(),
    gate_input=st.booleans(),
    reset_grad=st.sampled_from(["through", "masked", "full"]),
    surrogate_at=st.sampled_from(["pre", "post"]),
)  # fmt: skip


@given(
    NEURON,
    st.sampled_from(["potential", "states"]),
    st.integers(1, 9),
    st.integers(1, 50),
    st.integers(0, 999),
)
@settings(max_examples=50)
def test_equals_the_reference(neuron, keep, steps, n, seed):
    shape = (steps, 2, n)
    x, grad = eighths(shape, drawn(seed)), noise(shape, drawn(seed + 1))
    expected = both_ways(lambda v: reference.lif(v, neuron), x, grad)
    same(both_ways(lambda v: cuda.lif(v, neuron, keep=keep), x, grad), expected)


@pytest.mark.parametrize("keep", ["potential", "states"])
@pytest.mark.parametrize("neuron", [cuba(1e-3, 5e-3, 1e-2), RICH], ids=["cuba", "rich"])
def test_any_float32_input_gives_the_spikes_of_the_reference_over_several_words(
    neuron, keep, monkeypatch
):
    """Sums are in the reference's order and not contracted, so spikes are equal for inexact inputs too."""
    monkeypatch.setattr(cuda_launch, "LAUNCH", LAUNCH)
    x, grad = (
        3 * noise((70, 3, 15), drawn(0), torch.float32),
        noise((70, 3, 15), drawn(1), torch.float32),
    )
    expected = both_ways(lambda v: reference.lif(v, neuron), x, grad)
    assert 0.01 < expected[0].mean() < 0.9
    same(both_ways(lambda v: cuda.lif(v, neuron, keep=keep), x, grad), expected, 1e-4)


def test_both_ways_back_have_the_same_bits():
    x, grad = (noise((40, 2, 20), drawn(s), torch.float32) * 3 for s in (0, 1))
    kept, again = (
        both_ways(lambda v, k=k: cuda.lif(v, RICH, keep=k), x, grad)
        for k in ("potential", "states")
    )
    assert torch.equal(kept[1], again[1])


@given(
    NEURON, st.sampled_from(["persistent", "steps"]), st.booleans(), st.integers(1, 5), st.integers(1, 2),
    st.integers(1, 3), st.integers(1, 19), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=16)
def test_recurrent_equals_the_reference(neuron, way, local, steps, seeds, per_seed, n, seed):
    shape = (steps, seeds * per_seed, n)
    x, grad = eighths(shape, drawn(seed)), noise(shape, drawn(seed + 1))
    stack = (seeds,) if seeds > 1 else ()
    weight = eighths((*stack, n, n), drawn(seed + 2)) - 0.5
    expected = both_ways(
        lambda v, w: reference.lif(v, neuron, recurrent=w, local=local), x, grad, weight
    )
    actual = both_ways(
        lambda v, w: cuda.lif(v, neuron, recurrent=w, local=local, way=way), x, grad, weight
    )
    same(actual, expected, 1e-8)


@pytest.mark.parametrize("way, steps, per_seed", [("steps", 70, 1), ("persistent", 3, 17)])
def test_recurrent_over_several_chunks_and_blocks_of_samples(way, steps, per_seed, monkeypatch):
    monkeypatch.setattr(cuda_loops, "BLOCK_FROM", 1)
    n = 5
    shape = (steps, 2 * per_seed, n)
    # Twice, for a graph captured in one call is replayed in the next.
    for seed in (0, 7):
        x, grad = eighths(shape, drawn(seed)), noise(shape, drawn(seed + 1))
        weight = eighths((2, n, n), drawn(seed + 2)) / 8
        expected = both_ways(lambda v, w: reference.lif(v, RICH, recurrent=w), x, grad, weight)
        actual = both_ways(lambda v, w: cuda.lif(v, RICH, recurrent=w, way=way), x, grad, weight)
        same(actual, expected, 1e-8)


@pytest.mark.parametrize("way", ["persistent", "steps"])
def test_a_seed_alone_has_the_same_bits_as_among_others(way):
    shape = (4, 6, 18)
    x, grad = 3 * noise(shape, drawn(0), torch.float32), noise(shape, drawn(1), torch.float32)
    weight = noise((3, 18, 18), drawn(2), torch.float32) / 4
    n = LIF(a_ii=0.8, reset_grad="full", surrogate=Surrogate(slope=3.0))

    def run(v, w):
        return cuda.lif(v, n, recurrent=w, way=way)

    together = both_ways(run, x, grad, weight)
    for k in range(3):
        part = slice(2 * k, 2 * k + 2)
        alone = both_ways(run, x[:, part], grad[:, part], weight[k])
        for a, b in zip(
            alone, (together[0][:, part], together[1][:, part], together[2][k]), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("level", [0.0, 1e3, float("nan")])
@pytest.mark.parametrize("keep", ["potential", "states"])
def test_silent_saturated_and_nan(level, keep):
    n = cuba(1e-3, 5e-3, 1e-2)
    x = torch.full((5, 2, 3), level, device=DEVICE)
    expected = both_ways(lambda v: reference.lif(v, n), x, torch.ones_like(x))
    actual = both_ways(lambda v: cuda.lif(v, n, keep=keep), x, torch.ones_like(x))
    assert torch.equal(expected[0], actual[0])
    assert expected[0].mean() == (1.0 if level == 1e3 else 0.0)
    torch.testing.assert_close(actual[1], expected[1], equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 2, 3), (3, 0, 4), (1, 1, 1)])
@pytest.mark.parametrize("way", [None, "persistent", "steps"])
@pytest.mark.parametrize("keep", ["potential", "states"])
def test_no_steps_no_samples_one_of_each(shape, way, keep):
    x = torch.full(shape, 2.0, device=DEVICE)
    weight = (
        None if way is None else torch.ones(shape[2], shape[2], device=DEVICE, requires_grad=True)
    )
    leaf = x.requires_grad_()
    spikes, before, after = cuda.lif(leaf, RICH, True, weight, keep=keep, way=way)
    assert spikes.shape == before.shape == after.shape == shape
    spikes.sum().backward()
    assert leaf.grad.shape == shape


@pytest.mark.parametrize("reset, at", RESETS)
@pytest.mark.parametrize("way", [None, "persistent", "steps"])
def test_potentials_are_traced(reset, at, way):
    n = LIF(a_ii=0.5, a_uu=0.5, reset=reset, reset_at=at, beta=0.5, rho=0.5)
    x = eighths((5, 2, 6), drawn(0)).requires_grad_()
    weight = None if way is None else eighths((6, 6), drawn(1)) / 8
    traced = cuda.lif(x, n, True, weight, way=way)
    for a, e in zip(traced, reference.lif(x, n, True, weight), strict=True):
        assert torch.equal(a, e)
    assert [v.requires_grad for v in traced] == [True, False, False]


def test_strided_inputs_and_gradients_and_a_second_backward_pass():
    n = LIF(surrogate=Surrogate(slope=3.0))
    x = (noise((3, 8, 5), drawn(0)) * 4).transpose(0, 1).requires_grad_()
    spikes = cuda.lif(x, n)
    assert torch.equal(spikes, reference.lif(x, n))
    first, second = (torch.autograd.grad(spikes.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second) and first.any()


@pytest.mark.parametrize("way", [None, "persistent"])
def test_a_gradient_of_the_gradient_is_refused(way):
    x = torch.ones(3, 2, 4, device=DEVICE, requires_grad=True)
    spikes = cuda.lif(x, LIF(), recurrent=None if way is None else x[0].T.detach() @ x[0], way=way)
    (slope,) = torch.autograd.grad(spikes.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        slope.sum().backward()


@pytest.mark.parametrize("way", [None, "persistent", "steps"])
def test_inference_first_and_learning_after(way):
    x, n = torch.ones(3, 2, 4, device=DEVICE), LIF(threshold=1.25)
    weight = None if way is None else torch.full((4, 4), -0.25, device=DEVICE)
    with torch.inference_mode():
        spikes = cuda.lif(x, n, recurrent=weight, way=way)
    again = cuda.lif(x.clone().requires_grad_(), n, recurrent=weight, way=way)
    again.sum().backward()
    assert torch.equal(again, spikes) and spikes.any()
    with torch.no_grad():
        assert torch.equal(cuda.lif(x, n, recurrent=weight, way=way), spikes)


def test_without_gradients_nothing_is_kept(monkeypatch):
    kept = []
    monkeypatch.setattr(cuda, "Kept", lambda *a: kept.append(made := cuda_launch.Kept(*a)) or made)
    x = torch.ones(9, 2, 3, device=DEVICE, requires_grad=True)
    with torch.no_grad():
        cuda.lif(x, RICH)
    assert [v.numel() for v in kept[0].tensors()] == [1, 1, 1, 1]
    cuda.lif(x, RICH, keep="potential")
    assert kept[1].potential.numel() == 54


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_layer_of_two_seeds_with_delay_and_masks_uses_it(recurrent):
    options = {"seeds": (1, 2), "delay": 2, "mask": torch.rand(7, 6, generator=drawn(0)) < 0.6}
    x = (torch.rand(9, 6, 7, generator=drawn(1)) < 0.4).float().to(DEVICE)
    grad = noise((9, 6, 6), drawn(2), torch.float32)
    seen = []
    for function in (reference.lif, cuda.lif):
        ops = dataclasses.replace(backends.operators("reference"), lif=function)
        layer = Layer(
            7,
            6,
            cuba(1e-3, 5e-3, 1e-2, threshold=0.05),
            recurrent=recurrent,
            backend=ops,
            **options,
        )
        layer.to(DEVICE)(x).backward(grad)
        seen.append([v.grad for v in layer.parameters()])
    for expected, actual in zip(*seen, strict=True):
        assert expected.any()
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused(monkeypatch):
    x, n = torch.ones(2, 4, 3, device=DEVICE), LIF()
    for arguments, match in (
        ((x.half(), n), "float16"),
        ((x[0], n), "shape"),
        ((x, LeakyIntegrator(0.5, 0.5, 0.5)), "does not fire"),
        ((x, n, False, torch.ones(2, 3, device=DEVICE)), "do not fit"),
        ((x, n, False, torch.ones(3, 3, 3, device=DEVICE)), "do not fit"),
        ((x, n, False, torch.ones(3, 3, device=DEVICE).double()), "float64"),
        ((x, n, False, None, False, "everything"), "keep"),
        ((x, n, False, torch.ones(3, 3, device=DEVICE), False, None, "graph"), "way"),
    ):
        with pytest.raises(ReaderError, match=match):
            cuda.lif(*arguments)
    wide = torch.ones(1, 1, cuda.PERSISTENT_UP_TO + 1, device=DEVICE)
    with pytest.raises(ReaderError, match="do not fit a program"):
        cuda.lif(wide, n, recurrent=wide[0].T @ wide[0], way="persistent")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ReaderError, match="input on cpu"):
        cuda.lif(x.cpu(), n)


def test_importing_the_package_does_not_import_triton():
    code = (
        "import sys, paraspike.network, paraspike.ops.lif.cuda; sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_kernels_compile_for_sm_90_without_spills_and_no_size_is_specialised_on():
    """Every kind of kernel, in a process without the interpreter. Feedforward ones load ahead into registers,
    so few that 65,536 neurons, a thread each, are all at work on 132 multiprocessors."""
    chosen = (
        "^((forward|backward)-cuba-4096-[12]|(forward|backward)-all-4096-step|forward-post-4096-1"
    )
    chosen += "|backward-all-4096-2|loop-.*-cuba-256)"
    script = Path(__file__).with_name("compile_lif_cuda.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, script, "fp32", chosen], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["name"] for row in rows}) == 11
    for row in rows:
        assert row["free"] == [], row
        if "loop" not in row["name"] or "cuba" in row["name"]:
            # Triton 3.7.1's assembler spills two registers of a recurrent kernel, 3.9's none.
            assert row["local"] == 0 and row["spills"] <= 8 * ("loop" in row["name"]), row
        if "loop" not in row["name"]:
            assert row["shared"] == 0 and row["registers"] <= 128, row


@pytest.mark.skipif(DEVICE == "cpu", reason="compiled variants are counted on a GPU")
def test_one_compiled_variant_for_all_sizes():
    def run(steps, batch, n):
        x = torch.ones(steps, batch, n, device=DEVICE, requires_grad=True)
        cuda.lif(x, RICH).sum().backward()
        return [
            len(kernel.device_caches[torch.cuda.current_device()][0])
            for kernel in (cuda_kernels.forward, cuda_kernels.backward)
        ]

    assert run(3, 2, 16) == run(1, 1, 1) == run(40, 3, 17)
