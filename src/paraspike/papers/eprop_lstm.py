"""The LSTM that the e-prop paper's inference figure compares with: a pixel a step in, classes out.

128 units, one bias a gate and readout at the last step are those of the sequential-MNIST LSTM of
Bellec et al. 2018 (arXiv 1803.09574; their program is dsalaj/sMNIST, train_sMNIST.py). That Plank
et al. 2021 (arXiv 2107.03992), whose LSTM the figure times, used the same size is an assumption:
their notebook (intel-nrc-ecosystem/models, sMNIST_LSTM_benchmark.ipynb) has one pixel a step and
784 steps, but gives the units only in a checkpoint that could not be read.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from paraspike.datasets import ImageData
from paraspike.errors import ReaderError

# As Bellec et al. 2018; 28 and 784 steps are the published input, 14 and 196 the quick scale.
HIDDEN, SIDE = 128, 14


def pixels(images: ImageData, side: int = SIDE) -> torch.Tensor:
    """Pixel sequences [side * side, n, 1] in 0 .. 1: mean over blocks, rows from the top.

    Raises:
        ReaderError: `side` does not divide the images' height and width.
    """
    n, height, width = images.images.shape
    if side < 1 or height % side or width % side:
        raise ReaderError(
            f"images of {height} x {width} pixels cannot be averaged to {side} x {side}",
            f"{images.name} {images.split}",
            "a side that divides both: 28, 14 or 7 for digits and mnist",
        )
    blocks = images.images.reshape(n, side, height // side, side, width // side)
    flat = (blocks.mean((2, 4)) / 255).reshape(n, side * side)
    return torch.from_numpy(np.ascontiguousarray(flat.T[:, :, None], np.float32))


class LSTM(nn.Module):
    """torch.nn.LSTM of `hidden` units with a linear readout of its last step.

    Weights start uniform within 1 / sqrt(hidden); forget gates start with bias log u, u uniform in
    1 .. T - 1, and input gates with -log u, so that units remember for all the spans in a sequence
    ("chrono" start, Tallec and Ollivier 2018, arXiv 1804.11188). With bias 1, the published start,
    a unit forgets within some five steps, and few epochs on 196 pixels teach little.
    """

    def __init__(self, seed: int, side: int = SIDE, hidden: int = HIDDEN, classes: int = 10):
        with torch.random.fork_rng(
            devices=[]
        ):  # torch's own start is not used, so takes no numbers
            super().__init__()
            self.cell = nn.LSTM(1, hidden)
            self.readout = nn.Linear(hidden, classes)
        self.side = side
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                weight.uniform_(-(hidden**-0.5), hidden**-0.5, generator=generator)
            spans = torch.empty(hidden).uniform_(1, max(2, side * side - 1), generator=generator)
            self.cell.bias_ih_l0.zero_()
            self.cell.bias_ih_l0[:hidden] = -spans.log()
            self.cell.bias_ih_l0[hidden : 2 * hidden] = spans.log()
            # torch adds two biases, the published cell has one.
            self.cell.bias_hh_l0.zero_().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes] of pixels x [T, B, 1]."""
        return self.readout(self.cell(x)[1][0][-1])

    def weights(self) -> dict[str, np.ndarray]:
        """Arrays by torch's names, gates in its order (input, forget, cell, output), and `side`."""
        arrays = {name: value.cpu().numpy().copy() for name, value in self.state_dict().items()}
        return arrays | {"side": np.array(self.side)}

    @classmethod
    def from_weights(cls, weights: Mapping[str, np.ndarray]) -> "LSTM":
        """The LSTM whose `weights()` these are.

        Raises:
            ReaderError: an array is missing or has another shape.
        """
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        try:
            classes, hidden = arrays["readout.weight"].shape
            lstm = cls(0, int(arrays.pop("side")), hidden, classes)
            lstm.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        except (KeyError, ValueError, RuntimeError) as error:
            raise ReaderError(
                f"these are not an LSTM's weights: {error}",
                "LSTM.from_weights",
                "use LSTM.weights()",
            ) from error
        return lstm


def train_lstm(
    images: ImageData,
    seed: int,
    epochs: int = 8,
    batch_size: int = 16,
    learning_rate: float = 0.02,
    side: int = SIDE,
    hidden: int = HIDDEN,
    device: str = "cpu",
) -> LSTM:
    """An LSTM trained on cross-entropy: Adam, gradient norm clipped at 1, one cycle of the learning
    rate (a fifth of the steps up to `learning_rate`, then down to almost 0).

    The same bits on one machine for one seed, thread count and device.
    """
    lstm = LSTM(seed, side, hidden, images.n_classes).to(device)
    x = pixels(images, side).to(device)
    labels = torch.from_numpy(images.labels).to(device)
    trained = [weight for weight in lstm.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(trained, learning_rate)
    steps = max(2, epochs * -(-len(images) // batch_size))
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=0.2
    )
    # A stream of its own: the order of images must not repeat the numbers that made the weights.
    generator = torch.Generator().manual_seed(seed + 2**32)
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).split(batch_size):
            index = index.to(device)
            loss = nn.functional.cross_entropy(lstm(x[:, index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            cycle.step()
    return lstm


@torch.no_grad()
def accuracy(lstm: LSTM, images: ImageData, batch_size: int = 256) -> float:
    """Images classified rightly, in percent."""
    device = lstm.readout.weight.device
    batches = pixels(images, lstm.side).split(batch_size, dim=1)
    found = torch.cat([lstm(x.to(device)).argmax(1).cpu() for x in batches])
    return 100 * float((found.numpy() == images.labels).mean())
