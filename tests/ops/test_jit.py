import os
import shutil
import subprocess
import sys
from pathlib import Path

import paraspike

PACKAGE = Path(paraspike.__file__).parent


def fresh(code, **variables):
    """What a new Python process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_fresh_process_sees_an_edited_helper(tmp_path):
    copy = tmp_path / "paraspike"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    helper, user = copy / "ops" / "helper.py", copy / "ops" / "user.py"
    text = "from paraspike.ops.jit import njit\n\n\n@njit\ndef value():\n    return {}\n"
    helper.write_text(text.format(1))
    user.write_text(
        "from paraspike.ops.helper import value\nfrom paraspike.ops.jit import njit\n\n\n"
        "@njit\ndef twice():\n    return 2 * value()\n"
    )
    variables = {"PYTHONPATH": str(tmp_path), "PARASPIKE_CACHE": str(tmp_path / "cache")}
    code = (
        "from paraspike.ops.user import twice\nprint(twice(), sum(twice.stats.cache_hits.values()))"
    )
    assert fresh(code, **variables) == "2 0"
    assert fresh(code, **variables) == "2 1"
    helper.write_text(text.format(21))
    assert fresh(code, **variables) == "42 0"


def test_import_adds_less_than_half_a_second_to_torch():
    code = (
        "import time, torch\nbegin = time.process_time()\n"
        "import paraspike\nparaspike.Layer, paraspike.Network, paraspike.Spikes\n"
        "print(time.process_time() - begin)"
    )
    assert sorted(float(fresh(code)) for _ in range(3))[1] < 0.5


def test_wide_vectors_hold_the_same_numbers_as_scalars():
    import numpy as np

    from paraspike.ops import simd
    from paraspike.ops.jit import njit

    @njit(cache=False)
    def vectors(x, out, bits, n):
        for j in range(0, n, simd.LANES):
            some = simd.lanes_below(n - j)
            v = simd.load_some(x, j, some)
            hot = (v > x.dtype.type(0.5)) & some
            bits[j // simd.LANES] = simd.to_bits(hot)
            near = simd.select(hot, simd.absolute(v - x.dtype.type(1)), v * v)
            simd.store_some(out, j, simd.fma(near, v, simd.exponential(v)) / (near + v), some)

    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).random(37).astype(dtype) + dtype(0.1)
        out, bits = np.full(48, -1, dtype), np.zeros(3, np.uint16)
        vectors(x, out, bits, 37)
        hot = x > 0.5
        near = np.where(hot, abs(x - 1), x * x)
        np.testing.assert_allclose(out[:37], (near * x + np.exp(x)) / (near + x), rtol=2e-6)
        assert (out[37:] == -1).all()
        marked = np.unpackbits(bits.view(np.uint8), bitorder="little")
        assert (marked[:37] == hot).all() and not marked[37:].any()


def test_set_bits_are_listed_in_order():
    import numpy as np

    from paraspike.ops.synapse.rows import decode

    bits = np.random.default_rng(1).random((5, 128)) < 0.3
    words = np.packbits(bits, axis=1, bitorder="little").view(np.uint16)
    for row, line in zip(bits, words, strict=True):
        found = np.zeros(128 + 16, np.int32)
        end = decode(line, 0, 8, found, 0)
        assert found[:end].tolist() == np.flatnonzero(row).tolist()
