"""SVHN from MATLAB 5 files in the real format, made here and served by this machine."""

import io

import numpy as np
import pytest
from scipy.io import savemat

from mmtutor.data.download import DownloadError
from mmtutor.data.svhn import FILES, read_crops, svhn

RNG = np.random.default_rng(0)
COUNTS = {"train": 30, "test": 5, "extra": 7}
X = {part: RNG.integers(0, 256, (32, 32, 3, n), np.uint8) for part, n in COUNTS.items()}
Y = {part: np.resize(np.arange(10, 0, -1, dtype=np.uint8), (n, 1)) for part, n in COUNTS.items()}


def mat(**variables):
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


@pytest.fixture
def files(server):
    return {part: server.remote(FILES[part].name, mat(X=X[part], y=Y[part])) for part in COUNTS}


def check(items, *expected):
    """The items are, pixel by pixel, these (part, indices) of the files."""
    assert items.values.dtype == np.uint8
    assert items.labels.dtype == np.int64
    assert items.groups is None
    assert items.values.flags.c_contiguous
    wanted = [(part, k) for part, indices in expected for k in indices]
    assert len(items.values) == len(items.labels) == len(wanted)
    for image, label, (part, k) in zip(items.values, items.labels, wanted, strict=True):
        for channel in range(3):
            np.testing.assert_array_equal(image[channel], X[part][:, :, channel, k])
        assert label == (0 if Y[part][k, 0] == 10 else Y[part][k, 0])


def test_the_splits(files, tmp_path):
    """Official test crops; the last tenth of the training crops is valid, in one piece."""
    check(svhn("train", folder=tmp_path, files=files), ("train", range(27)))
    check(svhn("valid", folder=tmp_path, files=files), ("train", range(27, 30)))
    check(svhn("test", folder=tmp_path, files=files), ("test", range(5)))


def test_extra_is_added_to_train_only(files, server, tmp_path):
    check(svhn("valid", folder=tmp_path, files=files, extra=True), ("train", range(27, 30)))
    check(svhn("test", folder=tmp_path, files=files, extra=True), ("test", range(5)))
    assert not any("extra" in path for path, _ in server.requests)
    train = svhn("train", folder=tmp_path, files=files, extra=True)
    check(train, ("train", range(27)), ("extra", range(7)))


def test_a_valid_split_does_not_keep_the_whole_file_in_memory(files, tmp_path):
    assert svhn("valid", folder=tmp_path, files=files).values.base is None


def test_an_unknown_split_names_the_three_before_any_download(files, server, tmp_path):
    with pytest.raises(ValueError, match="train, valid, test, got 'extra'"):
        svhn("extra", folder=tmp_path, files=files)
    assert server.requests == []


def test_a_failed_download_is_named(files, server, tmp_path):
    server.answers.clear()
    with pytest.raises(DownloadError, match=r"could not download test_32x32\.mat"):
        svhn("test", folder=tmp_path, files=files)


class Spy:
    """A pickle of this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


GOOD = mat(X=X["test"], y=Y["test"])


def with_label(value, kind=np.uint8):
    y = Y["test"].astype(kind)
    y[2] = value
    return mat(X=X["test"], y=y)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (mat(y=Y["test"]), r"should hold X and y, holds \['y'\]"),
        (mat(X=X["test"]), r"should hold X and y, holds \['X'\]"),
        (mat(X=X["test"][:31], y=Y["test"]), r"\(31, 32, 3, 5\)"),
        (mat(X=X["test"].transpose(3, 0, 1, 2), y=Y["test"]), r"\(5, 32, 32, 3\)"),
        (mat(X=X["test"].astype(np.float64), y=Y["test"]), "got float64"),
        (mat(X=X["test"], y=Y["test"][:4]), r"and \(4, 1\)"),
        (mat(X=X["test"][..., 0], y=Y["test"][:1]), r"got uint8 \(32, 32, 3\)"),
        (mat(X="text", y="text"), "X should be uint8"),
        (with_label(0), "y should be 1 to 10, found 0"),
        (with_label(11), "y should be 1 to 10, found 6 to 11"),
        (with_label(1.5, np.float64), "y should be 1 to 10"),
        (with_label(np.nan, np.float64), "y should be 1 to 10"),
        (GOOD[: len(GOOD) // 2], "cut off, or not a MATLAB 5 file"),
        (GOOD[:100], "cut off, or not a MATLAB 5 file"),
        (b"", "cut off, or not a MATLAB 5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(512), "cut off, or not a MATLAB 5 file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_file_is_named(files, server, tmp_path, content, says):
    files["test"] = server.remote("svhn/test_32x32.mat", content)
    with pytest.raises(ValueError, match=says) as caught:
        svhn("test", folder=tmp_path, files=files)
    assert str(tmp_path / "svhn" / "test_32x32.mat") in str(caught.value)


def test_a_truncated_file_is_never_read(tmp_path):
    path = tmp_path / "x_32x32.mat"
    for length in range(0, len(GOOD) - 1, 97):
        path.write_bytes(GOOD[:length])
        with pytest.raises(ValueError, match=r"x_32x32\.mat: "):
            read_crops(path)


def test_too_little_memory_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch):
    def too_large(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("scipy.io.loadmat", too_large)
    with pytest.raises(MemoryError):
        read_crops(tmp_path / "x.mat")


def test_a_pickle_is_not_run(tmp_path):
    import pickle

    path, made = tmp_path / "x.mat", tmp_path / "made"
    path.write_bytes(pickle.dumps(Spy(made)))
    with pytest.raises(ValueError, match=r"x\.mat: cut off, or not a MATLAB 5 file"):
        read_crops(path)
    assert not made.exists()
