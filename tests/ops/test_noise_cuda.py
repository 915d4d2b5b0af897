import os

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.ops.noise import reference

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a CUDA device", allow_module_level=True)

from paraspike.ops.noise import cuda  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
word = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([torch.float32, torch.float64])


@given(
    st.integers(0, 5),
    st.integers(1, 9),
    st.lists(st.tuples(word, word), min_size=1, max_size=4),
    word,
    dtypes,
)
@example(3, 130, [(0, 0), (2**32 - 1, 2**31)], 1, torch.float32)
@example(0, 4, [(1, 1)], 0, torch.float32)
@example(40, 1, [(1, 1)], 0, torch.float64)
@settings(max_examples=15)
def test_the_device_draws_the_same_bits(steps, n, pairs, trial, dtype):
    seeds, samples = np.array(pairs).T
    like = torch.empty(steps, len(pairs), n, dtype=dtype)
    key = (seeds, "train/1", samples, trial)
    drawn = cuda.noise(like.to(DEVICE), *key)
    assert drawn.dtype == dtype and drawn.device.type == DEVICE and drawn.is_contiguous()
    assert torch.equal(drawn.cpu(), reference.noise(like, *key))


def test_one_seed_for_all_samples_and_a_transposed_tensor():
    like = torch.empty(2, 3, 8).transpose(0, 1)
    drawn = cuda.noise(like.to(DEVICE), 5, "s", [4, 9], 0)
    assert torch.equal(drawn.cpu(), reference.noise(like, 5, "s", [4, 9], 0))


def test_layers_share_one_copy_of_a_batch_key_and_nothing_else():
    like, seeds, samples = torch.empty(1, 2, 4, device=DEVICE), np.array([3, 4]), np.array([5, 6])
    key, *words = cuda.device_key(like, seeds, "train/0", samples, 1)
    again, *others = cuda.device_key(like, seeds.copy(), "train/1", samples.copy(), 1)
    assert again is key and words[0] == others[0] and words[1] != others[1]
    assert key.tolist() == [[5, 6], [3, 4]]
    seeds[0], samples[1] = 7, 8
    assert cuda.device_key(like, seeds, "train/0", samples, 1)[0].tolist() == [[5, 8], [7, 4]]
    assert cuda.device_key(like, 9, "train/0", samples, 1)[0].tolist() == [[5, 8], [9, 9]]


def test_what_is_refused_is_named():
    with pytest.raises(ReaderError, match="float16 noise"):
        cuda.noise(torch.empty(1, 1, 1, dtype=torch.float16, device=DEVICE), 0, "s", [0], 0)
    with pytest.raises(ReaderError, match="does not fit 32 bits"):
        cuda.noise(torch.empty(1, 1, 1, device=DEVICE), 2**32, "s", [0], 0)
    with pytest.raises(ReaderError, match="2 seeds for 1 samples"):
        cuda.noise(torch.empty(1, 1, 1, device=DEVICE), [0, 1], "s", [0], 0)
