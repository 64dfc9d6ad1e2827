"""What a metric takes: whole numbers and matrices, from any library, or an error that names the argument."""

from __future__ import annotations

import reprlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtutor.data.arrays import to_array


def whole_numbers(what: str, name: str, value: ArrayLike, n: int) -> NDArray[np.int64]:
    """Whole numbers (n,), or an error that names them."""
    try:
        array = to_array(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {name} must be {n} whole numbers, got {reprlib.repr(value)}") from error
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.shape != (n,) or array.dtype.kind not in "iu":
        hint = "; of one-hot labels take .argmax(1)" if array.ndim == 2 else ""
        raise ValueError(f"{what}: {name} must be {n} whole numbers, ({n},), got {array.dtype} {array.shape}{hint}")
    return array.astype(np.int64)


def matrix(what: str, name: str, value: ArrayLike, least: int) -> NDArray[np.float64]:
    """Finite numbers (n, d) with n at least ``least``, or an error that names them."""
    try:
        array = to_array(value).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {name} must be numbers (n, d), got {reprlib.repr(value)}") from error
    if array.ndim != 2 or len(array) < least or not array.shape[1]:
        raise ValueError(f"{what}: {name} must be (n, d) with n at least {least} and d at least 1, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: {name} must be finite, got NaN or infinity among {array.shape}")
    return array
