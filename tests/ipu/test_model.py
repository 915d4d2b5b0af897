"""Mapping, memory, cycles, calibration and traces of the machine model."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.ipu import calibration, cost, trace
from paraspike.ipu.constants import CONSTANTS, FREE, value
from paraspike.ipu.machine import MACHINES, machine
from paraspike.ipu.mapping import place, slots_of
from paraspike.ipu.program import Program
from paraspike.papers import ipu as paper

BOW = MACHINES["Bow"]
SIZES = [700, 974, 974, 974, 20]


def program(sizes=SIZES, activity=0.05, **options):
    slots = [48, *paper.capacities(sizes, activity)]
    return Program(place(sizes, slots, BOW, **options))


@given(st.integers(1, 4), st.lists(st.integers(1, 900), min_size=4, max_size=12), st.integers(0, 3))
def test_no_neuron_is_left_out_and_none_is_there_twice(ipus, sizes, odd):
    mapping = place([5, *sizes], [5] * (len(sizes) + 1), BOW, ipus=ipus, batch=2, steps=2)
    taken = np.zeros((ipus, BOW.tiles), int)
    taken[0, 0] = 1
    for block, n in zip(mapping.blocks, sizes, strict=True):
        held = [neuron for tile in range(block.tiles) for neuron in block.neurons(tile)]
        assert held == list(range(n))
        assert all(len(block.neurons(t)) for t in range(block.tiles))
        taken[block.ipu, block.first_tile : block.first_tile + block.tiles] += 1
    assert taken.max() == 1
    assert [b.ipu for b in mapping.blocks] == sorted(b.ipu for b in mapping.blocks)
    assert {b.ipu for b in mapping.blocks} == set(range(ipus))


def test_published_sizes_are_those_of_the_benchmark():
    rows = paper.benchmarks()
    assert len(rows) == 174
    for row in rows.itertuples():
        ends = {"SHD": (700, 20), "NMNIST": (2312, 10)}[row.dataset]
        sizes = paper.layer_sizes(
            row.neurons_per_tile, row.total_hidden_layers, row.num_ipus, *ends
        )
        assert sum(sizes[1:]) == row.neurons
        shown = [n if n == "..." else int(n) for n in row.dense_sizes.split("|")]
        last = shown.index("...") if "..." in shown else len(shown)
        assert sizes[:last] == shown[:last] and sizes[-2:] == shown[-2:]
        # The benchmark takes slots from sizes before it rounds these to whole tiles.
        slots = row.sparse_sizes.split("|")
        own = paper.capacities(sizes, row.max_activity)
        np.testing.assert_allclose([own[0], own[-1]], [int(slots[1]), int(slots[-1])], rtol=0.025)
        if last == len(shown) and row.figure.startswith("poster fig1"):
            blocks = place(sizes, [int(s) for s in slots], BOW, batch=48, steps=100).blocks
            assert {block.per_tile for block in blocks} == {2}


def test_slots_are_those_of_the_log():
    for cell in calibration.cells().itertuples():
        assert [32, *paper.capacities(cell.sizes, cell.activity)] == cell.slots


def test_memory_is_checked_tile_by_tile():
    fits = place(SIZES, [48, 48, 48, 48, 2], BOW, per_tile=2, batch=24, steps=10, optimizer="sgd")
    weights = 8 * 4 * 974 * 2
    assert fits.bytes.max() > weights and fits.bytes.max() < 2 * weights + 120e3
    assert (fits.bytes[0, 0] == 0) and fits.bytes[0, 1] > 0
    deep = paper.layer_sizes(32, 48)
    slots = [48, *paper.capacities(deep, 0.05)]
    with pytest.raises(
        ReaderError, match=r"layer \d+ needs \d+ KiB on tile \d+ of IPU 0, \d+ KiB more"
    ):
        place(deep, slots, BOW, per_tile=32, batch=24, steps=10, optimizer="sgd")
    shown = place(
        deep, [48] * 49 + [2], BOW, per_tile=32, batch=24, steps=10, optimizer="sgd", check=False
    )
    assert shown.bytes.max() > BOW.sram


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ipus": 5}, "5 layers on|4 layers on 5 IPUs"),
        ({"ipus": 17}, "17 IPUs"),
        ({"per_tile": 1}, "tiles are needed on IPU 0"),
    ],
)
def test_what_cannot_be_mapped_is_refused(change, message):
    with pytest.raises(ReaderError, match=message):
        place(SIZES, [48] * 5, BOW, **change)
    with pytest.raises(ReaderError, match="unknown"):
        machine("Mk3")


def test_phases_add_up_and_a_trace_leaves_no_gap():
    made = program(batch=48, steps=100)
    forward, backward = cost.phases(made)
    assert [p.name for p in forward] == [s.name for _, s in made.forward]
    total = sum(p.total for p in (*forward, *backward))
    assert total == pytest.approx(cost.step_cycles(made))
    spans = {way: trace.spans(made, way) for way in ("forward", "backward")}
    ends = 0.0
    for way, phases in (("forward", forward), ("backward", backward)):
        ends += max(end.max() for *_, end in spans[way])
        for (_, _, _, end), (_, _, begin, _) in pairwise(spans[way]):
            np.testing.assert_allclose(begin, end)
        busy = sum((end - begin)[0] for _, kind, begin, end in spans[way] if kind != "sync")
        expected = sum((p.exchange + p.compute)[0] for p in phases)
        np.testing.assert_allclose(busy, expected)
    assert ends == pytest.approx(total)


def test_cycles_by_hand():
    """One layer after the input: exchanges and rows counted from the sheet's formulas."""
    batch, sizes, slots = 6, [10, 8, 4], [10, 4, 2]
    made = Program(place(sizes, slots, BOW, batch=batch, steps=1))
    free = {"step_cycles": 0.0, "scan_neuron": 0.0, "row_factor": 1.0, "occupancy": 1.0}
    forward, backward = cost.phases(made, free)
    by_name = {p.name: p for p in (*forward, *backward)}
    assert by_name["broadcast"].exchange.max() == batch * (10 + 2)
    assert by_name["gather"].compute.max() == batch * 4 * (19 + 2)
    assert by_name["scatter"].compute.max() == batch * 4 * 8
    assert by_name["products"].compute.max() == batch * 4 * (19 + 2)
    scan = by_name["delta"].compute.max() - 6 * (11 + 6 * (58 + 3 * 1))
    assert scan == batch * 4 * 12
    assert by_name["reduce"].exchange.max() == batch * 4
    assert by_name["send_back"].exchange.max() == batch * 4
    later = cost.phases(made, free | {"scan_neuron": 5.0})[0]
    assert {p.name: p for p in later}[
        "combine"
    ].compute.max() == 5 * 8 * 3  # 2 x 6 lists on 4 tiles


