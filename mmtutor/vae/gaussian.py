"""Normal distributions with independent numbers: their products, mixtures, divergences and distances.

Experts are stacked: one distribution of batch shape (M, B) and event shape (d,) holds those of M modalities for B
examples. Which of them take part is a mask, bool (..., M, B), and all masks are computed at once. A mask may be on
another device, as on the CPU a program knows without a wait what it says. Shape comments of a distribution name its
batch shape and its event shape, one after the other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from .checks import on_device, whole


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
    """The distribution whose parameters are an encoder's output (..., 2 d): its mean, then log σ."""
    mean, log_std = full_precision(output).chunk(2, -1)
    return normal(mean, log_std.exp())  # (..., d)


def standard(like: Tensor) -> Independent[Normal]:
    """The prior p(z) = N(0, I), for z in the shape of this tensor (..., d)."""
    return normal(torch.zeros_like(like), torch.ones_like(like))  # (..., d)


def product(experts: Independent[Normal], among: Tensor | None = None, prior: bool = True) -> Independent[Normal]:
    """The product of experts (PoE), p(z) ∏ᵢ q̃ᵢ(z), normalised: precisions add up, and means are weighted by them.

        τ = 1 + Σᵢ τᵢ,    μ = Σᵢ τᵢ μᵢ / τ,    without the prior no 1           (Wu and Goodman, 2018, section 2.1)

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
        >>> product(experts, torch.tensor([[True], [False]])).variance
        tensor([[0.5000]])
    """
    precision, weighted = _precisions(experts, among)
    total = precision + 1 if prior else precision
    return normal(weighted / total, total.rsqrt())  # (..., B, d)


def product_of_posteriors(posteriors: Independent[Normal], among: Tensor | None = None) -> Independent[Normal]:
    """∏ᵢ qᵢ(z|xᵢ) / p(z)^(M−1), normalised: the posterior for all xᵢ, where each qᵢ has the prior in it already.

    A plain product would count the prior M times. The modalities must be independent given z. In a linear-Gaussian
    world posteriors are never wider than the prior; learned ones may be, so the product of several has at least the
    prior's precision, 1.

    Args:
        posteriors: of batch shape (M, B).
        among: bool (..., M, B); None: all.

    Returns:
        Of batch shape (..., B).

    Examples:
        >>> posteriors = normal(torch.tensor([[[1.0]], [[3.0]]]), torch.full((2, 1, 1), 0.5))
        >>> product_of_posteriors(posteriors).variance  # 1 / (4 + 4 − 1)
        tensor([[0.1429]])
    """
    precision, weighted = _precisions(posteriors, among)
    among = torch.ones_like(posteriors.mean[..., 0], dtype=torch.bool) if among is None else among  # (..., M, B)
    count = on_device(among, precision.device).sum(-2).unsqueeze(-1)  # (..., B, 1)
    total = torch.where(count == 1, precision, (precision - count + 1).clamp_min(1))  # (..., B, d)
    return normal(weighted / total, total.rsqrt())  # (..., B, d)


