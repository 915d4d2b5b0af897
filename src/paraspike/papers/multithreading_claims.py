"""Judges that only the multithreading paper's claims need.

Each takes (tree, claim, left, right) with the claim's selections by name and returns a Finding.
"""

import itertools

import numpy as np

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


def substantially_slower(tree, claim, left, right) -> Finding:
    """Largest throughput with threads over that without; holds if every thread count loses a tenth or more."""
    worst = float(_relative(left).max())
    return Finding(
        worst <= 0.9, worst, "at most 0.9 counts as substantially less", towards=worst < 1
    )


def mostly_doubled(tree, claim, left, right) -> Finding:
    """Share of thread counts and batch sizes that take at least 1.5 times as long as without threads."""
    ratio = _relative(left).values
    ratio = ratio[np.isfinite(ratio)]
    share = float((ratio <= 1 / 1.5).mean())
    text = f"{ratio.size} cases, median {float(np.median(1 / ratio)):.2f} times as long"
    return Finding(share > 0.5, share, text, towards=share > 0.5)


def _relative(left):
    """Throughput with each number of threads over that without."""
    (seconds,) = left.values()
    found = seconds.median("repeat")
    return found.sel(threads=0) / found.where(found["threads"] > 0)


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
    """Mean rank correlation of hand-over and end over the steps; a step counts as ordered above the 5 % point
    of the correlation of random orders."""
    end = left["end"].transpose(..., "task").values.reshape(-1, left["end"].sizes["task"])
    orders = np.array(list(itertools.permutations(range(end.shape[1]))))
    chance = np.sort(_rank_correlation(orders))
    found = _rank_correlation(end.argsort(1).argsort(1))
    ordered = (found > np.quantile(chance, 0.95)).mean()
    text = f"{ordered:.0%} of {len(end)} steps in order, {end.shape[1]} tasks each"
    return Finding(bool(ordered > 0.5), float(found.mean()), text, towards=bool(found.mean() > 0))


def _rank_correlation(ranks):
    n = ranks.shape[1]
    return 1 - 6 * ((ranks - np.arange(n)) ** 2).sum(1) / (n * (n**2 - 1))


def starts_together(tree, claim, left, right) -> Finding:
    """Spread of the tasks' starts over the time until all have ended."""
    start, end = left["start"], left["end"]
    spread = start.max("task") - start.min("task")
    share = float((spread / (end.max("task") - start.min("task"))).median())
    return Finding(
        share < claim.judge.high,
        share,
        "spread of starts over the whole, median of the steps",
        towards=share < 0.5,
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
