"""The data sets this project knows: files, addresses, checksums, licences, citations, readers.

Sources of the checksums: the download pages of zenkelab.org and compneuro.net (SHD), torchvision's
mirror list (MNIST), tonic (N-MNIST, DVS128 Gesture). A sha256 or size is None where no copy with
the published md5 was at hand to compute it from.
"""

from dataclasses import dataclass, field

from paraspike.errors import ReaderError


@dataclass(frozen=True)
class SourceFile:
    """One file: its name, addresses tried in turn, md5 (None: no checksum is published for it),
    sha256, size in bytes."""

    name: str
    urls: tuple[str, ...] = ()
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        parts: per split, the files needed; each is a tuple of alternatives, the one to fetch first.
        counts: published number of recordings per split.
        reader: module with `read`.
        longest: seconds no recording exceeds, None for images.
    """

    name: str
    title: str
    licence: str
    citation: str
    doi: str
    reader: str
    n_classes: int
    n_units: int
    counts: dict[str, int]
    longest: float | None = None
    parts: dict[str, tuple[tuple[SourceFile, ...], ...]] = field(default_factory=dict)


def _shd(split, gz, zipped, unpacked):
    name = f"shd_{split}.h5"
    homes = ("https://compneuro.net/datasets/", "https://zenkelab.org/datasets/")
    return (
        (
            SourceFile(f"{name}.gz", tuple(f"{home}{name}.gz" for home in homes), gz),
            SourceFile(f"{name}.zip", (f"{homes[1]}{name}.zip",), zipped),
            SourceFile(name, (), unpacked),
        ),
    )


def _idx(name, md5, sha256, size, unpacked):
    homes = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    urls = tuple(f"{home}{name}.gz" for home in homes)
    return SourceFile(f"{name}.gz", urls, md5, sha256, size), SourceFile(name, (), unpacked)


def _nmnist(split, address, md5):
    url = f"https://data.mendeley.com/public-files/datasets/468j46mzdv/files/{address}/file_downloaded"
    # The second, a circulating part (1,000 + 100 recordings), has no published checksum.
    return ((SourceFile(f"{split}.zip", (url,), md5), SourceFile("nmnist_1100.tar.gz")),)


def _gesture(split, address, md5):
    url = f"https://figshare.com/ndownloader/files/{address}"
    return ((SourceFile(f"ibmGesture{split}.tar.gz", (url,), md5),),)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "shd",
            "Spiking Heidelberg Digits",
            "CC BY 4.0",
            "Cramer, Stradmann, Schemmel, Zenke: The Heidelberg Spiking Data Sets for the "
            "Systematic Evaluation of Spiking Neural Networks. IEEE TNNLS 33, 2744-2757 (2022)",
            "10.1109/TNNLS.2020.3044364",
            "paraspike.datasets.shd",
            20,
            700,
            {"train": 8156, "test": 2264},
            2.0,
            {
                "train": _shd(
                    "train",
                    "d47c9825dee33347913e8ce0f2be08b0",
                    "f3252aeb598ac776c1b526422d90eecb",
                    "8e9877c85f29a28dd353ea6a54402667",
                ),
                "test": _shd(
                    "test",
                    "3062a80ec0c5719404d5b02e166543b1",
                    "1503a5064faa34311c398fb0a1ed0a6f",
                    "207ad1295a0ab611e22d1734989c254e",
                ),
            },
        ),
        Dataset(
            "mnist",
            "MNIST handwritten digits",
            "CC BY-SA 3.0",
            "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document "
            "recognition. Proc. IEEE 86, 2278-2324 (1998)",
            "10.1109/5.726791",
            "paraspike.datasets.idx",
            10,
            784,
            {"train": 60000, "test": 10000},
            None,
            {
                "train": (
                    _idx(
                        "train-images-idx3-ubyte",
                        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                        9912422,
                        "6bbc9ace898e44ae57da46a324031adb",
                    ),
                    _idx(
                        "train-labels-idx1-ubyte",
                        "d53e105ee54ea40749a09fcbcd1e9432",
                        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                        28881,
                        "a25bea736e30d166cdddb491f175f624",
                    ),
                ),
                "test": (
                    _idx(
                        "t10k-images-idx3-ubyte",
                        "9fb629c4189551a2d022fa330f9573f3",
                        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                        1648877,
                        "2646ac647ad5339dbf082846283269ea",
                    ),
                    _idx(
                        "t10k-labels-idx1-ubyte",
                        "ec29112dd5afa0611ce80d1b7f02629c",
                        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                        4542,
                        "27ae3e4e09519cfbb04c329615203637",
                    ),
                ),
            },
        ),
        Dataset(
            "nmnist",
            "Neuromorphic MNIST",
            "CC BY-SA 4.0",
            "Orchard, Jayawant, Cohen, Thakor: Converting static image datasets to spiking "
            "neuromorphic datasets using saccades. Front. Neurosci. 9, 437 (2015)",
            "10.3389/fnins.2015.00437",
            "paraspike.datasets.nmnist",
            10,
            34 * 34 * 2,
            {"train": 60000, "test": 10000},
            1.0,
            {
                "train": _nmnist(
                    "train",
                    "39c25547-014b-4137-a934-9d29fa53c7a0",
                    "20959b8e626244a1b502305a9e6e2031",
                ),
                "test": _nmnist(
                    "test",
                    "05a4d654-7e03-4c15-bdfa-9bb2bcbea494",
                    "69ca8762b2fe404d9b9bad1103e97832",
                ),
            },
        ),
        Dataset(
            "dvsgesture",
            "DVS128 Gesture, cut into one gesture per recording by tonic",
            "CC BY 4.0",
            "Amir et al.: A low power, fully event-based gesture recognition system. "
            "CVPR, 7243-7252 (2017)",
            "10.1109/CVPR.2017.781",
            "paraspike.datasets.dvsgesture",
            11,
            128 * 128 * 2,
            {"train": 1077, "test": 264},
            60.0,
            {
                "train": _gesture("Train", "38022171", "3a8f0d4120a166bac7591f77409cb105"),
                "test": _gesture("Test", "38020584", "56070e45dadaa85fff82e0fbfbc06de5"),
            },
        ),
        Dataset(
            "digits",
            "Optical recognition of handwritten digits, as scikit-learn ships it",
            "CC BY 4.0",
            "Alpaydin, Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning "
            "Repository (1998)",
            "10.24432/C50P49",
            "paraspike.datasets.digits",
            10,
            784,
            {"train": 1437, "test": 360},
        ),
        Dataset(
            "cochlea",
            "Synthetic word-like recordings in the layout of SHD, generated",
            "MIT",
            "paraspike, this repository",
            "",
            "paraspike.datasets.cochlea",
            20,
            700,
            {"train": 1000, "test": 500},
            2.0,
        ),
        Dataset(
            "blobs",
            "Synthetic event-camera recordings in the layout of N-MNIST, generated",
            "MIT",
            "paraspike, this repository",
            "",
            "paraspike.datasets.blobs",
            10,
            34 * 34 * 2,
            {"train": 1000, "test": 500},
            1.0,
        ),
        Dataset(
            "modulation",
            "Synthetic radio recordings of RadioML's eleven modulations as constellation maps, generated",
            "MIT",
            "paraspike, this repository",
            "",
            "paraspike.datasets.modulation",
            11,
            16 * 16,
            {"train": 1000, "test": 500},
            0.064,
        ),
    )
}


def dataset(name: str) -> Dataset:
    """The registry's entry of that name.

    Raises:
        ReaderError: no such data set.
    """
    if name not in DATASETS:
        raise ReaderError(
            f"data set {name!r} is unknown", "registry", f"one of {', '.join(DATASETS)}"
        )
    return DATASETS[name]


def parts(name: str, split: str) -> tuple[tuple[SourceFile, ...], ...]:
    """The files of a split, each with its alternatives; empty for embedded sets.

    Raises:
        ReaderError: no such data set or split.
    """
    found = dataset(name)
    if split not in found.counts:
        raise ReaderError(f"split {split!r} of {name} is unknown", "registry", "train or test")
    return found.parts.get(split, ())
