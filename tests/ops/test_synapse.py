import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.ops.synapse import cpu, reference
from paraspike.spikes import Spikes
from paraspike.threads import set_threads


def raster(shape, density, seed, top=3):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        (rng.random(shape) < density) * rng.integers(1, top + 1, shape)
    ).double()


@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 70),
    st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.booleans(), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=50)
def test_sums_over_spikes_equal_the_matrix_product(
    t, per_seed, seeds, n_in, n_out, density, bias, plain, seed
):
    dense = raster((t, per_seed * seeds, n_in), density, seed)
    generator = torch.Generator().manual_seed(seed)
    stack = () if plain else (seeds,)
    weight = torch.randn(*stack, n_in, n_out, generator=generator, dtype=torch.float64)
    offset = torch.randn(*stack, n_out, generator=generator, dtype=torch.float64) if bias else None
    grad = torch.randn(t, per_seed * seeds, n_out, generator=generator, dtype=torch.float64)
    results = []
    for form in ("dense", "lists"):
        leaves = [v.clone().requires_grad_() for v in (dense, weight, offset) if v is not None]
        x, w, b = (*leaves, None)[:3]
        if form == "dense":
            out = reference.synapse(x, w, b)
        else:
            lists = Spikes.from_dense(dense).lists
            carrier = torch.zeros((), dtype=torch.float64).expand(dense.shape).requires_grad_()
            leaves[0] = carrier
            out = cpu.synapse(Spikes(dense.shape, lists=lists, carrier=carrier), w, b)
        out.backward(grad)
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_bits_do_not_depend_on_threads():
    dense = raster((20, 6, 50), 0.1, 0).float()
    weight = torch.randn(50, 100, requires_grad=True)
    seen = []
    try:
        for count in (1, 3):
            set_threads(count)
            weight.grad = None
            out = cpu.synapse(
                Spikes.from_lists(*Spikes.from_dense(dense).lists, dense.shape), weight, None
            )
            out.square().sum().backward()
            seen.append((out.detach(), weight.grad))
    finally:
        set_threads(1)
    assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_a_seed_gives_the_same_bits_alone_and_among_others(seeds):
    x = torch.randn(11, 4 * seeds, 30)
    weight, bias = torch.randn(seeds, 30, 20), torch.randn(seeds, 20)
    together = reference.synapse(x, weight, bias)
    alone = reference.synapse(x[:, -4:].contiguous(), weight[-1:], bias[-1:])
    assert torch.equal(together[:, -4:], alone)
