"""How a claim is weighed: selections from a paper's DataTree and comparisons between them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict
from scipy import stats

REPLICATES = ("seed", "repeat")
_REDUCTIONS = ("mean", "median", "min", "max", "sum")
_NUMBER = re.compile(r"^-?[0-9.]+$")
_EXPRESSION = re.compile(r"^(\w+)/(\w+)(?:\[(.*)\])?$")


class Missing(Exception):
    """The results do not hold what a claim asks for; the text says what, for the claim's note."""


@dataclass(frozen=True)
class Finding:
    """What a judge found.

    Attributes:
        holds: whether the claim holds here; None where these results cannot say.
        measured: the number set beside the published one, in the claim's unit.
        text: how it came about, for the note.
        beyond: better than published by more than the tolerance.
        towards: whether what was measured clearly points the claim's way; None where it is a number.
    """

    holds: bool | None
    measured: float
    text: str = ""
    beyond: bool = False
    towards: bool | None = None


class Judge(BaseModel):
    """How one claim is weighed; fields beyond `method` matter to the methods named.

    Attributes:
        method: greater (every left above every right, Welch's t over seeds), not_above (no left
            above its right by more than `tolerance`), similar (|left - right| or, with `factor`,
            their ratio), value (left against published), between (left between `low` and `high`),
            difference, ratio (left and right against published), slope (exponent of left over
            `along`, between `low` and `high`), function (`name` in papers/<paper>_claims.py), none
            (a sentence nothing here can judge; left is indicative).
        tolerance: in the claim's unit.  factor: a ratio may be off by this factor either way.
        at_least: the factor that `greater` asks for, for words like considerably.
        better: which side of the published number counts as beyond.
    """

    model_config = ConfigDict(extra="forbid")
    method: Literal[
        "greater",
        "not_above",
        "similar",
        "value",
        "between",
        "difference",
        "ratio",
        "slope",
        "function",
        "none",
    ]
    tolerance: float = 0.0
    factor: float | None = None
    at_least: float = 1.0
    better: Literal["higher", "lower"] | None = None
    along: str | None = None
    low: float = -np.inf
    high: float = np.inf
    name: str | None = None


def select(tree: xr.DataTree, expression: str) -> xr.DataArray:
    """The variable that "experiment/variable[dim=value, dim=reduction]" names, or a number.

    A value selects a coordinate (numbers to float32 rounding; of alternatives a|b the first that is
    there), `first` and `last` the smallest and largest; mean, median, min, max and sum reduce.

    Raises:
        Missing: no such experiment, variable or coordinate.
        ValueError: the expression cannot be read.
    """
    if _NUMBER.match(expression):
        return xr.DataArray(float(expression))
    parts = _EXPRESSION.match(expression)
    if not parts:
        raise ValueError(f"not experiment/variable[dim=value, ...]: {expression!r}")
    experiment, variable, rest = parts.groups()
    if experiment not in tree.children:
        raise Missing(f"experiment {experiment} was not run")
    group = tree[experiment].to_dataset()
    if variable not in group:
        raise Missing(f"{experiment} holds no {variable}")
    array = group[variable]
    for item in filter(None, (rest or "").split(",")):
        dim, _, value = (text.strip() for text in item.partition("="))
        if dim not in array.dims:
            raise Missing(f"{experiment}/{variable} has no axis {dim}")
        array = _pick(array, dim, value)
    return array


def _pick(array: xr.DataArray, dim: str, value: str) -> xr.DataArray:
    if value in _REDUCTIONS:
        return getattr(array, value)(dim)
    coordinate = array[dim].values
    if value in ("first", "last"):
        order = np.argsort(coordinate)
        return array.isel({dim: order[0 if value == "first" else -1]})
    for wanted in value.split("|"):
        if coordinate.dtype.kind in "iuf":
            found = np.flatnonzero(np.isclose(coordinate, float(wanted), rtol=1e-6))
        else:
            found = np.flatnonzero(coordinate == wanted)
        if len(found):
            return array.isel({dim: found[0]})
    have = ", ".join(map(str, coordinate.tolist()[:10]))
    raise Missing(f"{array.name} has no {dim} {value} (has {have})")


def replicates(array: xr.DataArray) -> np.ndarray:
    """Values over seeds or repetitions [n], the rest averaged, NaN left out (Missing if all)."""
    keep = next((dim for dim in REPLICATES if dim in array.dims), None)
    array = array.mean([dim for dim in array.dims if dim != keep])
    values = np.atleast_1d(array.values).astype(float)
    values = values[~np.isnan(values)]
    if not len(values):
        raise Missing(f"{array.name} holds no number there")
    return values


def centre(array: xr.DataArray) -> float:
    """The median over repetitions of a timing, else the mean over seeds."""
    return float((np.median if "repeat" in array.dims else np.mean)(replicates(array)))


