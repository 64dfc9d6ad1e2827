"""Likelihoods p(x|z): what a decoder's output means as a distribution of a sense.

Each function here makes a function from a decoder's output (B, ...) to a distribution of batch shape (B,), so that
``log_prob(x)`` is the sum over the numbers of an example, in nats. Any function of that kind will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Laplace, Normal, OneHotCategorical

Likelihood = Callable[[Tensor], Distribution]


def gaussian(scale: float) -> Likelihood:
    """N(output, scale²) for each number. With scale 1 its −log is the half squared error and a constant."""
    _above_0("gaussian", scale)
    return lambda output: _each(Normal(output, scale, validate_args=False))


def laplace(scale: float) -> Likelihood:
    """Laplace(output, scale) for each number; its −log is the absolute error over scale, and a constant."""
    _above_0("laplace", scale)
    return lambda output: _each(Laplace(output, scale, validate_args=False))


def bernoulli() -> Likelihood:
    """For each number 0 or 1, the output its logit. A number between 0 and 1 counts as its share of both."""
    return lambda output: _each(Bernoulli(logits=output, validate_args=False))


def categorical(one_hot: bool = False) -> Likelihood:
    """One of several classes, the output (B, ..., classes) their scores.

    Args:
        one_hot: x is one-hot, of the output's shape, such as the letters of a word; else numbers of classes, int64, of
            its shape without the last axis, such as a label (B,).
    """
    if one_hot:
        return lambda output: _each(OneHotCategorical(logits=output, validate_args=False))
    return lambda output: _each(Categorical(logits=output, validate_args=False))


def _each(distribution: Distribution) -> Independent[Distribution]:
    """All axes but the first are one event."""
    return Independent(distribution, len(distribution.batch_shape) - 1, validate_args=False)


def _above_0(who: str, scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"{who}: scale must be finite and above 0, got {scale!r}")
