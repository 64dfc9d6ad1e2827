"""Normal distributions with independent numbers, their products and their mixtures.

Experts are stacked: one distribution of batch shape (M, B), event (d,), holds those of M modalities for B examples. Which
of them take part is a mask, bool (..., M, B), and all masks are worked on at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal


class Gaussian(Independent[Normal]):
    """Independent normal numbers, in few passes: torch's own takes σ as the root of σ², and makes all of σ's size."""

    @property
    def stddev(self) -> Tensor:
        """σ."""
        return self.base_dist.scale

    def log_prob(self, x: Tensor) -> Tensor:
        """−½ Σ ((x − μ)/σ)² − Σ log σ − ½ d log 2π."""
        mean, std = self.base_dist.loc, self.base_dist.scale
        return -((x - mean) / std).square().sum(-1) / 2 - (std.log() + math.log(2 * math.pi) / 2).sum(-1)


def normal(mean: Tensor, std: Tensor) -> Independent[Normal]:
    """N(mean, std²) over the last axis. Not checked by torch, which would wait for the device at every call."""
    return Gaussian(Normal(mean, std, validate_args=False), 1, validate_args=False)


def from_network(output: Tensor) -> Independent[Normal]:
    """The distribution that an encoder tells: the first half of (..., 2 d) is its mean, the other half log σ."""
    mean, log_std = output.chunk(2, -1)
    return normal(mean, log_std.exp())


def standard(like: Independent[Normal]) -> Independent[Normal]:
    """The prior N(0, I), in the shape of another."""
    mean = like.mean
    return normal(torch.zeros_like(mean), torch.ones_like(mean))


def product(experts: Independent[Normal], among: Tensor | None = None, prior: bool = True) -> Independent[Normal]:
    """The product of experts, p(z) ∏ᵢ q̃ᵢ(z) made a density: precisions add up, and means are weighted by them.

        τ = 1 + Σᵢ τᵢ,    μ = Σᵢ τᵢ μᵢ / τ                                      (Wu and Goodman, 2018, section 2.1)

    Args:
        experts: of batch shape (M, B).
        among: bool (..., M, B), which experts to multiply; None: all.
        prior: p(z) = N(0, I) is a factor, once, however many experts there are.

    Returns:
        Of batch shape (..., B). Without the prior each example needs an expert.

    Examples:
        >>> experts = normal(torch.tensor([[[1.0]], [[3.0]]]), torch.ones(2, 1, 1))
        >>> product(experts, prior=False).mean, product(experts).variance
        (tensor([[2.]]), tensor([[0.3333]]))
    """
    precision, weighted = _precisions(experts, among)
    total = precision + 1 if prior else precision
    return normal(weighted / total, total.rsqrt())


def product_of_posteriors(posteriors: Independent[Normal], among: Tensor | None = None) -> Independent[Normal]:
    """∏ᵢ qᵢ(z|xᵢ) / p(z)^(M−1) made a density: the posterior for all xᵢ, where each qᵢ has the prior in it already.

    A plain product would count the prior M times. The modalities must be independent given z. In a linear-Gaussian world
    posteriors are never wider than the prior; learned ones may be, so that of several has at least the prior's
    precision, 1.

    Args:
        posteriors: of batch shape (M, B).
        among: bool (..., M, B); None: all.

    Returns:
        Of batch shape (..., B).
    """
    precision, weighted = _precisions(posteriors, among)
    everyone = torch.ones_like(posteriors.mean[..., 0], dtype=torch.bool)
    count = (everyone if among is None else among).sum(-2).unsqueeze(-1)
    total = torch.where(count == 1, precision, (precision - count + 1).clamp_min(1))
    return normal(weighted / total, total.rsqrt())


def _precisions(experts: Independent[Normal], among: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ τᵢ and Σ τᵢ μᵢ over the experts that take part."""
    mean, precision = experts.mean, experts.stddev.pow(-2)  # (M, B, d)
    if among is not None:
        precision = among.unsqueeze(-1).to(mean.dtype) * precision  # (..., M, B, d)
    return precision.sum(-3), (precision * mean).sum(-3)


def mixture(components: Independent[Normal], among: Tensor | None = None) -> MixtureSameFamily:
    """The mixture of components with equal weights.

    Args:
        components: of batch shape (M, B).
        among: bool (M, B), which of them there are for each example, at least one; None: all.

    Returns:
        Of batch shape (B,). Its ``sample`` chooses a component for each example by itself.
    """
    mean, std = components.mean.transpose(0, 1), components.stddev.transpose(0, 1)
    logits = mean.new_zeros(mean.shape[:2])
    if among is not None:
        logits = logits.masked_fill(~among.T, -torch.inf)
    weights = Categorical(logits=logits, validate_args=False)
    return MixtureSameFamily(weights, normal(mean, std), validate_args=False)


def choose(components: Independent[Normal], among: Tensor | None = None) -> Independent[Normal]:
    """One component for each example, drawn by itself with equal chances: from batch shape (M, B) to (B,)."""
    mean, std = components.mean, components.stddev
    chances = mean.new_ones(mean.shape[1], len(mean)) if among is None else among.T.to(mean.dtype)
    drawn = torch.multinomial(chances, 1).T.unsqueeze(-1).expand(1, *mean.shape[1:])
    return normal(mean.gather(0, drawn)[0], std.gather(0, drawn)[0])


def subsets(modalities: int) -> Tensor:
    """All sets of modalities but the empty one, bool (2^M − 1, M), the small ones first.

    Examples:
        >>> subsets(2).tolist()
        [[True, False], [False, True], [True, True]]
    """
    numbers = torch.arange(1, 2**modalities)
    members = (numbers.unsqueeze(1) >> torch.arange(modalities)) % 2 == 1
    return members[members.sum(1).argsort(stable=True)]


def wasserstein(a: Independent[Normal], b: Independent[Normal]) -> Tensor:
    """The squared Wasserstein-2 distance, ‖μ − μ'‖² + ‖σ − σ'‖², of the batch shape."""
    return ((a.mean - b.mean).square() + (a.stddev - b.stddev).square()).sum(-1)


def stacked(parts: list[Independent[Normal]]) -> Independent[Normal]:
    """Distributions of batch shape (B,) as one of (M, B)."""
    return normal(torch.stack([p.mean for p in parts]), torch.stack([p.stddev for p in parts]))


def row(experts: Independent[Normal], i: int) -> Independent[Normal]:
    """The i-th of them, of batch shape (B,)."""
    return normal(experts.mean[i], experts.stddev[i])


def where(condition: Tensor, a: Independent[Normal], b: Independent[Normal]) -> Independent[Normal]:
    """For each example a where the condition (B,) holds, else b."""
    c = condition.unsqueeze(-1)
    return normal(torch.where(c, a.mean, b.mean), torch.where(c, a.stddev, b.stddev))


def density(q: Distribution, z: Tensor) -> Tensor:
    """The log-density, typed."""
    value: Tensor = q.log_prob(z)
    return value
