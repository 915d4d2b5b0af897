"""Energy against closed forms on made-up counters; this machine may have none of its own."""

import math
import sys
import time
import types
from pathlib import Path

import pytest

from paraspike import energy, energy_counters
from paraspike.energy import measure_energy
from paraspike.energy_counters import Counter, counters, why_none
from paraspike.errors import ReaderError


class Bench:
    """A clock that only `run` and `sleep` move, and counters of constant power on it."""

    def __init__(self):
        self.now = 0.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def run(self, seconds=0.25):
        return lambda: self.sleep(seconds)

    def energy(self, watts, start=0.0, wraps=math.inf, name="joules"):
        return Counter(name, "", "cpu", lambda: (start + watts * self.now) % wraps, wraps=wraps)

    def power(self, watts, name="watts"):
        return Counter(name, "", "cuda", lambda: watts, is_power=True)

    def measure(self, *using, function=None, **options):
        function = function or self.run()
        return measure_energy(function, using=using, clock=self.clock, sleep=self.sleep, **options)


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine with an empty powercap tree and no NVML: tests add what they need."""
    root = tmp_path / "powercap"
    root.mkdir()
    monkeypatch.setattr(energy_counters, "POWERCAP", root)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return root


def domain(root: Path, folder: str, name: str, joules=0.0, wraps=262143.0):
    place = root / folder
    place.mkdir()
    (place / "name").write_text(f"{name}\n")
    (place / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (place / "max_energy_range_uj").write_text(f"{round(wraps * 1e6)}\n")
    return place / "energy_uj"


def test_constant_power_is_power_times_time(bench):
    found = bench.measure(bench.energy(40.0), seconds=1.0)
    assert found.calls == 4 and found.seconds == 0.25
    assert found.joules == 40.0 * 0.25 and found.watts == found.idle_watts == 40.0
    assert found.dynamic_watts == 0 and found.reason == ""


def test_powers_are_integrated_and_counters_add_up(bench):
    found = bench.measure(bench.energy(40.0), bench.power(60.0), seconds=2.0)
    assert found.joules == pytest.approx(100 * 0.25, rel=1e-12)
    assert found.parts == pytest.approx({"joules": 10.0, "watts": 15.0})
    assert found.counters == ("joules", "watts")


def test_a_varying_power_is_sampled_while_the_function_runs():
    begin = time.perf_counter()
    # A ramp: only samples on the way, not the two ends, tell it from a step at the end.
    level = Counter("board", "", "cuda", lambda: 100.0 * (time.perf_counter() - begin > 0.1), True)
    found = measure_energy(lambda: time.sleep(0.2), seconds=0, using=[level], idle=0, warmup=0)
    assert 5 < found.joules < 15


def test_idle_power_is_measured_before(bench):
    used = {"joules": 0.0}

    def work():
        bench.sleep(0.5)
        used["joules"] += 30.0

    counter = Counter("c", "", "cpu", lambda: used["joules"] + 10.0 * bench.now)
    found = bench.measure(counter, function=work, seconds=1.0, warmup=1)
    assert found.idle_watts == 10.0 and found.watts == 70.0 and found.dynamic_watts == 60.0
    assert found.joules == 35.0


def test_a_counter_that_wraps_on_the_way_counts_on(bench):
    found = bench.measure(bench.energy(100.0, start=950.0, wraps=1000.0), seconds=3.0, idle=0.2)
    assert found.joules == pytest.approx(25.0) and found.idle_watts == pytest.approx(100.0)


def test_several_wraps_are_counted_when_looked_at_between(bench):
    meter = energy._Meter(bench.energy(100.0, wraps=1000.0), bench.clock)
    for _ in range(5):
        bench.sleep(8.0)
        meter.look()
    meter.finish()
    assert meter.joules == pytest.approx(4000.0) and meter.watts == pytest.approx(100.0)


def test_a_counter_that_runs_backwards_gives_nothing(bench):
    backwards = Counter("board", "", "cuda", lambda: 100.0 - bench.now)
    found = bench.measure(backwards)
    assert math.isnan(found.joules) and "ran backwards" in found.reason


def test_a_counter_that_fails_on_the_way_gives_nothing(bench):
    def read():
        if bench.now > 1.5:
            raise PermissionError("denied")
        return bench.now

    found = bench.measure(Counter("RAPL package 0", "", "cpu", read), bench.energy(5.0))
    assert math.isnan(found.joules) and math.isnan(found.watts) and found.parts == {}
    assert "RAPL package 0 could no longer be read: denied" in found.reason
    assert found.idle_watts == pytest.approx(6.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_function_that_takes_no_time_has_no_power(bench, seconds):
    found = bench.measure(bench.energy(40.0), function=lambda: None, seconds=seconds)
    assert found.calls == 1 and found.seconds == 0
    assert math.isnan(found.joules) and math.isnan(found.watts)
    assert "measure for longer" in found.reason


def test_a_window_shorter_than_a_tick_is_not_free_of_cost(bench):
    ticking = Counter("slow", "", "cuda", lambda: 10.0 * (bench.now // 60))
    found = bench.measure(ticking)
    assert math.isnan(found.joules) and math.isnan(found.idle_watts)
    assert "no counter moved" in found.reason


def test_nothing_is_invented_without_a_counter(bare, bench):
    assert counters() == [] and "no RAPL domain is readable" in why_none()
    assert "nvidia-ml-py" in why_none() and "nvidia" not in why_none("cpu")
    found = measure_energy(bench.run(), clock=bench.clock, sleep=bench.sleep)
    assert found.seconds == 0.25 and found.calls == 4 and found.counters == ()
    assert all(map(math.isnan, (found.joules, found.watts, found.idle_watts, found.dynamic_watts)))
    assert found.parts == {} and found.reason == why_none()
    bare.rmdir()
    assert "does not exist" in why_none("cpu")


def test_this_machine_measures_or_says_why_not():
    assert bool(counters()) != bool(why_none())
    found = measure_energy(lambda: time.sleep(0.005), seconds=0.02, idle=0.0)
    assert math.isnan(found.joules) == bool(found.reason) and found.seconds >= 0.005


def test_packages_and_memory_are_read_once_each(bare):
    for folder, name in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "psys",
        "intel-rapl:2": "package-1-die-0",
        "intel-rapl-mmio:0": "package-0",
    }.items():
        domain(bare, folder, name, joules=12.5)
    found = counters("cpu")
    assert [c.name for c in found] == [
        "RAPL package 0",
        "RAPL dram of package 0",
        "RAPL package 1 die 0",
    ]
    assert {c.read() for c in found} == {12.5} and {c.wraps for c in found} == {262143.0}
    assert why_none() == "" and counters("cuda") == []


def test_a_powercap_tree_is_measured_across_its_wrap(bare, bench):
    file = domain(bare, "intel-rapl:0", "package-0", joules=999.0, wraps=1000.0)

    def work():
        bench.sleep(1.0)
        file.write_text("14000000\n")

    found = measure_energy(
        work, 1.0, device="cpu", idle=0, warmup=0, clock=bench.clock, sleep=bench.sleep
    )
    assert found.joules == pytest.approx(15.0) and found.counters == ("RAPL package 0",)


def test_a_counter_that_may_not_be_read_names_the_cure(bare, monkeypatch):
    domain(bare, "intel-rapl:0", "package-0")
    read = Path.read_text

    def refuse(path, *args, **options):
        if path.name == "energy_uj":  # root, who may run this, could read it all the same
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert counters() == []
    assert "RAPL package 0 may not be read" in why_none() and "sudo chmod a+r" in why_none()
    assert "chgrp" in why_none()
    assert math.isnan(measure_energy(lambda: None, seconds=0).joules)


def test_a_domain_that_is_broken_is_named(bare):
    domain(bare, "intel-rapl:0", "package-0").write_text("many\n")
    (bare / "intel-rapl:1").mkdir()
    assert counters() == []
    assert "RAPL package 0 cannot be read" in why_none() and "intel-rapl:1" in why_none()


def test_packages_are_counted_all_or_none(bare):
    domain(bare, "intel-rapl:0", "package-0")
    domain(bare, "intel-rapl:1", "package-1").unlink()
    assert counters() == [] and "RAPL package 1 cannot be read" in why_none()


def test_another_device_is_refused():
    with pytest.raises(ReaderError, match="no energy counters are known for 'ipu'"):
        counters("ipu")


def fake_nvml(bench, monkeypatch, boards=1, energy=True, power=True, driver=True):
    class NVMLError(Exception):
        pass

    def only(works, value):
        def call(*_):
            if not works:
                raise NVMLError("Not Supported")
            return value()

        return call

    names = {
        "nvmlInit": only(driver, lambda: None),
        "nvmlDeviceGetCount": lambda: boards,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda board: "NVIDIA H200",
        "nvmlDeviceGetUUID": lambda board: f"GPU-{board}f00",
        "nvmlDeviceGetTotalEnergyConsumption": only(energy, lambda: 7000 + 300_000 * bench.now),
        "nvmlDeviceGetPowerUsage": only(power, lambda: 300_000),
    }
    module = types.SimpleNamespace(NVMLError=NVMLError, **names)
    monkeypatch.setitem(sys.modules, "pynvml", module)


@pytest.mark.parametrize("energy", [True, False])
def test_a_board_is_read_by_energy_or_else_by_power(bare, bench, monkeypatch, energy):
    fake_nvml(bench, monkeypatch, energy=energy)
    (counter,) = counters()
    assert counter.name == "NVML NVIDIA H200" and counter.is_power is not energy
    assert "whole board" in counter.covers
    found = measure_energy(bench.run(), device="cuda", clock=bench.clock, sleep=bench.sleep)
    assert found.joules == pytest.approx(75.0) and found.idle_watts == pytest.approx(300.0)


def test_a_board_or_driver_that_reports_nothing_is_named(bare, bench, monkeypatch):
    fake_nvml(bench, monkeypatch, energy=False, power=False)
    assert counters() == [] and "neither energy nor power" in why_none("cuda")
    fake_nvml(bench, monkeypatch, driver=False)
    assert "no NVIDIA driver" in why_none("cuda")
    fake_nvml(bench, monkeypatch, boards=0)
    assert "the driver lists none" in why_none("cuda")


@pytest.mark.parametrize(
    ("asked", "seen"), [("1", [1]), ("0,1", [0, 1]), ("GPU-1f", [1]), ("", []), ("MIG-7", [])]
)
def test_only_visible_boards_count(bare, bench, monkeypatch, asked, seen):
    fake_nvml(bench, monkeypatch, boards=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", asked)
    assert [c.name for c in counters("cuda")] == [f"NVML NVIDIA H200 {i}" for i in seen]
    assert bool(seen) or "CUDA_VISIBLE_DEVICES" in why_none("cuda")
