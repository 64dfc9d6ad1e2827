"""MMVAE: the posterior is a mixture of experts, trained by an importance-weighted bound (Shi and others, 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, Normal

from .base import Batch, MultimodalVAE, standard_like
from .gaussian import density, mixture, normal


class MMVAE(MultimodalVAE):
    """q(z|X) = 1/M Σₘ qₘ(z|xₘ), and each expert is to explain all modalities.

        loss = −1/M Σₘ E [log 1/K Σₖ wₘₖ],    wₘₖ = p(zₘₖ)^β ∏ᵢ p(xᵢ|zₘₖ)^wᵢ / q(zₘₖ|X)^β,    zₘₖ ~ qₘ(z|xₘ)

    The mean over m stands outside the log, or the best expert would silence the others. An example that lacks a modality
    has the experts of what it has. The paper's prior and posterior are Laplace distributions, ours are normal.

    All other arguments are those of `MultimodalVAE`.

    Args:
        k: K; with 1 it is the ELBO.
        objective: ``"iwae"``, or ``"dreg"``, whose gradient has the same mean for the decoders and less noise for the
            encoders (Tucker and others, 2019): there it flows through z alone, and is weighted by wₖ/Σw once more. The
            mean is the same for the encoder of one modality; of several nearly so, as in the paper.
    """

    def __init__(self, *args: Any, k: int = 1, objective: str = "iwae", **others: Any) -> None:
        super().__init__(*args, **others)
        if k < 1:
            raise ValueError(f"MMVAE: k must be at least 1, got {k}")
        if objective not in ("iwae", "dreg"):
            raise ValueError(f"MMVAE: objective must be 'iwae' or 'dreg', got {objective!r}")
        self.k, self.objective = k, objective

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> MixtureSameFamily:
        """The mixture of the experts of the modalities."""
        _, experts, present = self._experts(batch, modalities)
        return mixture(experts, present)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; costs of the modalities and ``"kl"``, log q(z|X) − log p(z), are means over all z."""
        names, experts, present = self._experts(batch)
        z = experts.rsample((self.k,))  # (K, M, B, d)
        q = mixture(_detached(experts) if self.objective == "dreg" else experts, present)
        log_p = self._reconstruct(z, batch, {s: present & present[i] for i, s in enumerate(names)})
        kl = density(q, z) - density(standard_like(z), z)
        log_w = self._total(log_p) - self.beta * kl  # (K, M, B)
        bound = log_w.logsumexp(0) - math.log(self.k)
        if self.objective == "dreg":
            weight = log_w.detach().softmax(0)
            again = (1 - self.beta + self.beta * weight).unsqueeze(-1)
            if z.requires_grad:
                z.register_hook(lambda gradient: again * gradient)  # type: ignore[no-untyped-call]
            slope = (weight * log_w).sum(0)
            bound = bound.detach() + slope - slope.detach()

        def mean(value: Tensor) -> Tensor:
            return (value * present).sum(0) / present.sum(0)

        loss = -mean(bound)
        return {"loss": loss, **{s: -mean(v.mean(0)) for s, v in log_p.items()}, "kl": mean(kl.mean(0))}


def _detached(experts: Independent[Normal]) -> Independent[Normal]:
    return normal(experts.mean.detach(), experts.stddev.detach())
