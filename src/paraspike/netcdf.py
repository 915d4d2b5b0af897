"""netCDF and weight files that repeat byte for byte."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from paraspike import paths
from paraspike.errors import ReaderError

COORDINATES = {
    "seed": "random seed",
    "epoch": "training epoch",
    "repeat": "repetition of the timing",
    "trial": "stochastic pass",
    "sample": "index in the data set",
    "model": "network model",
    "regime": "training regime",
    "layer": "hidden layer",
    "neuron": "neuron model",
    "step": "time step",
    "class": "class",
    "readout": "readout reduction over time",
    "arm": "implementation",
}
# units of "seconds" must stay numbers, not become time deltas
_PLAIN = {"engine": "h5netcdf", "decode_times": False, "decode_timedelta": False}


def canonical_json(value: object) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def describe(dataset: xr.Dataset, **names: tuple[str, str]) -> xr.Dataset:
    """Set `long_name` and `units`: describe(ds, loss=("training loss", "1")).

    The house's own axes (seed, epoch, model, ...) get theirs where they have none.

    Raises:
        ReaderError: no variable of that name.
    """
    dataset = dataset.copy()
    for name in names.keys() - set(dataset.variables):
        raise ReaderError(
            f"no variable {name!r} to describe", ", ".join(map(str, dataset.variables))
        )
    for name in set(COORDINATES) & set(dataset.coords):
        dataset[name].attrs = {"long_name": COORDINATES[name], "units": "1"} | dataset[name].attrs
    for name, (text, unit) in names.items():
        dataset[name].attrs |= {"long_name": text, "units": unit}
    return dataset


def check(dataset: xr.Dataset, attrs: Mapping) -> None:
    """Refuse what could not be read back and understood.

    Raises:
        ReaderError: names the variable without `units` or `long_name`, the dimension without a
            coordinate, or the attribute that is no text, number or list of them.
    """
    for name, variable in dataset.variables.items():
        lacking = [key for key in ("long_name", "units") if not variable.attrs.get(key)]
        if lacking:
            hint = f'describe(dataset, {name}=("what it is", "unit, 1 if none"))'
            raise ReaderError(
                f"variable {name!r} has no {' and no '.join(lacking)}", "the Dataset to save", hint
            )
    for name in dataset.dims:
        if name not in dataset.coords:
            hint = f"dataset.assign_coords({name}=...)"
            raise ReaderError(f"dimension {name!r} has no coordinate", "the Dataset to save", hint)
    for name, value in attrs.items():
        kind = np.asarray(value).dtype.kind if value is not None else "O"
        if kind not in "Uif" or isinstance(value, dict):
            what = f"attribute {name!r} is a {type(value).__name__}"
            raise ReaderError(what, "the Dataset to save", "use text, a number or a list of them")


def write(data: xr.Dataset | xr.DataTree, file: Path) -> None:
    """Write a netCDF whose bytes depend on names, values and attributes only, and on whether h5netcdf is
    installed."""
    with paths.replacing(file) as temporary:
        if isinstance(data, xr.DataTree):
            data.to_netcdf(temporary, engine="h5netcdf")
        elif find_spec("h5netcdf") is None:
            from paraspike import netcdf_plain

            netcdf_plain.write(canonical(data), temporary)
        else:
            canonical(data).to_netcdf(temporary, engine="h5netcdf")


def canonical(dataset: xr.Dataset) -> xr.Dataset:
    """Variables, coordinates and attributes sorted, text plain, no inherited encoding."""
    dataset = dataset.drop_encoding()
    names = [*sorted(map(str, dataset.data_vars)), *sorted(map(str, dataset.coords))]
    ordered = {}
    for name in names:
        variable = dataset[name].variable.to_base_variable()
        values = np.asarray(variable.values)
        values = values.astype(str) if values.dtype.kind in "OT" else values
        ordered[name] = xr.Variable(variable.dims, values, dict(sorted(variable.attrs.items())))
    whole = xr.Dataset(ordered, attrs=dict(sorted(dataset.attrs.items())))
    return whole.set_coords([str(name) for name in dataset.coords])


def write_weights(file: Path, weights: Mapping[str, np.ndarray]) -> None:
    """An .npz with sorted names and a fixed date, so that equal weights give equal bytes."""
    with paths.replacing(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(weights):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(weights[name]), allow_pickle=False)


def load_weights(files: str | Path | Sequence[str | Path]) -> dict[str, np.ndarray]:
    """Arrays by name from one weights file, or from those of all parts of a run.

    An array that several parts hold is joined along its first axis, the seeds, in the files' order.

    Raises:
        ReaderError: a file is missing.
    """
    found: dict[str, list[np.ndarray]] = {}
    for file in [files] if isinstance(files, str | Path) else files:
        with np.load(_existing(file)) as archive:
            for name in archive.files:
                found.setdefault(name, []).append(archive[name])
    return {name: a[0] if len(a) == 1 else np.concatenate(a) for name, a in found.items()}


def open_run(file: str | Path) -> xr.Dataset:
    """One run's Dataset, in memory.

    Raises:
        ReaderError: no such file.
    """
    with xr.open_dataset(_existing(file), **_PLAIN) as dataset:
        return dataset.load().drop_encoding()


def open_paper(file: str | Path) -> xr.DataTree:
    """One paper's DataTree (a group per experiment), in memory.

    Raises:
        ReaderError: no such file.
    """
    with xr.open_datatree(_existing(file), **_PLAIN) as tree:
        return tree.load()


class Elsewhere(NamedTuple):
    """One paper's results from another device: its name, the file as the reader types it, all it holds."""

    device: str
    file: str
    results: xr.DataTree


def open_elsewhere(files: Sequence[str | Path]) -> list[Elsewhere]:
    """Results kept from other devices. Runs that were timed name the device, else the file's folder does.

    Raises:
        ReaderError: no such file.
    """
    found = []
    for file in map(paths.resolve, files):
        tree = open_paper(file)
        timed = {g.attrs["device"] for g in tree.children.values() if g.attrs.get("device")}
        device = ", ".join(sorted(timed)) or file.parent.name
        found.append(Elsewhere(device, paths.relative(file), tree))
    return found


def _existing(file: str | Path) -> Path:
    file = paths.resolve(file)
    if not file.is_file():
        raise ReaderError(
            "no such results file", paths.relative(file), "run the experiment first: snakemake"
        )
    return file
