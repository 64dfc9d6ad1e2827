"""MVTCAE: a product of experts that loses as little as can be of what the modalities share (Hwang and others, 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, divergence, sum_kl
from .gaussian import product


class MVTCAE(MultimodalVAE):
    """The posterior is to explain what the modalities share: a bound on the total correlation TC(X) − TC(X|Z).

        loss = −(M − α)/M E_q [Σᵢ wᵢ log p(xᵢ|z)] + β ((1 − α) KL(q(z|X) ‖ p(z)) + α/M Σᵢ KL(q(z|X) ‖ qᵢ(z|xᵢ)))

    with q(z|X) ∝ ∏ qᵢ(z|xᵢ), without the prior. Each qᵢ is pulled over the joint posterior, so that it can stand for
    it. An example that lacks a modality has M as many as it has.

    All other arguments are those of `MultimodalVAE`.

    Args:
        alpha: α, from 0 (a VAE with a product of experts) to 1.
    """

    def __init__(self, *args: Any, alpha: float = 0.9, **others: Any) -> None:
        super().__init__(*args, **others)
        if not 0 <= alpha <= 1:
            raise ValueError(f"MVTCAE: alpha must be from 0 to 1, got {alpha!r}")
        self.alpha = alpha

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> Independent[Normal]:
        """The product of the experts of the modalities."""
        _, experts, present = self._experts(batch, modalities)
        return product(experts, present, prior=False)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"experts"`` is the last sum, without its weight."""
        names, experts, present = self._experts(batch)
        q = product(experts, present, prior=False)
        log_p = self._reconstruct(q.rsample(), batch, dict(zip(names, present, strict=True)))
        kl, apart, share = divergence(q), sum_kl(q, experts, present), self.alpha / present.sum(0).to(q.mean.dtype)
        loss = -(1 - share) * self._total(log_p) + self.beta * ((1 - self.alpha) * kl + share * apart)
        return {"loss": loss, **{s: -value for s, value in log_p.items()}, "kl": kl, "experts": apart}
