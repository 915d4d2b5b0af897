"""Training by EventProp: one hidden layer, seeds side by side, in continuous time."""

import os
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from paraspike.datasets.events import EventData
from paraspike.errors import ReaderError
from paraspike.learning.optimizers import PerSeed
from paraspike.network import Arrays
from paraspike.ops.eventprop import cpu
from paraspike.progress import tqdm
from paraspike.randomness import permutation, uniform


@dataclass
class History:
    """Per epoch, each float64 [S, epochs]: loss, accuracy on the training samples as they were
    trained on (percent), spikes per hidden neuron and trial."""

    loss: np.ndarray
    train_accuracy: np.ndarray
    spikes: np.ndarray


class EventPropNetwork(Arrays):
    """Inputs, one hidden layer and a readout as in `ops.eventprop.reference`, for S seeds at once.

    Logits are the mean of the readout potential, weighted by exp(-t / horizon), times
    duration / tau_syn: an early spike counts with its weight, whatever the trial's length.

    Weights are drawn as `Layer` draws them, U(-sqrt(3 / n), sqrt(3 / n)) of n presynaptic neurons,
    float32 [S, n, .]; `scale_weights` fits those of the inputs to data.

    Args:
        n_in, n_hidden, n_out: neurons.
        duration: of a trial, seconds; events at that time or later are without effect.
        tau_mem, tau_syn: of hidden neurons and readouts, seconds.
        horizon: seconds; None for the duration, inf for the plain mean (the operator says why not).
        seeds: one independent network for each.
        recurrent: hidden spikes drive the hidden layer.
        operator: `eventprop` of ops.eventprop.cpu or .reference.

    Raises:
        ReaderError: no neurons; in `forward`, what the operator refuses.
    """

    def __init__(
        self,
        n_in,
        n_hidden,
        n_out,
        *,
        duration,
        tau_mem=20e-3,
        tau_syn=5e-3,
        horizon=None,
        seeds=(0,),
        recurrent=False,
        operator=cpu.eventprop,
    ):
        super().__init__()
        if min(n_in, n_hidden, n_out) < 1 or not len(seeds):
            raise ReaderError(
                f"{n_in} x {n_hidden} x {n_out} neurons, {len(seeds)} seeds", "EventPropNetwork"
            )
        self.seeds, self.operator = tuple(int(s) for s in seeds), operator
        self.constants = {
            "tau_mem": tau_mem,
            "tau_syn": tau_syn,
            "duration": duration,
            "horizon": duration if horizon is None else horizon,
        }
        self.w_in = self._drawn("0/weight", n_in, n_hidden)
        self.w_rec = self._drawn("0/recurrent", n_hidden, n_hidden) if recurrent else None
        self.w_out = self._drawn("1/weight", n_hidden, n_out)

    def _drawn(self, what, rows, columns):
        bound = (3 / rows) ** 0.5
        stack = [uniform(s, f"init/{what}", [0], rows, columns)[:, 0] for s in self.seeds]
        return nn.Parameter(torch.from_numpy(np.stack(stack)) * 2 * bound - bound)

    def forward(self, events):
        """(logits [S*B, C], spikes of each neuron, int64 [S*B, N]); events as the operator's."""
        mean, counts = self.operator(events, self.w_in, self.w_rec, self.w_out, **self.constants)
        return mean * (self.constants["duration"] / self.constants["tau_syn"]), counts

    def check(self, data: EventData) -> None:
        """Raise the ReaderError for data of other units or more classes, or without samples."""
        n_in, n_out = self.w_in.shape[1], self.w_out.shape[2]
        if data.n_units != n_in or data.n_classes > n_out or not len(data):
            raise ReaderError(
                f"{len(data)} samples of {data.n_units} units and {data.n_classes} classes do not"
                f" fit a network of {n_in} inputs and {n_out} readouts",
                f"EventPropNetwork on {data.name} {data.split}",
            )

    def events(self, data: EventData, index):
        """The events of the samples index [S, B] of each seed, as `forward` takes them."""
        part = data.subset(np.reshape(index, -1))
        return part.times, part.units, part.offsets


def scale_weights(network: EventPropNetwork, data: EventData, spikes=3.0, samples=100) -> None:
    """Scale each seed's input weights so that a hidden neuron fires `spikes` times a trial.

    That is the mean over neurons and the first `samples` of the data, recurrence left out; the
    factor, between 2^-8 and 2^8, is found by bisection to 1 %.

    Raises:
        ReaderError: no factor in that range gives as many spikes, or the data do not fit.
    """
    network.check(data)
    index = np.tile(np.arange(min(samples, len(data))), (len(network.seeds), 1))
    events = network.events(data, index)
    drawn, w_out = network.w_in.detach(), network.w_out.detach()
    high = torch.full((len(network.seeds), 1, 1), 8.0)
    low = -high
    for _ in range(11):
        middle = (low + high) / 2
        _, counts = network.operator(events, drawn * 2**middle, None, w_out, **network.constants)
        counts = counts.reshape(*index.shape, -1).double()
        enough = (counts.mean((1, 2)) >= spikes)[:, None, None]
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    if ((high == 8) | (low == -8)).any():
        raise ReaderError(
            f"no factor from 2^-8 to 2^8 gives {spikes:g} spikes per neuron and trial",
            f"scale_weights on {data.name} {data.split}",
            "another duration, or another number of spikes",
        )
    with torch.no_grad():
        network.w_in *= 2**high


