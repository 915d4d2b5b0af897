"""STDP in Triton: columns of a layer do not see one another, so a program takes a block of them through all
steps and the whole batch, its weights read and written once a step."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["steps", "width"])
def presynaptic(raster, traces, steps, width, decay, scale, ADDITIVE: tl.constexpr, STAGES: tl.constexpr,
                BLOCK: tl.constexpr):  # fmt: skip
    """Each input's trace after each step; inputs and samples [B * N_in] are the width."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = place < width
    x = tl.zeros([BLOCK], tl.float32)
    for t in tl.range(0, steps, num_stages=STAGES):
        at = tl.cast(t, tl.int64) * width + place
        s = tl.load(raster + at, mask=within, other=0)
        x = decay * x
        if ADDITIVE:
            x = x + scale * s
        else:
            x = tl.where(s != 0, scale, x)
        tl.store(traces + at, x, mask=within)


@triton.jit(do_not_specialize=["steps", "batch", "rest"])
def layer(raster, traces, weight, fired, u_of, left_of, x_post_of, current_of, steps, batch, n_in, n,
          a_uu, a_ui, threshold, lower_bound, rest, nu0, nu1, decay, scale, wmin, wmax,
          LEARN: tl.constexpr, ADDITIVE: tl.constexpr, STRICT: tl.constexpr, REFRACTORY: tl.constexpr,
          BOUNDED: tl.constexpr, SAMPLES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """Columns program_id(0) * COLUMNS onwards; equations: `stdp.reference`, `PostPre`.

    A sample's potential, pause, trace and current [B, N] lie in memory that stays in the cache, SAMPLES at a
    time in registers. Barriers stand where what one thread wrote is read by others of the program. A step is a
    chain of waits for memory, four for each ROWS of inputs, so that these are many and columns are few.
    """
    col = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    in_columns = col < n
    pause = tl.cast(rest, tl.int32).to(tl.float32)
    for t in range(0, steps):
        row = tl.cast(t, tl.int64) * batch
        for block in range(0, batch, SAMPLES):
            b = block + tl.arange(0, SAMPLES)
            mask = (b < batch)[:, None] & in_columns[None, :]
            at = b[:, None].to(tl.int64) * n + col[None, :]
            u = tl.load(u_of + at, mask=mask, other=0)
            left = tl.load(left_of + at, mask=mask, other=0)
            current = tl.load(current_of + at, mask=mask, other=0)
            if REFRACTORY:
                current = tl.where(left <= 0, current, 0.0)
            u = a_uu * u + a_ui * current
            if STRICT:
                hot = mask & (u > threshold)
            else:
                hot = mask & (u >= threshold)
            s = hot.to(tl.float32)
            u = tl.where(hot, 0.0, u)
            if BOUNDED:
                u = tl.maximum(u, lower_bound)
            tl.store(u_of + at, u, mask=mask)
            tl.store(left_of + at, tl.where(hot, pause, left - 1), mask=mask)
            tl.store(current_of + at, tl.zeros([SAMPLES, COLUMNS], tl.float32), mask=mask)
            tl.store(fired + row * n + at, s, mask=mask)
            if LEARN:
                x = decay * tl.load(x_post_of + at, mask=mask, other=0)
                if ADDITIVE:
                    x = x + scale * s
                else:
                    x = tl.where(hot, scale, x)
                tl.store(x_post_of + at, x, mask=mask)
        tl.debug_barrier()
        for first in range(0, n_in, ROWS):
            i = first + tl.arange(0, ROWS)
            in_rows = i < n_in
            places = weight + i[:, None].to(tl.int64) * n + col[None, :]
            inside = in_rows[:, None] & in_columns[None, :]
            w = tl.load(places, mask=inside, other=0)
            if LEARN:
                down = tl.zeros([ROWS, COLUMNS], tl.float32)
                up = tl.zeros([ROWS, COLUMNS], tl.float32)
                # Two stages: a third takes more registers than there are where n_in is no multiple of four.
                for block in tl.range(0, batch, SAMPLES, num_stages=2):
                    b = block + tl.arange(0, SAMPLES)
                    mask = (b < batch)[:, None] & in_columns[None, :]
                    at = b[:, None].to(tl.int64) * n + col[None, :]
                    pre = (row + b)[None, :] * n_in + i[:, None]
                    arriving = (b < batch)[None, :] & in_rows[:, None]
                    x_post = tl.load(x_post_of + at, mask=mask, other=0)
                    s_pre = tl.load(raster + pre, mask=arriving, other=0)
                    down = tl.dot(s_pre, x_post, down, input_precision="ieee")
                    s = tl.load(fired + row * n + at, mask=mask, other=0)
                    x_pre = tl.load(traces + pre, mask=arriving, other=0)
                    up = tl.dot(x_pre, s, up, input_precision="ieee")
                w = w - nu0 * down
                w = w + nu1 * up
                w = tl.minimum(tl.maximum(w, wmin), wmax)
                tl.store(places, w, mask=inside)
            for block in range(0, batch, SAMPLES):
                b = block + tl.arange(0, SAMPLES)
                mask = (b < batch)[:, None] & in_columns[None, :]
                at = b[:, None].to(tl.int64) * n + col[None, :]
                pre = (row + b)[:, None] * n_in + i[None, :]
                arriving = (b < batch)[:, None] & in_rows[None, :]
                s_pre = tl.load(raster + pre, mask=arriving, other=0)
                current = tl.load(current_of + at, mask=mask, other=0)
                current += tl.dot(s_pre, w, input_precision="ieee")
                tl.store(current_of + at, current, mask=mask)
            tl.debug_barrier()
