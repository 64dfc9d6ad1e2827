"""MNIST from IDX files in the real format, made here and served by this machine."""

import gzip
import struct

import numpy as np
import pytest

from mmtutor.data.download import DownloadError
from mmtutor.data.mnist import FILES, mnist, read_idx

RNG = np.random.default_rng(0)
IMAGES = {
    "train": RNG.integers(0, 256, (60, 28, 28), np.uint8),
    "test": RNG.integers(0, 256, (6, 28, 28), np.uint8),
}
LABELS = {part: RNG.integers(0, 10, len(images), np.uint8) for part, images in IMAGES.items()}


def idx(array, magic=None):
    magic = 0x00000800 + array.ndim if magic is None else magic
    return struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.tobytes()


@pytest.fixture
def files(server):
    return {
        f"{part}-{kind}": server.remote(FILES[f"{part}-{kind}"].name, gzip.compress(idx(arrays[part])))
        for kind, arrays in (("images", IMAGES), ("labels", LABELS))
        for part in ("train", "test")
    }


def test_the_splits(files, tmp_path):
    """Official test images; the last twelfth of the training images is valid (5,000 of 60,000)."""
    for split, part, chosen in [
        ("train", "train", slice(55)),
        ("valid", "train", slice(55, 60)),
        ("test", "test", slice(6)),
    ]:
        items = mnist(split, folder=tmp_path, files=files)
        assert items.values.dtype == np.float32
        assert items.labels.dtype == np.int64
        assert items.groups is None
        np.testing.assert_array_equal(items.values, IMAGES[part][chosen, None] / np.float32(255))
        np.testing.assert_array_equal(items.labels, LABELS[part][chosen])
        assert items.values.max() == 1


def test_files_are_downloaded_once_and_only_when_needed(files, server, tmp_path):
    for split in ("train", "valid", "train"):
        mnist(split, folder=tmp_path, files=files)
    assert sorted(path for path, _ in server.requests) == [
        "/mnist/train-images-idx3-ubyte.gz",
        "/mnist/train-labels-idx1-ubyte.gz",
    ]


def test_the_cache_can_be_chosen_by_a_variable(files, tmp_path, monkeypatch):
    monkeypatch.setenv("MMTUTOR_DATA", str(tmp_path))
    mnist("test", files=files)
    assert (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").is_file()


def test_an_unknown_split_names_the_three_before_any_download(files, server, tmp_path):
    with pytest.raises(ValueError, match="train, valid, test, got 'val'"):
        mnist("val", folder=tmp_path, files=files)
    assert server.requests == []


def test_every_file_has_two_mirrors_and_a_checksum():
    for file in FILES.values():
        assert [url.rpartition("/")[0] for url in file.urls] == [
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ]
        assert all(url.endswith(file.name.removeprefix("mnist/")) for url in file.urls)
    assert len({file.hash for file in FILES.values()}) == 4


def test_a_failed_download_is_named(files, server, tmp_path):
    server.answers.clear()
    with pytest.raises(DownloadError, match=r"could not download t10k-images-idx3-ubyte\.gz"):
        mnist("test", folder=tmp_path, files=files)


GOOD = idx(IMAGES["test"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(idx(IMAGES["test"], 0x00000D03)), "starts with 00000d03"),  # floats
        (gzip.compress(idx(LABELS["test"])), "starts with 00000801"),  # labels for images
        (gzip.compress(b""), "starts with "),
        (gzip.compress(GOOD[:10]), "not with 00000803 and 3 sizes"),
        (gzip.compress(GOOD[:-1]), "4,703 bytes follow"),
        (gzip.compress(GOOD + b"x"), "4,705 bytes follow"),
        (gzip.compress(struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1)), "0 bytes follow"),
        (gzip.compress(GOOD)[:-500], "cut off"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "cut off, or not a gzip file"),
        (gzip.compress(GOOD)[:10] + b"\xff" * 99, "cut off, or not a gzip file"),
        (GOOD, "not a gzip file"),
        (b"", "starts with "),
        (gzip.compress(idx(IMAGES["test"][:, :, :27])), r"\(6, 28, 27\)"),
        (gzip.compress(idx(IMAGES["test"][:5])), r"images \(5, 28, 28\) and labels \(6,\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_image_file_is_named(files, server, tmp_path, content, says):
    files["test-images"] = server.remote("mnist/t10k-images-idx3-ubyte.gz", content)
    with pytest.raises(ValueError, match=says) as caught:
        mnist("test", folder=tmp_path, files=files)
    assert str(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz") in str(caught.value)


def test_a_label_above_nine_is_refused(files, server, tmp_path):
    bad = gzip.compress(idx(np.array([0, 1, 2, 3, 4, 10], np.uint8)))
    files["test-labels"] = server.remote("mnist/t10k-labels-idx1-ubyte.gz", bad)
    with pytest.raises(ValueError, match=r"labels-idx1-ubyte\.gz: labels should be 0 to 9, found 10"):
        mnist("test", folder=tmp_path, files=files)


def test_a_truncated_idx_file_is_never_read(tmp_path):
    whole = gzip.compress(idx(LABELS["train"]))
    for length in range(len(whole)):
        (tmp_path / "x").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(tmp_path / "x")):
            read_idx(tmp_path / "x", ndim=1)
