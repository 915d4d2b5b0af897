"""EventProp on the CPU: one pass over the events in each direction, all hidden neurons at once."""

import math

import numpy as np

from paraspike.ops.eventprop.problem import Problem, connect, refuse_runaway
from paraspike.ops.jit import njit
from paraspike.threads import run_blocks

# Trials that share one sum of weight gradients, or an eighth of a seed's where that is more.
_TOGETHER = 8


def eventprop(events, w_in, w_rec, w_out, *, tau_mem, tau_syn, duration, horizon=math.inf):
    """As `reference.eventprop`, compiled; trials are shared out among the threads.

    Work is O(N) per event and spike in each direction: the time s to the next event is searched for
    spikes by one bound per neuron, V exp(-s/tau_mem) + I (1 - exp(-s/tau_mem)) >= 1, which holds
    for all that fire within it. Kept for the way back are the events and three numbers per spike,
    whatever tau and duration. Bits depend neither on the number of threads nor on other seeds; the
    backward pass uses at most eight threads a seed.

    Raises:
        ReaderError: as `reference.eventprop`.
    """
    return connect(
        _simulate, _adjoint, events, w_in, w_rec, w_out, tau_mem, tau_syn, duration, horizon
    )


def _constants(p: Problem):
    gain = p.tau_syn / (p.tau_mem - p.tau_syn)
    return tuple(map(float, (p.tau_mem, p.tau_syn, gain, p.duration, 1 / p.horizon)))


def _simulate(p, w_in, w_rec, w_out):
    n, classes = w_out.shape[1:]
    # Pages that no spike touches take no memory.
    room = 64 * n + 1
    while True:
        spikes = [np.empty((len(p), room), kind) for kind in ("f8", "i4", "f8")]
        fired, counts = np.zeros(len(p), np.int64), np.zeros((len(p), n), np.int64)
        area, logits = np.zeros((len(p), n)), np.zeros((len(p), classes))
        sizes = p.per_seed, p.limit(n)
        run_blocks(
            _forward, len(p), p.times, p.units, p.offsets, w_in, w_rec, w_out, _constants(p), sizes,
            *spikes, fired, counts, area, logits,
        )  # fmt: skip
        most = int(fired.max(initial=0))
        if most >= p.limit(n) > 0:
            refuse_runaway(int(fired.argmax()), p)
        if most <= room:
            return logits, counts, (*spikes, fired, area)
        room = most


