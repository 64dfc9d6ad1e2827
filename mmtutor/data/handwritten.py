"""Handwritten digits: 5,000 real ones from MNIST, in the package."""

from __future__ import annotations

import numpy as np

from .items import Items, check_split, packaged

_PER_CLASS = 500
_WITHIN_CLASS = {"train": (0, 350), "valid": (350, 400), "test": (400, 500)}


def handwritten(split: str) -> Items:
    """Real MNIST digits, 350 (train), 50 (valid) or 100 (test) of each class.

    Returns:
        Items with values uint8 (N, 1, 28, 28).
    """
    data = packaged("handwritten.npz")
    start, stop = _WITHIN_CLASS[check_split(split)]
    position = np.arange(len(data["labels"])) % _PER_CLASS
    chosen = (position >= start) & (position < stop)
    return Items(data["images"][chosen][:, None], data["labels"][chosen].astype(np.int64))
