"""Judges that only the SPSN paper's claims need: figures 1C, 4, 5 and 6.

Each takes (tree, claim, left, right) with the claim's selections by name and returns a Finding.
"""

import json

import numpy as np
import xarray as xr
from scipy import stats

from paraspike.judges import Finding, Missing, centre, compare
from paraspike.needs import CHANCES, CLASSES

PUBLISHED_STEP_MS = 1.0
THRESHOLD = 1.0


def fires_at_threshold(tree, claim, left, right) -> Finding:
    """A spike wherever the potential before the reset is above the threshold, and only there."""
    before, spike = left["potential"].values, left["spike"].values > 0
    if not spike.any():
        return Finding(None, np.nan, "the LIF neuron did not spike on this input")
    broken = int(np.sum(spike != (before > THRESHOLD)))
    return Finding(broken == 0, broken, f"{int(spike.sum())} spikes in {len(spike)} steps")


def density_follows_potential(tree, claim, left, right) -> Finding:
    """Correlation of spike and potential over the steps, tested above 0 for both neurons."""
    found = {}
    for name, spikes in left.items():
        potential = tree["neurons"]["potential"].sel(neuron=name).values
        found[name] = stats.pearsonr(potential, spikes.values, alternative="greater")
    worst = min(found.values(), key=lambda r: r.statistic)
    text = ", ".join(f"{n} r = {r.statistic:.2f} (p = {r.pvalue:.2g})" for n, r in found.items())
    return Finding(all(r.pvalue < 0.05 for r in found.values()), float(worst.statistic), text)


def fires_at_low_potential(tree, claim, left, right) -> Finding:
    """The lowest potential at which each neuron fired lies below half the LIF threshold."""
    lowest = {}
    for name, spikes in left.items():
        potential = tree["neurons"]["potential"].sel(neuron=name).values
        fired = potential[spikes.values > 0]
        if not len(fired):
            return Finding(None, np.nan, f"{name} did not spike on this input")
        lowest[name] = float(fired.min())
    text = ", ".join(f"{name} {value:.3g}" for name, value in lowest.items())
    worst = max(lowest.values())
    return Finding(worst < THRESHOLD / 2, worst, f"lowest potential with a spike: {text}")


def _rates(tree: xr.DataTree, accuracy: xr.DataArray) -> tuple[np.ndarray, float]:
    """Mean spikes per ms at each threshold, and how many here fire as the paper's 1 per ms does.

    The paper steps by 1 ms; at a coarser step the same spikes per step are fewer spikes per ms.
    """
    model = str(accuracy["model"].values)
    rates = tree["regularisation"]["spikes_per_ms"].sel(model=model)
    step = json.loads(tree["regularisation"].attrs.get("parameters", "{}")).get("dt", 1e-3) * 1e3
    return rates.mean([d for d in rates.dims if d != "threshold"]).values, PUBLISHED_STEP_MS / step


def _limit(published: float, scale: float) -> str:
    if scale == 1:
        return f"{published:g} spikes/ms"
    return f"{published * scale:.3g} spikes/ms (as many per step as {published:g} at 1 ms)"


def _where(
    accuracy: xr.DataArray, chosen: np.ndarray, what: str, rates: np.ndarray
) -> xr.DataArray:
    if not chosen.any():
        span = f"{rates.min():.3g} to {rates.max():.3g}"
        raise Missing(f"no threshold gives {what}: they give {span} spikes/ms")
    return accuracy.isel(threshold=np.flatnonzero(chosen))


def drops_at_low_rate(tree, claim, left, right) -> Finding:
    """Accuracy over thresholds above 50 spikes/ms against that below 25."""
    (accuracy,) = left.values()
    rates, scale = _rates(tree, accuracy)
    high = _where(accuracy, rates > 50 * scale, f"more than {_limit(50, scale)}", rates)
    low = _where(accuracy, rates < 25 * scale, f"fewer than {_limit(25, scale)}", rates)
    return compare(high, low, (f"above {_limit(50, scale)}", f"below {_limit(25, scale)}"))


