"""The e-prop paper's training experiments: an arm is a network of one size and connectivity."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from paraspike import backends, training
from paraspike.batches import kept_on, labels_of
from paraspike.errors import ReaderError
from paraspike.evaluation import Arm, Evaluation, evaluate
from paraspike.learning import eventprop
from paraspike.learning.bptt import Metrics, Objective
from paraspike.learning.eprop import EveryStep
from paraspike.learning.streaming import GENN as GENN_TIMING
from paraspike.learning.streaming import Stream
from paraspike.papers.eprop import (
    ARMS,
    BETA,
    CONNECTIVITY,
    EVENTPROP,
    GENN,
    lsnn,
    network,
    rate_target,
    readout,
)
from paraspike.papers.eprop_baseline import SPIKE_COST
from paraspike.recurrent import RecurrentNetwork
from paraspike.training import History, Settings, Trainee


@dataclass(frozen=True)
class SpikeCost(Objective):
    """The baseline's loss (sheet, section 3): cross entropy of the largest readout over time, 2e-6 times
    the sum of all spikes, and 2e-6 times the mean over neurons of the squared spikes of the batch."""

    readout: str = "max"

    def one_seed(self, readout, hidden, labels):
        total, *rest = super().one_seed(readout, hidden, labels)
        for fired in hidden:
            each = fired.reshape(-1, fired.shape[-1]).sum(0)
            total = total + SPIKE_COST * (each.sum() + each.square().mean())
        return total, *rest


def settings(
    arm: str, dt, epochs, batch_size, learning_rate, baseline_rate, baseline_epochs=None
) -> Settings:
    """Adam and a loss at every step; for the baseline Adamax, its own loss, rate and epochs."""
    baseline = arm in ARMS and ARMS[arm].cell == "SuperSpike"
    return Settings(
        dt=dt,
        epochs=baseline_epochs if baseline and baseline_epochs else epochs,
        batch_size=batch_size,
        learning_rate=baseline_rate if baseline else learning_rate,
        optimizer="adamax" if baseline else "adam",
        objective=SpikeCost() if baseline else EveryStep(),
    )


class AsGeNN(Trainee):
    """A network trained as GeNN trains it: one stream a seed whose state no batch resets, learning signal and
    traces late as there, a power of two of readouts; a last batch that is not full is left out.

    Unlike there recordings end together, not start, and an input may count more than one spike a step.
    A checkpoint would lack the streams' state: there is none.

    Raises:
        ReaderError: fewer recordings than a batch.
    """

    def __init__(
        self, data, hidden, recurrent, seeds, settings: Settings, chunk=50, label="", backend="auto"
    ):
        dt, self.seen = settings.dt, 0
        if len(data) < settings.batch_size:
            raise ReaderError(
                f"{len(data)} recordings make no batch of {settings.batch_size}", label or GENN
            )
        outputs = 2 ** math.ceil(math.log2(data.n_classes))
        made = RecurrentNetwork(
            data.n_units,
            [hidden],
            outputs,
            lsnn(dt),
            readout(dt),
            seeds,
            recurrent=recurrent,
            backend=backend,
        )
        super().__init__(made, settings, None, label)
        self.chunk = chunk
        self.parts = ("0.weight", "0.recurrent_weight", "1.weight", "1.bias")
        held = dict(made.layers.named_parameters())
        self.held = [held.get(name) for name in self.parts]
        self.streams = [
            Stream(
                *(None if p is None else p[s] for p in self.held), lsnn(dt), readout(dt), chunk=chunk,
                blocked=True, rate=rate_target(dt), timing=GENN_TIMING, trace_beta=BETA, backend=made.ops,
            )
            for s in range(len(seeds))
        ]  # fmt: skip

    def step(self, x, labels, draws, batch: int):
        count = len(self.streams)
        size = x.shape[1] // count
        if size < self.settings.batch_size:
            return
        heard = self.listen(x, labels, learn=True)
        for p, *grads in zip(self.held, *[s.take() for s in self.streams], strict=True):
            if p is not None:
                p.grad = torch.stack(grads)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss, right = zip(*heard, strict=True)
        correct = [r.sum() for r in right]
        silent = torch.full((count,), np.nan)
        rates = silent.expand(1, count)
        self.seen += size
        self.note(Metrics(torch.stack(loss), torch.stack(correct), silent, rates), size)

    def end(self, samples: int):
        super().end(self.seen)
        self.seen = 0

    def listen(self, x, labels, learn: bool):
        """Per seed: the mean loss of a step, and whether its readout, summed over time, is right [B]."""
        count, steps = len(self.streams), x.shape[0]
        targets, heard = labels.chunk(count), [[] for _ in self.streams]
        for t in range(0, steps, self.chunk):
            # A raster of one chunk at a time, for whole recordings of a batch need gigabytes.
            blocks = x.steps(t, t + self.chunk).dense().chunk(count, 1)
            for parts, stream, block, target in zip(
                heard, self.streams, blocks, targets, strict=True
            ):
                parts.append(stream(block, target, learn))
        found = []
        for parts, target in zip(heard, targets, strict=True):
            y = torch.cat(parts)
            loss = cross_entropy(y.reshape(-1, y.shape[2]), target.repeat(len(y)))
            found.append((loss, y.sum(0).argmax(1) == target))
        return found

    def test(self, data) -> Evaluation:
        """Accuracy [S]; state runs on here, too. The last batch is filled up with the first recordings, whose
        second answers do not count."""
        seeds, size = np.asarray(self.network.seeds), self.settings.batch_size
        hits = np.zeros(len(seeds))
        for start in range(0, len(data), size):
            index = np.arange(start, start + size) % len(data)
            flat, owner = np.tile(index, len(seeds)), np.repeat(seeds, size)
            kept = kept_on(self.network)
            x = training.make_batch(data, flat, owner, self.settings.dt, device=kept)
            labels = labels_of(data, flat, self.settings.dt, None, self.network)
            found = self.listen(x, labels, learn=False)
            right = torch.stack([hit[: len(data) - start].sum() for _, hit in found])
            hits += right.cpu().numpy()
        nothing = np.full(len(seeds), np.nan)
        return Evaluation(100 * hits / len(data), nothing, None, None)


def with_eventprop(
    train, test, hidden, connectivity, seeds, epochs, batch_size, learning_rate, backend="auto"
) -> Arm:
    """The same task by EventProp, in continuous time: 20 and 5 ms, three spikes a neuron at first.

    Raises:
        ReaderError: the backend has no EventProp.
    """
    operator = backends.operator("eventprop", backends.resolve(backend))
    net = eventprop.EventPropNetwork(
        train.n_units, hidden, train.n_classes, duration=max(train.duration, test.duration) + 0.05,
        seeds=seeds, recurrent=connectivity == "recurrent", operator=operator,
    )  # fmt: skip
    eventprop.scale_weights(net, train)
    seen = eventprop.train(
        net, train, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate
    )
    per_ms = hidden / (net.constants["duration"] * 1e3)
    history = History(seen.loss, seen.train_accuracy, seen.spikes * per_ms)
    fired = np.full(len(seeds), np.nan)
    return Arm(net, history, Evaluation(eventprop.evaluate(net, test), fired, None, None))


def fit(keys, train, test, *, dt, epochs, batch_size, learning_rate, baseline_rate, seeds, baseline_epochs=None,
        event_rate=5e-3, backend="auto", checkpoints=None) -> dict[tuple, Arm]:  # fmt: skip
    """Train networks on `train` and test each once on `test`.

    Args:
        keys: (arm, connectivity, hidden neurons) of each; one that the backend lacks is named and left out.
        event_rate: learning rate of EventProp.
        checkpoints: a folder, one file an arm, or None.
    """
    pending, found = {}, {}
    for key in keys:
        arm, connectivity, hidden = key
        if arm not in (*ARMS, GENN, EVENTPROP) or connectivity not in CONNECTIVITY:
            known = ", ".join((*ARMS, GENN, EVENTPROP))
            raise ReaderError(
                f"no network {arm!r}, {connectivity!r}", "papers.eprop", f"one of {known}"
            )
        chosen = settings(
            arm, dt, epochs, batch_size, learning_rate, baseline_rate, baseline_epochs
        )
        label = f"{arm} {connectivity} {hidden}"
        if arm == EVENTPROP:
            name = backends.resolve(backend)
            if name not in backends.TABLE["eventprop"]:
                print(f"not on backend {name}, left out: {arm}")
                continue
            found[key] = with_eventprop(
                train, test, hidden, connectivity, seeds, epochs, batch_size, event_rate, name
            )
            continue
        if arm == GENN:
            pending[key] = AsGeNN(
                train,
                hidden,
                connectivity == "recurrent",
                seeds,
                chosen,
                label=label,
                backend=backend,
            )
            continue
        made = network(
            arm,
            connectivity,
            hidden,
            train.n_units,
            train.n_classes,
            dt,
            seeds=seeds,
            backend=backend,
        )
        file = checkpoints / f"{label}.pt" if checkpoints else None
        pending[key] = Trainee(made, chosen, file, label)
    histories = training.train_together(list(pending.values()), train)
    for (key, arm), history in zip(pending.items(), histories, strict=True):
        tested = (
            arm.test(test) if isinstance(arm, AsGeNN) else evaluate(arm.network, test, arm.settings)
        )
        found[key] = Arm(arm.network, history, tested)
    return {key: found[key] for key in keys if key in found}
