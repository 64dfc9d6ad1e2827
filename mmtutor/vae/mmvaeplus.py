"""MMVAE+: what only one modality can show has a latent variable of its own (Palumbo, Daunhawer and Vogt, 2023).

The paper is "MMVAE+: Enhancing the generative quality of multimodal VAEs without compromises", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Independent, MixtureSameFamily, Normal

from .base import Batch, mean_where
from .checks import whole
from .gaussian import log_prob, mixture, row, standard
from .likelihoods import Likelihood
from .mmvae import iwae
from .private import PrivateVAE


class MMVAEPlus(PrivateVAE):
    """Each modality is generated from the shared z and from its private wᵢ: pᵢ(xᵢ|z, wᵢ), with p(wᵢ) = N(0, I).

        loss = −1/M Σₘ E [log 1/K Σₖ p(z) p(wₘ) pₘ(xₘ|z, wₘ) ∏_{i≠m} pᵢ(xᵢ|z, w̃ᵢ) / (q(z|X) q(wₘ|xₘ))]

    with z ~ qₘ(z|xₘ), wₘ ~ q(wₘ|xₘ), and w̃ᵢ ~ rᵢ = N(0, sᵢ²), an auxiliary prior with learned standard deviations that
    serves training alone. As a modality is also generated from *another's* z without its own w, what is shared has to
    be in z, though nothing forbids that it is in w too. With one draw, K = 1, each w̃ᵢ only adds an error, and sᵢ goes
    to 0; with more it is wide. q(z|X) is the mixture of experts. In training, log-likelihoods
    count by ``weights``, and the log-ratios of posteriors and priors by β.

    Args:
        encoders: for each modality a network to (B, 2 latent + 2 private): mean and log σ of z, then of w.
        decoders: for each modality a network from (N, latent + private), z first, to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        private: size of each w, at least 1.
        weights: of each modality's log-likelihood, 1 where none is given.
        beta: β.
        k: K; with 1 it is the ELBO.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import MMVAEPlus, gaussian
        >>> encoders = {"image": nn.Linear(5, 2 * (2 + 1)), "sound": nn.Linear(3, 2 * (2 + 1))}
        >>> decoders = {"image": nn.Linear(2 + 1, 5), "sound": nn.Linear(2 + 1, 3)}
        >>> likelihoods = {"image": gaussian(1.0), "sound": gaussian(0.5)}
        >>> model = MMVAEPlus(encoders, decoders, likelihoods, latent=2, private=1, k=4)
        >>> batch = {"image": torch.rand(3, 5), "sound": torch.rand(3, 3)}
        >>> sorted(model.loss(batch))
        ['image', 'kl', 'loss', 'private_kl', 'sound']
        >>> model.encode_private(batch)["image"].mean.shape
        torch.Size([3, 1])
        >>> model.generate({"image": batch["image"]}, n=6)["sound"].shape
        torch.Size([6, 3, 3])
        >>> model.log_likelihood(batch, k=10).shape
        torch.Size([3])
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
        k: int = 1,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, private, weights=weights, beta=beta)
        self.k = whole("MMVAEPlus", "k", k)
        self.log_widths = nn.ParameterDict({name: nn.Parameter(torch.zeros(self.private)) for name in encoders})

    def combined(self, experts: Independent[Normal], present: Tensor) -> MixtureSameFamily:
        """The mixture of the experts of z."""
        return mixture(experts, present)  # (B, d)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"kl"`` and ``"private_kl"`` are the log-ratios of z and of w, means over all draws."""
        names, experts, privates, present = self._infer(batch)
        z = experts.rsample((self.k,))  # (K, M, B, d)
        log_ps, ratios = [], []
        for i, name in enumerate(names):
            q_w = row(privates, i)  # (B, P)
            w = q_w.rsample((self.k,))  # (K, B, P)
            ratios.append(log_prob(q_w, w) - log_prob(standard(w), w))
            own = torch.arange(len(names), device=z.device).view(-1, 1, 1) == i  # (M, 1, 1)
            both = torch.cat([z, torch.where(own, w.unsqueeze(1), self._auxiliary(name, z))], -1)  # (K, M, B, d + P)
            log_ps.append(self.log_probs(both, batch, [name], (present & present[i]).unsqueeze(0)))
        log_p = torch.cat(log_ps)  # (M, K, M, B)
        kl = log_prob(mixture(experts, present), z) - log_prob(standard(z), z)  # (K, M, B)
        private_kl = torch.stack(ratios, 1)  # (K, M, B)
        log_w = self.weighted(names, log_p) - self.beta * (kl + private_kl)  # (K, M, B)
        terms = {"loss": -iwae(log_w), **dict(zip(names, -log_p.mean(1), strict=True))}
        terms |= {"kl": kl.mean(0), "private_kl": private_kl.mean(0)}
        return {name: mean_where(term, present) for name, term in terms.items()}

    def _auxiliary(self, name: str, z: Tensor) -> Tensor:
        """w̃ᵢ ~ rᵢ, for each z."""
        std: Tensor = self.log_widths[name].exp()  # (P,)
        return self._standard_normal(z) * std  # (K, M, B, P)
