"""Coordinated models: a VAE for each modality, whose inferences are drawn together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, divergence
from .gaussian import normal, product_of_posteriors, wasserstein


class Coordinated(MultimodalVAE):
    """Each modality has its own inference, and no inference sees several modalities.

        loss = −Σᵢ ELBO(xᵢ) + λ Σ_{i<j} D(qᵢ, qⱼ) − γ Σ_{i≠j} E_qᵢ [wⱼ log p(xⱼ|z)]

    D is a distance between inference distributions, the last term cross-generation: a modality is to be made from the code
    of another. The survey of Suzuki and Matsuo (2022, section 4) calls these the two criteria of closeness.

    All other arguments are those of `MultimodalVAE`.

    Args:
        distance: ``"kl"``, (KL(qᵢ ‖ qⱼ) + KL(qⱼ ‖ qᵢ))/2, or ``"wasserstein"``, the squared Wasserstein-2 distance.
        apart: λ, at least 0.
        cross: γ, at least 0.
        combine: how to infer from several modalities after all: ``"product"``, with the prior counted once, or
            ``"average"`` of means and of standard deviations, which is the Wasserstein barycentre.
    """

    def __init__(
        self,
        *args: Any,
        distance: str = "kl",
        apart: float = 1.0,
        cross: float = 0.0,
        combine: str = "product",
        **others: Any,
    ) -> None:
        super().__init__(*args, **others)
        for name, value, known in (
            ("distance", distance, ("kl", "wasserstein")),
            ("combine", combine, ("product", "average")),
        ):
            if value not in known:
                raise ValueError(f"Coordinated: {name} must be {' or '.join(map(repr, known))}, got {value!r}")
        for name, weight in (("apart", apart), ("cross", cross)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"Coordinated: {name} must be finite and at least 0, got {weight!r}")
        self.distance, self.apart, self.cross, self.combine = distance, apart, cross, combine

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> Independent[Normal]:
        """From one modality by its encoder, from several as ``combine`` says."""
        _, single, present = self._experts(batch, modalities)
        if self.combine == "product":
            return product_of_posteriors(single, present)
        weight = present.unsqueeze(-1).to(single.mean.dtype)
        weight = weight / weight.sum(0)
        return normal((weight * single.mean).sum(0), (weight * single.stddev).sum(0))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"apart"`` and ``"cross"`` are the sums without λ and γ, each modality's cost is its own."""
        names, q, present = self._experts(batch)
        own = torch.eye(len(names), dtype=torch.bool, device=present.device).unsqueeze(2)  # (M, M, 1)
        wanted = present.unsqueeze(1) & present & (own | (self.cross > 0))  # (from i, to j, B)
        made = self._reconstruct(q.rsample(), batch, {s: wanted[:, j] for j, s in enumerate(names)})
        log_p = {s: value[j] for j, (s, value) in enumerate(made.items())}
        cross = -self._total({s: value.sum(0) - log_p[s] for s, value in made.items()})
        kl, apart = (divergence(q) * present).sum(0), self._apart(q, present)
        loss = -self._total(log_p) + self.beta * kl + self.apart * apart + self.cross * cross
        return {"loss": loss, **{s: -v for s, v in log_p.items()}, "kl": kl, "apart": apart, "cross": cross}

    def _apart(self, q: Independent[Normal], present: Tensor) -> Tensor:
        """Σ_{i<j} D(qᵢ, qⱼ) over the modalities that are there, (B,)."""
        shape = (len(present), *q.mean.shape)
        left, right = (normal(q.mean.unsqueeze(k).expand(shape), q.stddev.unsqueeze(k).expand(shape)) for k in (1, 0))
        between = divergence(left, right) if self.distance == "kl" else wasserstein(left, right)  # (M, M, B)
        return (between * (present.unsqueeze(1) & present)).sum((0, 1)) / 2
