"""Source items of a modality; they are split before examples are composed from them."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "valid", "test")
MOST_EXAMPLES = 10**9  # more fit into no memory
_OTHERWISE = {"val": "valid", "validation": "valid", "dev": "valid", "development": "valid", "training": "train",
              "testing": "test"}  # fmt: skip


@dataclass(frozen=True)
class Items:
    """The source items of one modality in one split.

    Attributes:
        values: (N, ...); uint8 images mean their value divided by 255.
        labels: (N,) int64.
        groups: (N,) int64, what the split was made on (voice family, speaker, subject), or None.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None


Source = Callable[[str], Items]
"""Anything that gives the items of a split: ``source("train")``."""


def check_split(split: str, *others: str) -> str:
    """Return ``split`` if it is one of the three, or of the others, or raise a ValueError that names them."""
    if not isinstance(split, str) or split not in (*SPLITS, *others):
        lower = split.strip().lower() if isinstance(split, str) else ""
        meant = _OTHERWISE.get(lower, lower if lower in (*SPLITS, *others) else "")
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise ValueError(f"split must be one of {', '.join((*SPLITS, *others))}, got {split!r}{hint}")
    return str(split)


def whole(who: str, name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number from ``least`` to ``most``, also one of NumPy's, as an int; a bool is none.

    Raises:
        ValueError: it is something else.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{who}: {name} must be a whole number {wanted}, got {value!r}")
    return number


def example_rng(seed: int, split: str, k: int, stream: str) -> np.random.Generator:
    """The random numbers of one example and one purpose: they do not depend on how many others there are."""
    return np.random.default_rng([seed, SPLITS.index(split), k, zlib.crc32(stream.encode())])


def rows_by_digit(items: object, split: str, who: str) -> list[NDArray[np.intp]]:
    """The indices of the items of each digit, 0 to 9; ``who`` is what an error calls their source.

    Raises:
        TypeError: they are no `Items`.
        ValueError: a digit is not among them.
    """
    if not isinstance(items, Items):
        raise TypeError(f"{who} must return Items, got {type(items).__name__}")
    rows = [np.flatnonzero(items.labels == digit) for digit in range(10)]
    for digit, found in enumerate(rows):
        if not len(found):
            raise ValueError(f"{who} has no {digit} in the {split} split")
    return rows


@cache
def packaged(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a data file that comes with the package; nothing in it is unpickled."""
    with as_file(files("mmtutor.data") / "files" / name) as path, np.load(path, allow_pickle=False) as data:
        return dict(data)
