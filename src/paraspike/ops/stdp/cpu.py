"""STDP in a layer on the CPU: one pass over time, strip of columns by strip of columns.

Given the presynaptic spikes, the columns of a layer do not see one another: neuron j needs W[:, j], its
own potential and its own trace. So a thread takes strips of columns over the whole batch and all steps,
with their weights in its cache, and meets no other thread.
"""

import functools

import numpy as np
import torch

from paraspike.neurons import LIF
from paraspike.ops.jit import njit
from paraspike.ops.simd import (
    LANES,
    fma,
    lanes_below,
    load,
    select,
    splat,
    store,
    to_bits,
)
from paraspike.ops.stdp import PostPre, check
from paraspike.ops.stdp.events import Events, events
from paraspike.ops.stdp.wide import load_wide, splat_wide
from paraspike.spikes import Spikes
from paraspike.threads import get_threads, run_blocks

_WIDEST = 128


@njit
def _zeros(size, like):
    """A new array whose start, and with it every whole vector, lies on a cache line."""
    whole = np.zeros(size + 64 // like.itemsize, like.dtype)
    skip = (-whole.ctypes.data % 64) // like.itemsize
    return whole[skip : skip + size]


@functools.cache
def _strip(width):
    """The kernel for a strip of `width` columns."""

    @njit
    def strip(
        left, weight, events, out, learn,
        decay, gain, threshold, lower_bound, refractory,
        nu0, nu1, trace_decay, trace_scale, additive, wmin, wmax,
    ):  # fmt: skip
        pointers, units, counts = events.pointers, events.units, events.counts
        rows, place, first, images, slots = (
            events.rows, events.place, events.first, events.images, events.slots
        )  # fmt: skip
        n_out, batch = weight.shape[1], events.batch
        steps, wide = (pointers.size - 1) // batch, min(width, weight.shape[1] - left)
        flat = weight.reshape(-1)
        real = weight.dtype.type
        zero, one, tiny = real(0), real(1), real(1e-30)
        none, scale, floor = splat(zero), splat(trace_scale), splat(lower_bound)
        least, greatest = splat_wide(wmin, width), splat_wide(wmax, width)
        w = _zeros(rows.size * width, weight)
        u, free = _zeros(batch * width, weight), _zeros(batch * width, weight)
        current, x_post = _zeros(batch * width, weight), _zeros(batch * width, weight)
        fires = _zeros(batch * width, weight)
        # Presynaptic traces, one for each pair of an input and an image it spikes in; kept divided by
        # `level`, so that their decay costs nothing.
        x_pre, level = _zeros(images.size, weight), one
        for k in range(rows.size):
            at = rows[k] * n_out + left
            if wide == width:
                store(w, k * width, load_wide(flat, at, width))
            else:
                for j in range(wide):
                    w[k * width + j] = flat[at + j]
        for t in range(steps):
            now, release = real(t), splat(real(t + 1 + refractory))
            level *= trace_decay
            if level < real(0.25):
                for e in range(x_pre.size):
                    x = x_pre[e] * level
                    # Denormal numbers would slow every later product down.
                    x_pre[e] = x if abs(x) > tiny else zero
                level = one
            potentiation = splat(nu1 * level)
            fired_any = False
            for b in range(batch):
                for j in range(0, wide, LANES):
                    at = b * width + j
                    arrived = select(load(free, at) > now, none, load(current, at))
                    v = load(u, at) * decay + arrived * gain
                    fired = (v >= threshold) & lanes_below(wide - j)
                    bits = to_bits(fired)
                    v = select(fired, none, v)
                    store(u, at, select(v < lower_bound, floor, v))
                    if bits:
                        out[t * batch + b, (left + j) // LANES] = bits
                        store(free, at, select(fired, release, load(free, at)))
                        fired_any = True
                    if learn:
                        x = load(x_post, at) * trace_decay
                        x = x + select(fired, scale, none) if additive else select(fired, scale, x)
                        store(x_post, at, x)
                        store(fires, at, select(fired, potentiation, none))
            if learn:
                fired_any = fired_any and nu1 != zero
                fresh = trace_scale / level
                for b in range(batch):
                    x = load_wide(x_post, b * width, width)
                    for e in range(pointers[t * batch + b], pointers[t * batch + b + 1]):
                        count = counts[e] if counts.size else one
                        i = units[e]
                        at = place[i] * width
                        fall = splat_wide(-nu0 * count, width)
                        store(w, at, fma(fall, x, load_wide(w, at, width)))
                        slot = slots[i * batch + b]
                        x_pre[slot] = x_pre[slot] + fresh * count if additive else fresh
                if fired_any:
                    k = 0
                    while k < rows.size:
                        value = load_wide(w, k * width, width)
                        e, end = np.uint64(first[k]), np.uint64(first[k + 1])
                        if first[k + 1] - first[k] == batch and k + 1 < rows.size:
                            # Both rows hold every image: one load of its spikes serves two.
                            other = load_wide(w, (k + 1) * width, width)
                            for b in range(np.uint64(batch)):
                                s = load_wide(fires, b * np.uint64(width), width)
                                value = fma(splat_wide(x_pre[e + b], width), s, value)
                                other = fma(splat_wide(x_pre[end + b], width), s, other)
                            other = select(other < least, least, other)
                            other = select(other > greatest, greatest, other)
                            store(w, (k + 1) * width, other)
                            done = 2
                        else:
                            for slot in range(e, end):
                                s = load_wide(fires, images[slot] * width, width)
                                value = fma(splat_wide(x_pre[slot], width), s, value)
                            done = 1
                        value = select(value < least, least, value)
                        store(w, k * width, select(value > greatest, greatest, value))
                        k += done
                else:
                    for e in range(pointers[t * batch], pointers[(t + 1) * batch]):
                        at = place[units[e]] * width
                        value = load_wide(w, at, width)
                        value = select(value < least, least, value)
                        store(w, at, select(value > greatest, greatest, value))
            for b in range(batch):
                total = splat_wide(zero, width)
                for e in range(pointers[t * batch + b], pointers[t * batch + b + 1]):
                    count = splat_wide(counts[e] if counts.size else one, width)
                    total = fma(count, load_wide(w, place[units[e]] * width, width), total)
                store(current, b * width, total)
        if learn:
            for k in range(rows.size):
                at = rows[k] * n_out + left
                if wide == width:
                    store(flat, at, load_wide(w, k * width, width))
                else:
                    for j in range(wide):
                        flat[at + j] = w[k * width + j]

    return strip


def _shares(n_out: int) -> list[list[tuple[int, int]]]:
    """Strips (width, first column) of each thread; the threads' loads are even."""
    units = -(-n_out // LANES)
    each = -(-units // get_threads())
    shares = [[] for _ in range(-(-units // each))]
    width, left = _WIDEST, 0
    while left < n_out:
        if width > each * LANES:
            width //= 2
            continue
        for share in shares:
            if left < n_out:
                share.append((width, left))
                left += width
        each -= width // LANES
    return shares


def stdp(
    spikes: Spikes,
    weight: torch.Tensor,
    neuron: LIF,
    rule: PostPre,
    learn: bool = True,
    lower_bound: float | None = None,
) -> Spikes:
    """As `reference.stdp`, for float32 or float64 weights; any number of threads gives the same bits.

    Raises:
        ReaderError: as `reference.stdp`.
    """
    check(spikes, weight, neuron)
    steps, batch, _ = spikes.shape
    n_out = weight.shape[1]
    out = np.zeros((steps * batch, -(-n_out // 64)), np.uint64)
    if out.size:
        held = weight.detach().contiguous()
        array = held.numpy()
        arrivals = events(spikes, array.dtype)
        if learn and not any(rule.nu):
            # Nothing is read before the first step's clamp, and every later one changes nothing.
            np.clip(array, *rule.bounds, out=array)
        elif learn:
            _clamp_idle(array, arrivals, rule)
        real = array.dtype.type
        threshold = real(neuron.threshold)
        if neuron.strict:
            threshold = np.nextafter(threshold, real(np.inf))
        operands = (
            array, arrivals, out.view(np.uint16), bool(learn and any(rule.nu)),
            real(neuron.a_uu), real(neuron.a_ui), threshold,
            real(-np.inf if lower_bound is None else lower_bound),
            neuron.refractory_steps if neuron.refractory == "clamp_input" else 0,
            real(rule.nu[0]), real(rule.nu[1]), real(rule.trace_decay), real(rule.trace_scale),
            rule.traces_additive, real(rule.bounds[0]), real(rule.bounds[1]),
        )  # fmt: skip
        shares = _shares(n_out)

        def run(start, stop):
            for share in shares[start:stop]:
                for width, left in share:
                    _strip(width)(left, *operands)

        run_blocks(run, len(shares))
        if held.data_ptr() != weight.data_ptr():
            weight.copy_(held)
    return Spikes.from_bits(out, (steps, batch, n_out))


def _clamp_idle(weight, arrivals: Events, rule: PostPre) -> None:
    """The first step's clamp of inputs that do not spike in it; the kernel sees to the others."""
    least, greatest = rule.bounds
    if weight.size and (weight.min() < least or weight.max() > greatest):
        idle = np.ones(len(weight), bool)
        idle[arrivals.units[: arrivals.pointers[arrivals.batch]]] = False
        weight[idle] = weight[idle].clip(least, greatest)
