"""A plausible spsn.nc made of random numbers, with the variables the SPSN notebooks save."""

import sys
from pathlib import Path

import numpy as np
import xarray as xr

from paraspike.netcdf import canonical_json, check, describe, write

MODELS = ["LIF", "SPSN-SB", "SPSN-GS", "ReLU"]
ACCURACY = {"LIF": (68, 79), "SPSN-SB": (73, 83), "SPSN-GS": (72, 82), "ReLU": (60, 61)}
QUICK = {"dt": 0.01, "epochs": 8, "train_samples": 1000, "test_samples": 500}
QUICK |= {"learning_rate": 0.005, "rate_weight": 0.0001}
QUICK |= {"hidden": [128, 128, 128], "tau_mem": 0.02, "tau_syn": 0.02}
PAPER = QUICK | {"dt": 0.001, "epochs": 200, "train_samples": 0, "test_samples": 0}
PAPER |= {"learning_rate": 0.001, "rate_weight": 1.0}
SPIKES = {"LIF": (2.1, 2.4), "SPSN-SB": (17.4, 15.6), "SPSN-GS": (18.0, 17.8)}


def experiments(
    models=MODELS, seeds=(0, 1), thresholds=(0.02, 0.08, 0.1, 0.4), lengths=(100, 300, 1000, 3000)
) -> dict[str, xr.Dataset]:
    """Dataset by experiment; every axis may be shortened."""
    rng = np.random.default_rng(7)
    models, seeds = list(models), list(seeds)
    spsn = [m for m in models if m.startswith("SPSN")]
    fires = [m for m in models if m != "ReLU"]
    noise = lambda *shape: rng.normal(0, 1.2, shape)  # noqa: E731
    made = {}

    t = np.arange(400)
    current = 0.6 + 0.5 * np.sin(t / 40) + 0.1 * rng.random(400)
    free = np.convolve(current, np.exp(-t / 20) / 20)[:400] * 1.4
    lif, before, spikes, u = np.zeros(400), np.zeros(400), np.zeros((3, 400)), 0.0
    for i in range(400):
        u = 0.95 * u + 0.09 * current[i]
        before[i], spikes[0, i] = u, u > 1
        u = 0.0 if u > 1 else u
        lif[i] = u
    for k, gain in ((1, 1), (2, 2)):
        spikes[k] = rng.random(400) < 1 / (1 + np.exp(-gain * (4 * free - 4)))
    totals = np.array([10, 30, 61, 100, 150, 200, 300, 1000])
    leak = np.exp(-totals * 0.05) * totals * 0.05 * 1.5 + 1e-7
    made["neurons"] = describe(
        xr.Dataset(
            {
                "input_current": ("step", current),
                "potential": (("neuron", "step"), np.stack([lif, 4 * free - 4, 4 * free - 4])),
                "potential_before_reset": (
                    ("neuron", "step"),
                    np.stack([before, 4 * free - 4, 4 * free - 4]),
                ),
                "spike": (("neuron", "step"), spikes.astype(np.uint8)),
                "padding_error": (
                    ("steps_total", "padding"),
                    np.stack([leak, np.full(8, 2e-7)], axis=1),
                ),
            },
            {
                "step": t,
                "neuron": ["LIF", "SPSN-SB", "SPSN-GS"],
                "steps_total": totals,
                "padding": ["2T as published", "sufficient"],
            },
        ),
        input_current=("input current", "1"),
        potential=("membrane potential", "1"),
        potential_before_reset=("membrane potential before the reset", "1"),
        spike=("spike", "1"),
        padding_error=("relative rms error of the potential", "1"),
        steps_total=("sequence length", "steps"),
        padding=("zero padding of the transform", "1"),
    )

    readouts = ["last", "max", "mean"]
    base = np.array([[30.0, 50, 58], [35, 48, 62], [33, 47, 61], [20, 40, 45]])[: len(models)]
    made["readout"] = describe(
        xr.Dataset(
            {
                "test_accuracy": (
                    ("model", "readout", "seed"),
                    base[..., None] + noise(len(models), 3, len(seeds)),
                )
            },
            {"model": models, "readout": readouts, "seed": seeds},
        ),
        test_accuracy=("test accuracy", "percent"),
    )

    regimes, epochs = ["basic", "augmentation"], np.arange(1, 9)
    shape = (len(models), 2, len(seeds))
    test = np.array([ACCURACY[m] for m in models])[..., None] + noise(*shape)
    rate = np.array([SPIKES.get(m, (np.nan, np.nan)) for m in models])[..., None]
    train = (
        np.where(np.arange(2) == 0, 99.5, 76.0)[None, :, None, None]
        * (1 - np.exp(-epochs / 1.5))
        * np.ones((*shape, 1))
    )
    made["augmentation"] = describe(
        xr.Dataset(
            {
                "train_accuracy": (("model", "regime", "seed", "epoch"), train),
                "loss": (("model", "regime", "seed", "epoch"), 3 - train / 40),
                "test_accuracy": (("model", "regime", "seed"), test),
                "spikes_per_ms": (("model", "regime", "seed"), rate * (1 + 0.01 * noise(*shape))),
            },
            {"model": models, "regime": regimes, "seed": seeds, "epoch": epochs},
        ),
        train_accuracy=("training accuracy", "percent"),
        loss=("training loss", "1"),
        test_accuracy=("test accuracy", "percent"),
        spikes_per_ms=("spikes in the network", "spikes/ms"),
    )

    theta = np.array(thresholds)
    shape = (len(spsn), len(theta), len(seeds))
    rates = np.minimum(38 * theta, 15)[None, :, None] * (1 + 0.02 * noise(*shape))
    level = 86 * (1 - np.exp(-rates / 0.8)) + 0.5 * noise(*shape)
    made["regularisation"] = describe(
        xr.Dataset(
            {
                "test_accuracy": (("model", "threshold", "seed"), level),
                "train_accuracy": (("model", "threshold", "seed"), level - 5),
                "spikes_per_ms": (("model", "threshold", "seed"), rates),
            },
            {"model": spsn, "threshold": theta, "seed": seeds},
        ),
        test_accuracy=("test accuracy", "percent"),
        train_accuracy=("training accuracy", "percent"),
        spikes_per_ms=("spikes in the network", "spikes/ms"),
        threshold=("regularisation threshold theta", "1"),
    )

    regimes = ["basic", "augmentation", "augmentation+regularisation"]
    shape = (len(models), 3, 3)
    seconds = np.array([9.1, 1.1, 1.3, 0.4])[: len(models), None, None] + np.zeros(shape)
    seconds += np.array([0, 0.4, 0.42])[:, None]
    seconds[[i for i, m in enumerate(models) if m not in spsn], 2] = np.nan
    made["epoch_time"] = describe(
        xr.Dataset(
            {
                "seconds": (
                    ("implementation", "model", "regime", "repeat"),
                    np.stack([seconds, seconds / 4]) * (1 + 0.02 * rng.random((2, *shape))),
                ),
                "disturbed": (("implementation", "model", "regime"), np.zeros((2, *shape[:2]))),
            },
            {
                "implementation": ["as published", "this engine"],
                "model": models,
                "regime": regimes,
                "repeat": np.arange(3),
            },
        ),
        implementation=("implementation", "1"),
        seconds=("time of one epoch", "s"),
        disturbed=("other processes used more than 10 % of the machine", "1"),
    )

    arms = ["LIF as published", "LIF unbind", "LIF fused", "SPSN-SB (FFT)", "SPSN-SB (scan)"]
    n = np.array(lengths)
    times = np.stack(
        [6e-5 * n + 3e-8 * n**2, 6e-5 * n, 1.5e-6 * n + 1e-4, 7e-6 * n + 3e-4, 3e-6 * n + 3e-4]
    )
    made["duration"] = describe(
        xr.Dataset(
            {
                "seconds": (
                    ("arm", "length", "repeat"),
                    times[..., None] * (1 + rng.random((5, len(n), 5)) / 4),
                )
            },
            {"arm": arms, "length": n, "repeat": np.arange(5)},
        ),
        seconds=("time of forward and backward pass", "s"),
        length=("sequence length", "steps"),
    )

    labels = rng.integers(0, 20, 40)
    shape = (len(spsn), 40, 20)
    readout = rng.normal(0, 0.6, (*shape, 1)) + rng.normal(0, 0.15, (*shape, 10))
    readout[:, np.arange(40), labels] += 2.5
    predicted = readout.argmax(2)
    layers = [1, 2, 3]
    made["robustness"] = describe(
        xr.Dataset(
            {
                "readout_mean": (
                    ("stochastic_model", "shown_sample", "class", "trial"),
                    readout[:, :4],
                ),
                "label": ("sample", labels),
                "predicted": (("stochastic_model", "sample", "trial"), predicted),
                "agreement": (
                    "stochastic_model",
                    100 * (predicted == predicted[..., :1]).all(-1).mean(-1),
                ),
                "rate_hz": (("model", "layer"), rng.uniform(5, 50, (len(fires), 3))),
                "isi_cv": (("model", "layer"), rng.uniform(0.4, 1.1, (len(fires), 3))),
                "synchrony": (("model", "layer"), rng.uniform(0.1, 0.4, (len(fires), 3))),
            },
            {
                "stochastic_model": spsn,
                "model": fires,
                "sample": np.arange(40),
                "shown_sample": np.arange(4),
                "class": np.arange(20),
                "trial": np.arange(10),
                "layer": layers,
            },
        ),
        readout_mean=("readout potential, mean over time", "1"),
        label=("class", "1"),
        predicted=("predicted class", "1"),
        agreement=("recordings with one label in all passes", "percent"),
        rate_hz=("mean firing rate", "Hz"),
        isi_cv=("coefficient of variation of inter-spike intervals", "1"),
        synchrony=("synchrony over neurons (Golomb and Rinzel)", "1"),
        stochastic_model=("network model", "1"),
        shown_sample=("recording shown", "1"),
    )

    steps, forms = np.array([10, 30, 100, 300]), ["two-pass", "two-pass as published"]
    cells = [*spsn, "SPSN-D"]
    error = np.linspace(0.02, 0.2, 4) * np.arange(1, len(cells) + 1)[:, None]
    error = np.stack([error, error * 1.7])
    made["generality"] = describe(
        xr.Dataset(
            {
                "test_accuracy": (("model", "seed"), 85 + 3 * noise(len(models), len(seeds))),
                "spikes_per_ms": (("model", "seed"), 20 + noise(len(models), len(seeds))),
                "recurrent_error": (("form", "cell", "steps"), error),
                "recurrent_spike_mismatch": (("form", "cell", "steps"), 30 * error),
            },
            {"model": models, "seed": seeds, "form": forms, "cell": cells, "steps": steps},
        ),
        test_accuracy=("test accuracy", "percent"),
        spikes_per_ms=("spikes in the network", "spikes/ms"),
        recurrent_error=("relative rms error of the potential against true recurrence", "1"),
        recurrent_spike_mismatch=("spikes that differ from true recurrence", "percent"),
        form=("form of the recurrent layer", "1"),
        cell=("neuron model", "1"),
        steps=("sequence length", "steps"),
    )
    return made