def constant_at_high_rate(tree, claim, left, right) -> Finding:
    """The range of mean accuracy over thresholds above 50 spikes/ms stays within the tolerance."""
    (accuracy,) = left.values()
    rates, scale = _rates(tree, accuracy)
    high = _where(accuracy, rates > 50 * scale, f"more than {_limit(50, scale)}", rates)
    if high.sizes["threshold"] < 2:
        raise Missing(f"one threshold alone gives more than {_limit(50, scale)}")
    means = high.mean([d for d in high.dims if d != "threshold"])
    spread = float(means.max() - means.min())
    text = f"{means.size} thresholds give more than {_limit(50, scale)}"
    chance = 100 / CLASSES.get(tree["regularisation"].attrs.get("dataset"), 20)
    if float(means.min()) < CHANCES * chance:
        return Finding(None, spread, f"{text}; near chance ({float(means.min()):.3g} %)")
    holds = spread <= claim.judge.tolerance
    return Finding(
        holds, spread, f"{text}; constant within {claim.judge.tolerance:g}", towards=holds
    )


def better_at_low_rate(tree, claim, left, right) -> Finding:
    """Accuracy at the theta nearest to 25 spikes/ms, against an unregularised network."""
    ((name, accuracy),) = left.items()
    ((other, reference),) = right.items()
    rates, scale = _rates(tree, accuracy)
    off = np.abs(np.log(rates / (25 * scale)))
    near = _where(
        accuracy, (off == off.min()) & (off < np.log(1.6)), f"about {_limit(25, scale)}", rates
    )
    rate = float(rates[off.argmin()])
    return compare(near, reference, (f"{name} at {rate:.3g} spikes/ms", other))


def tolerates_low_rates(tree, claim, left, right) -> Finding:
    """Accuracy at equal rates below 25 spikes/ms, left's interpolated at right's rates.

    Where the two ranges of rates do not overlap there, the nearest pair of rates up to a factor 1.6
    apart is compared.
    """
    ((name, accuracy),) = left.items()
    ((other, reference),) = right.items()
    own, scale = _rates(tree, accuracy)
    theirs, _ = _rates(tree, reference)
    limit = 25 * scale
    order = np.argsort(own)
    curve = accuracy.isel(threshold=order).assign_coords(threshold=np.log(own[order]))
    inside = (theirs < limit) & (theirs >= own.min()) & (theirs <= own.max())
    if inside.any():
        points = xr.DataArray(np.log(theirs[inside]), dims="threshold")
        sides = curve.interp(threshold=points), reference.isel(threshold=np.flatnonzero(inside))
        at = [", ".join(f"{rate:.3g}" for rate in np.sort(theirs[inside]))] * 2
    else:
        apart = np.abs(np.log(own[:, None] / theirs))
        apart[(own[:, None] >= limit) | (theirs >= limit)] = np.inf
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        if apart[i, j] > np.log(1.6):
            spans = [f"{r.min():.3g} to {r.max():.3g}" for r in (own, theirs)]
            what = f"no two rates below {_limit(25, scale)} are alike"
            raise Missing(f"{what}: {name} {spans[0]}, {other} {spans[1]} spikes/ms")
        sides = accuracy.isel(threshold=i), reference.isel(threshold=j)
        at = [f"{own[i]:.3g}", f"{theirs[j]:.3g}"]
    names = tuple(f"{n} at {r} spikes/ms" for n, r in zip((name, other), at, strict=True))
    return compare(*sides, names)


