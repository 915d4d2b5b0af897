"""Judges that only the e-prop paper's claims need: figures 1, 2 and 3.

Each takes (tree, claim, left, right) with the claim's selections by name and returns a Finding.
"""

import numpy as np
import xarray as xr
from scipy import stats

from paraspike.judges import Finding, Missing, compare, replicates
from paraspike.papers.eprop_published import welch

# A ratio of two ratios below this counts as a gap that has shrunk.
SHRUNK = 0.9


def _compare(left: xr.DataArray, right: xr.DataArray, names) -> tuple[float, float, str, float]:
    """Difference of means, two-sided p of Welch's t, words, and the further end of its 95 % interval."""
    a, b = replicates(left), replicates(right)
    difference = float(a.mean() - b.mean())
    text = f"{names[0]} {a.mean():.4g} against {names[1]} {b.mean():.4g}"
    if min(len(a), len(b)) < 2:
        return difference, np.nan, f"{text} (one value each, no test)", np.inf
    count = f"n = {len(a)}" if len(a) == len(b) else f"n = {len(a)} and {len(b)}"
    if max(np.ptp(a), np.ptp(b)) == 0:
        return difference, float(difference == 0), f"{text} (no spread, {count})", abs(difference)
    p = welch(a.mean(), a.std(ddof=1), len(a), b.mean(), b.std(ddof=1), len(b))
    half = _half_width(a, b)
    text += f": {difference:+.3g}, 95 % interval {difference - half:.3g} to {difference + half:.3g}"
    return difference, p, f"{text} (two-sided Welch p = {p:.2g}, {count})", abs(difference) + half


def _half_width(a: np.ndarray, b: np.ndarray) -> float:
    """Of the 95 % interval of the difference of means, by Welch's degrees of freedom."""
    errors = [x.var(ddof=1) / len(x) for x in (a, b)]
    spread = sum(e**2 / (len(x) - 1) for e, x in zip(errors, (a, b), strict=True))
    return float(stats.t.ppf(0.975, sum(errors) ** 2 / spread) * np.sqrt(sum(errors)))


def no_difference(tree, claim, left, right) -> Finding:
    """No significant difference; a clear direction only where the interval lies within the tolerance."""
    ((name, a),), ((other, b),) = left.items(), right.items()
    difference, p, text, furthest = _compare(a, b, (name, other))
    if np.isnan(p):
        return Finding(None, difference, text)
    room = claim.judge.tolerance
    if p >= 0.05:
        more = f"equal within {room:g}" if furthest <= room else "which is no proof of equality"
        text += f"; no difference shown, {more}"
    holds = p >= 0.05
    return Finding(
        holds, difference, text, beyond=not holds and difference > 0, towards=furthest <= room
    )


def second_size_is_better(tree, claim, left, right) -> Finding:
    """The second of the sizes that were run against the first: 512 neurons against 256 in the paper."""
    return _larger_is_better(left, 1)


def third_size_is_better(tree, claim, left, right) -> Finding:
    """The third of the sizes that were run against the second: 1024 neurons against 512 in the paper."""
    return _larger_is_better(left, 2)


def _larger_is_better(left, index) -> Finding:
    (accuracy,) = left.values()
    found = accuracy.dropna("hidden", how="all").sortby("hidden")
    if found.sizes["hidden"] <= index:
        raise Missing(f"{accuracy.name} holds {found.sizes['hidden']} size(s), {index + 1} needed")
    sides = found.isel(hidden=index), found.isel(hidden=index - 1)
    names = tuple(f"{int(side['hidden'])} neurons" for side in sides)
    difference, p, text, _ = _compare(*sides, names)
    if np.isnan(p):
        return Finding(None, difference, text)
    holds = difference > 0 and p < 0.05
    return Finding(holds, difference, text, towards=compare(*sides, names).towards)


