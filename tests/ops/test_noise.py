import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paraspike.ops.noise import cuda, reference

word = st.integers(0, 2**32 - 1)


@given(
    st.integers(0, 5),
    st.integers(1, 9),
    st.lists(st.tuples(word, word), min_size=1, max_size=4),
    word,
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_device_draws_the_same_bits(steps, n, pairs, trial, dtype):
    seeds, samples = np.array(pairs).T
    like = torch.empty(steps, len(pairs), n, dtype=dtype)
    arguments = (like, seeds, "train/1", samples, trial)
    expected, actual = reference.noise(*arguments), cuda.noise(*arguments)
    assert actual.dtype == dtype and torch.equal(actual, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same_bits():
    like = torch.empty(50, 8, 130)
    key = (np.arange(8), "x", np.arange(8), 3)
    on_gpu = cuda.noise(like.cuda(), *key)
    assert on_gpu.is_cuda and torch.equal(on_gpu.cpu(), reference.noise(like, *key))