def best_threshold(tree, claim, left, right) -> Finding:
    """The threshold of the best mean accuracy is the published one."""
    (accuracy,) = left.values()
    means = accuracy.mean([d for d in accuracy.dims if d != "threshold"])
    best = float(means["threshold"][int(means.values.argmax())])
    text = ", ".join(
        f"{t:g}: {m:.4g}" for t, m in zip(means["threshold"].values, means.values, strict=True)
    )
    return Finding(bool(np.isclose(best, claim.published)), best, f"accuracy by threshold: {text}")


def _ratios(left: xr.DataArray, right: xr.DataArray) -> xr.DataArray:
    medians = [a.median([d for d in a.dims if d != "length"]) for a in (left, right)]
    return medians[0] / medians[1]


def speedup_grows(tree, claim, left, right) -> Finding:
    """LIF over SPSN at the longest length is above that at the shortest."""
    ratio = _ratios(*left.values(), *right.values()).dropna("length").sortby("length")
    first, last = float(ratio[0]), float(ratio[-1])
    lengths = ratio["length"].values
    text = f"{first:.3g}x at {lengths[0]} steps, {last:.3g}x at {lengths[-1]}"
    return Finding(last > first, last / first, text, towards=last > first)


def speedup_at_longest(tree, claim, left, right) -> Finding:
    """LIF over SPSN at the longest length; the note says what other LIF baselines leave of it."""
    lif, spsn = next(iter(left.values())), next(iter(right.values()))
    ratio = _ratios(lif, spsn).dropna("length").sortby("length")
    length, measured = int(ratio["length"][-1]), float(ratio[-1])
    seconds = tree["duration"]["seconds"].sel(length=length)
    own = centre(seconds.sel(arm="LIF as published"))
    texts = [f"at {length} steps the published loop takes {own:.3g} s, {measured:.3g}x SPSN-SB"]
    for arm, what in (
        ("LIF unbind", "without its O(T^2) slicing"),
        ("LIF fused", "as a fused kernel"),
    ):
        if arm in seconds["arm"].values:
            other = centre(seconds.sel(arm=arm))
            share = f"{1 - other / own:.0%} of its time gone"
            texts.append(f"{what} {other / centre(spsn.sel(length=length)):.3g}x ({share})")
    off = np.log(measured / claim.published)
    room = np.log(claim.judge.factor)
    reached = length >= 10_000
    if not reached:
        texts.append("10,000 steps were not run")
    return Finding(abs(off) <= room if reached else None, measured, ", ".join(texts), off > room)


def correct_in_every_pass(tree, claim, left, right) -> Finding:
    """Of the shown samples whose mean readout is right: the share that is right in every pass."""
    ((name, predicted),) = left.items()
    group = tree["robustness"].to_dataset()
    mean = group["readout_mean"].sel(stochastic_model=name).mean("trial")
    shown = dict(sample=slice(mean.sizes["shown_sample"]))
    label = group["label"].isel(shown).values
    known = mean.idxmax("class").values == label
    text = f"{int(known.sum())} of {len(known)} shown samples are known on average"
    if not known.any():
        return Finding(None, np.nan, text)
    passes = predicted.isel(shown).transpose("sample", "trial").values
    share = 100 * float((passes == label[:, None]).all(1)[known].mean())
    if known.mean() < 0.5:
        return Finding(None, share, f"{text}, fewer than half")
    return Finding(share == 100, share, text, towards=share == 100)


def deviation_below_lead(tree, claim, left, right) -> Finding:
    """Lead of the best class over the second, in standard deviations of that lead."""
    (readout,) = left.values()
    ratios = []
    for values in readout.transpose("shown_sample", "class", "trial").values:
        ranks = np.argsort(values.mean(1))
        lead = values[ranks[-1]] - values[ranks[-2]]
        ratios.append(lead.mean() / max(lead.std(ddof=1), 1e-12))
    worst = float(min(ratios))
    text = (
        f"over {len(ratios)} shown samples, median {np.median(ratios):.3g}; above 2 counts as small"
    )
    return Finding(worst > 2, worst, text, towards=worst > 2)
