"""`modulation`: synthetic radio recordings of eleven modulations, as maps of the constellation.

What it is: 1,024 complex samples of one of the eleven modulations that RadioML 2016.10a has, about eight
samples a symbol, through a channel: white noise, an offset of phase and frequency, a symbol rate that is off.
Scaled to unit power they lie on a map of 16 x 16 pixels from -2 to 2, in-phase along x and quadrature along y
(what is beyond lies on the rim); each is an event of its pixel, at the step of 16 samples it belongs to: 64
steps of 1 ms.

What it is not: RadioML, nor a model of a real channel. It is ours, synthetic throughout: symbols go over into
each other by a cubic step instead of a root-raised cosine, analogue messages are three tones, and there is no
fading, no drift and no clock. Its difficulty was set once, so that small networks neither fail nor saturate in
a few epochs; accuracies on it say nothing about RadioML.
"""

from dataclasses import dataclass

import numpy as np

from paraspike.datasets.events import Recordings
from paraspike.datasets.synthetic import asked, content_hash
from paraspike.randomness import uniform

DEFAULT_SAMPLES = {"train": 1000, "test": 500}
NAMES = (
    "BPSK",
    "QPSK",
    "8PSK",
    "PAM4",
    "16QAM",
    "64QAM",
    "GFSK",
    "CPFSK",
    "AM-DSB",
    "AM-SSB",
    "WBFM",
)
CLASSES, SIDE, STEPS, LENGTH = len(NAMES), 16, 64, 1024
# Room for the fastest symbol rate.
_SYMBOLS = 160
_CHUNK = 512


@dataclass(frozen=True)
class Difficulty:
    """The frozen parameters of the data set; a change of any of them is a new data set.

    Phase in turns, frequencies in turns per sample, each uniform in plus or minus the value.
    """

    snr: tuple[int, int] = (8, 18)  # least and greatest signal to noise in dB, even numbers between
    phase: float = 1 / 32  # offset of the carrier's phase
    frequency: float = 5e-5  # offset of the carrier's frequency
    symbol: float = 8.0  # samples a symbol
    jitter: float = 0.1  # relative, of the symbol's length
    tones: tuple[float, float] = (0.004, 0.03)  # frequencies of an analogue message
    depth: float = 0.5  # of AM-DSB
    deviation: float = 0.04  # frequency of WBFM at the message's greatest
    index: tuple[float, float] = (0.5, 1.0)  # turns / 2 a symbol of GFSK and CPFSK


