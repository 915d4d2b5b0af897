import numpy as np
import pytest

from benchmarks import cuda_table2
from paraspike.datasets import load
from paraspike.errors import ReaderError

SMALL = {"dt": 0.1, "hidden": (5, 4), "seeds": (0, 1), "batch": 4, "backend": "reference"}


@pytest.fixture
def few(monkeypatch):
    def some(name, split, samples=None, allow_unverified=False):
        if name == "none":
            return load("shd", split, folder="no/such/folder")
        return load(name, split, samples=8)

    monkeypatch.setattr(cuda_table2, "load", some)


def test_ten_cells():
    assert (
        len(cuda_table2.CELLS) == 10
        and ("LIF", "augmentation+regularisation") not in cuda_table2.CELLS
    )


def test_bytes_of_an_epoch():
    # 3 samples of 5 steps, 7 events, 2 seeds; hidden 4 + 6 neurons, 2 classes.
    assert cuda_table2.epoch_bytes(3, 7, 5, 2, (4, 6), 2) == 2 * (15 * (44 * 10 + 20 * 2) + 16 * 7)


def test_cells_are_trained_epoch_by_epoch_and_their_sum_says_that_it_is_extrapolated(few):
    told, cells = {}, (("LIF", "basic"), ("SPSN-GS", "augmentation+regularisation"))
    *made, whole = cuda_table2.cases("cochlea", 3, cells=cells, describe=told.update, **SMALL)
    assert [c.mode for c in made] == [", ".join(cell) for cell in cells]
    for case in made:
        assert len(case.rounds) == len(case.others) == 3 and case.first > 0
        assert "2 seeds at once, 4 epochs" in case.notes[0] and "test accuracy" in case.notes[1]
    medians = [np.median(c.rounds) for c in made]
    assert whole.rounds == [pytest.approx(200 * sum(medians))]
    assert whole.bytes == 200 * (made[0].bytes + made[1].bytes)
    assert whole.mode == "extrapolated from 3 to 200 epochs"
    assert told["dataset"] == "cochlea" and "8 recordings" in told["train"]


def test_time_that_is_over_keeps_the_epochs_that_were(few):
    cells = (("ReLU", "basic"), ("LIF", "basic"))
    first, second, whole = cuda_table2.cases("cochlea", 5, until=1.0, cells=cells, **SMALL)
    assert first.rounds == second.rounds == whole.rounds == []
    assert "time given was over" in first.notes[0] and "0 of 2 cells" in whole.notes[0]
    train = cuda_table2.load("cochlea", "train")
    network = cuda_table2.build("ReLU", train, 0.1, (5, 4), (0, 1), backend="reference")
    settings = cuda_table2.spsn.settings("basic", dt=0.1, epochs=5, batch_size=4)
    arm = cuda_table2.Timed(network, settings, None, "", until=0.0)
    case = cuda_table2.Case("W", 1, 1, "", "", None)
    cuda_table2._train(case, arm, train, None)
    assert arm.epoch == 1 and case.first > 0 and case.rounds == []
    assert "stopped" in case.notes[0] and "2 seeds at once, 1 epochs" in case.notes[1]


def test_a_precision_that_the_backend_lacks_ends_it_before_any_epoch(few):
    with pytest.raises(ReaderError, match="precision 'bf16'"):
        next(cuda_table2.cases("cochlea", 1, precision="bf16", **SMALL))


def test_a_data_set_that_is_not_there_is_said(few):
    with pytest.raises(ReaderError, match="not on this machine"):
        next(cuda_table2.cases("none", **SMALL))
