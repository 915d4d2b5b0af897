"""The definition of STDP in a layer: a plain loop over time (BindsNET 0.3.4, `Network.run`)."""

import torch

from paraspike.neurons import LIF
from paraspike.ops.stdp import PostPre, check
from paraspike.spikes import Spikes


def stdp(
    spikes: Spikes,
    weight: torch.Tensor,
    neuron: LIF,
    rule: PostPre,
    learn: bool = True,
    lower_bound: float | None = None,
) -> Spikes:
    """Run one layer over presynaptic spikes [T, B, N_in]; spikes reach it one step later.

    Args:
        weight: [N_in, N_out], shared by the batch; changed in place if `learn`.
        neuron: with a reset to zero, its potential above rest.
        lower_bound: least potential, in the neuron's unit.

    Returns:
        the layer's spikes [T, B, N_out].

    Raises:
        ReaderError: the shapes do not fit, or the neuron has an option that is not in the rule.
    """
    check(spikes, weight, neuron)
    raster = spikes.dense(weight.dtype).detach().to(weight.device)
    steps, batch, n_in = raster.shape
    u = weight.new_zeros(batch, weight.shape[1])
    left, x_post = torch.zeros_like(u), torch.zeros_like(u)
    x_pre, s_pre = weight.new_zeros(batch, n_in), weight.new_zeros(batch, n_in)
    fired = []
    for s_next in raster.unbind(0):
        current = s_pre @ weight
        s_pre = s_next
        if neuron.refractory == "clamp_input":
            current = current * (left <= 0)
        u = neuron.a_uu * u + neuron.a_ui * current
        s_post = (u > neuron.threshold if neuron.strict else u >= neuron.threshold).to(u.dtype)
        left = torch.where(s_post > 0, float(neuron.refractory_steps), left - 1)
        u = u * (1 - s_post)
        if lower_bound is not None:
            u = u.clamp(min=lower_bound)
        fired.append(s_post)
        if learn:
            x_pre, x_post = _traced(x_pre, s_pre, rule), _traced(x_post, s_post, rule)
            weight -= rule.nu[0] * (s_pre.T @ x_post)
            weight += rule.nu[1] * (x_pre.T @ s_post)
            weight.clamp_(*rule.bounds)
    return Spikes.from_dense(torch.stack(fired) if fired else u.new_zeros(0, *u.shape))


def _traced(x, s, rule):
    x = rule.trace_decay * x
    if rule.traces_additive:
        return x + rule.trace_scale * s
    return torch.where(s != 0, rule.trace_scale, x)
