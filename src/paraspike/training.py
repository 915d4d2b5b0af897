"""The training loop: seeds side by side, epochs, progress, checkpoints; and evaluation."""

import contextlib
import os
import time
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from paraspike import checkpoints
from paraspike.batches import Augmentation, kept_on, labels_of, make_batch
from paraspike.datasets.binning import steps_needed
from paraspike.errors import ReaderError
from paraspike.layer import Draws
from paraspike.learning import bptt
from paraspike.learning.bptt import Metrics, Objective
from paraspike.learning.optimizers import OPTIMIZERS, PerSeed
from paraspike.network import Network
from paraspike.progress import tqdm
from paraspike.randomness import permutation

# Seconds from one checkpoint to the next at least: on a GPU an epoch may take less time than its checkpoint.
SAVE_EVERY = 5.0


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


def train(
    network: Network, data, settings: Settings, checkpoint: Path | None = None, label=""
) -> History:
    """Train all seeds of a network side by side; returns the history, weights stay in the network.

    On backend cuda nothing waits for the device within an epoch: what follows is noticed at its end.

    A seed's weights, order of samples, augmentation and spikes depend on that seed alone. With a
    `checkpoint` file the state is kept after the first epoch, the last, and those that end SAVE_EVERY
    seconds after the last one kept; training resumes from it, with the same bits as an undisturbed run.

    Raises:
        ReaderError: the loss stops being finite (names epoch, batch and seeds).
    Warns:
        RuntimeWarning: a hidden layer of spiking neurons is silent over a whole batch, once a layer.
    """
    return train_together([Trainee(network, settings, checkpoint, label)], data)[0]


