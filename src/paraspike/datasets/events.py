"""What a data set is once it is read: events or images with labels, one layout for all of them."""

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np

from paraspike.errors import ReaderError


@dataclass(frozen=True)
class Recordings:
    """Recordings as a file holds them: times in ticks, the file's own integer or float width.

    ticks [E] and units [E] are all recordings' events in a row, sorted by time within a recording;
    recording i is events offsets[i] : offsets[i + 1]. labels [n]; speakers [n] or None.
    """

    ticks: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray | None
    ticks_per_second: int
    n_units: int
    n_classes: int

    def __len__(self):
        return len(self.labels)

    def checked(self, where: object, longest: float) -> "Recordings":
        """These recordings, once lengths, ranges and order are seen to be right.

        Args:
            where: the file, for the message.
            longest: seconds that no recording of this data set exceeds.

        Raises:
            ReaderError: names the file, the recording and what is wrong with it.
        """
        n = len(self.labels)
        if n == 0:
            raise ReaderError("no recordings in the file", where)
        lengths = np.diff(self.offsets)
        if self.speakers is not None and len(self.speakers) != n or len(lengths) != n:
            raise ReaderError(f"{len(lengths)} recordings, but {n} labels or other speakers", where)
        if not self.offsets[-1] == len(self.ticks) == len(self.units) or (lengths < 0).any():
            raise ReaderError(
                "times, units and lengths of the recordings do not fit together", where
            )
        self._check_records(self.labels, self.n_classes, "label", where)
        times = self.ticks.astype(np.float32) if self.ticks.dtype == np.float16 else self.ticks
        wrong = ~((times >= 0) & (times <= longest * self.ticks_per_second))
        self._refuse_first(wrong, self.ticks, f"time outside 0 .. {longest:g} s", where)
        wrong = (self.units < 0) | (self.units >= self.n_units)
        self._refuse_first(wrong, self.units, f"unit outside 0 .. {self.n_units - 1}", where)
        backwards = np.zeros(len(times), bool)
        backwards[1:] = times[1:] < times[:-1]
        starts = self.offsets[:-1]
        backwards[starts[starts < len(times)]] = False
        self._refuse_first(backwards, self.ticks, "time earlier than the event before it", where)
        return self

    def _check_records(self, values, stop, what, where):
        wrong = np.flatnonzero((values < 0) | (values >= stop))
        if len(wrong):
            raise ReaderError(
                f"{what} {values[wrong[0]]} of recording {wrong[0]} lies outside 0 .. {stop - 1}",
                where,
            )

    def _refuse_first(self, wrong, values, what, where):
        if wrong.any():
            event = int(np.argmax(wrong))
            record = int(np.searchsorted(self.offsets, event, side="right")) - 1
            place = f"recording {record}, event {event - self.offsets[record]}"
            raise ReaderError(
                f"{place}: {what}: {values[event]}",
                where,
                "the file is damaged or of another kind; fetch it again",
            )

    def events(
        self, name: str, split: str, checksum: str | None = None, verified=True
    ) -> "EventData":
        """The recordings in seconds, with their origin; no checksum given: that of the content."""
        times = self.ticks.astype(np.float64)
        if self.ticks_per_second != 1:
            times /= self.ticks_per_second
        arrays = {
            "times": times,
            "units": self.units.astype(np.int32),
            "offsets": self.offsets.astype(np.int64),
            "labels": self.labels.astype(np.int64),
            "speakers": None if self.speakers is None else self.speakers.astype(np.int64),
        }
        return EventData(
            name=name,
            split=split,
            **arrays,
            n_units=self.n_units,
            n_classes=self.n_classes,
            duration=_longest(times, self.offsets),
            checksum=checksum or content_checksum(*(a for a in arrays.values() if a is not None)),
            verified=verified,
        )


@dataclass(frozen=True)
class EventData:
    """A split of an event data set.

    Attributes:
        name, split: the registry's name; "train" or "test".
        times: float64 [E], seconds, sorted within a recording.
        units: int32 [E], 0 .. n_units - 1.
        offsets: int64 [n + 1]; recording i is events offsets[i] : offsets[i + 1].
        labels: int64 [n], 0 .. n_classes - 1.
        speakers: int64 [n], or None where the data set has none.
        duration: seconds, time of the last event of the longest recording.
        checksum: "md5:..." of the source file(s), "sha256:..." of generated content.
        verified: the source has the published checksum, or was made here.
        span: seconds that every recording lasts, from its start; None where each ends with its last event.
    """

    name: str
    split: str
    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray | None
    n_units: int
    n_classes: int
    duration: float
    checksum: str
    verified: bool
    span: float | None = None

    def __len__(self):
        return len(self.labels)

    def subset(self, index) -> "EventData":
        """The recordings `index` (integers [m]), in that order."""
        index = np.asarray(index, dtype=np.int64)
        events, offsets = _gather(self.offsets, index)
        times = self.times[events]
        return dataclasses.replace(
            self,
            times=times,
            units=self.units[events],
            offsets=offsets,
            labels=self.labels[index],
            speakers=None if self.speakers is None else self.speakers[index],
            duration=_longest(times, offsets),
        )


@dataclass(frozen=True)
class ImageData:
    """A split of an image set: images uint8 [n, 28, 28], labels int64 [n]; else as EventData."""

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    n_classes: int
    checksum: str
    verified: bool

    def __len__(self):
        return len(self.labels)

    def subset(self, index) -> "ImageData":
        """The images `index` (integers [m]), in that order."""
        return dataclasses.replace(self, images=self.images[index], labels=self.labels[index])


def content_checksum(*arrays) -> str:
    """sha256 over the arrays' types, shapes and little-endian contents."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(little.tobytes())
    return f"sha256:{digest.hexdigest()}"


def _longest(times, offsets):
    ends = offsets[1:][np.diff(offsets) > 0]
    return float(times[ends - 1].max()) if len(ends) else 0.0


def _gather(offsets, index):
    lengths = offsets[index + 1] - offsets[index]
    new = np.zeros(len(index) + 1, np.int64)
    np.cumsum(lengths, out=new[1:])
    events = np.repeat(offsets[index] - new[:-1], lengths) + np.arange(new[-1])
    return events, new
