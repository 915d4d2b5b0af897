"""What a LIF kernel is specialised on, and the scalars it is given at run time."""

import numpy as np

from paraspike.errors import ReaderError
from paraspike.neurons import LIF, LeakyIntegrator, Surrogate

_RESETS = ("none", "zero", "subtract")
_GRADIENTS = ("through", "masked", "full")
_REFRACTORY = ("none", "block_spike", "clamp_input")


def options(neuron, near: bool = False) -> tuple[int, ...]:
    """The integers a kernel is specialised on, for a LIF or a LeakyIntegrator.

    (fires, reset, late, gate, strict, refractory, adaptive, previous, keeps_drive, reset_grad, surrogate
    shape, surrogate at the potential after the reset, surrogate ends at a window, marks the neurons within
    its reach; the last where `near` asks for it and it has one)
    """
    if isinstance(neuron, LeakyIntegrator):
        return (0,) * 14
    if not isinstance(neuron, LIF):
        raise ReaderError(
            f"no LIF kernel for a neuron of type {type(neuron).__name__}", "ops/lif/options.py"
        )
    resets, late = neuron.reset != "none", neuron.reset_at == "next_step"
    refractory = neuron.refractory if neuron.refractory_steps > 0 else "none"
    gate = neuron.gate_input and late and neuron.reset == "zero"
    reset_grad = _GRADIENTS.index(neuron.reset_grad) if resets else 0
    return (
        1,
        _RESETS.index(neuron.reset),
        int(late and resets),
        int(gate),
        int(neuron.strict),
        _REFRACTORY.index(refractory),
        int(neuron.adaptive),
        int(neuron.c1 != 0),
        int(gate and reset_grad == 2),
        reset_grad,
        Surrogate.SHAPES.index(neuron.surrogate.shape),
        int(neuron.surrogate_at == "post" and resets and not late),
        int(np.isfinite(neuron.surrogate.window).any()),
        int(near and np.isfinite(neuron.surrogate.reach).any()),
    )


def coefficients(neuron, dtype) -> tuple:
    """(a_ii, a_uu, a_ui, c0, c1, threshold, beta, rho, slope, height, 0, 1, low and high end of the
    surrogate's window, low and high end of its reach) as NumPy scalars."""
    names = ("a_ii", "a_uu", "a_ui", "c0", "c1", "threshold", "beta", "rho")
    surrogate = getattr(neuron, "surrogate", Surrogate())
    values = [getattr(neuron, name, 0.0) for name in names]
    # Scaled so that every shape compares slope |v| with one.
    scale = {"arctan": np.pi / 2, "boxcar": 2.0}.get(surrogate.shape, 1.0)
    values += [
        scale * surrogate.slope,
        surrogate.height,
        0.0,
        1.0,
        *surrogate.window,
        *surrogate.reach,
    ]
    return tuple(np.dtype(dtype).type(v) for v in values)
