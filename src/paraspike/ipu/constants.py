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
_LOG = "graphcore_snn@afd6c70, log of 36 runs; fitted by paraspike.ipu.calibration"

CONSTANTS = {
    "workers": Constant(6, "1", "hardware threads of a tile", "A", "docs.graphcore.ai, Bow-2000"),
    "exchange": Constant(
        4, "B/cycle", "bytes a tile receives a cycle", "E", "Target::getExchangeBytesPerCycle"
    ),
    "link_bandwidth": Constant(
        128 * 2**30, "bit/s", "one IPU-Link, one way", "A", f"{_POPLIBS} poplibs_test/Util.cpp"
    ),
    "link_efficiency": Constant(
        0.85, "1", "share of a link that carries data", "A", f"{_POPLIBS} poplibs_test/Util.cpp"
    ),
    "links": Constant(
        2,
        "1",
        "links to an IPU that is not its pair mate",
        "A",
        f"{_POPLIBS} poplibs_test/Util.cpp",
    ),
    "hop": Constant(
        15e-9,
        "s",
        "sync over one hop between IPUs, one way",
        "A",
        f"{_POPLIBS} poplibs_test/Util.cpp setGlobalSyncLatency",
    ),
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
    "scan_entry": Constant(
        12,
        "cycles",
        "comparing a list's entry with the tile's own neurons",
        "G",
        "two bounds, a branch and a load on one of six workers in turn",
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
    "step_cycles": Constant(
        36997,
        "cycles",
        "launches, syncs and slices of a time step, forward and backward",
        "F",
        _LOG,
    ),
    "scan_neuron": Constant(
        20.297, "cycles", "a neuron of the layer on its combining tile", "F", _LOG
    ),
    "row_factor": Constant(
        3.3766, "1", "cycles of the custom vertices over poplibs' formulas", "F", _LOG
    ),
    "occupancy": Constant(
        0.43011, "1", "exponent g: a list of s slots costs as if s^g were occupied", "F", _LOG
    ),
}

FREE = ("step_cycles", "scan_neuron", "row_factor", "occupancy")


def value(name: str) -> float:
    """A constant's value by its name."""
    return CONSTANTS[name].value
