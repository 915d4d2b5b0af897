"""What judging a claim takes: data, conditions and noise that a paper's results may not meet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict

from paraspike import paths
from paraspike.judges import Missing, select

CLASSES = {
    "cochlea": 20,
    "shd": 20,
    "digits": 10,
    "mnist": 10,
    "nmnist": 10,
    "blobs": 10,
    "modulation": 11,
    "dvsgesture": 11,
}
CHANCES = 2.0


class Needs(BaseModel):
    """What judging a claim takes; a need that is not met makes it `not tested here`.

    Attributes:
        dataset: the data the published number was measured on.
        scale: `paper` also takes the parameters of data/published/<paper>/parameters.csv.
        backend: e.g. cuda.  device: text in the device's name, for absolute times.
        seeds: the fewest seeds.
    """

    model_config = ConfigDict(extra="forbid")
    dataset: str | None = None
    scale: Literal["paper"] | None = None
    backend: str | None = None
    device: str | None = None
    seeds: int = 0


def facts(tree: xr.DataTree, expressions: Iterable[str]) -> dict:
    """Attributes of the experiments that selections draw on; values that differ are joined.

    Besides scale, backend, dataset and device: `unverified`, the sample counts of files that are
    not the published ones; `disturbed`, whether others used the machine during the times selected.
    """
    expressions = list(expressions)
    groups = _groups(tree, expressions).values()
    found = {key: tree.attrs[key] for key in ("scale", "backend") if key in tree.attrs}
    for key in ("scale", "backend", "dataset", "device"):
        seen = dict.fromkeys(str(g.attrs[key]) for g in groups if key in g.attrs)
        if seen:
            found[key] = ", ".join(seen)
    found["unverified"] = ", ".join(
        dict.fromkeys(_counts(g) for g in groups if g.attrs.get("data_verified", 1) == 0)
    )
    found["disturbed"] = any(_disturbed(tree, expression) for expression in expressions)
    return found


def unmet(
    needs: Needs,
    tree: xr.DataTree,
    expressions: Iterable[str],
    known: Mapping,
    left: Mapping[str, xr.DataArray],
) -> list[str]:
    """The needs that these results do not meet, as words for the claim's note."""
    lacking = []
    for key in ("dataset", "scale", "backend", "device"):
        wanted, have = getattr(needs, key), known.get(key, "unknown")
        fits = have == wanted if key != "device" else str(wanted).lower() in have.lower()
        if wanted and not fits:
            lacking.append(f"{key} {wanted} (here {have})")
    if known["unverified"]:
        lacking.append(f"the published data files (these are others: {known['unverified']})")
    seeds = min((a.sizes.get("seed", 1) for a in left.values()), default=needs.seeds)
    if seeds < needs.seeds:
        lacking.append(f"{needs.seeds} seeds (here {seeds})")
    if needs.scale == "paper":
        lacking += departures(tree, expressions)
    return lacking


def departures(tree: xr.DataTree, expressions: Iterable[str]) -> list[str]:
    """Parameters other than the published ones, of the experiments drawn on and of those whose
    weights they took."""
    groups = _groups(tree, expressions)
    taken = " ".join(group.attrs.get("inputs", "") for group in groups.values())
    for name, node in tree.children.items():
        if (digest := node.attrs.get("weights_sha256")) and digest in taken:
            groups.setdefault(name, node.to_dataset())
    found: dict[str, None] = {}
    for experiment, data in groups.items():
        for name, (published, here) in differences(tree.attrs["paper"], experiment, data).items():
            found[f"{name} {published} (here {here})"] = None
    return list(found)


def differences(paper: str, experiment: str, data: xr.Dataset) -> dict[str, tuple[str, str]]:
    """Parameter -> (published, here) where an experiment's stored parameters are not the paper's.

    The published ones are data/published/<paper>/parameters.csv; a parameter that was not stored
    is not compared.
    """
    file = paths.published(paper, "parameters.csv")
    if not file.is_file():
        return {}
    table = pd.read_csv(file)
    here = json.loads(data.attrs.get("parameters", "{}"))
    found = {}
    for row in table[
        table.experiments.str.split().map(lambda names: experiment in names)
    ].itertuples():
        published = json.loads(str(row.published))
        if row.parameter in here and not _same(published, here[row.parameter]):
            pair = (published, here[row.parameter])
            found[row.parameter] = tuple(_word(row.parameter, value) for value in pair)
    return found


def near_chance(
    tree: xr.DataTree, expressions: Mapping[str, str], sides: Mapping[str, xr.DataArray]
) -> list[str]:
    """Arms whose accuracy (the best over thresholds) is below twice chance: not trained at all."""
    found = []
    for name, array in sides.items():
        if not str(array.name).endswith("accuracy"):
            continue
        data = tree[expressions[name].split("/")[0]].attrs.get("dataset")
        means = array.mean([dim for dim in array.dims if dim != "threshold"])
        if data in CLASSES and float(means.max()) < CHANCES * 100 / CLASSES[data]:
            found.append(f"{name} {float(means.max()):.3g} % ({100 / CLASSES[data]:g} % is chance)")
    return found


def _groups(tree: xr.DataTree, expressions: Iterable[str]) -> dict[str, xr.Dataset]:
    names = sorted({expression.split("/")[0] for expression in expressions})
    return {name: tree[name].to_dataset() for name in names if name in tree.children}


def _counts(group: xr.Dataset) -> str:
    parts = json.loads(group.attrs.get("data", "[]"))
    words = [f"{p['split']} {p['samples']}" for p in parts if not p.get("verified", True)]
    return f"{' and '.join(sorted(words, reverse=True))} samples" if words else "unknown"


def _disturbed(tree: xr.DataTree, expression: str) -> bool:
    """Whether `disturbed`, which lies beside `seconds` on the same axes, is set in the selection."""
    experiment, _, rest = expression.partition("/")
    variable, _, items = rest.rstrip("]").partition("[")
    if variable != "seconds" or experiment not in tree.children:
        return False
    flags = tree[experiment].to_dataset().get("disturbed")
    if flags is None:
        return False
    kept = [i for i in items.split(",") if i.partition("=")[0].strip() in flags.dims]
    try:
        chosen = select(tree, f"{experiment}/disturbed[{','.join(kept)}]")
    except Missing:
        return False
    return bool(float(chosen.max()) > 0)


def _same(a, b) -> bool:
    if isinstance(a, Sequence) and not isinstance(a, str):
        return list(a) == list(b) if isinstance(b, Sequence) else False
    if isinstance(a, str) or isinstance(b, str | Sequence):
        return a == b
    return bool(np.isclose(a, b, rtol=1e-6, atol=0))


def _word(name: str, value) -> str:
    if name.endswith("_samples") and value == 0:
        return "all"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
