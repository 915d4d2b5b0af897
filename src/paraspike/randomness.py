"""One counter-based generator for everything random: Philox4x32-10 (Salmon et al., SC 2011).

A number depends on (seed, stream, sample, step, neuron, trial) alone, so a seed's result is the same
alone or among ten, on every backend, with any number of threads, and after a resumed run.
Key = (seed, CRC-32 of the stream's name); counter = (neuron // 4, step, sample, trial).
"""

import zlib

import numpy as np

from paraspike.errors import ReaderError
from paraspike.ops.jit import njit, numba
from paraspike.threads import run_blocks

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


@njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four 32-bit words (held in uint64) from a 4-word counter and a 2-word key."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c2 = (p1 >> _32) ^ c1 ^ k0, (p0 >> _32) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(inline="always")
def fill_line(line, blocks, step, sample, trial, seed, stream):
    """The words of one sample at one step, four a block, into uint32 `line` [4 * blocks]."""
    for block in range(blocks):
        w0, w1, w2, w3 = philox(np.uint64(block), np.uint64(step), sample, trial, seed, stream)
        line[4 * block] = w0
        line[4 * block + 1] = w1
        line[4 * block + 2] = w2
        line[4 * block + 3] = w3


def _in_numpy(out, samples, trial, seeds, k1, real):
    """`out` on whole arrays, for machines without numba: the same generator."""
    steps, batch, n = out.shape
    block, plain = np.arange((n + 3) // 4, dtype=np.uint64), getattr(philox, "py_func", philox)
    key = samples[:, None], np.uint64(trial), seeds[:, None], k1
    # As many steps at once as stay in the cache.
    many = max(1, 2**14 // max(1, batch * len(block)))
    for begin in range(0, steps, many):
        step = np.arange(begin, min(begin + many, steps), dtype=np.uint64)[:, None, None]
        line = np.stack(np.broadcast_arrays(*plain(block, step, *key)), -1)
        line = line.reshape(len(step), batch, -1)[:, :, :n].astype(np.uint32)
        if real:
            line = (line >> np.uint32(9)).astype(np.float32) * np.float32(2.0**-23)
            line += np.float32(2.0**-24)
        out[begin : begin + many] = line


@njit
def _fill_words(start, stop, out, samples, trial, seeds, k1):
    n_samples, blocks = out.shape[1], out.shape[2] // 4
    for row in range(start, stop):
        step, b = row // n_samples, row % n_samples
        line = out[step, b]
        fill_line(line, blocks, step, samples[b], trial, seeds[b], k1)


@njit
def _fill_uniform(start, stop, out, samples, trial, seeds, k1):
    n_samples, n = out.shape[1], out.shape[2]
    blocks = (n + 3) // 4
    scale = np.float32(2.0**-23)
    half = np.float32(2.0**-24)
    line = np.empty(4 * blocks, np.uint32)
    for row in range(start, stop):
        step, b = row // n_samples, row % n_samples
        fill_line(line, blocks, step, samples[b], trial, seeds[b], k1)
        for j in range(n):
            out[step, b, j] = np.float32(np.int32(line[j] >> np.uint32(9))) * scale + half


def stream_key(stream: str) -> int:
    """The 32-bit key word of a named stream."""
    return zlib.crc32(stream.encode())


def keys(seed, stream: str, trial: int, samples):
    """(samples, trial, seeds, stream) as the uint64 words that key the generator.

    Raises:
        ReaderError: a word that does not fit 32 bits, or seeds not one per sample.
    """
    samples = np.asarray(samples, dtype=np.int64).reshape(-1)
    seeds = np.asarray(seed, dtype=np.int64)
    for name, value in (("seed", seeds), ("sample", samples), ("trial", np.asarray(trial))):
        if value.size and not 0 <= value.min() <= value.max() < 2**32:
            raise ReaderError(
                f"{name} {value} does not fit 32 bits", "randomness", "0 .. 2**32 - 1"
            )
    if seeds.ndim and seeds.shape != samples.shape:
        raise ReaderError(
            f"{seeds.size} seeds for {samples.size} samples", "randomness", "one each"
        )
    seeds = np.broadcast_to(seeds, samples.shape).astype(np.uint64)
    return samples.astype(np.uint64), np.uint64(trial), seeds, np.uint64(stream_key(stream))


def words(seed: int, stream: str, samples, steps: int, neurons: int, trial: int = 0) -> np.ndarray:
    """Random 32-bit words uint32 [steps, len(samples), neurons]; arguments as `uniform`."""
    samples, trial, seeds, k1 = keys(seed, stream, trial, samples)
    out = np.empty((steps, len(samples), -(-neurons // 4) * 4), np.uint32)
    if numba is None:
        _in_numpy(out, samples, trial, seeds, k1, real=False)
        return out[:, :, :neurons]
    run_blocks(_fill_words, steps * len(samples), out, samples, trial, seeds, k1, grain=16)
    return out[:, :, :neurons]


def uniform(seed, stream: str, samples, steps: int, neurons: int, trial: int = 0, out=None):
    """Uniform float32 in the open interval (0, 1), [T = steps, B = len(samples), N = neurons].

    Args:
        seed: 0 .. 2**32 - 1, the experiment's seed, or one per sample [B].
        stream: what the numbers are for ("init/0", "spike/1", "augment", ...).
        samples: non-negative integers below 2**32 that name the samples, [B].
        trial: epoch or pass, for fresh numbers on the same sample.
        out: float32 [T, B, N], C-contiguous, to be filled instead of a new array.

    Raises:
        ReaderError: seed or trial out of range.
    """
    samples, trial, seeds, k1 = keys(seed, stream, trial, samples)
    if out is None:
        out = np.empty((steps, len(samples), neurons), np.float32)
    if numba is None:
        _in_numpy(out, samples, trial, seeds, k1, real=True)
        return out
    run_blocks(_fill_uniform, steps * len(samples), out, samples, trial, seeds, k1, grain=16)
    return out


def permutation(seed: int, stream: str, n: int, trial: int = 0) -> np.ndarray:
    """A random order of range(n), int64 [n]: argsort of 64-bit keys, ties by index."""
    pair = words(seed, stream, np.zeros(1), n, 2, trial)[:, 0].astype(np.uint64)
    return np.argsort((pair[:, 0] << _32) | pair[:, 1], kind="stable")
