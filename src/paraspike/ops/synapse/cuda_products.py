"""Products of the activity of many small networks at once in Triton: a launch for all seeds.

A seed's samples are a slice of the batch axis, [T, S*B, N], which torch multiplies only after a copy, a
launch a seed. Here rows are read where they lie, delay and bias are part of the pass, and each seed's numbers
come out of its own rows alone, in an order that does not depend on how many seeds there are.
"""

import triton
import triton.language as tl

from paraspike.ops.synapse.cuda_kernels import sum_parts

# Rows or inputs, and columns of a tile at most; terms and warps, in float32 such that nothing is spilled; parts
# of a weight gradient at most, and rows of a part at least. By arithmetic for an H200, not measured.
_TILE, _STAGES = 64, 3
_INNER = {"float32": 16, "tf32x3": 32, "tf32": 32, "bf16": 32}
_WARPS = {"float32": 8, "tf32x3": 4, "tf32": 4, "bf16": 4}
_TILES, _MOST_PARTS, _ROWS_OF_PART = 512, 64, 512


@triton.jit
def multiplied(a, b, total, PRECISION: tl.constexpr):
    """total + a b, in a named precision."""
    if PRECISION == "bf16":
        total = tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    elif PRECISION == "bf16 as float32":
        # The same sums, for the interpreter, which takes the bits of bfloat16 for whole numbers.
        a, b = a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32)
        total = tl.dot(a, b, total, input_precision="ieee")
    else:
        total = tl.dot(a, b, total, input_precision=PRECISION)
    return total


