"""SPSN's training experiments: one arm is one model in one regime, all seeds side by side."""

from pathlib import Path

import numpy as np
import xarray as xr

from paraspike import paths, training
from paraspike.errors import ReaderError
from paraspike.evaluation import Arm, evaluate
from paraspike.network import Network
from paraspike.papers import spsn


def fit(
    arms: dict[tuple, training.Settings],
    train,
    test,
    *,
    hidden,
    seeds,
    tau_syn: float = 0.02,
    tau_mem: float = 0.02,
    backend="auto",
    checkpoints: Path | None = None,
) -> dict[tuple, Arm]:
    """Train arms side by side on `train`, and test each once on `test`, as the paper does after the
    last epoch.

    Args:
        arms: settings by key; a key's first entry is the model, e.g. ("LIF", "basic").
        checkpoints: a folder, one file an arm.
    """
    pending = {}
    for key, settings in arms.items():
        network = build(key[0], train, settings.dt, hidden, seeds, tau_syn, tau_mem, backend)
        label = " ".join(map(str, key))
        file = checkpoints / f"{label}.pt" if checkpoints else None
        pending[key] = training.Trainee(network, settings, file, label)
    histories = training.train_together(list(pending.values()), train)
    return {
        key: Arm(arm.network, history, evaluate(arm.network, test, arm.settings))
        for (key, arm), history in zip(pending.items(), histories, strict=True)
    }


def datasets(arms: dict[tuple, Arm]) -> dict[tuple, xr.Dataset]:
    """Each arm's Dataset, by the same key."""
    return {key: arm.dataset() for key, arm in arms.items()}


def build(model, data, dt, hidden, seeds, tau_syn=0.02, tau_mem=0.02, backend="auto") -> Network:
    """An untrained network that fits a data set."""
    return spsn.network(
        model,
        data.n_units,
        hidden,
        data.n_classes,
        dt,
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        seeds=seeds,
        backend=backend,
    )


def headline(dataset: xr.Dataset, over: str = "model") -> str:
    """Mean test accuracy per model, of its best regime or threshold: "LIF 81.2 %, SPSN-SB 84.0 %"."""
    values = dataset.test_accuracy.mean("seed")
    extra = [d for d in values.dims if d != over]
    best = values.max(extra) if extra else values
    return "test accuracy " + ", ".join(
        f"{name} {value:.1f} %" for name, value in zip(best[over].values, best.values, strict=True)
    )


def trained(
    file, prefix: str, model: str, data, dt: float, *, hidden, seeds, tau_syn, tau_mem, backend
) -> Network:
    """A network with the weights "<prefix>/..." of an earlier run's weights.npz.

    Raises:
        ReaderError: no such file, or it holds no such arm or seed.
    """
    path = paths.resolve(file)
    if not path.is_file():
        raise ReaderError(
            "no weights", path, "run the augmentation notebook first, or set weights = ''"
        )
    network = build(model, data, dt, hidden, seeds, tau_syn, tau_mem, backend)
    with np.load(path) as arrays:
        names = [n for n in arrays.files if n.startswith(f"{prefix}/")]
        if not names:
            raise ReaderError(
                f"no weights named {prefix}/...",
                path,
                f"it holds {', '.join(arrays.files[:3])} ...",
            )
        found = {n.removeprefix(f"{prefix}/"): arrays[n] for n in names}
    known = found.pop("seeds").tolist()
    missing = [seed for seed in seeds if seed not in known]
    if missing:
        raise ReaderError(
            f"no weights of seeds {missing}", f"{path}, {prefix}", f"it holds {known}"
        )
    rows = [known.index(seed) for seed in seeds]
    network.load_arrays({n: a[rows] for n, a in found.items()})
    return network
