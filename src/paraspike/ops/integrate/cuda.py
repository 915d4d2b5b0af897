"""Leaky integration on the GPU: segments of time at once, by tiled scan, or by FFT with a cached spectrum.

Bytes moved per neuron and step (float32, forward; backward the same): walk 8, split 12, scan 8. Split's second
reading comes from the L2 cache as far as that holds the input.
"""

import functools
from dataclasses import dataclass

import torch
import triton
from torch.autograd.function import once_differentiable

from paraspike.errors import ReaderError
from paraspike.neurons import LeakyIntegrator
from paraspike.ops.integrate.kernels_cuda import ends_kernel, scan_kernel, walk_kernel
from paraspike.ops.integrate.reference import fast_length, kernel

FORMS = ("auto", "walk", "split", "scan", "fft")

# One warp whose threads hold four neighbouring neurons each: 16-byte accesses, Philox's four words.
LANES, WARPS = 128, 1
# What is to be fused is written as fma, so that no kernel's bits hang on the compiler's choice.
EXACT = {"enable_fp_fusion": False}
# Steps fetched ahead of the one that is computed.
STAGES = 8
# Up to so many steps a second launch costs more than walking them does.
WHOLE = 128
# Segments take at least so many steps, so that few states are handed on.
SHORTEST = 64
# Columns of programs from which one walk over all time costs less than reading the input twice: a step of one
# warp takes some 0.11 us, and splitting it costs 12 bytes for each of 128 neurons, 20 with a factor.
WALK_FROM = 256
# Programs that fill the machine, four warps on each of 132 x 4 schedulers; more would only hand on more states.
RESIDENT = 2112
# Tile of the associative scan (steps, neurons) and its warps.
TILE, TILE_WARPS = (128, 16), 4


