"""The definition of e-prop run forward in time: traces in, traces and the gradient's sum out."""

import torch

from paraspike.errors import ReaderError

_WHERE = "operator traces"


def traces(
    psi: torch.Tensor,
    signal: torch.Tensor,
    penalty: torch.Tensor | None,
    zbar: torch.Tensor,
    total: torch.Tensor,
    state=None,
    *,
    kappa: float,
    beta: float = 0.0,
    rho: float = 0.0,
    blocked: bool = False,
):
    """Carry the traces of one connection over T steps and add their part of the gradient to `total`.

    Per synapse from i to j and per sample (Bellec et al. 2020, equations 3, 4, 25 and 28):

        e_ij     = psi_j (zbar_i - beta ea_ij)
        ea_ij   <- psi_j zbar_i + (rho - beta psi_j) ea_ij
        ebar_ij <- kappa ebar_ij + e_ij
        total_ij += L_j ebar_ij + R_j e_ij

    Args:
        psi, signal, penalty: pseudo-derivative, L and R (None: zero), each [T, B, N].
        zbar: presynaptic trace [T, B, N_in].
        total: [N_in, N], added to in place.
        state: (ea, ebar), each [B, N_in, N], of an earlier call, changed in place; None: zero. ea is empty
            where beta is zero.
        kappa, beta, rho: as `eprop.reference.gradients`.
        blocked: touch each synapse's state once for all T steps instead of once a step, by the algebra of
            the factorised form (shared/papers/eprop.md, section 4); the same numbers up to rounding.

    Returns:
        The state, [B, N_in, N] each: memory that does not grow with time.

    Raises:
        ReaderError: shapes or types that do not fit.
    """
    state = prepare(psi, signal, penalty, zbar, total, state, beta)
    ea, ebar = state
    for t in range(len(psi)):
        psi_t, z = psi[t, :, None, :], zbar[t, :, :, None]
        if beta:
            e = psi_t * (z - beta * ea)
            ea.copy_(psi_t * z + (rho - beta * psi_t) * ea)
        else:
            e = psi_t * z
        ebar.mul_(kappa).add_(e)
        total += (signal[t, :, None, :] * ebar).sum(0)
        if penalty is not None:
            total += (penalty[t, :, None, :] * e).sum(0)
    return ea, ebar


def prepare(psi, signal, penalty, zbar, total, state, beta):
    """The state to start from, once all shapes and types are seen to fit.

    Raises:
        ReaderError: what does not fit.
    """
    steps, batch, n = psi.shape
    n_in = zbar.shape[2]
    wanted = {"signal": (signal, psi.shape), "zbar": (zbar, (steps, batch, n_in))}
    wanted["total"] = total, (n_in, n)
    if penalty is not None:
        wanted["penalty"] = penalty, psi.shape
    if state is not None:
        wanted["ea"] = state[0], (batch, n_in, n) if beta else (0,)
        wanted["ebar"] = state[1], (batch, n_in, n)
    for name, (value, shape) in wanted.items():
        if tuple(value.shape) != tuple(shape) or value.dtype != psi.dtype:
            raise ReaderError(
                f"{name} is {value.dtype} {list(value.shape)}", _WHERE, f"{psi.dtype} {list(shape)}"
            )
    if state is not None:
        return state
    shape = (batch, n_in, n)
    return psi.new_zeros(shape if beta else 0), psi.new_zeros(shape)
