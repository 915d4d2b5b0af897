"""The two ways through the time steps of a recurrent LIF layer: one persistent launch, or step by step.

Step by step is torch's product (full precision) and one launch of the fused kernel for each time step; on
a GPU the launches of 32 steps are captured once as a CUDA graph that works on buffers of its own, so that
neither T nor the weights' place in memory makes another capture.
"""

from collections import OrderedDict

import torch

from paraspike.ops.lif import cuda_kernels, cuda_recurrent
from paraspike.ops.lif.cuda_launch import (
    BLOCK_FROM,
    EVERY,
    Kept,
    device_coefficients,
    launch,
    on,
    program,
)

_GRAPHS: OrderedDict = OrderedDict()
_MOST_GRAPHS = 8


class Persistent:
    """All steps in one launch each way (`cuda_recurrent`)."""

    def __init__(self, neuron, option, seeds, x, local):
        self.neuron, self.option, self.local = neuron, option, local
        self.per_seed, self.n = x.shape[1] // seeds, x.shape[2]
        self.c = device_coefficients(neuron, x.dtype, x.device)

    def forward(self, x, weight, keep, trace):
        spikes = torch.empty_like(x)
        kept = Kept(x, self.option, len(x), keep)
        sizes, how = program(self.n, x.dtype)
        if x.numel():
            with on(x.device):
                cuda_recurrent.forward[(x.shape[1],)](
                    x, spikes, *kept.tensors(), weight, self.c, len(x), x.shape[1], self.per_seed, self.n,
                    self.neuron.refractory_steps, OPTION=self.option, KEEP=int(keep), **sizes, **how,
                )  # fmt: skip
        return spikes, kept.potential.view(x.shape) if trace else None, kept.tensors()

    def backward(self, grad, weight, saved):
        out, (steps, batch, n) = torch.empty_like(grad), grad.shape
        # By the samples of one seed alone: the order of sums must not depend on how many seeds there are.
        sizes, how = program(n, grad.dtype, self.per_seed >= BLOCK_FROM)
        sizes = {"BLOCK_B": 1} | sizes
        block = sizes["BLOCK_B"]
        grid = (batch // max(1, self.per_seed) * -(-self.per_seed // block),)
        if grad.numel():
            turned = weight.transpose(1, 2).contiguous()
            with on(grad.device):
                cuda_recurrent.backward[grid](
                    grad, *saved, turned, out, self.c, steps, batch, self.per_seed, n, OPTION=self.option,
                    LOCAL=int(self.local), **sizes, **how,
                )  # fmt: skip
        return out


class Steps:
    """A product and a launch a step, over chunks of EVERY steps.

    A chunk's buffers have a row before its first step and one behind its last: what it takes over from
    its neighbours. The potential before the very first step is one that does not fire. On a GPU a seed's
    result has the same bits alone as among others where B*N is a multiple of 4, for products may be computed
    otherwise where operands are less aligned.
    """

    def __init__(self, neuron, option, seeds, x, local):
        self.neuron, self.option, self.local, self.seeds = neuron, option, local, seeds

    def forward(self, x, weight, keep, trace):
        spikes, potential = torch.empty_like(x), torch.empty_like(x) if trace else None
        saved = []
        if not x.numel():
            return spikes, potential, saved
        with on(x.device):
            room = _room(self, x, keep, True)
            room.weight.copy_(weight)
            for part in (room.state, room.out, room.kept.words):
                part.zero_()
            room.kept.potential.fill_(float("-inf"))
            for begin in range(0, len(x), EVERY):
                length = min(EVERY, len(x) - begin)
                room.x[1 : length + 1].copy_(x[begin : begin + length])
                room.run(self._forward, length)
                spikes[begin : begin + length].copy_(room.out[1 : length + 1])
                if trace:
                    now = room.kept.potential[1 : length + 1]
                    potential[begin : begin + length].copy_(now.view(length, *x.shape[1:]))
                saved += [v.clone() for v in room.kept.tensors()] if keep else []
        return spikes, potential, saved

    def _forward(self, room, length):
        room.out[0].copy_(room.out[EVERY])
        for v in (room.kept.potential, room.kept.extra):
            v[0].copy_(v[EVERY if len(v) > 1 else 0])
        words = room.kept.words
        if len(words) > 1:
            words[0].copy_(words[1] & 1)
            words[1].zero_()
        sizes, how = launch(room.m)
        sizes = sizes | {"CHUNK": 1, "ROWS": len(room.state)}
        for k in range(1, length + 1):
            _add_product(room.x[k], room.out[k - 1], room.weight)
            cuda_kernels.forward[(-(-room.m // sizes["BLOCK"]),)](
                room.x, room.out, *room.kept.tensors(), room.state, room.c, k, 1, room.m,
                self.neuron.refractory_steps, OPTION=self.option, KEEP=int(room.keep), CARRY=1,
                **sizes, **how,
            )  # fmt: skip

    def backward(self, grad, weight, saved):
        out = torch.empty_like(grad)
        if not grad.numel():
            return out
        with on(grad.device):
            room = _room(self, grad, True, False)
            room.weight.copy_(weight.transpose(1, 2))
            room.state.zero_()
            room.out.zero_()
            chunks = -(-len(grad) // EVERY)
            for j in reversed(range(chunks)):
                begin = j * EVERY
                length = min(EVERY, len(grad) - begin)
                for here, v in zip(room.kept.tensors(), saved[4 * j : 4 * j + 4], strict=True):
                    here.copy_(v)
                room.x[1 : length + 1].copy_(grad[begin : begin + length])
                room.run(self._backward, length)
                out[begin : begin + length].copy_(room.out[1 : length + 1])
                # What comes before this chunk has it as the step behind its last.
                room.out[EVERY + 1].copy_(room.out[1])
        return out

    def _backward(self, room, length):
        sizes, how = launch(room.m)
        sizes = sizes | {"CHUNK": 1, "ROWS": len(room.state)}
        potential, *others = room.kept.tensors()
        for k in range(length, 0, -1):
            if not self.local:
                _add_product(room.x[k], room.out[k + 1], room.weight)
            cuda_kernels.backward[(-(-room.m // sizes["BLOCK"]),)](
                potential, room.x, *others, room.state, room.state, room.out, room.c, k, 1, room.m,
                self.neuron.refractory_steps, OPTION=self.option, KEEP=1, CARRY=1, **sizes, **how,
            )  # fmt: skip


def _add_product(x, activity, weight):
    """x [S*B, N] += activity [S*B, N] times weight [S, N, N], seed by seed: a batched product's last bits
    may depend on how many there are."""
    for rows, a, w in zip(x.chunk(len(weight)), activity.chunk(len(weight)), weight, strict=True):
        rows.addmm_(a, w)


class _Room:
    """A chunk's buffers, and on a GPU the graph that works on them."""

    # Others come back to it: it must not be made of inference tensors.
    @torch.inference_mode(False)
    def __init__(self, steps, x, keep):
        rows, shape = EVERY + 2, x.shape[1:]
        self.m, self.keep, self.graph = x[0].numel(), keep, None
        self.x = x.new_zeros((rows, *shape))
        # One direction writes spikes, the other the gradient of x.
        self.out = x.new_zeros((rows, *shape))
        self.kept = Kept(x, steps.option, rows, keep)
        self.state = x.new_zeros((6, self.m))
        self.weight = x.new_zeros((steps.seeds, shape[1], shape[1]))
        self.c = device_coefficients(steps.neuron, x.dtype, x.device)

    def run(self, walk, length):
        """The steps 1 .. length; a whole chunk on a GPU as one graph, captured when first wanted."""
        if length < EVERY or self.x.device.type != "cuda":
            walk(self, length)
            return
        if self.graph is None:
            self.graph = self._captured(walk)
        self.graph.replay()

    def _captured(self, walk):
        # What runs first outside of the capture compiles kernels and sets up the product's workspace.
        before = [v.clone() for v in self._all()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            walk(self, EVERY)
        torch.cuda.current_stream().wait_stream(side)
        for v, old in zip(self._all(), before, strict=True):
            v.copy_(old)
        graph = torch.cuda.CUDAGraph()
        # Backward runs in autograd's own thread; others may allocate meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            walk(self, EVERY)
        return graph

    def _all(self):
        return self.x, self.out, self.state, *self.kept.tensors()


def _room(steps, x, keep, onward):
    """Buffers for one neuron, size and direction; the least recently used go first."""
    stream = torch.cuda.current_stream().cuda_stream if x.device.type == "cuda" else 0
    key = (steps.neuron, steps.option, steps.seeds, steps.local, x.shape[1:], x.dtype, x.device, keep, onward,
           stream)  # fmt: skip
    room = _GRAPHS.pop(key, None) or _Room(steps, x, keep)
    _GRAPHS[key] = room
    while len(_GRAPHS) > _MOST_GRAPHS:
        _GRAPHS.popitem(last=False)
    return room
