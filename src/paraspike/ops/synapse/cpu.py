"""Synapses on the CPU: spikes by summing weight rows, dense activity by register-blocked products."""

from paraspike.neurons import LeakyIntegrator
from paraspike.ops.layer import cpu as layers
from paraspike.spikes import Spikes

# A neuron without memory passes its input currents on.
_PASS = LeakyIntegrator(0.0, 0.0, 1.0)


def synapse(x, weight, bias, delay: int = 0):
    """As `reference.synapse`; x is `Spikes` or a tensor, float32 or float64."""
    spikes = x if isinstance(x, Spikes) else Spikes.from_dense(x)
    return layers.layer(spikes, weight, bias, _PASS, delay=delay)