def _precisions(experts: Independent[Normal], among: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ τᵢ and Σ τᵢ μᵢ over the experts that take part."""
    mean, precision = experts.mean, experts.stddev.pow(-2)
    if among is not None:
        precision = on_device(among, mean.device).unsqueeze(-1).to(mean.dtype) * precision  # (..., M, B, d)
    return precision.sum(-3), (precision * mean).sum(-3)


def average(posteriors: Independent[Normal], among: Tensor | None = None) -> Independent[Normal]:
    """The mean of the means and of the standard deviations: the Wasserstein barycentre, with equal weights.

    Args:
        posteriors: of batch shape (M, B).
        among: bool (M, B), at least one for each example; None: all.

    Returns:
        Of batch shape (B,).

    Examples:
        >>> posteriors = normal(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([[[1.0]], [[2.0]]]))
        >>> average(posteriors).mean, average(posteriors).stddev
        (tensor([[2.]]), tensor([[1.5000]]))
    """
    mean, std = posteriors.mean, posteriors.stddev
    weight = torch.ones_like(mean)
    if among is not None:
        weight = on_device(among, mean.device).unsqueeze(-1).to(mean.dtype)  # (M, B, 1)
    weight = weight / weight.sum(0)
    return normal((weight * mean).sum(0), (weight * std).sum(0))  # (B, d)


def mixture(components: Independent[Normal], among: Tensor | None = None) -> MixtureSameFamily:
    """The mixture of components with equal weights; of experts, a mixture of experts (MoE).

    Args:
        components: of batch shape (K, B), such as the experts of K modalities.
        among: bool (K, B), which of them there are for each example, at least one; None: all.

    Returns:
        Of batch shape (B,). Its ``sample`` chooses a component for each example by itself.

    Examples:
        >>> q = mixture(normal(torch.tensor([[[-1.0]], [[3.0]]]), torch.ones(2, 1, 1)))
        >>> q.mean, q.variance  # 1 within a component, 4 between them
        (tensor([[1.]]), tensor([[5.]]))
    """
    mean = components.mean.transpose(0, 1)  # (B, K, d)
    std = components.stddev.transpose(0, 1)  # (B, K, d)
    logits = mean.new_zeros(mean.shape[:2])  # (B, K)
    if among is not None:
        logits = logits.masked_fill(~on_device(among, mean.device).T, -torch.inf)
    weights = Categorical(logits=logits, validate_args=False)
    return MixtureSameFamily(weights, normal(mean, std), validate_args=False)  # (B, d)


def choose(components: Independent[Normal], among: Tensor | None = None) -> Independent[Normal]:
    """One component for each example, drawn by itself with equal chances: from batch shape (K, B) to (B,).

    It is drawn on the CPU: `torch.multinomial` looks at the chances, and would wait for the device.

    Examples:
        >>> components = normal(torch.arange(2.0).view(2, 1, 1).expand(2, 5, 3), torch.ones(2, 5, 3))
        >>> choose(components, torch.tensor([[False], [True]]).expand(2, 5)).mean.unique()
        tensor([1.])
    """
    mean, std = components.mean, components.stddev
    B, K = mean.shape[1], len(mean)
    chances = torch.ones(B, K, dtype=mean.dtype) if among is None else among.cpu().T.to(mean.dtype)  # (B, K)
    drawn = on_device(torch.multinomial(chances, 1), mean.device)  # (B, 1)
    drawn = drawn.T.unsqueeze(-1).expand(1, *mean.shape[1:])  # (1, B, d)
    return normal(mean.gather(0, drawn)[0], std.gather(0, drawn)[0])  # (B, d)


def subsets(modalities: int) -> Tensor:
    """All sets of modalities but the empty one, bool (2^M − 1, M), the small ones first.

    Examples:
        >>> ["".join(m for m, inside in zip("abc", row) if inside) for row in subsets(3)]
        ['a', 'b', 'c', 'ab', 'ac', 'bc', 'abc']
    """
    modalities = whole("subsets", "modalities", modalities)
    numbers = torch.arange(1, 2**modalities)  # (S,)
    members = (numbers.unsqueeze(1) >> torch.arange(modalities)) % 2 == 1  # (S, M)
    return members[members.sum(1).argsort(stable=True)]


def divergence(q: Independent[Normal], p: Independent[Normal] | None = None) -> Tensor:
    """KL(q ‖ p) in nats, of the batch shape; p is the prior N(0, I) where none is given.

        KL = Σ ½ (ρ² + ((μ − μ')/σ')² − 1) − log ρ,    ρ = σ/σ'

    Examples:
        >>> divergence(normal(torch.tensor([[2.0, 0.0]]), torch.ones(1, 2)))
        tensor([2.])
    """
    ratio, far = (q.stddev, q.mean) if p is None else (q.stddev / p.stddev, (q.mean - p.mean) / p.stddev)
    return ((ratio.square() + far.square() - 1) / 2 - ratio.log()).sum(-1)


def symmetric_kl(a: Independent[Normal], b: Independent[Normal]) -> Tensor:
    """½ (KL(a ‖ b) + KL(b ‖ a)) in nats, of the batch shape."""
    return (divergence(a, b) + divergence(b, a)) / 2


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
    c = on_device(condition, a.mean.device).unsqueeze(-1)  # (B, 1)
    return normal(torch.where(c, a.mean, b.mean), torch.where(c, a.stddev, b.stddev))  # (B, d)


def log_prob(q: Distribution, z: Tensor) -> Tensor:
    """The log-density of z, typed: torch's is not."""
    value: Tensor = q.log_prob(z)
    return value


def full_precision(output: Tensor) -> Tensor:
    """A network's output, in float32 where autocast made it half precision: in bfloat16 a loss has three digits."""
    half = output.dtype in (torch.bfloat16, torch.float16)
    return output.float() if half and torch.is_autocast_enabled(output.device.type) else output
