import pytest

from benchmarks import floors, workloads

SHEET = floors.Rates(mm=210e9, onednn=440e9, copy=82e9)
DENSITIES = (*workloads.W2_DENSITIES, 0.081)


def w2(steps):
    return workloads.select([f"w2-{steps}"])[0]


def test_sheet_arithmetic():
    """Section 4 of the multithreading sheet: 0.525 and 2.63 GFLOP; 2.5 and 12.5 ms."""
    assert floors.flop(w2(100), DENSITIES) == pytest.approx(0.525e9, rel=2e-3)
    assert floors.flop(w2(500), DENSITIES) == pytest.approx(2.63e9, rel=2e-3)
    assert floors.seconds(w2(100), DENSITIES, SHEET) == pytest.approx(2.5e-3, rel=5e-3)
    assert floors.seconds(w2(500), DENSITIES, SHEET) == pytest.approx(12.5e-3, rel=5e-3)
    assert floors.seconds(w2(500), DENSITIES, SHEET, fastest=True) < 6.1e-3


def test_dense_arithmetic():
    """All ones: 3.65 GFLOP at T = 100."""
    assert floors.flop(w2(100), (1.0,) * 5) == pytest.approx(3.65e9, rel=2e-3)


def test_sheet_traffic():
    """Potentials written and read once: 20.7 MB at T = 100; a dense input is taken as bits."""
    assert floors.traffic(w2(100)) == pytest.approx(20.7e6 + 2 * 6400 * 700 * 0.06, rel=2e-3)
    half = workloads.select(["w2d"])[4]
    potentials = 8 * half.steps * half.batch * 404
    assert floors.traffic(half) - potentials == 2 * half.steps * half.batch * 700 / 8


def test_slow_memory_sets_the_floor():
    slow = floors.Rates(210e9, 440e9, 1e9)
    assert floors.seconds(w2(100), DENSITIES, slow) == pytest.approx(floors.traffic(w2(100)) / 1e9)
