"""MVAE: the posterior is a product of experts (Wu and Goodman, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, divergence
from .gaussian import product


class MVAE(MultimodalVAE):
    """Any set S of modalities is inferred from by q(z|x_S) ∝ p(z) ∏ q̃ᵢ(z|xᵢ), and is trained by its own ELBO.

        loss = −ELBO(X) − Σᵢ ELBO(xᵢ) − Σₖ ELBO(x_Sₖ),    ELBO(x_S) = E_q [Σ_S wᵢ log p(xᵢ|z)] − β KL(q(z|x_S) ‖ p(z))

    Sets Sₖ are drawn for each example. Without the ELBOs of single modalities an expert would learn only to correct others.
    An example that lacks a modality has the ELBOs of what it has.

    All other arguments are those of `MultimodalVAE`; an encoder tells the expert q̃ᵢ.

    Args:
        drawn: how many sets Sₖ.
        single: whether there are the ELBOs of single modalities.
    """

    def __init__(self, *args: Any, drawn: int = 1, single: bool = True, **others: Any) -> None:
        super().__init__(*args, **others)
        if drawn < 0:
            raise ValueError(f"MVAE: drawn must be at least 0, got {drawn}")
        self.drawn, self.single = drawn, single

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> Independent[Normal]:
        """The product of the prior and the experts of the modalities."""
        _, experts, present = self._experts(batch, modalities)
        return product(experts, present)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; each term is the sum over all ELBOs."""
        names, experts, present = self._experts(batch)
        sets = self._sets(present)  # (S, M, B)
        q = product(experts, sets)  # of batch shape (S, B)
        made = self._reconstruct(q.rsample(), batch, {s: sets[:, i] for i, s in enumerate(names)})
        log_p = {s: value.sum(0) for s, value in made.items()}
        kl = divergence(q).sum(0)  # of an empty set 0: the product is the prior
        return {"loss": -self._total(log_p) + self.beta * kl, **{s: -v for s, v in log_p.items()}, "kl": kl}

    def _sets(self, present: Tensor) -> Tensor:
        """Which modalities of each example are in each set, bool (S, M, B); a set may be empty."""
        many, B = present.shape
        sets = [present.unsqueeze(0)]
        if self.single and many > 1:
            own = torch.eye(many, dtype=torch.bool, device=present.device).unsqueeze(2)
            sets.append(own & present & (present.sum(0) > 1))  # else it is the set of all
        if self.drawn:
            sets.append(present * (torch.rand(self.drawn, many, B, device=present.device) < 0.5))
        return torch.cat(sets)
