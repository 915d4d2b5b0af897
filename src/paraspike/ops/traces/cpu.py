"""Eligibility traces on the CPU: step by step in one compiled pass, or a block of steps by products."""

import numpy as np
import torch

from paraspike.ops.jit import njit
from paraspike.ops.simd import LANES, fma, lanes_below, load_some, splat, store_some
from paraspike.ops.traces.reference import prepare
from paraspike.threads import run_blocks


@njit
def _steps(start, stop, sizes, c, psi, signal, penalty, zbar, ea, ebar, total):
    """Presynaptic neurons start .. stop, sample by sample; a strip of synapses stays in registers."""
    steps, batch, n_in, n, adaptive, regularised = sizes
    kappa, minus_beta, rho = splat(c[0]), splat(c[1]), splat(c[2])
    for b in range(batch):
        for i in range(start, stop):
            row = (b * n_in + i) * n
            for j in range(0, n, LANES):
                some = lanes_below(n - j)
                slow = load_some(ebar, row + j, some)
                if adaptive:
                    held = load_some(ea, row + j, some)
                sum_ = load_some(total, i * n + j, some)
                for t in range(steps):
                    at = (t * batch + b) * n + j
                    z = splat(zbar[(t * batch + b) * n_in + i])
                    p = load_some(psi, at, some)
                    if adaptive:
                        e = p * fma(held, minus_beta, z)
                        held = fma(held, rho, e)
                    else:
                        e = p * z
                    slow = fma(slow, kappa, e)
                    sum_ = fma(load_some(signal, at, some), slow, sum_)
                    if regularised:
                        sum_ = fma(load_some(penalty, at, some), e, sum_)
                store_some(ebar, row + j, slow, some)
                if adaptive:
                    store_some(ea, row + j, held, some)
                store_some(total, i * n + j, sum_, some)


@njit
def _coefficients(start, stop, sizes, c, psi, signal, penalty, to_total, to_ea, to_ebar, of_ea, of_ebar,
                  ea_of_ea, ebar_of_ea):  # fmt: skip
    """The adjoints of a block of steps, per sample and postsynaptic neuron, back in time.

    of zbar(t): in the sum of gradients, in ea and in ebar after the block; of the ea and ebar before it:
    in the sum (of_ea, of_ebar), and of that ea in ea and ebar after it.
    """
    steps, batch, _, n, adaptive, regularised = sizes
    kappa, minus_beta, rho, one = c
    for b in range(start, stop):
        slow, s, keep = np.zeros(n, psi.dtype), np.zeros(n, psi.dtype), np.ones(n, psi.dtype)
        pull, power = np.zeros(n, psi.dtype), one
        for k in range(steps):
            t = steps - 1 - k
            p, lines = psi[t, b], signal[t, b]
            total_, ea_, ebar_ = to_total[t, b], to_ea[t, b], to_ebar[t, b]
            for j in range(n):
                slow[j] = kappa * slow[j] + lines[j]
            if adaptive:
                for j in range(n):
                    q = slow[j]
                    if regularised:
                        q += penalty[t, b, j]
                    g = p[j] * (q + s[j])
                    total_[j] = g
                    s[j] = rho * s[j] + minus_beta * g
                    ea_[j] = p[j] * keep[j]
                    d = p[j] * (power + pull[j])
                    ebar_[j] = d
                    pull[j] = rho * pull[j] + minus_beta * d
                    keep[j] = (rho + minus_beta * p[j]) * keep[j]
            else:
                for j in range(n):
                    q = slow[j]
                    if regularised:
                        q += penalty[t, b, j]
                    total_[j] = p[j] * q
                    ebar_[j] = p[j] * power
            power *= kappa
        for j in range(n):
            of_ea[b, j], of_ebar[b, j] = s[j], kappa * slow[j]
            ea_of_ea[b, j], ebar_of_ea[b, j] = keep[j], pull[j]


def traces(
    psi, signal, penalty, zbar, total, state=None, *, kappa, beta=0.0, rho=0.0, blocked=False
):
    """As `reference.traces`, float32 or float64 on the CPU.

    Not `blocked`: presynaptic neurons are shared out among the threads. `blocked`: a backward scan a
    neuron over the T steps, then three products for the sum and the two traces.
    """
    ea, ebar = prepare(psi, signal, penalty, zbar, total, state, beta)
    steps, batch, n = psi.shape
    n_in = zbar.shape[2]
    if not psi.numel() or not n_in:
        return ea, ebar
    real = np.float64 if psi.dtype == torch.float64 else np.float32
    c = tuple(real(v) for v in (kappa, -beta, rho, 1.0))
    sizes = steps, batch, n_in, n, beta != 0, penalty is not None
    rows = [
        v.detach().contiguous().numpy()
        for v in (psi, signal, signal if penalty is None else penalty)
    ]
    zbar = zbar.detach().contiguous()
    if not blocked:
        flat = [v.reshape(-1) for v in rows]
        state_of = [v.view(-1).numpy() for v in (ea, ebar)]
        run_blocks(
            _steps,
            n_in,
            sizes,
            c,
            *flat,
            zbar.reshape(-1).numpy(),
            *state_of,
            total.view(-1).numpy(),
        )
        return ea, ebar
    to = torch.empty(3, steps, batch, n, dtype=psi.dtype)
    of = torch.empty(4, batch, n, dtype=psi.dtype)
    run_blocks(_coefficients, batch, sizes, c, *rows, *to.numpy(), *of.numpy())
    total.addmm_(zbar.reshape(-1, n_in).T, to[0].reshape(-1, n))
    arriving = zbar.permute(1, 2, 0)
    for b in range(batch):
        total.addcmul_(ebar[b], of[1, b])
        if beta:
            total.addcmul_(ea[b], of[0, b])
    ebar.mul_(kappa**steps)
    if beta:
        for b in range(batch):
            ebar[b].addcmul_(ea[b], of[3, b])
        ea.mul_(of[2][:, None, :]).baddbmm_(arriving, to[1].transpose(0, 1))
    ebar.baddbmm_(arriving, to[2].transpose(0, 1))
    return ea, ebar
