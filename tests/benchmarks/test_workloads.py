import numpy as np
import pytest

from benchmarks import workloads
from benchmarks.compare import densities
from benchmarks.libraries import YARDSTICK, adapter
from paraspike.errors import ReaderError


def outputs(workload):
    data = workloads.draw(workload)
    return adapter(YARDSTICK).build(workload, "step", data).outputs()


def test_w2_densities():
    workload = workloads.select(["w2-100"])[0]
    found = densities(workload, outputs(workload))
    assert "0.0150 / 0.03" in workloads.check_densities(workload, found)
    np.testing.assert_allclose(found[:4], workloads.W2_DENSITIES, rtol=0.1)


def test_far_densities_stop():
    with pytest.raises(ReaderError, match="10 %"):
        workloads.check_densities(workloads.select(["w2"])[0], [0.015, 0.08, 0.045, 0.055, 0.08])


def test_density_changes_the_input_alone():
    """W2d's hidden layers fire about as W2's do, so the axis is the input's density."""
    sparse, dense = (workloads.select(["w2d"])[i].short(60) for i in (1, 4))
    near, far = densities(sparse, outputs(sparse)), densities(dense, outputs(dense))
    assert far[0] == 0.5
    np.testing.assert_allclose(far[1:], near[1:], rtol=0.35)


@pytest.mark.parametrize("name", ["w2", "w1"])
def test_shorter_is_the_beginning(name):
    workload = workloads.select([name])[0]
    long, short = workloads.draw(workload.short(12)), workloads.draw(workload.short(5))
    np.testing.assert_array_equal(long.inputs[:5], short.inputs)
    for a, b in zip(long.weights, short.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_density():
    for workload in workloads.select(["w2d", "w1-100"]):
        data = workloads.draw(workload.short(30))
        assert set(np.unique(data.inputs)) <= {0, 1}
        assert data.inputs.mean() == pytest.approx(workload.density, rel=0.06)


def test_select():
    assert len(workloads.select(["w2"])) == 3
    assert [w.steps for w in workloads.select(["w2-500", "w1-10"])] == [500, 10]
    with pytest.raises(ReaderError, match="w3"):
        workloads.select(["w3"])
