"""Synapses on a GPU: sums over index lists in Triton; products of dense activity in Triton where layers are
small and seeds may be many, else by torch.

Nothing here makes the host wait where spikes lie on the device, as lists or dense. Lists in NumPy arrays are
copied there once (from page-locked memory); bits become a dense tensor on the host and are copied.
"""

import math
import os

import torch

from paraspike.errors import ReaderError
from paraspike.ops.synapse import cuda_kernels, cuda_products, products
from paraspike.ops.synapse.products import multiplying
from paraspike.ops.table import PRECISIONS
from paraspike.spikes import Spikes

_WHERE = "operator synapse, backend cuda"
# Share of non-zeros from which a product is taken instead of sums over lists. Estimated for an H200 from
# its rates (lists: 5.5 TB/s of weights from the second-level cache; products: 45 TFLOP/s in float32, 150 in
# tf32x3, several hundred on tensor cores else), not measured; `benchmarks/cuda_synapse.py` measures it.
PRODUCT_FROM = {"float32": 0.05, "tf32x3": 0.03, "tf32": 0.01, "bf16": 0.01}
# Synapses of a seed up to which products are Triton's, one launch for all seeds, instead of torch's, one and
# two copies a seed. Chosen by counting launches and copies, not measured. torch has no tf32x3.
TRITON_UP_TO = {"float32": 256 * 256, "tf32x3": math.inf, "tf32": 512 * 512, "bf16": 512 * 512}


def synapse(
    x,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    delay: int = 0,
    *,
    precision: str = "float32",
    form: str = "auto",
    product: str = "auto",
    notes: dict | None = None,
) -> torch.Tensor:
    """As `reference.synapse`, float32 or float64, on a GPU (or under Triton's interpreter on the CPU).

    Args:
        precision: of what is multiplied. "float32" (never tf32, whatever torch is set to), "tf32": products
            by tensor cores, lists in float32; "tf32x3": likewise, each factor as the sum of two of tf32, so
            that a product is good to about 2^-20; "bf16": weights, activity and gradients are rounded to
            bfloat16 wherever they are multiplied, sums are float32. For float32 weights alone.
        form: "lists" sums weight rows over spikes, "dense" multiplies, "auto" takes lists where x has them
            and their density is below PRODUCT_FROM; a dense tensor's spikes are not counted.
        product: who multiplies: "triton" (float32 weights alone), "torch" (not in tf32x3), or "auto" by
            TRITON_UP_TO; the number of seeds makes no difference to it.
        notes: filled with `form`, `density` (None where it was not counted), `precision`, `product` and
            `product_share`, 0 or 1.

    For a whole network: Network(..., backend=backends.operators("cuda", precision="bf16")).

    Sums over lists, and the gradients of weight and bias made of them, use no atomics: the same bits at every
    run, and for a seed alone or among others. Counts beyond float32's 2^24 are not exact.

    Raises:
        ReaderError: operands that do not fit, lie on another device or have another type; an unknown option.
    """
    _check(x, weight, bias, delay, precision, form, product)
    weights = weight[None] if weight.dim() == 2 else weight
    biases = None if bias is None else bias.reshape(len(weights), -1)
    taken, density = chosen(x, precision, form)
    if notes is not None:
        notes.update(form=taken, density=density, precision=precision)
        notes["product"] = multiplier(weight, precision, product)
        notes["product_share"] = float(taken == "dense")
    if taken == "lists":
        lists = x.on(weight.device)
        return _Listed.apply(x.carrier, weights, biases, lists, delay, precision, product)
    if isinstance(x, Spikes):
        x = _raster(x, weight)
    return _Multiplied.apply(x, weights, biases, delay, precision, product)


def chosen(x, precision: str = "float32", form: str = "auto"):
    """("lists" or "dense", density or None) that `synapse` takes for x."""
    density = None
    if isinstance(x, Spikes) and x.has_lists:
        density = x.density
    if form == "auto":
        sparse = density is not None and density < PRODUCT_FROM[precision]
        form = "lists" if sparse else "dense"
    return form, density


