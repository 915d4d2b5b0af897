"""The definition of EventProp (Wunderlich & Pehl 2021, Sci. Rep. 11:12829), trial by trial."""

import math

import numpy as np
from scipy.optimize import brentq

from paraspike.ops.eventprop.problem import Problem, connect, refuse_runaway


def eventprop(events, w_in, w_rec, w_out, *, tau_mem, tau_syn, duration, horizon=math.inf):
    """A hidden layer of N LIF neurons and a readout of C leaky integrators, in continuous time.

    Between events, hidden neurons and readouts alike (their table 1; potentials in units of the
    threshold):

        tau_syn dI/dt = -I        tau_mem dV/dt = -V + I        I = V = 0 at first

    An event of unit i adds w_in[i, :] to I. Where V_j reaches 1 from below, neuron j spikes: V_j is
    set to 0, w_rec[j, :] is added to I of the layer at the same instant, and w_out[j, :] to that of
    the readouts:

        logits = (1 / duration) int_0^duration exp(-t / horizon) V_readout(t) dt

    Order at one instant: spikes, then all events of that instant. Neurons that reach 1 at the same
    instant spike by index, each after it took the spikes before it. Events at `duration` or later
    are without effect. A trial's result depends on that trial alone.

    The gradient is exact while no spike appears or vanishes. With the plain mean a spike far from
    the end of the trial loses nothing by moving, and hidden weights get next to no gradient; a
    finite horizon mends that (Nowotny, Turner & Knight 2025, Neuromorph. Comput. Eng. 5:014001).

    Args:
        events: NumPy arrays (times float64 [E] in seconds, units int32 or int64 [E], offsets int64
            [B + 1]); trial b is events offsets[b] : offsets[b + 1], sorted by time.
        w_in: [N_in, N]; w_rec: [N, N] or None; w_out: [N, C]: float32 or float64 tensors on the
            CPU; or each with a leading axis [S], trials belonging to S seeds one after another.
        tau_mem, tau_syn: seconds, not the same.
        duration: of a trial, seconds.
        horizon: seconds, how fast the readout's weight falls; inf: plain mean over time.

    Returns:
        (logits [B, C] of the weights' type, spikes of each neuron, int64 [B, N], without gradient).

    Raises:
        ReaderError: shapes, types, ranges or order that do not fit; a network that runs away.
    """
    return connect(
        _simulate, _adjoint, events, w_in, w_rec, w_out, tau_mem, tau_syn, duration, horizon
    )


def advanced(v, i, span, tau_mem, tau_syn):
    """(V, I) `span` seconds later, without events."""
    a, b = math.exp(-span / tau_mem), math.exp(-span / tau_syn)
    return v * a + i * tau_syn / (tau_mem - tau_syn) * (a - b), i * b


def crossing(v, i, span, tau_mem, tau_syn):
    """Seconds until V reaches 1 from below, inf if it does not within `span`."""
    if i <= v or max(v, i) < 1:
        return math.inf
    if v >= 1:
        return 0.0
    # V = P exp(-t/tau_mem) - Q exp(-t/tau_syn) has one extremum at most: at the log of the ratio.
    q = i * tau_syn / (tau_mem - tau_syn)
    ratio = tau_syn * (v + q) / (tau_mem * q)
    if ratio > 0:
        span = min(span, math.log(ratio) / (1 / tau_mem - 1 / tau_syn))

    def distance(t):
        return advanced(v, i, t, tau_mem, tau_syn)[0] - 1

    if distance(span) < 0:
        return math.inf
    return brentq(distance, 0, span, xtol=1e-18, rtol=4 * np.finfo(float).eps)


def response(t, p: Problem):
    """(A, dA/dt): what a spike at t through a weight of one adds to a logit, and its slope in t.

    A = exp(-t/horizon) / duration int_0^R exp(-r/horizon) kappa(r) dr, R = duration - t;
    kappa(r) = tau_syn / (tau_mem - tau_syn) (exp(-r/tau_mem) - exp(-r/tau_syn)).
    """
    fall, rest = 1 / p.horizon, p.duration - t
    slow, fast = 1 / (1 / p.tau_mem + fall), 1 / (1 / p.tau_syn + fall)
    scale = p.tau_syn / (p.tau_mem - p.tau_syn) / p.duration * math.exp(-t * fall)
    area = scale * (slow * -math.expm1(-rest / slow) - fast * -math.expm1(-rest / fast))
    edge = scale * (math.exp(-rest / slow) - math.exp(-rest / fast))
    return area, -(fall * area + edge)


