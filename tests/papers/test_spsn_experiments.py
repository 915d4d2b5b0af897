import numpy as np
import pytest

from paraspike.datasets import load
from paraspike.errors import ReaderError
from paraspike.evaluation import evaluate
from paraspike.netcdf import write_weights
from paraspike.papers import spsn
from paraspike.papers.spsn_experiments import fit, headline, trained

COMMON = {"hidden": (8,), "tau_syn": 0.02, "tau_mem": 0.02, "backend": "cpu"}


@pytest.fixture(scope="module")
def arm():
    data = load("cochlea", "train", samples=20)
    settings = spsn.settings("basic", dt=0.02, epochs=1, batch_size=10)
    return (
        data,
        settings,
        fit({("SPSN-SB",): settings}, data, data, seeds=(4, 7), **COMMON)["SPSN-SB",],
    )


def test_weights_of_one_seed_come_back_from_the_file(arm, tmp_path):
    data, settings, fitted = arm
    file = tmp_path / "w.npz"
    write_weights(file, fitted.weights("SPSN-SB/basic"))
    one = trained(file, "SPSN-SB/basic", "SPSN-SB", data, 0.02, seeds=(7,), **COMMON)
    assert np.array_equal(evaluate(one, data, settings).readout[0], fitted.evaluation.readout[1])


def test_what_the_file_does_not_hold_is_named(arm, tmp_path):
    data, _, fitted = arm
    file = tmp_path / "w.npz"
    with pytest.raises(ReaderError, match="no weights"):
        trained(file, "SPSN-SB/basic", "SPSN-SB", data, 0.02, seeds=(7,), **COMMON)
    write_weights(file, fitted.weights("SPSN-SB/basic"))
    with pytest.raises(ReaderError, match="no weights named LIF"):
        trained(file, "LIF/basic", "LIF", data, 0.02, seeds=(7,), **COMMON)
    with pytest.raises(ReaderError, match=r"seeds \[5\][\s\S]*\[4, 7\]"):
        trained(file, "SPSN-SB/basic", "SPSN-SB", data, 0.02, seeds=(5,), **COMMON)


def test_an_arm_is_a_dataset_with_units_everywhere(arm):
    dataset = arm[2].dataset()
    assert dataset.sizes == {"seed": 2, "epoch": 1}
    assert all({"units", "long_name"} <= v.attrs.keys() for v in dataset.variables.values())
    stacked = dataset.expand_dims(model=["SPSN-SB"])
    assert headline(stacked).startswith("test accuracy SPSN-SB ")
