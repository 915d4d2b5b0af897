"""Parts of a split run joined, and all runs of a paper collected in one DataTree."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import xarray as xr

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.netcdf import canonical, canonical_json, open_run, write

_EXACT = dict(
    data_vars="minimal", coords="minimal", compat="equals", join="exact", combine_attrs="override"
)


def merge_parts(files: Sequence[str | Path], axes: Sequence[str] | None = None) -> xr.Dataset:
    """One Dataset from a run split over axes (default: those whose coordinates differ).

    Number axes come out sorted, others in the order of `files`. Parameters that differ become
    lists.

    Raises:
        ReaderError: a part of the grid is missing or there twice, a variable without the axis
            differs, or the parts come from different code, scale or backend.
    """
    parts = [open_run(file) for file in files]
    where = paths.relative(Path(files[0]).parent)
    for key in ("paper", "experiment", "scale", "backend", "code", "operators", "inputs"):
        if len({part.attrs.get(key) for part in parts}) > 1:
            hint = "run them again with one code and config"
            raise ReaderError(f"parts differ in {key!r}", where, hint)
    if axes is None:
        axes = [d for d in parts[0].dims if any(not part[d].equals(parts[0][d]) for part in parts)]
    cells = {tuple(tuple(part[axis].values.tolist()) for axis in axes): part for part in parts}
    values = [list(dict.fromkeys(key[i] for key in cells)) for i in range(len(axes))]
    values = [sorted(v) if isinstance(v[0][0], int | float) else v for v in values]
    missing = [key for key in product(*values) if key not in cells]
    if missing:
        named = ", ".join(f"{a} {v}" for a, v in zip(axes, missing[0], strict=True))
        raise ReaderError(f"a part is missing: {named}", where, "run the whole grid")
    if len(cells) != len(parts):
        what = f"a part is there twice (axes: {', '.join(axes) or 'none'})"
        raise ReaderError(what, where, "give every part once")

    def join(prefix: tuple) -> xr.Dataset:
        if len(prefix) == len(axes):
            return cells[prefix]
        axis = axes[len(prefix)]
        pieces = [join((*prefix, value)) for value in values[len(prefix)]]
        return xr.concat(pieces, axis, **_EXACT)

    try:
        whole = join(())
    except ValueError as error:
        what = f"parts do not fit together: {str(error).splitlines()[0]}"
        raise ReaderError(what, where) from error
    return whole.assign_attrs(_merged_attributes(parts))


def _merged_attributes(parts: Sequence[xr.Dataset]) -> dict:
    attrs = dict(parts[0].attrs)
    decoded = [json.loads(part.attrs["parameters"]) for part in parts]
    parameters = {}
    for key in decoded[0]:
        values = [d.get(key) for d in decoded]
        same = all(v == values[0] for v in values)
        flat = [x for v in values for x in (v if isinstance(v, list) else [v])]
        parameters[key] = values[0] if same else list(dict.fromkeys(flat))
    attrs["parameters"] = canonical_json(parameters)
    seeds = {s for part in parts for s in json.loads(part.attrs["seeds"])}
    attrs["seeds"] = canonical_json(sorted(seeds))
    rows = {canonical_json(row) for part in parts for row in json.loads(part.attrs["data"])}
    attrs["data"] = canonical_json([json.loads(row) for row in sorted(rows)])
    attrs["data_verified"] = int(min(part.attrs["data_verified"] for part in parts))
    attrs.pop("weights_sha256", None)
    return attrs


def collect(files: Sequence[str | Path], out: str | Path) -> xr.DataTree:
    """Write one paper's DataTree: a group per experiment, parts of one experiment merged.

    Raises:
        ReaderError: the files are of several papers, or parts do not fit together.
    """
    experiments: dict[str, list] = {}
    papers = set()
    for file in files:
        attrs = open_run(file).attrs
        papers.add(attrs["paper"])
        experiments.setdefault(attrs["experiment"], []).append(file)
    if len(papers) != 1:
        what = f"one paper's runs are needed, these are of: {', '.join(sorted(papers)) or 'none'}"
        raise ReaderError(what, paths.relative(paths.resolve(out)), "collect one paper at a time")
    groups = {}
    for name, parts in sorted(experiments.items()):
        groups[name] = canonical(open_run(parts[0]) if len(parts) == 1 else merge_parts(parts))
    first = next(iter(groups.values())).attrs
    shared = ("paper", "references")
    summary = {key: first[key] for key in shared if key in first}
    for key in ("scale", "backend"):
        summary[key] = ", ".join(sorted({g.attrs[key] for g in groups.values()}))
    summary["title"] = f"{summary['paper']}: everything measured"
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=dict(sorted(summary.items()))), **groups})
    write(tree, paths.resolve(out))
    return tree
