"""MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges, 1998), read from the original IDX files.

An IDX file is a big-endian header (magic number, then the size of each axis) and the raw bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .download import RemoteFile, fetch
from .items import Items, check_split

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FILES: Mapping[str, RemoteFile] = MappingProxyType(
    {
        key: RemoteFile(f"mnist/{name}", tuple(mirror + name for mirror in _MIRRORS), f"md5:{md5}")
        for key, name, md5 in (
            ("train-images", "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels", "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("test-images", "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("test-labels", "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        )
    }
)


def mnist(split: str, *, folder: str | Path | None = None, files: Mapping[str, RemoteFile] = FILES) -> Items:
    """The handwritten digits of a split, downloaded (12 MB) the first time.

    The test split is the official one (10,000). The valid split is the last twelfth of the official training
    images (5,000 of 60,000), the train split is the rest (55,000).

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``.
        folder: the cache folder; see ``cache_folder``.
        files: where the four files come from.

    Returns:
        Values float32 (N, 1, 28, 28) in [0, 1], white ink on black; labels 0 to 9; no groups (the files
        do not say who wrote what).

    Raises:
        ValueError: no such split, or a file that is not what it should be.
        DownloadError: a file could not be fetched.
    """
    part = "test" if check_split(split) == "test" else "train"
    images_path, labels_path = (fetch(files[f"{part}-{kind}"], folder) for kind in ("images", "labels"))
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if images.shape[1:] != (28, 28) or len(images) != len(labels):
        raise ValueError(
            f"{images_path}: images {images.shape} and labels {labels.shape} should be (N, 28, 28) and (N,)"
        )
    if labels.max(initial=0) > 9:
        raise ValueError(f"{labels_path}: labels should be 0 to 9, found {labels.max()}")
    if part == "train":
        first_valid = len(images) - len(images) // 12
        chosen = slice(first_valid, None) if split == "valid" else slice(first_valid)
        images, labels = images[chosen], labels[chosen]
    return Items(images[:, None].astype(np.float32) / 255, labels.astype(np.int64))


def read_idx(path: str | Path, *, ndim: int) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of unsigned bytes.

    Args:
        path: the file, ``*-ubyte.gz``.
        ndim: how many axes it must have.

    Returns:
        uint8, of the shape in the header.

    Raises:
        ValueError: not gzip, not IDX, another kind of number, another ``ndim``, or cut off.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cut off, or not a gzip file ({error})") from error
    magic, start = bytes([0, 0, 8, ndim]), 4 + 4 * ndim  # 8 says unsigned bytes; ndim sizes of 4 bytes follow
    if content[:4] != magic or len(content) < start:
        raise ValueError(f"{path}: starts with {content[:4].hex()}, not with {magic.hex()} and {ndim} sizes")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path}: the header says {shape}, but {len(content) - start:,} bytes follow it")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
