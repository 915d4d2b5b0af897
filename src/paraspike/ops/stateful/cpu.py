"""A LIF layer run piece by piece, compiled: the normal form's step, its state kept between calls."""

import functools

import numpy as np
import torch

from paraspike.ops.jit import njit
from paraspike.ops.lif.options import coefficients, options
from paraspike.ops.lif.rows import STATES, advance, recent, surrogate_gradient
from paraspike.ops.simd import (
    LANES,
    absolute,
    from_bits,
    lanes_below,
    load_some,
    select,
    splat,
    store_some,
)
from paraspike.ops.stateful.reference import check
from paraspike.ops.synapse.rows import decode, gather_row, padded
from paraspike.spikes import Spikes
from paraspike.threads import run_blocks


@functools.cache
def _kernel(option):
    @njit
    def walk(start, stop, sizes, x, loop, c, patience, words, n_words, state, psi):
        steps, batch, n, history = sizes
        pitch, w_step = padded(n), batch * n_words
        found, ones = np.empty(n + LANES, np.int32), np.ones(n, x.dtype)
        line, potential = np.zeros(pitch, x.dtype), np.zeros(pitch, x.dtype)
        adaptation, totals = np.zeros(pitch, x.dtype), np.zeros(pitch, x.dtype)
        zero, one, level, height = splat(c[10]), splat(c[11]), splat(c[5]), splat(c[9])
        for b in range(start, stop):
            for k in range(steps):
                t = history + k
                word, at = (t * batch + b) * n_words, (k * batch + b) * n
                end = 0
                if len(loop) > 0:
                    end = decode(words, word - w_step, n_words, found, 0)
                gather_row(x, at, found, ones, 0, end, loop, 0, n, 0, n, line, 0)
                advance(option, c, patience, t, line, 0, state, b * STATES * pitch, pitch, words, word,
                        w_step, words, potential, adaptation, potential, 0, totals, 0, 0, n)  # fmt: skip
                for j in range(0, n, LANES):
                    some, bar = lanes_below(n - j), level
                    if option[6] == 1:
                        bar = level + load_some(adaptation, j, some) * c[6]
                    distance = load_some(potential, j, some) - bar
                    slope = surrogate_gradient(
                        option[10], absolute(distance), c[8], height, zero, one
                    )
                    if option[12] == 1:
                        within = (distance > splat(c[12])) & (splat(c[13]) > distance)
                        slope = select(within, slope, zero)
                    if option[5] == 1:
                        busy = from_bits(recent(words, word + j // LANES, w_step, t, patience))
                        slope = select(busy, zero, slope)
                    store_some(psi, at + j, slope, some)

    return walk


def stateful(x: torch.Tensor, neuron, state=None, recurrent=None):
    """As `reference.stateful`, on the CPU; samples are shared out among the threads."""
    check(x, neuron, recurrent)
    x = x.detach().contiguous()
    steps, batch, n = x.shape
    real = np.float64 if x.dtype == torch.float64 else np.float32
    patience, n_words = neuron.refractory_steps, -(-n // 64)
    history = max(1, patience)
    if state is None:
        state = (
            np.zeros(batch * STATES * padded(n), real),
            np.zeros((history, batch, n_words), np.uint64),
        )
    held, before = state[0].copy(), state[1]
    words = np.concatenate([before, np.zeros((steps, batch, n_words), np.uint64)])
    psi = torch.empty_like(x)
    loop = np.empty(0, real)
    if recurrent is not None:
        loop = recurrent.detach().contiguous().reshape(-1).numpy()
    if x.numel():
        run_blocks(_kernel(options(neuron)), batch, (steps, batch, n, history), x.reshape(-1).numpy(), loop,
                   coefficients(neuron, real), patience, words.view(np.uint16).reshape(-1), 4 * n_words,
                   held, psi.reshape(-1).numpy())  # fmt: skip
    bits = np.ascontiguousarray(words[history:]).reshape(steps * batch, n_words)
    return Spikes.from_bits(bits, x.shape), psi, (held, words[steps:].copy())
