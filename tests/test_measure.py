import os
import signal
import subprocess
import sys
import time
import weakref

import numba
import numpy as np
import pytest
import torch

from paraspike import buffers, threads
from paraspike.errors import ReaderError
from paraspike.measure import forget_peak, measure, memory_mb, peak_memory


def test_repeats_and_warm_up_are_counted():
    calls = []
    result = measure(lambda: (calls.append(1), time.sleep(0.01)), repeats=4, warmup=2)
    assert len(calls) == 6 and result.seconds.shape == (4,)
    assert 0.009 < result.median < 0.2


def test_a_busy_neighbour_is_noticed():
    spin = "import time; e = time.time() + 8\nwhile time.time() < e: pass"
    # Orphaned at once, for a process's own children are not its neighbours.
    started = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >/dev/null 2>&1 & echo $!', sys.executable, spin],
        capture_output=True,
        text=True,
        check=True,
    )
    neighbour = int(started.stdout)
    try:
        time.sleep(0.3)
        result = measure(lambda: time.sleep(0.3), repeats=2)
    finally:
        os.kill(neighbour, signal.SIGKILL)
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


def filled(mb):
    return np.full(mb << 20, 1, np.uint8)


def test_peak_memory_is_that_of_the_call():
    peak_memory(lambda: filled(64))
    assert 60 < peak_memory(lambda: filled(64)) < 80
    assert abs(peak_memory(lambda: None)) < 4
    # Two after another are not two at a time.
    assert 60 < peak_memory(lambda: [filled(64).sum() for _ in range(2)]) < 80
    assert 90 < peak_memory(lambda: [filled(48) for _ in range(2)]) < 112


def test_a_call_does_not_live_on_free_buffers_unseen():
    def lent():
        buffers.borrow((32 << 18,), torch.float32).fill_(1)

    lent()
    assert 28 < peak_memory(lent) < 48


def test_a_peak_is_kept_until_it_is_forgotten():
    forget_peak()
    start = memory_mb()
    filled(64)
    assert memory_mb(peak=True) - start > 55 and memory_mb() - start < 20
    forget_peak()
    assert memory_mb(peak=True) - start < 20


def test_buffers_are_kept_for_the_next_and_released():
    buffers.release()
    for _ in range(2):
        tensor = buffers.borrow((4, 1 << 20), torch.float32)
        place = tensor.data_ptr()
        del tensor
        again = buffers.borrow((4, 1 << 20), torch.float32)
        assert again.data_ptr() == place
        del again
        (block,) = map(weakref.ref, buffers._free)
        buffers.release()
        assert block() is None and not buffers._free
    kept = buffers.borrow((4, 1 << 20), torch.float32).fill_(3)
    buffers.release()
    assert (kept == 3).all(), "what is lent stays"
