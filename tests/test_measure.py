import subprocess
import sys
import time

import numba
import pytest
import torch

from paraspike import threads
from paraspike.errors import ReaderError
from paraspike.measure import measure


def test_repeats_and_warm_up_are_counted():
    calls = []
    result = measure(lambda: (calls.append(1), time.sleep(0.01)), repeats=4, warmup=2)
    assert len(calls) == 6 and result.seconds.shape == (4,)
    assert 0.009 < result.median < 0.2


def test_a_busy_neighbour_is_noticed():
    spin = "import time; e = time.time() + 8\nwhile time.time() < e: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", spin])
    try:
        time.sleep(0.3)
        result = measure(lambda: time.sleep(0.3), repeats=2)
    finally:
        neighbour.kill()
        neighbour.wait()
    assert result.disturbed and result.others > 0.2


def test_torch_and_numba_get_the_same_count():
    try:
        for count in (2, 1):
            assert threads.set_threads(count) == count
            assert torch.get_num_threads() == count == threads.get_threads()
            assert numba.get_num_threads() == min(count, numba.config.NUMBA_NUM_THREADS)
    finally:
        threads.set_threads(1)


@pytest.mark.parametrize("count", [0, -1, "two"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ReaderError, match="positive integer"):
        threads.set_threads(count)
