"""Tensors on any device: as NumPy arrays, and copied from one device to another."""

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


def on_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; the program goes on while it is copied to a GPU.

    Not to the CPU, where it would go on with numbers that are not there yet, nor to Apple's GPU (MPS), where the copy
    may be made after the memory of x is freed (PyTorch issue 189690).
    """
    return x.to(device, non_blocking=device.type not in ("cpu", "mps"))


def _without_tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, list | tuple):
        return [_without_tensors(part) for part in value]
    return value
