"""What every tile does cycle by cycle in one time step: exchange, compute, waiting. Modelled."""

import json
from pathlib import Path

import numpy as np

from paraspike import paths
from paraspike.ipu.cost import phases
from paraspike.ipu.program import Program

KINDS = ("exchange", "compute", "sync")


def spans(program: Program, direction: str) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """(superstep, kind, begin, end) of one time step; begin and end in cycles, [ipus, tiles].

    Args:
        direction: forward or backward.

    A tile that is done waits for the slowest: the rest of a phase is sync, and the spans of a tile leave
    no gap.
    """
    found, now = [], 0.0
    for phase in phases(program)[direction == "backward"]:
        for kind, cycles, after in (
            ("exchange", phase.exchange, 0.0),
            ("compute", phase.compute, phase.sync),
        ):
            end = now + cycles.max() + after
            begin = np.full_like(cycles, now)
            found.append((phase.name, kind, begin, begin + cycles))
            found.append((phase.name, "sync", begin + cycles, np.full_like(cycles, end)))
            now = end
    return found


def raster(program: Program, direction: str, columns: int = 1000) -> tuple[np.ndarray, float]:
    """Kind (index into KINDS) of each tile in each of `columns` equal slices of the step, int8
    [ipus * tiles, columns], and the cycles of the whole."""
    parts = spans(program, direction)
    total = max(end.max() for *_, end in parts)
    at = (np.arange(columns) + 0.5) * total / columns
    out = np.full((parts[0][2].size, columns), KINDS.index("sync"), np.int8)
    for _, kind, begin, end in parts:
        inside = (begin.reshape(-1, 1) <= at) & (at < end.reshape(-1, 1))
        out[inside] = KINDS.index(kind)
    return out, float(total)


def write(program: Program, file: Path, every: int = 1) -> Path:
    """A Chrome trace of one forward and one backward time step, which Perfetto and chrome://tracing open.

    A process is an IPU, a thread a tile (each `every`-th); times are microseconds of the modelled machine.
    """
    machine = program.mapping.machine
    scale = 1e6 / machine.clock
    events, start = [], 0.0
    for ipu in range(program.mapping.ipus):
        name = {"name": f"{machine.name} {ipu} (modelled)"}
        events.append({"ph": "M", "pid": ipu, "name": "process_name", "args": name})
    for direction in ("forward", "backward"):
        last = start
        for name, kind, begin, end in spans(program, direction):
            last = max(last, start + float(end.max()))
            for ipu in range(program.mapping.ipus):
                for tile in range(0, machine.tiles, every):
                    length = float(end[ipu, tile] - begin[ipu, tile])
                    if length > 0:
                        events.append(
                            {
                                "ph": "X",
                                "pid": ipu,
                                "tid": tile,
                                "ts": round(scale * (start + float(begin[ipu, tile])), 4),
                                "dur": round(scale * length, 4),
                                "name": kind if kind == "sync" else f"{kind}: {name}",
                                "cat": f"{direction},{kind}",
                            }
                        )
        start = last
    about = {"machine": machine.name, "clock_hz": machine.clock, "kind": "modelled"}
    text = json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": about})
    file = paths.resolve(file)
    with paths.replacing(file) as temporary:
        temporary.write_text(text)
    return file