@triton.jit(do_not_specialize=["batch", "per_seed", "rows_of_seed", "shift", "rows_in_all"])
def by_rows(x, weight, bias, out, batch, per_seed, rows_of_seed, shift, rows_in_all, n_in, n, down, across,
            BIASED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr, INNER: tl.constexpr,
            TILE: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """out[r] = bias + x[r - shift * batch] times its seed's matrix [n_in, n] of strides (down, across)."""
    seed = tl.program_id(1).to(tl.int64)
    # Blocks of columns first, so that x is read from memory once and from the cache for the others.
    blocks = tl.cdiv(n, COLUMNS)
    q = (tl.program_id(0) // blocks).to(tl.int64) * TILE + tl.arange(0, TILE)
    col = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    row = q // per_seed * batch + seed * per_seed + q % per_seed
    source = row - tl.cast(shift, tl.int64) * batch
    own = q < rows_of_seed
    seen = own & (source >= 0) & (source < rows_in_all)
    total = tl.zeros([TILE, COLUMNS], tl.float32)
    base = weight + seed * n_in * n
    for first in tl.range(0, n_in, INNER, num_stages=STAGES):
        k = first + tl.arange(0, INNER)
        mask = seen[:, None] & (k < n_in)[None, :]
        lines = tl.load(x + source[:, None] * n_in + k[None, :], mask=mask, other=0)
        mask = (k < n_in)[:, None] & (col < n)[None, :]
        w = tl.load(base + k[:, None] * down + col[None, :] * across, mask=mask, other=0)
        total = multiplied(lines, w, total, PRECISION)
    if BIASED:
        offset = tl.load(bias + seed * n + col, mask=col < n, other=0)
        total += tl.where(seen[:, None], offset[None, :], 0.0)
    tl.store(out + row[:, None] * n + col[None, :], total, mask=own[:, None] & (col < n)[None, :])


@triton.jit(do_not_specialize=["batch", "per_seed", "rows_of_seed", "delay", "share", "seeds"])
def over_rows(x, grad, parts, batch, per_seed, rows_of_seed, delay, share, seeds, n_in, n,
              PRECISION: tl.constexpr, STAGES: tl.constexpr, INNER: tl.constexpr, TILE: tl.constexpr,
              COLUMNS: tl.constexpr):  # fmt: skip
    """parts[k, s] = sum over the k-th part of a seed's rows of x(t - delay) grad(t), a tile of it."""
    blocks = tl.cdiv(n, COLUMNS)
    i = tl.program_id(0) // blocks * TILE + tl.arange(0, TILE)
    col = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    seed, part = tl.program_id(1).to(tl.int64), tl.program_id(2)
    low = delay * per_seed + part * share
    high = tl.minimum(low + share, rows_of_seed)
    late = tl.cast(delay, tl.int64) * batch
    total = tl.zeros([TILE, COLUMNS], tl.float32)
    for first in tl.range(low, high, INNER, num_stages=STAGES):
        # 32 bits where a seed's rows fit them: a division of 64 in the loop costs as much as the product.
        q = first + tl.arange(0, INNER)
        row = (q // per_seed).to(tl.int64) * batch + seed * per_seed + q % per_seed
        source = row - late
        mask = (i < n_in)[:, None] & (q < high)[None, :]
        lines = tl.load(x + source[None, :] * n_in + i[:, None], mask=mask, other=0)
        mask = (q < high)[:, None] & (col < n)[None, :]
        g = tl.load(grad + row[:, None] * n + col[None, :], mask=mask, other=0)
        total = multiplied(lines, g, total, PRECISION)
    place = ((part.to(tl.int64) * seeds + seed) * n_in + i[:, None]) * n + col[None, :]
    tl.store(parts + place, total, mask=(i < n_in)[:, None] & (col < n)[None, :])


def _named(precision, device):
    if precision == "bf16" and device.type == "cpu":
        return "bf16 as float32"
    return "ieee" if precision == "float32" else precision


def _columns(n):
    return min(_TILE, max(16, 1 << (n - 1).bit_length()))


def _rows(x, weight, bias, out, shift, strides, precision):
    steps, batch, n_in = x.shape
    seeds, n = len(weight), out.shape[2]
    if out.numel() and n_in:
        per_seed, columns = batch // seeds, _columns(n)
        grid = -(-(steps * per_seed) // _TILE) * -(-n // columns), seeds
        by_rows[grid](
            x, weight, weight if bias is None else bias, out, batch, per_seed, steps * per_seed, shift,
            steps * batch, n_in, n, *strides, BIASED=bias is not None, PRECISION=_named(precision, x.device),
            STAGES=_STAGES, INNER=_INNER[precision], TILE=_TILE, COLUMNS=columns,
            num_warps=_WARPS[precision],
        )  # fmt: skip
    return out


def apply(x, weight, bias, delay: int, precision: str):
    """As `products.apply`, float32."""
    weight, x = weight.contiguous(), x.contiguous()
    bias = None if bias is None else bias.contiguous()
    out = x.new_empty(*x.shape[:2], weight.shape[2])
    return _rows(x, weight, bias, out, delay, (weight.shape[2], 1), precision)


def to_inputs(grad, weight, delay: int, precision: str):
    """As `products.to_inputs`, float32."""
    weight = weight.contiguous()
    out = grad.new_empty(*grad.shape[:2], weight.shape[1])
    return _rows(grad, weight, None, out, -delay, (1, weight.shape[2]), precision)


def to_weights(x, grad, delay: int, seeds: int, precision: str):
    """As `products.to_weights`, float32."""
    x, grad = x.contiguous(), grad.contiguous()
    steps, batch, n_in = x.shape
    n = grad.shape[2]
    out = grad.new_zeros(seeds, n_in, n)
    rows = max(0, steps - delay) * (batch // seeds)
    if not rows or not out.numel():
        return out
    columns = _columns(n)
    tiles = -(-n_in // _TILE) * -(-n // columns)
    splits = max(1, min(_MOST_PARTS, _TILES // tiles, -(-rows // _ROWS_OF_PART)))
    inner = _INNER[precision]
    share = -(-rows // (splits * inner)) * inner
    parts = out if splits == 1 else out.new_empty(splits, *out.shape)
    over_rows[tiles, seeds, splits](
        x, grad, parts, batch, batch // seeds, steps * (batch // seeds), delay, share, seeds, n_in, n,
        PRECISION=_named(precision, x.device), STAGES=_STAGES, INNER=inner, TILE=_TILE, COLUMNS=columns,
        num_warps=_WARPS[precision],
    )  # fmt: skip
    if splits > 1:
        sum_parts(parts, out)
    return out
