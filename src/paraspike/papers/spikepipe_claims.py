"""Judges that only SpikePipe's claims need: means over networks, processors, batches and arrays; lost accuracy.

Each takes (tree, claim, left, right) with the claim's selections by name and returns a Finding.
"""

import numpy as np

from paraspike.judges import Finding
from paraspike.papers.spikepipe_accuracy import degradation

# How far a mean over our stand-in networks may lie from the published one, as a share.
NEAR = 0.1
# Points of accuracy that "no degradation" allows.
NONE = 2.0


def mean_gain(tree, claim, left, right) -> Finding:
    """The mean gain over all cells against the published mean; the first selection is judged."""
    judged, first = next(iter(left.items()))
    mean = float(first.mean())
    text = "; ".join(
        f"{name} {float(array.mean()):.3g} ({_by_array(array)}), {int(array.notnull().sum())} cells"
        for name, array in left.items()
    )
    data = tree["schedules"].to_dataset()
    speedup = data["speedup"].where(data["processors"] <= data["layers"])
    others = [
        f"{way} {float((speedup.sel(way=judged) / speedup.sel(way=way)).mean()):.3g}"
        for way in ("equal layers", "GPipe", "1F1B")
        if way in data["way"].values
    ]
    text += f"; over other baselines: {', '.join(others)}" if others else ""
    holds = abs(mean / claim.published - 1) <= NEAR
    beyond = mean > claim.published * (1 + NEAR)
    return Finding(holds or beyond, mean, text, beyond=beyond, towards=mean > 1)


def _by_array(array):
    return ", ".join(
        f"{float(array.sel(array=a).mean()):.3g} at {a} x {a}" for a in array["array"].values
    )


def some_above(tree, claim, left, right) -> Finding:
    """Whether some cell lies above the published number, and how many."""
    ((name, array),) = left.items()
    most, above = float(array.max()), int((array > claim.published).sum())
    cells = int(array.notnull().sum())
    return Finding(above > 0, most, f"{name}: {above} of {cells} cells above", towards=above > 0)


def mean_below(tree, claim, left, right) -> Finding:
    """The mean over cells with no more processors than layers, in percent, below the published number; the
    first selection is judged."""
    layers = tree["schedules"].to_dataset()["layers"]
    left = {name: array.where(array["processors"] <= layers) for name, array in left.items()}
    first, *_ = left.values()
    mean = 100 * float(first.mean())
    text = "; ".join(
        f"{name}: mean {a.mean():.2g} %, {a.min():.2g} to {a.max():.2g} %"
        for name, a in ((name, 100 * array.values[array.notnull()]) for name, array in left.items())
    )
    return Finding(mean < claim.published, mean, text, towards=mean < claim.published)


def loses_at_most(tree, claim, left, right) -> Finding:
    """Test accuracy lost by the delays 2(L-l), against the bound; NONE where none is published.

    "Less than 10 %" may mean points or a share of the accuracy with exact gradients: both must agree. The
    claim holds if all of the 95 % interval lies below the bound, fails if all of it lies above (for "no
    degradation": if all of it lies above 0 and the mean above the bound); else these seeds cannot say.
    """
    (accuracy,) = left.values()
    network = str(accuracy["network"].values)
    data = tree["accuracy"].to_dataset()
    lost = degradation(data).sel(network=network, arm="per-layer 2(L-l)")
    bound = NONE if not claim.published else claim.published
    exact = data["test_accuracy"].sel(network=network, arm="exact").mean("seed")
    words, readings = [], []
    for name in map(str, lost["optimizer"].values):
        points = [float(lost[k].sel(optimizer=name)) for k in ("degradation", "low", "high")]
        shares = [100 * value / float(exact.sel(optimizer=name)) for value in points]
        words.append(
            f"{name} {points[0]:.1f} points [{points[1]:.1f}, {points[2]:.1f}], {shares[0]:.1f} % of exact"
        )
        if name == str(accuracy["optimizer"].values):
            readings = [points] if not claim.published else [points, shares]
    verdicts = {_holds(*reading, bound, claim.published) for reading in readings}
    holds = verdicts.pop() if len(verdicts) == 1 else None
    note = f"{network}, delays 2(L-l): {'; '.join(words)}; allowed {bound:g}"
    mean = readings[0][0]
    towards = all(reading[0] < bound for reading in readings) if np.isfinite(mean) else None
    return Finding(holds, mean, note, towards=towards)


def _holds(mean, low, high, bound, published):
    if high < bound:
        return True
    if low > (bound if published else 0) and mean > bound:
        return False
    return None
