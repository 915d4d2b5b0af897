"""The definition of e-prop: an eligibility trace per synapse, carried forward in time."""

import math

import torch

from paraspike.errors import ReaderError
from paraspike.spikes import Spikes

_WHERE = "e-prop gradients"


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
):
    """E-prop gradients of the input and the recurrent weights of one layer of N LIF or ALIF neurons.

    Per synapse from i to j and per sample (Bellec et al. 2020, equations 3, 4, 25 and 28; L, R and psi
    of postsynaptic neuron j, z of presynaptic neuron i at step t - delay):

        zbar_i  <- alpha zbar_i + z_i
        e_ij     = psi_j (zbar_i - beta ea_ij)
        ea_ij   <- psi_j zbar_i + (rho - beta psi_j) ea_ij
        ebar_ij <- kappa ebar_ij + e_ij
        dG_ij   += L_j ebar_ij + R_j e_ij

    All traces start at zero; the sum runs over time and samples and is not averaged. State is
    O(B N_in N) whatever T.

    Args:
        psi: pseudo-derivative of the spike [T, B, N], float32 or float64, zero while refractory.
        learning_signal: L [T, B, N], e.g. the readout errors through the feedback weights.
        inputs: presynaptic activity [T, B, N_in], a tensor of psi's type or `Spikes`.
        recurrent: the layer's own spikes [T, B, N], likewise; None for a feedforward layer.
        alpha, rho: what membrane and adaptation keep over a step, dimensionless.
        kappa: the same of the readout; None: as alpha.
        beta: rise of the threshold per unit of adaptation, in units of the potential; 0: plain LIF.
        regularisation: R [T, B, N], e.g. c (rate - target rate); acts on the unfiltered trace e.
        delays: steps from a spike to its arrival, of inputs and of recurrent spikes.
        seeds: S, for samples that belong to S seeds one after another.

    Returns:
        (of the input weights [N_in, N], of the recurrent weights [N, N] or None), each with a leading
        axis [S] if `seeds` is given. A synapse that scales its input scales its gradient likewise.

    Raises:
        ReaderError: shapes, types or coefficients that do not fit.
    """
    check(psi, learning_signal, regularisation, inputs, recurrent, delays, seeds)
    alpha, kappa, beta, rho = coefficients(alpha, kappa, beta, rho)
    silent = torch.zeros_like(psi) if regularisation is None else regularisation
    post = [a.detach() for a in (psi, learning_signal, silent)]
    out = []
    for source, delay in zip((inputs, recurrent), delays, strict=True):
        if source is None:
            out.append(None)
            continue
        z = source.dense(psi.dtype) if isinstance(source, Spikes) else source
        z = z.detach().to(psi.device)
        blocks = zip(*[a.chunk(seeds or 1, dim=1) for a in (*post, z)], strict=True)
        sums = [_online(*block, delay, alpha, kappa, beta, rho) for block in blocks]
        out.append(sums[0] if seeds is None else torch.stack(sums))
    return tuple(out)


def _online(psi, signal, penalty, z, delay, alpha, kappa, beta, rho):
    """dG [N_in, N] of one connection of one seed."""
    steps, batch, n_in = z.shape
    zbar = z.new_zeros(batch, n_in)
    ea = ebar = z.new_zeros(batch, n_in, psi.shape[2])
    total = z.new_zeros(n_in, psi.shape[2])
    for t in range(steps):
        zbar = alpha * zbar + (z[t - delay] if t >= delay else 0)
        psi_t = psi[t, :, None, :]
        e = psi_t * (zbar[:, :, None] - beta * ea)
        ea = psi_t * zbar[:, :, None] + (rho - beta * psi_t) * ea
        ebar = kappa * ebar + e
        total += (signal[t, :, None, :] * ebar + penalty[t, :, None, :] * e).sum(0)
    return total


def coefficients(alpha, kappa, beta, rho) -> tuple[float, float, float, float]:
    """The four as floats, kappa filled in.

    Raises:
        ReaderError: a decay outside 0 .. 1, or beta not finite.
    """
    kappa = alpha if kappa is None else kappa
    for name, value in (("alpha", alpha), ("kappa", kappa), ("rho", rho)):
        if not 0 <= value <= 1:
            raise ReaderError(
                f"{name} = {value} is no decay per step", _WHERE, "between 0 and 1, exp(-dt / tau)"
            )
    if not math.isfinite(beta):
        raise ReaderError(f"beta = {beta} is not finite", _WHERE)
    return float(alpha), float(kappa), float(beta), float(rho)


def check(psi, learning_signal, regularisation, inputs, recurrent, delays, seeds) -> None:
    """Shapes and types of `gradients`.

    Raises:
        ReaderError: the first one that does not fit.
    """
    if not _real(psi) or psi.dim() != 3:
        raise ReaderError(
            f"psi must be a float32 or float64 tensor [T, B, N], got {_what(psi)}", _WHERE
        )
    for name, value in (("learning_signal", learning_signal), ("regularisation", regularisation)):
        if value is None and name == "regularisation":
            continue
        if not _real(value) or value.shape != psi.shape or value.dtype != psi.dtype:
            raise ReaderError(f"{name} is {_what(value)}, but psi is {_what(psi)}", _WHERE)
    for name, value in (("inputs", inputs), ("recurrent", recurrent)):
        if value is None and name == "recurrent":
            continue
        wanted = (*psi.shape[:2], psi.shape[2] if name == "recurrent" else "N_in")
        known = isinstance(value, Spikes) or (_real(value) and value.dtype == psi.dtype)
        shape = tuple(value.shape) if known else ()
        fits = len(shape) == 3 and shape[:2] == wanted[:2] and wanted[2] in ("N_in", shape[2])
        if not fits:
            raise ReaderError(
                f"{name} is {_what(value)}, but must be {psi.dtype} or Spikes of shape "
                f"[{', '.join(map(str, wanted))}]",
                _WHERE,
            )
    if len(delays) != 2 or any(not isinstance(d, int) or d < 0 for d in delays):
        raise ReaderError(
            f"delays = {delays!r} must be two whole numbers of steps, inputs and recurrent", _WHERE
        )
    if seeds is not None and (not isinstance(seeds, int) or seeds < 1 or psi.shape[1] % seeds):
        raise ReaderError(f"{psi.shape[1]} samples cannot belong to seeds = {seeds!r}", _WHERE)


def _real(value) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float32, torch.float64)


def _what(value) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} of shape {list(value.shape)}"
    return repr(value) if isinstance(value, Spikes) else type(value).__name__
