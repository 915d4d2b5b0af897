"""Readers against files written here, whole and damaged in every way we could think of."""

import gzip
import io
import shutil
import struct
import tarfile
import zipfile

import h5py
import numpy as np
import pytest

from paraspike.datasets import dvsgesture, idx, nmnist, shd
from paraspike.datasets.events import Recordings
from paraspike.errors import ReaderError

TIMES = [[0.001, 0.001, 0.25], [], [0.5, 0.75]]
UNITS = [[0, 699, 3], [], [5, 5]]


def write_shd(path, times=TIMES, units=UNITS, labels=(3, 19, 0), speakers=(1, 1, 4), **changed):
    with h5py.File(path, "w") as file:
        for name, lists, kind in (("times", times, np.float16), ("units", units, np.uint16)):
            kind = changed.get(name, kind)
            column = np.empty(len(lists), object)
            column[:] = [np.array(x, kind) for x in lists]
            file.create_dataset(f"spikes/{name}", data=column, dtype=h5py.vlen_dtype(kind))
        file["labels"] = np.array(labels, np.int16)
        file["extra/speaker"] = np.array(speakers, np.uint16)
    return path


def packed(path, how):
    if how == "gz":
        target = path.with_suffix(".h5.gz")
        with open(path, "rb") as plain, gzip.open(target, "wb") as out:
            shutil.copyfileobj(plain, out)
        return target
    if how == "zip":
        target = path.with_suffix(".h5.zip")
        with zipfile.ZipFile(target, "w") as archive:
            archive.write(path, path.name)
        return target
    return path


def cut(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def refused(read, path, *words):
    """The error of a reader on a bad file: names the file, says what, five lines at most."""
    with pytest.raises(ReaderError) as caught:
        read([path], "train")
    message = str(caught.value)
    assert len(message.splitlines()) <= 5 and path.name in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("how", ["plain", "gz", "zip"])
def test_shd(tmp_path, how):
    data = shd.read([packed(write_shd(tmp_path / "shd_train.h5"), how)], "train")
    assert data.offsets.tolist() == [0, 3, 3, 5]
    assert data.ticks.tolist() == np.array([0.001, 0.001, 0.25, 0.5, 0.75], np.float16).tolist()
    assert data.units.tolist() == [0, 699, 3, 5, 5]
    assert data.labels.tolist() == [3, 19, 0] and data.speakers.tolist() == [1, 1, 4]


@pytest.mark.parametrize("how", ["plain", "gz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_shd_truncated(tmp_path, how, share):
    many = [[k / 1000 for k in range(400)]] * 3
    whole = write_shd(tmp_path / "shd_train.h5", many, [[1] * 400] * 3)
    refused(shd.read, cut(packed(whole, how), share), "cannot be read")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"units": [[0, 700, 3], [], [5, 5]]}, ["recording 0, event 1", "unit outside 0 .. 699"]),
        ({"times": [[0, 0, 0.1], [], [0.75, 0.5]]}, ["recording 2, event 1", "earlier"]),
        ({"times": [[0, 0, 0.1], [], [0.75, 5.0]]}, ["recording 2, event 1", "time outside"]),
        ({"times": [[-0.1, 0, 0.1], [], [0.5, 0.5]]}, ["recording 0, event 0", "time outside"]),
        ({"times": [[0, np.nan, 0.1], [], [0.5, 0.5]]}, ["recording 0, event 1", "time outside"]),
        ({"labels": (3, 20, 0)}, ["label 20 of recording 1"]),
        ({"labels": (3, -1, 0)}, ["label -1 of recording 1"]),
        ({"labels": (3, 1)}, ["3 recordings, but 2 labels"]),
        ({"speakers": (3, 1)}, ["3 recordings", "speakers"]),
        ({"units": [[0, 6], [], [5, 5]]}, ["recording 0 has 3 times but 2 units"]),
        ({"units": [[0, 6, 1], []]}, ["3 lists of times, 2 of units"]),
        ({"times": [], "units": [], "labels": (), "speakers": ()}, ["no recordings"]),
    ],
)
def test_shd_wrong_values(tmp_path, changed, words):
    refused(shd.read, write_shd(tmp_path / "shd_train.h5", **changed), *words)


