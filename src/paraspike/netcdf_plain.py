"""netCDF-4 files by h5py alone, for machines without h5netcdf: same values, other bytes."""

from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from xarray.conventions import cf_encoder, encode_dataset_coordinates

_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."


def write(dataset: xr.Dataset, file: Path) -> None:
    """Write a Dataset so that h5netcdf and netCDF4 read what they would have written themselves."""
    variables, attrs = cf_encoder(*encode_dataset_coordinates(dataset))
    with h5py.File(file, "w", track_order=True) as target:
        _describe(target, attrs)
        for number, (name, size) in enumerate(dataset.sizes.items()):
            if name in variables:
                _store(target, name, variables[name]).make_scale(name)
            else:
                scale = target.create_dataset(name, (size,), ">f4")
                scale.make_scale(f"{_NO_VARIABLE}{size:10d}")
            target[name].attrs["_Netcdf4Dimid"] = np.int32(number)
        for name, variable in variables.items():
            if name in target:
                continue
            stored = _store(target, name, variable)
            for axis, dimension in enumerate(variable.dims):
                stored.dims[axis].attach_scale(target[dimension])


def _store(target, name, variable):
    values = np.asarray(variable.values)
    text = values.dtype.kind in "OTU"
    kind = h5py.string_dtype() if text else values.dtype
    stored = target.create_dataset(name, data=values.astype(object) if text else values, dtype=kind)
    _describe(stored, variable.attrs)
    return stored


def _describe(target, attrs):
    for name, value in attrs.items():
        target.attrs[name] = value if isinstance(value, str) else np.atleast_1d(value)
