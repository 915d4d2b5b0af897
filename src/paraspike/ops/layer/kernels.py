"""The passes over time of a layer: blocks of samples, each walked chunk by chunk with its state in cache.

A factory closes over the neuron's option integers; blocks never straddle two seeds.
"""

import functools

import numpy as np

from paraspike.ops.jit import njit
from paraspike.ops.lif.rows import ADJOINTS, STATES, advance, retreat
from paraspike.ops.simd import LANES, prefetch, prefetch_to_write
from paraspike.ops.synapse.chunks import BITS, ROWS, absorb, currents, scratch, send_back
from paraspike.ops.synapse.rows import STRIP, add_row, decode, gather_row, padded, product_rows


@njit
def clear(table, first, rows, n, left, right):
    """Zero columns left .. right of `rows` rows of n from row `first` on."""
    for row in range(first, first + rows):
        table[row * n + left : row * n + right] = 0


@functools.cache
def forward_kernel(option, recurrent):
    @njit
    def forward(start, stop, dims, source, weight, packed, bias, loop, c, patience, words, near, potential,
                adaptation, drives, step, stride, totals, taken):  # fmt: skip
        steps, batch, n_in, n, per_seed, block, delay, span, n_words = dims
        parts = -(-n // span)
        blocks = -(-per_seed // block)
        pitch = padded(n)
        chunk = max(1, ROWS // block)
        room = scratch(weight, source[0], chunk * block, n_in)
        x = np.zeros(chunk * block * pitch, weight.dtype)
        state = np.zeros(STATES * block * pitch, weight.dtype)
        section = block * pitch
        found, ones = np.empty(n + LANES, np.int32), np.ones(n, weight.dtype)
        w_step = batch * n_words
        for task in range(start, stop):
            place, part = task // parts, task % parts
            seed = place // blocks
            low = (place % blocks) * block
            first, width = seed * per_seed + low, min(block, per_seed - low)
            left, right = part * span, min(n, (part + 1) * span)
            state[:] = 0
            for t0 in range(0, steps, chunk):
                length = min(chunk, steps - t0)
                whole = currents(
                    source, n_in, n, t0, length, delay, batch, first, width, left, right, pitch, weight,
                    seed * n_in * n, packed, seed * n_in * pitch, bias, seed * pitch, room, x,
                )  # fmt: skip
                taken[2 * task] += 1
                taken[2 * task + 1] += int(whole)
                for q in range(length * width):
                    # Memory holds one sample's steps side by side; recurrence needs all at one step.
                    k, b = (q // width, q % width) if recurrent else (q % length, q // length)
                    t = t0 + k
                    row, at = t * batch + first + b, (k * width + b) * pitch
                    kept = t * step + (first + b) * stride
                    if recurrent and t > 0:
                        end = decode(words, (row - batch) * n_words, n_words, found, 0)
                        gather_row(x, at, found, ones, 0, end, loop, seed * n * n, n, 0, n, x, at)
                    if t + chunk < steps:
                        for j in range(left, right, LANES):
                            prefetch_to_write(potential, kept + chunk * step + j)
                    advance(
                        option, c, patience, t, x, at, state, b * pitch, section,
                        words, row * n_words, w_step, near, potential, adaptation, drives, kept,
                        totals, (first + b) * n, left, right,
                    )  # fmt: skip

    return forward


@functools.cache
def backward_kernel(option, recurrent):
    @njit
    def backward(start, stop, dims, groups, source, product, turned, loop_turned, returns, c, patience, words,
                 potential, adaptation, drives, step, stride, grad, g_step, g_stride, total, of_weight,
                 of_bias, biased, of_loop, of_input, wants_input, weight, near, sent,
                 wants_sent):  # fmt: skip
        steps, batch, n_in, n, per_seed, block, delay, span, n_words = dims
        parts = -(-n // span)
        blocks = -(-per_seed // block)
        pitch = padded(n)
        chunk = max(1, ROWS // block)
        room = scratch(potential, source[0], chunk * block, n_in)
        loop_room = scratch(potential, BITS, chunk * block, n if recurrent else 0)
        delta = np.zeros(chunk * block * pitch, potential.dtype)
        section = block * pitch
        state = np.zeros(ADJOINTS * section, potential.dtype)
        back = np.zeros(section, potential.dtype)
        nothing = np.zeros(padded(max(n, n_in)), potential.dtype)
        w_step = batch * n_words
        own = (BITS, source[1], source[2], source[3], words, n_words, source[6])
        for task in range(start, stop):
            group, part = task // parts, task % parts
            seed, share = group // groups, group % groups
            left, right = part * span, min(n, (part + 1) * span)
            clear(of_weight, group * n_in, n_in, n, left, right)
            clear(of_bias, group, 1, n, left, right)
            if recurrent:
                clear(of_loop, group * n, n, n, left, right)
            for place in range(share * blocks // groups, (share + 1) * blocks // groups):
                low = place * block
                first, width = seed * per_seed + low, min(block, per_seed - low)
                state[:] = 0
                back[:] = 0
                for t0 in range((steps - 1) // chunk * chunk, -1, -chunk):
                    length = min(chunk, steps - t0)
                    for q in range(length * width):
                        k, b = (q // width, q % width) if recurrent else (q % length, q // length)
                        k = length - 1 - k
                        t = t0 + k
                        row, at = t * batch + first + b, (k * width + b) * pitch
                        arrived = t * g_step + (first + b) * g_stride
                        kept = t * step + (first + b) * stride
                        # Read backwards, which hardware does not foresee: the next chunk's row.
                        if t >= chunk:
                            for j in range(left, right, LANES):
                                prefetch(potential, kept - chunk * step + j)
                                prefetch(grad, arrived - chunk * g_step + j)
                        retreat(
                            option, c, patience, t, grad, arrived, total, (first + b) * n,
                            back, b * pitch, state, b * pitch, section, words, row * n_words, w_step,
                            words, potential, adaptation, drives, kept, kept - min(t, 1) * step,
                            delta, at, left, right,
                        )  # fmt: skip
                        if recurrent and returns and b == width - 1:
                            at_in, at_out, spare = room[4], room[5], room[7]
                            for i in range(width):
                                at_in[i], at_out[i] = (k * width + i) * pitch, i * pitch
                            product_rows(delta, at_in, width, n, loop_turned, seed * n * pitch,
                                         nothing, 0, 0, n, back, at_out, spare)  # fmt: skip
                    absorb(source, n_in, n, t0, length, delay, batch, first, width, left, right, pitch,
                           product, delta, room, of_weight, group * n_in * n)  # fmt: skip
                    if recurrent:
                        absorb(own, n, n, t0, length, 1, batch, first, width, 0, n, pitch,
                               True, delta, loop_room, of_loop, group * n * n)  # fmt: skip
                    if biased:
                        late = min(length, max(0, delay - t0))
                        for r in range(late * width, length * width):
                            add_row(delta, r * pitch, of_bias, group * n, left, right)
                    if wants_input:
                        send_back(delta, n, t0, length, delay, steps, batch, first, width, pitch,
                                  turned, seed * n * padded(n_in), weight, seed * n_in * n, near,
                                  nothing, n_in, room, of_input)  # fmt: skip
                    if wants_sent:
                        for k in range(length):
                            for b in range(width):
                                place = ((first + b) * steps + t0 + k) * n
                                add_row(delta, (k * width + b) * pitch, sent, place, left, right)

    return backward


@njit
def fold(start, stop, parts, size, out):
    """out[s, i] = sum over groups g of parts[s, g, i], in order, for i in start .. stop."""
    seeds, groups = parts.shape[0], parts.shape[1]
    for s in range(seeds):
        line = out[s]
        for i in range(start, stop):
            line[i] = parts[s, 0, i]
        for g in range(1, groups):
            more = parts[s, g]
            for i in range(start, stop):
                line[i] += more[i]


@njit
def turn_back(start, stop, dims, delta, turned, out):
    """The gradient of the input, [B, T, N_in], of samples start .. stop from the delta [B, T, N]."""
    steps, _, n_in, n, per_seed, _, delay, _, _ = dims
    nothing, spare = np.zeros(padded(n_in), delta.dtype), np.empty(8 * STRIP, delta.dtype)
    at_in, at_out = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    for b in range(start, stop):
        place = b // per_seed * n * padded(n_in)
        for t0 in range(0, steps - delay, ROWS):
            count = min(ROWS, steps - delay - t0)
            for k in range(count):
                at_in[k], at_out[k] = (b * steps + t0 + k + delay) * n, (b * steps + t0 + k) * n_in
            product_rows(
                delta, at_in, count, n, turned, place, nothing, 0, 0, n_in, out, at_out, spare
            )