def test_shd_foreign(tmp_path):
    path = tmp_path / "shd_train.h5"
    with h5py.File(path, "w") as file:
        file["temperature"] = np.arange(5)
    refused(shd.read, path, "spikes/times", "not SHD's layout")
    with h5py.File(path, "w") as file:
        file["spikes/times"], file["spikes/units"] = np.zeros((3, 700)), np.zeros((3, 700))
    refused(shd.read, path, "spikes/times")
    path.write_bytes(b"<html>not here</html>" * 100)
    refused(shd.read, path, "cannot be read")
    refused(shd.read, packed(path, "gz"), "cannot be read")
    with zipfile.ZipFile(tmp_path / "shd_test.h5.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(shd.read, tmp_path / "shd_test.h5.zip", "0 .h5 files")


def test_shd_writes_what_it_reads(tmp_path):
    ticks = np.array([0.001, 0.5, 0.002], np.float16)
    units = np.array([3, 4, 699], np.uint16)
    offsets, labels = np.array([0, 2, 2, 3]), np.array([0, 1, 19], np.uint16)
    data = Recordings(ticks, units, offsets, labels, labels, 1, 700, 20)
    shd.write(tmp_path / "made.h5", data)
    again = shd.read([tmp_path / "made.h5"], "train")
    for name in ("ticks", "units", "offsets", "labels", "speakers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
    assert again.ticks.dtype == np.float16 and again.units.dtype == np.uint16


def write_idx(path, array, magic=None, shape=None, spare=b""):
    shape = array.shape if shape is None else shape
    magic = (0x0800 + array.ndim) if magic is None else magic
    content = struct.pack(f">I{len(shape)}I", magic, *shape) + array.tobytes() + spare
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path, images, suffix):
    files = [
        write_idx(tmp_path / f"images{suffix}", images),
        write_idx(tmp_path / f"labels{suffix}", np.array([9, 0, 1, 2], np.uint8)),
    ]
    read, labels = idx.read(files, "train")
    np.testing.assert_array_equal(read, images)
    assert labels.tolist() == [9, 0, 1, 2]


def test_idx_damaged(tmp_path, images):
    def read(files, _):
        return idx.read_idx(files[0], 3)

    refused(read, write_idx(tmp_path / "a", images, magic=0x0801), "does not begin as an idx file")
    refused(read, write_idx(tmp_path / "a", images, magic=0x0C03), "does not begin as an idx file")
    refused(read, write_idx(tmp_path / "a", images, shape=(5, 28, 28)), "3920 bytes but holds 3136")
    refused(read, write_idx(tmp_path / "a", images, shape=(2**31, 2**31, 2**31)), "holds 3136")
    refused(read, write_idx(tmp_path / "a", images, spare=b"x"), "3136 bytes but holds 3137")
    refused(read, cut(write_idx(tmp_path / "a.gz", images)), "cannot be read")
    (tmp_path / "a").write_bytes(b"\0\0")
    refused(read, tmp_path / "a", "does not begin")


def test_mnist_files_that_do_not_fit_together(tmp_path, images):
    def read(labels, pictures=images):
        labels = np.array(labels, np.uint8)
        files = [write_idx(tmp_path / "images", pictures), write_idx(tmp_path / "labels", labels)]
        return idx.read(files, "train")

    with pytest.raises(ReaderError, match="4 images but 3 labels"):
        read([1, 2, 3])
    with pytest.raises(ReaderError, match="label 10 of image 1"):
        read([1, 10, 3, 4])
    with pytest.raises(ReaderError, match="pixels, not"):
        read([1, 2, 3, 4], images[:, :20])


def event_bytes(events):
    """x, y, polarity, us -> five bytes each, written bit by bit."""
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, p, t in events)


def test_nmnist_events():
    events = [(0, 1, 0, 5), (33, 33, 1, 300_000), (2, 0, 1, 0x7FFFFF)]
    times, units = nmnist.read_events(event_bytes(events), "1.bin", "here")
    assert times.tolist() == [5, 300_000, 0x7FFFFF]
    assert units.tolist() == [34, 34 * 34 + 33 * 34 + 33, 34 * 34 + 2]


def test_nmnist_overflow_events_move_time_on():
    events = [(1, 1, 0, 10), (0, 240, 0, 0), (1, 1, 0, 20), (0, 240, 0, 0), (1, 1, 0, 30)]
    times, units = nmnist.read_events(event_bytes(events), "1.bin", "here")
    assert times.tolist() == [10, 20 + 8192, 30 + 2 * 8192] and len(units) == 3


