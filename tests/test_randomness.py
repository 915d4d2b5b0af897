import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paraspike import randomness
from paraspike.errors import ReaderError
from paraspike.ops import jit
from paraspike.threads import set_threads

# Known answers of philox4x32-10 from the Random123 distribution (kat_vectors).
KNOWN = [
    ((0, 0, 0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("given_words, expected", KNOWN)
def test_philox_gives_the_published_answers(given_words, expected):
    assert tuple(map(int, randomness.philox(*map(np.uint64, given_words)))) == expected


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_a_number_depends_on_its_own_key_alone(seed, samples, steps, neurons, trial):
    together = randomness.uniform(seed, "x", samples, steps, neurons, trial)
    alone = randomness.uniform(seed, "x", samples[-1:], steps + 3, neurons + 5, trial)
    assert np.array_equal(together[:, -1], alone[:steps, 0, :neurons])


def test_each_sample_may_have_its_own_seed():
    mixed = randomness.uniform([4, 9], "x", [7, 7], 3, 6)
    for b, seed in enumerate((4, 9)):
        assert np.array_equal(mixed[:, b], randomness.uniform(seed, "x", [7], 3, 6)[:, 0])


def test_every_part_of_the_key_matters_and_numbers_are_uniform():
    base = randomness.uniform(1, "a", np.arange(40), 50, 30)
    for other in (
        randomness.uniform(2, "a", np.arange(40), 50, 30),
        randomness.uniform(1, "b", np.arange(40), 50, 30),
        randomness.uniform(1, "a", np.arange(40), 50, 30, trial=1),
    ):
        assert abs(np.corrcoef(base.ravel(), other.ravel())[0, 1]) < 0.02
    assert stats.kstest(base.ravel(), "uniform").pvalue > 1e-3
    assert base.min() > 0 and base.max() < 1


def test_thread_counts_do_not_change_the_bits():
    try:
        set_threads(1)
        one = randomness.uniform(3, "x", np.arange(33), 17, 130)
        set_threads(3)
        three = randomness.uniform(3, "x", np.arange(33), 17, 130)
    finally:
        set_threads(1)
    assert np.array_equal(one, three)


@given(st.integers(0, 200), st.integers(0, 5))
def test_permutation_is_one(n, trial):
    assert sorted(randomness.permutation(5, "shuffle", n, trial)) == list(range(n))


def test_permutations_differ_between_epochs():
    orders = {tuple(randomness.permutation(5, "shuffle", 50, t)) for t in range(20)}
    assert len(orders) == 20


@pytest.mark.parametrize("seed, trial, samples", [(-1, 0, [0]), (0, 2**32, [0]), (0, 0, [-1])])
def test_what_does_not_fit_is_refused(seed, trial, samples):
    with pytest.raises(ReaderError, match="32 bits"):
        randomness.uniform(seed, "x", samples, 1, 1, trial)


@pytest.mark.parametrize("neurons", [1, 4, 7])
def test_without_numba_the_bits_are_the_same(monkeypatch, neurons):
    given = [3, 2**32 - 1], "spike/1", [5, 9], 6, neurons, 2
    compiled = randomness.words(7, *given[1:]), randomness.uniform(*given)
    monkeypatch.setattr(randomness, "numba", None)
    out = np.empty_like(compiled[1])
    assert randomness.uniform(*given, out=out) is out
    np.testing.assert_array_equal(out, compiled[1])
    np.testing.assert_array_equal(randomness.words(7, *given[1:]), compiled[0])


def test_without_numba_a_kernel_is_the_plain_function(monkeypatch):
    monkeypatch.setattr(jit, "numba", None)
    assert jit.njit(inline="always")(lambda x: x + 1)(1) == 2