def multiplier(weight, precision: str = "float32", product: str = "auto") -> str:
    """ "triton" or "torch": who multiplies activity by weights [..., N_in, N_out].

    Raises:
        ReaderError: `product` is unknown, or cannot multiply these.
    """
    lacks = {"triton": weight.dtype == torch.float64, "torch": precision == "tf32x3", "auto": False}
    if lacks.get(product, True):
        raise ReaderError(f"product {product!r} for {weight.dtype}, precision {precision}", _WHERE,
                          "auto, torch but not in tf32x3, or triton for float32")  # fmt: skip
    if product == "auto":
        small = weight.shape[-2] * weight.shape[-1] <= TRITON_UP_TO[precision]
        product = "triton" if small and weight.dtype == torch.float32 else "torch"
    return product


def _module(weight, precision, product):
    chosen_ = multiplier(weight, precision, product)
    return cuda_products if chosen_ == "triton" else products


def weight_gradient(
    x, grad, delay=0, seeds=1, precision="float32", form="auto", product="auto"
) -> torch.Tensor:
    """Sum over steps and samples of x(t - delay) grad(t): [S, N_in, N] of x [T, S*B, N_in] (a tensor, or
    `Spikes`) and grad [T, S*B, N]."""
    out = grad.new_empty(seeds, x.shape[2], grad.shape[2])
    if chosen(x, precision, form)[0] == "lists":
        lists = x.on(grad.device)
        cuda_kernels.list_weight_sums(_rounded(grad, precision), lists, delay, seeds, out)
        return out
    if isinstance(x, Spikes):
        x = _raster(x, grad)
    module = _module(out, precision, product)
    with multiplying(precision):
        return module.to_weights(x.detach(), grad, delay, seeds, precision)


def _raster(spikes, like):
    """Spikes as a tensor of the type and device of `like`; lists are sent there first, being smaller."""
    if spikes.has_lists:
        spikes.on(like.device)
    return spikes.dense(like.dtype).to(like.device)


def _rounded(tensor, precision):
    return (tensor.bfloat16() if precision == "bf16" else tensor).contiguous()


def _bias_gradient(grad, delay, seeds):
    out = grad.new_empty(seeds, grad.shape[2])
    cuda_kernels.seed_sums(grad, delay, seeds, out)
    return out


class _Listed(torch.autograd.Function):
    """Currents by sums over lists; the carrier stands for the activity in autograd."""

    @staticmethod
    def forward(ctx, carrier, weights, biases, lists, delay, precision, product):
        seeds, _, n = weights.shape
        out = weights.new_empty(*lists.shape[:2], n)
        bias = None if biases is None else biases.contiguous()
        matrix = _rounded(weights, precision)
        cuda_kernels.list_currents(matrix, bias, lists, delay, seeds, out)
        ctx.save_for_backward(weights if ctx.needs_input_grad[0] else None)
        ctx.lists, ctx.delay, ctx.precision, ctx.seeds = lists, delay, precision, seeds
        ctx.carried = carrier.dtype, carrier.device
        ctx.module = _module(weights, precision, product)
        return out

    @staticmethod
    def backward(ctx, grad):
        grad, seeds = grad.contiguous(), ctx.seeds
        of_x = of_weights = of_biases = None
        if ctx.needs_input_grad[0]:
            with multiplying(ctx.precision):
                of_x = ctx.module.to_inputs(grad, *ctx.saved_tensors, ctx.delay, ctx.precision)
            of_x = of_x.to(ctx.carried[0]).to(ctx.carried[1])
        if ctx.needs_input_grad[1]:
            of_weights = grad.new_empty(seeds, ctx.lists.shape[2], grad.shape[2])
            lines = _rounded(grad, ctx.precision)
            cuda_kernels.list_weight_sums(lines, ctx.lists, ctx.delay, seeds, of_weights)
        if ctx.needs_input_grad[2]:
            of_biases = _bias_gradient(grad, ctx.delay, seeds)
        return of_x, of_weights, of_biases, None, None, None, None


