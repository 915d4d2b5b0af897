"""A LIF layer run piece by piece on a GPU: all steps of a call in one kernel, state kept between calls.

A feedforward neuron is a thread's. A recurrent sample is a program's: it writes its spikes, waits for its own
threads, and adds the weight rows of those that fired, eight neurons at a time, skipping eights that are silent.
"""

import torch
import triton
import triton.language as tl

from paraspike.errors import ReaderError
from paraspike.neurons import Surrogate
from paraspike.ops.eprop.cuda import constants
from paraspike.ops.stateful.reference import check
from paraspike.ops.synapse.cuda import check_device
from paraspike.spikes import Spikes

_WHERE = "operator stateful, backend cuda"
_RESETS, _REFRACTORY = ("none", "zero", "subtract"), ("none", "block_spike", "clamp_input")
# Neurons of a feedforward program; the widest recurrent layer, one program a sample; rows added at a time.
_BLOCK, WIDEST, _EIGHT = 128, 2048, 8


@triton.jit
def slope_of(v, c, SHAPE: tl.constexpr, WINDOW: tl.constexpr):
    """ds/dv at the distance v to threshold; formulas: `neurons.Surrogate`, in its order of shapes."""
    slope, height = tl.load(c + 4), tl.load(c + 5)
    one = tl.full(v.shape, 1, v.dtype)
    far = slope * tl.abs(v)
    if SHAPE == 0:
        d = height * (one / ((far + one) * (far + one)))
    elif SHAPE == 1:
        s = one / (one + tl.exp(-slope * v))
        d = slope * s * (one - s)
    elif SHAPE == 2:
        d = height * tl.maximum(one - far, 0.0)
    elif SHAPE == 3:
        angle = tl.load(c + 8) * v
        d = height * (one / (one + angle * angle))
    else:
        d = tl.where(far < 0.5, height * one, 0.0)
    if WINDOW:
        d = tl.where((v > tl.load(c + 6)) & (v < tl.load(c + 7)), d, 0.0)
    return d


@triton.jit(do_not_specialize=["steps", "batch", "patience"])
def walk(x, loop, c, u_state, a_state, left_state, fired, psi, steps, batch, patience, n,
         RECURRENT: tl.constexpr, RESET: tl.constexpr, REFRACTORY: tl.constexpr, STRICT: tl.constexpr,
         ADAPTIVE: tl.constexpr, SHAPE: tl.constexpr, WINDOW: tl.constexpr, EIGHT: tl.constexpr,
         BLOCK: tl.constexpr):  # fmt: skip
    """Sample program_id(0), columns of program_id(1); fired [T + 1, B, N] begins with the spikes before."""
    b = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = col < n
    decay, threshold, beta, rho = tl.load(c), tl.load(c + 1), tl.load(c + 2), tl.load(c + 3)
    real = psi.dtype.element_ty
    u = tl.load(u_state + b * n + col, mask=within, other=0)
    a = tl.load(a_state + b * n + col, mask=within, other=0)
    left = tl.load(left_state + b * n + col, mask=within, other=0)
    rest = tl.cast(patience, tl.int32).to(real)
    for t in range(0, steps):
        row = (tl.cast(t, tl.int64) * batch + b) * n
        drive = tl.load(x + row + col, mask=within, other=0)
        if RECURRENT:
            # The spikes of the step before were written by other threads of this program.
            tl.debug_barrier()
            heard = tl.zeros([BLOCK], real)
            for first in range(0, n, EIGHT):
                i = first + tl.arange(0, EIGHT)
                s = tl.load(fired + row + i, mask=i < n, other=0)
                if tl.max(s, axis=0) > 0:
                    mask = (s > 0)[:, None] & within[None, :]
                    lines = tl.load(loop + i[:, None] * n + col[None, :], mask=mask, other=0)
                    heard += tl.sum(lines, axis=0)
            drive = drive + heard
        idle = left <= 0
        if REFRACTORY == 2:
            drive = tl.where(idle, drive, 0.0)
        u = decay * u + drive
        v = u - threshold
        if ADAPTIVE:
            v = v - beta * a
        slope = slope_of(v, c, SHAPE, WINDOW)
        if STRICT:
            hot = v > 0
        else:
            hot = v >= 0
        if REFRACTORY == 1:
            hot = hot & idle
            slope = tl.where(idle, slope, 0.0)
        s_now = hot.to(real)
        if RESET == 1:
            u = tl.where(hot, 0.0, u)
        if RESET == 2:
            u = u - threshold * s_now
        a = rho * a + s_now
        if REFRACTORY != 0:
            left = tl.where(hot, rest, left - 1)
        tl.store(psi + row + col, slope, mask=within)
        tl.store(fired + tl.cast(batch, tl.int64) * n + row + col, s_now, mask=within)
    tl.store(u_state + b * n + col, u, mask=within)
    tl.store(a_state + b * n + col, a, mask=within)
    tl.store(left_state + b * n + col, left, mask=within)


def stateful(x: torch.Tensor, neuron, state=None, recurrent=None):
    """As `reference.stateful`, float32 or float64, on a GPU (or under Triton's interpreter on the CPU).

    Without recurrence spikes and state have the reference's bits; recurrent sums are added in another order.

    Raises:
        ReaderError: as `reference.stateful`; other types or devices; more than WIDEST recurrent neurons.
    """
    check(x, neuron, recurrent)
    if x.dtype not in (torch.float32, torch.float64):
        raise ReaderError(f"input currents are {x.dtype}", _WHERE, "float32 or float64")
    check_device(x, "x", _WHERE)
    steps, batch, n = x.shape
    x = x.detach().contiguous()
    if recurrent is not None:
        recurrent = recurrent.detach().contiguous()
        if (recurrent.device, recurrent.dtype) != (x.device, x.dtype) or n > WIDEST:
            raise ReaderError(f"recurrent weights {recurrent.dtype} {list(recurrent.shape)} on "
                              f"{recurrent.device}", _WHERE,
                              f"{x.dtype} on {x.device}, {WIDEST} neurons at most")  # fmt: skip
    zero = x.new_zeros(batch, n)
    u, a, before, left = (zero,) * 4 if state is None else state
    u, a, left = (v.clone(memory_format=torch.contiguous_format) for v in (u, a, left))
    fired, psi = x.new_empty(steps + 1, batch, n), torch.empty_like(x)
    fired[0] = before
    if x.numel():
        looped = recurrent is not None
        block = max(16, triton.next_power_of_2(n)) if looped else _BLOCK
        surrogate = neuron.surrogate
        low, high = surrogate.window
        factors = constants(
            x.dtype, x.device, neuron.a_uu, neuron.threshold, neuron.beta, neuron.rho,
            surrogate.slope, surrogate.height, low, high, torch.pi / 2 * surrogate.slope,
        )  # fmt: skip
        walk[batch, triton.cdiv(n, block)](
            x, recurrent if looped else x, factors, u, a, left, fired, psi, steps, batch,
            neuron.refractory_steps, n,
            RECURRENT=looped, RESET=_RESETS.index(neuron.reset),
            REFRACTORY=_REFRACTORY.index(neuron.refractory), STRICT=neuron.strict,
            ADAPTIVE=neuron.beta != 0, SHAPE=Surrogate.SHAPES.index(surrogate.shape),
            WINDOW=(low, high) != (-torch.inf, torch.inf), EIGHT=_EIGHT, BLOCK=block,
            num_warps=min(8, max(4, block // 128)), enable_fp_fusion=False,
        )  # fmt: skip
    return Spikes.from_dense(fired[1:]), psi, (u, a, fired[-1].clone(), left)
