"""Likelihoods p(x|z): what a decoder's output means as a distribution of a modality.

Each function here makes a function from a decoder's output (B, ...) to a distribution of batch shape (B,), so that
``log_prob(x)`` is the sum over the numbers of an example, in nats. Any function of that kind will do.

Examples:
    >>> output = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> gaussian(1.0)(output).log_prob(torch.zeros(2, 2))  # − ½ ‖x − output‖² − log 2π
    tensor([ -1.8379, -14.3379])
    >>> categorical()(output).log_prob(torch.tensor([0, 1])).exp()
    tensor([0.5000, 0.7311])
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Laplace, Normal, OneHotCategorical
from torch.nn import functional as F

from .gaussian import full_precision

Likelihood = Callable[[Tensor], Distribution]


def gaussian(scale: float) -> Likelihood:
    """N(output, scale²) for each number. With scale 1 its −log is the half squared error and a constant."""
    _above_0("gaussian", scale)
    return lambda output: Spherical(full_precision(output), scale)


def laplace(scale: float) -> Likelihood:
    """Laplace(output, scale) for each number; its −log is the absolute error over scale, and a constant."""
    _above_0("laplace", scale)
    return lambda output: _each(Laplace(*_with_scale(full_precision(output), scale), validate_args=False))


def bernoulli() -> Likelihood:
    """For each number 0 or 1, the output its logit. A number between 0 and 1 counts as its share of both."""
    return lambda output: _each(Bernoulli(logits=full_precision(output), validate_args=False))


def categorical(one_hot: bool = False) -> Likelihood:
    """One of several classes, the output (B, ..., classes) their logits.

    Args:
        one_hot: x is one-hot, of the output's shape, such as the letters of a word; else numbers of classes, int64, of
            its shape without the last axis, such as a label (B,).
    """
    if one_hot:
        return OneHot
    return lambda output: _each(Categorical(logits=full_precision(output), validate_args=False))


class Spherical(Independent[Normal]):
    """N(mean, scale² I) with one scale for all numbers, which torch would first make as large as a picture."""

    def __init__(self, mean: Tensor, scale: float) -> None:
        super().__init__(Normal(*_with_scale(mean, scale), validate_args=False), mean.ndim - 1, validate_args=False)
        self.scale = scale

    def log_prob(self, x: Tensor) -> Tensor:
        """−‖x − mean‖² / 2σ² − d log σ√2π."""
        x, mean = torch.broadcast_tensors(x, self.base_dist.loc)  # type: ignore[no-untyped-call]
        error = _sum(F.mse_loss(x, mean, reduction="none"), len(self.event_shape))
        return -error / (2 * self.scale**2) - self.event_shape.numel() * math.log(self.scale * math.sqrt(2 * math.pi))


class OneHot(Independent[OneHotCategorical]):
    """Classes, each x one-hot: torch would look for the one."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__(UncheckedOneHot(full_precision(scores)), scores.ndim - 2, validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Σ x log p."""
        log_p: Tensor = self.base_dist.logits
        log_p = log_p.clamp_min(torch.finfo(log_p.dtype).min)  # 0 · −∞ would be no number
        return _sum(x * log_p, len(self.event_shape))


class UncheckedOneHot(OneHotCategorical):
    """Torch's own checks its logits even with ``validate_args=False``, and waits for the device."""

    def __init__(self, logits: Tensor) -> None:
        self._categorical = Categorical(logits=logits, validate_args=False)
        Distribution.__init__(self, logits.shape[:-1], logits.shape[-1:], validate_args=False)


def mean_of(p: Distribution) -> Tensor:
    """The mean of a likelihood; of a class, the probabilities."""
    base = p.base_dist if isinstance(p, Independent) else p
    mean: Tensor = base.probs if isinstance(base, Categorical) else p.mean
    return mean


def _with_scale(output: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Both as tensors: torch would copy a number to the device, and wait for that."""
    return output, output.new_full((), scale)


def _sum(x: Tensor, axes: int) -> Tensor:
    """Over the last axes."""
    return x.reshape(*x.shape[: x.ndim - axes], -1).sum(-1)


def _each(distribution: Distribution) -> Independent[Distribution]:
    """All axes but the first are one event."""
    return Independent(distribution, len(distribution.batch_shape) - 1, validate_args=False)


# ---- messages


def _above_0(who: str, scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"{who}: scale must be finite and above 0, got {scale!r}")
