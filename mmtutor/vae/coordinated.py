"""Coordinated models: a VAE for each modality, whose posteriors are drawn together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, Names
from .checks import number, on_device
from .gaussian import divergence, normal, product_of_posteriors, symmetric_kl
from .likelihoods import Likelihood

Distance = Callable[[Independent[Normal], Independent[Normal]], Tensor]
Combine = Callable[[Independent[Normal], Tensor], Independent[Normal]]


class Coordinated(MultimodalVAE):
    """Each modality has its own posterior, and no posterior sees several modalities.

        loss = −Σᵢ ELBO(xᵢ) + λ Σ_{i<j} D(qᵢ, qⱼ) − γ Σ_{i≠j} E_qᵢ [wⱼ log p(xⱼ|z)]

    D is a distance between inference distributions; the last term is cross-modal generation, the log-likelihood of a
    modality given the latent code of another. The survey of Suzuki and Matsuo (2022, section 4) calls these the two
    criteria of closeness.

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of qᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
        distance: D, symmetric: `symmetric_kl`, `wasserstein`, or a function of two distributions of one batch shape.
        distance_weight: λ, at least 0.
        cross_weight: γ, at least 0.
        combine: how to infer from several modalities after all: `product_of_posteriors`, `average`, or a function of
            qᵢ, of batch shape (M, B), and of which there are, bool (M, B).

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import Coordinated, average, gaussian, wasserstein
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> likelihoods = {"image": gaussian(1.0), "sound": gaussian(0.5)}
        >>> model = Coordinated(encoders, decoders, likelihoods, 2, distance=wasserstein, combine=average)
        >>> batch = {"image": torch.rand(3, 5), "sound": torch.rand(3, 3)}
        >>> sorted(model.loss(batch))
        ['cross_generation', 'distance', 'image', 'kl', 'loss', 'sound']
        >>> model.encode(batch).mean.shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        latent: int,
        *,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        distance: Distance = symmetric_kl,
        distance_weight: float = 1.0,
        cross_weight: float = 0.0,
        combine: Combine = product_of_posteriors,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.distance, self.combine = distance, combine
        self.distance_weight = number("Coordinated", "distance_weight", distance_weight)
        self.cross_weight = number("Coordinated", "cross_weight", cross_weight)

    def encode(self, batch: Batch, modalities: Names = None) -> Independent[Normal]:
        """From one modality by its encoder, from several as ``combine`` says."""
        _, posteriors, present = self.experts(batch, modalities)
        return self.combine(posteriors, on_device(present, posteriors.mean.device))  # (B, d)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"distance"`` and ``"cross_generation"`` are the sums without λ and γ.

        A modality's own term is −log p(xᵢ|z) with z from its own posterior.
        """
        names, q, present = self.experts(batch)
        z = q.rsample()  # (M, B, d)
        own = torch.eye(len(names), dtype=torch.bool).unsqueeze(2)  # (M, M, 1)
        asked = present.unsqueeze(1) & present & (own | (self.cross_weight > 0))  # (M, M, B)
        log_p = self.log_probs(z, batch, names, asked)  # (M, M, B)
        own = on_device(own, z.device)
        own_log_p = (log_p * own).sum(1)  # (M, B)
        cross = -self.weighted(names, (log_p * ~own).sum(1))  # (B,)
        kl = divergence(q).sum(0)  # (B,)
        distance = self._distances(q, present)  # (B,)
        loss = -self.weighted(names, own_log_p) + self.beta * kl  # (B,)
        loss = loss + self.distance_weight * distance + self.cross_weight * cross
        costs = dict(zip(names, -own_log_p, strict=True))
        return {"loss": loss, **costs, "kl": kl, "distance": distance, "cross_generation": cross}

    def _distances(self, q: Independent[Normal], present: Tensor) -> Tensor:
        """Σ_{i<j} D(qᵢ, qⱼ) over the modalities that are there, (B,): half of the sum over all i and j."""
        shape = (len(present), *q.mean.shape)
        left = normal(q.mean.unsqueeze(1).expand(shape), q.stddev.unsqueeze(1).expand(shape))  # (M, M, B, d)
        right = normal(q.mean.expand(shape), q.stddev.expand(shape))  # (M, M, B, d)
        there = on_device(present.unsqueeze(1) & present, q.mean.device)  # (M, M, B)
        pairs = self.distance(left, right) * there  # (M, M, B)
        return pairs.sum((0, 1)) / 2  # (B,)