def train(
    network: EventPropNetwork,
    data: EventData,
    *,
    epochs: int,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    wake: float = 1.0,
) -> History:
    """Train all seeds side by side with Adam on the cross entropy; weights stay in the network.

    Samples are shuffled as in `training.train`; a seed's weights depend on that seed alone.
    EventProp sees no spikes that are not there, so a hidden neuron silent over a batch gets no
    gradient: all its input weights are raised by `wake` learning rates after it (0: never).

    Raises:
        ReaderError: settings out of range; data that do not fit; the loss stops being finite
            (names epoch, batch and seeds); a network runs away.
    Warns:
        RuntimeWarning: no hidden neuron of a seed fires over a whole batch, once.
    """
    network.check(data)
    if epochs < 0 or batch_size < 1 or not learning_rate > 0 or not wake >= 0:
        raise ReaderError(
            f"epochs = {epochs}, batch_size = {batch_size}, learning_rate = {learning_rate:g}, "
            f"wake = {wake:g}",
            "learning.eventprop.train",
        )
    seeds = network.seeds
    optimizer = PerSeed(network, "adam", learning_rate)
    history = History(*np.zeros((3, len(seeds), epochs)))
    silent = False
    batches = range(0, len(data), batch_size)
    hide = os.environ.get("PARASPIKE_PROGRESS") == "0"
    with tqdm(total=epochs * len(batches), unit="batch", leave=False, disable=hide) as bar:
        for epoch in range(epochs):
            orders = np.stack([permutation(s, "shuffle", len(data), trial=epoch) for s in seeds])
            for start in batches:
                index = orders[:, start : start + batch_size]
                where = f"epoch {epoch + 1}, batch {start // batch_size + 1}"
                loss, correct, counts = _step(network, data, index, optimizer, where)
                share = index.shape[1] / len(data)
                history.loss[:, epoch] += share * loss
                history.train_accuracy[:, epoch] += 100 * correct / len(data)
                history.spikes[:, epoch] += share * counts.double().mean((1, 2)).numpy()
                fired = counts.any(1)
                with torch.no_grad():
                    network.w_in += wake * learning_rate * ~fired[:, None, :]
                if not silent and not fired.any(1).all():
                    silent = True
                    dead = [s for s, f in zip(seeds, fired.any(1).tolist(), strict=True) if not f]
                    warnings.warn(
                        f"{where}: no hidden neuron fired (seeds {dead}); scale_weights() before"
                        " training makes them fire",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                bar.update()
    return history


def _step(network, data, index, optimizer, where):
    """One update; (loss [S], correct [S], spikes [S, B, N])."""
    optimizer.zero_grad()
    logits, counts = network(network.events(data, index))
    # Seed by seed: torch's reductions round differently with the size of what surrounds a sample.
    targets = torch.from_numpy(data.labels[index])
    logits = logits.chunk(len(index))
    losses = torch.stack([cross_entropy(*pair) for pair in zip(logits, targets, strict=True)])
    if not torch.isfinite(losses).all():
        bad = [s for s, v in zip(network.seeds, losses.tolist(), strict=True) if not np.isfinite(v)]
        raise ReaderError(
            "the loss is not finite", f"{where}, seeds {bad}", "lower the learning rate"
        )
    losses.sum().backward()
    optimizer.step()
    hits = [(u.argmax(1) == t).sum() for u, t in zip(logits, targets, strict=True)]
    losses = losses.detach().double().numpy()
    return losses, np.array(hits), counts.reshape(*index.shape, -1)


def evaluate(network: EventPropNetwork, data: EventData, batch_size: int = 128) -> np.ndarray:
    """Accuracy in percent, float64 [S].

    Raises:
        ReaderError: the data do not fit the network.
    """
    network.check(data)
    seeds, correct = len(network.seeds), np.zeros(len(network.seeds))
    for start in range(0, len(data), batch_size):
        index = np.arange(start, min(start + batch_size, len(data)))
        with torch.no_grad():
            logits, _ = network(network.events(data, np.tile(index, (seeds, 1))))
        predicted = logits.reshape(seeds, len(index), -1).argmax(2).numpy()
        correct += (predicted == data.labels[index]).sum(1)
    return 100 * correct / len(data)
