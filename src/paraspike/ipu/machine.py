"""Graphcore's machines as the model sees them: tiles, memory, clock."""

from dataclasses import dataclass

from paraspike.errors import ReaderError
from paraspike.parameters import did_you_mean


@dataclass(frozen=True)
class Machine:
    """One chip, and how many of it a system has at most.

    Attributes:
        tiles: cores with memory of their own.  sram: bytes of each.  clock: Hz.
        ipus: the largest system considered.  grade, source: of the clock, the least certain of these
            (grades: `constants`).
    """

    name: str
    tiles: int
    sram: int
    clock: float
    ipus: int
    grade: str
    source: str

    def seconds(self, cycles):
        """Seconds of so many cycles."""
        return cycles / self.clock


MACHINES = {
    "Mk1": Machine(
        "Mk1", 1216, 256 * 1024, 1.6e9, 16, "D", "124.5 TFLOPS (Jia et al. 2019) / 1216 / 64"
    ),
    "Mk2": Machine("Mk2", 1472, 624 * 1024, 1.33e9, 16, "C", "250 TFLOPS / 1472 / 128"),
    "Bow": Machine("Bow", 1472, 624 * 1024, 1.85e9, 16, "A", "Bow-2000 datasheet"),
}


def machine(name: str) -> Machine:
    """A machine by its name.

    Raises:
        ReaderError: there is none of that name.
    """
    if name not in MACHINES:
        hint = did_you_mean(name, MACHINES)
        raise ReaderError(f"machine {name!r} is unknown", "paraspike.ipu.machine", hint)
    return MACHINES[name]
