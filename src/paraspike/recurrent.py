"""Recurrent spiking networks whose readout hears every hidden layer and tells each what it got wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.layer import Draws, Layer
from paraspike.network import Activity, Arrays
from paraspike.neurons import LIF, LeakyIntegrator, decay
from paraspike.randomness import uniform
from paraspike.spikes import Spikes

RULES, FEEDBACK = ("eprop", "bptt"), ("symmetric", "random", "adaptive")


@dataclass(frozen=True)
class RateTarget:
    """A firing rate that every neuron is drawn to: R = weight (f - target) joins its learning signal.

    f: the neuron's own rate, a low-pass of its spikes with time constant `tau` (seconds); target, f in
    spikes per step. R acts on the trace that the readout's filter has not smoothed (GeNN's e-prop).
    """

    target: float
    weight: float
    keep: float

    @classmethod
    def from_times(cls, dt: float, hertz: float = 10.0, weight: float = 1e-3, tau: float = 0.5):
        """dt and tau in seconds."""
        return cls(hertz * dt, weight, decay(dt, tau))

    @property
    def average(self) -> LeakyIntegrator:
        """The low-pass of unit gain that gives f."""
        return LeakyIntegrator(0.0, self.keep, 1 - self.keep)


class RecurrentNetwork(Arrays):
    """Hidden layers of spiking neurons, one after another, and a leaky readout that hears all of them.

    rule "eprop": no gradient passes through spikes from one neuron to another; each hidden layer gets
    the readout's errors through feedback weights, filtered as the readout filters (Bellec et al. 2020,
    equations 4 and 28): on backend cpu that is one backward scan a neuron and one product, the factorised
    form of e-prop. rule "bptt": the same network with its whole gradient.

    Args:
        n_in, hidden, n_out: neurons; `hidden` one number a layer.
        neuron: LIF of the hidden layers.  readout: LeakyIntegrator of the last.
        seeds: one independent network for each, side by side.
        recurrent: spikes of a layer drive it at the next step.
        feedback: "symmetric" (the readout's own weights), "random" (drawn once, U of the same
            variance) or "adaptive" (drawn, then changed as the readout's weights are, both with
            `forgetting`: Kolen and Pollack 1994; Bellec et al. 2020).
        rate: RateTarget or None.
        delay: steps from input to hidden layer and from hidden layer to readout.
        bias: of the readout.
        masks: per hidden layer (mask, recurrent mask), each bool or None.
        front: a module [T, B, n_in] -> spikes in place of the first hidden layer's synapses, e.g. a
            `ConvLayer`; its neurons are heard, too.
        forgetting: share of readout and feedback weights that each update takes off under adaptive feedback.
        backend: as `Layer`.

    Raises:
        ReaderError: an unknown rule or feedback; sizes out of range.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        neuron: LIF,
        readout: LeakyIntegrator,
        seeds=(0,),
        *,
        recurrent=True,
        rule="eprop",
        feedback="symmetric",
        rate: RateTarget | None = None,
        delay=0,
        bias=True,
        masks=None,
        front: nn.Module | None = None,
        forgetting=0.01,
        backend="auto",
    ):
        super().__init__()
        for what, value, known in (("rule", rule, RULES), ("feedback", feedback, FEEDBACK)):
            if value not in known:
                raise ReaderError(
                    f"{what} {value!r} is unknown", "RecurrentNetwork", f"one of {', '.join(known)}"
                )
        self.seeds, self.rule, self.rate = tuple(int(s) for s in seeds), rule, rate
        self.ops = backends.operators(backend)
        common = {"seeds": self.seeds, "backend": self.ops}
        masks = masks or [(None, None)] * len(hidden)
        layers = [] if front is None else [front]
        before = n_in if front is None else front.n_out
        for i, (n, (mask, loop)) in enumerate(zip(hidden, masks, strict=True)):
            late = delay if i == 0 and front is None else 0
            layers.append(
                Layer(
                    before,
                    n,
                    neuron,
                    bias=False,
                    delay=late,
                    recurrent=recurrent,
                    mask=mask,
                    recurrent_mask=loop,
                    local=rule == "eprop",
                    name=f"hidden{i}",
                    **common,
                )
            )
            before = n
        if not layers:
            raise ReaderError("no hidden layer", "RecurrentNetwork", "hidden = [256], or a front")
        readouts = [
            Layer(
                h.n_out,
                n_out,
                readout,
                bias=bias and i == len(layers) - 1,
                delay=delay,
                name=f"readout{i}",
                **common,
            )
            for i, h in enumerate(layers)
        ]
        self.depth = len(layers)
        self.layers = nn.ModuleList([*layers, *readouts])
        if feedback != "symmetric" and rule == "eprop":
            self._draw_feedback(readouts, feedback == "adaptive")
        self.to(backends.device(self.ops.backend))
        if feedback == "adaptive" and rule == "eprop":
            # Where they stay from now on.
            for i, layer in enumerate(readouts):
                _mirror(layer.weight, getattr(self, f"feedback{i}"), forgetting)

    def _draw_feedback(self, readouts, learns):
        for i, layer in enumerate(readouts):
            bound = (3 / layer.n_in) ** 0.5
            stack = [
                uniform(s, f"init/feedback{i}", [0], layer.n_in, layer.n_out) for s in self.seeds
            ]
            drawn = torch.stack([torch.from_numpy(b[:, 0]) * 2 * bound - bound for b in stack])
            if learns:
                self.register_parameter(f"feedback{i}", nn.Parameter(drawn))
            else:
                self.register_buffer(f"feedback{i}", drawn)

    def forward(self, x: Spikes, draws: Draws | None = None) -> Activity:
        hidden, readout = [], 0
        for i in range(self.depth):
            spikes = self.layers[i](x)
            hidden.append(spikes)
            x = spikes.detached() if self.rule == "eprop" else spikes
            layer = self.layers[self.depth + i]
            y = layer(x)
            if spikes.carrier.requires_grad and (self.rule == "eprop" or self.rate is not None):
                y = _Teach.apply(spikes.carrier, y, self._back(i), spikes, layer, self.rate)
            readout = readout + y
        return Activity(readout, hidden)

    def _back(self, i: int) -> torch.Tensor | None:
        """Feedback weights [S, N, C] to hidden layer i; None where autograd carries the error back."""
        if self.rule == "bptt":
            return None
        name = f"feedback{i}"
        weights = getattr(self, name) if hasattr(self, name) else self.layers[self.depth + i].weight
        return weights.detach()


