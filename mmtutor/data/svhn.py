"""SVHN: house numbers photographed in the street, cropped to one digit (Netzer et al., 2011).

The files are MATLAB 5: ``X`` is (32, 32, 3, N), ``y`` is (N, 1) from 1 to 10, where 10 means the digit 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .download import RemoteFile, fetch
from .items import Items, check_split

FILES: Mapping[str, RemoteFile] = MappingProxyType(
    {
        part: RemoteFile(
            f"svhn/{part}_32x32.mat",
            (f"http://ufldl.stanford.edu/housenumbers/{part}_32x32.mat",),
            f"md5:{md5}",
        )
        for part, md5 in (
            ("train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            ("test", "eb5a983be6a315427106f1b164d9cef3"),
            ("extra", "a93ce644f1a588dc4d68dda5feec44a7"),
        )
    }
)


def svhn(
    split: str,
    *,
    folder: str | Path | None = None,
    extra: bool = False,
    files: Mapping[str, RemoteFile] = FILES,
) -> Items:
    """The street digits of a split, downloaded the first time (train 182 MB, test 64 MB, extra 1.3 GB).

    The test split is the official one (26,032). The valid split is the last tenth of the official training
    crops (7,325 of 73,257): crops of one photograph are next to each other in the file, so a single cut
    keeps them in one split, which a random choice would not. The train split is the rest (65,932).

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``.
        folder: the cache folder; see ``cache_folder``.
        extra: append the 531,131 easier extra crops to the train split (1.6 GB more in memory, and twice
            that while they are read).
        files: where the files come from.

    Returns:
        Values uint8 (N, 3, 32, 32), to be divided by 255: as float32 the train split alone would take
        0.8 GB. Labels 0 to 9. No groups: the files do not say which photograph a crop is from.

    Raises:
        ValueError: no such split, or a file that is not what it should be.
        DownloadError: a file could not be fetched.
    """
    if check_split(split) == "test":
        return Items(*read_crops(fetch(files["test"], folder)))
    images, labels = read_crops(fetch(files["train"], folder))
    first_valid = len(images) - len(images) // 10
    if split == "valid":
        return Items(images[first_valid:].copy(), labels[first_valid:])  # lets go of the rest
    images, labels = images[:first_valid], labels[:first_valid]
    if extra:
        more_images, more_labels = read_crops(fetch(files["extra"], folder))
        images, labels = np.concatenate([images, more_images]), np.concatenate([labels, more_labels])
    return Items(images, labels)


def read_crops(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of one ``*_32x32.mat`` file.

    Args:
        path: the file.

    Returns:
        Images uint8 (N, 3, 32, 32) and labels int64 (N,) from 0 to 9.

    Raises:
        ValueError: not a MATLAB 5 file, ``X`` or ``y`` missing, or of another shape, kind or range.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
    except MemoryError:
        raise
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise ValueError(f"{path}: cut off, or not a MATLAB 5 file ({error})") from error
    if not {"X", "y"} <= content.keys():
        raise ValueError(f"{path}: should hold X and y, holds {sorted(k for k in content if k[0] != '_')}")
    X, y = content["X"], content["y"]
    if X.ndim != 4 or X.shape[:3] != (32, 32, 3) or X.dtype != np.uint8 or y.shape != (X.shape[3], 1):
        raise ValueError(
            f"{path}: X should be uint8 (32, 32, 3, N) and y (N, 1), got {X.dtype} {X.shape} and {y.shape}"
        )
    if not np.isin(y, np.arange(1, 11)).all():
        raise ValueError(f"{path}: y should be 1 to 10, found {y.min()} to {y.max()}")
    return np.ascontiguousarray(X.transpose(3, 2, 0, 1)), y[:, 0].astype(np.int64) % 10
