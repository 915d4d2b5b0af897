"""SpikePipe (arXiv 2406.06879): the bilinear LIF section, forward and hand-derived backward.

Assumptions A1 and A2 of papers/spikepipe.md: equations and window are those of the authors' public code.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF, Surrogate
from paraspike.ops.jit import njit
from paraspike.threads import run_blocks

# Neurons walked together through time.
_TOGETHER = 512


@dataclass(frozen=True)
class Bilinear:
    """The digital first-order section that SpikePipe takes for a LIF neuron (sheet, section 2.1):

        V[t] = s (I[t] + g[t-1] I[t-1]) + m g[t-1] V[t-1],   S[t] = 1 where V[t] > threshold,  g = 1 - S,

    s = 1 / (c + lam), m = (c - lam) / (c + lam): the bilinear transform of C dV/dt + G V = I with c = 2 C / dt
    and lam = G. All but the new current goes through one delay element, which a spike clears (figure 2).
    The surrogate is 1 / (2 alpha) where |V - threshold| <= alpha, V after the reset if
    `mask_on_post_reset`, else before it. No gradient goes through the gates. V[0] = I[0] = 0.

    It is no special case of `neurons.LIF`, where a spike may clear the next step's old potential, or with
    `gate_input` its new current as well, but not the old current alone; and whose boxcar is open at its
    ends, while a neuron that has just fired lies on the end of this one where threshold = alpha.

    Raises:
        ReaderError: c + lam or alpha is not positive.
    """

    c: float = 4.0
    lam: float = 0.25
    threshold: float = 0.5
    alpha: float = 0.5
    mask_on_post_reset: bool = True

    fires = True

    def __post_init__(self):
        if not (self.c + self.lam > 0 and self.alpha > 0 and math.isfinite(self.threshold)):
            raise ReaderError(
                f"{self} is no neuron", "papers.spikepipe", "c + lam and alpha are positive"
            )

    @property
    def scale(self) -> float:
        """s: potential per current, over one step."""
        return 1 / (self.c + self.lam)

    @property
    def leak(self) -> float:
        """m: what a step leaves of the potential."""
        return (self.c - self.lam) / (self.c + self.lam)


def nearest_lif(neuron: Bilinear) -> LIF:
    """The normal form that agrees with it as long as the neuron is silent, its first spike included. A spike
    wipes the whole potential of the next step, the new current too: the other way to read the caption
    of figure 5. The window is taken before the reset and open."""
    surrogate = Surrogate("boxcar", 0.5 / neuron.alpha, 0.5 / neuron.alpha)
    return LIF(
        a_uu=neuron.leak,
        a_ui=0.0,
        c0=neuron.scale,
        c1=neuron.scale,
        threshold=neuron.threshold,
        reset="zero",
        reset_at="next_step",
        gate_input=True,
        reset_grad="masked",
        surrogate=surrogate,
    )


def spike(currents: torch.Tensor, neuron: Bilinear, trace: bool = False, compiled: bool = True):
    """Spikes of input currents [T, ...], same shape, dtype float32 or float64, on any device.

    With `trace` also the potentials before the reset, outside autograd. `compiled`: by Numba on the CPU, else
    step by step in torch. The gradient is that of the sheet's section 2.2:

        dV[t] = h(V[t]) dS[t] + g[t] m dV[t+1],   dI[t] = s (dV[t] + g[t] dV[t+1]),   dV[T+1] = 0.
    """
    spikes, potential = _Section.apply(currents, neuron, compiled and currents.device.type == "cpu")
    return (spikes, potential) if trace else spikes


class _Section(torch.autograd.Function):
    @staticmethod
    def forward(ctx, currents, neuron, compiled):
        ctx.neuron, ctx.compiled = neuron, compiled
        x = currents.detach().contiguous()
        if compiled:
            spikes, potential = torch.empty_like(x), torch.empty_like(x)
            _blocks(_forward, x, neuron, x, potential, spikes)
        else:
            spikes, potential = forward(x, neuron)
        ctx.save_for_backward(potential)
        ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx, grad, _):
        (potential,) = ctx.saved_tensors
        if not ctx.compiled:
            return backward(grad, potential, ctx.neuron), None, None
        grad = grad.contiguous()
        out = torch.empty_like(grad)
        _blocks(_backward, grad, ctx.neuron, grad, potential, out)
        return out, None, None


def forward(currents: torch.Tensor, neuron: Bilinear):
    """(spikes, potential before the reset), as `spike`, step by step in torch."""
    s, m, spikes, potentials = neuron.scale, neuron.leak, [], []
    delayed = torch.zeros_like(currents[:1].sum(0))
    for current in currents.unbind(0):
        potential = s * current + delayed
        fired = potential > neuron.threshold
        delayed = torch.where(fired, 0.0, s * current + m * potential)
        spikes.append(fired.to(currents.dtype))
        potentials.append(potential)
    if not spikes:
        return currents.clone(), currents.clone()
    return torch.stack(spikes), torch.stack(potentials)


def backward(grad: torch.Tensor, potential: torch.Tensor, neuron: Bilinear) -> torch.Tensor:
    """Gradient of the currents from that of the spikes, each [T, ...], step by step in torch."""
    s, m, out = neuron.scale, neuron.leak, []
    later = torch.zeros_like(grad[:1].sum(0))
    for to_spike, v in zip(reversed(grad.unbind(0)), reversed(potential.unbind(0)), strict=True):
        fired = v > neuron.threshold
        kept = torch.where(fired, 0.0, later)
        where = torch.where(fired, 0.0, v) if neuron.mask_on_post_reset else v
        inside = (where - neuron.threshold).abs() <= neuron.alpha
        later = inside.to(v.dtype) * (0.5 / neuron.alpha) * to_spike + m * kept
        out.append(s * (later + kept))
    return torch.stack(out[::-1]) if out else grad.clone()


def _blocks(kernel, like, neuron, *tensors):
    """Run a kernel over all neurons of [T, ...] tensors."""
    if like.numel():
        n, scalar = like[0].numel(), like.numpy().dtype.type
        values = (
            neuron.scale,
            neuron.leak,
            neuron.threshold,
            neuron.alpha,
            0.5 / neuron.alpha,
            0,
            1,
        )
        coefficients = tuple(scalar(v) for v in values)
        flat = [v.reshape(-1).numpy() for v in tensors]
        run_blocks(
            kernel, n, len(like), n, coefficients, neuron.mask_on_post_reset, *flat, grain=_TOGETHER
        )


@njit
def _forward(start, stop, steps, n, c, post, x, potential, spikes):
    s, m, threshold, zero, one = c[0], c[1], c[2], c[5], c[6]
    row = np.empty(_TOGETHER, x.dtype)
    for left in range(start, stop, _TOGETHER):
        width = min(_TOGETHER, stop - left)
        delayed = row[:width]
        delayed[:] = 0
        for t in range(steps):
            at = t * n + left
            # Slices: a loop over them has no index to wrap, so it is vectorised.
            now = x[at : at + width]
            v_out, s_out = potential[at : at + width], spikes[at : at + width]
            for j in range(width):
                given = s * now[j]
                v = given + delayed[j]
                v_out[j] = v
                s_out[j] = one if v > threshold else zero
                delayed[j] = zero if v > threshold else given + m * v


@njit
def _backward(start, stop, steps, n, c, post, grad, potential, out):
    s, m, threshold, alpha, height, zero = c[0], c[1], c[2], c[3], c[4], c[5]
    row = np.empty(_TOGETHER, grad.dtype)
    for left in range(start, stop, _TOGETHER):
        width = min(_TOGETHER, stop - left)
        later = row[:width]
        later[:] = 0
        for t in range(steps - 1, -1, -1):
            at = t * n + left
            to_spike, v_in, i_out = (
                grad[at : at + width],
                potential[at : at + width],
                out[at : at + width],
            )
            for j in range(width):
                v = v_in[j]
                fired = v > threshold
                kept = zero if fired else later[j]
                where = zero if post & fired else v
                slope = height if abs(where - threshold) <= alpha else zero
                to_potential = slope * to_spike[j] + m * kept
                i_out[j] = s * (to_potential + kept)
                later[j] = to_potential


# Figure 3's values (A1); input current of its 20 steps, ours: on, off, and strong.
EXAMPLE = Bilinear(c=4.0, lam=0.25, threshold=0.5)
EXAMPLE_CURRENTS = (0.0,) + (0.5,) * 8 + (0.0,) * 6 + (1.2,) * 5


def example() -> dict[str, np.ndarray]:
    """Figure 3: currents, potential before the reset and spikes of one neuron, float64 [20] each."""
    currents = torch.tensor(EXAMPLE_CURRENTS, dtype=torch.float64)
    spikes, potential = spike(currents[:, None], EXAMPLE, trace=True)
    arrays = {"currents": currents, "potential": potential[:, 0], "spikes": spikes[:, 0]}
    return {name: values.numpy() for name, values in arrays.items()}


if __name__ == "__main__":
    from paraspike.pipeline import plain

    raise SystemExit(plain.main("spikepipe"))
