"""JMVAE: a joint encoder for all modalities, and a surrogate for each modality alone (Suzuki, Nakayama and Matsuo, 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, divergence, sum_kl
from .gaussian import from_network, product_of_posteriors, where


class JointVAE(MultimodalVAE):
    """Inference by a joint encoder q(z|X), and by a surrogate qᵢ(z|xᵢ) from one modality.

    From several modalities, but not all, there is no surrogate; then the product of the surrogates is taken, with the prior
    counted once.

    All other arguments are those of `MultimodalVAE`; the encoders are the surrogates.

    Args:
        joint: a network from a batch with all modalities to (B, 2 latent).
    """

    def __init__(self, joint: nn.Module, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.joint = joint

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> Independent[Normal]:
        """From all modalities by the joint encoder, from fewer by the surrogates."""
        names, surrogates, present = self._experts(batch, modalities)
        complete = present.all(0) if len(names) == len(self.likelihoods) else torch.zeros_like(present[0])
        if complete.all():
            return self._joint(batch, complete)
        fewer = product_of_posteriors(surrogates, present)
        return where(complete, self._joint(batch, complete), fewer) if complete.any() else fewer

    def _joint(self, batch: Batch, complete: Tensor) -> Independent[Normal]:
        """The joint encoder's posterior of the examples that are complete; of others N(0, I)."""
        rows, outputs = complete.nonzero()[:, 0], 2 * self.latent
        some = {s: batch[s] if complete.all() else batch[s][rows] for s in self.likelihoods}
        seen = self._checked("the joint encoder", self.joint(some), len(rows), outputs)
        return from_network(seen.new_zeros(len(complete), outputs).index_put((rows,), seen))


class JMVAE(JointVAE):
    """JMVAE-kl: the joint posterior is taught by the ELBO, the surrogates by the joint posterior.

        loss = −E_q [Σᵢ wᵢ log p(xᵢ|z)] + β KL(q(z|X) ‖ p(z)) + α Σᵢ KL(q(z|X) ‖ qᵢ(z|xᵢ)),    q = q(z|X)

    All examples must be complete in training. All other arguments are those of `JointVAE`.

    Args:
        alpha: α, at least 0.
    """

    def __init__(self, *args: Any, alpha: float = 0.1, **others: Any) -> None:
        super().__init__(*args, **others)
        if not 0 <= alpha < math.inf:
            raise ValueError(f"JMVAE: alpha must be finite and at least 0, got {alpha!r}")
        self.alpha = alpha

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"surrogates"`` is the last sum, without α."""
        names, surrogates, present = self._experts(batch)
        if len(names) < len(self.likelihoods) or not present.all():
            raise ValueError("JMVAE: needs all modalities of every example in training; leave out what is incomplete")
        q = self._joint(batch, present.all(0))
        log_p = self._reconstruct(q.rsample(), batch, dict(zip(names, present, strict=True)))
        kl, apart = divergence(q), sum_kl(q, surrogates, present)
        loss = -self._total(log_p) + self.beta * kl + self.alpha * apart
        return {"loss": loss, **{s: -value for s, value in log_p.items()}, "kl": kl, "surrogates": apart}
