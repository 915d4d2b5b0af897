"""Hogwild: what workers learn, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from torch.nn import functional as F

from paraspike.datasets import load_images
from paraspike.errors import ReaderError
from paraspike.papers import multithreading_hogwild as hogwild
from paraspike.papers.multithreading_process import in_own_process
from paraspike.threads import cores


@pytest.fixture(scope="module")
def workers():
    data = load_images("digits", "train", samples=96)
    with hogwild.Workers(2, data.images, data.labels) as made:
        yield made


def fresh():
    torch.manual_seed(0)
    return hogwild.CNN()


def test_the_published_shape():
    model = fresh()
    assert [tuple(p.shape) for p in model.parameters()][::2] == [
        (10, 1, 5, 5), (20, 10, 5, 5), (50, 320), (10, 50),
    ]  # fmt: skip
    assert model(torch.zeros(3, 1, 28, 28)).exp().sum(1).tolist() == pytest.approx([1, 1, 1])


def test_one_worker_trains_as_this_process_would(workers):
    model, ours = fresh(), fresh()
    epoch = workers.train(model, 1, 32, "corrected", seed=4)
    assert (epoch.images, epoch.batches) == (96, 3) and epoch.seconds > 0
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(4000)
    order = torch.randperm(96)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.01, momentum=0.5)
    # The worker warms up on one image, whose dropout draws random numbers, before it says it is ready.
    F.nll_loss(ours(workers.images[order[:1]]), workers.labels[order[:1]])
    for part in order.split(32):
        optimizer.zero_grad()
        loss = F.nll_loss(ours(workers.images[part]), workers.labels[part])
        loss.backward()
        optimizer.step()
    torch.set_num_threads(before)
    assert epoch.loss == pytest.approx(loss.item(), rel=1e-5)
    for a, e in zip(model.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-6)


def test_as_published_every_worker_does_all_images(workers):
    counts = {arm: workers.train(fresh(), 2, 32, arm) for arm in hogwild.ARMS}
    assert (counts["as_published"].images, counts["as_published"].batches) == (192, 6)
    assert (counts["corrected"].images, counts["corrected"].batches) == (96, 4)


def test_two_workers_learn_one_model(workers):
    model = fresh()

    def loss():
        with torch.no_grad():
            return F.nll_loss(model.eval()(workers.images), workers.labels).item()

    before = loss()
    for i in range(40):
        workers.train(model, 2, 4, "corrected", seed=i)
    assert loss() < 0.7 * before


def test_what_cannot_be_trained_is_refused(workers):
    with pytest.raises(ReaderError, match="3 of 2 workers"):
        workers.train(fresh(), 3, 32, "corrected")
    with pytest.raises(ReaderError, match="no batch of 64"):
        workers.train(fresh(), 2, 64, "corrected")
    with pytest.raises(ReaderError, match="images"):
        hogwild.Workers(1, np.zeros((4, 8, 8), np.uint8), np.zeros(4))


def children():
    return [p.pid for p in psutil.Process().children(recursive=True)]


def test_no_worker_is_left_after_an_error():
    data = load_images("digits", "train", samples=20)
    before = children()
    # A label beyond the ten classes makes every worker fail.
    with (
        pytest.raises(ReaderError, match="worker failed"),
        hogwild.Workers(1, data.images, data.labels + 50) as workers,
    ):
        workers.train(fresh(), 1, 8, "corrected")
    assert children() == before


def fails(text):
    raise ValueError(text)


def threads_of_torch():
    return torch.get_num_threads(), "OMP_WAIT_POLICY" in os.environ


def test_a_process_of_its_own_is_as_the_authors_started_theirs(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = children()
    assert in_own_process(threads_of_torch) == (cores(), False)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    with pytest.raises(ReaderError, match="ValueError: said so"):
        in_own_process(fails, "said so")
    with pytest.raises(ReaderError, match="ended by itself"):
        in_own_process(os._exit, 3)
    assert children() == before


SCRIPT = """
import signal

import numpy as np
from paraspike.papers.multithreading_hogwild import CNN, Workers
from paraspike.papers.multithreading_crews import Pool

if __name__ == "__main__":
    # A job in the background inherits that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Workers(2, np.zeros((64, 28, 28), np.uint8), np.zeros(64)) as workers, Pool(3):
        workers.train(CNN(), 2, 8, "corrected")
        print("running", flush=True)
        while True:
            workers.train(CNN(), 2, 8, "corrected")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_killed_parent_leave_no_orphan(tmp_path, how):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "running\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.send_signal(how)
    process.wait(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert process.returncode != 0
    time.sleep(0.01)
