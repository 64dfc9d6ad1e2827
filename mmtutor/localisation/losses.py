"""Which sound belongs to which picture? Equation and symbols: see ``__init__.py``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .checks import flag, number


class InfoNCE(nn.Module):
    """The cross-entropy, in nats, the mean of both directions. It is called as the losses of `mmtutor.embedding` are.

    Args:
        scale: t to begin with, the inverse of the temperature.
        learned: whether t is learned, as exp of a parameter.
        most: where a learned t is held.

    Examples:
        >>> loss = InfoNCE(scale=1.0)(torch.eye(2), torch.arange(2), torch.ones(2, 2, dtype=torch.bool))
        >>> f"{loss.item():.4f}", f"{math.log(1 + math.exp(-1)):.4f}"
        ('0.3133', '0.3133')
    """

    def __init__(self, scale: float = 14.0, learned: bool = True, most: float = 100.0) -> None:
        super().__init__()
        self.most = number("InfoNCE", "most", most, above=True)
        start = torch.tensor(math.log(number("InfoNCE", "scale", scale, 0, self.most, above=True)))
        self.log_scale = nn.Parameter(start, requires_grad=flag("InfoNCE", "learned", learned))

    @property
    def scale(self) -> Tensor:
        """t, ()."""
        return self.log_scale.exp()

    def forward(self, similarity: Tensor, owner: Tensor, counted: Tensor, background: Tensor | None = None) -> Tensor:
        """The loss, ().

        Args:
            similarity: S of all pictures with all sounds, (N, M).
            owner: which picture each sound belongs to, int64 (M,).
            counted: which of them count, bool (N, M).
            background: how similar the own background of each sound's picture is, (M,): one more negative, where the
                sound is sought for the picture.
        """
        if self.training and self.log_scale.requires_grad:
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(self.most))
        lowest = torch.finfo(similarity.dtype).min / 8  # its sums are finite
        s = (self.scale * similarity).masked_fill(~counted, lowest)  # (N, M)
        rows = s[owner]  # (M, M)
        if background is not None:
            rows = torch.cat([rows, self.scale * background[:, None]], 1)  # (M, M + 1)
        pair, here = s.gather(0, owner[None])[0], counted.gather(0, owner[None])[0]  # (M,)
        costs = rows.logsumexp(1) + s.logsumexp(0) - 2 * pair  # (M,)
        return torch.where(here, costs, 0).sum() / here.to(s.dtype).sum().clamp_min(1) / 2
