"""The workloads: networks, their input and weights, all drawn from one committed seed."""

from dataclasses import dataclass, replace

import numpy as np

from paraspike.errors import ReaderError

SEED = 20260
BETA, THRESHOLD, SLOPE, LEARNING_RATE = 0.9, 1.0, 25.0, 1e-3
# Loss: cross entropy of this gain times the mean of the output spikes over time.
GAIN = 10.0
# PostPre's rates and bounds; images: share of bright pixels, the brightest one's rate, step (s).
STDP = {"nu": (1e-4, 1e-2), "wmin": 0.0, "wmax": 1.0}
BRIGHT_PIXELS, MOST_HZ, STDP_DT = 0.19, 128.0, 1e-3

W2_SIZES, W2R_SIZES, W1_SIZES = (700, 128, 128, 128, 20), (700, 256, 20), (784, 320, 50, 10)
# Standard deviation of each layer's weights times sqrt(n_in), searched once so that the densities
# of the layers' inputs are those below.
W2_SCALES = (3.717, 2.122, 2.076, 2.760)
W2R_SCALES, W2R_RECURRENT_SCALE = (3.197, 3.310), 1.0
W2_DENSITY = 0.015
W2_DENSITIES = (0.015, 0.039, 0.045, 0.055)
TOLERANCE = 0.1


@dataclass(frozen=True)
class Workload:
    """One row of the benchmark's plan.

    Attributes:
        name: W2, W2r, W2d (training steps), W2i (inference), W1 (STDP) or W1e (its encoding).
        kind: train, infer, stdp or encode.
        sizes: neurons per layer, input first.  recurrent: whether the first hidden layer is.
        steps, batch: T and B.  density: share of ones in the input.
    """

    name: str
    kind: str
    sizes: tuple[int, ...]
    steps: int
    batch: int
    density: float
    recurrent: bool = False

    @property
    def label(self) -> str:
        """One name a row, for tables and for the command line."""
        return f"{self.name} T={self.steps} B={self.batch} {self.density:.3g}"

    def short(self, steps: int = 2) -> "Workload":
        """The same network over a few steps: what is compiled or started once is started here."""
        return replace(self, steps=steps)


@dataclass(frozen=True)
class Data:
    """inputs: uint8 [T, B, N_in]; labels: int64 [B]; weights: float32 [N_in, N_out] each;
    recurrent: float32 [N, N] of the first hidden layer, or None; rates: spikes per second of each
    pixel, float32 [B, N_in], where the input encodes images, else None."""

    inputs: np.ndarray
    labels: np.ndarray
    weights: list[np.ndarray]
    recurrent: np.ndarray | None = None
    rates: np.ndarray | None = None


def plan() -> list[Workload]:
    """Every workload, in the order of the table."""
    w2 = Workload("W2", "train", W2_SIZES, 500, 64, W2_DENSITY)
    w1 = Workload("W1", "stdp", W1_SIZES, 100, 32, BRIGHT_PIXELS * MOST_HZ / 2 * STDP_DT)
    densities = (0.005, 0.015, 0.05, 0.15, 0.5)
    return [
        *(replace(w2, steps=steps) for steps in (100, 500, 1000)),
        replace(w2, name="W2r", sizes=W2R_SIZES, recurrent=True),
        *(replace(w2, name="W2d", density=density) for density in densities),
        *(replace(w2, name="W2i", kind="infer", batch=batch) for batch in (64, 1)),
        w1,
        replace(w1, steps=10),
        *(replace(w1, name="W1e", kind="encode", steps=steps) for steps in (100, 10)),
    ]


def select(words: list[str]) -> list[Workload]:
    """The workloads whose name, or name and T as in `w2-500`, is asked for; all for no words.

    Raises:
        ReaderError: a word names no workload.
    """
    chosen = []
    for word in words:
        name, _, steps = word.lower().partition("-")
        found = [
            w for w in plan() if w.name.lower() == name and (not steps or str(w.steps) == steps)
        ]
        if not found:
            known = ", ".join(dict.fromkeys(f"{w.name.lower()}-{w.steps}" for w in plan()))
            raise ReaderError(f"workload {word!r} is unknown", "BENCH", f"one of {known}")
        chosen += [w for w in found if w not in chosen]
    return chosen or plan()


def draw(workload: Workload, seed: int = SEED) -> Data:
    """Input, labels and weights; a shorter workload's input is the beginning of a longer one's."""

    def stream(name):
        return np.random.default_rng([seed, sum(name.encode())])

    labels = stream("labels").integers(0, workload.sizes[-1], workload.batch)
    pairs = list(zip(workload.sizes[:-1], workload.sizes[1:], strict=True))
    shape = (workload.steps, workload.batch, workload.sizes[0])
    if workload.kind in ("stdp", "encode"):
        images = stream("images")
        rates = images.random(shape[1:], np.float32) * np.float32(MOST_HZ)
        rates *= images.random(shape[1:], np.float32) < BRIGHT_PIXELS
        inputs = _raster(stream("input"), shape, rates * np.float32(STDP_DT))
        weights = [stream(f"stdp {a}x{b}").random((a, b), np.float32) for a, b in pairs]
        return Data(inputs, labels, weights, rates=rates)
    scales = W2R_SCALES if workload.recurrent else W2_SCALES
    weights = []
    for i, ((a, b), scale) in enumerate(zip(pairs, scales, strict=True)):
        draws = stream(f"weight {i} {a}x{b}").standard_normal((a, b), np.float32)
        gain = scale / a**0.5
        if i == 0:
            # No net drive and the same variance at every density, so that later layers stay as they are.
            draws -= draws.mean(0)
            gain *= (_variance(W2_DENSITY) / _variance(workload.density)) ** 0.5
        weights.append(draws * np.float32(gain))
    recurrent = None
    if workload.recurrent:
        n = workload.sizes[1]
        recurrent = stream("recurrent").standard_normal((n, n), np.float32)
        recurrent *= np.float32(W2R_RECURRENT_SCALE / n**0.5)
    return Data(_raster(stream("input"), shape, workload.density), labels, weights, recurrent)


def _variance(p: float) -> float:
    """Of one that is there with probability p."""
    return p * (1 - p)


def _raster(generator, shape, probability) -> np.ndarray:
    """Independent ones, uint8 [T, B, N], drawn step by step so that no large temporary is left."""
    out = np.empty(shape, np.uint8)
    for step in out:
        np.less(generator.random(shape[1:], np.float32), probability, out=step, casting="unsafe")
    return out


def check_densities(workload: Workload, densities) -> str:
    """One line with the densities of the layers' inputs.

    Raises:
        ReaderError: W2's are not within 10 % of the published ones.
    """
    line = f"{workload.label}: layer inputs " + " / ".join(f"{d:.4f}" for d in densities)
    if workload.name == "W2":
        far = [
            d for d, w in zip(densities, W2_DENSITIES, strict=False) if abs(d / w - 1) > TOLERANCE
        ]
        if far:
            raise ReaderError(
                f"{line}, further than 10 % from {W2_DENSITIES}",
                "benchmarks/workloads.py",
                "search W2_SCALES again",
            )
    return line
