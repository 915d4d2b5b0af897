"""What the EventProp operators take: checked, and tied into autograd."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from paraspike.errors import ReaderError

_WHERE = "eventprop"

# Spikes per neuron and synaptic time constant beyond which a network is taken to run away.
RUNAWAY = 100


@dataclass(frozen=True)
class Problem:
    """B trials of S networks: times float64 [E] (s), units int32 [E], offsets int64 [B + 1]."""

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    seeds: int
    tau_mem: float
    tau_syn: float
    duration: float
    horizon: float

    def __len__(self):
        return len(self.offsets) - 1

    @property
    def per_seed(self) -> int:
        """Trials per network."""
        return len(self) // self.seeds

    def limit(self, n: int) -> int:
        """Spikes of n neurons in a trial that only a network that runs away exceeds."""
        return math.ceil(RUNAWAY * n * (1 + self.duration / self.tau_syn))


class _EventProp(torch.autograd.Function):
    """`simulate` forward, `adjoint` backward: both on NumPy float64 arrays, weights [S, ...]."""

    @staticmethod
    def forward(ctx, simulate, adjoint, problem, *weights):
        # Copies: the weights may change in place before the backward pass.
        arrays = [w.detach().to(torch.float64, copy=True).numpy() for w in weights]
        logits, counts, tape = simulate(problem, *arrays)
        ctx.work = adjoint, problem, tape, arrays
        counts = torch.from_numpy(counts)
        ctx.mark_non_differentiable(counts)
        return torch.from_numpy(logits).to(weights[0].dtype), counts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad, _):
        adjoint, problem, tape, arrays = ctx.work
        signal = np.ascontiguousarray(grad.detach().double().numpy())
        gradients = adjoint(problem, tape, *arrays, signal)
        return None, None, None, *(torch.from_numpy(g).to(grad.dtype) for g in gradients)


def connect(simulate, adjoint, events, w_in, w_rec, w_out, tau_mem, tau_syn, duration, horizon):
    """(logits, counts) of the operator made of `simulate` and `adjoint`.

    Raises:
        ReaderError: see `reference.eventprop`.
    """
    weights = _weights(w_in, w_rec, w_out)
    seeds, n_in, _ = weights[0].shape
    _constants(tau_mem, tau_syn, duration, horizon)
    if not isinstance(events, (tuple, list)) or len(events) != 3:
        raise ReaderError(f"events are {_what(events)}", _WHERE, "(times, units, offsets)")
    times, units, offsets = _events(*events, n_in)
    if (len(offsets) - 1) % seeds:
        raise ReaderError(f"{len(offsets) - 1} trials cannot belong to {seeds} seeds", _WHERE)
    problem = Problem(times, units, offsets, seeds, tau_mem, tau_syn, duration, horizon)
    return _EventProp.apply(simulate, adjoint, problem, *weights)


def refuse_runaway(trial: int, problem: Problem):
    """Raise the ReaderError for a trial whose spikes exceed `Problem.limit`."""
    raise ReaderError(
        f"trial {trial}: more than {RUNAWAY} spikes per neuron and synaptic time constant",
        _WHERE,
        "smaller weights: the recurrent ones excite themselves without bound, or inputs are huge",
    )


def _weights(w_in, w_rec, w_out):
    """The weights with an axis of seeds, contiguous; no recurrence is [S, 0, N]."""
    shown = {"w_in": w_in, "w_rec": w_rec, "w_out": w_out}
    for name, w in shown.items():
        if w is None and name == "w_rec":
            continue
        if not isinstance(w, torch.Tensor) or w.dtype not in (torch.float32, torch.float64):
            raise ReaderError(f"{name} is {_what(w)}", _WHERE, "a float32 or float64 tensor")
        if w.device.type != "cpu":
            raise ReaderError(f"{name} lies on {w.device}", _WHERE, "move it to cpu")
        if not torch.isfinite(w).all():
            raise ReaderError(f"{name} holds values that are not finite", _WHERE)
    lead, n = tuple(w_in.shape[:-2]), w_in.shape[-1] if w_in.dim() > 1 else -1
    classes = w_out.shape[-1] if w_out.dim() else -1
    wanted = {"w_in": w_in.shape, "w_rec": (*lead, n, n), "w_out": (*lead, n, classes)}
    for name, w in shown.items():
        fits = w is None or (
            w.shape == wanted[name] and w.dtype == w_in.dtype and w.dim() in (2, 3)
        )
        if not fits or lead == (0,):
            raise ReaderError(
                f"{name} is {_what(w)}, w_in {_what(w_in)}",
                _WHERE,
                "w_in [N_in, N], w_rec [N, N], w_out [N, C], each with or without an axis of seeds",
            )
    if w_rec is None:
        w_rec = w_in.new_zeros(*lead, 0, n)
    whole = [w if lead else w[None] for w in (w_in, w_rec, w_out)]
    return [w.contiguous() for w in whole]


def _constants(tau_mem, tau_syn, duration, horizon):
    for name, value in (("tau_mem", tau_mem), ("tau_syn", tau_syn), ("duration", duration)):
        if not 0 < value < math.inf:
            raise ReaderError(f"{name} = {value}", _WHERE, "a positive number of seconds")
    if not horizon > 0:
        raise ReaderError(
            f"horizon = {horizon}", _WHERE, "a positive number of seconds, inf for the plain mean"
        )
    if abs(tau_mem - tau_syn) < 1e-3 * tau_syn:
        raise ReaderError(
            f"tau_mem = {tau_mem} and tau_syn = {tau_syn} are the same within 0.1 %",
            _WHERE,
            "the two exponentials of the potential must differ; move one of them",
        )


def _events(times, units, offsets, n_in):
    """The events as contiguous float64, int32 and int64 arrays."""
    kinds = {"times": (times, "f8"), "units": (units, "i4 i8"), "offsets": (offsets, "i8")}
    for name, (array, known) in kinds.items():
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.str[1:] not in known:
            raise ReaderError(f"{name} is {_what(array)}", _WHERE, f"a NumPy array [.] of {known}")
    if len(times) != len(units):
        raise ReaderError(f"{len(times)} times, but {len(units)} units", _WHERE)
    if not len(offsets) or offsets[0] or offsets[-1] != len(times) or (np.diff(offsets) < 0).any():
        raise ReaderError(
            f"offsets do not split {len(times)} events",
            _WHERE,
            "int64 [B + 1], from 0 to the number of events, never falling",
        )

    def refuse(wrong, what, hint):
        if wrong.any():
            event = int(np.argmax(wrong))
            trial = int(np.searchsorted(offsets, event, side="right")) - 1
            place = f"{_WHERE}: trial {trial}, event {event - offsets[trial]}"
            raise ReaderError(f"{what}: time {times[event]}, unit {units[event]}", place, hint)

    refuse(~(times >= 0) | np.isinf(times), "time is no time", "finite seconds, 0 or later")
    refuse((units < 0) | (units >= n_in), "no such unit", f"0 .. {n_in - 1}, rows of w_in")
    falls = np.zeros(len(times), bool)
    falls[1:] = times[1:] < times[:-1]
    falls[offsets[:-1][offsets[:-1] < len(times)]] = False
    refuse(falls, "earlier than the event before it", "sort the events of a trial by time")
    return np.ascontiguousarray(times), np.ascontiguousarray(units, np.int32), offsets.copy()


def _what(value) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__
