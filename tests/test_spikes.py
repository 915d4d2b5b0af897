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


def test_steps_of_every_form_are_those_of_the_raster():
    generator = torch.Generator().manual_seed(0)
    raster = (torch.rand(9, 3, 70, generator=generator) < 0.2).float()
    lists = Spikes.from_lists(*Spikes.from_dense(raster).lists, raster.shape)
    words = np.packbits(raster.reshape(27, 70).numpy().astype(np.uint8), axis=1, bitorder="little")
    bits = np.zeros((27, 16), np.uint8)
    bits[:, : words.shape[1]] = words
    for spikes in (
        Spikes.from_dense(raster),
        lists,
        Spikes.from_bits(bits.view(np.uint64), raster.shape),
    ):
        for start, stop in ((0, 9), (2, 5), (4, 4), (7, 20)):
            piece = spikes.steps(start, stop)
            assert piece.shape == (min(stop, 9) - start, 3, 70)
            assert torch.equal(piece.dense(), raster[start:stop])
            assert torch.equal(
                Spikes.from_lists(*piece.lists, piece.shape).dense(), raster[start:stop]
            )


def test_detached_spikes_take_no_gradient():
    raster = torch.ones(2, 1, 3, requires_grad=True)
    spikes = Spikes.from_dense(raster).detached()
    assert not spikes.dense().requires_grad and not spikes.totals.requires_grad
