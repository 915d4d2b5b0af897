"""The LIF normal form on the CPU: one pass over time each way, neurons in cache-sized blocks.

A factory closes over the option integers, so each variant is a branch-free body of its own;
coefficients stay run-time scalars.
"""

import functools

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF, Surrogate
from paraspike.ops.jit import njit
from paraspike.threads import run_blocks

_LANES = 256
_RESETS = ("none", "zero", "subtract")
_GRADIENTS = ("through", "masked", "full")
_LACKS = "operator lif on backend cpu lacks {}"


def _options(neuron: LIF) -> tuple[int, ...]:
    """The integers a kernel is specialised on.

    Raises:
        ReaderError: an option of the normal form that has no kernel here.
    """
    lacking = {
        "an adaptive threshold": neuron.adaptive,
        "refractory periods": neuron.refractory != "none" and neuron.refractory_steps > 0,
        "reset_grad='full' for a reset to zero at the next step": neuron.reset == "zero"
        and neuron.reset_at == "next_step"
        and neuron.reset_grad == "full",
    }
    for name, asked in lacking.items():
        if asked:
            raise ReaderError(_LACKS.format(name), "ops/lif/cpu.py", "use backend reference for it")
    return (
        _RESETS.index(neuron.reset),
        int(neuron.reset_at == "next_step"),
        int(neuron.gate_input),
        int(neuron.strict),
        _GRADIENTS.index(neuron.reset_grad),
        Surrogate.SHAPES.index(neuron.surrogate.shape),
        int(neuron.surrogate_at == "post" and neuron.reset_at == "spike"),
    )


@functools.cache
def _forward(reset, late, gate_input, strict):
    @njit
    def forward(start, stop, x, spikes, potential, a_ii, a_uu, a_ui, c0, c1, threshold):
        steps = x.shape[0]
        i = np.empty(_LANES, x.dtype)
        u = np.empty(_LANES, x.dtype)
        fired = np.empty(_LANES, x.dtype)
        previous = np.empty(_LANES, x.dtype)
        one, zero = x.dtype.type(1), x.dtype.type(0)
        for left in range(start, stop, _LANES):
            width = min(_LANES, stop - left)
            i[:] = 0
            u[:] = 0
            fired[:] = 0
            previous[:] = 0
            for t in range(steps):
                x_t, s_t, v_t = x[t], spikes[t], potential[t]
                for j in range(width):
                    value = x_t[left + j]
                    i[j] = a_ii * i[j] + value
                    drive = a_ui * i[j] + c0 * value + c1 * previous[j]
                    kept = a_uu * u[j]
                    if late == 1 and reset == 1:
                        kept = kept * (one - fired[j])
                        if gate_input == 1:
                            drive = drive * (one - fired[j])
                    v = kept + drive
                    if late == 1 and reset == 2:
                        v = v - threshold * fired[j]
                    if strict == 1:
                        s = one if v > threshold else zero
                    else:
                        s = one if v >= threshold else zero
                    v_t[left + j] = v
                    s_t[left + j] = s
                    if late == 0 and reset == 1:
                        v = v * (one - s)
                    if late == 0 and reset == 2:
                        v = v - threshold * s
                    u[j] = v
                    fired[j] = s
                    previous[j] = value

    return forward


