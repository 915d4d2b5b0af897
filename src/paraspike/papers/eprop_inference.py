"""Inference side by side: the trained LSNN and the trained LSTM, a batch at a time, on each device."""

from dataclasses import replace

import numpy as np
import torch

from paraspike.batches import kept_on, make_batch
from paraspike.datasets import load_images, load_sequential
from paraspike.energy import Energy, measure_energy
from paraspike.errors import ReaderError
from paraspike.measure import Measurement, measure, synchronise
from paraspike.papers.eprop import network
from paraspike.papers.eprop_experiments import fit
from paraspike.papers.eprop_lstm import LSTM, pixels, train_lstm
from paraspike.spikes import Spikes

LSNN, OTHER = "LSNN", "LSTM"


def briefly_trained(dataset: str, side: int, dt: float, unverified=False, hidden=256):
    """Weights of both networks after one epoch, by name as `Inference` takes them."""
    given = {"allow_unverified": unverified}
    parts = [
        load_sequential(dataset, s, side=side, resolution=dt, **given) for s in ("train", "test")
    ]
    key = ("eProp ALIF", "recurrent", hidden)
    arm = fit([key], *parts, dt=dt, epochs=1, batch_size=16, learning_rate=2e-3, baseline_rate=0.0,
              seeds=(0,))[key]  # fmt: skip
    lstm = train_lstm(load_images(dataset, "train", **given), 0, 1, side=side)
    found = {k: v for k, v in arm.weights(LSNN).items() if not k.endswith("/seeds")}
    return found | {f"{OTHER}/{name}": array for name, array in lstm.weights().items()}


def devices() -> list[str]:
    """Where inference can be measured: cpu, and cuda where there is a GPU."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


class Inference:
    """Both networks with their weights, and one batch of images as each takes it.

    Args:
        weights: arrays by name, of the sequential experiment's weights.npz: "LSNN/..." of one seed
            [1, ...], "LSTM/...".
        dataset: "digits" or "mnist".  side: of the images.  dt: seconds a pixel.

    Raises:
        ReaderError: weights of another name.
    """

    def __init__(self, weights, dataset, *, side: int, dt: float, device: str, unverified=False):
        self.device = device
        parts = {
            name: {
                k.removeprefix(f"{name}/"): v
                for k, v in weights.items()
                if k.startswith(f"{name}/")
            }
            for name in (LSNN, OTHER)
        }
        if "layers.0.weight" not in parts[LSNN] or not parts[OTHER]:
            raise ReaderError(
                f"weights of {', '.join(sorted({k.split('/')[0] for k in weights}))}",
                "papers.eprop_inference",
                f"{LSNN}/... and {OTHER}/..., as the sequential experiment saves them",
            )
        hidden = parts[LSNN]["layers.0.weight"].shape[-1]
        self.events = load_sequential(
            dataset, "test", side=side, allow_unverified=unverified, resolution=dt
        )
        backend = "cuda" if device == "cuda" else "cpu"
        self.lsnn = network(
            "eProp ALIF", "recurrent", hidden, self.events.n_units, self.events.n_classes, dt,
            backend=backend,
        )  # fmt: skip
        self.lsnn.load_arrays(parts[LSNN])
        self.lstm = LSTM.from_weights(parts[OTHER]).to(device)
        if self.lstm.side != side:
            raise ReaderError(
                f"an LSTM for images of side {self.lstm.side}, asked for {side}",
                "papers.eprop_inference",
            )
        images = load_images(dataset, "test", allow_unverified=unverified)
        self.pixels, self.dt = pixels(images, side).to(device), dt

    def prepare(self, model: str, batch: int):
        """A call that classifies `batch` images, which are repeated where there are too few.

        Raises:
            ReaderError: no such model, no image.
        """
        if model not in (LSNN, OTHER) or batch < 1:
            raise ReaderError(
                f"{batch} images by {model!r}", "Inference", f"1 or more, {LSNN} or {OTHER}"
            )
        index = np.arange(batch) % len(self.events)
        if model == LSNN:
            kept = kept_on(self.lsnn)
            given = make_batch(self.events, index, np.zeros_like(index), self.dt, device=kept)
            if self.device != "cpu":
                # Where the LSTM's pixels lie, too.
                given = Spikes.from_dense(given.dense().to(self.device))

            @torch.no_grad()
            def classify():
                return self.lsnn(given).readout.sum(0).argmax(1)

        else:
            given = self.pixels[:, index].contiguous()

            @torch.no_grad()
            def classify():
                return self.lstm(given).argmax(1)

        return classify

    def latency(self, model: str, batch: int, repeats: int) -> Measurement:
        """Seconds a batch takes; each a mean over as many as make 64 images."""
        classify, times = self.prepare(model, batch), max(1, 64 // batch)

        def classify_often():
            for _ in range(times):
                classify()
                synchronise()

        found = measure(classify_often, repeats)
        return replace(found, seconds=found.seconds / times)

    def energy(self, model: str, batch: int, seconds: float) -> Energy:
        """Joules a batch takes, by the device's own counters; NaN with a reason where there are none."""
        return measure_energy(self.prepare(model, batch), seconds, device=self.device)

    def accuracy(self, model: str, batch: int = 256) -> float:
        """Percent of the test images that are classified rightly."""
        right = 0
        for start in range(0, len(self.events), batch):
            index = np.arange(start, min(start + batch, len(self.events)))
            if model == LSNN:
                none = np.zeros_like(index)
                x = make_batch(self.events, index, none, self.dt, device=kept_on(self.lsnn))
                with torch.no_grad():
                    found = self.lsnn(x).readout.sum(0).argmax(1)
            else:
                with torch.no_grad():
                    found = self.lstm(self.pixels[:, index]).argmax(1)
            right += int((found.cpu().numpy() == self.events.labels[index]).sum())
        return 100 * right / len(self.events)
