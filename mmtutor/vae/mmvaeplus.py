"""MMVAE+: what only one modality can show has a latent variable of its own (Palumbo, Daunhawer and Vogt, 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal

from .base import Batch, MultimodalVAE, mean_of, standard_like
from .gaussian import density, from_network, mixture, stacked


class MMVAEPlus(MultimodalVAE):
    """Each modality is made from the shared z and from its private wᵢ: pᵢ(xᵢ|z, wᵢ), with p(wᵢ) = N(0, I).

        loss = −1/M Σₘ E [log 1/K Σₖ p(z) p(wₘ) pₘ(xₘ|z, wₘ) ∏_{i≠m} pᵢ(xᵢ|z, w̃ᵢ) / (q(z|X) q(wₘ|xₘ))]

    with z ~ qₘ(z|xₘ), wₘ ~ q(wₘ|xₘ), and w̃ᵢ ~ rᵢ = N(0, sᵢ²), an auxiliary prior with learned widths that
    serves training alone. As a modality is also made from *another's* z without its own w, what is shared has to be in z,
    though nothing forbids that it is in w too. q(z|X) is the mixture of experts.

    All other arguments are those of `MultimodalVAE`.

    Args:
        encoders: for each modality a network to (B, 2 latent + 2 private): mean and log σ of z, then of w.
        decoders: for each modality a network from (N, latent + private), z first.
        likelihoods: of `MultimodalVAE`.
        latent: size of z.
        private: size of each w, at least 1.
        k: K; with 1 it is the ELBO.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Any],
        latent: int,
        private: int,
        *,
        k: int = 1,
        **others: Any,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, **others)
        for name, value in (("private", private), ("k", k)):
            if value < 1:
                raise ValueError(f"MMVAEPlus: {name} must be at least 1, got {value}")
        self.private, self.k = private, k
        self.log_widths = nn.ParameterDict({s: nn.Parameter(torch.zeros(private)) for s in encoders})

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> MixtureSameFamily:
        """The mixture of the experts of z."""
        _, experts, present = self._experts(batch, modalities)
        return mixture(experts, present)

    def encode_private(self, batch: Batch, modalities: Sequence[str] | None = None) -> dict[str, Independent[Normal]]:
        """q(wᵢ|xᵢ) of each modality."""
        return self._infer(batch, modalities)[2]

    def decode(
        self, z: Tensor, modalities: Sequence[str] | None = None, private: Mapping[str, Tensor] | None = None
    ) -> dict[str, Distribution]:
        """p(xᵢ|z, wᵢ); wᵢ (N, private) is drawn from its prior N(0, I) where ``private`` does not give it."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"MMVAEPlus: z must be (N, {self.latent}), got {tuple(z.shape)}")
        self._known(list(private or ()))
        made = {}
        for s in self._known(modalities):
            w = (private or {}).get(s)
            w = torch.randn(len(z), self.private, dtype=z.dtype, device=z.device) if w is None else w
            if w.shape != (len(z), self.private):
                raise ValueError(f"MMVAEPlus: w of {s!r} must be ({len(z)}, {self.private}), got {tuple(w.shape)}")
            made[s] = self._likelihood(s, torch.cat([z, w], 1))
        return made

    @torch.no_grad()
    def generate(self, given: Batch | None = None, to: Sequence[str] | None = None, n: int = 1) -> dict[str, Tensor]:
        """As for all models; wᵢ is inferred of a modality that is given, and comes from p(wᵢ) of others."""
        if given is None or n < 1:
            return super().generate(given, to, n)
        names, q, styles = self._known(to), self.encode(given), self.encode_private(given)
        there = self._present(given, list(styles))
        z = q.sample((n,))  # type: ignore[no-untyped-call]
        private = {s: torch.randn(*z.shape[:-1], self.private, dtype=z.dtype, device=z.device) for s in names}
        for s in names:
            if s in styles:
                private[s] = torch.where(there[s].unsqueeze(1), styles[s].sample((n,)), private[s])
        made = self.decode(z.flatten(0, 1), names, {s: w.flatten(0, 1) for s, w in private.items()})
        return {s: (x := mean_of(p)).view(*z.shape[:2], *x.shape[1:]) for s, p in made.items()}

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"kl"`` and ``"private"`` are the log-ratios of z and of w, means over all draws."""
        names, experts, styles, present = self._infer(batch)
        z = experts.rsample((self.k,))  # (K, M, B, d)
        log_p: dict[str, Tensor] = {}
        ratios = []
        for i, s in enumerate(names):
            w = styles[s].rsample((self.k,))  # (K, B, private)
            ratios.append(density(styles[s], w) - density(standard_like(w), w))
            other = self._auxiliary(s, z)
            own = torch.arange(len(names), device=z.device).view(-1, 1, 1) == i
            both = torch.cat([z, torch.where(own, w.unsqueeze(1), other)], -1)
            log_p |= self._reconstruct(both, batch, {s: present & present[i]})
        kl = density(mixture(experts, present), z) - density(standard_like(z), z)
        style = torch.stack(ratios, 1)  # (K, M, B)
        log_w = self._total(log_p) - self.beta * (kl + style)

        def mean(value: Tensor) -> Tensor:
            return (value * present).sum(0) / present.sum(0)

        loss = -mean(log_w.logsumexp(0) - math.log(self.k))
        costs = {s: -mean(value.mean(0)) for s, value in log_p.items()}
        return {"loss": loss, **costs, "kl": mean(kl.mean(0)), "private": mean(style.mean(0))}

    @torch.no_grad()
    def log_likelihood(
        self, batch: Batch, k: int = 100, modalities: Sequence[str] | None = None, chunk: int = 10000
    ) -> Tensor:
        """As for all models; the w of modalities that z is inferred from are inferred, all others come from p(w)."""
        if k < 1:
            raise ValueError(f"MMVAEPlus: k must be at least 1, got {k}")
        q, names = self.encode(batch, modalities), self._in(batch, None)
        there, styles = self._present(batch, names), self.encode_private(batch, modalities)
        estimates = []
        for start in range(0, k, step := max(1, chunk // len(batch[names[0]]))):
            z = q.sample((min(step, k - start),))  # type: ignore[no-untyped-call]
            log_w = density(standard_like(z), z) - density(q, z)
            for s in names:
                w = torch.randn(*z.shape[:-1], self.private, dtype=z.dtype, device=z.device)
                if s in styles:
                    inferred = styles[s].sample((len(z),))
                    ratio = density(standard_like(inferred), inferred) - density(styles[s], inferred)
                    log_w = log_w + ratio * there[s]
                    w = inferred
                log_w = log_w + self._reconstruct(torch.cat([z, w], -1), batch, {s: there[s]})[s]
            estimates.append(log_w)
        return torch.cat(estimates).logsumexp(0) - math.log(k)

    def _auxiliary(self, modality: str, z: Tensor) -> Tensor:
        """w̃ ~ r, for each z."""
        noise = torch.randn(*z.shape[:-1], self.private, dtype=z.dtype, device=z.device)
        width: Tensor = self.log_widths[modality].exp()
        return noise * width

    def _experts(
        self, batch: Batch, modalities: Sequence[str] | None = None
    ) -> tuple[list[str], Independent[Normal], Tensor]:
        names, experts, _, present = self._infer(batch, modalities)
        return names, experts, present

    def _infer(
        self, batch: Batch, modalities: Sequence[str] | None = None
    ) -> tuple[list[str], Independent[Normal], dict[str, Independent[Normal]], Tensor]:
        """The names, the experts of z (M, B), q(wᵢ|xᵢ) of each modality, and which are there."""
        names = self._in(batch, modalities)
        present, parts, styles = self._present(batch, names), [], {}
        for s in names:
            sizes = [2 * self.latent, 2 * self.private]
            shared, private = self._run(s, batch[s], present[s], sum(sizes)).tensor_split([sizes[0]], 1)
            parts.append(from_network(shared))
            styles[s] = from_network(private)
        return names, stacked(parts), styles, torch.stack([present[s] for s in names])
