"""The runtime's static table: what each processor runs when, what that needs, and where it comes from."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

# What passes between tasks, as in `communication`: spikes into a layer, its currents, dS, a version of weights.
WHAT = ("spikes", "state", "error", "weights")


class Item(NamedTuple):
    """What passes between tasks: `number` is the sample, of weights the version."""

    what: str
    layer: int
    number: int


class Event(NamedTuple):
    """A task that ran: `version` of the weights it read (W: made); begin and end in seconds of the run."""

    processor: int
    kind: str
    layer: int
    sample: int
    version: int
    begin: float
    end: float


@dataclass(frozen=True)
class Plan:
    """The static table all processors work by; tasks and layers as (kind, layer from 1).

    Attributes:
        place: processor of each task.  start: its cycle in repetition 0.  period: cycles.
        shift: F and B of sample n read weights of version max(0, n + shift).
        updates: N, samples.  depth: L.
        shapes: of each (what, layer), for one sample.  dtype: of all of them.
        small: layers whose spikes are whole numbers to 255, which travel as bytes.
    """

    place: dict[tuple[str, int], int]
    start: dict[tuple[str, int], int]
    period: int
    shift: dict[tuple[str, int], int]
    updates: int
    depth: int
    shapes: dict[tuple[str, int], tuple[int, ...]]
    dtype: torch.dtype
    small: frozenset[int]

    def order(self, processor: int) -> list[tuple[str, int, int]]:
        """(kind, layer, sample) of all of a processor's tasks, by their start."""
        own = [key for key, where in self.place.items() if where == processor]
        every = [(*key, n) for n in range(self.updates) for key in own]
        return sorted(every, key=lambda task: self.start[task[:2]] + task[2] * self.period)

    def version(self, kind: str, layer: int, sample: int) -> int:
        return max(0, sample + self.shift[kind, layer])

    def needs(self, kind: str, layer: int, sample: int) -> list[Item]:
        """What must lie on a task's processor before it starts, but for what F kept there."""
        here, forward = self.place[kind, layer], self.place["F", layer]
        items = []
        if kind != "F":
            items.append(Item("error", layer, sample))
        if kind != "W":
            items.append(Item("weights", layer, self.version(kind, layer, sample)))
        if kind != "F" and here != forward:
            items.append(Item("state", layer, sample))
        # B and W of one processor open the layer once, with its spikes.
        if (kind == "F" and layer > 1) or (
            kind != "F" and here == self.place["W", layer] != forward
        ):
            items.append(Item("spikes", layer, sample))
        return items

    def targets(self, item: Item) -> set[int]:
        """Processors that want an item, its maker's among them."""
        what, layer, number = item
        if what == "weights":
            # Past the last sample nobody reads.
            readers = [
                key for key in (("F", layer), ("B", layer))
                if key in self.shift and 0 <= number - self.shift[key] < self.updates
            ]  # fmt: skip
        else:
            kinds = {"spikes": "FW", "state": "BW", "error": "BW"}[what]
            readers = [(kind, layer) for kind in kinds if (kind, layer) in self.place]
        found = {self.place[key] for key in readers}
        return found - {self.place["F", layer]} if what == "state" else found

    def tag(self, item: Item) -> int:
        return (item.number * self.depth + item.layer - 1) * len(WHAT) + WHAT.index(item.what)

    def maker(self, item: Item) -> int:
        """The processor that makes an item."""
        what, layer, _ = item
        return self.place[
            {
                "spikes": ("F", max(1, layer - 1)),
                "state": ("F", layer),
                "error": ("B", layer + 1) if layer < self.depth else ("F", layer),
                "weights": ("W", layer),
            }[what]
        ]

    def due(self, item: Item) -> int:
        """A cycle by which all readers of an item have started."""
        latest = max(cycle for (_, layer), cycle in self.start.items() if layer == item.layer)
        delay = min([0, *self.shift.values()]) if item.what == "weights" else 0
        return latest + (item.number - delay) * self.period

    def packs(self, item: Item) -> bool:
        """Whether an item travels as bytes."""
        return item.what == "spikes" and item.layer in self.small


def as_bytes(spikes: torch.Tensor) -> torch.Tensor | None:
    """uint8, if nothing is lost by that."""
    packed = spikes.to(torch.uint8)
    return packed if torch.equal(packed.to(spikes.dtype), spikes) else None
