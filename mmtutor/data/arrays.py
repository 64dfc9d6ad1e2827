"""NumPy arrays of numbers, wherever these are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray
from torch import Tensor


def to_array(value: ArrayLike, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """`numpy.asarray`, which also takes tensors on any device, and lists of them.

    A tensor gives its values without gradients. NumPy has no bfloat16: such values become float32.

    Examples:
        >>> to_array([torch.tensor(1.0, requires_grad=True), 2])
        array([1., 2.])
    """
    return np.asarray(_without_tensors(value), dtype)


def _without_tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, list | tuple):
        return [_without_tensors(part) for part in value]
    return value
