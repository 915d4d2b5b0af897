"""The SPSN paper's numbers, keyed as the figures and tables need them."""

import numpy as np
import pandas as pd
import xarray as xr

from paraspike import paths, plots

REGIMES = ("basic", "augmentation", "augmentation+regularisation")


def published(name: str) -> pd.DataFrame:
    """A table of data/published/spsn/."""
    return pd.read_csv(paths.published("spsn", f"{name}.csv"))


def accuracies() -> dict[tuple[str, str], tuple[float, float]]:
    """Table II: (model, regime) -> mean and standard deviation in percent."""
    table = published("table2").replace({"model": {"non-spiking": "ReLU"}})
    columns = ["test_accuracy_pct_mean", "test_accuracy_pct_std"]
    return {(r.model, r.regime): tuple(r[columns]) for _, r in table.iterrows()}


def quantity(name: str) -> dict[tuple[str, str], tuple[float, float]]:
    """A quantity the paper's text gives: (model, regime) -> (value, NaN)."""
    table = published("figure3").query("quantity == @name and source.str.startswith('paper')")
    table = table[table.regime.isin(REGIMES)]
    return {(r.model, r.regime): (r.value, np.nan) for r in table.itertuples()}


def budgets() -> dict[str, float]:
    """Model -> theta of table I, spikes per neuron and step."""
    table = published("table1")
    table = table[table.parameter.str.startswith("theta, ")]
    return {r.parameter.removeprefix("theta, "): float(r.published) for r in table.itertuples()}


def regularised() -> dict[str, tuple[float, float]]:
    """Model -> spikes per ms and test accuracy in percent, under the budget on firing."""
    table = published("figure3").query("quantity == 'spike_frequency'")
    table = table[table.regime.str.startswith("regularised")]
    cells = accuracies()
    return {r.model: (r.value, cells[r.model, REGIMES[2]][0]) for r in table.itertuples()}


def departures(experiment: str, data: xr.Dataset) -> str:
    """How learning rate and weight of the regulariser differ from the published; "" if not."""
    # Not above, as it takes pydantic, which runs need not have.
    from paraspike.needs import differences

    named = {"learning_rate": "learning rate", "rate_weight": "weight of the regulariser"}
    found = differences("spsn", experiment, data)
    words = [f"{named[k]} {found[k][1]} (published {found[k][0]})" for k in named if k in found]
    return " · ".join(words)


def by_arm(variable: xr.DataArray, over: str = "seed") -> dict[tuple[str, str], tuple]:
    """(model, regime) -> mean and deviation over seeds, where there is a number."""
    first, second = (d for d in variable.dims if d != over)
    found = {}
    for a in variable[first].values:
        for b in variable[second].values:
            value = plots.spread(variable.sel({first: a, second: b}), over)
            if np.isfinite(value[0]):
                found[str(a), str(b)] = value
    return found
