"""`cochlea`: a synthetic data set in the layout of the Spiking Heidelberg Digits, for use offline.

What it is: 20 "words" on 700 channels. A word is a frozen sequence of formant-like tracks (centres
and loudnesses that glide between knots). A speaker shifts and stretches the channel axis and has a
tempo; an utterance jitters knots, tempo and loudness. A channel fires as an inhomogeneous Poisson
process in steps of 1 ms with dead time and background. Test speakers are not in training and differ
more from each other than training speakers do: what SPSN's two augmentations can make up for.

What it is not: speech, an auditory model, or a substitute for SHD. Its difficulty was tuned once,
so that small spiking networks neither fail nor saturate in a few epochs and augmentation pays;
accuracies on it say nothing about accuracies on SHD, nor gains about gains.
"""

from dataclasses import dataclass

import numpy as np

from paraspike.datasets.events import Recordings
from paraspike.datasets.synthetic import asked, content_hash
from paraspike.errors import ReaderError
from paraspike.ops.jit import njit, numba
from paraspike.randomness import philox, stream_key, uniform, words
from paraspike.threads import run_blocks

DEFAULT_SAMPLES = {"train": 1000, "test": 500}
_SPLITS = {"train": 0, "test": 1}
_BLOCK = 250


@dataclass(frozen=True)
class Difficulty:
    """The frozen parameters of the data set. Channels are 0 .. 699; ranges are +- about the middle.

    Tuned with LIF 3 x 128, time constants 20 ms, dt 10 ms, 1,000 samples, 8 epochs, Adamax, three
    seeds: test accuracy 78.5 % without and 86.8 % with augmentation (learning rate 0.005, batches
    of 64), 78.5 % and 84.6 % (0.003, 32). A change of any of them is a new data set.
    """

    vocabulary: int = 7  # seed of the twenty words
    bands: tuple[tuple[float, float], ...] = ((70, 270), (230, 470), (430, 630))  # of the formants
    knots: int = 5  # of a track
    closure: float = 0.25  # share of knots where a formant is silent
    half_width: int = 30  # channels from a formant's centre to silence
    peak_rate: float = 220.0  # Hz at a formant's centre
    background: float = 1.0  # Hz on every channel
    dead_time: int = 2  # ms
    shortest: float = 0.60  # seconds, of a word at tempo 1
    longest: float = 0.80
    speakers: tuple[int, int] = (6, 6)  # train, test
    shift: tuple[float, float] = (15.0, 35.0)  # channels
    stretch: tuple[float, float] = (0.03, 0.06)  # of the distance from the middle channel
    tempo: tuple[float, float] = (0.05, 0.15)
    knot_jitter: float = 12.0  # channels, per utterance
    tempo_jitter: float = 0.05
    loudness: float = 0.4


