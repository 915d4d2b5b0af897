"""Spike-timing-dependent plasticity of one layer: its rule, PostPre, and what the operators accept."""

import math
from dataclasses import dataclass

import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class PostPre:
    """Pair-based STDP with a trace on either side (BindsNET 0.3.4, `PostPre`); per step, after the
    layer has fired:

        x <- trace_decay x;  x = trace_scale where s != 0   (traces_additive: x <- x + trace_scale s)
        w <- w - nu[0] sum_b s_pre[b] x_post[b];  w <- w + nu[1] sum_b x_pre[b] s_post[b]
        w <- min(max(w, wmin), wmax)

    summed over the batch, not averaged. wmin and wmax of None leave that side open. Traces start at zero;
    weights and traces have no unit.

    Raises:
        ReaderError: trace_decay outside [0, 1], a number that is not finite, or wmin above wmax.
    """

    nu: tuple[float, float] = (1e-4, 1e-2)
    trace_decay: float = math.exp(-1 / 20)
    trace_scale: float = 1.0
    traces_additive: bool = False
    wmin: float | None = None
    wmax: float | None = None

    def __post_init__(self):
        numbers = [*self.nu, self.trace_decay, self.trace_scale]
        if len(self.nu) != 2 or not all(map(math.isfinite, numbers)):
            raise ReaderError(
                f"nu = {self.nu}, trace_decay = {self.trace_decay}, trace_scale = {self.trace_scale}",
                "PostPre",
                "finite numbers; nu is (depression, potentiation)",
            )
        if not 0 <= self.trace_decay <= 1:
            raise ReaderError(
                f"trace_decay = {self.trace_decay} is not in [0, 1]",
                "PostPre",
                "neurons.decay(dt, tau) makes it",
            )
        if not self.bounds[0] <= self.bounds[1]:
            raise ReaderError(f"wmin = {self.wmin} is not below wmax = {self.wmax}", "PostPre")

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest weight, infinite where open."""
        return (
            -math.inf if self.wmin is None else self.wmin,
            math.inf if self.wmax is None else self.wmax,
        )


def check(spikes: Spikes, weight: torch.Tensor, neuron: LIF) -> None:
    """Raise ReaderError for operands that the STDP operators do not take."""
    if weight.dim() != 2 or spikes.shape[2] != len(weight):
        raise ReaderError(
            f"weights {list(weight.shape)} do not fit spikes {list(spikes.shape)}",
            "operator stdp",
            "weights [N_in, N_out] for spikes [T, B, N_in]",
        )
    if weight.dtype not in (torch.float32, torch.float64):
        raise ReaderError(
            f"weights are {weight.dtype}", "operator stdp", "torch.float32 or torch.float64"
        )
    lacking = {
        "an input filter (a_ii, c0, c1)": neuron.a_ii or neuron.c0 or neuron.c1,
        "an adaptive threshold": neuron.adaptive,
        f"reset {neuron.reset!r} at {neuron.reset_at!r}": (neuron.reset, neuron.reset_at)
        != ("zero", "spike"),
        "refractory 'block_spike'": neuron.refractory == "block_spike",
    }
    for what, lacks in lacking.items():
        if lacks:
            raise ReaderError(
                f"operator stdp has no neuron with {what}",
                "operator stdp",
                "learning.stdp.bindsnet(dt) makes one that it has",
            )
