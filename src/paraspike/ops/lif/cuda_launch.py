"""How the LIF kernels are launched on a GPU: their option integer, coefficients, launch tables and room."""

import contextlib
import functools

import torch

from paraspike.neurons import LIF
from paraspike.ops.lif.options import coefficients

# Neurons from which, neurons of a program, its warps, steps of a chunk (of which a word has a whole number):
# 4 MB or more are to be on their way at any time, in at most 128 registers a thread. Chosen by arithmetic for
# an H200, not yet by measurement (`benchmarks.cuda_lif.sweep`).
LAUNCH = ((0, 32, 1, 16), (1 << 17, 128, 4, 16))
# Samples of a seed from which a persistent program takes a block of them on the way back, else one.
BLOCK_FROM = 32
# Recurrent neurons from which, samples of that block, warps: the most that leave next to no registers spilled.
BLOCKS = ((0, 16, 4), (33, 16, 8), (129, 8, 8), (257, 4, 16))
# Steps of a word of refractory bits (`cuda_memory.EVERY`) and of a captured graph.
EVERY = 32


@functools.lru_cache(256)
def packed(chosen: tuple[int, ...], trace: bool = False) -> int:
    """`options.options` as the one integer that kernels are specialised on; bit 17: the potential is kept
    beside the adaptation."""
    _, reset, late, gate, strict, refractory, adaptive, previous, drives, gradient, *rest = chosen
    shape, post, window, _ = rest
    extra = adaptive and (trace or (reset == 1 and (post or gradient == 2)))
    fields = ((reset, 0), (late, 2), (gate, 3), (strict, 4), (refractory, 5), (adaptive, 7), (previous, 8),
              (drives, 9), (gradient, 10), (shape, 12), (post, 15), (window, 16), (int(extra), 17))  # fmt: skip
    return sum(value << bit for value, bit in fields)


def launch(m: int) -> tuple[dict, dict]:
    """(constexprs, launch options) of a feedforward kernel over m neurons."""
    _, block, warps, chunk = row(LAUNCH, m)
    # Contraction into fused multiply-adds would give other bits than the reference's.
    how = {"num_warps": warps, "enable_fp_fusion": False}
    return {"CHUNK": chunk, "BLOCK": block}, how


def state_rows(option: int) -> int:
    """Numbers that a neuron's state has: i, u, and what its options use of a, x_prev, s and left."""
    refractory = int(option >> 5 & 3 > 0)
    return 2 + (option >> 7 & 1) + (option >> 8 & 1) + (option >> 2 & 1) + refractory


def program(n: int, dtype: torch.dtype, block: bool = False) -> tuple[dict, dict]:
    """(constexprs, launch options) of a persistent recurrent kernel over n neurons: forward and one sample
    at a time, or, with `block`, the way back of a block of samples."""
    width = max(16, 1 << (n - 1).bit_length())
    sizes = {"BLOCK_N": width, "ROWS": 16}
    warps = max(1, min(16, width // 32))
    if block:
        _, samples, warps = row(BLOCKS, n)
        sizes["BLOCK_B"] = samples // 2 if dtype == torch.float64 else samples
    return sizes, {"num_warps": warps, "num_stages": 2, "enable_fp_fusion": False}


class Kept:
    """What the way back needs, and room for it: [T, M] each, or a single element where it is not needed."""

    def __init__(self, x: torch.Tensor, option: int, steps: int, keep: bool = True):
        m = x.shape[1] * x.shape[2]

        def room(wanted, dtype=x.dtype, rows=steps):
            if not wanted:
                return nothing(dtype, x.device)
            return torch.empty((rows, m), dtype=dtype, device=x.device)

        adaptive, extra = option >> 7 & 1, option >> 17 & 1
        self.potential = room(keep)
        self.extra = room(keep and adaptive and extra)
        self.drives = room(keep and option >> 9 & 1)
        self.words = room(keep and option >> 5 & 3, torch.int32, steps // EVERY + 1)

    def tensors(self):
        return self.potential, self.extra, self.drives, self.words


@functools.lru_cache(64)
@torch.inference_mode(False)
def nothing(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What a kernel is given that needs nothing there: one tensor for all, for an allocation takes 2 us."""
    return torch.empty((1, 1), dtype=dtype, device=device)


@functools.lru_cache(64)
def device_coefficients(neuron: LIF, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """`options.coefficients` where kernels read them, in x's own dtype."""
    given = coefficients(neuron, "float64" if dtype == torch.float64 else "float32")
    held = torch.tensor([float(v) for v in given], dtype=dtype)
    # From pinned memory the copy is queued without waiting for the device.
    return held.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else held


def on(device: torch.device):
    """Makes `device` the one that kernels are launched on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def row(table, size):
    """The last row of a table that starts at `size` or before."""
    return [row for row in table if row[0] <= size][-1]
