"""What the cycle model says of the poster's benchmarks. All is modelled but the log it was fitted to."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from paraspike.errors import ReaderError
from paraspike.ipu import calibration as log
from paraspike.ipu import trace
from paraspike.ipu.constants import CONSTANTS, FREE, value
from paraspike.ipu.cost import global_sync, phases, step_cycles, update_cycles
from paraspike.ipu.machine import Machine, machine
from paraspike.ipu.mapping import place
from paraspike.ipu.program import Program
from paraspike.papers.ipu import INPUT_SLOTS, capacities, layer_sizes

# Inputs, classes, slots of the input's list; DVS Gesture's list (48 x 48 x 2 inputs) is assumed.
TASKS = {
    "SHD": (700, 20, INPUT_SLOTS["shd"]),
    "N-MNIST": (2312, 10, INPUT_SLOTS["nmnist"]),
    "DVS Gesture": (4608, 11, 32),
}
# Published settings: figure 1; figures 2 and 3 (fact sheet, section 2).
LONG = {"batch": 48, "steps": 100, "optimizer": "adam"}
SHORT = {"batch": 24, "steps": 10, "optimizer": "sgd"}
_RATES = ("throughput", "slow", "throughput_low", "throughput_high")
KEYS = (*_RATES, "memory", "held", "fits", "cycles")
PARTS = ("exchange", "compute", "sync", "update")
BARRIERS = int(value("most_barriers"))
PREDICTORS = ("cycle model", "empirical", "linear")

# Names and units; `tile_throughput` is described by `throughput`, the rest by their own names.
NAMES = {
    "activity": ("maximum activity, share of a layer's neurons", "1"),
    "depth": ("hidden layers", "1"),
    "log_ms": ("published training step, mean of three runs' printed milliseconds", "ms"),
    "log_low": ("least it can have been: printed milliseconds are rounded", "ms"),
    "log_high": ("most it can have been: printed milliseconds are rounded", "ms"),
    "fitted_ms": ("modelled training step, constants fitted to all cells", "ms"),
    "held_out_ms": ("modelled training step, fitted without cells like it", "ms"),
    "held_out_error": ("modelled against logged, fitted without cells like it", "percent"),
    "free_unit": ("unit of the constant", "1"),
    "constant": ("fitted constant, in its free_unit", "1"),
    "task": ("inputs and classes of the network", "1"),
    "throughput": ("modelled training throughput, see what fits", "samples/s"),
    "updates": ("modelled neuron updates in training, see what fits", "1/s"),
    "memory": ("modelled memory of the fullest tile", "KiB"),
    "fits": ("whether every tile's memory suffices", "1"),
    "cycles": ("modelled cycles; of a network: of a time step, forward and backward", "cycles"),
    "per_tile": ("neurons a tile holds; strong scaling: on the most IPUs", "1"),
    "held": ("neurons a tile holds in this mapping", "1"),
    "neurons": ("neurons of all layers", "1"),
    "scaling": ("weak: layers grow with IPUs; strong: one network", "1"),
    "efficiency": ("modelled efficiency against the fewest IPUs", "1"),
    "efficiency_slow": (f"modelled efficiency, were there {BARRIERS} barriers a step", "1"),
    "trace": (f"modelled: what a tile does, index into {', '.join(trace.KINDS)}", "1"),
}


def network(task: str, chip: Machine, depth: int, activity: float) -> tuple[list[int], list[int]]:
    """Sizes and slots of figure 1's networks: two neurons on every tile of the chip but the first."""
    n_in, n_out, slots_in = TASKS[task]
    tiles = chip.tiles - 1 - -(-n_out // 2)
    hidden = [2 * (tiles // depth + (k < tiles % depth)) for k in range(depth)]
    sizes = [n_in, *hidden, n_out]
    return sizes, [slots_in, *capacities(sizes, activity)]


def wide(per_tile: int, ipus: int, activity: float) -> tuple[list[int], list[int]]:
    """Sizes and slots of figures 2 and 3: every IPU is full of layers of ~982 neurons."""
    sizes = layer_sizes(per_tile, 3 * per_tile // 2 * ipus, ipus)
    return sizes, [TASKS["SHD"][2], *capacities(sizes, activity)]


def cost_of(sizes, slots, chip: Machine, optimizer: str, spread=False, **options) -> dict:
    """A network's samples per second, KiB of its fullest tile, whether that fits, and cycles of a time step
    by `PARTS`; NaN where there are not tiles enough.

    `slow` is the throughput with `BARRIERS` barriers that share the same fixed cycles: only what a barrier
    over several IPUs takes longer is added. Low and high span the throughput of `left_out` fits, if asked."""
    try:
        mapping = place(sizes, slots, chip, optimizer=optimizer, check=False, **options)
    except ReaderError:
        return dict.fromkeys(KEYS, np.nan) | {"fits": False, "cycles": [np.nan] * len(PARTS)}
    program = Program(mapping)
    steps = [phase for way in phases(program) for phase in way]
    update = update_cycles(mapping, optimizer) / mapping.steps
    parts = [sum(float(getattr(p, kind).max()) for p in steps) for kind in ("exchange", "compute")]
    parts += [sum(p.sync for p in steps), update]
    more = max(0, BARRIERS - len(steps)) * global_sync(mapping)
    cycles = [sum(parts), sum(parts) + more]
    cycles += [step_cycles(program, free) + update for free in log.left_out().values() if spread]
    rate, slow, *rates = (mapping.batch / chip.seconds(mapping.steps * c) for c in cycles)
    need, held = int(mapping.bytes.max()), mapping.blocks[0].per_tile
    ends = (min(rates), max(rates)) if spread else (np.nan, np.nan)
    found = (rate, slow, *ends, need / 1024, held, need <= chip.sram, parts)
    return dict(zip(KEYS, found, strict=True))


def _over(one, prefix: str, **axes) -> xr.Dataset:
    """What `one` returns for all combinations of the axes' values."""
    shape = [len(values) for values in axes.values()]
    pairs = [zip(axes.values(), at, strict=True) for at in np.ndindex(*shape)]
    found = [one(*(values[i] for values, i in pair)) for pair in pairs]
    made = {}
    for key in found[0]:
        dims = (*axes, "part") if key == "cycles" else tuple(axes)
        array = np.array([cell[key] for cell in found])
        made[prefix + key] = (dims, array.reshape(*shape, *array.shape[1:]))
    return xr.Dataset(made, coords=axes | {"part": list(PARTS)})


def throughput(machines: Sequence[str], depths: Sequence[int], activities: Sequence[float]):
    """Figure 1: samples per second against maximum activity; NaN where a tile's memory does not suffice."""

    def one(task, name, depth, activity):
        net = network(task, machine(name), depth, activity)
        return cost_of(*net, machine(name), **LONG, spread=(task, name) == ("SHD", machines[0]))

    found = _over(one, "", task=[*TASKS], machine=machines, depth=depths, activity=activities)
    rates = ["throughput", "throughput_low", "throughput_high"]
    found.update(found[rates].where(found["fits"]))
    return _described(found.drop_vars(["slow", "held"]))


def per_tile(name: str, per_tiles: Sequence[int], activities: Sequence[float]) -> xr.Dataset:
    """Figure 2: layers of ~982 neurons, more of them the more neurons a tile holds; also what does not fit."""

    def one(n, activity):
        sizes, slots = wide(n, 1, activity)
        cost = cost_of(sizes, slots, machine(name), per_tile=n, spread=True, **SHORT)
        return cost | {"depth": len(sizes) - 2, "neurons": sum(sizes[1:])}

    found = _over(one, "tile_", per_tile=per_tiles, tile_activity=activities)
    found.update(found[["tile_depth", "tile_neurons"]].isel(tile_activity=0, drop=True))
    found["tile_updates"] = found["tile_throughput"] * found["tile_neurons"] * SHORT["steps"]
    return _described(found.drop_vars(["tile_slow", "tile_held"]))


def several(name: str, ipus: Sequence[int], per_tiles: Sequence[int], activities: Sequence[float]):
    """Figure 3: weak scaling as published, every IPU with layers of its own, and strong scaling: the network
    of the most IPUs on fewer, with more neurons a tile. Efficiencies are against the fewest IPUs."""
    ipus, chip = sorted(ipus), machine(name)

    def one(scaling, n, count, activity):
        over, held = (count, n) if scaling == "weak" else (ipus[-1], None)
        sizes, slots = wide(n, over, activity)
        cost = cost_of(sizes, slots, chip, ipus=count, per_tile=held, **SHORT)
        return cost | {"neurons": sum(sizes[1:])}

    axes = {"scaling": ["weak", "strong"], "ipu_per_tile": per_tiles, "ipus": ipus}
    found = _over(one, "ipu_", **axes, ipu_activity=activities)
    rate, more = found["ipu_throughput"], found["ipus"] / ipus[0]
    perfect = rate.isel(ipus=0, drop=True) * xr.where(found["scaling"] == "weak", 1, more)
    found["ipu_efficiency"] = rate / perfect
    found["ipu_efficiency_slow"] = found["ipu_slow"] / perfect
    found["ipu_updates"] = rate * found["ipu_neurons"] * SHORT["steps"]
    left = ["ipu_slow", "ipu_throughput_low", "ipu_throughput_high"]
    return _described(found.drop_vars(left).transpose(*rate.dims, "part"))


def traced(name: str = "Bow", depth: int = 3, activity: float = 0.05) -> Program:
    """The program whose traces are shown: SHD, as in figure 1."""
    sizes, slots = network("SHD", machine(name), depth, activity)
    return Program(place(sizes, slots, machine(name), check=False, **LONG))


def traces(name: str = "Bow", columns: int = 600) -> xr.Dataset:
    """What every tile does in one time step, forward and backward, and where layers and supersteps begin."""
    program, ways = traced(name), ["forward", "backward"]
    drawn = [trace.raster(program, way, columns) for way in ways]
    steps = [(w, step) for w, found in zip(ways, phases(program), strict=True) for step in found]
    blocks = program.mapping.blocks
    layers = [*(f"hidden {k}" for k in range(1, len(blocks))), "readout"]
    found = {
        "trace": (("direction", "tile", "column"), np.stack([raster for raster, _ in drawn])),
        "trace_cycles": ("direction", [total for _, total in drawn]),
        "trace_first_tile": ("trace_layer", [block.first_tile for block in blocks]),
        "superstep_cycles": ("superstep", [step.total for _, step in steps]),
        "superstep_way": ("superstep", [way for way, _ in steps]),
    }
    axes = {"direction": ways, "tile": np.arange(len(drawn[0][0])), "trace_layer": layers}
    axes |= {"column": np.arange(columns), "superstep": [step.name for _, step in steps]}
    return _described(xr.Dataset(found, axes).set_coords("superstep_way"))


def calibration() -> xr.Dataset:
    """The log's twelve cells; the model fitted to all, and held out beside two fits that know no machine."""
    cells = log.cells()
    ms = cells.ms.to_numpy()
    fits = (log.held_out, log.empirical, log.linear)
    held = np.array([[fit(split) for split in log.SPLITS] for fit in fits])
    ends = [[free[name] for free in log.left_out().values()] for name in FREE]
    axes = ("predictor", "split", "cell")
    texts = [f"{100 * a:g} %, {d} layers" for a, d in zip(cells.activity, cells.depth, strict=True)]
    found = xr.Dataset(
        {f"log_{key}": ("cell", cells[key].to_numpy()) for key in ("ms", "low", "high")}
        | {"fitted_ms": ("cell", log.predict())}
        | {"held_out_ms": (axes, held), "held_out_error": (axes, 100 * (held / ms - 1))}
        | {"constant": ("free", [value(name) for name in FREE])}
        | {f"constant_{k}": ("free", f(ends, 1)) for k, f in (("low", np.min), ("high", np.max))},
        coords={
            "cell": texts,
            "predictor": list(PREDICTORS),
            "split": list(log.SPLITS),
            "free": list(FREE),
        }
        | {f"cell_{key}": ("cell", cells[key].to_numpy()) for key in ("activity", "depth")}
        | {"free_unit": ("free", [CONSTANTS[name].unit for name in FREE])},
    )
    return _described(found)


def _described(found: xr.Dataset) -> xr.Dataset:
    for name, variable in found.variables.items():
        base = name.removesuffix("_low").removesuffix("_high") if name not in NAMES else name
        text, unit = NAMES.get(base) or NAMES.get(base.split("_", 1)[-1]) or (base, "1")
        end = {"_low": ", least", "_high": ", most"}.get(name.removeprefix(base), "")
        text += end and f"{end} with constants fitted without one depth or activity"
        variable.attrs |= {"long_name": text.replace("_", " "), "units": unit}
        if name in found.data_vars:
            variable.attrs["kind"] = "published" if name.startswith("log_") else "modelled"
    return found


def model(name: str, figure1: tuple, figure2: tuple, figure3: tuple) -> xr.Dataset:
    """The whole experiment: the arguments of `throughput`; those of `per_tile` and `several` but for the
    machine, which is `name` there and in the traces."""
    parts = [calibration(), throughput(*figure1), per_tile(name, *figure2)]
    parts += [several(name, *figure3), traces(name)]
    chip = machine(name)
    about = {"chip": name, "clock_hz": chip.clock, "sram_kib": chip.sram / 1024}
    return xr.merge(parts, compat="equals", join="exact").assign_attrs(about)


def chrome_trace(file: str | Path, name: str = "Bow") -> Path:
    """The traces as a file that Perfetto opens, every eighth tile."""
    return trace.write(traced(name), Path(file), every=8)
