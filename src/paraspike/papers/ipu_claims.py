"""Judges that only the IPU poster's claims need.

Each takes (tree, claim, left, right) with the claim's selections by name and returns a Finding.
"""

import numpy as np

from paraspike.judges import Finding

# Efficiency at the most IPUs from which weak scaling counts as good.
GOOD = 0.8


def grows_with_sparsity(tree, claim, left, right) -> Finding:
    """Throughput rises with every step to lower activity, for every depth; NaN, which does not fit, aside."""
    (array,) = left.values()
    array = array.sortby("activity")
    steps = array.diff("activity")
    if not bool(steps.notnull().any()):
        return Finding(None, np.nan, "no network fits the machine")
    holds = bool((steps < 0).where(steps.notnull(), True).all())
    low, high = float(array["activity"][0]), float(array["activity"][-1])
    gain = array.isel(activity=0) / array.isel(activity=-1)
    text = f"from {high:.1%} to {low:.1%} by {float(gain.min()):.2g} to {float(gain.max()):.2g}, by depth"
    return Finding(holds, float(gain.median()), text, towards=holds)


def over_dense(tree, claim, left, right) -> Finding:
    """Modelled samples per second over those of the dense network measured here."""
    ((name, modelled),), ((other, seconds),) = left.items(), right.items()
    dense = tree["crossover"].attrs["published_batch"] / float(np.median(seconds))
    ratio = float(np.mean(modelled)) / dense
    text = f"{name} {float(np.mean(modelled)):.4g} samples/s, modelled, over {other} {dense:.3g}, measured here"
    return Finding(ratio >= claim.published, ratio, text, towards=None)


def factor_does_not_fall(tree, claim, left, right) -> Finding:
    """The factor over the dense network measured here, as both grow: constant (within a tenth) or growing."""
    ((_, modelled),), ((_, seconds),) = left.items(), right.items()
    fits = tree["model/tile_fits"].sel(tile_activity=modelled["tile_activity"])
    shared = [
        n for n in seconds["per_tile"].values if n in modelled["per_tile"] and fits.sel(per_tile=n)
    ]
    if len(shared) < 2:
        return Finding(None, np.nan, f"sizes in both: {shared}")
    dense = tree["crossover"].attrs["growing_batch"] / seconds.sel(per_tile=shared).median("run")
    factor = modelled.sel(per_tile=shared) / dense
    text = ", ".join(f"{float(f):.3g} at {n} a tile" for f, n in zip(factor, shared, strict=True))
    growth = float(factor[-1] / factor[0])
    return Finding(growth >= 0.9, growth, f"modelled over measured here: {text}", towards=None)


def scales_well(tree, claim, left, right) -> Finding:
    """Weak scaling: efficiency at the most IPUs, at the model's barriers and at as many as the sheet allows."""
    values = {name: float(array.isel(ipus=-1).min()) for name, array in left.items()}
    ipus = int(next(iter(left.values()))["ipus"][-1])
    text = ", ".join(f"{name} {v:.2g}" for name, v in values.items()) + f" at {ipus} IPUs"
    least, most = min(values.values()), max(values.values())
    holds = True if least >= GOOD else False if most < GOOD else None
    return Finding(holds, most, f"{text}; good means {GOOD} here", towards=most >= GOOD)


def higher(tree, claim, left, right) -> Finding:
    """Left above right, both modelled: one number each and no spread."""
    ((name, a),), ((other, b),) = left.items(), right.items()
    ratio = float(a) / float(b)
    return Finding(ratio > 1, ratio, f"{name} over {other}: {ratio:.3g}", towards=ratio > 1)


def example_is_the_posters(tree, claim, left, right) -> Finding:
    """The list of the poster's seven potentials."""
    ids, counts = (array.values.astype(int).tolist() for array in left.values())
    holds = ids == [1, 4, 6, -1] and counts == [1, 3]
    return Finding(holds, float(holds), f"ids {ids[: counts[1]]}, counts {counts}")