class _Multiplied(torch.autograd.Function):
    """Currents by products."""

    @staticmethod
    def forward(ctx, x, weights, biases, delay, precision, product):
        of_x, of_weights, *_ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weights else None, weights if of_x else None)
        ctx.delay, ctx.precision, ctx.seeds = delay, precision, len(weights)
        ctx.module = _module(weights, precision, product)
        with multiplying(precision):
            return ctx.module.apply(x, weights, biases, delay, precision)

    @staticmethod
    def backward(ctx, grad):
        x, weights = ctx.saved_tensors
        grad, delay = grad.contiguous(), ctx.delay
        of_x = of_weights = of_biases = None
        with multiplying(ctx.precision):
            if ctx.needs_input_grad[0]:
                of_x = ctx.module.to_inputs(grad, weights, delay, ctx.precision)
            if ctx.needs_input_grad[1]:
                of_weights = ctx.module.to_weights(x, grad, delay, ctx.seeds, ctx.precision)
        if ctx.needs_input_grad[2]:
            of_biases = _bias_gradient(grad, delay, ctx.seeds)
        return of_x, of_weights, of_biases, None, None, None


def check_device(tensor: torch.Tensor, name: str, where: str) -> None:
    """Raise ReaderError unless Triton can run on a tensor: on a GPU, or interpreted on the CPU."""
    if tensor.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ReaderError(
            f"{name} lies on {tensor.device}", where, "move it to cuda, or set TRITON_INTERPRET=1"
        )


def _check(x, weight, bias, delay, precision, form, product):
    if weight.dtype not in (torch.float32, torch.float64) or weight.dim() not in (2, 3):
        raise ReaderError(
            f"weights are {weight.dtype} {list(weight.shape)}",
            _WHERE,
            "float32 or float64, [N_in, N_out] or [S, N_in, N_out]",
        )
    check_device(weight, "weight", _WHERE)
    seeds = weight.shape[0] if weight.dim() == 3 else 1
    shape = tuple(x.shape)
    if len(shape) != 3 or shape[2] != weight.shape[-2] or seeds < 1 or shape[1] % seeds:
        raise ReaderError(f"activity {list(shape)}, weights {list(weight.shape)}", _WHERE,
                          "[T, S*B, N_in] and [S, N_in, N_out]")  # fmt: skip
    operands = {"bias": bias} if isinstance(x, Spikes) else {"x": x, "bias": bias}
    for name, value in operands.items():
        if value is not None and (value.dtype, value.device) != (weight.dtype, weight.device):
            raise ReaderError(f"{name} is {value.dtype} on {value.device}", _WHERE,
                              f"the weights are {weight.dtype} on {weight.device}")  # fmt: skip
    if bias is not None and bias.numel() != seeds * weight.shape[-1]:
        raise ReaderError(f"bias {list(bias.shape)}, weights {list(weight.shape)}", _WHERE)
    if not isinstance(delay, int) or delay < 0:
        raise ReaderError(f"delay = {delay!r}", _WHERE, "a whole number of steps")
    if precision not in PRECISIONS or (precision != "float32" and weight.dtype != torch.float32):
        raise ReaderError(f"precision {precision!r} for {weight.dtype}", _WHERE,
                          f"one of {', '.join(PRECISIONS)}, all but the first for float32")  # fmt: skip
    if form not in ("auto", "lists", "dense") or (form == "lists" and not isinstance(x, Spikes)):
        raise ReaderError(f"form {form!r} for {type(x).__name__}", _WHERE,
                          "auto, lists (for Spikes) or dense")  # fmt: skip
    multiplier(weight, precision, product)
