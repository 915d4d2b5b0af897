"""Judges that only the multithreading paper's claims need.

Each takes (tree, claim, left, right) with the claim's selections by name and returns a Finding.
"""

import numpy as np
from scipy import stats

from paraspike.judges import Finding, Missing
from paraspike.papers.multithreading_throughput import parallel_fraction


def _medians(array, keep: str):
    """Median over repetitions, values along one axis, the rest averaged."""
    found = array.median("repeat") if "repeat" in array.dims else array
    return found.mean([dim for dim in found.dims if dim != keep]).dropna(keep)


def slower_with_threads(tree, claim, left, right) -> Finding:
    """Percent by which the best threaded run is slower than the one without threads, mean over batches."""
    (seconds,) = left.values()
    found = seconds.median("repeat").dropna("threads", how="all")
    loss = 100 * (1 - found.sel(threads=0) / found.where(found["threads"] > 0).min("threads"))
    values = np.atleast_1d(loss.values)
    text = ", ".join(
        f"batch {b}: {v:.0f} %" for b, v in zip(np.atleast_1d(loss["batch"]), values, strict=True)
    )
    mean = float(values.mean())
    holds = abs(mean - claim.published) <= claim.judge.tolerance
    return Finding(holds, mean, text, towards=bool((values > 0).all()))


def every_thread_count_is_slower(tree, claim, left, right) -> Finding:
    """Largest throughput with threads over that without; the claim holds if it is below 1 everywhere."""
    (seconds,) = left.values()
    found = seconds.median("repeat").dropna("threads", how="all")
    ratio = found.sel(threads=0) / found.where(found["threads"] > 0)
    worst = float(ratio.max())
    return Finding(
        worst < 1, worst, "largest throughput with threads over without", towards=worst < 1
    )


def best_speedup(tree, claim, left, right) -> Finding:
    """Best over one process, largest batch."""
    (seconds,) = left.values()
    found = _medians(seconds, "processes")
    speedup = found.isel(processes=0) / found
    best = int(np.argmax(speedup.values))
    value = float(speedup[best])
    text = f"at {int(speedup['processes'][best])} processes"
    return Finding(
        abs(value - claim.published) <= claim.judge.tolerance, value, text, towards=value > 1.2
    )


def peaks_inside(tree, claim, left, right) -> Finding:
    """Processes at the largest throughput; holds if more processes were tried and were slower."""
    (seconds,) = left.values()
    found = _medians(seconds, "processes")
    best = int(np.argmin(found.values))
    counts = found["processes"].values
    inside = 0 < best < len(counts) - 1
    return Finding(
        inside, float(counts[best]), f"tried {', '.join(map(str, counts))}", towards=inside
    )


def amdahl(tree, claim, left, right) -> Finding:
    """Parallel fraction in percent from the best speedup, as the paper derives its own."""
    (seconds,) = left.values()
    found = _medians(seconds, "processes")
    speedup = found.isel(processes=0) / found
    best = int(np.argmax(speedup.values))
    if best == 0:
        return Finding(False, 0.0, "one process is fastest", towards=False)
    value = 100 * parallel_fraction(float(speedup[best]), int(speedup["processes"][best]))
    text = f"speedup {float(speedup[best]):.2f} at {int(speedup['processes'][best])} processes"
    return Finding(
        abs(value - claim.published) <= claim.judge.tolerance, value, text, towards=value > 0
    )


def larger_batches_are_faster(tree, claim, left, right) -> Finding:
    """Smallest ratio of throughput between a batch size and the next smaller one, over all counts."""
    (seconds,) = left.values()
    found = seconds.median("repeat")
    order = found.sortby("batch")
    ratios = order.isel(batch=slice(None, -1)).values / order.isel(batch=slice(1, None)).values
    if np.isnan(ratios).all():
        raise Missing(f"{seconds.name} holds no number there")
    worst = float(np.nanmin(ratios))
    typical = float(np.nanmedian(ratios))
    return Finding(worst > 1, worst, f"median ratio {typical:.2f}", towards=typical > 1)


def ends_in_order(tree, claim, left, right) -> Finding:
    """Rank correlation of hand-over and end of the tasks of one step."""
    (end,) = left.values()
    found = stats.spearmanr(np.arange(end.size), end.values, alternative="greater")
    p, r = float(found.pvalue), float(found.statistic)
    return Finding(bool(p < 0.05), r, f"p = {p:.2g}, {end.size} tasks", towards=r > 0)


def starts_together(tree, claim, left, right) -> Finding:
    """Spread of the tasks' starts over the time until all have ended."""
    start, end = left["start"].values, left["end"].values
    share = float((start.max() - start.min()) / (end.max() - start.min()))
    return Finding(
        share < claim.judge.high, share, "spread of starts over the whole", towards=share < 0.5
    )


def half_of_the_time(tree, claim, left, right) -> Finding:
    """Mean wait of a task in percent of the time until all are done, layers and weights, mean over the pools; a
    queue gives (N - 1) / 2N."""
    threads = left["wait"]["pool_threads"] > 0
    ratio = 100 * (left["wait"] / left["total"]).where(threads).mean("pool_threads")
    shares = [float(ratio.sel(phase=phase)) for phase in ("layers", "weights")]
    text = f"layers {shares[0]:.0f} %, weights {shares[1]:.0f} %"
    value = float(np.mean(shares))
    holds = abs(value - claim.published) <= claim.judge.tolerance
    return Finding(holds, value, text, towards=value > 25)


def mostly_products(tree, claim, left, right) -> Finding:
    """Share of time inside matrix products; most of the time would be more than half."""
    (share,) = left.values()
    value = 100 * float(share)
    return Finding(value > 50, value, "time inside torch's product functions", towards=value > 50)
