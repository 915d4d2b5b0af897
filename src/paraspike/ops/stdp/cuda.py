"""STDP in a layer on a GPU: one kernel for the inputs' traces, one for the layer, all steps in each."""

import torch

from paraspike.errors import ReaderError
from paraspike.neurons import LIF
from paraspike.ops.stdp import PostPre, check
from paraspike.ops.stdp.cuda_kernels import layer, presynaptic
from paraspike.ops.synapse.cuda import check_device
from paraspike.spikes import Spikes

_WHERE = "operator stdp, backend cuda"
# Samples, inputs and columns multiplied at a time, warps; steps loaded ahead. Few columns, as only they are
# independent; by arithmetic for an H200, not measured.
_SAMPLES, _ROWS, _COLUMNS, _WARPS, _STAGES = 16, 128, 8, 8, 6


def stdp(
    spikes: Spikes,
    weight: torch.Tensor,
    neuron: LIF,
    rule: PostPre,
    learn: bool = True,
    lower_bound: float | None = None,
) -> Spikes:
    """As `reference.stdp`, float32, on a GPU (or under Triton's interpreter on the CPU).

    Products are in float32, added in another order than the reference's; the same bits at every run.
    Memory: the inputs' spikes and, to learn, their traces, each [T, B, N_in].

    Raises:
        ReaderError: as `reference.stdp`; float64 weights, for which `reference` and `cpu` are.
    """
    check(spikes, weight, neuron)
    if weight.dtype != torch.float32:
        raise ReaderError(f"weights are {weight.dtype}", _WHERE, "float32; cpu has float64")
    check_device(weight, "weight", _WHERE)
    if spikes.has_lists:
        spikes.on(weight.device)
    raster = spikes.dense().detach().to(weight.device).contiguous()
    steps, batch, n_in = raster.shape
    n = weight.shape[1]
    fired = weight.new_empty(steps, batch, n)
    if not fired.numel() or not n_in:
        return Spikes.from_dense(fired.zero_())
    held = weight.detach().contiguous()
    traces = torch.empty_like(raster) if learn else raster
    if learn:
        width, block = batch * n_in, 128
        presynaptic[(-(-width // block),)](
            raster, traces, steps, width, rule.trace_decay, rule.trace_scale,
            ADDITIVE=rule.traces_additive, STAGES=_STAGES, BLOCK=block, num_warps=4,
        )  # fmt: skip
    u, left, x_post, current = weight.new_zeros(4, batch, n)
    wmin, wmax = rule.bounds
    layer[(-(-n // _COLUMNS),)](
        raster, traces, held, fired, u, left, x_post, current, steps, batch, n_in, n,
        float(neuron.a_uu), float(neuron.a_ui), float(neuron.threshold), float(lower_bound or 0.0),
        neuron.refractory_steps, *map(float, rule.nu), float(rule.trace_decay), float(rule.trace_scale),
        float(wmin), float(wmax),
        LEARN=bool(learn), ADDITIVE=rule.traces_additive, STRICT=neuron.strict,
        REFRACTORY=neuron.refractory == "clamp_input", BOUNDED=lower_bound is not None,
        SAMPLES=_SAMPLES, ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=_WARPS,
    )  # fmt: skip
    if held.data_ptr() != weight.data_ptr():
        weight.detach().copy_(held)
    return Spikes.from_dense(fired)
