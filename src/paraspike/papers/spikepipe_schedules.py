"""SpikePipe's schedules side by side: the tasks of three networks on systolic arrays, modelled."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from paraspike.errors import ReaderError
from paraspike.pipelining import solved
from paraspike.pipelining.checker import replayed
from paraspike.pipelining.communication import communication
from paraspike.pipelining.heuristics import contiguous, lpt, wrap_around
from paraspike.pipelining.networks import Widths, network
from paraspike.pipelining.ordering import shorten
from paraspike.pipelining.schedules import Schedule
from paraspike.pipelining.synchronous import (
    data_parallel,
    gpipe,
    one_f_one_b,
)
from paraspike.pipelining.tasks import TaskGraph, task_graph
from paraspike.results import describe

# Microbatches of an update where a pipeline is flushed; ours.
MICRO = 8
EQUAL, MINMAX, GPIPE, ONE_F_ONE_B = "equal layers", "contiguous min-max", "GPipe", "1F1B"
LPT, SHORT, WRAP, UNLIMITED = "LPT", "LPT short delays", "wrap-around", "wrap-around no limit"
LAYERED = "wrap-around by layers"
SOLVED, NEAR, PARALLEL = "CP-SAT", "CP-SAT within 1 %", "data parallel"

WAYS: dict[str, Callable[[TaskGraph, int], Schedule]] = {
    EQUAL: lambda graph, m: contiguous(graph, m, "equal"),
    MINMAX: contiguous,
    GPIPE: lambda graph, m: gpipe(graph, m, MICRO),
    ONE_F_ONE_B: lambda graph, m: one_f_one_b(graph, m, MICRO),
    LPT: lpt,
    SHORT: lambda graph, m: shorten(lpt(graph, m)),
    WRAP: wrap_around,
    UNLIMITED: lambda graph, m: wrap_around(graph, m, limit="load"),
    LAYERED: lambda graph, m: wrap_around(graph, m, order="layer"),
    SOLVED: lambda graph, m: _cell(graph, m).points[0].schedule,
    NEAR: lambda graph, m: _cell(graph, m).within(0.01).schedule,
    PARALLEL: data_parallel,
}
WHAT = {
    "period": ("cycles", "period, modelled"),
    "speedup": ("1", "cycles of all tasks over the period, modelled"),
    "speedup_filled": ("1", "the same over 60 periods with fill and drain, modelled"),
    "utilisation": ("1", "share of processor cycles at work, modelled"),
    "utilisation_filled": ("1", "the same over 60 periods with fill and drain, modelled"),
    "total_delay": ("updates", "sum of the layers' delays"),
    "largest_delay": ("updates", "largest delay of a layer"),
    "versions": ("1", "most weight versions a layer holds at a time"),
    "overhead": ("1", "bits moved, net of a contiguous partition's, over all read and written"),
    "overhead_streamed": ("1", "the same over all bits streamed through the arrays"),
    "overhead_bits": ("1", "the first with spikes of one bit for W, too"),
    "overhead_bits_streamed": ("1", "the second with spikes of one bit for W, too"),
    "moved": ("1", "bits moved between processors over all bits read and written"),
    "bits": ("bits", "bits moved between processors in a period"),
}
ONE_BIT = Widths(operand=1)
WORDS = {
    "network": ("stand-in network", "1"),
    "batch": ("samples of a (micro)batch", "1"),
    "array": ("rows and columns of a systolic array", "1"),
    "processors": ("processors", "1"),
    "way": ("schedule", "1"),
}


def _cell(graph: TaskGraph, processors: int) -> solved.Cell:
    return solved.cell(graph.network.name, graph.batch, graph.array[0], processors)


def measures(schedule: Schedule) -> list[float]:
    """The values of `WHAT` for one schedule, which is replayed first.

    Raises:
        ReaderError: the checker rejects it.
    """
    delays, verdict = schedule.staleness, replayed(schedule, "compare")
    bits = communication(schedule)
    graph = schedule.graph
    narrow = task_graph(graph.network, graph.batch, graph.array, dict(graph.dataflows), ONE_BIT)
    fewer = communication(replace(schedule, graph=narrow))
    return [
        schedule.period,
        schedule.speedup,
        schedule.speedup_over(60),
        schedule.utilisation,
        schedule.utilisation_over(60),
        sum(delays),
        max(delays),
        max(verdict.versions),
        bits.overhead,
        bits.overhead_streamed,
        fewer.overhead,
        fewer.overhead_streamed,
        bits.share,
        bits.all_moved,
    ]


def compare(
    networks: Sequence[str],
    batches: Sequence[int],
    arrays: Sequence[int],
    processors: Sequence[int],
    ways: Sequence[str] = tuple(WAYS),
) -> xr.Dataset:
    """Every way's schedule of every cell, replayed by the checker, and the proven bounds.

    Returns:
        the variables of `WHAT` over [network, batch, array, processors, way]; `gain`, the speedup over that of
        contiguous min-max stages, NaN where there are more processors than layers; `period_bound` and
        `delay_bound` (of the schedule "CP-SAT"), proven by the solver, and `exact_bound`, the largest speedup
        without delays, over all but way; `layers` [network].

    Raises:
        ReaderError: an unknown way or network; a cell that is not solved (`paraspike.pipelining.solved`).
    """
    unknown = [way for way in ways if way not in WAYS]
    if unknown or not ways:
        raise ReaderError(f"ways {unknown or 'none'}", "compare", f"of {', '.join(WAYS)}")
    shape = [len(axis) for axis in (networks, batches, arrays, processors)]
    values = np.full((*shape, len(ways), len(WHAT)), np.nan)
    bounds = np.zeros((*shape, 3))
    for where in np.ndindex(*shape):
        name, batch, array, count = (
            axis[i] for axis, i in zip((networks, batches, arrays, processors), where, strict=True)
        )
        graph = task_graph(network(name), batch, (array, array))
        for number, way in enumerate(ways):
            values[(*where, number)] = measures(WAYS[way](graph, count))
        known = _cell(graph, count)
        loop = graph.iteration_bound([0] * graph.depth)
        bounds[where] = known.period_bound, known.points[0].bound, graph.total / loop
    dims = ("network", "batch", "array", "processors")
    found = {
        name: ((*dims, "way"), values[..., i], {"units": unit, "long_name": text})
        for i, (name, (unit, text)) in enumerate(WHAT.items())
    }
    found["period_bound"] = (
        dims,
        bounds[..., 0],
        {"units": "cycles", "long_name": "no schedule of whole tasks has a shorter period, proven"},
    )
    found["delay_bound"] = (
        dims,
        bounds[..., 1],
        {"units": "updates", "long_name": "no schedule of that period has less delay, proven"},
    )
    found["exact_bound"] = (
        dims,
        bounds[..., 2],
        {
            "units": "1",
            "long_name": "no schedule without delays has a larger speedup (iteration bound)",
        },
    )
    speedup = xr.DataArray(values[..., list(WHAT).index("speedup")], dims=(*dims, "way"))
    fits = np.asarray(processors) <= np.array([network(name).depth for name in networks])[:, None]
    if MINMAX in ways:
        found["gain"] = (
            (*dims, "way"),
            (speedup / speedup[..., list(ways).index(MINMAX)])
            .where(xr.DataArray(fits, dims=("network", "processors")))
            .transpose(*dims, "way")
            .values,
            {"units": "1", "long_name": "speedup over contiguous min-max's, processors <= layers"},
        )
    found["layers"] = (
        "network",
        [network(name).depth for name in networks],
        {"units": "1", "long_name": "layers with weights"},
    )
    axes = (networks, batches, arrays, processors)
    coords = dict(zip(dims, map(list, axes), strict=True)) | {"way": list(ways)}
    return describe(xr.Dataset(found, coords, {"microbatches": MICRO}), **WORDS)
