"""Accuracy of every arm of delays, network and optimiser, what the delays cost, and the weight versions."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from scipy import stats

from paraspike.errors import ReaderError
from paraspike.papers.spikepipe_inputs import coded, of_size
from paraspike.papers.spikepipe_learning import Course, Way, delays_of, train_ways
from paraspike.pipelining.networks import NETWORKS
from paraspike.pipelining.staleness import VERSIONS
from paraspike.progress import tqdm
from paraspike.results import describe

_DEEPEST = max(network.depth for network in NETWORKS.values())
_PERCENT = {
    "test_accuracy": "test accuracy",
    "validation_accuracy": "accuracy on held-back training samples, mean over the tuning seeds",
}
_NUMBERS = {
    "learning_rate": "learning rate with the best validation accuracy",
    "tuning_diverged": "tuning seeds whose training diverged",
    "tried_rate": "learning rate tried",
    "diverged": "1 where the training diverged; its accuracy is chance",
    "loss": "training loss, mean over the last epoch",
    "steps": "time steps",
    "own_steps": "time steps of the network as it is scheduled",
}


def experiment(
    networks: Sequence[str],
    data: Mapping[str, tuple],
    least: Mapping[str, Sequence[int]],
    *,
    processors: int,
    arms: Sequence[str] = (),
    rates: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    tuning_seeds: Sequence[int],
    course: Course,
    steps: Mapping[str, int] | None = None,
    version_networks: Sequence[str] = (),
) -> xr.Dataset:
    """Train every arm on every network with every optimiser, each with a learning rate of its own.

    Arms of equal delays are one training. For `version_networks` the arm "per-layer 2(L-l)" is also trained
    with the other weight versions of `staleness.Emulator`.

    Args:
        networks: "mlp3" or "amr4/4" (`of_size`).  data: (train, test) by network, as `source` gives them.
        least: delays of the arm "least delay", by network.
        processors: M.  arms: names; none means all.
        rates: to try, by optimiser.  seeds: reported.  tuning_seeds: others, to choose the rate with.
        steps: T by network; 0 or not there means its own.

    Returns:
        test_accuracy, diverged, loss [network, optimizer, arm, seed]; learning_rate [network, optimizer, arm];
        validation_accuracy and tuning_diverged [.., rate], tried_rate [optimizer, rate]; delays [network,
        arm, layer], NaN past the last; chance, steps, own_steps [network]; where asked for
        version_test_accuracy, version_diverged, version_learning_rate [version_network, optimizer,
        version, ...].

    Raises:
        ReaderError: no networks or optimisers, a network without data; as `delays_of`, `train_ways` and `fit`.
    """
    if not networks or not rates or set(version_networks) - set(networks):
        raise ReaderError(
            f"networks {list(networks)}, versions for {list(version_networks)}, optimisers {list(rates)}",
            "spikepipe_accuracy.experiment",
            "a network and an optimiser at least",
        )
    plan = {}
    for name in networks:
        network = of_size(name, (steps or {}).get(name, 0))
        if name not in data:
            raise ReaderError(f"no data for {name}", "spikepipe_accuracy.experiment")
        delays = delays_of(name, processors, least.get(name), arms)
        ways = {(o, arm): Way(d, o) for o in rates for arm, d in delays.items()}
        if name in version_networks:
            per_layer = delays_of(name, processors)["per-layer 2(L-l)"]
            ways |= {(o, ("", v)): Way(per_layer, o, v) for o in rates for v in VERSIONS}
        plan[name] = network, delays, ways
    total = sum(len(set(ways.values())) for _, _, ways in plan.values())
    hide = os.environ.get("PARASPIKE_PROGRESS") == "0"
    parts, versions = [], []
    with tqdm(total=total, desc="ways to train", leave=False, disable=hide) as bar:
        for name, (network, delays, ways) in plan.items():
            train, test = (coded(part, network) for part in data[name])
            every = list(ways.values())
            found = train_ways(
                network, train, test, every, rates, seeds, tuning_seeds, course, bar.update
            )
            table = {key: found[way] for key, way in ways.items()}
            parts.append(_arms(table, rates, seeds, network, delays, of_size(name).steps))
            if name in version_networks:
                versions.append(_versions(table, rates, seeds, network))
    joined = xr.concat(parts, "network", join="exact", coords="minimal", compat="override")
    joined["tried_rate"] = (
        ("optimizer", "rate"),
        [_padded(sorted(r), joined.sizes["rate"]) for r in rates.values()],
    )
    if versions:
        joined = joined.merge(xr.concat(versions, "version_network"))
    return _described(joined).assign_attrs(
        processors=processors,
        epochs=course.epochs,
        batch_size=course.batch_size,
        tuning_seeds=list(tuning_seeds),
    )


def degradation(results: xr.Dataset, confidence: float = 0.95) -> xr.Dataset:
    """What the delays cost: percentage points of test accuracy below the arm "exact" with the same network,
    optimiser and seed.

    Returns:
        degradation, mean over the seeds, low and high, the ends of its interval (Student's t over the
        paired differences), each [network, optimizer, arm], in percentage points; the ends are NaN for one
        seed.

    Raises:
        ReaderError: there is no arm "exact".
    """
    if "exact" not in results["arm"].values:
        raise ReaderError(
            "no arm 'exact' to compare with", "degradation", "train it with the others"
        )
    accuracy = results["test_accuracy"]
    lost = accuracy.sel(arm="exact", drop=True) - accuracy
    seeds = lost.sizes["seed"]
    mean, reach = lost.mean("seed"), lost.std("seed", ddof=1) if seeds > 1 else np.nan
    reach = reach * stats.t.ppf((1 + confidence) / 2, max(seeds - 1, 1)) / seeds**0.5
    text = "test accuracy below that of exact gradients"
    interval = f"{100 * confidence:g} % interval over seeds"
    found = xr.Dataset(
        {"degradation": mean, "low": mean - reach, "high": mean + reach}, coords=mean.coords
    )
    return describe(
        found,
        degradation=(f"{text}, mean over seeds", "percentage points"),
        low=(f"{text}, lower end of the {interval}", "percentage points"),
        high=(f"{text}, upper end of the {interval}", "percentage points"),
    )


def _arms(table, rates, seeds, network, delays, own_steps):
    made = _table(table, rates, seeds, list(delays), "arm", network.name)
    rows = [_padded(delays[arm], _DEEPEST) for arm in delays]
    made["delays"] = (("network", "arm", "layer"), [rows])
    for name, value in (
        ("chance", 100 / network.layers[-1].n_out),
        ("steps", network.steps),
        ("own_steps", own_steps),
    ):
        made[name] = ("network", [value])
    return made.assign_coords(arm=list(delays), layer=np.arange(1, _DEEPEST + 1))


def _versions(table, rates, seeds, network):
    made = _table(table, rates, seeds, [("", v) for v in VERSIONS], "version", network.name)
    made = made.assign_coords(version=list(VERSIONS)).rename(network="version_network")
    kept = ("test_accuracy", "diverged", "learning_rate")
    return made[list(kept)].rename({name: f"version_{name}" for name in kept})


def _table(table, rates, seeds, keys, axis, network):
    """One network's Dataset, `keys` along `axis`; `table`: (Chosen, outcomes) by (optimiser, key)."""
    most, at = max(map(len, rates.values())), ("network", "optimizer", axis)
    fields = {
        "test_accuracy": ("seed", lambda _, out: [o.accuracy for o in out]),
        "diverged": ("seed", lambda _, out: [float(o.diverged) for o in out]),
        "loss": ("seed", lambda _, out: [o.loss for o in out]),
        "validation_accuracy": ("rate", lambda chosen, _: _padded(chosen.accuracy, most)),
        "tuning_diverged": ("rate", lambda chosen, _: _padded(chosen.diverged, most)),
        "learning_rate": (None, lambda chosen, _: chosen.rate),
    }
    made = {}
    for name, (dim, pick) in fields.items():
        cells = [[[pick(*table[o, key]) for key in keys] for o in rates]]
        made[name] = (at if dim is None else (*at, dim), cells)
    coords = {"network": [network], "optimizer": list(rates), "seed": list(seeds)}
    return xr.Dataset(made, coords | {"rate": np.arange(1, most + 1)})


def _padded(values, size):
    return [*map(float, values), *[np.nan] * (size - len(values))]


def _described(data):
    names = {"network": "network", "optimizer": "optimiser", "arm": "rule of the delays"}
    names |= {"rate": "rank of the learning rate among those tried, the smallest first"}
    names |= {"layer": "layer with weights", "version": "weights by which the error goes back"}
    names |= {"version_network": "network"}
    words = {name: (text, "1") for name, text in (names | _NUMBERS).items()}
    words |= {name: (text, "percent") for name, text in _PERCENT.items()}
    words["chance"] = ("accuracy of guessing", "percent")
    words["delays"] = ("delay of the layer's gradient, NaN past the last layer", "updates")
    for name in ("test_accuracy", "diverged", "learning_rate"):
        text, unit = words[name]
        words[f"version_{name}"] = (f"{text}, delays 2(L-l)", unit)
    return describe(data, **{k: v for k, v in words.items() if k in data.variables})
