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
    first, *_ = left.values()
    mean = float(first.mean())
    text = "; ".join(
        f"{name} {float(array.mean()):.3g} ({_by_array(array)}), {int(array.notnull().sum())} cells"
        for name, array in left.items()
    )
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
    """Points of test accuracy lost by the delays 2(L-l), against the bound; NONE where none is published.

    The claim holds if all of the 95 % interval lies below the bound, fails if all of it lies above (for "no
    degradation": if all of it lies above 0 and the mean above the bound); else these seeds cannot say.
    """
    (accuracy,) = left.values()
    network = str(accuracy["network"].values)
    data = tree["accuracy"].to_dataset()
    lost = degradation(data).sel(network=network, arm="per-layer 2(L-l)")
    bound = NONE if not claim.published else claim.published
    parts = {str(o): lost.sel(optimizer=o) for o in lost["optimizer"].values}
    text = "; ".join(
        f"{name} {float(p['degradation']):.1f} points [{float(p['low']):.1f}, {float(p['high']):.1f}]"
        for name, p in parts.items()
    )
    judged = parts[str(accuracy["optimizer"].values)]
    mean, low, high = (float(judged[k]) for k in ("degradation", "low", "high"))
    holds = None
    if high < bound:
        holds = True
    elif low > (0 if not claim.published else bound) and mean > bound:
        holds = False
    note = f"{network}, delays 2(L-l): {text}; allowed {bound:g}"
    return Finding(holds, mean, note, towards=mean < bound if np.isfinite(mean) else None)
