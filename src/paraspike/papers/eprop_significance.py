"""The significance tests that the e-prop paper's draft left to do, here and on its own runs."""

import numpy as np
import pandas as pd

from paraspike.papers.eprop_published import BPTT, EPROP, accuracies, holm, welch

# Arms whose accuracy on SHD is published: (algorithm, neuron).
SOURCES = {"eProp ALIF": (EPROP, "ALIF"), "eProp LIF": (EPROP, "LIF"), "BPTT LIF": (BPTT, "LIF")}
# The comparisons that the paper makes or should, (arm, neurons) against (arm, neurons); neurons below ten
# stand for the first, second, third size there is.
PAIRS = (
    (("eProp ALIF", 256), ("BPTT LIF", 256)),
    (("eProp LIF", 256), ("BPTT LIF", 256)),
    (("eProp ALIF", 2), ("eProp ALIF", 1)),
    (("eProp ALIF", 3), ("eProp ALIF", 2)),
)


def values(accuracy, arm: str, connectivity: str, n: int) -> np.ndarray:
    """Test accuracies over the seeds of one network; none where it was not run."""
    if arm not in accuracy["arm"].values or n not in accuracy["hidden"].values:
        return np.zeros(0)
    found = accuracy.sel(arm=arm, connectivity=connectivity, hidden=n).values
    return found[np.isfinite(found)]


def tests(data, connectivity: str) -> pd.DataFrame:
    """Every comparison of `PAIRS`: difference in points, p of Welch's t (two-sided) and, corrected for this
    table's comparisons (Holm), in brackets; here and published."""
    known, accuracy = accuracies(), data["test_accuracy"]

    def ours(arm, n):
        found = values(accuracy, arm, connectivity, n)
        if not len(found):
            return np.nan, np.nan, 0
        return found.mean(), found.std(ddof=1) if len(found) > 1 else np.nan, len(found)

    def theirs(arm, n):
        return known.get((*SOURCES[arm], connectivity, n, "shd"), (np.nan, np.nan, 0))

    here = sorted(map(int, data["hidden"].values))
    there = sorted({k[3] for k in known if k[:2] == SOURCES["eProp ALIF"] and k[4] == "shd"})
    columns, names = {}, {}
    for kind, look, sizes in (("here", ours, here), ("published", theirs, there)):
        pairs = [[(arm, _size(n, sizes)) for arm, n in pair] for pair in PAIRS]
        names[kind] = [" - ".join(f"{arm} {n}" for arm, n in pair) for pair in pairs]
        sides = [(look(*a), look(*b)) for a, b in pairs]
        chances = [welch(*a, *b) if min(a[2], b[2]) > 1 else np.nan for a, b in sides]
        rows = zip(sides, chances, holm(chances), strict=True)
        columns[kind] = [_cell(a[0] - b[0], p, corrected) for (a, b), p, corrected in rows]
    index = [
        a if a == b else f"{a}\n(published: {b.replace('eProp ALIF ', '')})"
        for a, b in zip(names["here"], names["published"], strict=True)
    ]
    return pd.DataFrame(columns, index=index)


def _size(n: int, sizes: list[int]) -> int:
    if n >= 10:
        return n
    return sizes[n - 1] if n <= len(sizes) else 0


def _cell(difference, p, corrected) -> str:
    if not np.isfinite(difference):
        return "not run"
    return f"{difference:+.1f}, " + ("no test" if np.isnan(p) else f"p = {p:.2g} ({corrected:.2g})")
