"""What a chapter claims, and how much of the machine it may use to show it."""

from __future__ import annotations

import os
import reprlib
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


def budget(*, quick: T, full: T) -> T:
    """Pick a setting by what the machine can do.

    The variable ``MMTUTOR_BUDGET`` decides if it is set to ``quick`` or ``full``; else a CUDA device means
    ``full`` and everything else ``quick`` (a laptop's built-in GPU is no place for a paper's sizes).

    Args:
        quick: the setting for a CPU.
        full: the setting for a GPU.

    Returns:
        One of the two.

    Raises:
        ValueError: ``MMTUTOR_BUDGET`` is neither.

    Examples:
        >>> budget(quick=4_000, full=60_000) in (4_000, 60_000)
        True
    """
    choice = os.environ.get("MMTUTOR_BUDGET") or ("full" if torch.cuda.is_available() else "quick")
    if choice not in ("quick", "full"):
        raise ValueError(f"MMTUTOR_BUDGET must be 'quick' or 'full', got {choice!r}")
    return quick if choice == "quick" else full


class ClaimError(AssertionError):
    """A claim of a chapter does not hold."""


def claim(sentence: str, holds: object, numbers: str = "") -> None:
    """State what was shown: print the sentence with a tick, or stop.

    Args:
        sentence: what is claimed, in words that are true on every device.
        holds: whether it is; a bool, a numpy bool or a boolean tensor of shape ``()``.
        numbers: the numbers behind it. Printed only when the claim fails, for they differ between devices.

    Raises:
        ClaimError: it does not hold.
        TypeError: ``holds`` is not one boolean.

    Examples:
        >>> late, best = 0.97, 0.95
        >>> claim("late fusion beats the best single modality", late > best, f"{late:.3f} against {best:.3f}")
        ✓ late fusion beats the best single modality
    """
    if isinstance(holds, Tensor | np.ndarray):
        single = holds.ndim == 0 and holds.dtype in (torch.bool, np.dtype(bool))
    else:
        single = isinstance(holds, bool | np.bool_)
    if not single:
        raise TypeError(f"claim: holds must be one boolean, got {type(holds).__name__} {reprlib.repr(holds)}")
    if not holds:
        raise ClaimError(f"does not hold: {sentence}" + (f" ({numbers})" if numbers else ""))
    print(f"✓ {sentence}")
