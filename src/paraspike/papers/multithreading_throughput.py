"""The paper's SNN benchmark, as published and corrected, for any crew; and the same work in BindsNET.

as_published: no learning rate reaches the rule, so no weight changes; images are encoded inside the timed
region;
torch gets as many threads as the crew, and the single-threaded baseline all cores.
corrected: the rule learns; images are encoded before; torch has one thread throughout.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from paraspike.errors import ReaderError
from paraspike.measure import Measurement, measure
from paraspike.papers.multithreading import MOST_HZ, NU, NU_PUBLISHED, SIZES, STEPS, Network
from paraspike.papers.multithreading_crews import crew
from paraspike.papers.multithreading_encoders import encode
from paraspike.papers.multithreading_peer import BindsNET
from paraspike.threads import cores

ARMS = ("as_published", "corrected")
CODINGS = ("rate", "temporal")
OPEN, CLOSED = (-np.inf, np.inf), (0.0, 1.0)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch with another number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def batches_of(images: np.ndarray, batch: int, count: int) -> list[torch.Tensor]:
    """`count` batches [batch, N] in Hz from images uint8 [n, ...], which start again when they run out.

    Raises:
        ReaderError: no images.
    """
    if not len(images):
        raise ReaderError("no images to make batches of", "batches_of")
    flat = torch.from_numpy(images.reshape(len(images), -1)).float() / 255 * MOST_HZ
    index = torch.arange(batch * count) % len(flat)
    return list(flat[index].split(batch))


class Job:
    """Some batches through the published network: called, it does what an arm times.

    Args:
        arm, coding: as ARMS, CODINGS.
        batches: images in Hz, [B, 784] each.
        device: cpu or cuda.
        peer: do it in BindsNET.
    """

    def __init__(
        self, arm: str, coding: str, batches, steps=STEPS, device="cpu", seed=0, peer=False
    ):
        if arm not in ARMS:
            raise ReaderError(f"arm {arm!r} is unknown", "Job", ", ".join(ARMS))
        self.published, self.coding, self.batches, self.steps = (
            arm == "as_published",
            coding,
            batches,
            steps,
        )
        self.device, self.hands = device, None
        self.generator = torch.Generator().manual_seed(seed)
        nu, bounds = (NU_PUBLISHED, OPEN) if self.published else (NU, CLOSED)
        sizes = (batches[0].shape[1], *SIZES[1:])
        self.net = Network(
            sizes, len(batches[0]), nu, bounds, seed=seed, device=device, of_2020=self.published
        )
        if peer:
            self.net = BindsNET(self.net.weights(), len(batches[0]), nu, bounds)
        self.peer = peer
        self.spikes = None if self.published else [self.encoded(x) for x in batches]

    @property
    def loops(self) -> bool:
        """Whether images are encoded pixel by pixel within the time."""
        return self.published and self.coding == "temporal" and not self.peer

    def encoded(self, batch: torch.Tensor) -> torch.Tensor:
        # BindsNET has left its loop over pixels since.
        looped = self.published and not self.peer
        spikes = encode(batch, self.coding, self.steps, self.generator, looped)
        return spikes.to(self.device)

    def warm(self) -> None:
        """The work once without encoding, which is the slower half and has nothing to warm up."""
        spikes = torch.zeros(self.steps, *self.batches[0].shape, device=self.device)
        self.net.present(spikes, *([] if self.peer else [self.hands]))
        self.net.reset()

    def __call__(self) -> None:
        for i, batch in enumerate(self.batches):
            spikes = self.encoded(batch) if self.spikes is None else self.spikes[i]
            if self.peer:
                self.net.present(spikes)
            else:
                self.net.present(spikes, self.hands)
            self.net.reset()


def time_job(job: Job, form: str, threads: int, repeats: int) -> Measurement:
    """Seconds of `job` with a crew; threads 0: the paper's single-threaded baseline."""
    own = (threads or cores()) if job.published else 1
    with torch_threads(own):
        if job.peer:
            job.warm()
            return measure(job, repeats, warmup=0)
        with crew(form, threads) as job.hands:
            job.warm()
            return measure(job, repeats, warmup=0)


def time_encoding(job: Job, repeats: int) -> Measurement:
    """Seconds of encoding the job's batches alone."""
    with torch_threads(1):
        return measure(lambda: [job.encoded(batch) for batch in job.batches], repeats)


def parallel_fraction(speedup: float, workers: int) -> float:
    """Amdahl's law turned round: the fraction that runs in parallel, (1 - 1/S) / (1 - 1/p); the paper's 52.5 %.

    NaN for one worker.
    """
    return float("nan") if workers < 2 else (1 - 1 / speedup) / (1 - 1 / workers)
