import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import workloads
from benchmarks.libraries import NAMES, OURS, YARDSTICK, adapter, versions
from paraspike.errors import ReaderError


def small(name="w2", steps=20, batch=4):
    workload = replace(workloads.select([name])[0], steps=steps, batch=batch)
    return workload, workloads.draw(workload)


@pytest.mark.parametrize("mode", ["layer, unbind"])
def test_modes_of_the_loop_agree(mode):
    workload, data = small()
    truth = adapter(YARDSTICK).build(workload, "step", data).outputs()
    found = adapter(YARDSTICK).build(workload, mode, data).outputs()
    for name, value in truth.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_ours_computes_the_same():
    workload, data = small()
    truth = adapter(YARDSTICK).build(workload, "step", data).outputs()
    runner = adapter(OURS).build(workload, "Layer", data)
    found = runner.outputs()
    assert truth.keys() == found.keys()
    for name, value in truth.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    before = [p.detach().clone() for p in runner.parameters]
    runner.step()
    assert all((a != b).any() for a, b in zip(before, runner.parameters, strict=True))
    runner.restore()
    assert all((a == b).all() for a, b in zip(before, runner.parameters, strict=True))


def test_snntorch_computes_the_same_where_it_can():
    """With the reset at the spike and potentials below two thresholds."""
    workload, data = small(steps=40)
    data = replace(data, weights=[w * np.float32(0.45) for w in data.weights])
    truth = adapter(YARDSTICK).build(workload, "step", data).outputs()
    found = adapter("snntorch").build(workload, "step, reset at the spike", data).outputs()
    assert truth["spikes1"].sum() > 20
    np.testing.assert_array_equal(found["spikes1"], truth["spikes1"])


def test_stdp_loop_is_bindsnets_equations():
    """Against scalars for one neuron chain, in the order of the sheet's section 2."""
    workload, data = small("w1-10", steps=9, batch=1)
    workload = replace(workload, sizes=(1, 1))
    raster = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1], np.uint8).reshape(9, 1, 1)
    data = replace(data, inputs=raster, weights=[np.full((1, 1), 0.9, np.float32)])
    scaled = adapter(YARDSTICK).build(workload, "loop", data)
    scaled.initial[0].fill_(0.9)
    found = scaled.outputs()
    v, rest, before, pre, post, w, total = 0.0, 0, 0, 0.0, 0.0, 0.9, 0
    for s in raster.ravel():
        v = v * math.exp(-1 / 100) + (0.0 if rest > 0 else before * w)
        rest -= 1
        fired = v >= 13
        v, rest = (0.0, 5) if fired else (v, rest)
        pre = 1.0 if s else pre * math.exp(-1 / 20)
        post = 1.0 if fired else post * math.exp(-1 / 20)
        w = min(1.0, max(0.0, w - 1e-4 * s * post + 1e-2 * pre * fired))
        before, total = s, total + fired
    assert found["spikes1"].sum() == total
    assert found["weights1"].item() == pytest.approx(w, rel=1e-6)


def test_every_adapter_has_the_interface():
    for name in NAMES:
        module = adapter(name)
        assert module.PACKAGES and isinstance(module.DIFFERS, str)
        offered = [module.modes(w) for w in workloads.plan()]
        assert any(offered), name
    assert versions("torch loop") != "not installed"
    with pytest.raises(ReaderError, match="nengo"):
        adapter("nengo")
