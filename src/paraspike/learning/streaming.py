"""E-prop run forward in time: constant memory, any length of stream, state that may outlive a sample."""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.neurons import LIF, LeakyIntegrator
from paraspike.recurrent import RateTarget
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class Timing:
    """Delays of the network, and what of the rule is late, in steps. The default is exact e-prop.

    input_delay, readout_delay: from a spike to its arrival.
    trace_lead: the presynaptic trace is ahead of pseudo-derivative, rate and learning signal by so much.
    error_lag: the error that makes the learning signal is older than the pseudo-derivative by so much.
    softmax_lag: the softmax in the error is older than its label by so much.
    output_lag: the error in the readout's own gradient is older than the trace by so much.
    plain_bias: the bias learns from each step's error alone, not from what earlier steps left of it.
    """

    input_delay: int = 0
    readout_delay: int = 0
    trace_lead: int = 0
    error_lag: int = 0
    softmax_lag: int = 0
    output_lag: int = 0
    plain_bias: bool = False


# What GeNN computes (shared/papers/eprop.md, section 2): the authors' first program, and mlGeNN 2.3.
GENN = Timing(1, 1, trace_lead=1, error_lag=1, output_lag=1, plain_bias=True)
MLGENN = Timing(1, 1, trace_lead=1, error_lag=1, softmax_lag=1, output_lag=1, plain_bias=True)