@functools.cache
def _backward(reset, late, gate_input, reset_grad, shape, post):
    @njit
    def backward(
        start,
        stop,
        grad,
        spikes,
        potential,
        out,
        a_ii,
        a_uu,
        a_ui,
        c0,
        c1,
        threshold,
        slope,
        height,
    ):
        steps = grad.shape[0]
        one, zero, half = grad.dtype.type(1), grad.dtype.type(0), grad.dtype.type(0.5)
        quarter_turn = grad.dtype.type(np.pi / 2)
        to_u = np.empty(_LANES, grad.dtype)
        to_i = np.empty(_LANES, grad.dtype)
        to_s = np.empty(_LANES, grad.dtype)
        later = np.empty(_LANES, grad.dtype)
        for left in range(start, stop, _LANES):
            width = min(_LANES, stop - left)
            to_u[:] = 0
            to_i[:] = 0
            to_s[:] = 0
            later[:] = 0
            for k in range(steps):
                t = steps - 1 - k
                g_t, s_t, v_t, d_t = grad[t], spikes[t], potential[t], out[t]
                before = spikes[max(t - 1, 0)]
                for j in range(width):
                    s, v = s_t[left + j], v_t[left + j]
                    g, d = g_t[left + j] + to_s[j], to_u[j]
                    if late == 0 and reset == 1:
                        if reset_grad == 2:
                            g = g - d * v
                        if reset_grad != 0:
                            d = d * (one - s)
                    if late == 0 and reset == 2 and reset_grad == 2:
                        g = g - threshold * d
                    at = v
                    if post == 1 and reset == 1:
                        at = v * (one - s)
                    if post == 1 and reset == 2:
                        at = v - threshold * s
                    at = abs(at - threshold)
                    if shape == 0:
                        root = slope * at + one
                        sigma = height / (root * root)
                    elif shape == 1:
                        rho = one / (one + np.exp(-slope * at))
                        sigma = slope * rho * (one - rho)
                    elif shape == 2:
                        sigma = height * max(zero, one - slope * at)
                    elif shape == 3:
                        turn = quarter_turn * slope * at
                        sigma = height / (one + turn * turn)
                    else:
                        sigma = height if slope * at < half else zero
                    d = d + g * sigma
                    kept = drive = d
                    if late == 1 and reset_grad != 0 and reset == 1:
                        open_ = one - before[left + j] if t > 0 else one
                        kept = d * open_
                        if gate_input == 1:
                            drive = d * open_
                    if late == 1 and reset == 2 and reset_grad == 2:
                        to_s[j] = -threshold * d
                    to_i[j] = a_ui * drive + a_ii * to_i[j]
                    d_t[left + j] = to_i[j] + c0 * drive + c1 * later[j]
                    later[j] = drive
                    to_u[j] = a_uu * kept

    return backward


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron):
        options = _options(neuron)
        x = x.detach().contiguous()
        spikes, potential = torch.empty_like(x), torch.empty_like(x)
        if x.numel():
            arrays = [a.numpy().reshape(len(x), -1) for a in (x, spikes, potential)]
            kernel = _forward(*options[:4])
            run_blocks(kernel, arrays[0].shape[1], *arrays, *_scalars(neuron, x), grain=_LANES)
        ctx.neuron, ctx.options = neuron, options
        ctx.save_for_backward(spikes, potential)
        ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx, grad, _):
        spikes, potential = ctx.saved_tensors
        grad = grad.contiguous()
        out = torch.empty_like(grad)
        if grad.numel():
            arrays = [a.numpy().reshape(len(grad), -1) for a in (grad, spikes, potential, out)]
            reset, late, gate_input, _, *rest = ctx.options
            kernel = _backward(reset, late, gate_input, *rest)
            real = arrays[0].dtype.type
            surrogate = ctx.neuron.surrogate
            scalars = (*_scalars(ctx.neuron, grad), real(surrogate.slope), real(surrogate.height))
            run_blocks(kernel, arrays[0].shape[1], *arrays, *scalars, grain=_LANES)
        return out, None


def _scalars(neuron, like):
    real = np.float64 if like.dtype == torch.float64 else np.float32
    names = ("a_ii", "a_uu", "a_ui", "c0", "c1", "threshold")
    return tuple(real(getattr(neuron, name)) for name in names)


def lif(x: torch.Tensor, neuron: LIF, trace: bool = False):
    """Spikes [T, B, N] of input currents x [T, B, N], float32 or float64; see `reference.lif`.

    With `trace` also the potential before the reset, outside autograd.

    Raises:
        ReaderError: an option of the normal form that has no kernel on this backend.
    """
    spikes, potential = _Lif.apply(x, neuron)
    return (spikes, potential) if trace else spikes
