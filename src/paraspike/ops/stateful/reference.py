"""The definition of a LIF layer that is run piece by piece: state in, state out."""

import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.ops.surrogate import derivative
from paraspike.ops.synapse.reference import synapse
from paraspike.spikes import Spikes

_WHERE = "operator stateful"


def stateful(x: torch.Tensor, neuron: LIF, state=None, recurrent=None):
    """Run a LIF whose membrane is its only filter over input currents x [T, B, N], from `state` on.

    Pieces one after another give what `lif.reference.lif` gives for the whole.

    Args:
        neuron: a_ii, c0 and c1 zero, a_ui one, reset at the spike, surrogate before the reset.
        state: what an earlier call returned; None: all zero.
        recurrent: weights [N, N] by which the spikes of one step add to the input of the next.

    Returns:
        (`Spikes` [T, B, N], pseudo-derivative ds/du [T, B, N], zero while refractory, and the state).

    Raises:
        ReaderError: another form of neuron; shapes that do not fit.
    """
    check(x, neuron, recurrent)
    if state is None:
        zero = x.new_zeros(x.shape[1:])
        state = zero, zero, zero, torch.zeros_like(zero)
    u, a, s, left = state
    spikes, psi = [], []
    for x_t in x.detach().unbind(0):
        if recurrent is not None:
            x_t = x_t + synapse(s[None], recurrent.detach(), None)[0]
        idle = left <= 0
        if neuron.refractory == "clamp_input":
            x_t = x_t * idle
        u = neuron.a_uu * u + x_t
        v = u - (neuron.threshold + neuron.beta * a)
        slope = derivative(v, neuron.surrogate)
        fired = v > 0 if neuron.strict else v >= 0
        if neuron.refractory == "block_spike":
            fired, slope = fired & idle, slope * idle
        s = fired.to(x.dtype)
        if neuron.reset == "subtract":
            u = u - neuron.threshold * s
        elif neuron.reset == "zero":
            u = u * (1 - s)
        a = neuron.rho * a + s
        if neuron.refractory != "none":
            left = torch.where(fired, float(neuron.refractory_steps), left - 1)
        spikes.append(s)
        psi.append(slope)
    z = torch.stack(spikes) if spikes else torch.zeros_like(x)
    return Spikes.from_dense(z), torch.stack(psi) if psi else torch.zeros_like(x), (u, a, s, left)


def check(x, neuron, recurrent) -> None:
    """What `stateful` asks of its arguments.

    Raises:
        ReaderError: the first thing that does not fit.
    """
    if not isinstance(x, torch.Tensor) or x.dim() != 3 or not x.is_floating_point():
        raise ReaderError(f"input currents {type(x).__name__}", _WHERE, "a tensor [T, B, N]")
    plain = isinstance(neuron, LIF) and neuron.a_ui == 1
    if not plain or any(v != 0 for v in (neuron.a_ii, neuron.c0, neuron.c1)):
        raise ReaderError(
            f"a neuron {neuron}", _WHERE, "a LIF with a_ii = c0 = c1 = 0 and a_ui = 1"
        )
    if neuron.surrogate_at != "pre" or (neuron.reset != "none" and neuron.reset_at != "spike"):
        raise ReaderError(
            f"reset_at {neuron.reset_at}, surrogate_at {neuron.surrogate_at}", _WHERE, "spike, pre"
        )
    if recurrent is not None and tuple(recurrent.shape) != (x.shape[2], x.shape[2]):
        raise ReaderError(
            f"recurrent weights {list(recurrent.shape)} of {x.shape[2]} neurons", _WHERE
        )
