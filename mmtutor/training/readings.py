"""The terms of the last steps, read back from the device as seldom as can be.

A program that reads a number from a GPU waits until the GPU has computed it, and hands it nothing new to do meanwhile.
So what steps measure stays on the device, and many steps are read at once. On the CPU nobody waits; each step is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmtutor.training.processes import Share

EVERY = 50  # steps


class Reading(NamedTuple):
    """What a step measured."""

    where: str
    size: int
    means: dict[str, float]


class Readings:
    """What steps measured and nobody has read yet.

    Args:
        share: this process's part of each batch.
        every: so many steps are read at once.
    """

    def __init__(self, share: Share, every: int) -> None:
        self.share, self.every = share, every
        self.waiting: list[tuple[str, int, float, tuple[str, ...], Tensor]] = []

    def add(self, terms: Mapping[str, Tensor], where: str, size: int, weight: float) -> None:
        """Keep the terms of a step, scalars on the device, each a mean over ``weight`` of a batch of that size."""
        device = next(iter(terms.values())).device
        values = torch.stack([value.detach().to(device) for value in terms.values()])  # (n,)
        self.waiting.append((where, size, weight, tuple(terms), values))

    @property
    def due(self) -> bool:
        """Whether it is time to read."""
        return len(self.waiting) >= self.every

    def read(self) -> list[Reading]:
        """What has not been read, in the order of the steps: one wait for all."""
        if not self.waiting:
            return []
        wheres, sizes, weights, names, values = zip(*self.waiting, strict=True)
        self.waiting = []
        flat = iter(torch.cat(values).tolist())
        rows = self.share.means([[next(flat) for _ in own] for own in names], list(weights))
        steps = zip(wheres, sizes, names, rows, strict=True)
        return [Reading(where, size, dict(zip(own, row, strict=True))) for where, size, own, row in steps]
