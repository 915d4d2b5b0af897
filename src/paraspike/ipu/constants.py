"""Every constant of the machine model in one table, each with its source and grade.

Grades, as the fact sheet has them: A a primary source, B a summary of one, C secondary, D derived,
E a public third party that quotes the vendor's API, F fitted here to the one real log, G assumed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """A number with its unit, what it stands for, how good it is and where it comes from."""

    value: float
    unit: str
    meaning: str
    grade: str
    source: str


_POPLIBS = "graphcore/poplibs@7eac0f2"
_UTIL = f"{_POPLIBS} poplibs_test/Util.cpp"
_LOG = "graphcore_snn@afd6c70, log of 36 runs; fitted by paraspike.ipu.calibration"

CONSTANTS = {
    "workers": Constant(6, "1", "hardware threads of a tile", "A", "docs.graphcore.ai, Bow-2000"),
    "word": Constant(
        4, "B", "a float or an entry of a list", "A", "graphcore_snn@0d81a25: fp32 and uint32"
    ),
    "exchange": Constant(
        4, "B/cycle", "bytes a tile receives a cycle", "E", "Target::getExchangeBytesPerCycle"
    ),
    "link_bandwidth": Constant(128 * 2**30, "bit/s", "one IPU-Link, one way", "A", _UTIL),
    "link_efficiency": Constant(0.85, "1", "share of a link that carries data", "A", _UTIL),
    "links": Constant(
        2,
        "1",
        "links to an IPU that is not its pair mate",
        "A",
        _UTIL,
    ),
    "hop": Constant(
        15e-9,
        "s",
        "sync over one hop between IPUs, one way",
        "A",
        f"{_UTIL} setGlobalSyncLatency",
    ),
    "hop_ipus": Constant(
        4,
        "1",
        "IPUs for each further hop: hops = 1 + floor(IPUs / 4)",
        "A",
        f"{_UTIL} setGlobalSyncLatency",
    ),
    "hop_ways": Constant(
        2, "1", "a barrier crosses its hops there and back", "A", f"{_UTIL} setGlobalSyncLatency"
    ),
    "most_barriers": Constant(
        100,
        "1",
        "program steps of a time step at most, forward and backward",
        "D",
        "fact sheet, section 5: about 60 to 100",
    ),
    # poplibs also has 30 cycles a worker for each call of a gather and 32 of a scatter: constant in a
    # superstep, so the log cannot tell them from a launch, and they are in step_cycles.
    "gather_row": Constant(
        19, "cycles", "gathering a row, before its floats", "A", f"{_POPLIBS} MultiSlice"
    ),
    "gather_pair": Constant(
        2, "cycles", "gathering two floats of a row", "A", f"{_POPLIBS} MultiSlice"
    ),
    "scatter_row": Constant(
        8, "cycles", "adding the first two floats to a row", "A", f"{_POPLIBS} MultiUpdateOp ADD"
    ),
    "scatter_float": Constant(
        4, "cycles", "adding each further float", "A", f"{_POPLIBS} MultiUpdateOp ADD"
    ),
    "add_pair": Constant(
        1,
        "cycles",
        "adding two floats of a partial sum: partials * ceil(elements / 2)",
        "A",
        f"{_POPLIBS} reduction/ReductionPlan.cpp estimateReduceAtDstCost",
    ),
    "worker_states": Constant(
        64, "1", "states a worker compacts", "A", "graphcore_snn@0d81a25, fact sheet section 1.3"
    ),
    "flag_list": Constant(
        6,
        "cycles",
        "a worker begins to compact its states",
        "G",
        "taken as poplibs' Select, 6 + 5 n",
    ),
    "flag": Constant(
        5, "cycles", "a worker looks at a state's flag", "G", "taken as poplibs' Select, 6 + 5 n"
    ),
    "scan_entry": Constant(
        12,
        "cycles",
        "comparing a list's entry with the tile's own neurons",
        "G",
        "two bounds, a branch and a load on one of six workers in turn",
    ),
    "supervisor": Constant(
        11,
        "cycles",
        "starting the workers of an elementwise kernel",
        "A",
        f"{_POPLIBS} PerformanceEstimation.cpp basicOpSupervisorOverhead",
    ),
    "update_worker": Constant(
        58, "cycles", "entering an elementwise kernel", "A", f"{_POPLIBS} BinaryOp1D in place"
    ),
    "update_pair": Constant(
        3, "cycles", "an elementwise operation on two floats", "A", f"{_POPLIBS} BinaryOp1D"
    ),
    "update_operations": Constant(
        6,
        "1",
        "elementwise operations of a LIF update, forward or backward",
        "G",
        "decay, input, two thresholds, reset, store",
    ),
    "program_bytes": Constant(
        40 * 1024, "B", "code, vertices and control state of a tile", "G", "no public figure found"
    ),
    "weight_copies": Constant(
        8,
        "1",
        "copies of a tile's weights: itself, six partial gradients, their sum",
        "A",
        "graphcore_snn@0d81a25, fact sheet section 1.4",
    ),
    "adam_copies": Constant(2, "1", "Adam's two moments", "A", "optimiser state stays on the tile"),
    "adam_operations": Constant(
        10,
        "1",
        "elementwise operations of Adam's update of a weight",
        "G",
        "two moments, two corrections, root, division, step",
    ),
    "sgd_operations": Constant(
        2, "1", "elementwise operations of SGD's update of a weight", "G", "scale, subtract"
    ),
    "state_copies": Constant(
        4,
        "1",
        "values a neuron and sample beside its potentials of all steps",
        "G",
        "potential, two flags, gradient",
    ),
    "fitted_barriers": Constant(
        13,
        "1",
        "barriers of a time step of the program that step_cycles was fitted with",
        "D",
        "paraspike.ipu.program, all layers at once",
    ),
    "step_cycles": Constant(
        33312,
        "cycles",
        "launches, syncs and slices of a time step, forward and backward",
        "F",
        _LOG,
    ),
    "scan_neuron": Constant(
        20.208, "cycles", "a neuron of the layer on its combining tile", "F", _LOG
    ),
    "row_factor": Constant(
        3.8468, "1", "cycles of the custom vertices over poplibs' formulas", "F", _LOG
    ),
    "occupancy": Constant(
        0.39861, "1", "exponent g: a list of s slots costs as if s^g were occupied", "F", _LOG
    ),
}

FREE = ("step_cycles", "scan_neuron", "row_factor", "occupancy")


def value(name: str) -> float:
    """A constant's value by its name."""
    return CONSTANTS[name].value
