"""A smartwatch worn during shoulder exercises: real recordings of two sensors (D. Burns and others, 2018)."""

from __future__ import annotations

import numpy as np
import torch

from .dataset import MultimodalDataset
from .items import check_split, packaged, whole

PEOPLE = 10
FOLDS = 5
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


def people(split: str, fold: int) -> tuple[int, ...]:
    """The people in a split: two in test, the one after them in valid, the other seven in train.

    Over the five folds each of the ten people is in test once.

    Examples:
        >>> [people(split, fold=4) for split in ("test", "valid", "train")]
        [(9, 10), (1,), (2, 3, 4, 5, 6, 7, 8)]
    """
    fold = whole("smartwatch", "fold", fold, 0, FOLDS - 1)
    order = [(2 * fold + k) % PEOPLE + 1 for k in range(PEOPLE)]
    start, stop = {"test": (0, 2), "valid": (2, 3), "train": (3, PEOPLE)}[check_split(split)]
    return tuple(sorted(order[start:stop]))


def smartwatch(split: str, *, fold: int = 0, hop: int = _LENGTH) -> MultimodalDataset:
    """Windows of two seconds from recordings of seven exercises; no person is in two splits.

    Args:
        split: ``"train"`` (seven people), ``"valid"`` (one) or ``"test"`` (two).
        fold: which two people are in test, 0 to 4: people 2 fold + 1 and 2 fold + 2 of the ten.
        hop: samples from the start of a window to the next, at 25 Hz; below 50 the windows overlap.

    Returns:
        ``"accelerometer"`` in g and ``"gyroscope"`` in rad/s, float32 (N, 50, 3); ``"label"``, the index in
        ``EXERCISES``, and ``"recording_label"``, which recording a window is from, both int64 (N,).

    Raises:
        ValueError: no such split or fold, or a hop below 1.

    Examples:
        >>> smartwatch("valid")[0]["gyroscope"].shape
        torch.Size([50, 3])
    """
    hop = whole("smartwatch", "hop", hop, 1)
    chosen = people(split, fold)
    data = packaged("smartwatch.npz")
    ends = np.cumsum(data["lengths"])
    windows, labels, recordings = [], [], []
    for i in np.flatnonzero(np.isin(data["subjects"], chosen)):
        signal = data["signals"][ends[i] - data["lengths"][i] : ends[i]].astype(np.float32)
        for start in range(0, len(signal) - _LENGTH + 1, hop):
            windows.append(signal[start : start + _LENGTH])
            labels.append(int(data["labels"][i]))
            recordings.append(int(i))
    x = torch.from_numpy(np.stack(windows))
    return MultimodalDataset(
        {
            "accelerometer": x[..., :3].contiguous(),
            "gyroscope": x[..., 3:].contiguous(),
            "label": torch.tensor(labels),
            "recording_label": torch.tensor(recordings),
        }
    )
