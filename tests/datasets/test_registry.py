"""The registry is whole, and says what the published pages say."""

import re
from importlib import import_module

import pytest

from paraspike.datasets.registry import DATASETS, dataset, parts
from paraspike.errors import ReaderError

FETCHED = ("shd", "mnist", "nmnist", "dvsgesture")
# Copied by hand from the data sets' own pages, torchvision and tonic, not from the registry.
PUBLISHED = {
    "shd_train.h5.zip": "f3252aeb598ac776c1b526422d90eecb",
    "shd_test.h5.zip": "1503a5064faa34311c398fb0a1ed0a6f",
    "shd_train.h5.gz": "d47c9825dee33347913e8ce0f2be08b0",
    "shd_test.h5.gz": "3062a80ec0c5719404d5b02e166543b1",
    "shd_train.h5": "8e9877c85f29a28dd353ea6a54402667",
    "shd_test.h5": "207ad1295a0ab611e22d1734989c254e",
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    "train.zip": "20959b8e626244a1b502305a9e6e2031",
    "test.zip": "69ca8762b2fe404d9b9bad1103e97832",
    "ibmGestureTrain.tar.gz": "3a8f0d4120a166bac7591f77409cb105",
    "ibmGestureTest.tar.gz": "56070e45dadaa85fff82e0fbfbc06de5",
}


def all_files():
    for name in FETCHED:
        for split in ("train", "test"):
            for alternatives in parts(name, split):
                yield from alternatives


def test_checksums_are_the_published_ones():
    known = {f.name: f.md5 for f in all_files()}
    assert PUBLISHED.items() <= known.items()


@pytest.mark.parametrize("name", DATASETS)
def test_entries_are_whole(name):
    entry = dataset(name)
    assert entry.name == name and entry.title and entry.licence and entry.citation
    assert entry.n_classes >= 10 and entry.n_units >= 256
    assert set(entry.counts) == {"train", "test"}
    assert import_module(entry.reader).__doc__
    assert bool(entry.parts) == (name in FETCHED)


@pytest.mark.parametrize("source", list(all_files()), ids=lambda source: source.name)
def test_files_are_whole(source):
    assert source.md5 is None or re.fullmatch("[0-9a-f]{32}", source.md5)
    assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)
    assert all(url.startswith("https://") for url in source.urls)
    assert source.md5 or not source.urls, "nothing is fetched that cannot be verified"


def test_what_is_fetched_first_has_an_address_and_two_where_two_are_known():
    firsts = {a[0].name: a[0] for n in FETCHED for s in ("train", "test") for a in parts(n, s)}
    assert all(source.urls for source in firsts.values())
    two = {name for name, source in firsts.items() if len(source.urls) == 2}
    assert two == {n for n in firsts if n.startswith(("shd", "train-", "t10k-"))}


def test_sizes_and_sha256_are_those_of_the_real_files(real):
    import hashlib

    for source in all_files():
        if source.sha256:
            content = real(f"mnist/{source.name}").read_bytes()
            assert len(content) == source.size
            assert hashlib.sha256(content).hexdigest() == source.sha256
            assert hashlib.md5(content).hexdigest() == source.md5


def test_unknown_names_are_refused():
    with pytest.raises(ReaderError, match="'imagenet' is unknown"):
        dataset("imagenet")
    with pytest.raises(ReaderError, match="split 'valid' of shd is unknown"):
        parts("shd", "valid")