def tree(
    scale="quick", backend="cpu", dataset="cochlea", verified=1, leave=(), **axes
) -> xr.DataTree:
    """The paper's DataTree as `merging.collect` puts it together, without its files."""
    groups = {}
    for name, data in experiments(**axes).items():
        if name in leave:
            continue
        if scale == "paper" and "spikes_per_ms" in data:
            finer = data.spikes_per_ms * (QUICK["dt"] / PAPER["dt"])
            data["spikes_per_ms"] = finer.assign_attrs(data.spikes_per_ms.attrs)
        plain = name in ("neurons", "duration")
        attrs = {
            "paper": "spsn",
            "experiment": name,
            "scale": scale,
            "backend": backend,
            "dataset": "none" if plain else "digits" if name == "generality" else dataset,
            "data_verified": 1 if plain else verified,
            "seeds": canonical_json(data.seed.values.tolist() if "seed" in data.coords else []),
            "parameters": canonical_json(
                {"batch_size": 64, "shift": 0.1, "zoom": 0.3}
                | (PAPER if scale == "paper" else QUICK)
                | (
                    {"hidden": [128], "tau_mem": 0.001, "tau_syn": 0.001}
                    if name == "readout"
                    else {}
                )
                | ({"thresholds": data.threshold.values.tolist()} if "threshold" in data else {})
            ),
            "data": canonical_json(
                [
                    {"name": dataset, "samples": n, "split": part, "verified": bool(verified)}
                    for part, n in (("test", 1840), ("train", 8580))
                ]
            ),
        }
        if name in ("epoch_time", "duration"):
            attrs |= {"timed": 1, "device": "EPYC", "threads": 2}
        groups[name] = data.assign_attrs(attrs)
        check(data, attrs)
    root = xr.Dataset(attrs={"paper": "spsn", "scale": scale, "backend": backend})
    return xr.DataTree.from_dict({"/": root, **groups})


def changed(tree: xr.DataTree, experiment: str, **values) -> xr.DataTree:
    """A copy with other variables in one experiment."""
    tree = tree.copy()
    data = tree[experiment].to_dataset()
    tree[experiment] = xr.DataTree(data.assign(values))
    return tree


if __name__ == "__main__":
    write(tree(), Path(sys.argv[1]))
