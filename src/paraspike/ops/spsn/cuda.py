"""SPSN on the GPU: its spike functions, and SB and GS fused with integration and noise.

Bytes moved per neuron and step (float32), forward + backward:
    integrate_and_fire  8 without a gradient, else 12 + 12, and 4 + 8 more where segments run side by side.
        The gradient's factor is kept (4 to write, 4 to read). Keeping u instead, to draw the noise again,
        would move as many bytes and run Philox twice; keeping neither would need u from the last step to
        the first, which a leaky state cannot give.
    spike  SB, GS 16 + 12;  T, D 8 + 12, from the potential alone (D's neighbour in time from the cache).
"""

import math

import torch
from torch.autograd.function import once_differentiable

from paraspike.errors import ReaderError
from paraspike.neurons import SPSN
from paraspike.ops.integrate import cuda as integration
from paraspike.ops.noise.cuda import device_key
from paraspike.ops.spsn.kernels_cuda import (
    fire_kernel,
    random_kernel,
    threshold_backward_kernel,
    threshold_kernel,
)

# Elements a program of the elementwise kernels takes, 8 a thread.
BLOCK, WARPS = 1024, 4
# Steps fetched ahead; the generator's arithmetic hides more of the latency than integration alone does.
STAGES = 5
# As `integration.WALK_FROM`: a step takes a warp some 0.2 us, and 4 bytes a neuron are read twice.
WALK_FROM = 448


def _options(neuron: SPSN) -> dict:
    """gain, scale and the options of `kernels_cuda.sample`."""
    gumbel = neuron.spike == "GS"
    scale = 1.0 / neuron.temperature
    # SB has no temperature, so none makes it compile another kernel.
    unit = not gumbel or neuron.temperature == 1.0
    return {"gain": float(neuron.slope), "scale": scale, "GUMBEL": gumbel, "UNIT": unit}


def _blocks(x):
    return (integration.parts(x.numel(), BLOCK),)


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, neuron, noise, keep):
        spikes = torch.empty_like(u)
        factor = torch.empty_like(u) if keep else spikes
        if u.numel():
            with torch.cuda.device_of(u):
                random_kernel[_blocks(u)](
                    *(u, noise, spikes, factor, *u.shape),
                    **_options(neuron),
                    KEEP=keep,
                    BLOCK=BLOCK,
                    num_warps=WARPS,
                    **integration.EXACT,
                )
        if keep:
            ctx.save_for_backward(factor)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None, None


class _Crossed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, neuron):
        ctx.neuron = neuron
        ctx.save_for_backward(u)
        spikes = torch.empty_like(u)
        if u.numel():
            with torch.cuda.device_of(u):
                threshold_kernel[_blocks(u)](
                    *(u, spikes, *u.shape, float(neuron.threshold)),
                    DIFFERENCE=neuron.spike == "D",
                    BLOCK=BLOCK,
                    num_warps=WARPS,
                    **integration.EXACT,
                )
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        neuron, of = ctx.neuron, ctx.neuron.surrogate
        grad, out = grad.contiguous(), torch.empty_like(u)
        scalars = (neuron.threshold, of.slope, of.height, *of.window)
        if u.numel():
            with torch.cuda.device_of(u):
                threshold_backward_kernel[_blocks(u)](
                    *(u, grad, out, *u.shape, *map(float, scalars)),
                    DIFFERENCE=neuron.spike == "D",
                    SHAPE=of.shape,
                    WINDOW=any(map(math.isfinite, of.window)),
                    BLOCK=BLOCK,
                    num_warps=WARPS,
                    **integration.EXACT,
                )
        return out, None


def _differentiable(x: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad


def spike(u: torch.Tensor, neuron: SPSN, noise: torch.Tensor | None) -> torch.Tensor:
    """Spikes [T, B, N] of potentials u [T, B, N], float32 (formulas: `neurons.SPSN`), one kernel each way.

    Args:
        noise: uniform in (0, 1), float32 [T, B, N]; needed by SB and GS, ignored by T and D.

    Raises:
        ReaderError: u or the noise is not float32 [T, B, N] on a GPU.
    """
    integration.check(u, "spsn on cuda")
    if neuron.spike in ("T", "D"):
        return _Crossed.apply(u.contiguous(), neuron)
    if noise is None or (noise.shape, noise.dtype, noise.device) != (u.shape, u.dtype, u.device):
        raise ReaderError(
            "no noise that fits the potentials", "spsn on cuda", f"float32 {list(u.shape)}"
        )
    return _Sampled.apply(u.contiguous(), neuron, noise.contiguous(), _differentiable(u))


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron, key, keep):
        li = ctx.integrator = neuron.integrator
        spikes = torch.empty_like(x)
        factor = torch.empty_like(x) if keep else spikes
        if x.numel():
            words, trial, stream = key
            groups = integration.LANES // 4
            blocks = integration.parts(x.shape[1] * integration.parts(x.shape[2], 4), groups)
            how = integration.plan(x.shape, blocks, walk_from=WALK_FROM)
            with torch.cuda.device_of(x):
                fire_kernel[blocks, how.programs](
                    x,
                    integration.ends(x, li, how),
                    spikes,
                    factor,
                    words,
                    *(*how.sizes, how.each, trial, stream),
                    *integration.decays(li),
                    *integration.powers(li, how.segment),
                    **_options(neuron),
                    KEEP=keep,
                    GROUPS=groups,
                    STAGES=STAGES,
                    AHEAD=integration.STAGES,
                    num_warps=integration.WARPS,
                    **integration.EXACT,
                )
        if keep:
            ctx.save_for_backward(factor)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (factor,) = ctx.saved_tensors
        du = integration.filtered(grad, ctx.integrator, factor=factor, backwards=True)
        return du, None, None, None


def integrate_and_fire(x: torch.Tensor, neuron: SPSN, seeds, stream: str, samples, trial: int):
    """Spikes [T, B, N] of input currents x [T, B, N], float32: integration, noise and spikes in one pass,
    noise as `randomness.uniform(seeds, stream, samples, T, N, trial)`; T and D, which need none, in two.

    A sample's spikes and gradients have the same bits in any batch.

    Raises:
        ReaderError: x is not float32 [T, B, N] on a GPU; a key word out of range.
    """
    integration.check(x, "integrate_and_fire on cuda")
    if neuron.spike in ("T", "D"):
        return spike(integration.integrate(x, neuron.integrator), neuron, None)
    key = device_key(x, seeds, stream, samples, trial)
    return _Layer.apply(x.contiguous(), neuron, key, _differentiable(x))
