"""DMVAE: a product of experts for what is shared, and a private latent for each modality (Lee and Pavlovic, 2021).

The paper is "Private-shared disentangled multimodal VAE for learning of latent representations", CVPR workshops 2021;
its first version, on hybrid latent representations, is arXiv:2012.13024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from .base import Batch
from .checks import on_device
from .gaussian import divergence, product, row, stacked, where
from .likelihoods import Likelihood
from .private import PrivateVAE

Combine = Callable[[Independent[Normal], Tensor], Independent[Normal]]


class DMVAE(PrivateVAE):
    """All modalities are generated from the shared z of all, and from that of each alone, with their private wᵢ.

        loss = −ELBO(q(z|X)) − Σⱼ ELBO(qⱼ(z|xⱼ)),    q(z|X) ∝ p(z) ∏ᵢ qᵢ(z|xᵢ)
        ELBO(q) = Σᵢ E_q(z) E_q(wᵢ|xᵢ) log pᵢ(xᵢ|z, wᵢ) − β (KL(q ‖ p(z)) + Σᵢ KL(q(wᵢ|xᵢ) ‖ p(wᵢ)))

    As xᵢ is also generated from *another's* z, what is shared has to be in z; but wᵢ is always there, and may hold it
    too. Each wᵢ is drawn once and serves all ELBOs. Log-likelihoods count by ``weights``. An example that lacks a
    modality has the ELBOs of what it has.

    Here qᵢ(z|xᵢ) is a posterior, which has the prior in it, and a factor of a product that has the prior once more:
    both cannot be exact. ``combine=product_of_posteriors`` counts the prior once. And as the z of one modality has to
    explain all others, its posterior becomes too narrow, as in a mixture of experts. The authors' script for MNIST and
    SVHN leaves out the reconstruction from the product, and counts KL(q ‖ p(z)) for each decoder; the package MultiVae
    has the equation above.

    Args:
        encoders: for each modality a network to (B, 2 latent + 2 private): mean and log σ of z, then of w.
        decoders: for each modality a network from (N, latent + private), z first, to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        private: size of each w, at least 1.
        weights: of each modality's log-likelihood, 1 where none is given.
        beta: β.
        combine: how to infer z from several modalities: `product`, with the prior as one more factor, as the paper has
            it; `product_of_posteriors`; or a function of qᵢ, of batch shape (M, B), and of which there are, bool
            (M, B). From one modality its encoder infers.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import DMVAE, gaussian
        >>> encoders = {"image": nn.Linear(5, 2 * (2 + 1)), "sound": nn.Linear(3, 2 * (2 + 1))}
        >>> decoders = {"image": nn.Linear(2 + 1, 5), "sound": nn.Linear(2 + 1, 3)}
        >>> likelihoods = {"image": gaussian(1.0), "sound": gaussian(0.5)}
        >>> model = DMVAE(encoders, decoders, likelihoods, latent=2, private=1)
        >>> batch = {"image": torch.rand(4, 5), "sound": torch.rand(4, 3)}
        >>> sorted(model.loss(batch))
        ['image', 'kl', 'loss', 'private_kl', 'sound']
        >>> model.encode(batch).mean.shape, model.encode_private(batch)["image"].mean.shape
        (torch.Size([4, 2]), torch.Size([4, 1]))
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        latent: int,
        private: int,
        *,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        combine: Combine = product,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, private, weights=weights, beta=beta)
        self.combine = combine

    def combined(self, experts: Independent[Normal], present: Tensor) -> Independent[Normal]:
        """From one modality its expert, from several as ``combine`` says."""
        among = on_device(present, experts.mean.device)  # (M, B)
        alone = product(experts, among, prior=False)  # (B, d)
        return where(present.sum(0) == 1, alone, self.combine(experts, among))  # (B, d)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; each term is the sum over all ELBOs, ``"private_kl"`` that over all modalities too."""
        names, experts, privates, present = self._infer(batch)
        M, joint = len(names), self.combined(experts, present)
        q = stacked([*(row(experts, i) for i in range(M)), joint])  # (M + 1, B, d)
        several = present.sum(0) > 1  # (B,)
        elbos = torch.cat([present & several, torch.ones_like(present[:1])])  # (M + 1, B)
        z, w = q.rsample(), privates.rsample()  # one w for all z
        log_ps = []
        for i, name in enumerate(names):
            both = torch.cat([z, w[i].expand(M + 1, -1, -1)], -1)  # (M + 1, B, d + P)
            log_ps.append(self.log_probs(both, batch, [name], (elbos & present[i]).unsqueeze(0)))
        log_p = torch.cat(log_ps).sum(1)  # (M, B)
        counted = on_device(elbos, z.device)  # (M + 1, B)
        kl = (divergence(q) * counted).sum(0)  # (B,)
        private_kl = counted.sum(0) * divergence(privates).sum(0)  # (B,)
        loss = -self.weighted(names, log_p) + self.beta * (kl + private_kl)  # (B,)
        return {"loss": loss, **dict(zip(names, -log_p, strict=True)), "kl": kl, "private_kl": private_kl}
