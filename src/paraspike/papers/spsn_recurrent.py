"""Recurrent SPSN: the two-pass form of its successor (ParaLIF, 2025) against true recurrence."""

import torch

from paraspike.neurons import SPSN
from paraspike.ops.integrate.reference import parallel
from paraspike.ops.spsn.reference import spike


def _late(spikes: torch.Tensor) -> torch.Tensor:
    """The same spikes one step later."""
    return torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])


def two_pass(x, recurrent, neuron: SPSN, noise=None, as_published: bool = False):
    """Potential and spikes of a recurrent SPSN layer in two parallel passes, each [T, B, N].

    First u0 = LI(x) and its spikes h, one step late; then u = LI(x + h W), the recurrence fed by the
    first pass's spikes instead of its own. As published the second pass adds u0 once more, so that
    the feedforward input counts twice.

    Args:
        x: input currents [T, B, N].  recurrent: weights [N, N].  noise: uniform [T, B, N], or None.
    """
    u0 = parallel(x, neuron.integrator)
    u = parallel(x + _late(spike(u0, neuron, noise)) @ recurrent, neuron.integrator)
    if as_published:
        u = u0 + u
    return u, spike(u, neuron, noise)


def truly_recurrent(x, recurrent, neuron: SPSN, noise=None):
    """The same layer fed by its own spikes of the step before, step by step; arguments as `two_pass`."""
    li = neuron.integrator
    i = u = s = x.new_zeros(x.shape[1:])
    potentials, spikes = [], []
    for t, x_t in enumerate(x.unbind(0)):
        i = li.a_ii * i + x_t + s @ recurrent
        before, u = u, li.a_uu * u + li.a_ui * i
        pair = torch.stack([before, u])
        draws = None if noise is None else noise[t].expand_as(pair)
        s = spike(pair, neuron, draws)[1]
        potentials.append(u)
        spikes.append(s)
    return torch.stack(potentials), torch.stack(spikes)


def approximation_error(x, recurrent, neuron, noise=None, as_published: bool = False):
    """(relative rms error of the potential, share of spikes that differ) of the two-pass form."""
    u, s = two_pass(x, recurrent, neuron, noise, as_published)
    u_true, s_true = truly_recurrent(x, recurrent, neuron, noise)
    error = (u - u_true).square().mean().sqrt() / u_true.square().mean().sqrt()
    return float(error), float((s != s_true).double().mean())
