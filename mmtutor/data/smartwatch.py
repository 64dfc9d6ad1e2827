"""A smartwatch on a shoulder patient's wrist: real recordings of two sensors (D. Burns and others, 2018)."""

from __future__ import annotations

import numpy as np
import torch

from .items import check_split, packaged
from .senses import Senses

SUBJECTS = {"train": (1, 2, 3, 4, 5, 6), "valid": (7,), "test": (8, 9, 10)}
EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "row",
)
_LENGTH = 50  # samples: two seconds at 25 Hz


def smartwatch(split: str, *, hop: int = _LENGTH) -> Senses:
    """Windows of two seconds from recordings of seven exercises; no person is in two splits.

    Args:
        split: ``"train"`` (six people), ``"valid"`` (one) or ``"test"`` (three).
        hop: samples from the start of a window to the next, at 25 Hz; below 50 the windows overlap.

    Returns:
        ``"accelerometer"`` in g and ``"gyroscope"`` in rad/s, float32 (N, 50, 3); ``"label"``, the place in
        ``EXERCISES``, and ``"recording_label"``, which recording a window is from, both int64 (N,).

    Raises:
        ValueError: no such split, or a hop below 1.

    Examples:
        >>> smartwatch("valid")[0]["gyroscope"].shape
        torch.Size([50, 3])
    """
    if hop < 1:
        raise ValueError(f"smartwatch: hop must be at least 1 sample, got {hop}")
    people = SUBJECTS[check_split(split)]
    data = packaged("smartwatch.npz")
    ends = np.cumsum(data["lengths"])
    windows, labels, recordings = [], [], []
    for i in np.flatnonzero(np.isin(data["subjects"], people)):
        signal = data["signals"][ends[i] - data["lengths"][i] : ends[i]].astype(np.float32)
        for start in range(0, len(signal) - _LENGTH + 1, hop):
            windows.append(signal[start : start + _LENGTH])
            labels.append(int(data["labels"][i]))
            recordings.append(int(i))
    x = torch.from_numpy(np.stack(windows))
    return Senses(
        {
            "accelerometer": x[..., :3].contiguous(),
            "gyroscope": x[..., 3:].contiguous(),
            "label": torch.tensor(labels),
            "recording_label": torch.tensor(recordings),
        }
    )
