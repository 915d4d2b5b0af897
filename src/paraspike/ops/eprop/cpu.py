"""E-prop on the CPU: one reverse scan per neuron; weight gradients into the rows of spikes alone.

psi, beta and rho belong to the postsynaptic neuron, so the sum over eligibility traces is one sum of
zbar_i(t) g_j(t), g from a scan back in time (shared/papers/eprop.md, section 4). Scanning g once more
with alpha takes the filter off the presynaptic side: sum_t zbar_i g_j = sum_t z_i gbar_j, and z is sparse.
"""

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.ops.eprop.reference import check, coefficients
from paraspike.ops.jit import njit
from paraspike.ops.simd import LANES, fma, lanes_below, load, load_some, splat, store
from paraspike.ops.synapse.chunks import ROWS, absorb, scratch
from paraspike.ops.synapse.sources import source_of
from paraspike.spikes import Spikes
from paraspike.threads import run_blocks

_STRIP = 256  # neurons whose states and weight rows stay in the cache together
_SAMPLES = 8  # samples scanned side by side


@njit
def _sweep(start, stop, psi, signal, penalty, c, sizes, inputs, recurrent):
    regularised, steps, batch, n, seeds = sizes
    (source, n_in, delay, of_inputs), (own, n_own, own_delay, of_own) = inputs, recurrent
    alpha, kappa, minus_beta, rho = splat(c[0]), splat(c[1]), splat(c[2]), splat(c[3])
    room, own_room = scratch(psi, source[0], ROWS, n_in), scratch(psi, own[0], ROWS, n_own)
    gbar = np.empty(ROWS * _STRIP, psi.dtype)
    section, per_seed = _SAMPLES * _STRIP, batch // seeds
    state = np.empty(3 * section, psi.dtype)
    blocks = -(-per_seed // _SAMPLES)
    for place in range(-(-(stop - start) // _STRIP) * seeds * blocks):
        left = start + place // (seeds * blocks) * _STRIP
        right = min(left + _STRIP, stop)
        seed = place // blocks % seeds
        first = seed * per_seed + place % blocks * _SAMPLES
        width = min(_SAMPLES, (seed + 1) * per_seed - first)
        chunk = ROWS // width
        state[:] = 0
        for t0 in range((steps - 1) // chunk * chunk, -1, -chunk):
            length = min(chunk, steps - t0)
            for k in range(length * width - 1, -1, -1):
                b = k % width
                row = ((t0 + k // width) * batch + first + b) * n
                for j in range(left, right, LANES):
                    some, at = lanes_below(right - j), b * _STRIP + j - left
                    p = load_some(psi, row + j, some)
                    q = fma(load(state, at), kappa, load_some(signal, row + j, some))
                    store(state, at, q)
                    if regularised:
                        q = q + load_some(penalty, row + j, some)
                    s = load(state, section + at)
                    g = p * (q + s)
                    # -beta psi q + (rho - beta psi) s, with g put in; stays zero without adaptation
                    store(state, section + at, fma(minus_beta, g, rho * s))
                    g = fma(load(state, 2 * section + at), alpha, g)
                    store(state, 2 * section + at, g)
                    store(gbar, k * _STRIP + j - left, g)
            absorb(source, n_in, n, t0, length, delay, batch, first, width, 0, right - left, _STRIP,
                   True, gbar, room, of_inputs, seed * n_in * n + left)  # fmt: skip
            if n_own > 0:
                absorb(own, n_own, n, t0, length, own_delay, batch, first, width, 0, right - left,
                       _STRIP, True, gbar, own_room, of_own, seed * n_own * n + left)  # fmt: skip


def _connection(z, delay, grad, real):
    """(activity as the kernels take it, N_in, delay, flat gradient); N_in = 0 where there is none."""
    if z is None:
        z = torch.empty(0, 0, 0, dtype=grad.dtype)
    spikes = z if isinstance(z, Spikes) else Spikes.from_dense(z.detach())
    return source_of(spikes, real), spikes.shape[2], delay, grad.numpy().reshape(-1)


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
    """As `reference.gradients`, factorised (shared/papers/eprop.md, section 4); tensors on the CPU.

    Back in time, per postsynaptic neuron and sample, then into the rows of the spikes at t - delay:

        l <- kappa l + L;  q = l + R;  g = psi (q + S);  S <- rho S - beta g;  gbar <- alpha gbar + g
        dG_ij += z_i gbar_j

    Memory beyond the arguments and the result does not grow with T. Activity with more than 20 %
    non-zeros is multiplied as a matrix; the bits are the same, and the same at any thread count.

    Raises:
        ReaderError: shapes, types or coefficients that do not fit; tensors off the CPU.
    """
    check(psi, learning_signal, regularisation, inputs, recurrent, delays, seeds)
    for name, value in (("psi", psi), ("learning_signal", learning_signal)):
        if value.device.type != "cpu":
            raise ReaderError(
                f"{name} lies on {value.device}", "ops/eprop/cpu.py", "move it to cpu"
            )
    alpha, kappa, beta, rho = coefficients(alpha, kappa, beta, rho)
    steps, batch, n = psi.shape
    stack = seeds or 1
    real = np.float64 if psi.dtype == torch.float64 else np.float32
    of_inputs = torch.zeros(stack, inputs.shape[2], n, dtype=psi.dtype)
    of_recurrent = torch.zeros(stack, 0 if recurrent is None else n, n, dtype=psi.dtype)
    if psi.numel():
        penalty = learning_signal if regularisation is None else regularisation
        posts = [
            a.detach().contiguous().numpy().reshape(-1) for a in (psi, learning_signal, penalty)
        ]
        run_blocks(
            _sweep,
            n,
            *posts,
            tuple(real(v) for v in (alpha, kappa, -beta, rho)),
            (regularisation is not None, steps, batch, n, stack),
            _connection(inputs, delays[0], of_inputs, real),
            _connection(recurrent, delays[1], of_recurrent, real),
            grain=LANES,
        )
    if seeds is None:
        of_inputs, of_recurrent = of_inputs[0], of_recurrent[0]
    return of_inputs, None if recurrent is None else of_recurrent
