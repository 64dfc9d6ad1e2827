"""What the two players want. Equations: see ``__init__.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import number

Judge = Callable[[Sequence[tuple[Tensor, Tensor]]], list[Tensor]]
"""Pairs of pictures and sentences to their logits."""


class Objective(nn.Module, ABC):
    """Abstract: what discriminator and generator minimise.

    Both are given the same pairs, so that a discriminator which normalises over its batch sees the same batch.
    """

    @abstractmethod
    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """The discriminator's loss, ()."""

    @abstractmethod
    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """The generator's loss, ()."""


class ConditionalGAN(Objective):
    """Real or false? The sentence is shown, but no pair is wrong because of it."""

    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """−log σ(D(x, s)) − log σ(−D(x̂, s))."""
        of_real, of_fake = judge([(real, sentence), (fake, sentence)])
        return (F.softplus(-of_real) + F.softplus(of_fake)).mean()

    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """−log σ(D(x̂, s))."""
        _, of_fake = judge([(real, sentence), (fake, sentence)])
        return F.softplus(-of_fake).mean()


class MatchingAware(Objective):
    """GAN-CLS (Reed and others, 2016): real pictures with another example's sentence are wrong, too.

    With the best discriminator its optimum is not the data: 2 p(x | s) − p(x | s′), where that is a distribution.
    """

    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """−log σ(D(x, s)) − ½ [log σ(−D(x, s′)) + log σ(−D(x̂, s))]."""
        of_real, of_wrong, of_fake = judge(self._pairs(real, fake, sentence))
        return (F.softplus(-of_real) + (F.softplus(of_wrong) + F.softplus(of_fake)) / 2).mean()

    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """−log σ(D(x̂, s))."""
        *_, of_fake = judge(self._pairs(real, fake, sentence))
        return F.softplus(-of_fake).mean()

    def _pairs(self, real: Tensor, fake: Tensor, sentence: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(real, sentence), (real, sentence.roll(1, 0)), (fake, sentence)]


class Relativistic(Objective):
    """Is the real one more real than the false one? With gradient penalties at both, as in R3GAN (Huang, 2024).

    Args:
        penalty: γ, at least 0.
    """

    def __init__(self, penalty: float = 1.0) -> None:
        super().__init__()
        self.penalty = number("Relativistic", "penalty", penalty)

    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """−log σ(D(x, s) − D(x̂, s)) + γ/2 (R₁ + R₂)."""
        with torch.enable_grad():  # the penalty is a gradient, in validation as well
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
            of_real, of_fake = judge([(real, sentence), (fake, sentence)])
            loss = F.softplus(of_fake - of_real).mean()
            if self.penalty:
                slopes = torch.autograd.grad((of_real + of_fake).sum(), (real, fake), create_graph=True)
                loss = loss + self.penalty / 2 * sum(slope.square().flatten(1).sum(1).mean() for slope in slopes)
        return loss

    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
        """−log σ(D(x̂, s) − D(x, s))."""
        of_real, of_fake = judge([(real, sentence), (fake, sentence)])
        return F.softplus(of_real - of_fake).mean()
