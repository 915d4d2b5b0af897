"""SPSN's table II on a GPU: ten cells trained for some epochs, all seeds side by side, every epoch timed."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.cuda_turns import Case
from benchmarks.libraries import OURS
from paraspike import __version__
from paraspike.backends import operators
from paraspike.datasets import load
from paraspike.datasets.binning import steps_needed
from paraspike.errors import ReaderError
from paraspike.evaluation import evaluate
from paraspike.measure import load_of_others, synchronise
from paraspike.papers import spsn
from paraspike.papers.spsn_experiments import build
from paraspike.training import Trainee, train_together

REGIMES = ("basic", "augmentation", "augmentation+regularisation")
CELLS = tuple(
    (model, regime)
    for model in spsn.MODELS
    for regime in REGIMES
    if regime != REGIMES[2] or model in spsn.STOCHASTIC
)
EPOCHS, LEAST, PUBLISHED_EPOCHS = 10, 3, 200
DT, HIDDEN, SEEDS, BATCH = 1e-3, (128, 128, 128), tuple(range(10)), 64
# Bytes of float32 that must pass once between a batch's operators, a hidden neuron and step: currents written
# and read; spikes written, read by the next product and by its weight gradient; their gradient written and
# read; what the way back starts from, read; the currents' gradient written, read by the weights' and the
# input's product.
NEURON_BYTES = 44
# Of a readout neuron: currents written and read, their gradient written and read twice.
READOUT_BYTES = 20
# Of an input spike: its number and count, for the product and for the weight gradient.
EVENT_BYTES = 16


class Ended(Exception):
    """The time given is over."""


class Timed(Trainee):
    """A network in training whose epochs are timed, each until the device has finished it."""

    def __init__(self, *given, until: float = np.inf):
        super().__init__(*given)
        self.until, self.seconds, self.others = until, [], []

    def begin(self):
        super().begin()
        synchronise()
        self._others, self._began = load_of_others(), time.perf_counter()

    def end(self, samples):
        super().end(samples)
        synchronise()
        self.seconds.append(time.perf_counter() - self._began)
        self.others.append(self._others())
        if time.monotonic() > self.until:
            raise Ended


def epoch_bytes(samples: int, events: int, steps: int, seeds: int, hidden, n_out: int) -> float:
    """Bytes of an epoch of all seeds, each once: `NEURON_BYTES`, `READOUT_BYTES` and `EVENT_BYTES`."""
    neurons = NEURON_BYTES * sum(hidden) + READOUT_BYTES * n_out
    return float(seeds) * (samples * steps * neurons + EVENT_BYTES * events)


def cases(
    dataset="shd",
    epochs=EPOCHS,
    samples=None,
    until=np.inf,
    *,
    dt=DT,
    hidden=HIDDEN,
    seeds=SEEDS,
    batch=BATCH,
    backend="cuda",
    precision="float32",
    cells=CELLS,
    describe: Callable[[dict], object] = lambda facts: None,
) -> Iterator[Case]:
    """Each cell's case, timed, its rounds the epochs after the first; then their sum, extrapolated.

    A cell that `until` (of time.monotonic) overtakes keeps the epochs that it has; those after it are left out.

    Args:
        samples: recordings to train on; None for all.
        precision: of the products, as `backends.operators` takes it; named in every row if not float32.
        describe: called with what data was used.

    Raises:
        ReaderError: the data set is not there.
    """
    train = load(dataset, "train", samples=samples, allow_unverified=True)
    try:
        test = load(dataset, "test", allow_unverified=True)
    except ReaderError as error:
        # Times need none.
        test, why = None, error.what
    describe({"dataset": dataset, "train": f"{train.checksum}, {len(train)} recordings",
              "test": f"{test.checksum}, {len(test)} recordings" if test else why})  # fmt: skip
    ops = operators(backend, precision)
    named = "" if precision == "float32" else f", products in {precision}"
    steps = steps_needed(train, dt)
    floor = epoch_bytes(
        len(train), int(train.offsets[-1]), steps, len(seeds), hidden, train.n_classes
    )
    made = []
    for model, regime in cells:
        case = Case(
            "table II, an epoch", steps, batch, OURS, f"{model}, {regime}{named}", None, floor
        )
        case.version = __version__
        if time.monotonic() > until:
            case.notes.append("left out: the time given was over")
        else:
            given = {"dt": dt, "epochs": 1 + epochs, "batch_size": batch}
            settings = spsn.settings(regime, theta=spsn.rate_budget(model, regime), **given)
            network = build(model, train, dt, hidden, seeds, backend=ops)
            _train(case, Timed(network, settings, None, case.mode, until=until), train, test)
        made.append(case)
        yield case
    yield _whole(made, epochs, named)


def _train(case, arm, train, test):
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    try:
        train_together([arm], train)
    except Ended:
        case.notes.append("stopped: the time given was over")
    except Exception as error:
        case.fail(error)
        return
    case.first, case.rounds, case.others = arm.seconds[0], arm.seconds[1:], arm.others[1:]
    if torch.cuda.is_available():
        case.peak_mb = (torch.cuda.max_memory_allocated() - before) / 2**20
    seeds = len(arm.network.seeds)
    case.notes.append(f"{seeds} seeds at once, {arm.epoch} epochs trained")
    if len(case.rounds) < LEAST:
        case.notes.append(f"fewer than {LEAST} epochs timed")
    if test is not None:
        found = evaluate(arm.network, test, arm.settings).accuracy
        spread = f" ± {found.std(ddof=1):.1f}" if seeds > 1 else ""
        case.notes.append(f"test accuracy then {found.mean():.1f}{spread} %")


def _whole(cells: list[Case], epochs: int, named: str) -> Case:
    """All cells over the published number of epochs, of which `epochs` of each were measured."""
    steps, batch = cells[0].steps, cells[0].batch
    title = f"extrapolated from {epochs} to {PUBLISHED_EPOCHS} epochs{named}"
    case = Case(f"table II, {len(cells)} cells", steps, batch, OURS, title, None)
    case.version = __version__
    timed = [c for c in cells if c.rounds]
    if len(timed) < len(cells):
        case.notes.append(f"{len(timed)} of {len(cells)} cells were timed: no sum")
        return case
    case.rounds = [PUBLISHED_EPOCHS * sum(float(np.median(c.rounds)) for c in timed)]
    case.bytes = PUBLISHED_EPOCHS * sum(c.bytes for c in timed)
    case.notes.append("without evaluation and first epochs, which compile")
    return case