def grows_less(tree, claim, left, right) -> Finding:
    """Exponent of the length of the right less that of the left, between the two longest lengths that both
    were timed at, for the size timed at most lengths (the middle one of several)."""
    ((name, a),), ((other, b),) = left.items(), right.items()
    medians = [_medians(array) for array in (a, b)]
    both = np.isfinite(medians[0]) & np.isfinite(medians[1])
    counts = both.sum("length").values
    sizes = np.flatnonzero(counts == counts.max())
    if counts.max() < 2:
        raise Missing(f"{a.name} needs two lengths that {name} and {other} were timed at")
    size = int(sizes[len(sizes) // 2])
    lengths = np.sort(both["length"].values[both.isel(hidden=size).values])[-2:]

    def exponent(array):
        ends = array.isel(hidden=size).sel(length=lengths).values
        return float(np.diff(np.log(ends))[0] / np.diff(np.log(lengths))[0])

    found = {name: exponent(medians[0]), other: exponent(medians[1])}
    less = found[other] - found[name]
    holds = less > claim.judge.tolerance
    everything = tree["training"]["seconds"]
    if "eProp factorised" in everything["arm"].values:
        third = exponent(_medians(everything.sel(arm="eProp factorised")))
        found |= {"eProp factorised": third} if np.isfinite(third) else {}
    text = ", ".join(f"{arm} {value:.2f}" for arm, value in found.items())
    where = f"{lengths[0]} to {lengths[1]} steps, {int(a['hidden'][size])} neurons"
    text = f"{text} ({where}); {claim.judge.tolerance:g} less counts"
    return Finding(holds, less, text, towards=holds)


def _medians(array: xr.DataArray) -> xr.DataArray:
    return array.median("repeat") if "repeat" in array.dims else array


def larger_fits(tree, claim, left, right) -> Finding:
    """The largest size within the budget at the longest length, left over right."""
    return _most_that_fits(tree, left, right, "hidden", "neurons")


def longer_fits(tree, claim, left, right) -> Finding:
    """The longest sequence within the budget, left over right."""
    return _most_that_fits(tree, left, right, "memory_length", "steps")


def _most_that_fits(tree, left, right, axis, unit) -> Finding:
    budget = float(tree["training"].attrs["budget"])
    peaks, longest = left | right, ""
    if "length" in next(iter(left.values())).dims:
        length = _lengths(peaks)[-1]
        peaks = {name: array.sel(length=length) for name, array in peaks.items()}
        longest = f" at {length} steps"
    # What was not run, because it was expected not to fit, is NaN.
    largest = [int(a[axis].values[(a <= budget).values].max(initial=0)) for a in peaks.values()]
    tried = int(next(iter(peaks.values()))[axis].max())
    told = ", ".join(f"{n} up to {m} {unit}" for n, m in zip(peaks, largest, strict=True))
    text = f"within {budget:g} MiB{longest} {told}; {tried} was the most tried"
    ours, theirs = largest
    if ours == theirs and ours in (0, tried):
        return Finding(None, np.nan, f"{text}: {'all' if ours else 'nothing'} fits")
    return Finding(ours > theirs, ours / theirs if theirs else np.nan, text, towards=ours > theirs)


def _lengths(peaks) -> list[int]:
    """The lengths at which the memory of any of these was measured, in order."""
    found = [
        int(length)
        for length in np.sort(next(iter(peaks.values()))["length"].values)
        if any(np.isfinite(a.sel(length=length)).any() for a in peaks.values())
    ]
    if not found:
        raise Missing("no peak was measured")
    return found


def _ratios(tree, left, right) -> xr.DataArray:
    """Left over right by batch size, without what was not measured."""
    (a,), (b,) = left.values(), right.values()
    ratio = (_medians(a) / _medians(b)).dropna("batch").sortby("batch")
    if not ratio.size:
        reason = tree["inference"].attrs.get("energy_reason")
        energy = str(a.name).startswith("energy") and reason
        raise Missing(
            f"no energy was measured ({reason})" if energy else f"{a.name} holds no number there"
        )
    return ratio


def _listed(keys, ratios, left, right) -> str:
    values = ", ".join(f"{v:.3g} at {k}" for k, v in zip(keys, ratios, strict=True))
    return f"{next(iter(left))} over {next(iter(right))}: {values}"


def _accuracies(tree, array: xr.DataArray) -> str:
    """How well the two networks do that are timed: a faster network may be a worse one."""
    group = tree["inference"].to_dataset()
    if "test_accuracy" not in group:
        return ""
    found = group["test_accuracy"].sel(device=str(array["device"].values))
    words = (f"{m} {float(found.sel(model=m)):.3g} %" for m in found["model"].values)
    return f"; accuracy {', '.join(words)}"


def above_at_all_batches(tree, claim, left, right) -> Finding:
    """Smallest ratio of left to right over the batch sizes; holds if it is above 1."""
    ratio = _ratios(tree, left, right)
    text = _listed(ratio["batch"].values, ratio.values, left, right) + _accuracies(
        tree, *left.values()
    )
    worst = float(ratio.min())
    return Finding(worst > 1, worst, text, towards=worst > 1)


def less_memory(tree, claim, left, right) -> Finding:
    """Smallest ratio of left to right over the sizes, at the longest length; holds if it is above 1 there.

    A size at which the left was over the budget, so not run, counts in favour.
    """
    ((name, a),), ((_, b),) = left.items(), right.items()
    smallest = (a / b).min("hidden").dropna("length").sortby("length")
    if not smallest.size:
        raise Missing(f"{a.name} holds no number there")
    length, worst = int(smallest["length"][-1]), float(smallest[-1])
    text = _listed(smallest["length"].values, smallest.values, left, right) + " steps"
    ends = a.sel(length=length), b.sel(length=length)
    over = a["hidden"].values[(np.isnan(ends[0]) & np.isfinite(ends[1])).values]
    if len(over):
        which = ", ".join(map(str, over))
        text += f"; at {length} steps {name} was over the budget at {which} neurons"
    return Finding(worst > 1, worst, text, towards=worst > 1)


def up_to(tree, claim, left, right) -> Finding:
    """Largest ratio of left to right over the batch sizes against the published one."""
    ratio = _ratios(tree, left, right)
    best, room = float(ratio.max()), np.log(claim.judge.factor)
    off = np.log(best / claim.published)
    text = _listed(ratio["batch"].values, ratio.values, left, right) + _accuracies(
        tree, *left.values()
    )
    text += f"; within a factor {claim.judge.factor:g} of {claim.published:g} counts as equal"
    return Finding(bool(abs(off) <= room), best, text, beyond=bool(off > room), towards=best > 1)


def gap_shrinks(tree, claim, left, right) -> Finding:
    """Ratio of left to right at the largest batch over that at the smallest."""
    ratio = _ratios(tree, left, right)
    if ratio.size < 2:
        raise Missing("one batch size alone was measured")
    change = float(ratio[-1] / ratio[0])
    listed = _listed(ratio["batch"].values, ratio.values, left, right)
    text = f"{listed}; below {SHRUNK:g} counts as smaller"
    if ratio[0] <= 1:
        text += "; there is no gap at the smallest batch"
    holds = bool(change < SHRUNK and ratio[0] > 1)
    return Finding(holds, change, text, towards=holds)


def suits_cpu_better(tree, claim, left, right) -> Finding:
    """Time on the GPU over time on the CPU, batch 1: left's over right's."""
    shares = {}
    for name, array in (left | right).items():
        if not {"cpu", "cuda"} <= set(array["device"].values):
            raise Missing("needs both a CPU and a GPU")
        times = _medians(array)
        shares[name] = float(times.sel(device="cuda") / times.sel(device="cpu"))
    if not np.isfinite([*shares.values()]).all():
        raise Missing("seconds holds no number there")
    ratio = shares[next(iter(left))] / shares[next(iter(right))]
    text = ", ".join(f"{name} {share:.3g}" for name, share in shares.items())
    return Finding(ratio > 1, ratio, f"GPU over CPU: {text}", towards=ratio > 1)
