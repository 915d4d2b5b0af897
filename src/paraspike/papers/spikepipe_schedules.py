"""SpikePipe's schedules side by side: the tasks of three networks on systolic arrays, modelled."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from paraspike.errors import ReaderError
from paraspike.pipelining import solved
from paraspike.pipelining.checker import check
from paraspike.pipelining.communication import communication
from paraspike.pipelining.heuristics import contiguous, lpt, wrap_around
from paraspike.pipelining.networks import network
from paraspike.pipelining.ordering import shorten
from paraspike.pipelining.schedules import Schedule
from paraspike.pipelining.synchronous import (
    all_reduce_bits,
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
    SOLVED: lambda graph, m: _cell(graph, m).points[0].schedule,
    NEAR: lambda graph, m: _cell(graph, m).within(0.01).schedule,
    PARALLEL: data_parallel,
}
WHAT = {
    "period": ("cycles", "period, modelled"),
    "speedup": ("1", "cycles of all tasks over the period, modelled"),
    "speedup_filled": ("1", "the same over 60 periods with fill and drain, modelled"),
    "utilisation": ("1", "share of processor cycles at work, modelled"),
    "total_delay": ("updates", "sum of the layers' delays"),
    "largest_delay": ("updates", "largest delay of a layer"),
    "versions": ("1", "most weight versions a layer holds at a time"),
    "overhead": ("1", "bits moved beyond a contiguous partition's over all bits read and written"),
    "overhead_streamed": ("1", "the same over all bits streamed through the arrays"),
    "moved": ("1", "bits moved between processors over all bits read and written"),
}
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
    delays = schedule.staleness
    verdict = check(schedule, max(60, (max(delays) + 2) * schedule.micro))
    if not verdict.ok:
        raise ReaderError(verdict.violation, f"schedule {schedule.method}")
    bits = communication(schedule)
    return [
        schedule.period,
        schedule.speedup,
        schedule.speedup_over(60),
        schedule.utilisation,
        sum(delays),
        max(delays),
        max(verdict.versions),
        bits.overhead,
        bits.overhead_streamed,
        bits.share,
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
        `delay_bound` (of the schedule "CP-SAT"), proven by the solver, over all but way; `layers` [network].

    Raises:
        ReaderError: an unknown way or network; a cell that is not solved (`paraspike.pipelining.solved`).
    """
    unknown = [way for way in ways if way not in WAYS]
    if unknown or not ways:
        raise ReaderError(f"ways {unknown or 'none'}", "compare", f"of {', '.join(WAYS)}")
    shape = [len(axis) for axis in (networks, batches, arrays, processors)]
    values = np.full((*shape, len(ways), len(WHAT)), np.nan)
    bounds = np.zeros((*shape, 2))
    for where in np.ndindex(*shape):
        name, batch, array, count = (
            axis[i] for axis, i in zip((networks, batches, arrays, processors), where, strict=True)
        )
        graph = task_graph(network(name), batch, (array, array))
        for number, way in enumerate(ways):
            values[(*where, number)] = measures(WAYS[way](graph, count))
        known = _cell(graph, count)
        bounds[where] = known.period_bound, known.points[0].bound
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


def frontier(
    networks: Sequence[str], batch: int, array: int, processors: Sequence[int]
) -> xr.Dataset:
    """Speedup against total delay: what CP-SAT found, point by point, and what is proven.

    Returns:
        `frontier_speedup`, `frontier_delay`, `frontier_bound` over [network, processors, point], NaN past a
        cell's last point.
    """
    cells = {(n, m): solved.cell(n, batch, array, m) for n in networks for m in processors}
    most = max(len(cell.points) for cell in cells.values())
    values = np.full((3, len(networks), len(processors), most), np.nan)
    for i, name in enumerate(networks):
        for j, count in enumerate(processors):
            for k, point in enumerate(cells[name, count].points):
                values[:, i, j, k] = point.schedule.speedup, point.total_delay, point.bound
    dims = ("network", "processors", "point")
    texts = {
        "frontier_speedup": ("1", "speedup of the solved schedule, modelled"),
        "frontier_delay": ("updates", "its total delay"),
        "frontier_bound": ("updates", "least total delay at this speedup, proven"),
    }
    found = {
        name: (dims, values[i], {"units": unit, "long_name": text})
        for i, (name, (unit, text)) in enumerate(texts.items())
    }
    coords = {"network": list(networks), "processors": list(processors), "point": np.arange(most)}
    words = {key: WORDS[key] for key in ("network", "processors")} | {"point": ("point", "1")}
    return describe(xr.Dataset(found, coords), **words)


def against_data_parallel(
    networks: Sequence[str],
    batches: Sequence[int],
    arrays: Sequence[int],
    processors: Sequence[int],
) -> xr.Dataset:
    """When not to pipeline: data parallelism against LPT's whole tasks, by batch and processors, modelled.

    Returns:
        `data_parallel_gain`, LPT's period over data parallelism's with a free all-reduce, above 1 where
        data parallelism wins; `all_reduce`, bits of its all-reduce; `break_even`, bits a cycle that the
        processors' links together must carry for data parallelism to win none the less, infinite where
        it cannot; each over [network, batch, array, processors].
    """
    shape = [len(axis) for axis in (networks, batches, arrays, processors)]
    gain, bits, even = (np.zeros(shape) for _ in range(3))
    for where in np.ndindex(*shape):
        name, batch, array, count = (
            axis[i] for axis, i in zip((networks, batches, arrays, processors), where, strict=True)
        )
        graph = task_graph(network(name), batch, (array, array))
        pipeline, parallel = lpt(graph, count), data_parallel(graph, count)
        gain[where] = pipeline.period / parallel.period
        bits[where] = all_reduce_bits(graph, parallel.micro)
        left = pipeline.period - parallel.period
        even[where] = bits[where] / left if left > 0 else np.inf
    texts = {
        "data_parallel_gain": (gain, "1", "LPT's period over data parallelism's, modelled"),
        "all_reduce": (bits, "bits", "bits of the all-reduce"),
        "break_even": (even, "bits per cycle", "link rate from which data parallelism wins"),
    }
    dims = ("network", "map_batch", "array", "processors")
    found = {
        name: (dims, values, {"units": unit, "long_name": text})
        for name, (values, unit, text) in texts.items()
    }
    axes = (networks, batches, arrays, processors)
    coords = dict(zip(dims, map(list, axes), strict=True))
    words = {key: WORDS["batch" if key == "map_batch" else key] for key in dims}
    return describe(xr.Dataset(found, coords), **words)
