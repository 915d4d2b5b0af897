"""Mapping, memory, cycles, calibration and traces of the machine model."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import paths
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
    small = {"per_tile": 2, "batch": 6, "steps": 3}
    fits = place([10, 8, 4], [10, 4, 2], BOW, optimizer="sgd", **small)
    # Eight copies of 10 x 2 weights; potentials of 3 steps and 4 more values; a list of 10 entries and its
    # count, twice; a quarter of the lists of all steps (4 entries, 2 counts) and of 12 lists of 64 flags.
    words = 8 * 10 * 2 + (3 + 4) * 6 * 2 + 2 * 6 * (10 + 1) + 27 + 12 * 64 // 4
    assert 27 == -(-3 * 6 * (4 + 2) // 4) and words == 595
    assert fits.bytes[0, 1:5].tolist() == [40 * 1024 + 4 * 595] * 4
    assert fits.bytes[0, 0] == 0 and fits.bytes[0, 7:].sum() == 0 < fits.bytes[0, 6]
    moments = place([10, 8, 4], [10, 4, 2], BOW, **small).bytes - fits.bytes
    assert moments[0, 1] == 4 * 2 * 10 * 2
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
        ({"ipus": 0}, "0 IPUs\n.*\n.*1 to 16 Bow"),
        ({"per_tile": 0}, "^0 neurons a tile"),
        ({"per_tile": -2}, "-2 neurons a tile"),
        ({"per_tile": 1}, "tiles are needed on IPU 0"),
    ],
)
def test_what_cannot_be_mapped_is_refused(change, message):
    with pytest.raises(ReaderError, match=message):
        place(SIZES, [48] * 5, BOW, **change)


@pytest.mark.parametrize(
    ("name", "hint"), [("bow", "did you mean 'Bow'"), ("gpu", "known are: Mk1, Mk2, Bow")]
)
def test_an_unknown_machine_is_named_with_a_hint(name, hint):
    with pytest.raises(ReaderError, match=f"machine '{name}' is unknown") as caught:
        machine(name)
    assert hint in str(caught.value)


def test_machines_are_those_of_the_fact_sheet():
    table = pd.read_csv(paths.published("ipu", "machine_facts.csv"))
    facts = {(r.device, r.quantity): r.value for r in table.itertuples()}
    for name, device in (("Mk1", "Mk1 GC2"), ("Mk2", "Mk2 GC200"), ("Bow", "Mk2 GC200")):
        assert MACHINES[name].tiles == int(facts[device, "tiles per chip"])
    clocks = {"Mk1": "Mk1 GC2", "Mk2": "Mk2 GC200", "Bow": "Bow (4 chips = Bow-2000)"}
    for name, device in clocks.items():
        assert MACHINES[name].clock == pytest.approx(1e9 * float(facts[device, "clock"]))
    assert MACHINES["Mk1"].sram == int(facts["Mk1 GC2", "SRAM per tile"])
    kib = int(facts["Mk2/Bow", "SRAM per tile"])
    assert MACHINES["Mk2"].sram == MACHINES["Bow"].sram == 1024 * kib
    head = "IPU model (poplibs HEAD)"
    for name, key in {
        "workers": ("Mk2/Bow", "hardware worker threads per tile"),
        "exchange": ("IPU21 tile", "exchange receive"),
        "supervisor": ("IPU", "basicOpSupervisorOverhead"),
        "link_efficiency": (head, "link efficiency"),
    }.items():
        assert value(name) == float(facts[key]), name
    assert facts[head, "link speed"] == "128*2^30" and value("link_bandwidth") == 128 * 2**30
    links = facts[head, "links per IPU: pair/cross/up/down"].split(" / ")
    assert value("links") == int(links[1])


@pytest.mark.parametrize(("ipus", "cycles"), [(1, 0), (2, 56), (4, 111), (16, 278)])
def test_barriers_over_several_ipus_are_poplibs(ipus, cycles):
    placed = place([5] * 17, [5] * 17, BOW, ipus=ipus, batch=2, steps=2)
    assert cost.global_sync(placed) == cycles


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
    # 24 partial sums of two tiles, half of them on each; then one group's 12 sums on each.
    assert made.group == 3
    assert by_name["reduce"].compute.max() == 2 * 6
    assert by_name["reduce_groups"].compute.max() == 1 * 6
    # Twelve lists on the last layer's two tiles: six on each, a flag or none for each of six workers.
    assert by_name["compact"].compute.max() == 6 * 6 * (6 + 5 * 1)
    assert by_name["compact"].compute[0, 1] == 3 * 6 * (6 + 5 * 2)
    later = cost.phases(made, free | {"scan_neuron": 5.0})[0]
    assert {p.name: p for p in later}[
        "combine"
    ].compute.max() == 5 * 8 * 3  # 2 x 6 lists on 4 tiles


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (2, 1), (24, 12), (48, 24)])
def test_groups_are_half_a_batch(batch, group):
    made = Program(place([10, 120, 120], [10, 4, 4], BOW, batch=batch, steps=1))
    assert made.group == group
    received = {s.name: s.received for _, s in made.backward}["reduce_groups"]
    groups = -(-60 // group)
    assert received.max() == -(-4 * groups * batch * 4 // 60)


def test_bytes_over_links_by_hand():
    """A list of 4 entries and 2 counts for each of 6 samples goes over; the gradient of its entries back."""
    made = Program(place([10, 8, 4], [10, 4, 2], BOW, ipus=2, batch=6, steps=1))
    crossing = {s.name: s.crossing.tolist() for _, s in (*made.forward, *made.backward)}
    expected = {"broadcast": [0, 144], "recall": [0, 144], "send_back": [96, 0]}
    assert crossing == dict.fromkeys(crossing, [0, 0]) | expected


def test_cost_depends_on_batch_and_slots_as_it_must():
    base = cost.step_cycles(program(activity=0.05, batch=24))
    assert cost.step_cycles(program(activity=0.1, batch=24)) > base
    assert cost.step_cycles(program(activity=0.05, batch=48)) > base
    lone = program(activity=0.05, batch=24, ipus=1)
    many = program(activity=0.05, batch=24, ipus=4)
    assert sum(s.crossing.sum() for _, s in many.forward) > 0
    assert sum(s.crossing.sum() for _, s in lone.forward) == 0
    one_by_one = Program(lone.mapping, delay=0)
    assert len(one_by_one.forward) == 4 * len(lone.forward)
    assert len(lone.forward) + len(lone.backward) == value("fitted_barriers")
    fixed = [sum(p.sync for way in cost.phases(q) for p in way) for q in (lone, one_by_one)]
    np.testing.assert_allclose(fixed, [value("step_cycles"), 4 * value("step_cycles")])
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


@pytest.mark.parametrize(
    ("fit", "key", "median", "worst"),
    [
        (calibration.empirical, "depth", 3.31, 11.11),
        (calibration.empirical, "activity", 1.71, 6.49),
        (calibration.linear, "depth", 4.06, 10.47),
        (calibration.linear, "activity", 5.04, 19.77),
    ],
)
def test_fits_that_know_no_machine_are_as_far_off_as_the_caption_says(fit, key, median, worst):
    error = 100 * np.abs(fit(key) / calibration.cells().ms.to_numpy() - 1)
    np.testing.assert_allclose([np.median(error), error.max()], [median, worst], atol=0.006)


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
