"""TELBO: a joint encoder, and an ELBO of its own for each modality alone (Vedantam and others, 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Batch, divergence
from .gaussian import row, stacked
from .jmvae import JointVAE


class TELBO(JointVAE):
    """The triple ELBO, three for two modalities: one for all modalities and one for each alone.

        loss = −ELBO(X; q(z|X)) − Σᵢ ELBO(xᵢ; qᵢ(z|xᵢ)),    ELBO = E_q [Σ wᵢ log p(xᵢ|z)] − β KL(q ‖ p(z))

    The decoders serve all. An example that lacks a modality has the ELBOs of those that it has. Arguments are those of
    `JointVAE`.
    """

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; each modality's cost is the sum over both ELBOs."""
        names, single, present = self._experts(batch)
        complete = present.all(0) if len(names) == len(self.likelihoods) else torch.zeros_like(present[0])
        rows, masks = [row(single, i) for i in range(len(names))], [*present]
        if complete.any():
            rows, masks = [*rows, self._joint(batch, complete)], [*masks, complete]
        q = stacked(rows)
        there = torch.stack(masks)  # (M or M + 1, B)
        own = torch.eye(len(names), dtype=torch.bool, device=there.device)
        serves = torch.cat([own, own.new_ones(len(rows) - len(names), len(names))])  # which row makes which modality
        here = {s: there & serves[:, i : i + 1] for i, s in enumerate(names)}
        log_p = {s: value.sum(0) for s, value in self._reconstruct(q.rsample(), batch, here).items()}
        kl = (divergence(q) * there).sum(0)
        return {"loss": -self._total(log_p) + self.beta * kl, **{s: -v for s, v in log_p.items()}, "kl": kl}