class Trainee:
    """One network in training: its optimiser, history and checkpoint; arguments as `train`.

    `attach` adds what is to happen after every update, e.g. rewiring.
    """

    companion = None

    def __init__(self, network, settings: Settings, checkpoint: Path | None = None, label=""):
        self.network, self.settings, self.label = network, settings, label
        self.checkpoint, self.silent = checkpoint, set()
        self.optimizer = PerSeed(network, settings.optimizer, settings.learning_rate)
        shape = (len(network.seeds), settings.epochs)
        self.history = History(*(np.full(shape, np.nan) for _ in fields(History)))
        self.epoch, self._held, self._saved = 0, None, float("-inf")
        if checkpoint is not None and checkpoint.exists():
            self._held, self._saved = checkpoints.load(self), time.monotonic()

    def attach(self, companion) -> None:
        """Call `companion.step()` after every update; its state_dict is kept with the checkpoints."""
        if self._held is not None:
            companion.load_state_dict(self._held)
        self.companion = companion

    @property
    def batches(self):
        """What decides which batches this arm sees."""
        s = self.settings
        return self.network.seeds, s.dt, s.batch_size, s.augmentation, self.network.ops.backend

    def begin(self):
        self.sums, self.noted = {field.name: 0.0 for field in fields(History)}, []

    def step(self, x, labels, draws, batch: int):
        objective = self.settings.objective
        with self._named(batch):
            m = bptt.step(
                self.network, self.optimizer, x, labels, draws, objective, check=not self.waits
            )
        if self.companion is not None:
            self.companion.step()
        self.note(m, x.shape[1] // len(self.network.seeds))

    @property
    def waits(self) -> bool:
        """Metrics wait on the device for the end of the epoch."""
        return kept_on(self.network) is not None

    @contextlib.contextmanager
    def _named(self, batch: int):
        """Errors within say where in the training they arose."""
        try:
            yield
        except ReaderError as error:
            name = f"{self.label}: " if self.label else ""
            where = f"epoch {self.epoch + 1}, batch {batch + 1}"
            raise ReaderError(f"{name}{where}: {error.what}", error.where, error.hint) from None

    def note(self, m, size: int):
        """Add the metrics of a batch of `size` samples a seed to the epoch's sums."""
        self.noted.append((m, size))
        if not self.waits:
            self._add_up()

    def _add_up(self):
        """Batch after batch in order; what lies on a device is fetched once."""
        if not self.noted:
            return
        metrics, sizes = zip(*self.noted, strict=True)
        losses, hits, spikes, rates = (
            torch.stack([getattr(m, field.name) for m in metrics]).cpu()
            for field in fields(Metrics)
        )
        for batch, size in enumerate(sizes):
            if self.waits:
                with self._named(batch):
                    bptt.check_finite(losses[batch], self.network.seeds)
            _report_silence(self, rates[batch])
            self.sums["loss"] += size * losses[batch].double().numpy()
            self.sums["train_accuracy"] += 100 * hits[batch].numpy()
            self.sums["spikes_per_ms"] += size * spikes[batch].double().numpy()
        self.noted = []

    def end(self, samples: int):
        self._add_up()
        self.sums["spikes_per_ms"] /= self.settings.dt * 1e3
        if not self.network.layers[0].neuron.fires:
            self.sums["spikes_per_ms"] *= np.nan
        for name, value in self.sums.items():
            getattr(self.history, name)[:, self.epoch] = value / samples
        self.epoch += 1
        late = time.monotonic() - self._saved >= SAVE_EVERY
        if self.checkpoint is not None and (late or self.epoch == self.settings.epochs):
            checkpoints.save(self)
            self._saved = time.monotonic()


def train_together(arms: list[Trainee], data) -> list[History]:
    """Train several networks on one data set; those that see the same batches share them.

    An arm's result is the same alone or among others. Returns their histories, in order.
    """
    groups: dict[tuple, list[Trainee]] = {}
    for arm in arms:
        groups.setdefault(arm.batches, []).append(arm)
    per_epoch = {key: -(-len(data) // key[2]) for key in groups}
    total = sum(per_epoch[key] * max(a.settings.epochs for a in g) for key, g in groups.items())
    done = sum(per_epoch[key] * min(a.epoch for a in g) for key, g in groups.items())
    label = arms[0].label if len(arms) == 1 else f"{len(arms)} networks"
    quiet = os.environ.get("PARASPIKE_PROGRESS") == "0"
    with tqdm(
        total=total, initial=done, desc=label, unit="batch", disable=quiet, leave=False
    ) as bar:
        for group in groups.values():
            last = max(arm.settings.epochs for arm in group)
            for epoch in range(min(arm.epoch for arm in group), last):
                active = [a for a in group if a.epoch == epoch and epoch < a.settings.epochs]
                _epoch(active, data, epoch, bar)
    return [arm.history for arm in arms]


def _epoch(arms, data, epoch, bar):
    network, settings = arms[0].network, arms[0].settings
    seeds = np.asarray(network.seeds)
    steps = steps_needed(data, settings.dt)
    kept = kept_on(network)
    orders = np.stack([permutation(s, "shuffle", len(data), trial=epoch) for s in seeds])
    for arm in arms:
        arm.begin()
    for batch, start in enumerate(range(0, len(data), settings.batch_size)):
        index = orders[:, start : start + settings.batch_size]
        flat, owner = index.reshape(-1), np.repeat(seeds, index.shape[1])
        x = make_batch(data, flat, owner, settings.dt, steps, settings.augmentation, epoch, kept)
        labels = labels_of(data, flat, settings.dt, steps, network)
        for arm in arms:
            arm.step(x, labels, Draws(flat, owner, epoch, "train"), batch)
        bar.update()
    for arm in arms:
        arm.end(len(data))
    accuracy = max(arm.history.train_accuracy[:, epoch].mean() for arm in arms)
    bar.set_postfix(accuracy=f"{accuracy:.1f} %")


def _report_silence(arm, rates):
    network = arm.network
    if not network.layers[0].neuron.fires or bool((rates > 0).all()):
        return
    for layer, row in enumerate(rates.tolist()):
        dead = [s for s, rate in zip(network.seeds, row, strict=True) if rate == 0]
        if dead and layer not in arm.silent:
            arm.silent.add(layer)
            name = f"{arm.label}: " if arm.label else ""
            warnings.warn(
                f"{name}hidden layer {layer + 1} fired no spike over a whole batch in epoch"
                f" {arm.epoch + 1} (seeds {dead}): a dead network does not learn; look at weights and"
                " threshold",
                RuntimeWarning,
                stacklevel=5,
            )
