"""Arms of an experiment: from one result per combination of settings to one Dataset over all of them."""

from collections.abc import Mapping, Sequence

import xarray as xr

from paraspike.errors import ReaderError


def stack(arms: Mapping[tuple, xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """One Dataset with a leading dimension for each of `names`.

    Args:
        arms: Dataset of each combination, keyed by one value per name, e.g. ("LIF", "basic"). A
            combination that was not run is NaN in the result.

    Raises:
        ReaderError: no arms, or keys of another length than `names`.
    """
    if not arms or any(len(key) != len(names) for key in arms):
        raise ReaderError(f"{len(arms)} arms do not fit the axes {', '.join(names)}", "arms.stack")
    values = list(dict.fromkeys(key[0] for key in arms))
    parts = []
    for value in values:
        rest = {key[1:]: arm for key, arm in arms.items() if key[0] == value}
        parts.append(stack(rest, names[1:]) if len(names) > 1 else rest[()])
    joined = xr.concat(parts, names[0], join="outer", combine_attrs="override", coords="minimal")
    return joined.assign_coords({names[0]: values})
