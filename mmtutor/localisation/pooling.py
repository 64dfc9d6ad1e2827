"""Pooling: from a map over the regions to one number, how well both fit. Equations: see ``__init__.py``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import number


class Pooling(nn.Module, ABC):
    """Abstract: which regions count, and how much."""

    @abstractmethod
    def forward(self, maps: Tensor) -> Tensor:
        """Maps (…, L) to how well picture and sound fit, (…)."""


class Mean(Pooling):
    """All regions count the same.

    Examples:
        >>> Mean()(torch.tensor([0.0, 1.0]))
        tensor(0.5000)
    """

    def forward(self, maps: Tensor) -> Tensor:
        """See `Pooling.forward`."""
        return maps.mean(-1)


class Max(Pooling):
    """The best region counts alone, and it alone has a gradient.

    Examples:
        >>> Max()(torch.tensor([0.0, 1.0]))
        tensor(1.)
    """

    def forward(self, maps: Tensor) -> Tensor:
        """See `Pooling.forward`."""
        return maps.amax(-1)


class Attention(Pooling):
    """Regions count by a softmax of the map itself. The gradient of Σ p m also says where to look.

    Args:
        sharpness: r, above 0.

    Examples:
        >>> Attention(1.0)(torch.tensor([0.0, 1.0]))
        tensor(0.7311)
    """

    def __init__(self, sharpness: float = 14.0) -> None:
        super().__init__()
        self.sharpness = number("Attention", "sharpness", sharpness, above=True)

    def forward(self, maps: Tensor) -> Tensor:
        """See `Pooling.forward`."""
        p = (self.sharpness * maps).softmax(-1)  # (…, L)
        return (p * maps).sum(-1)


class LogSumExp(Pooling):
    """A soft maximum, between mean and maximum: its gradient is softmax(r m), so the best regions move most.

    Args:
        sharpness: r, above 0.

    Examples:
        >>> LogSumExp(1.0)(torch.tensor([0.0, 1.0]))
        tensor(0.6201)
    """

    def __init__(self, sharpness: float = 14.0) -> None:
        super().__init__()
        self.sharpness = number("LogSumExp", "sharpness", sharpness, above=True)

    def forward(self, maps: Tensor) -> Tensor:
        """See `Pooling.forward`."""
        return (torch.logsumexp(self.sharpness * maps, -1) - math.log(maps.shape[-1])) / self.sharpness


class Positives(Pooling):
    """Regions count that are more similar than ε; those below a second threshold are the picture's own background.

    Args:
        positive: ε of the regions that count.
        negative: ε of the background, at most that; between the two thresholds a region is neither.
        temperature: τ, how soft the thresholds are.

    Examples:
        >>> pooling, maps = Positives(), torch.tensor([0.0, 0.5, 1.0])
        >>> pooling(maps), pooling.background(maps)
        (tensor(0.9967), tensor(0.0166))
    """

    def __init__(self, positive: float = 0.65, negative: float = 0.4, temperature: float = 0.03) -> None:
        super().__init__()
        self.positive = number("Positives", "positive", positive, -1, 1)
        self.negative = number("Positives", "negative", negative, -1, self.positive)
        self.temperature = number("Positives", "temperature", temperature, above=True)

    def forward(self, maps: Tensor) -> Tensor:
        """See `Pooling.forward`."""
        return _weighted((maps - self.positive) / self.temperature, maps)

    def background(self, maps: Tensor) -> Tensor:
        """How similar the regions below the second threshold are, (…)."""
        return _weighted((self.negative - maps) / self.temperature, maps)


def _weighted(x: Tensor, maps: Tensor) -> Tensor:
    """Σ w m / Σ w with w = σ(x), also where all w are too small for their float type."""
    return (F.logsigmoid(x).softmax(-1) * maps).sum(-1)