def nmnist_zip(path, recordings, split="Train"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{split}/readme.txt", "no recording")
        for name, events in recordings.items():
            archive.writestr(f"{split}/{name}", event_bytes(events))
    return path


def tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_nmnist_official_archive(tmp_path):
    whole = {"7/00002.bin": [(1, 2, 1, 9)], "0/00005.bin": [(3, 3, 0, 1), (3, 3, 0, 2)]}
    data = nmnist.read([nmnist_zip(tmp_path / "train.zip", whole)], "train")
    assert data.labels.tolist() == [0, 7] and data.offsets.tolist() == [0, 2, 3]
    assert data.ticks.tolist() == [1, 2, 9]
    assert data.events("nmnist", "train").times.tolist() == [1e-6, 2e-6, 9e-6]
    refused(nmnist.read, cut(tmp_path / "train.zip"), "cannot be read")
    refused(nmnist.read, nmnist_zip(tmp_path / "train.zip", whole, "Test"), "no recordings")


def small_archive(**changed):
    members = {
        "NMNISTsmall/train1K.txt": b"#sample #class\n1\t5\n2\t0\n",
        "NMNISTsmall/test100.txt": b"#sample #class\n60001\t7\n",
        "NMNISTsmall/1.bs2": event_bytes([(1, 2, 1, 9)]),
        "NMNISTsmall/2.bs2": event_bytes([(3, 3, 0, 1), (3, 4, 0, 2)]),
        "NMNISTsmall/60001.bs2": event_bytes([(0, 0, 0, 4)]),
    }
    return {k: v for k, v in {**members, **changed}.items() if v is not None}


def test_nmnist_part_with_label_lists(tmp_path):
    path = tar(tmp_path / "nmnist_1100.tar.gz", small_archive())
    data = nmnist.read([path], "train")
    assert data.labels.tolist() == [5, 0] and data.ticks.tolist() == [9, 1, 2]
    assert nmnist.read([path], "test").labels.tolist() == [7]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"NMNISTsmall/2.bs2": b"123456"}, ["2.bs2", "6 bytes, not a multiple of 5"]),
        (
            {"NMNISTsmall/2.bs2": event_bytes([(34, 3, 0, 1)])},
            ["2.bs2, event 0", "(34, 3) lies outside 34 x 34"],
        ),
        (
            {"NMNISTsmall/2.bs2": event_bytes([(3, 3, 0, 9), (3, 3, 0, 8)])},
            ["recording 1, event 1", "earlier"],
        ),
        (
            {"NMNISTsmall/2.bs2": event_bytes([(3, 3, 0, 2_000_000)])},
            ["recording 1, event 0", "time outside"],
        ),
        ({"NMNISTsmall/2.bs2": None}, ["line 3", "2.bs2 is not in the archive"]),
        ({"NMNISTsmall/train1K.txt": None}, ["no label list train1K.txt"]),
        ({"NMNISTsmall/train1K.txt": b"1\t5\nx"}, ["line 2", "not a sample and its class"]),
        ({"NMNISTsmall/train1K.txt": b"1\t12\n"}, ["label 12 of recording 0"]),
    ],
)
def test_nmnist_wrong_values(tmp_path, changed, words):
    path = tar(tmp_path / "nmnist_1100.tar.gz", small_archive(**changed))
    refused(nmnist.read, path, *words)


@pytest.mark.parametrize("module", [nmnist, dvsgesture])
def test_archives_that_are_none(tmp_path, module):
    path = tmp_path / "some.tar.gz"
    noise = np.random.default_rng(0).bytes(4000)
    refused(module.read, cut(tar(path, {"1.bs2": noise})), "cannot be read")
    path.write_bytes(b"<html>not here</html>")
    refused(module.read, path, "cannot be read")


def npy(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def gestures(path, **changed):
    first = np.array([[127, 0, 1, 5], [0, 127, 0, 1200]], np.float64)
    second = np.array([[3, 4, 1, 7]], np.int64)
    members = {
        "ibmGestureTrain/user02_lab/10.npy": npy(first),
        "ibmGestureTrain/user01_fluorescent_led/3.npy": npy(second),
        "ibmGestureTrain/readme.txt": b"no recording",
    }
    return tar(path, {**members, **changed})


def test_gesture(tmp_path):
    data = dvsgesture.read([gestures(tmp_path / "ibmGestureTrain.tar.gz")], "train")
    assert data.labels.tolist() == [3, 10] and data.speakers.tolist() == [1, 2]
    assert data.units.tolist() == [128 * 128 + 4 * 128 + 3, 128 * 128 + 127, 127 * 128]
    assert data.events("dvsgesture", "train").times.tolist() == [0.007, 0.005, 1.2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.array([[128, 0, 1, 5]])), ["event 0", "128, 0, 1, 5"]),
        (npy(np.array([[1, 0, 1, 5], [1, 0, 2, 5]])), ["event 1", "1, 0, 2, 5"]),
        (npy(np.array([[1.5, 0, 1, 5]])), ["event 0", "1.5"]),
        (npy(np.array([[1, 0, 1, 9], [1, 0, 1, 8]])), ["event 1", "earlier"]),
        (npy(np.zeros((3, 5))), ["(3, 5), not [E, 4]"]),
        (npy(np.array([{"a": 1}], object)), ["10.npy cannot be read"]),
        (npy(np.zeros((30, 4)))[:-9], ["10.npy cannot be read"]),
        (b"<html>", ["10.npy cannot be read"]),
    ],
)
def test_gesture_wrong_values(tmp_path, content, words):
    path = tmp_path / "ibmGestureTrain.tar.gz"
    gestures(path, **{"ibmGestureTrain/user02_lab/10.npy": content})
    refused(dvsgesture.read, path, *words)


def test_gesture_label_out_of_range(tmp_path):
    path = tmp_path / "ibmGestureTrain.tar.gz"
    gestures(path, **{"ibmGestureTrain/user02_lab/11.npy": npy(np.array([[1, 0, 1, 5]]))})
    refused(dvsgesture.read, path, "label 11")
