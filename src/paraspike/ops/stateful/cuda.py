"""A LIF layer run piece by piece on a GPU: all steps of a call in one kernel, state kept between calls.

A feedforward neuron is a thread's. A recurrent sample is a program's: it writes its spikes, waits for its own
threads, and adds the weight rows of those that fired, eight neurons at a time, skipping eights that are silent.
"""

import torch
import triton
import triton.language as tl

from paraspike.errors import ReaderError
from paraspike.ops.lif.cuda_launch import device_coefficients, on, packed, state_rows
from paraspike.ops.lif.cuda_memory import load_state, store_state
from paraspike.ops.lif.cuda_steps import (
    advance,
    at_rest,
    coefficients,
    surrogate_coefficients,
    surrogate_gradient,
)
from paraspike.ops.lif.options import options
from paraspike.ops.stateful.reference import check
from paraspike.ops.synapse.cuda import check_device
from paraspike.spikes import Spikes

_WHERE = "operator stateful, backend cuda"
# Neurons of a feedforward program; the widest recurrent layer, one program a sample; rows added at a time.
_BLOCK, WIDEST, _EIGHT = 128, 2048, 8


@triton.jit(do_not_specialize=["steps", "batch", "patience"])
def walk(x, loop, c, state, fired, psi, steps, batch, patience, n, RECURRENT: tl.constexpr,
         OPTION: tl.constexpr, EIGHT: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Sample program_id(0), columns of program_id(1); fired [T + 1, B, N] begins with the spikes before."""
    factors, surrogate = coefficients(c), surrogate_coefficients(c)
    b = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = col < n
    real = psi.dtype.element_ty
    m = tl.cast(batch, tl.int64) * n
    place = state + b * n + col
    now = load_state(place, m, within, at_rest(tl.zeros([BLOCK], real)), OPTION)
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
        done, now = advance(drive, now, patience, factors, OPTION)
        spikes, u, v, added, busy = done
        slope = surrogate_gradient(v, surrogate, OPTION)
        if ((OPTION >> 5) & 3) == 1:
            slope = tl.where(busy, 0.0, slope)
        tl.store(psi + row + col, slope, mask=within)
        tl.store(fired + m + row + col, spikes, mask=within)
    store_state(place, m, within, now, OPTION)


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
    option = packed(options(neuron))
    held, before = state or (x.new_zeros(state_rows(option), batch, n), x.new_zeros(batch, n))
    held, fired, psi = held.clone(), x.new_empty(steps + 1, batch, n), torch.empty_like(x)
    fired[0] = before
    if x.numel():
        looped = recurrent is not None
        block = max(16, 1 << (n - 1).bit_length()) if looped else _BLOCK
        with on(x.device):
            walk[batch, -(-n // block)](
                x, recurrent if looped else x, device_coefficients(neuron, x.dtype, x.device), held, fired,
                psi, steps, batch, neuron.refractory_steps, n,
                RECURRENT=looped, OPTION=option, EIGHT=_EIGHT, BLOCK=block,
                num_warps=min(8, max(4, block // 128)), enable_fp_fusion=False,
            )  # fmt: skip
    return Spikes.from_dense(fired[1:]), psi, (held, fired[-1].clone())
