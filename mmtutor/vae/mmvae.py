"""MMVAE: a mixture of experts (MoE), trained by an importance-weighted bound (Shi and others, 2019).

The paper is "Variational mixture-of-experts autoencoders for multi-modal deep generative models", NeurIPS 2019,
arXiv:1911.03393; the gradient is from "Doubly reparameterized gradient estimators for Monte Carlo objectives" (Tucker
and others), ICLR 2019, arXiv:1810.04152.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import MixtureSameFamily

from .base import Batch, MultimodalVAE, Names, mean_where
from .checks import whole
from .gaussian import log_prob, mixture, normal, standard
from .likelihoods import Likelihood


class MMVAE(MultimodalVAE):
    """q(z|X) = 1/M Σₘ qₘ(z|xₘ), and each expert is to explain all modalities.

        loss = −1/M Σₘ E [log 1/K Σₖ wₘₖ],    wₘₖ = p(zₘₖ)^β ∏ᵢ p(xᵢ|zₘₖ)^wᵢ / q(zₘₖ|X)^β,    zₘₖ ~ qₘ(z|xₘ)

    The mean over m stands outside the log, or the best expert would silence the others. An example that lacks a
    modality has the experts of what it has. The paper's prior and posteriors are Laplace distributions, and the scales
    of its prior are learned; ours are normal, and the prior is N(0, I).

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of the expert qₘ(z|xₘ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
        k: K; with 1 it is the ELBO.
        objective: ``"iwae"``, the importance-weighted bound as it is, or ``"dreg"``, the same bound with the doubly
            reparameterised gradient, see `dreg`.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import MMVAE, gaussian
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> likelihoods = {"image": gaussian(1.0), "sound": gaussian(0.5)}
        >>> model = MMVAE(encoders, decoders, likelihoods, latent=2, k=3, objective="dreg")
        >>> batch = {"image": torch.rand(4, 5), "sound": torch.rand(4, 3)}
        >>> sorted(model.loss(batch))
        ['image', 'kl', 'loss', 'sound']
        >>> model.encode(batch).mixture_distribution.probs.shape
        torch.Size([4, 2])
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
        k: int = 1,
        objective: Literal["iwae", "dreg"] = "iwae",
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self._check_objective(objective)
        self.k, self.objective = whole("MMVAE", "k", k), objective

    def encode(self, batch: Batch, modalities: Names = None) -> MixtureSameFamily:
        """The mixture of the experts of the modalities."""
        _, experts, present = self.experts(batch, modalities)
        return mixture(experts, present)  # (B, d)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; terms of the modalities and ``"kl"``, log q(z|X) − log p(z), are means over all z."""
        names, experts, present = self.experts(batch)
        z = experts.rsample((self.k,))  # (K, M, B, d)
        if self.objective == "dreg":
            experts = normal(experts.mean.detach(), experts.stddev.detach())  # (M, B, d)
        kl = log_prob(mixture(experts, present), z) - log_prob(standard(z), z)  # (K, M, B)
        log_p = self.log_probs(z, batch, names, present.unsqueeze(1) & present)  # (M, K, M, B)
        log_w = self.weighted(names, log_p) - self.beta * kl  # (K, M, B)
        bound = dreg(log_w, z, self.beta) if self.objective == "dreg" else iwae(log_w)  # (M, B)
        loss = -mean_where(bound, present)  # (B,)
        costs = -mean_where(log_p.mean(1), present)  # (M, B)
        return {"loss": loss, **dict(zip(names, costs, strict=True)), "kl": mean_where(kl.mean(0), present)}

    # ---- messages

    def _check_objective(self, objective: str) -> None:
        if objective not in ("iwae", "dreg"):
            raise ValueError(f"MMVAE: objective must be 'iwae' or 'dreg', got {objective!r}")


def iwae(log_w: Tensor) -> Tensor:
    """The importance-weighted bound log 1/K Σₖ wₖ (Burda, Grosse and Salakhutdinov, 2016), over the first axis."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def dreg(log_w: Tensor, z: Tensor, beta: float = 1.0) -> Tensor:
    """The importance-weighted bound with the doubly reparameterised gradient (Tucker and others, 2019).

        Σₖ w̃ₖ ∂log wₖ/∂θ for decoders,    Σₖ w̃ₖ² ∂log wₖ/∂zₖ ∂zₖ/∂φ for encoders,    w̃ₖ = wₖ / Σⱼ wⱼ

    Its mean is IWAE's for the decoders, and it has less noise for the encoders: there it flows through z alone, so q
    must be detached within log w, and it is weighted by w̃ₖ once more. Its mean is IWAE's for the encoder of one
    modality too; for the encoders of several nearly so, as in the paper of MMVAE.

    Args:
        log_w: log wₖ, (K, ...).
        z: what it was computed from, (K, ..., d). A hook on it weights its gradient.
        beta: the power of p(z)/q(z|X) in w; of the gradient through z that share is weighted once more.
    """
    share = log_w.detach().softmax(0)  # (K, ...)
    if z.requires_grad:
        again = (1 - beta + beta * share).unsqueeze(-1)  # (K, ..., 1)
        z.register_hook(partial(torch.mul, again))  # type: ignore[no-untyped-call]
    slope = (share * log_w).sum(0)
    return iwae(log_w).detach() + slope - slope.detach()