def generate(
    split: str, samples: int | None = None, seed: int = 0, difficulty: Difficulty | None = None
):
    """The first `samples` recordings of a split; recording i shows class i % 11 and does not depend on how
    many are asked.

    Args:
        split: "train" or "test".  samples: how many (default 1,000 and 500).
        seed: of the recordings.

    Returns:
        Recordings, times in ms (the step), 11 classes as in `NAMES`, 16 x 16 units, row by row from
        quadrature -2.

    Raises:
        ReaderError: unknown split, or no samples asked.
    """
    p = difficulty or Difficulty()
    samples = asked("modulation", split, samples, DEFAULT_SAMPLES)
    index, units = np.arange(samples), np.empty((samples, LENGTH), np.int32)
    for start in range(0, samples, _CHUNK):
        chosen = index[start : start + _CHUNK]
        units[chosen] = _pixels(*received(split, chosen, seed, p))
    # A step's events in the order of their pixels.
    units = np.sort(units.reshape(samples, STEPS, -1), -1)
    return Recordings(
        ticks=np.tile(np.repeat(np.arange(STEPS, dtype=np.uint16), LENGTH // STEPS), samples),
        units=units.reshape(-1),
        offsets=np.arange(samples + 1, dtype=np.int64) * LENGTH,
        labels=(index % CLASSES).astype(np.uint16),
        speakers=None,
        ticks_per_second=1000,
        n_units=SIDE * SIDE,
        n_classes=CLASSES,
    )


def received(split: str, index: np.ndarray, seed: int = 0, difficulty: Difficulty | None = None):
    """In-phase and quadrature of recordings `index` [n], float64 [n, 1024] each, of unit power."""
    p = difficulty or Difficulty()

    def draw(stream, count):
        return uniform(seed, f"modulation/{stream}/{split}", index, 1, count)[0].astype(np.float64)

    offsets = 2 * draw("channel", 4) - 1
    length = p.symbol * (1 + p.jitter * offsets[:, :1])
    # Sample n lies `part` of a symbol behind the start of symbol `place`.
    clock = np.arange(LENGTH) / length + (offsets[:, 1:2] + 1) / 2
    place = clock.astype(np.int64)
    part = clock - place
    levels = draw("symbols", 2 * _SYMBOLS).reshape(len(index), _SYMBOLS, 2)
    waves = draw("tones", 9).reshape(len(index), 3, 3)
    i, q = np.empty((2, len(index), LENGTH))
    for label in range(CLASSES):
        mine = np.flatnonzero(index % CLASSES == label)
        made = _signal(p, NAMES[label], levels[mine], place[mine], part[mine], waves[mine])
        i[mine], q[mine] = _scaled(*made)
    carrier = p.phase * offsets[:, 2:3] + p.frequency * offsets[:, 3:] * np.arange(LENGTH)
    cosine, sine = _sine(carrier + 0.25), _sine(carrier)
    low, high = p.snr
    steps = (high - low) // 2 + 1
    db = low + 2 * np.minimum((draw("snr", 1) * steps).astype(np.int64), steps - 1)
    noise = 10.0 ** (-np.arange(high + 1) / 20)
    return _scaled(
        i * cosine - q * sine + noise[db] * _normal(draw("noise/i", 4 * LENGTH)),
        i * sine + q * cosine + noise[db] * _normal(draw("noise/q", 4 * LENGTH)),
    )


def fingerprint(difficulty: Difficulty | None = None) -> str:
    """Hash of everything the content depends on besides split, samples and seed."""
    return content_hash(__file__, difficulty or Difficulty())


def _signal(p, name, levels, place, part, waves):
    """In-phase and quadrature [n, 1024] of one modulation, before scaling."""
    if name in ("GFSK", "CPFSK"):
        signs = np.where(levels[..., 0] < 0.5, -1.0, 1.0)
        # Gaussian: the frequency goes over from symbol to symbol; CPFSK: it jumps.
        gaussian = name == "GFSK"
        now = _between(signs, place, part) if gaussian else np.take_along_axis(signs, place, 1)
        return _turning(now * p.index[not gaussian] / 2 / p.symbol)
    if name in ("AM-DSB", "AM-SSB", "WBFM"):
        low, high = p.tones
        turns = waves[..., :1] + (low + (high - low) * waves[..., 1:2]) * np.arange(LENGTH)
        weights = (0.5 + waves[..., 2:]) / 4.5
        message, shifted = (_serial(weights * _sine(turns + k)) for k in (0.25, 0.0))
        if name == "AM-DSB":
            return 1 + p.depth * message, np.zeros_like(message)
        return (message, shifted) if name == "AM-SSB" else _turning(p.deviation * message)
    if name in ("BPSK", "PAM4"):
        i = _ladder(levels[..., 0], 2 if name == "BPSK" else 4)
        return _between(i, place, part), np.zeros(place.shape)
    if name in ("QPSK", "8PSK"):
        count, first = (4, 1 / 8) if name == "QPSK" else (8, 0.0)
        turns = first + np.minimum((levels[..., 0] * count).astype(np.int64), count - 1) / count
        i, q = _sine(turns + 0.25), _sine(turns)
    else:
        i, q = (_ladder(levels[..., k], 4 if name == "16QAM" else 8) for k in (0, 1))
    return _between(i, place, part), _between(q, place, part)


def _ladder(level, count):
    """One of `count` numbers, evenly from -1 to 1, for uniform numbers in (0, 1)."""
    return 2 * np.minimum((level * count).astype(np.int64), count - 1) / (count - 1) - 1


def _between(symbols, place, part):
    """Symbols [n, S] at samples [n, 1024], over by a cubic step from one to the next."""
    here, there = (np.take_along_axis(symbols, place + k, 1) for k in (0, 1))
    return here + (there - here) * (3 - 2 * part) * part * part


def _turning(frequency):
    """A carrier of unit power with a frequency [n, 1024] in turns per sample."""
    turns = np.cumsum(frequency, 1)
    return _sine(turns + 0.25), _sine(turns)


def _scaled(i, q):
    """To unit power; cumsum adds in one order on every machine, which sum does not."""
    power = np.cumsum(i * i + q * q, 1)[:, -1:] / LENGTH
    return i / np.sqrt(power), q / np.sqrt(power)


def _serial(values):
    """Sum over axis 1 of three."""
    return values[:, 0] + values[:, 1] + values[:, 2]


def _sine(turns):
    """Sine of turns by its series, to 1e-9; a library's differs in its last bit from machine to machine."""
    rest = turns - np.rint(turns)
    z = 2 * np.pi * np.where(np.abs(rest) > 0.25, np.copysign(0.5, rest) - rest, rest)
    square, series = z * z, np.zeros_like(z)
    for k in (15, 13, 11, 9, 7, 5, 3):
        series = (1 - series) * square / (k * (k - 1))
    return z * (1 - series)


def _normal(numbers):
    """Nearly normal, of variance 1/2: sums of four of uniform numbers [n, 4 * 1024]."""
    a, b, c, d = (numbers[:, k::4] for k in range(4))
    return (a + b + c + d - 2) * 1.5**0.5


def _pixels(i, q):
    x, y = (np.clip(np.floor((v + 2) * (SIDE / 4)), 0, SIDE - 1).astype(np.int32) for v in (i, q))
    return y * SIDE + x