def _mirror(weight, back, forgetting):
    """Whenever the weight gets a gradient, the feedback gets the same one, and both shrink by the share
    `forgetting`, so that what they differ by dies out."""

    def copy(weight):
        back.grad = weight.grad.clone()
        with torch.no_grad():
            weight.mul_(1 - forgetting)
            back.mul_(1 - forgetting)

    weight.register_post_accumulate_grad_hook(copy)


class _Teach(torch.autograd.Function):
    """Passes y on; on the way back gives the hidden spikes their learning signal."""

    @staticmethod
    def forward(ctx, carrier, y, back, spikes, layer, rate):
        ctx.back, ctx.spikes, ctx.layer, ctx.rate = back, spikes.detached(), layer, rate
        return y.view_as(y)

    @staticmethod
    def backward(ctx, grad):
        layer, rate, signal = ctx.layer, ctx.rate, None
        if ctx.back is not None:
            filtered = layer.ops.integrate(grad.flip(0), layer.neuron).flip(0)
            if layer.delay:
                late = torch.zeros_like(filtered)
                late[: -layer.delay or None] = filtered[layer.delay :]
                filtered = late
            # Seed by seed and cloned: a product's last bits may depend on how many rows it has, and on how
            # its operands lie in memory.
            parts = [
                (f.reshape(-1, f.shape[2]) @ b.clone().T).reshape(*f.shape[:2], -1)
                for f, b in zip(filtered.chunk(len(ctx.back), 1), ctx.back, strict=True)
            ]
            signal = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        if rate is not None:
            # R = weight (f - target), in place, for these are large.
            average = rate.average
            scaled = LeakyIntegrator(0.0, average.a_uu, rate.weight * average.a_ui)
            excess = layer.ops.integrate(ctx.spikes.dense(grad.dtype), scaled)
            excess.sub_(rate.weight * rate.target)
            signal = excess if signal is None else signal.add_(excess)
        return signal, grad, None, None, None, None
