"""Eligibility traces on a GPU: a block of synapses stays in registers over all steps of a call.

A program takes a block of synapses, sample by sample: it reads a sample's traces once, walks all steps, writes
them once. Samples are shared out in a number of groups that depends on the sizes alone, whose sums are added in
order: no atomics, the same bits at every run.
"""

import torch
import triton
import triton.language as tl

from paraspike.errors import ReaderError
from paraspike.ops.eprop.cuda import constants
from paraspike.ops.synapse.cuda import check_device
from paraspike.ops.synapse.cuda_kernels import sum_parts
from paraspike.ops.traces.reference import prepare

_WHERE = "operator traces, backend cuda"
# Synapses of a block, pre- by postsynaptic, steps loaded ahead, and programs that fill a GPU; by
# arithmetic for an H200, not measured.
_ROWS, _COLUMNS, _STAGES, _ENOUGH = 16, 64, 3, 1024


@triton.jit(do_not_specialize=["steps", "batch", "groups"])
def walk(psi, signal, penalty, zbar, c, ea, ebar, parts, steps, batch, groups, n_in, n,
         REGULARISED: tl.constexpr, ADAPTIVE: tl.constexpr, STAGES: tl.constexpr,
         ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """e = psi (zbar - beta ea);  ea <- rho ea + e;  ebar <- kappa ebar + e;  sum of L ebar + R e."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    group = tl.program_id(2)
    in_rows, in_columns = row < n_in, col < n
    inside = in_rows[:, None] & in_columns[None, :]
    kappa, beta, rho = tl.load(c), tl.load(c + 1), tl.load(c + 2)
    real = parts.dtype.element_ty
    synapse = row[:, None].to(tl.int64) * n + col[None, :]
    size = tl.cast(n_in, tl.int64) * n
    total = tl.zeros([ROWS, COLUMNS], real)
    share = (batch + groups - 1) // groups
    first = group * share
    for b in range(first, tl.minimum(first + share, batch)):
        place = tl.cast(b, tl.int64) * size + synapse
        slow = tl.load(ebar + place, mask=inside, other=0)
        held = tl.zeros([ROWS, COLUMNS], real)
        if ADAPTIVE:
            held = tl.load(ea + place, mask=inside, other=0)
        for t in tl.range(0, steps, num_stages=STAGES):
            sample = tl.cast(t, tl.int64) * batch + b
            z = tl.load(zbar + sample * n_in + row, mask=in_rows, other=0)
            p = tl.load(psi + sample * n + col, mask=in_columns, other=0)
            lines = tl.load(signal + sample * n + col, mask=in_columns, other=0)
            arrived = z[:, None] + tl.zeros([ROWS, COLUMNS], real)
            if ADAPTIVE:
                arrived = arrived - beta * held
            e = p[None, :] * arrived
            if ADAPTIVE:
                held = rho * held + e
            slow = kappa * slow + e
            total += lines[None, :] * slow
            if REGULARISED:
                total += tl.load(penalty + sample * n + col, mask=in_columns, other=0)[None, :] * e
        tl.store(ebar + place, slow, mask=inside)
        if ADAPTIVE:
            tl.store(ea + place, held, mask=inside)
    tl.store(parts + group.to(tl.int64) * size + synapse, total, mask=inside)


def traces(
    psi, signal, penalty, zbar, total, state=None, *, kappa, beta=0.0, rho=0.0, blocked=False
):
    """As `reference.traces`, float32 or float64, on a GPU (or under Triton's interpreter on the CPU).

    Each synapse's state is touched once a call in any case, so that `blocked` changes nothing.

    Raises:
        ReaderError: shapes, types or devices that do not fit; a state that is not contiguous.
    """
    ea, ebar = prepare(psi, signal, penalty, zbar, total, state, beta)
    if psi.dtype not in (torch.float32, torch.float64):
        raise ReaderError(f"psi is {psi.dtype}", _WHERE, "float32 or float64")
    check_device(psi, "psi", _WHERE)
    operands = {"signal": signal, "penalty": penalty, "zbar": zbar, "total": total}
    for name, value in (operands | {"ea": ea, "ebar": ebar}).items():
        if value is not None and value.device != psi.device:
            raise ReaderError(f"{name} lies on {value.device}, psi on {psi.device}", _WHERE)
    if not (ea.is_contiguous() and ebar.is_contiguous()):
        raise ReaderError(
            "a state that is not contiguous", _WHERE, "give back what a call returned"
        )
    steps, batch, n = psi.shape
    n_in = zbar.shape[2]
    if not psi.numel() or not n_in:
        return ea, ebar
    rows = [None if v is None else v.detach().contiguous() for v in (psi, signal, penalty, zbar)]
    blocks = triton.cdiv(n_in, _ROWS), triton.cdiv(n, _COLUMNS)
    groups = min(batch, triton.cdiv(_ENOUGH, blocks[0] * blocks[1]))
    parts = total.new_empty(groups, n_in, n)
    walk[*blocks, groups](
        rows[0], rows[1], rows[1] if penalty is None else rows[2], rows[3],
        constants(psi.dtype, psi.device, kappa, beta, rho), ea, ebar, parts, steps, batch, groups, n_in, n,
        REGULARISED=penalty is not None, ADAPTIVE=beta != 0, STAGES=_STAGES, ROWS=_ROWS, COLUMNS=_COLUMNS,
        num_warps=4,
    )  # fmt: skip
    held = total.detach().contiguous()
    sum_parts(parts, held, add=True)
    if held.data_ptr() != total.data_ptr():
        total.detach().copy_(held)
    return ea, ebar
