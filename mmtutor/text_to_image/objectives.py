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
    Only some use the wrong sentences.

    Attributes:
        least: the fewest examples of a batch.
        penalty: γ, the weight of gradient penalties.
    """

    least = 1
    penalty = 0.0

    @abstractmethod
    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """The discriminator's loss, ()."""

    @abstractmethod
    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """The generator's loss, ()."""


class ConditionalGAN(Objective):
    """Real or false? The sentence is shown, but no pair is wrong because of it."""

    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """−log σ(D(x, s)) − log σ(−D(x̂, s))."""
        of_real, of_fake = judge([(real, sentence), (fake, sentence)])
        return (F.softplus(-of_real) + F.softplus(of_fake)).mean()

    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """−log σ(D(x̂, s))."""
        _, of_fake = judge([(real, sentence), (fake, sentence)])
        return F.softplus(-of_fake).mean()


class MatchingAware(Objective):
    """GAN-CLS (Reed and others, 2016): real pictures with a sentence s′ that does not fit are wrong, too.

    If s′ is that of another example, of K sentences one in K is the right one by chance. With the best discriminator
    the optimum is not the data: it is 2 p(x | s) − w(x | s), where that is a distribution. w(x | s) is
    how often s is shown with x as a wrong pair; for random pairs that is p(x).
    """

    least = 2

    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """−log σ(D(x, s)) − ½ [log σ(−D(x, s′)) + log σ(−D(x̂, s))]."""
        of_real, of_wrong, of_fake = judge([(real, sentence), (real, wrong), (fake, sentence)])
        return (F.softplus(-of_real) + (F.softplus(of_wrong) + F.softplus(of_fake)) / 2).mean()

    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """−log σ(D(x̂, s))."""
        *_, of_fake = judge([(real, sentence), (real, wrong), (fake, sentence)])
        return F.softplus(-of_fake).mean()


class Relativistic(Objective):
    """Is the real one more real than the fake one? With gradient penalties at both, as in R3GAN (Huang, 2024).

    A penalty needs logits that depend on their own picture alone, so no batch normalisation in the discriminator.

    Args:
        penalty: γ, at least 0. It weighs a sum over pixels, so the larger a picture the more it does; and for pictures
            in [0, 1] four times as much as for those from −1 to 1, for which papers state it.
    """

    def __init__(self, penalty: float = 0.1) -> None:
        super().__init__()
        self.penalty = number("Relativistic", "penalty", penalty)

    def discriminator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """−log σ(D(x, s) − D(x̂, s)) + γ/2 (R₁ + R₂)."""
        if not self.penalty:
            of_real, of_fake = judge([(real, sentence), (fake, sentence)])
            return F.softplus(of_fake - of_real).mean()
        with torch.enable_grad():  # the penalty is a gradient, in validation as well
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
            of_real, of_fake = judge([(real, sentence), (fake, sentence)])
            slopes = torch.autograd.grad((of_real + of_fake).sum(), (real, fake), create_graph=True)
            penalties = [slope.to(of_real.dtype).square().flatten(1).sum(1).mean() for slope in slopes]  # R₁, R₂
            return F.softplus(of_fake - of_real).mean() + self.penalty / 2 * (penalties[0] + penalties[1])

    def generator(self, judge: Judge, real: Tensor, fake: Tensor, sentence: Tensor, wrong: Tensor) -> Tensor:
        """−log σ(D(x̂, s) − D(x, s))."""
        of_real, of_fake = judge([(real, sentence), (fake, sentence)])
        return F.softplus(of_real - of_fake).mean()