def test_cost_depends_on_batch_and_slots_as_it_must():
    base = cost.step_cycles(program(activity=0.05, batch=24))
    assert cost.step_cycles(program(activity=0.1, batch=24)) > base
    assert cost.step_cycles(program(activity=0.05, batch=48)) > base
    lone = program(activity=0.05, batch=24, ipus=1)
    many = program(activity=0.05, batch=24, ipus=4)
    assert cost._global_sync(many.mapping) > 0 and cost._global_sync(lone.mapping) == 0
    assert sum(s.crossing.sum() for _, s in many.forward) > 0
    assert sum(s.crossing.sum() for _, s in lone.forward) == 0
    one_by_one = Program(lone.mapping, delay=0)
    assert len(one_by_one.forward) == 4 * len(lone.forward)
    assert cost.step_cycles(one_by_one) > 1.5 * cost.step_cycles(lone)


def test_constants_in_the_table_are_the_fit():
    found = calibration.fit()
    assert set(found) == set(FREE) and len(FREE) <= 4
    for name, expected in found.items():
        assert value(name) == pytest.approx(expected, rel=1e-3), name
    assert all(c.grade in "ABCDEFG" and c.source and c.unit for c in CONSTANTS.values())
    assert {n for n, c in CONSTANTS.items() if c.grade == "F"} == set(FREE)


@pytest.mark.parametrize("key", ["depth", "activity"])
def test_cells_left_out_are_predicted(key):
    ms = calibration.cells().ms.to_numpy()
    error = np.abs(calibration.held_out(key) / ms - 1)
    assert np.median(error) < 0.04 and error.max() < 0.12
    assert error.max() < np.abs(calibration.linear(key) / ms - 1).max() or key == "depth"


def test_trace_file_opens_as_chrome_trace(tmp_path):
    made = program([50, 40, 20], batch=4, steps=5)
    file = trace.write(made, tmp_path / "trace.json", every=1)
    read = json.loads(file.read_text())
    events = [e for e in read["traceEvents"] if e["ph"] == "X"]
    assert read["otherData"]["kind"] == "modelled"
    length = max(e["ts"] + e["dur"] for e in events)
    assert length == pytest.approx(1e6 * BOW.seconds(cost.step_cycles(made)), rel=1e-3)
    for tile in (0, 1, 25, 1471):
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["tid"] == tile)
        assert own[0][0] == 0 and own[-1][1] == pytest.approx(length, rel=1e-3)
        assert all(b[0] == pytest.approx(a[1], abs=1e-3) for a, b in pairwise(own))
    kinds, total = trace.raster(made, "forward", 200)
    assert kinds.shape == (BOW.tiles, 200) and set(np.unique(kinds)) == {0, 1, 2} and total > 0


@settings(max_examples=20)
@given(st.floats(0.001, 1.0), st.integers(1, 5000))
def test_slots_are_even_and_at_least_two(activity, neurons):
    slots = slots_of(activity, neurons)
    assert slots >= 2 and slots % 2 == 0 and slots <= max(2, activity * neurons + 1e-6)


def test_other_machines_are_slower_or_smaller():
    made = {
        name: Program(place([700, 400, 400, 20], [48, 20, 20, 2], m, batch=24, steps=10))
        for name, m in MACHINES.items()
    }
    speed = {name: cost.throughput(p) for name, p in made.items()}
    assert speed["Bow"] > speed["Mk1"] > speed["Mk2"]
    with pytest.raises(ReaderError, match="KiB more"):
        place([2312, 1400, 1400, 10], [32, 140, 140, 2], dataclasses.replace(BOW, sram=64 * 1024))
