"""Training with delayed gradients: one network for one way to delay, and its learning rate chosen for that way.

papers/spikepipe.md, section 4: every arm gets a learning rate of its own, chosen on a part of the training set
and with seeds that are both held back; with it, it trains on the whole training set, and only then is tested.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.machine import label
from paraspike.papers.spikepipe_inputs import Coded
from paraspike.papers.spikepipe_layers import layers, logits
from paraspike.pipelining.heuristics import minmax_stages
from paraspike.pipelining.networks import Network
from paraspike.pipelining.networks import network as stand_in
from paraspike.pipelining.staleness import Emulator
from paraspike.pipelining.tasks import staleness_rule, task_graph
from paraspike.randomness import permutation

# Of parameters and a learning rate; SGD always has momentum here.
OPTIMIZERS = {
    "SGD": lambda parameters, rate: torch.optim.SGD(parameters, rate, momentum=0.9, fused=True),
    "Adam": lambda parameters, rate: torch.optim.Adam(parameters, rate, fused=True),
}
# Arms by the rule of their delays; the last one's come from a schedule.
RULES = {
    "exact": "exact",
    "PipeDream K-k": "pipedream",
    "grouped 2(K-k)": "grouped",
    "per-layer 2(L-l)": "per-layer",
}
LEAST = "least delay"
_TOGETHER = 128


@dataclass(frozen=True)
class Way:
    """A way to train: delay of each layer in updates, optimiser, weights by which the error goes back."""

    delays: tuple[int, ...]
    optimizer: str = "SGD"
    versions: str = "stash"


@dataclass(frozen=True)
class Course:
    """How long and on what: passes over the training set, samples an update, a resolved backend.

    Raises:
        ReaderError: no epoch, batches of nothing, or a backend that has not this neuron: ipu.
    """

    epochs: int = 2
    batch_size: int = 16
    backend: str = "cpu"

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1:
            raise ReaderError(f"{self}", "spikepipe_learning", "an epoch and a sample at least")
        if self.backend not in ("reference", "cpu", "cuda"):
            lacks = f"backend {label(self.backend)} lacks SpikePipe's bilinear neuron"
            raise ReaderError(lacks, "spikepipe_learning", "reference, cpu and cuda have it")

    @property
    def device(self) -> str:
        """Where tensors lie."""
        return "cuda" if self.backend == "cuda" else "cpu"


@dataclass(frozen=True)
class Outcome:
    """Accuracy in percent, chance where the training diverged; loss, mean over the last epoch, NaN there."""

    accuracy: float
    loss: float
    diverged: bool


@dataclass(frozen=True)
class Chosen:
    """A rate, and of every rate tried in ascending order [rate]: accuracy on the samples held back in percent,
    mean over the tuning seeds, and how many of them diverged."""

    rate: float
    accuracy: np.ndarray
    diverged: np.ndarray


def fit(
    network: Network, train: Coded, test: Coded, way: Way, rate: float, seed: int, course: Course
) -> Outcome:
    """Train a network with delayed gradients and test it once.

    Weights and the order of the samples depend on the seed alone, so that ways share them.

    Raises:
        ReaderError: no samples, unknown optimiser, a rate that is not positive, or delays that do not fit the
            network; but not a loss that is not finite: that is an outcome.
    """
    if way.optimizer not in OPTIMIZERS:
        raise ReaderError(
            f"optimizer {way.optimizer!r} is unknown", "fit", f"one of {', '.join(OPTIMIZERS)}"
        )
    if not rate > 0 or not len(train) or not len(test):
        raise ReaderError(f"rate {rate}, {len(train)} + {len(test)} samples", "fit", "more than 0")
    stack = [
        layer.to(course.device)
        for layer in layers(network, seed=seed, compiled=course.backend == "cpu")
    ]
    parameters = [p for layer in stack for p in layer.parameters()]
    optimizer = OPTIMIZERS[way.optimizer](parameters, rate)
    emulator = Emulator(stack, way.delays, optimizer, way.versions)
    failed = Outcome(100 / network.layers[-1].n_out, np.nan, True)
    # cuDNN's fastest gradients of a convolution differ from run to run.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):
        return _trained(emulator, train, test, seed, course) or failed


def _trained(emulator, train, test, seed, course):
    """The outcome; None where it diverged."""
    for epoch in range(course.epochs):
        order = permutation(seed, "shuffle", len(train), trial=epoch)
        for x, labels in _batches(train.subset(order), course.batch_size, course.device):
            try:
                emulator.step(x, labels)
            except ReaderError:
                return None
    right = 0
    for x, labels in _batches(test, _TOGETHER, course.device):
        found = logits(emulator.layers, x)
        if not torch.isfinite(found).all():
            return None
        right += int((found.argmax(1) == labels).sum())
    last = emulator.history[-(len(emulator.history) // course.epochs) :]
    return Outcome(100 * right / len(test), float(np.mean(last)), False)


def _batches(data, size, device):
    for start in range(0, len(data), size):
        labels = data.labels[start : start + size].to(device)
        yield data.spikes[:, start : start + size].to(device).float(), labels


def held_back(samples: int, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Indices to tune with and to compare rates on, drawn once for all ways.

    Raises:
        ReaderError: not a sample for each.
    """
    kept = max(1, round(share * samples))
    if kept >= samples:
        raise ReaderError(f"{samples} samples, {kept} of them held back", "held_back", "2 at least")
    order = permutation(0, "validation", samples)
    return order[kept:], order[:kept]