def parts(whole: int, size: int) -> int:
    """Parts of `size` that make up the whole, the last one may be smaller: triton.cdiv takes microseconds."""
    return -(-whole // size)


@dataclass(frozen=True)
class Plan:
    """How [steps, rows, n] is shared out: `segment` steps a segment, `each` segments a program."""

    steps: int
    rows: int
    n: int
    segment: int
    each: int

    @property
    def segments(self) -> int:
        return parts(self.steps, self.segment)

    @property
    def programs(self) -> int:
        return parts(self.segments, self.each)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.steps, self.rows, self.n, self.segment


def segment_length(steps: int) -> int:
    """Steps of a segment: the order of the arithmetic, so a function of T alone.

    A segment's own steps (some 300 cycles each where noise is drawn) are balanced against the states handed
    on before it (some 60 each): 64 up to T = 16,384, then at least sqrt(T) / 2.
    """
    if steps <= WHOLE:
        return max(1, steps)
    return max(SHORTEST, 1 << (((steps - 1).bit_length() + 1) // 2 - 1))


def plan(shape, blocks: int, form: str = "auto", walk_from: int | None = None) -> Plan:
    """Shares [T, B, N] out among `blocks` columns of programs. Every choice of `each` gives the same bits.

    Args:
        walk_from: columns from which one program walks all of time; None: WALK_FROM.

    Expected crossovers for an H200, to be measured (benchmarks/cuda_spsn.py, `forms`): T <= 128, or B * N above
    256 * 128 = 32,768: walk, 8 bytes and one launch. Below that too few warps hide neither the memory's latency
    (about 0.7 us, 7 steps of it overlapped) nor their own instructions', so segments run side by side although
    the input is read twice. scan has B * N / 16 programs that go through T one tile after the other, some 2 us
    each: beside the others at best, around B * N = 10,000 to 30,000. fft moves about 60 bytes in several
    launches and should win nowhere.
    """
    steps, rows, n = shape
    segment = segment_length(steps)
    segments = parts(steps, segment)
    walk_from = WALK_FROM if walk_from is None else walk_from
    if form == "walk" or (form == "auto" and blocks >= walk_from):
        return Plan(steps, rows, n, segment, segments)
    return Plan(steps, rows, n, segment, parts(segments, max(2, RESIDENT // blocks)))


def decays(neuron: LeakyIntegrator) -> tuple[float, float, float]:
    """Coefficients as the floats that kernels are compiled for, whatever numbers they were given as."""
    return float(neuron.a_ii), float(neuron.a_uu), float(neuron.a_ui)


@functools.lru_cache(256)
def powers(neuron: LeakyIntegrator, steps: int) -> tuple[float, float, float]:
    """(p_ii, p_uu, p_ui): the state `steps` steps later, without input, is p_ii i and p_uu u + p_ui i."""
    i, u_of_i = 1.0, 0.0
    a_ii, a_uu, a_ui = decays(neuron)
    for _ in range(steps):
        i *= a_ii
        u_of_i = a_uu * u_of_i + a_ui * i
    return i, a_uu**steps, u_of_i


def check(x: torch.Tensor, where: str) -> None:
    """Raises ReaderError unless the kernels can take x: float32 [T, B, N] on a GPU (or interpreted)."""
    if x.dtype != torch.float32:
        raise ReaderError(
            f"{x.dtype} activity", where, "float32; the reference backend computes float64"
        )
    if x.dim() != 3:
        raise ReaderError(f"activity of shape {list(x.shape)}", where, "[T, B, N]")
    check_device(x, where)


def check_device(x: torch.Tensor, where: str) -> None:
    """Raises ReaderError where no kernel can reach x, or its offsets within one step pass 31 bits."""
    if not x.is_cuda and isinstance(walk_kernel, triton.JITFunction):
        raise ReaderError(
            f"activity on {x.device}", where, "a CUDA device, or TRITON_INTERPRET=1 for a test"
        )
    rows, n = x.shape[-2:]
    if rows * 4 * parts(n, 4) >= 2**31 - 4 * LANES:
        raise ReaderError(f"{rows} x {n} neurons a step", where, "less than 2^31")


def ends(x, neuron, how: Plan, factor=None, backwards: bool = False) -> torch.Tensor:
    """Ends of all segments but the last, started from zero: float32 [segments - 1, 2, B, N]; nothing is
    computed where one program walks all segments."""
    if how.programs == 1:
        return x
    out = x.new_empty(how.segments - 1, 2, *x.shape[1:])
    blocks = parts(how.rows * how.n, LANES)
    ends_kernel[blocks, how.segments - 1](
        x,
        x if factor is None else factor,
        out,
        *how.sizes,
        *decays(neuron),
        WEIGHTED=factor is not None,
        BACKWARDS=backwards,
        LANES=LANES,
        STAGES=STAGES,
        num_warps=WARPS,
        **EXACT,
    )
    return out


def filtered(x, neuron, form="auto", factor=None, backwards: bool = False) -> torch.Tensor:
    """u of the input x, or x * factor, in either direction of time: no gradient, all [T, B, N]."""
    x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    if not x.numel():
        return out
    steps, rows, n = x.shape
    with torch.cuda.device_of(x):
        if form == "scan":
            scan_kernel[(parts(rows * n, TILE[1]),)](
                *(x, out, steps, rows, n, *decays(neuron)),
                BACKWARDS=backwards,
                STEPS=TILE[0],
                LANES=TILE[1],
                num_warps=TILE_WARPS,
                **EXACT,
            )
            return out
        blocks = parts(rows * n, LANES)
        how = plan(x.shape, blocks, form)
        walk_kernel[blocks, how.programs](
            x,
            x if factor is None else factor,
            ends(x, neuron, how, factor, backwards),
            out,
            *how.sizes,
            how.each,
            *decays(neuron),
            *powers(neuron, how.segment),
            WEIGHTED=factor is not None,
            BACKWARDS=backwards,
            LANES=LANES,
            STAGES=STAGES,
            num_warps=WARPS,
            **EXACT,
        )
    return out


@functools.lru_cache(32)
def _spectrum(steps: int, neuron: LeakyIntegrator, device: torch.device) -> torch.Tensor:
    """Spectrum of the impulse response, complex64 [points / 2 + 1, 1, 1]."""
    size = fast_length(2 * steps - 1)
    return torch.fft.rfft(kernel(steps, neuron, torch.float32, device), size)[:, None, None]


def _by_spectrum(x, neuron, backwards):
    if not x.numel():
        return x.clone()
    steps = x.shape[0]
    size, response = fast_length(2 * steps - 1), _spectrum(steps, neuron, x.device)
    response = response.conj() if backwards else response
    return torch.fft.irfft(torch.fft.rfft(x, size, dim=0) * response, size, dim=0)[:steps]


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, neuron, form):
        ctx.neuron, ctx.form = neuron, form
        return _Integrate.pass_over(ctx, x.detach(), False)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        # Two linear filters commute, so the adjoint is the same recurrence run from the last step.
        return _Integrate.pass_over(ctx, grad, True), None, None

    @staticmethod
    def pass_over(ctx, x, backwards):
        if ctx.form == "fft":
            return _by_spectrum(x, ctx.neuron, backwards).contiguous()
        return filtered(x, ctx.neuron, ctx.form, backwards=backwards)


def integrate(x: torch.Tensor, neuron: LeakyIntegrator, form: str = "auto") -> torch.Tensor:
    """u [T, B, N] of x [T, B, N], float32; same equations as `reference.sequential`.

    Args:
        form: walk (one pass over memory), split (segments of time side by side, two passes over the input),
            scan (associative scan) or fft; auto is walk or split by T and B * N. These two have the same
            bits, which depend on neither B nor N; the bits of scan follow its layout and those of fft
            cuFFT's plan, so neither is chosen where the number of seeds could decide.

    Raises:
        ReaderError: x is not float32 [T, B, N] on a GPU; no such form.
    """
    check(x, "integrate on cuda")
    if form not in FORMS:
        raise ReaderError(f"form {form!r} is unknown", "integrate on cuda", ", ".join(FORMS))
    return _Integrate.apply(x, neuron, form)
