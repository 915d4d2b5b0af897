"""The definition of the LIF normal form: a plain loop over time, differentiated by autograd."""

import torch

from paraspike.neurons import LIF
from paraspike.ops.surrogate import Fire
from paraspike.ops.synapse.reference import synapse


def lif(x: torch.Tensor, neuron: LIF, trace: bool = False, recurrent=None, local: bool = False):
    """Run the normal form (equations: `neurons.LIF`) over input currents x [T, S*B, N].

    Args:
        recurrent: weights [N, N] or [S, N, N] by which the spikes of one step add to the input of the
            next; None for none.
        local: no gradient goes back through these spikes, only into their weights (e-prop: Bellec et al.
            2020, the stopped gradient of equation 4).

    Returns:
        spikes [T, B, N]; with `trace` also the potential before and after the reset, each [T, B, N].
    """
    state = rest(x.new_zeros(x.shape[1:]))
    spikes, before, after = [], [], []
    for x_t in x.unbind(0):
        if recurrent is not None and spikes:
            s = spikes[-1]
            x_t = x_t + synapse((s.detach() if local else s)[None], recurrent, None)[0]
        s, u, state = step(x_t, neuron, state)
        spikes.append(s)
        before.append(u)
        after.append(state[1])
    if not spikes:
        return (x.clone(), x.clone(), x.clone()) if trace else x.clone()
    stacked = torch.stack(spikes)
    return (stacked, torch.stack(before), torch.stack(after)) if trace else stacked


def rest(zero: torch.Tensor) -> tuple:
    """The state (i, u, a, x_prev, spikes of the step before, refractory steps left) of neurons at rest."""
    return (zero,) * 6


def step(x: torch.Tensor, neuron: LIF, state: tuple):
    """One step of the normal form for input currents x of any shape.

    Returns:
        (spikes, potential before the reset, state), differentiable with respect to x and the state; the
        refractory steps left are constants.
    """
    i, u, a, x_prev, s_before, left = state
    idle = left <= 0
    if neuron.refractory == "clamp_input":
        x = x * idle
    i = neuron.a_ii * i + x
    drive = neuron.a_ui * i + neuron.c0 * x + neuron.c1 * x_prev
    if neuron.reset_at == "next_step":
        u = _reset_at_next_step(u, s_before, drive, neuron)
    else:
        u = neuron.a_uu * u + drive
    level = neuron.threshold + neuron.beta * a
    allowed = idle if neuron.refractory == "block_spike" else None
    fired = u.detach() > level if neuron.strict else u.detach() >= level
    if allowed is not None:
        fired = fired & allowed
    at = (u - level).detach()
    if neuron.surrogate_at == "post" and neuron.reset_at == "spike":
        at = at - _lost(u.detach(), neuron) * fired.to(x.dtype)
    s = Fire.apply(u - level, fired, at, neuron.surrogate, allowed)
    before = u
    if neuron.reset_at == "spike" and neuron.reset != "none":
        gate = _seen_by_reset(s, neuron)
        if gate is None:
            # A bool times a float would be float32 whatever x is.
            u = u - _lost(u.detach(), neuron) * fired.to(x.dtype)
        else:
            u = u - _lost(u, neuron) * gate
    a = neuron.rho * a + s
    if neuron.refractory != "none":
        left = torch.where(fired, float(neuron.refractory_steps), left - 1)
    return s, before, (i, u, a, x, s, left)


def _lost(u, neuron):
    """What a spike takes off the potential u."""
    if neuron.reset == "none":
        return 0.0
    return u if neuron.reset == "zero" else neuron.threshold


def _seen_by_reset(s, neuron):
    """The spike as the reset's gradient sees it; None where the reset is invisible to it."""
    if neuron.reset_grad == "through":
        return None
    return s if neuron.reset_grad == "full" else s.detach()


def _reset_at_next_step(u, s, drive, neuron):
    gate, fired = _seen_by_reset(s, neuron), s.detach()
    if neuron.reset == "none":
        return neuron.a_uu * u + drive
    if neuron.reset == "subtract":
        lost = neuron.threshold * (fired if gate is None else gate)
        return neuron.a_uu * u + drive - lost
    kept = neuron.a_uu * u
    if neuron.gate_input:
        whole = kept + drive
        return whole * (1 - gate) if gate is not None else whole - whole.detach() * fired
    return kept * (1 - gate) + drive if gate is not None else kept - kept.detach() * fired + drive
