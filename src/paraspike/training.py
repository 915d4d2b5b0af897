"""The training loop: seeds side by side, epochs, progress, checkpoints; and evaluation."""

import os
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from paraspike.datasets.augment import draw_warp
from paraspike.datasets.binning import bin_events, steps_needed
from paraspike.errors import ReaderError
from paraspike.layer import Draws
from paraspike.learning import bptt
from paraspike.learning.bptt import Objective
from paraspike.learning.optimizers import OPTIMIZERS, PerSeed
from paraspike.network import Network
from paraspike.randomness import permutation
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class Augmentation:
    """SPSN's two augmentations: channel shift and zoom, as fractions (paper: k_shift, k_scale)."""

    shift: float = 0.1
    scale: float = 0.3


@dataclass(frozen=True)
class Settings:
    """How to train. `dt` in seconds; `batch_size` per seed; `augmentation` None for none."""

    dt: float = 1e-3
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: str = "adamax"
    objective: Objective = Objective()
    augmentation: Augmentation | None = None

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise ReaderError(
                f"optimizer {self.optimizer!r} is unknown",
                "Settings",
                f"one of {', '.join(OPTIMIZERS)}",
            )
        if self.epochs < 0 or self.batch_size < 1 or not self.dt > 0:
            raise ReaderError(f"settings out of range: {self}", "Settings")


@dataclass
class History:
    """Per epoch, each float64 [S, epochs]: loss, accuracy on the training samples as they were
    trained on (percent), spikes per millisecond of all hidden neurons together."""

    loss: np.ndarray
    train_accuracy: np.ndarray
    spikes_per_ms: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """accuracy [S] in percent, spikes_per_ms [S], readout [S, n, C] reduced over time, predicted [S, n]."""

    accuracy: np.ndarray
    spikes_per_ms: np.ndarray
    readout: np.ndarray
    predicted: np.ndarray


def make_batch(data, index, seeds, dt, steps=None, augmentation=None, epoch=0) -> Spikes:
    """Recordings `index` [B] of an EventData as `Spikes` [T, B, N], right-aligned.

    T is fixed by the longest recording of the data set, not of the batch, so that a sample's result
    does not depend on its neighbours. `seeds` [B] key the augmentation.
    """
    steps = steps or steps_needed(data, dt)
    warp = None
    if augmentation is not None:
        warp = draw_warp(
            seeds,
            index,
            epoch,
            shift=augmentation.shift,
            scale=augmentation.scale,
            n_units=data.n_units,
        )
    return Spikes.from_lists(
        *bin_events(data, index, dt, steps, warp), (steps, len(index), data.n_units)
    )


def train(
    network: Network, data, settings: Settings, checkpoint: Path | None = None, label=""
) -> History:
    """Train all seeds of a network side by side; returns the history, weights stay in the network.

    A seed's weights, order of samples, augmentation and spikes depend on that seed alone. With a
    `checkpoint` file the state is kept after every epoch and training resumes from it, with the same
    bits as an undisturbed run.

    Raises:
        ReaderError: the loss stops being finite (names epoch, batch and seeds).
    Warns:
        RuntimeWarning: a hidden layer of spiking neurons is silent over a whole batch, once a layer.
    """
    optimizer = PerSeed(network, settings.optimizer, settings.learning_rate)
    shape = (len(network.seeds), settings.epochs)
    history = History(*(np.full(shape, np.nan) for _ in fields(History)))
    first = _resume(checkpoint, network, optimizer, history)
    silent = set()
    steps = steps_needed(data, settings.dt)
    batches = -(-len(data) // settings.batch_size)
    bar = tqdm(
        total=settings.epochs * batches,
        initial=first * batches,
        desc=label,
        unit="batch",
        **_quiet(),
    )
    with bar:
        for epoch in range(first, settings.epochs):
            sums = _epoch(network, optimizer, data, settings, steps, epoch, silent, bar)
            for name, value in sums.items():
                getattr(history, name)[:, epoch] = value
            bar.set_postfix(accuracy=f"{history.train_accuracy[:, epoch].mean():.1f} %")
            _save(checkpoint, epoch + 1, network, optimizer, history)
    return history


def _epoch(network, optimizer, data, settings, steps, epoch, silent, bar):
    seeds = np.asarray(network.seeds)
    device = network.layers[0].weight.device
    orders = np.stack([permutation(s, "shuffle", len(data), trial=epoch) for s in seeds])
    loss = correct = fired = 0.0
    for start in range(0, len(data), settings.batch_size):
        index = orders[:, start : start + settings.batch_size]
        flat, owner = index.reshape(-1), np.repeat(seeds, index.shape[1])
        x = make_batch(data, flat, owner, settings.dt, steps, settings.augmentation, epoch)
        labels = torch.from_numpy(data.labels[flat]).to(device)
        draws = Draws(flat, owner, epoch, "train")
        try:
            m = bptt.step(network, optimizer, x, labels, draws, settings.objective)
        except ReaderError as error:
            batch = start // settings.batch_size
            raise ReaderError(
                f"training failed in epoch {epoch + 1}, batch {batch + 1}: {error.what}",
                error.where,
                error.hint,
            ) from None
        _report_silence(network, m, epoch, silent)
        size = index.shape[1]
        loss = loss + size * m.loss.double().cpu().numpy()
        correct = correct + m.correct.cpu().numpy()
        fired = fired + size * m.spikes_per_step.double().cpu().numpy()
        bar.update()
    n = len(data)
    per_ms = fired / n / (settings.dt * 1e3) if network.layers[0].neuron.fires else np.nan
    return {"loss": loss / n, "train_accuracy": 100 * correct / n, "spikes_per_ms": per_ms}


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


def _report_silence(network, metrics, epoch, silent):
    if not network.layers[0].neuron.fires or bool((metrics.rates > 0).all()):
        return
    for layer, row in enumerate(metrics.rates.tolist()):
        dead = [s for s, rate in zip(network.seeds, row, strict=True) if rate == 0]
        if dead and layer not in silent:
            silent.add(layer)
            warnings.warn(
                f"hidden layer {layer + 1} fired no spike over a whole batch in epoch {epoch + 1}"
                f" (seeds {dead}): a dead network does not learn; look at weights and threshold",
                RuntimeWarning,
                stacklevel=4,
            )


def _quiet():
    return {"disable": True} if os.environ.get("PARASPIKE_PROGRESS") == "0" else {"leave": False}


def _save(checkpoint, epoch, network, optimizer, history):
    if checkpoint is None:
        return
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "epoch": epoch,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": {f.name: torch.from_numpy(getattr(history, f.name)) for f in fields(History)},
    }
    temporary = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}")
    torch.save(state, temporary)
    os.replace(temporary, checkpoint)


def _resume(checkpoint, network, optimizer, history) -> int:
    if checkpoint is None or not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["history"].items():
        getattr(history, name)[:] = value.numpy()
    return state["epoch"]