def tune(
    network: Network,
    train: Coded,
    way: Way,
    rates: Sequence[float],
    seeds: Sequence[int],
    course: Course,
) -> Chosen:
    """The rate with the best mean accuracy on the held-back part of the training set; of equals the smallest.

    Raises:
        ReaderError: no rates or seeds, else as `fit` and `held_back`.
    """
    if not rates or not seeds:
        raise ReaderError(f"rates {list(rates)}, seeds {list(seeds)}", "tune", "one at least")
    rates = sorted(rates)
    mine, theirs = (train.subset(index) for index in held_back(len(train)))
    found = [[fit(network, mine, theirs, way, rate, s, course) for s in seeds] for rate in rates]
    accuracy = np.array([np.mean([outcome.accuracy for outcome in row]) for row in found])
    diverged = np.array([sum(outcome.diverged for outcome in row) for row in found])
    return Chosen(rates[int(accuracy.argmax())], accuracy, diverged)


def delays_of(
    name: str, processors: int, least: Sequence[int] | None = None, arms: Sequence[str] = ()
) -> dict[str, tuple[int, ...]]:
    """Delays of each arm for a pipeline of M processors, from the whole network's tasks of one sample on
    arrays of 32 x 32; the K = min(M, L) stages are those of least period.

    Args:
        name: of a network; "amr4/4" has the delays of "amr4".
        least: delays of the arm "least delay"; None leaves it out.
        arms: which and in what order; none means all.

    Raises:
        ReaderError: an unknown arm, "least delay" without its delays, delays not one a layer.
    """
    network = stand_in(name.partition("/")[0])
    stages = minmax_stages(task_graph(network).layer_cycles(), processors)
    found = {arm: staleness_rule(rule, network.depth, stages) for arm, rule in RULES.items()}
    if least is not None:
        if len(least) != network.depth:
            raise ReaderError(
                f"delays {list(least)} for {network.depth} layers", f"{LEAST}, {name}"
            )
        found[LEAST] = tuple(map(int, least))
    for arm in arms:
        if arm not in found:
            raise ReaderError(f"arm {arm!r} of {name}", "delays_of", f"one of {', '.join(found)}")
    return {arm: found[arm] for arm in arms or found}


def train_ways(
    network: Network,
    train: Coded,
    test: Coded,
    ways: Sequence[Way],
    rates: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    tuning_seeds: Sequence[int],
    course: Course,
    note: Callable[[], None] = lambda: None,
) -> dict[Way, tuple[Chosen, list[Outcome]]]:
    """Tune every different way, then train it with the chosen rate once for each seed.

    Args:
        rates: to try, by optimiser.  note: called after each way.

    Raises:
        ReaderError: no ways or seeds, an optimiser without rates, or a seed used for both.
    """
    if not ways or not seeds or not {way.optimizer for way in ways} <= set(rates):
        raise ReaderError(
            f"{len(ways)} ways to train, seeds {list(seeds)}, rates for {', '.join(rates) or 'none'}",
            "train_ways",
            "one way and one seed at least, rates for every optimiser",
        )
    if set(seeds) & set(tuning_seeds):
        raise ReaderError(
            f"seeds {list(seeds)}, tuning seeds {list(tuning_seeds)}",
            "train_ways",
            "others to tune",
        )
    found = {}
    for way in dict.fromkeys(ways):
        chosen = tune(network, train, way, rates[way.optimizer], tuning_seeds, course)
        outcomes = [fit(network, train, test, way, chosen.rate, seed, course) for seed in seeds]
        found[way] = chosen, outcomes
        note()
    return found