class Stream:
    """One LSNN (one hidden layer, leaky readout) that learns by e-prop while it listens.

    Gradients are summed over samples and steps until `take`; weights are the caller's and may change
    between calls. State carries over until `reset`, which GeNN never calls. Memory: traces
    [B, N_in + N, N], whatever the length of the stream.

    Args:
        w_in [N_in, N], w_rec [N, N] or None, w_out [N, C], bias [C]: tensors, read at every call.
        neuron, readout: LIF in the form `ops.stateful` takes; LeakyIntegrator with a_ii = 0, a_ui = 1.
        chunk: steps that are taken at a time.
        blocked: touch each synapse's traces once a chunk, by the factorised algebra, not once a step.
        rate: RateTarget or None.  timing: Timing.
        feedback: [N, C] in place of w_out for the learning signal.
        trace_beta: beta in the traces; None: the neuron's.
        backend: as `Layer`.

    Raises:
        ReaderError: a readout of another form, a chunk below 1.
    """

    def __init__(
        self, w_in, w_rec, w_out, bias, neuron: LIF, readout: LeakyIntegrator, *, chunk: int = 50,
        blocked: bool = False, rate: RateTarget | None = None, timing: Timing = Timing(),
        feedback=None, trace_beta=None, backend="auto",
    ):  # fmt: skip
        if readout.a_ii != 0 or readout.a_ui != 1 or chunk < 1:
            raise ReaderError(
                f"readout {readout}, chunk {chunk}", "Stream", "a_ii = 0, a_ui = 1; chunk 1 or more"
            )
        self.weights = [None if w is None else w.detach() for w in (w_in, w_rec, w_out, bias)]
        self.neuron, self.readout = neuron, readout
        self.chunk, self.blocked = chunk, blocked
        self.rate, self.timing, self.feedback = rate, timing, feedback
        self.beta = neuron.beta if trace_beta is None else trace_beta
        self.ops = backends.operators(backend)
        self.totals = [None if w is None else torch.zeros_like(w) for w in self.weights]
        self.reset()

    def reset(self) -> None:
        """Forget all state, but no gradient."""
        self.layer, self.traces, self._last = None, [None, None], {}

    def take(self) -> list[torch.Tensor | None]:
        """The gradients summed so far of w_in, w_rec, w_out and bias; the sums start again from zero."""
        taken = self.totals
        self.totals = [None if t is None else torch.zeros_like(t) for t in taken]
        return taken

    def __call__(self, x, labels: torch.Tensor, learn: bool = True) -> torch.Tensor:
        """The readout [T, B, C] of activity x [T, B, N_in], learning on the way.

        Args:
            labels: int64 [B], or [T, B] where they change with time.
            learn: False: only listen, traces stay as they are.

        Raises:
            ReaderError: activity of other units, or of another batch than the state; labels that do not fit.
        """
        steps, batch, n_in = x.shape
        held = self._last["z"].shape[1] if "z" in self._last else batch
        if n_in != len(self.weights[0]) or batch != held or labels.shape[-1:] != (batch,):
            raise ReaderError(
                f"activity {list(x.shape)}, labels {list(labels.shape)}, state of {held} samples",
                "Stream",
                f"[T, B, {len(self.weights[0])}] and [B] or [T, B]; reset() before another batch size",
            )
        labels = labels.to(self.weights[0].device).expand(steps, -1)
        w_in, _, _, bias = self.weights
        out = [w_in.new_zeros(0, x.shape[1], len(bias))]
        for t in range(0, steps, self.chunk):
            piece = slice(t, min(t + self.chunk, steps))
            # A raster of one chunk at a time.
            raster = (
                x.steps(piece.start, piece.stop).dense(w_in.dtype)
                if isinstance(x, Spikes)
                else x[piece]
            )
            out.append(self._advance(raster.to(w_in.device), labels[piece], learn))
        return torch.cat(out)

    def _advance(self, x, labels, learn):
        w_in, w_rec, w_out, bias = self.weights
        ops, timing, dtype = self.ops, self.timing, w_in.dtype
        x = self._late("x", x, timing.input_delay)
        currents = ops.synapse(Spikes.from_dense(x), w_in, None)
        # What fired at the end of the last call, which the first step hears.
        before = self._last.get("z", x.new_zeros(1, x.shape[1], w_in.shape[1]))
        spikes, psi, self.layer = ops.stateful(currents, self.neuron, self.layer, w_rec)
        z = spikes.dense(dtype).to(w_in.device)
        if len(z):
            self._last["z"] = z[-1:].clone()
        heard = self._late("heard", z, timing.readout_delay)
        y = self._filter("y", heard @ w_out + bias, self.readout)
        if not learn:
            return y
        pi = self._late("pi", torch.softmax(y, 2), timing.softmax_lag)
        error = pi - one_hot(labels, len(bias)).to(dtype)
        back = w_out if self.feedback is None else self.feedback
        signal = self._late("error", error, timing.error_lag) @ back.T
        penalty = None
        if self.rate is not None:
            f = self._filter("f", z, self.rate.average)
            penalty = self._late(
                "penalty", self.rate.weight * (f - self.rate.target), timing.trace_lead
            )
        signal = self._late("signal", signal, timing.trace_lead)
        psi = self._late("psi", psi, timing.trace_lead)
        common = {"kappa": self.readout.a_uu, "beta": self.beta, "rho": self.neuron.rho}
        common["blocked"] = self.blocked
        trace = LeakyIntegrator(0.0, self.neuron.a_uu, 1.0)
        zbar = self._filter("zbar_in", x, trace)
        self.traces[0] = ops.traces(
            psi, signal, penalty, zbar, self.totals[0], self.traces[0], **common
        )
        if w_rec is not None:
            zbar = self._filter("zbar_rec", torch.cat([before, z])[: len(z)], trace)
            self.traces[1] = ops.traces(
                psi, signal, penalty, zbar, self.totals[1], self.traces[1], **common
            )
        zbar = self._filter("zbar_out", heard, self.readout)
        late = self._late("late", error, timing.output_lag)
        self.totals[2] += zbar.reshape(-1, zbar.shape[2]).T @ late.reshape(-1, late.shape[2])
        share = 1.0
        if not timing.plain_bias:
            share = self._filter("bias", x.new_ones(len(x), x.shape[1], 1), self.readout)
        self.totals[3] += (share * error).sum((0, 1))
        return y

    def _late(self, name, value, steps):
        """`value` [K, ...], `steps` later, what was held back of the last call first."""
        if not steps:
            return value
        held = self._last.get(name, value.new_zeros(steps, *value.shape[1:]))
        whole = torch.cat([held, value])
        self._last[name] = whole[len(value) :].clone()
        return whole[: len(value)]

    def _filter(self, name, value, neuron):
        """A one-pole filter that continues from the last call."""
        if name in self._last:
            value = value.clone()
            value[0] += neuron.a_uu / neuron.a_ui * self._last[name]
        out = self.ops.integrate(value, neuron)
        self._last[name] = out[-1].clone()
        return out
