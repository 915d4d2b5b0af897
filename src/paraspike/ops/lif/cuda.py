"""The LIF normal form on a GPU, in Triton: `lif` with the signature and the gradients of `reference.lif`.

Memory traffic of each neuron and step, feedforward, in float32: 8 bytes without gradients (input, spikes);
with them 21 walking again from states kept every 16 steps (8 + states forward, 12 + states backward, a state
being 4 bytes for each of i, u and those of a, x_prev, s and left that the options use), or 24 keeping
potentials (12 each way). An adaptive neuron keeps its distance to threshold instead of the potential; only a
traced one, or a reset to zero under reset_grad "full" or at the surrogate "post", keeps both (8 more);
gate_input under reset_grad "full" keeps the drive (8 more); refractory bits take 1/2.
A recurrent layer in one launch has the same 24, and 4 for each weight that it reads, from cache: N a spike
forward, N / BLOCKS' samples a step and neuron back; step by step the state and a chunk's copies add about 60.
"""

import functools
import os

import torch
from torch.autograd.function import once_differentiable

from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.ops.lif.cuda_launch import (
    Kept,
    device_coefficients,
    launch,
    nothing,
    on,
    packed,
    state_rows,
)
from paraspike.ops.lif.options import options

# What the way back of a feedforward layer starts from: three bytes in 24 less than from "potential".
KEEP = "states"
# Neurons up to which one launch walks all steps of a recurrent layer ("persistent"); above, "steps".
PERSISTENT_UP_TO = 512
_WHERE = "operator lif, backend cuda"
# A call's time on the host must stay below the device's 0.15 ms.
_options = functools.lru_cache(256)(options)


def lif(
    x: torch.Tensor,
    neuron: LIF,
    trace: bool = False,
    recurrent=None,
    local: bool = False,
    keep: str | None = None,
    way: str | None = None,
):
    """Spikes [T, S*B, N] of input currents x [T, S*B, N], float32 or float64 on a GPU (or on the CPU under
    TRITON_INTERPRET=1); equations: `neurons.LIF`.

    Args:
        recurrent, local: as `reference.lif`.
        keep: what a feedforward layer's way back starts from: "potential" of each step, or "states" every few
            steps, from which the input is walked again; None as KEEP has it. Same bits either way.
        way: of a recurrent layer: "persistent", one launch for all steps (up to 512 neurons), or "steps", a
            product and a launch each, replayed as a CUDA graph; None as PERSISTENT_UP_TO has it.

    Returns:
        spikes; with `trace` also the potential before and after the reset, each [T, S*B, N], outside
        autograd. Feedforward spikes have the reference's bits; a recurrent product adds in its own order.

    Raises:
        ReaderError: shapes, dtypes or devices that do not fit, no triton.
    """
    chosen = _check(x, neuron, recurrent, keep, way)
    learns = torch.is_grad_enabled() and (
        x.requires_grad or (recurrent is not None and recurrent.requires_grad)
    )
    if recurrent is None:
        spikes, potential = _Fed.apply(x, neuron, chosen, keep or KEEP, learns, trace)
    else:
        n = x.shape[2]
        way = way or ("persistent" if n <= PERSISTENT_UP_TO else "steps")
        spikes, potential = _Looped.apply(x, recurrent, neuron, chosen, local, way, learns, trace)
    if not trace:
        return spikes
    after, hot = potential, spikes.detach() > 0
    if neuron.reset_at == "spike" and neuron.reset == "zero":
        after = potential.masked_fill(hot, 0.0)
    if neuron.reset_at == "spike" and neuron.reset == "subtract":
        after = potential - neuron.threshold * hot.to(potential.dtype)
    return spikes, potential, after


