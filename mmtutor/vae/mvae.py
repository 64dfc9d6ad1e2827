"""MVAE: the posterior is a product of experts (PoE) (Wu and Goodman, 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, Names
from .checks import flag, whole
from .gaussian import divergence, product
from .likelihoods import Likelihood


class MVAE(MultimodalVAE):
    """The posterior of any set S of modalities is q(z|x_S) ∝ p(z) ∏ q̃ᵢ(z|xᵢ), and is trained by its own ELBO.

        loss = −ELBO(X) − Σᵢ ELBO(xᵢ) − Σₖ ELBO(x_Sₖ),    ELBO(x_S) = E_q [Σ_S wᵢ log p(xᵢ|z)] − β KL(q(z|x_S) ‖ p(z))

    The sets Sₖ are drawn at random for each example (sub-sampled training). Without the ELBOs of single modalities an
    expert would learn only to correct others. An example that lacks a modality has the ELBOs of what it has.

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of the expert q̃ᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
        drawn: how many sets Sₖ.
        single: whether there are the ELBOs of single modalities.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import MVAE, gaussian
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> model = MVAE(encoders, decoders, {"image": gaussian(1.0), "sound": gaussian(0.5)}, latent=2)
        >>> batch = {
        ...     "image": torch.rand(3, 5),
        ...     "sound": torch.rand(3, 3),
        ...     "sound_present": torch.tensor([1, 0, 1]).bool(),
        ... }
        >>> sorted(model.loss(batch))
        ['image', 'kl', 'loss', 'sound']
        >>> model.encode(batch, "image").stddev.max() < 1  # no wider than the prior
        tensor(True)
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
        drawn: int = 1,
        single: bool = True,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.drawn, self.single = whole("MVAE", "drawn", drawn, least=0), flag("MVAE", "single", single)

    def encode(self, batch: Batch, modalities: Names = None) -> Independent[Normal]:
        """The product of the prior and the experts of the modalities."""
        _, experts, present = self.experts(batch, modalities)
        return product(experts, present)  # (B, d)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; each term is the sum over all ELBOs."""
        names, experts, present = self.experts(batch)
        sets = self._sets(present)  # (S, M, B)
        q = product(experts, sets)  # (S, B, d)
        z = q.rsample()  # (S, B, d)
        log_p = self.log_probs(z, batch, names, sets.transpose(0, 1)).sum(1)  # (M, B)
        kl = divergence(q).sum(0)  # (B,)
        loss = -self.weighted(names, log_p) + self.beta * kl  # (B,)
        return {"loss": loss, **dict(zip(names, -log_p, strict=True)), "kl": kl}

    def _sets(self, present: Tensor) -> Tensor:
        """Which modalities of each example are in each set, bool (S, M, B), on the CPU.

        A set may be empty. Then its product is the prior, and its ELBO is 0.
        """
        M, B = present.shape
        sets = [present.unsqueeze(0)]
        if self.single and M > 1:
            own = torch.eye(M, dtype=torch.bool).unsqueeze(2)  # (M, M, 1)
            sets.append(own & present & (present.sum(0) > 1))  # else it is the set of all
        if self.drawn:
            sets.append(present * (torch.rand(self.drawn, M, B) < 0.5))
        return torch.cat(sets)  # (S, M, B)
