"""What a network does on a data set, without learning."""

from dataclasses import dataclass

import numpy as np
import torch

from paraspike.datasets.binning import steps_needed
from paraspike.layer import Draws
from paraspike.learning import bptt
from paraspike.network import Network
from paraspike.training import Settings, make_batch


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
    device = network.layers[0].weight.device
    readout, fired = [], 0.0
    for start in range(0, len(data), batch_size):
        index = np.arange(start, min(start + batch_size, len(data)))
        flat, owner = np.tile(index, len(seeds)), np.repeat(seeds, len(index))
        x = make_batch(data, flat, owner, settings.dt, steps)
        labels = torch.from_numpy(data.labels[flat]).to(device)
        with torch.no_grad():
            activity = network(x, Draws(flat, owner, trial, "test"))
            _, m = bptt.evaluate_batch(activity, labels, len(seeds), settings.objective)
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
