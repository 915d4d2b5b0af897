"""Factorised e-prop on a GPU: one reverse scan per neuron and sample, then one product for the weights.

psi, beta and rho belong to the postsynaptic neuron, so the sum over eligibility traces is one sum of
z_i(t) gbar_j(t), gbar from a scan back in time (shared/papers/eprop.md, section 4; `eprop.cpu`). The scan
reads each of its operands once and writes gbar [T, B, N]; the sum over t is `synapse.cuda`'s weight gradient.
"""

import functools

import torch
import triton
import triton.language as tl

from paraspike.errors import ReaderError
from paraspike.ops.eprop.reference import check, coefficients
from paraspike.ops.synapse.cuda import check_device, weight_gradient
from paraspike.spikes import Spikes

_WHERE = "operator eprop, backend cuda"
# Neurons of a program, one a thread, and steps loaded ahead; by arithmetic for an H200, not measured.
_BLOCK, _STAGES = 128, 6


@triton.jit(do_not_specialize=["steps", "width"])
def scan(psi, signal, penalty, c, gbar, steps, width, REGULARISED: tl.constexpr, ADAPTIVE: tl.constexpr,
         STAGES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """l <- kappa l + L;  q = l + R;  g = psi (q + s);  s <- rho s - beta g;  gbar <- alpha gbar + g."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = place < width
    alpha, kappa, beta, rho = tl.load(c), tl.load(c + 1), tl.load(c + 2), tl.load(c + 3)
    real = gbar.dtype.element_ty
    slow = tl.zeros([BLOCK], real)
    held = tl.zeros([BLOCK], real)
    late = tl.zeros([BLOCK], real)
    for back in tl.range(0, steps, num_stages=STAGES):
        at = tl.cast(steps - 1 - back, tl.int64) * width + place
        p = tl.load(psi + at, mask=within, other=0)
        slow = kappa * slow + tl.load(signal + at, mask=within, other=0)
        q = slow
        if REGULARISED:
            q = q + tl.load(penalty + at, mask=within, other=0)
        if ADAPTIVE:
            q = q + held
        g = p * q
        if ADAPTIVE:
            held = rho * held - beta * g
        late = alpha * late + g
        tl.store(gbar + at, late, mask=within)


@functools.lru_cache(maxsize=64)
def constants(dtype, device, *values) -> torch.Tensor:
    """Coefficients on a device in the type they are used in; copied there once."""
    return torch.tensor(values, dtype=dtype, device=device)


def gradients(
    psi: torch.Tensor,
    learning_signal: torch.Tensor,
    inputs,
    recurrent=None,
    *,
    alpha: float,
    kappa: float | None = None,
    beta: float = 0.0,
    rho: float = 0.0,
    regularisation: torch.Tensor | None = None,
    delays: tuple[int, int] = (0, 1),
    seeds: int | None = None,
    precision: str = "float32",
    form: str = "auto",
):
    """As `reference.gradients`, factorised, on a GPU (or under Triton's interpreter on the CPU).

    Memory: gbar, as large as psi. No atomics: the same bits at every run, and for a seed alone or among
    others.

    Args:
        precision, form: of the sum over steps, as `synapse.cuda.synapse`.

    Raises:
        ReaderError: shapes, types or coefficients that do not fit; tensors on different devices.
    """
    check(psi, learning_signal, regularisation, inputs, recurrent, delays, seeds)
    check_device(psi, "psi", _WHERE)
    operands = {"learning_signal": learning_signal, "regularisation": regularisation}
    operands |= {"inputs": inputs, "recurrent": recurrent}
    for name, value in operands.items():
        if torch.is_tensor(value) and value.device != psi.device:
            raise ReaderError(f"{name} lies on {value.device}, psi on {psi.device}", _WHERE)
    factors = coefficients(alpha, kappa, beta, rho)
    posts = [
        None if a is None else a.detach().contiguous()
        for a in (psi, learning_signal, regularisation)
    ]
    gbar = torch.empty_like(posts[0])
    if psi.numel():
        width = psi.shape[1] * psi.shape[2]
        penalty = posts[1] if posts[2] is None else posts[2]
        scan[(-(-width // _BLOCK),)](
            posts[0], posts[1], penalty, constants(psi.dtype, psi.device, *factors), gbar, len(psi), width,
            REGULARISED=regularisation is not None, ADAPTIVE=beta != 0, STAGES=_STAGES, BLOCK=_BLOCK,
            num_warps=4,
        )  # fmt: skip
    out = []
    for z, delay in zip((inputs, recurrent), delays, strict=True):
        if z is not None:
            z = z.detached() if isinstance(z, Spikes) else z
            z = weight_gradient(z, gbar, delay, seeds or 1, precision, form)
        out.append(z if seeds or z is None else z[0])
    return tuple(out)
