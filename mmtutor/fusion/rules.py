"""The rules: each merges class probabilities pₘ = p(y | xₘ) of M modalities, for `DecisionFusion`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from .checks import kind, whole


class Rule(nn.Module, ABC):
    """Abstract: merges class probabilities pₘ = p(y | xₘ) of M modalities (Kittler et al., 1998)."""

    @abstractmethod
    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Merge log pₘ, (B, M, C), where ``present``, bool (B, M), is true, to log-probabilities (B, C).

        Both may be on any device; the result is on that of the rule's parameters, without any on that of log pₘ.
        """


class MeanRule(Rule):
    """Σ pₘ / M over the modalities that are there.

    Examples:
        >>> p = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]])
        >>> MeanRule()(p.log(), torch.ones(1, 2, dtype=torch.bool)).exp()
        tensor([[0.7000, 0.3000]])
    """

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Log Σ pₘ / M."""
        present = present.to(log_p.device)
        log_p = log_p.masked_fill(~present[..., None], -torch.inf)  # (B, M, C)
        count = present.sum(1, keepdim=True).to(log_p)  # (B, 1)
        return log_p.logsumexp(1) - count.log()  # (B, C)


class ProductRule(Rule):
    """∏ pₘ / p(y)^(M−1): the exact posterior if modalities are independent given the class.

    Every pₘ holds the prior once, so M − 1 of them are divided out. A missing modality is left out.

    Args:
        prior: class probabilities p(y), float (C,), all positive; None: equal.

    Raises:
        TypeError: the prior is no tensor.
        ValueError: it is not positive probabilities that add up to one.

    Examples:
        >>> p = torch.tensor([[[0.9, 0.1], [0.9, 0.1]]])
        >>> ProductRule()(p.log(), torch.ones(1, 2, dtype=torch.bool)).exp()
        tensor([[0.9878, 0.0122]])
    """

    log_prior: Tensor

    def __init__(self, prior: Tensor | None = None) -> None:
        super().__init__()
        _check_prior(prior)
        self.register_buffer("log_prior", torch.zeros(()) if prior is None else prior.log())

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Σ log pₘ − (M − 1) log p(y), normalised."""
        present = present.to(log_p.device)
        total = log_p.masked_fill(~present[..., None], 0).sum(1)  # (B, C)
        count = present.sum(1, keepdim=True)  # (B, 1)
        return (total - (count - 1) * self.log_prior.to(log_p.device)).log_softmax(1)  # (B, C)


class HarmonicRule(Rule):
    """M / Σ 1/pₘ over the modalities that are there, normalised: the harmonic mean, near the smallest of them.

    A class that one modality finds unlikely is unlikely: as in a product, and unlike in `MeanRule`.

    Examples:
        >>> p = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]])
        >>> HarmonicRule()(p.log(), torch.ones(1, 2, dtype=torch.bool)).exp()  # 9/14 and 1/6, normalised
        tensor([[0.7941, 0.2059]])
    """

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """−log Σ 1/pₘ, normalised."""
        present = present.to(log_p.device)
        inverse = (-log_p).masked_fill(~present[..., None], -torch.inf)  # (B, M, C)
        return (-inverse.logsumexp(1)).log_softmax(1)  # (B, C)


class WeightedRule(Rule):
    """Σ wₘ pₘ with learned weights w = softmax(v) over the modalities that are there.

    Args:
        modalities: number M of modalities.
    """

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(whole("WeightedRule", "modalities", modalities)))

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Log Σ wₘ pₘ."""
        log_p, present = log_p.to(self.weights.device), present.to(self.weights.device)
        log_w = self.weights.masked_fill(~present, -torch.inf).log_softmax(1)  # (B, M)
        weighted = (log_p + log_w[..., None]).masked_fill(~present[..., None], -torch.inf)  # (B, M, C)
        return weighted.logsumexp(1)  # (B, C)


# ---- messages


def _check_prior(prior: Tensor | None) -> None:
    if prior is None:
        return
    if not isinstance(prior, Tensor) or not prior.is_floating_point():
        raise TypeError(f"ProductRule: prior must be a float tensor (C,), got {kind(prior)}")
    if prior.ndim != 1 or not (prior > 0).all() or abs(float(prior.sum()) - 1) > 1e-4:
        raise ValueError("ProductRule: prior must be one positive probability for each class, with the sum 1")


def check_rule(rule: Rule, modalities: int, classes: int) -> Rule:
    """A rule for so many modalities and classes, or an error."""
    if not isinstance(rule, Rule):
        raise TypeError(f"DecisionFusion: rule must be a Rule, such as ProductRule(), got {rule!r}")
    if isinstance(rule, WeightedRule) and len(rule.weights) != modalities:
        raise ValueError(f"DecisionFusion: rule has {len(rule.weights)} weights for {modalities} modalities")
    if isinstance(rule, ProductRule) and rule.log_prior.shape not in ((), (classes,)):
        raise ValueError(f"DecisionFusion: rule has a prior of {len(rule.log_prior)} classes, not {classes}")
    return rule
