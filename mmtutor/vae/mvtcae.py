"""MVTCAE: a product of experts trained by a total correlation objective (Hwang and others, 2021).

The paper is "Multi-view representation learning via total correlation objective", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, Names
from .checks import number, on_device
from .gaussian import divergence, product
from .likelihoods import Likelihood


class MVTCAE(MultimodalVAE):
    """The posterior is to explain what the modalities share: a bound on the total correlation TC(X) − TC(X|Z).

        loss = −(M − α)/M E_q [Σᵢ wᵢ log p(xᵢ|z)] + β ((1 − α) KL(q(z|X) ‖ p(z)) + α/M Σᵢ KL(q(z|X) ‖ qᵢ(z|xᵢ)))

    with q(z|X) ∝ ∏ qᵢ(z|xᵢ), without the prior. The first divergence is that of a variational information bottleneck
    (VIB), the second that of a conditional one (CVIB) for each modality: it draws each expert qᵢ over the joint
    posterior, so that it can stand in for it. For an example that lacks a modality, M is how many it has.

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of the expert qᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
        alpha: α, from 0 (a VAE with a product of experts) to 1.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import MVTCAE, gaussian
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> likelihoods = {"image": gaussian(1.0), "sound": gaussian(0.5)}
        >>> model = MVTCAE(encoders, decoders, likelihoods, latent=2, alpha=0.5)
        >>> batch = {"image": torch.rand(3, 5), "sound": torch.rand(3, 3)}
        >>> sorted(model.loss(batch))
        ['expert_kl', 'image', 'kl', 'loss', 'sound']
        >>> model.encode(batch, "sound").mean.shape
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
        alpha: float = 0.9,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.alpha = number("MVTCAE", "alpha", alpha, 0, 1)

    def encode(self, batch: Batch, modalities: Names = None) -> Independent[Normal]:
        """The product of the experts of the modalities."""
        _, experts, present = self.experts(batch, modalities)
        return product(experts, present, prior=False)  # (B, d)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"expert_kl"`` is the last sum, without its weight."""
        names, experts, present = self.experts(batch)
        q = product(experts, present, prior=False)  # (B, d)
        z = q.rsample()  # (B, d)
        log_p = self.log_probs(z, batch, names, present)  # (M, B)
        kl = divergence(q)  # (B,)
        there = on_device(present, z.device)  # (M, B)
        expert_kl = (divergence(q, experts) * there).sum(0)  # (B,)
        share = self.alpha / there.sum(0).to(z.dtype)  # (B,)
        loss = -(1 - share) * self.weighted(names, log_p) + self.beta * ((1 - self.alpha) * kl + share * expert_kl)
        return {"loss": loss, **dict(zip(names, -log_p, strict=True)), "kl": kl, "expert_kl": expert_kl}
