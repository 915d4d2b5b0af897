"""Speedup against total delay, with what is proven, and data parallelism against pipelining: modelled, both."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from paraspike.papers.spikepipe_schedules import WORDS
from paraspike.pipelining import solved
from paraspike.pipelining.checker import replayed
from paraspike.pipelining.communication import communication
from paraspike.pipelining.heuristics import lpt, wrap_around
from paraspike.pipelining.networks import network
from paraspike.pipelining.synchronous import all_reduce_bits, data_parallel
from paraspike.pipelining.tasks import task_graph
from paraspike.results import describe


def frontier(
    networks: Sequence[str], batch: int, array: int, processors: Sequence[int]
) -> xr.Dataset:
    """Speedup against total delay: what CP-SAT found, point by point, and what is proven.

    Returns:
        `frontier_speedup`, `frontier_delay` over [network, processors, point] and `proven_speedup`,
        `proven_delay` over [network, processors, proof]: with this speedup or more there is no schedule of
        whole tasks with less total delay. NaN past a cell's last.
    """
    cells = {(n, m): solved.cell(n, batch, array, m) for n in networks for m in processors}
    found, coords = {}, {"network": list(networks), "processors": list(processors)}
    rows = {
        "frontier": {
            key: [(p.schedule.speedup, p.total_delay) for p in cell.points]
            for key, cell in cells.items()
        },
        "proven": {
            key: [(cell.points[0].schedule.work / period, bound) for period, bound in cell.proven]
            for key, cell in cells.items()
        },
    }
    texts = {
        "frontier": ("point", "speedup of the solved schedule, modelled", "its total delay"),
        "proven": (
            "proof",
            "with this speedup or more",
            "no schedule has less total delay, proven",
        ),
    }
    for name, (dim, speed, delay) in texts.items():
        most = max(map(len, rows[name].values()))
        values = np.full((2, len(networks), len(processors), most), np.nan)
        for i, j in np.ndindex(len(networks), len(processors)):
            pairs = rows[name][networks[i], processors[j]]
            values[:, i, j, : len(pairs)] = np.array(pairs).reshape(-1, 2).T
        dims = ("network", "processors", dim)
        found[f"{name}_speedup"] = (dims, values[0], {"units": "1", "long_name": speed})
        found[f"{name}_delay"] = (dims, values[1], {"units": "updates", "long_name": delay})
        coords[dim] = np.arange(most)
    words = {key: WORDS[key] for key in ("network", "processors")}
    words |= {"point": ("point", "1"), "proof": ("proof", "1")}
    return describe(xr.Dataset(found, coords), **words)


def against_data_parallel(
    networks: Sequence[str],
    batches: Sequence[int],
    arrays: Sequence[int],
    processors: Sequence[int],
) -> xr.Dataset:
    """When not to pipeline: data parallelism against pipelining, by batch and processors, modelled.

    Returns:
        over [network, map_batch, array, processors] data parallelism's speed over pipelining's, above 1 where
        it wins: `data_parallel_gain` over whole tasks by LPT and `data_parallel_gain_split` over wrap-around
        that splits any task, all messages free; `data_parallel_gain_charged` over LPT where the bits that
        either moves come on top, over links that together carry one row of 32-bit numbers a cycle.

    Raises:
        ReaderError: the checker rejects a schedule.
    """
    shape = [len(axis) for axis in (networks, batches, arrays, processors)]
    values = np.zeros((3, *shape))
    for where in np.ndindex(*shape):
        name, batch, array, count = (
            axis[i] for axis, i in zip((networks, batches, arrays, processors), where, strict=True)
        )
        graph = task_graph(network(name), batch, (array, array))
        parallel, whole = data_parallel(graph, count), lpt(graph, count)
        split = wrap_around(graph, count, limit="load")
        for schedule in (parallel, whole, split):
            replayed(schedule, "against_data_parallel")
        rate = 32 * array
        charged = parallel.period + all_reduce_bits(graph, parallel.micro) / rate
        values[(slice(None), *where)] = (
            whole.period / parallel.period,
            split.period / parallel.period,
            (whole.period + communication(whole).all_moved / rate) / charged,
        )
    texts = {
        "data_parallel_gain": "data parallelism over whole tasks by LPT, modelled",
        "data_parallel_gain_split": "data parallelism over wrap-around without limit, modelled",
        "data_parallel_gain_charged": "data parallelism over LPT, both with their messages, modelled",
    }
    dims = ("network", "map_batch", "array", "processors")
    found = {
        name: (dims, values[i], {"units": "1", "long_name": text})
        for i, (name, text) in enumerate(texts.items())
    }
    axes = (networks, batches, arrays, processors)
    coords = dict(zip(dims, map(list, axes), strict=True))
    words = {key: WORDS["batch" if key == "map_batch" else key] for key in dims}
    return describe(xr.Dataset(found, coords), **words)