def welch(left: Sequence[float], right: Sequence[float]) -> float:
    """One-sided p of Welch's t for left's mean above right's; NaN with fewer than two values."""
    if min(len(left), len(right)) < 2:
        return np.nan
    sides = [(np.mean(x), np.std(x, ddof=1), len(x)) for x in (left, right)]
    if max(sides[0][1], sides[1][1]) == 0:
        return 0.0 if sides[0][0] > sides[1][0] else 1.0
    return float(
        stats.ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False, alternative="greater")[1]
    )


def compare(
    left: xr.DataArray, right: xr.DataArray, names: tuple[str, str], at_least: float = 1.0
) -> Finding:
    """Whether left is above right (and by the factor `at_least`) at p < 0.05.

    Two values a side also point there if all of left lie above all of right and the difference
    above two standard errors; one value points nowhere.
    """
    a, b = replicates(left), replicates(right)
    difference, p = float(a.mean() - b.mean()), welch(a, b)
    fewest = min(len(a), len(b))
    count = f"n = {len(a)}" if len(a) == len(b) else f"n = {len(a)} and {len(b)}"
    test = f"Welch p = {p:.2g}, {count}" if fewest > 1 else "one value each, no test"
    text = f"{names[0]} {a.mean():.4g} against {names[1]} {b.mean():.4g} ({test})"
    large = difference > 0 and a.mean() >= at_least * b.mean()
    if at_least > 1:
        text += f"; a factor {at_least:g} counts"
    if fewest < 2:
        return Finding(bool(large), difference, text)
    towards = p < 0.05
    if fewest == 2:
        error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        towards = a.min() > b.max() and difference > 2 * error
    return Finding(bool(large and p < 0.05), difference, text, towards=bool(large and towards))


def weigh(
    judge: Judge,
    left: Mapping[str, xr.DataArray],
    right: Mapping[str, xr.DataArray],
    published: float | None,
) -> Finding:
    """Apply a declarative method to selections by name; one right serves several lefts."""
    if judge.method == "greater":
        pairs = product(left.items(), right.items())
        found = [compare(x, y, (n, m), judge.at_least) for (n, x), (m, y) in pairs]
        return min(found, key=lambda finding: (finding.holds, finding.measured))
    if judge.method == "slope":
        return _slope(judge, next(iter(left.values())))
    a = [centre(array) for array in left.values()]
    if judge.method == "value":
        return _against(judge, published, float(np.mean(a)), "")
    if judge.method == "between":
        outside = [x for x in a if not judge.low <= x <= judge.high]
        limits = [(judge.low, "from {:g}"), (judge.high, "up to {:g}")]
        text = "holds " + " ".join(w.format(x) for x, w in limits if np.isfinite(x))
        measured = outside[0] if outside else float(np.mean(a))
        return Finding(not outside, measured, text, towards=not outside)
    b = [centre(array) for array in right.values()]
    b, names = (b * len(a), [*right] * len(a)) if len(b) == 1 else (b, [*right])
    rows = zip(left, a, names, b, strict=True)
    text = "; ".join(f"{n} {x:.4g} against {m} {y:.4g}" for n, x, m, y in rows)
    if judge.method == "difference":
        return _against(judge, published, a[0] - b[0], text)
    if judge.method == "ratio":
        return _against(judge, published, a[0] / b[0], text)
    pairs = list(zip(a, b, strict=True))
    if judge.method == "not_above":
        measured = max(x - y for x, y in pairs)
        holds = measured <= judge.tolerance
    elif judge.factor:
        measured = max((x / y for x, y in pairs), key=lambda ratio: abs(np.log(ratio)))
        holds = abs(np.log(measured)) <= np.log(judge.factor)
        text = f"{text}; similar within a factor {judge.factor:g}"
    else:
        measured = max((x - y for x, y in pairs), key=abs)
        holds = abs(measured) <= judge.tolerance
        text = f"{text}; similar within {judge.tolerance:g}"
    return Finding(bool(holds), float(measured), text, towards=bool(holds))


def _against(judge: Judge, published: float | None, measured: float, text: str) -> Finding:
    if published is None:
        raise ValueError(f"{judge.method} needs a published number")
    if judge.factor:
        off = np.log(measured / published)
        room = np.log(judge.factor)
        rule = f"within a factor {judge.factor:g}"
    else:
        off, room, rule = measured - published, judge.tolerance, f"within {judge.tolerance:g}"
    beyond = off > room if judge.better == "higher" else judge.better == "lower" and off < -room
    text = f"{text}; {rule} of {published:g} counts as equal" if text else f"{rule} counts as equal"
    return Finding(bool(abs(off) <= room), measured, text, bool(beyond))


def _slope(judge: Judge, array: xr.DataArray) -> Finding:
    if judge.along not in array.dims or array.sizes[judge.along] < 2:
        raise Missing(f"{array.name} needs two values of {judge.along} or more")
    medians = [centre(array.isel({judge.along: i})) for i in range(array.sizes[judge.along])]
    x = array[judge.along].values.astype(float)
    slope = float(stats.linregress(np.log(x), np.log(medians)).slope)
    text = f"exponent of {judge.along} from {x.min():g} to {x.max():g}"
    holds = judge.low <= slope <= judge.high
    return Finding(holds, slope, text, towards=holds)
