"""Philox4x32-10 in Triton: randomness.py's numbers, bit for bit, drawn where the activity lies."""

import functools

import numpy as np
import torch
import triton
import triton.language as tl

from paraspike import randomness
from paraspike.errors import ReaderError
from paraspike.ops.integrate.cuda import EXACT, check_device, parts

# Groups of four neurons a program draws for, its warps, and the steps it takes at the least.
GROUPS, WARPS, STEPS = 128, 4, 16
_MOST_PROGRAMS = 65_535


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Four uint32 words of a 4-word counter and a 2-word key (`randomness.philox`)."""
    for _ in tl.static_range(10):
        # A 64-bit product of zero-extended words is one instruction, high and low half at once.
        p0 = c0.to(tl.uint64) * 0xD2511F53
        p1 = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = p1.to(tl.uint32)
        c3 = p0.to(tl.uint32)
        k0 = k0 + tl.full([], 0x9E3779B9, tl.uint32)
        k1 = k1 + tl.full([], 0xBB67AE85, tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def uniform(block, step, sample, trial, seed, stream, GROUPS: tl.constexpr):
    """Float32 in (0, 1), [4 * GROUPS], for groups of four neighbouring neurons; arguments uint32,
    `block`, `sample` and `seed` [GROUPS], the others scalars."""
    none = tl.zeros([GROUPS], tl.uint32)
    w0, w1, w2, w3 = philox(block, none + step, sample, none + trial, seed, none + stream)
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    words = tl.reshape(words, [4 * GROUPS]) >> 9
    # 23 bits and a half: every value is exact in float32.
    return words.to(tl.int32).to(tl.float32) * 1.1920928955078125e-07 + 5.9604644775390625e-08


@triton.jit(do_not_specialize=["steps", "rows", "each", "trial", "stream"])
def noise_kernel(
    out, key, steps, rows, n, each, trial, stream, GROUPS: tl.constexpr, DTYPE: tl.constexpr
):
    """out [steps, rows, n] <- uniform numbers; key: int32 [2, rows], samples and seeds.

    Grid: blocks of GROUPS groups, steps / each.
    """
    blocks = tl.cdiv(n, 4)
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    row = group // blocks
    sample = tl.load(key + row, mask=row < rows, other=0).to(tl.uint32, bitcast=True)
    seed = tl.load(key + rows + row, mask=row < rows, other=0).to(tl.uint32, bitcast=True)
    block = (group % blocks).to(tl.uint32)

    lane = tl.program_id(0) * 4 * GROUPS + tl.arange(0, 4 * GROUPS)
    neuron = (lane // 4) % blocks * 4 + lane % 4
    inside = (lane // 4 < rows * blocks) & (neuron < n)
    at = (lane // 4) // blocks * n + neuron
    trial = tl.cast(trial, tl.uint32, bitcast=True)
    stream = tl.cast(stream, tl.uint32, bitcast=True)
    first = tl.program_id(1) * each
    for t in range(first, tl.minimum(first + each, steps)):
        step = tl.cast(t, tl.uint32)
        values = uniform(block, step, sample, trial, seed, stream, GROUPS)
        tl.store(out + (tl.cast(rows, tl.int64) * n * t + at), values.to(DTYPE), mask=inside)


def device_key(like: torch.Tensor, seeds, stream: str, samples, trial: int):
    """(key int32 [2, B] on like's device, trial, stream): the words of `randomness.keys`, reread as signed
    so that their size never changes a kernel's signature.

    The layers of a network, and the arms that share a batch, share one copy of its key.
    """
    words = (np.asarray(v, np.int64) for v in (samples, seeds))
    # Another CUDA stream would not wait for the copy.
    queue = torch.cuda.current_stream(like.device).cuda_stream if like.is_cuda else 0
    key = _on_device(*((v.shape, v.tobytes()) for v in words), like.device, queue)
    return key, *_scalars(stream, int(trial))


@functools.lru_cache(32)
def _on_device(samples, seeds, device: torch.device, queue: int) -> torch.Tensor:
    samples, seeds = (
        np.frombuffer(data, np.int64).reshape(shape) for shape, data in (samples, seeds)
    )
    samples, _, seeds, _ = randomness.keys(seeds, "", 0, samples)
    key = torch.from_numpy(np.stack([samples, seeds]).astype(np.uint32).view(np.int32))
    if device.type == "cuda":
        # From pinned memory the copy is queued without waiting for the device.
        key = key.pin_memory().to(device, non_blocking=True)
    return key


@functools.lru_cache(256)
def _scalars(stream: str, trial: int) -> tuple[int, int]:
    _, trial, _, stream = randomness.keys(0, stream, trial, ())
    signed = np.array([trial, stream]).astype(np.uint32).view(np.int32)
    return int(signed[0]), int(signed[1])


def noise(like: torch.Tensor, seeds, stream: str, samples, trial: int) -> torch.Tensor:
    """As `reference.noise`, same bits, without a copy from the host; float32 or float64.

    Raises:
        ReaderError: another dtype; `like` is not on a GPU; a key word out of range.
    """
    if like.dtype not in (torch.float32, torch.float64):
        raise ReaderError(f"{like.dtype} noise", "noise on cuda", "float32 or float64")
    check_device(like, "noise on cuda")
    key, trial, stream = device_key(like, seeds, stream, samples, trial)
    out = torch.empty_like(like, memory_format=torch.contiguous_format)
    if not out.numel():
        return out
    steps, rows, n = out.shape
    each = max(STEPS, parts(steps, _MOST_PROGRAMS))
    with torch.cuda.device_of(out):
        noise_kernel[parts(rows * parts(n, 4), GROUPS), parts(steps, each)](
            *(out, key, steps, rows, n, each, trial, stream),
            GROUPS=GROUPS,
            DTYPE=tl.float32 if out.dtype == torch.float32 else tl.float64,
            num_warps=WARPS,
            **EXACT,
        )
    return out