def generate(
    split: str, samples: int | None = None, seed: int = 0, difficulty: Difficulty | None = None
):
    """The first `samples` recordings of a split; recording i does not depend on how many are asked.

    Recording i says word i % 20 by speaker i // 20 modulo the number of speakers.

    Args:
        split: "train" or "test".
        samples: how many (default 1,000 and 500).
        seed: of speakers and utterances; the words stay.

    Returns:
        Recordings, times in seconds as float16 (SHD's own), 20 classes, 700 units.

    Raises:
        ReaderError: unknown split, or no samples asked.
    """
    p = difficulty or Difficulty()
    samples = asked("cochlea", split, samples, DEFAULT_SAMPLES)
    index = np.arange(samples)
    speakers = (index // 20) % p.speakers[_SPLITS[split]]
    centres, gains, lengths = _utterances(p, split, index, index % 20, speakers, seed)
    ticks, units, counts = [], [], []
    for start in range(0, samples, _BLOCK):
        part = slice(start, min(start + _BLOCK, samples))
        fired = _fire_block(p, split, seed, index[part], centres[part], gains[part], lengths[part])
        for many, piece in zip((ticks, units, counts), fired, strict=True):
            many.append(piece)
    offsets = np.zeros(samples + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=offsets[1:])
    return Recordings(
        ticks=(np.concatenate(ticks) / 1000.0).astype(np.float16),
        units=np.concatenate(units),
        offsets=offsets,
        labels=(index % 20).astype(np.uint16),
        speakers=(speakers + _SPLITS[split] * p.speakers[0]).astype(np.uint16),
        ticks_per_second=1,
        n_units=700,
        n_classes=20,
    )


def fingerprint(difficulty: Difficulty | None = None) -> str:
    """Hash of everything the content depends on besides split, samples and seed."""
    return content_hash(__file__, difficulty or Difficulty())


def _signed(seed, stream, samples, n):
    """Uniform in (-1, 1), float64 [samples, n]."""
    return 2.0 * uniform(seed, f"cochlea/{stream}", samples, 1, n)[0].astype(np.float64) - 1.0


def _words(p):
    """Centres in channels and gains in 0 .. 1, each [20, formants, knots]; durations in s [20]."""
    formants, words = len(p.bands), np.arange(20)
    shape = (20, formants, p.knots)
    low, high = np.array(p.bands, np.float64).T[:, :, None]
    place = _signed(p.vocabulary, "words", words, formants * p.knots).reshape(shape)
    centres = (low + high) / 2 + place * (high - low) / 2
    draw = (1 + _signed(p.vocabulary, "gains", words, formants * p.knots).reshape(shape)) / 2
    gains = np.where(draw < p.closure, 0.0, 0.4 + 0.6 * draw)
    lengths = (1 + _signed(p.vocabulary, "lengths", words, 1)[:, 0]) / 2
    return centres, gains, p.shortest + (p.longest - p.shortest) * lengths


def _utterances(p, split, index, labels, speakers, seed):
    """What each recording's cochlea hears: centres and gains at the knots, and lengths in ms."""
    k = _SPLITS[split]
    centres, gains, durations = (part[labels] for part in _words(p))
    voice = _spread_voices(seed, split, p.speakers[k])[speakers]
    shape = (len(index), -1, p.knots)
    jitter = _signed(seed, f"knots/{split}", index, centres[0].size).reshape(shape)
    how = _signed(seed, f"utterance/{split}", index, 2)
    shift, stretch, tempo = (voice[:, j] * (p.shift, p.stretch, p.tempo)[j][k] for j in range(3))
    stretched = 350 + (centres - 350) * (1 + stretch)[:, None, None]
    centres = stretched + shift[:, None, None] + p.knot_jitter * jitter
    gains = gains * (1 + p.loudness * how[:, 0])[:, None, None]
    lengths = durations * (1 + tempo) * (1 + p.tempo_jitter * how[:, 1])
    return centres, gains, np.rint(1000 * lengths).astype(np.int64)


def _spread_voices(seed, split, speakers):
    """One row (shift, stretch, tempo) in -1 .. 1 per speaker: spread evenly over the range of each,
    in an order drawn at random, so that few speakers cover it."""
    order = np.argsort(
        _signed(seed, f"speakers/{split}", range(3), speakers), axis=1, kind="stable"
    )
    grid = np.linspace(-1.0, 1.0, speakers) if speakers > 1 else np.zeros(1)
    return grid[order].T


def _fire_block(p, split, seed, index, centres, gains, lengths):
    # Never reached: the mean is below a third of this, see the test of the density.
    capacity = 700 * int(lengths.max()) // 8
    ticks = np.empty((len(index), capacity), np.uint16)
    units = np.empty((len(index), capacity), np.uint16)
    counts = np.zeros(len(index), np.int64)
    distance = np.arange(-p.half_width, p.half_width + 2) / (p.half_width + 1)
    bump = np.clip(1 - distance * distance, 0, None) ** 2 * p.peak_rate * 65.536
    given = centres, gains, lengths, bump, p.background * 65.536, p.dead_time
    stream, index = f"cochlea/spikes/{split}", index.astype(np.uint64)
    if numba is None:
        _in_numpy(*given, index, seed, stream, ticks, units, counts)
    else:
        key = np.uint64(seed), np.uint64(stream_key(stream))
        run_blocks(_fire, len(index), *given, index, *key, ticks, units, counts)
    if counts.max() > capacity:
        raise ReaderError("a recording has more spikes than there is room for", "cochlea.generate")
    kept = np.arange(capacity) < counts[:, None]
    return ticks[kept], units[kept], counts


@njit
def _fire(
    start, stop, centres, gains, lengths, bump, floor, dead, index, k0, k1, ticks, units, counts
):
    """Recordings start .. stop: per ms and channel one 16-bit draw against rate in Hz * 65.536."""
    formants, knots = centres.shape[1], centres.shape[2]
    half = (len(bump) - 2) // 2
    rate = np.empty(704)
    ready = np.empty(704, np.int64)
    draws = np.empty(8, np.uint64)
    low = np.uint64(0xFFFF)
    for r in range(start, stop):
        ready[:] = 0
        n = 0
        for t in range(lengths[r]):
            rate[:] = floor
            place = t * (knots - 1) / lengths[r]
            k = int(place)
            part = place - k
            glide = part * part * (3 - 2 * part)
            for f in range(formants):
                gain = gains[r, f, k] + glide * (gains[r, f, k + 1] - gains[r, f, k])
                centre = centres[r, f, k] + glide * (centres[r, f, k + 1] - centres[r, f, k])
                nearest = int(np.floor(centre))
                beyond = centre - nearest
                for j in range(-half, half + 1):
                    if 0 <= nearest + j < 700:
                        a, b = bump[j + half + 1], bump[j + half]
                        rate[nearest + j] += gain * (a + beyond * (b - a))
            for block in range(88):
                w = philox(np.uint64(block), np.uint64(t), index[r], np.uint64(0), k0, k1)
                for j in range(4):
                    draws[2 * j] = w[j] & low
                    draws[2 * j + 1] = w[j] >> np.uint64(16)
                for j in range(8):
                    channel = 8 * block + j
                    if draws[j] < rate[channel] and ready[channel] <= t and channel < 700:
                        ready[channel] = t + 1 + dead
                        if n < ticks.shape[1]:
                            ticks[r, n], units[r, n] = t, channel
                        n += 1
        counts[r] = n


def _in_numpy(
    centres, gains, lengths, bump, floor, dead, index, seed, stream, ticks, units, counts
):
    """`_fire` on whole arrays, for machines without numba: the same bits."""
    knots, half = centres.shape[2], (len(bump) - 2) // 2
    for r, steps in enumerate(lengths):
        place = np.arange(steps) * (knots - 1) / steps
        k = place.astype(np.int64)
        part = place - k
        glide = part * part * (3 - 2 * part)
        rate = np.full((steps, 704), floor)
        for knot, loud in zip(centres[r], gains[r], strict=True):
            gain = loud[k] + glide * (loud[k + 1] - loud[k])
            centre = knot[k] + glide * (knot[k + 1] - knot[k])
            nearest = np.floor(centre).astype(np.int64)
            beyond = centre - nearest
            for j in range(-half, half + 1):
                a, b = bump[j + half + 1], bump[j + half]
                t = np.flatnonzero((nearest + j >= 0) & (nearest + j < 700))
                rate[t, nearest[t] + j] += (gain * (a + beyond * (b - a)))[t]
        drawn = words(seed, stream, index[r : r + 1], steps, 352)[:, 0]
        fires = np.stack((drawn & 0xFFFF, drawn >> 16), -1).reshape(steps, 704) < rate
        ready = np.zeros(700, np.int64)
        for t, row in enumerate(fires[:, :700]):
            row &= ready <= t
            ready[row] = t + 1 + dead
        at, channel = np.nonzero(fires[:, :700])
        counts[r], room = len(at), ticks.shape[1]
        ticks[r, : len(at)], units[r, : len(at)] = at[:room], channel[:room]
