"""What a network does on a data set, without learning."""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from paraspike.batches import kept_on, labels_of, make_batch
from paraspike.datasets.binning import steps_needed
from paraspike.layer import Draws
from paraspike.learning import bptt
from paraspike.network import Network
from paraspike.training import History, Settings


@dataclass(frozen=True)
class Evaluation:
    """accuracy [S] in percent, spikes_per_ms [S], readout [S, n, C] reduced over time, predicted [S, n]."""

    accuracy: np.ndarray
    spikes_per_ms: np.ndarray
    readout: np.ndarray
    predicted: np.ndarray


def evaluate(network: Network, data, settings: Settings, trial: int = 0, batch_size: int = 128):
    """Run a network over a data set without learning; `trial` gives stochastic neurons fresh noise.

    Returns:
        Evaluation, its arrays per seed.
    """
    seeds = np.asarray(network.seeds)
    steps = steps_needed(data, settings.dt)
    readout, fired = [], 0.0
    for start in range(0, len(data), batch_size):
        index = np.arange(start, min(start + batch_size, len(data)))
        flat, owner = np.tile(index, len(seeds)), np.repeat(seeds, len(index))
        x = make_batch(data, flat, owner, settings.dt, steps, device=kept_on(network))
        labels = labels_of(data, flat, settings.dt, steps, network)
        with torch.no_grad():
            activity = network(x, Draws(flat, owner, trial, "test"))
            _, m = bptt.evaluate_batch(
                activity, labels, len(seeds), settings.objective, network.ops
            )
        blocks = activity.readout.chunk(len(seeds), 1)
        reduced = [bptt.reduce_time(block, settings.objective.readout) for block in blocks]
        readout.append(torch.stack(reduced).cpu().numpy())
        fired = fired + len(index) * m.spikes_per_step.double().cpu().numpy()
    readout = np.concatenate(readout, axis=1)
    predicted = readout.argmax(2)
    per_ms = fired / len(data) / (settings.dt * 1e3)
    if not network.layers[0].neuron.fires:
        per_ms = np.full(len(seeds), np.nan)
    accuracy = 100 * (predicted == np.asarray(data.labels)).mean(1)
    return Evaluation(accuracy, per_ms, readout, predicted)


@dataclass
class Arm:
    """A trained network and what it showed."""

    network: torch.nn.Module
    history: History
    evaluation: Evaluation

    def dataset(self) -> xr.Dataset:
        """Train accuracy and loss [seed, epoch], test accuracy and firing [seed], with units."""
        percent, per_ms = {"units": "percent"}, {"units": "spikes/ms"}
        history, test = self.history, self.evaluation
        return xr.Dataset(
            {
                "train_accuracy": (
                    ("seed", "epoch"),
                    history.train_accuracy,
                    percent | {"long_name": "training accuracy"},
                ),
                "loss": (
                    ("seed", "epoch"),
                    history.loss,
                    {"units": "1", "long_name": "cross entropy"},
                ),
                "test_accuracy": ("seed", test.accuracy, percent | {"long_name": "test accuracy"}),
                "spikes_per_ms": (
                    "seed",
                    test.spikes_per_ms,
                    per_ms | {"long_name": "spikes of all hidden neurons per ms, on the test set"},
                ),
            },
            coords={
                "seed": (
                    "seed",
                    list(self.network.seeds),
                    {"units": "1", "long_name": "random seed"},
                ),
                "epoch": (
                    "epoch",
                    np.arange(1, history.loss.shape[1] + 1),
                    {"units": "1", "long_name": "training epoch"},
                ),
            },
        )

    def weights(self, prefix: str) -> dict[str, np.ndarray]:
        """Weights by "<prefix>/<name>", each [S, ...], and whose they are as "<prefix>/seeds"."""
        arrays = self.network.arrays() | {"seeds": np.array(self.network.seeds)}
        return {f"{prefix}/{name}": array for name, array in arrays.items()}