def _simulate(p: Problem, w_in, w_rec, w_out):
    trials, (n, classes) = len(p), w_out.shape[1:]
    logits, counts = np.zeros((trials, classes)), np.zeros((trials, n), np.int64)
    tape = [_trial(p, b, w_in, w_rec) for b in range(trials)]
    for b, spikes in enumerate(tape):
        for t, j, _ in spikes:
            counts[b, j] += 1
            logits[b] += response(t, p)[0] * w_out[b // p.per_seed, j]
    return logits, counts, tape


def _trial(p, b, w_in, w_rec):
    """Spikes of trial b in order: (time, neuron, its I just before)."""
    w_in, w_rec = w_in[b // p.per_seed], w_rec[b // p.per_seed]
    tau = p.tau_mem, p.tau_syn
    v, i = np.zeros((2, w_in.shape[1]))
    now, spikes = 0.0, []
    own = slice(p.offsets[b], p.offsets[b + 1])
    inputs = [e for e in zip(p.times[own], p.units[own], strict=True) if e[0] < p.duration]
    for t, unit in [*inputs, (p.duration, None)]:
        while True:
            due = [crossing(*state, t - now, *tau) for state in zip(v, i, strict=True)]
            j = int(np.argmin(due)) if due else 0
            if not due or due[j] == math.inf:
                break
            v, i = advanced(v, i, due[j], *tau)
            now = min(now + due[j], t)
            spikes.append((now, j, i[j]))
            v[j] = 0
            if len(w_rec):
                i = i + w_rec[j]
            if len(spikes) >= p.limit(len(v)):
                refuse_runaway(b, p)
        v, i = advanced(v, i, t - now, *tau)
        now = t
        if unit is not None:
            i = i + w_in[unit]
    return spikes


def _adjoint(p: Problem, tape, w_in, w_rec, w_out, grad):
    """Back in time (their table 1), lambda_V = lambda_I = 0 at the end:

        tau_mem lambda_V' = -lambda_V        tau_syn lambda_I' = -lambda_I + lambda_V

    A spike of neuron j at t, where V_j rises with V'_j = (I_j - 1) / tau_mem just before it:

        lambda_V,j += [lambda_V,j + w_rec[j, :] . (lambda_V - lambda_I) + dL/dt] / (tau_mem V'_j)

    The first term is the reset's; dL/dt is what the readouts lose, `response`. The gradient of a
    weight is -tau_syn times the sum of lambda_I of its target over the spikes of its source.
    """
    d_in, d_rec, d_out = np.zeros_like(w_in), np.zeros_like(w_rec), np.zeros_like(w_out)
    for b, spikes in enumerate(tape):
        seed = b // p.per_seed
        pull = w_out[seed] @ grad[b]
        events = [(t, 1, j, current) for t, j, current in spikes]
        own = slice(p.offsets[b], p.offsets[b + 1])
        events += [(t, 2, u, 0) for t, u in zip(p.times[own], p.units[own], strict=True)]
        # Stable: events of one instant stay in the order in which they were taken.
        events = sorted((e for e in events if e[0] < p.duration or e[1] == 1), key=lambda e: e[:2])
        v, i = np.zeros((2, w_in.shape[2]))
        later = p.duration
        for t, kind, source, current in reversed(events):
            a, c = math.exp(-(later - t) / p.tau_mem), math.exp(-(later - t) / p.tau_syn)
            i = i * c + v * p.tau_mem / (p.tau_mem - p.tau_syn) * (a - c)
            v = v * a
            later = t
            if kind == 2:
                d_in[seed, source] -= p.tau_syn * i
                continue
            gain, slope = response(t, p)
            d_out[seed, source] += gain * grad[b]
            jump = v[source] + slope * pull[source]
            if len(w_rec[seed]):
                d_rec[seed, source] -= p.tau_syn * i
                jump += w_rec[seed, source] @ (v - i)
            v[source] += jump / (current - 1)
    return d_in, d_rec, d_out
