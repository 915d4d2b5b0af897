import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.spikes import Spikes


@given(
    st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(1, 9)),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_lists_and_dense_are_one_thing(shape, density, seed):
    rng = np.random.default_rng(seed)
    dense = torch.from_numpy((rng.random(shape) < density) * rng.integers(1, 4, shape)).float()
    made = Spikes.from_dense(dense)
    pointers, units, counts = made.lists
    back = Spikes.from_lists(pointers, units, counts, shape)
    assert torch.equal(back.dense(), dense)
    assert torch.equal(back.totals, dense.sum(0))
    assert len(units) == int((dense > 0).sum())
    for row in range(shape[0] * shape[1]):
        assert (np.diff(units[pointers[row] : pointers[row + 1]]) > 0).all()


def test_the_carrier_is_one_element_and_takes_a_dense_gradient():
    spikes = Spikes.from_lists([0, 1, 1], [2], [1.0], (2, 1, 3))
    assert spikes.carrier.untyped_storage().nbytes() == 4
    assert spikes.carrier.shape == (2, 1, 3)


def test_what_makes_no_raster_is_refused():
    with pytest.raises(ReaderError, match=r"\[T, B, N\]"):
        Spikes.from_dense(torch.zeros(3, 4))
    with pytest.raises(ReaderError, match="float"):
        Spikes.from_dense(torch.zeros(1, 1, 1, dtype=torch.int64))
    with pytest.raises(ReaderError, match="row pointers"):
        Spikes.from_lists([0, 1], [2], [1.0], (2, 1, 3))
    for units, counts in (([1, 1], [1, 1]), ([2, 1], [1, 1]), ([0, 1], [1, 0])):
        with pytest.raises(ReaderError, match="units rise"):
            Spikes.from_lists([0, 2], units, counts, (1, 1, 3))
