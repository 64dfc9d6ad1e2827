"""MMVAE+: what only one modality can show has a latent variable of its own (Palumbo, Daunhawer and Vogt, 2023)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal

from .base import Batch, MultimodalVAE, Names, mean_where
from .checks import check_dtype, moved, on_device, whole
from .gaussian import from_network, log_prob, mixture, row, standard
from .likelihoods import Likelihood, mean_of
from .mmvae import iwae


class MMVAEPlus(MultimodalVAE):
    """Each modality is generated from the shared z and from its private wᵢ: pᵢ(xᵢ|z, wᵢ), with p(wᵢ) = N(0, I).

        loss = −1/M Σₘ E [log 1/K Σₖ p(z) p(wₘ) pₘ(xₘ|z, wₘ) ∏_{i≠m} pᵢ(xᵢ|z, w̃ᵢ) / (q(z|X) q(wₘ|xₘ))]

    with z ~ qₘ(z|xₘ), wₘ ~ q(wₘ|xₘ), and w̃ᵢ ~ rᵢ = N(0, sᵢ²), an auxiliary prior with learned standard deviations that
    serves training alone. As a modality is also generated from *another's* z without its own w, what is shared has to
    be in z, though nothing forbids that it is in w too. q(z|X) is the mixture of experts. In training, log-likelihoods
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
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.private, self.k = whole("MMVAEPlus", "private", private), whole("MMVAEPlus", "k", k)
        self.output_size, self.input_size = 2 * self.latent + 2 * self.private, self.latent + self.private
        self.log_widths = nn.ParameterDict({name: nn.Parameter(torch.zeros(self.private)) for name in encoders})

    def encode(self, batch: Batch, modalities: Names = None) -> MixtureSameFamily:
        """The mixture of the experts of z."""
        _, experts, present = self.experts(batch, modalities)
        return mixture(experts, present)  # (B, d)

    def encode_private(self, batch: Batch, modalities: Names = None) -> dict[str, Independent[Normal]]:
        """q(wᵢ|xᵢ) of each modality, of batch shape (B,) and event shape (private,)."""
        names, _, privates, _ = self._infer(batch, modalities)
        return {name: row(privates, i) for i, name in enumerate(names)}

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

    def experts(self, batch: Batch, modalities: Names = None) -> tuple[list[str], Independent[Normal], Tensor]:
        """As for all models: qᵢ(z|xᵢ)."""
        names, experts, _, present = self._infer(batch, modalities)
        return names, experts, present

    def _infer(
        self, batch: Batch, modalities: Names = None
    ) -> tuple[list[str], Independent[Normal], Independent[Normal], Tensor]:
        """The names, qᵢ(z|xᵢ) and q(wᵢ|xᵢ) of batch shape (M, B), and which examples have which modality."""
        names, present, outputs = self.encoder_outputs(batch, modalities)
        shared, private = outputs.tensor_split([2 * self.latent], -1)
        return names, from_network(shared), from_network(private), present

    def _auxiliary(self, name: str, z: Tensor) -> Tensor:
        """w̃ᵢ ~ rᵢ, for each z."""
        std: Tensor = self.log_widths[name].exp()  # (P,)
        return self._standard_normal(z) * std  # (K, M, B, P)

    def _standard_normal(self, z: Tensor) -> Tensor:
        """A w from p(w) = N(0, I) for each z, (..., P) for (..., d)."""
        return torch.randn(*z.shape[:-1], self.private, dtype=z.dtype, device=z.device)  # (..., P)

    # ---- what else a model can do

    def decode(
        self,
        z: Tensor,
        modalities: Names = None,
        private: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Distribution]:
        """pᵢ(xᵢ|z, wᵢ); wᵢ (N, private) is drawn from its prior N(0, I) where ``private`` does not give it."""
        names, given = self._named(modalities), private or {}
        self._check_latent(z)
        self._check_private(given, len(z))
        z = on_device(z, next(self.parameters()).device)
        decoded = {}
        for name in names:
            w = on_device(given[name], z.device) if name in given else self._standard_normal(z)  # (N, P)
            decoded[name] = self.likelihoods[name](self.decoders[name](torch.cat([z, w], 1)))
        return decoded

    @torch.no_grad()
    def generate(self, given: Batch | None = None, to: Names = None, n: int = 1) -> dict[str, Tensor]:
        """As for all models; wᵢ of a modality that is given is inferred, wᵢ of others comes from p(wᵢ)."""
        if given is None:
            return super().generate(None, to, n)
        names, n = self._named(to), whole("MMVAEPlus", "n", n)
        known, experts, privates, present = self._infer(given)
        z = mixture(experts, present).sample((n,))  # type: ignore[no-untyped-call]  # (n, B, d)
        private = {name: self._standard_normal(z) for name in names}
        for name in [name for name in names if name in known]:
            i = known.index(name)
            w = row(privates, i).sample((n,))  # (n, B, P)
            there = on_device(present[i], z.device)  # (B,)
            private[name] = torch.where(there.unsqueeze(1), w, private[name])
        decoded = self.decode(z.flatten(0, 1), names, {name: w.flatten(0, 1) for name, w in private.items()})
        means = {name: mean_of(p) for name, p in decoded.items()}
        return {name: x.view(*z.shape[:2], *x.shape[1:]) for name, x in means.items()}

    @torch.no_grad()
    def log_likelihood(self, batch: Batch, k: int = 100, modalities: Names = None, chunk: int = 10000) -> Tensor:
        """As for all models; the w of modalities that z is inferred from are inferred, all others come from p(w)."""
        k, chunk = whole("MMVAEPlus", "k", k), whole("MMVAEPlus", "chunk", chunk)
        q_z, q_w = self.encode(batch, modalities), self.encode_private(batch, modalities)
        names, present = self._check_batch(batch)
        batch = moved({name: batch[name] for name in names}, self)  # once for all draws
        log_ws = []
        step = max(1, chunk // present.shape[1])
        for start in range(0, k, step):
            z = q_z.sample((min(step, k - start),))  # type: ignore[no-untyped-call]  # (k_c, B, d)
            log_w = log_prob(standard(z), z) - log_prob(q_z, z)  # (k_c, B)
            for name, there in zip(names, present, strict=True):
                w = self._standard_normal(z)  # (k_c, B, P)
                if name in q_w:  # which is p(w) where the modality is missing
                    w = q_w[name].sample((len(z),))  # (k_c, B, P)
                    log_w = log_w + log_prob(standard(w), w) - log_prob(q_w[name], w)
                log_w = log_w + self.log_probs(torch.cat([z, w], -1), batch, [name], there.unsqueeze(0))[0]
            log_ws.append(log_w)
        return iwae(torch.cat(log_ws))  # (B,)

    # ---- messages

    def _check_private(self, given: Mapping[str, Tensor], size: int) -> None:
        self._named(list(given))
        for name, w in given.items():
            if w.shape != (size, self.private):
                raise ValueError(f"MMVAEPlus: w of {name!r} must be ({size}, {self.private}), got {tuple(w.shape)}")
            check_dtype("MMVAEPlus", name, w, self)