def _adjoint(p, tape, w_in, w_rec, w_out, grad):
    together = max(_TOGETHER, -(-p.per_seed // 8))
    parts = max(1, -(-p.per_seed // together))
    sums = [np.zeros((p.seeds * parts, *w.shape[1:])) for w in (w_in, w_rec, w_out)]
    run_blocks(
        _backward, p.seeds * parts, p.times, p.units, p.offsets, w_rec, w_out, _constants(p),
        (p.per_seed, parts, together), *tape, grad, *sums,
    )  # fmt: skip
    totals = []
    for of_parts, unit in zip(sums, (-p.tau_syn, -p.tau_syn, 1.0), strict=True):
        of_parts = of_parts.reshape(p.seeds, parts, *of_parts.shape[1:])
        total = of_parts[:, 0]
        for part in range(1, parts):
            total = total + of_parts[:, part]
        totals.append(total * unit)
    return totals


@njit
def _advance(v, i, span, k):
    a, b = math.exp(-span / k[0]), math.exp(-span / k[1])
    c = k[2] * (a - b)
    for j in range(len(v)):
        v[j] = v[j] * a + i[j] * c
        i[j] *= b


@njit
def _retreat(v, i, span, k):
    """lambda_V and lambda_I `span` seconds earlier."""
    a, b = math.exp(-span / k[0]), math.exp(-span / k[1])
    c = k[0] / (k[0] - k[1]) * (a - b)
    for j in range(len(v)):
        i[j] = i[j] * b + v[j] * c
        v[j] *= a


@njit
def _add(row, to):
    for j in range(len(to)):
        to[j] += row[j]


@njit
def _crossing(v, i, span, k):
    """As `reference.crossing`, by Newton's method."""
    tau_m, tau_s, gain = k[0], k[1], k[2]
    if v >= 1.0:
        return 0.0 if i > v else np.inf
    p, q = v + gain * i, gain * i
    b = math.exp(-span / tau_s)
    end = p * math.exp(-span / tau_m) - q * b
    if end < 1.0:
        if i * b >= end:
            return np.inf
        span = math.log(q * tau_m / (p * tau_s)) / (1 / tau_s - 1 / tau_m)
        if p * math.exp(-span / tau_m) - q * math.exp(-span / tau_s) < 1.0:
            return np.inf
    # Up to its peak V is concave, so that every step from the left falls short of the crossing.
    s, value, current = 0.0, v, i
    for _ in range(60):
        step = (1.0 - value) * tau_m / (current - value)
        s += step
        if not s < span:
            return span
        if step <= 1e-9 * s:
            break
        b = math.exp(-s / tau_s)
        value, current = p * math.exp(-s / tau_m) - q * b, i * b
        if value >= 1.0:
            break
    return s


@njit
def _earliest(v, i, span, k):
    """(neuron, seconds) of the first spike within `span`; -1 if there is none."""
    a = math.exp(-span / k[0])
    near = 0
    for j in range(len(v)):
        near += v[j] * a + i[j] * (1.0 - a) >= 1.0
    who = -1
    if near == 0:
        return who, span
    for j in range(len(v)):
        if v[j] * a + i[j] * (1.0 - a) >= 1.0:
            s = _crossing(v[j], i[j], span, k)
            if s < span or (s == span and who < 0):
                who, span = j, s
                a = math.exp(-span / k[0])
    return who, span


@njit
def _response(t, k):
    """As `reference.response`."""
    fall, rest = k[4], k[3] - t
    slow, fast = 1 / (1 / k[0] + fall), 1 / (1 / k[1] + fall)
    scale = k[2] / k[3] * math.exp(-t * fall)
    a, b = math.expm1(-rest / slow), math.expm1(-rest / fast)
    area = scale * (fast * b - slow * a)
    return area, -(fall * area + scale * (a - b))


@njit
def _forward(
    start, stop, times, units, offsets, w_in, w_rec, w_out, k, sizes,
    when, who, drive, fired, counts, area, logits,
):  # fmt: skip
    per_seed, limit = sizes
    n, room, end = w_in.shape[2], when.shape[1], k[3]
    v, i = np.empty(n), np.empty(n)
    for trial in range(start, stop):
        seed, event, last = trial // per_seed, offsets[trial], offsets[trial + 1]
        v[:] = 0
        i[:] = 0
        now, spikes = 0.0, 0
        while True:
            upto = min(times[event], end) if event < last else end
            while spikes < limit:
                j, span = _earliest(v, i, upto - now, k)
                if j < 0:
                    break
                _advance(v, i, span, k)
                now = min(now + span, upto)
                if spikes < room:
                    when[trial, spikes], who[trial, spikes], drive[trial, spikes] = now, j, i[j]
                spikes += 1
                counts[trial, j] += 1
                area[trial, j] += _response(now, k)[0]
                v[j] = 0.0
                if w_rec.shape[1] > 0:
                    _add(w_rec[seed, j], i)
            if upto == end or spikes >= limit:
                break
            _advance(v, i, upto - now, k)
            now = upto
            while event < last and times[event] == now:
                _add(w_in[seed, units[event]], i)
                event += 1
        fired[trial] = spikes
        for j in range(n):
            if counts[trial, j] > 0:
                for c in range(logits.shape[1]):
                    logits[trial, c] += area[trial, j] * w_out[seed, j, c]


@njit
def _backward(
    start, stop, times, units, offsets, w_rec, w_out, k, sizes,
    when, who, drive, fired, area, grad, d_in, d_rec, d_out,
):  # fmt: skip
    """The equations of `reference._adjoint`; d_in and d_rec lack the factor -tau_syn."""
    per_seed, parts, together = sizes
    n, classes = w_out.shape[1], w_out.shape[2]
    v, i, pull = np.empty(n), np.empty(n), np.empty(n)
    for part in range(start, stop):
        seed, first = part // parts, part % parts * together
        for trial in range(first, min(first + together, per_seed)):
            trial += seed * per_seed
            x, event, least = fired[trial] - 1, offsets[trial + 1] - 1, offsets[trial]
            if x < 0:
                continue
            v[:] = 0
            i[:] = 0
            for j in range(n):
                pull[j] = 0.0
                for c in range(classes):
                    pull[j] += w_out[seed, j, c] * grad[trial, c]
                    d_out[part, j, c] += area[trial, j] * grad[trial, c]
            now = when[trial, x]
            while event >= least and times[event] >= now:
                event -= 1
            while x >= 0 or event >= least:
                if event < least or (x >= 0 and when[trial, x] >= times[event]):
                    t, j = when[trial, x], who[trial, x]
                    _retreat(v, i, now - t, k)
                    jump = v[j] + _response(t, k)[1] * pull[j]
                    if w_rec.shape[1] > 0:
                        for to in range(n):
                            jump += w_rec[seed, j, to] * (v[to] - i[to])
                        _add(i, d_rec[part, j])
                    v[j] += jump / (drive[trial, x] - 1.0)
                    x -= 1
                else:
                    t = times[event]
                    _retreat(v, i, now - t, k)
                    while event >= least and times[event] == t:
                        _add(i, d_in[part, units[event]])
                        event -= 1
                now = t
