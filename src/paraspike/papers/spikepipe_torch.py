"""SpikePipe's layers in the synchronous schedules of torch.distributed.pipelining, for comparison."""

import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from paraspike.papers.spikepipe_arms import Job, Share, begin_all, weights_of

# Its name there, stages on a process, whether they lie in the shape of a V.
PIPELINES = {
    "torch 1F1B": ("1F1B", 1, False),
    "torch Interleaved1F1B": ("Interleaved1F1B", 2, False),
    "torch InterleavedZeroBubble": ("InterleavedZeroBubble", 2, False),
    "torch ZBVZeroBubble": ("ZBVZeroBubble", 2, True),
}


class _Swap(torch.autograd.Function):
    """Dims 0 and 1 exchanged, both ways as copies: torch's pipelines send no view."""

    @staticmethod
    def forward(ctx, x):
        return x.transpose(0, 1).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx, grad):
        return grad.transpose(0, 1).clone(memory_format=torch.contiguous_format)


class Stage(nn.Module):
    """Layers as a stage of torch's pipelines, batch on dim 0: [B, T, ...] -> [B, T, ...] or [B, classes]."""

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        x = _Swap.apply(x)
        for member in self.members:
            x = member(x)
        return x if x.ndim == 2 else _Swap.apply(x)


def pipeline(desk, job: Job, processes: int, arm: str, counts, micro: int) -> Share:
    """A synchronous schedule of torch.distributed.pipelining, flushed at every update.

    Args:
        arm: of PIPELINES.  counts: layers of each stage.  micro: microbatches of a batch.
    """
    from torch.distributed.pipelining import PipelineStage
    from torch.distributed.pipelining.schedules import get_schedule_class

    name, chunks, v_shaped = PIPELINES[arm]
    stack, bounds = job(), np.cumsum([0, *counts])
    ranks = [s if s < processes else 2 * processes - 1 - s for s in range(len(counts))]
    ranks = ranks if v_shaped else [s % processes for s in range(len(counts))]
    mine = [s for s, rank in enumerate(ranks) if rank == desk.rank]
    modules = {s: Stage(stack[bounds[s] : bounds[s + 1]]) for s in mine}
    stages = [PipelineStage(modules[s], s, len(counts), torch.device("cpu")) for s in mine]
    made = get_schedule_class(name)(
        stages if chunks > 1 else stages[0], micro, loss_fn=cross_entropy
    )
    optimizer = job.optimizer([p for module in modules.values() for p in module.parameters()])

    def step(sample):
        x = [job.inputs(sample).transpose(0, 1).contiguous()] if 0 in mine else []
        last = {"target": job.labels(sample)} if len(counts) - 1 in mine else {}
        made.step(*x, **last)

    # The first step finds out the shapes.
    step(0)
    begin = begin_all(desk, modules.values())
    for sample in range(job.updates):
        step(sample)
        optimizer.step()
        optimizer.zero_grad()
    end = time.perf_counter()
    sent = 0
    for s in mine:
        # Spikes to the stage above, their gradient to the stage below.
        if s + 1 < len(counts) and ranks[s + 1] != desk.rank:
            sent += _bytes_above(job, bounds[s + 1])
        if s > 0 and ranks[s - 1] != desk.rank:
            sent += _bytes_above(job, bounds[s])
    numbered = [(k, stack[k]) for s in mine for k in range(bounds[s], bounds[s + 1])]
    return Share(begin, end, weights_of(numbered), sent)


def _bytes_above(job, layer):
    """Of the spikes, or their gradient, between layers `layer` and `layer` + 1, float32."""
    return job.batch * job.network.steps * job.network.layers[layer].inputs * 4