class _Fed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron, chosen, keep, learns, trace):
        from paraspike.ops.lif import cuda_kernels as kernels

        ctx.set_materialize_grads(False)
        x = x.detach().contiguous()
        steps, m = len(x), x.shape[1] * x.shape[2]
        option = packed(chosen, trace)
        kind = 0 if not (learns or trace) else 1 if trace or keep == "potential" else 2
        spikes, kept = torch.empty_like(x), Kept(x, option, steps, kind == 1)
        sizes, how = launch(m)
        rows = state_rows(option)
        states = -(-steps // sizes["CHUNK"])
        state = x.new_empty((states, rows, m)) if kind == 2 else nothing(x.dtype, x.device)
        c = device_coefficients(neuron, x.dtype, x.device)
        launched = {"OPTION": option, "CARRY": 0, "ROWS": rows} | sizes | how
        ctx.given = neuron, kind, c, launched
        if x.numel():
            with on(x.device):
                kernels.forward[(-(-m // sizes["BLOCK"]),)](
                    x, spikes, *kept.tensors(), state, c, 0, steps, m, neuron.refractory_steps, KEEP=kind,
                    **launched,
                )  # fmt: skip
        potential = kept.potential.view(x.shape) if trace else None
        if trace:
            ctx.mark_non_differentiable(potential)
        if learns:
            potentials, *others = kept.tensors()
            ctx.save_for_backward(x if kind == 2 else potentials, *others, state)
        return spikes, potential

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        from paraspike.ops.lif import cuda_kernels as kernels

        if grad is None:
            return (None,) * 6
        neuron, kind, c, launched = ctx.given
        grad = grad.contiguous()
        out, steps, m = torch.empty_like(grad), len(grad), grad.shape[1] * grad.shape[2]
        if grad.numel():
            source, extra, drives, words, state = ctx.saved_tensors
            with on(grad.device):
                kernels.backward[(-(-m // launched["BLOCK"]),)](
                    source, grad, extra, drives, words, state, out, out, c, 0, steps, m,
                    neuron.refractory_steps, KEEP=kind, **launched,
                )  # fmt: skip
        return out, *[None] * 5


class _Looped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, recurrent, neuron, chosen, local, way, learns, trace):
        from paraspike.ops.lif import cuda_loops

        ctx.set_materialize_grads(False)
        x = x.detach().contiguous()
        weight = recurrent.detach().reshape(-1, *recurrent.shape[-2:]).contiguous()
        option = packed(chosen, trace)
        walk = cuda_loops.Persistent if way == "persistent" else cuda_loops.Steps
        ctx.walk = walk(neuron, option, len(weight), x, local)
        spikes, potential, saved = ctx.walk.forward(x, weight, learns or trace, trace)
        if trace:
            ctx.mark_non_differentiable(potential)
        if learns:
            ctx.shape = recurrent.shape
            ctx.save_for_backward(spikes, weight, *saved)
        return spikes, potential

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if grad is None:
            return (None,) * 8
        spikes, weight, *saved = ctx.saved_tensors
        out = ctx.walk.backward(grad.contiguous(), weight, saved)
        of_weight = None
        if ctx.needs_input_grad[1]:
            # Seed by seed: a product's last bits may depend on what is computed beside it.
            before, after = spikes[:-1].chunk(len(weight), 1), out[1:].chunk(len(weight), 1)
            parts = [_rows(s).T @ _rows(g) for s, g in zip(before, after, strict=True)]
            of_weight = torch.stack(parts).reshape(ctx.shape)
        return out, of_weight, *[None] * 6


def _rows(v):
    """[T, B, N] as [T*B, N], so aligned that a product takes it for what another seed's is."""
    v = v.reshape(-1, v.shape[2])
    return v if v.data_ptr() % 16 == 0 else v.clone()


def _check(x, neuron, recurrent, keep, way):
    chosen = _options(neuron)
    if not chosen[0]:
        raise ReaderError(f"{type(neuron).__name__} does not fire", _WHERE, "a LIF")
    if x.dim() != 3:
        raise ReaderError(f"input of shape {list(x.shape)}", _WHERE, "[T, S*B, N]")
    if x.dtype not in (torch.float32, torch.float64):
        raise ReaderError(f"input of dtype {x.dtype}", _WHERE, "float32 or float64")
    if x.device.type != "cuda" and not _interpreted():
        raise ReaderError(f"input on {x.device}", _WHERE, "move it to a GPU, or use backend=cpu")
    if keep not in (None, "potential", "states"):
        raise ReaderError(f"keep = {keep!r} is unknown", _WHERE, "one of potential, states")
    if way not in (None, "persistent", "steps"):
        raise ReaderError(f"way = {way!r} is unknown", _WHERE, "one of persistent, steps")
    try:
        import triton  # noqa: F401
    except ImportError as error:
        raise ReaderError("triton is not installed", _WHERE, "pip install triton") from error
    if recurrent is not None:
        _check_loop(x, recurrent, way)
    return chosen


def _interpreted():
    """As triton decides; asking it would import it."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def _check_loop(x, recurrent, way):
    n = x.shape[2]
    seeds = recurrent.shape[0] if recurrent.dim() == 3 else 1
    fits = recurrent.dim() in (2, 3) and tuple(recurrent.shape[-2:]) == (n, n)
    if not (fits and seeds and x.shape[1] % seeds == 0):
        raise ReaderError(
            f"input {list(x.shape)} and recurrent weight {list(recurrent.shape)} do not fit",
            _WHERE,
            "[T, S*B, N] and [N, N] or [S, N, N]",
        )
    if recurrent.dtype != x.dtype or recurrent.device != x.device:
        raise ReaderError(
            f"recurrent weight {recurrent.dtype} on {recurrent.device}, input {x.dtype} on {x.device}",
            _WHERE,
            "one dtype and device for both",
        )
    if way == "persistent" and n > PERSISTENT_UP_TO:
        raise ReaderError(
            f"{n} recurrent neurons do not fit a program",
            _WHERE,
            f"way='steps' above {PERSISTENT_UP_TO}",
        )
