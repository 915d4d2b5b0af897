"""A layer's spike list: what it takes to have one, and what it hands on."""

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.ops.compact.reference import POLICIES
from paraspike.randomness import uniform
from paraspike.spikes import Spikes


def check_capacity(layer) -> None:
    """Whether a `Layer` can have the spike list it asks for.

    Raises:
        ReaderError: not a feedforward LIF layer, a list that makes no sense, or a backend that cannot tell
            which of these neurons are near threshold.
    """
    neuron, where = layer.neuron, f"Layer {layer.name!r}"
    recurrent = layer.recurrent_weight is not None
    if not isinstance(neuron, LIF) or recurrent:
        kind = f"{type(neuron).__name__}{', recurrent' if recurrent else ''}"
        raise ReaderError(
            f"a spike list of {layer.capacity} slots after a layer of {kind}",
            where,
            "feedforward LIF layers have one",
        )
    whole = isinstance(layer.capacity, int) and not isinstance(layer.capacity, bool)
    if layer.policy not in POLICIES or not whole or layer.capacity < 1:
        raise ReaderError(
            f"a list of {layer.capacity} slots, policy {layer.policy!r}",
            where,
            f"1 slot or more, one of {', '.join(POLICIES)}",
        )
    special = neuron.adaptive or neuron.surrogate_at == "post" or neuron.refractory != "none"
    if layer.ops.layer is None and special:
        raise ReaderError(
            "a spike list after neurons that adapt or are refractory, or whose surrogate comes after the reset",
            f"{where}, backend {layer.ops.backend}",
            "backend cpu has it",
        )


def hand_on(layer, out, potential, draws) -> Spikes:
    """What the list of a layer hands on; fills its `counts` and `lost`.

    Args:
        out: the layer's spikes; a tensor [T, B, N] where its potential before the reset comes beside it.
        draws: names the random offsets of the policy random, a fresh pass for None.
    """
    near = offset = None
    if not isinstance(out, Spikes):
        out = Spikes.from_dense(out)
        low, high = layer.neuron.surrogate.reach
        distance = potential.detach() - layer.neuron.threshold
        near = (distance > low) & (distance < high)
    if layer.policy == "random":
        draws = layer.own_draws(out.shape[1]) if draws is None else draws
        offset = offsets(layer, draws, out.shape[0])
        if out.carrier.is_cuda:
            # From pinned memory the copy is queued without waiting for the device.
            offset = offset.pin_memory().to(out.carrier.device, non_blocking=True)
    out, layer.counts, layer.lost = layer.ops.compact(
        out, near, layer.capacity, layer.policy, offset, potential
    )
    return out


def offsets(layer, draws, steps: int) -> torch.Tensor:
    """Neurons at which the scans of full lists begin, int64 [T, S*B]."""
    stream = f"{draws.purpose}/{layer.name}/offset"
    lot = uniform(draws.seeds, stream, draws.samples, steps, 1, draws.trial)[..., 0]
    return torch.from_numpy((lot * layer.n_out).astype(np.int64))
