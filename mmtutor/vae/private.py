"""Private latents: beside the shared z each modality has a latent wᵢ of its own, for what it alone shows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from .base import Batch, MultimodalVAE, Names
from .checks import check_dtype, moved, on_device, whole
from .gaussian import from_network, log_prob, row, standard
from .likelihoods import Likelihood, mean_of
from .mmvae import iwae


class PrivateVAE(MultimodalVAE):
    """Abstract: each modality is generated from z and its private wᵢ, pᵢ(xᵢ|z, wᵢ), with p(wᵢ) = N(0, I).

    An encoder gives qᵢ(z|xᵢ) and q(wᵢ|xᵢ), independent of each other. A model says how the qᵢ(z|xᵢ) are combined,
    `combined`, and how it is trained.

    Args:
        encoders: for each modality a network to (B, 2 latent + 2 private): mean and log σ of z, then of w.
        decoders: for each modality a network from (N, latent + private), z first, to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        private: size of each w, at least 1.
        weights: of each modality's log-likelihood, 1 where none is given.
        beta: β.
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
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.private = whole(type(self).__name__, "private", private)
        self.output_size, self.input_size = 2 * self.latent + 2 * self.private, self.latent + self.private

    @abstractmethod
    def combined(self, experts: Independent[Normal], present: Tensor) -> Distribution:
        """q(z|x) of batch shape (B,) from qᵢ(z|xᵢ) of batch shape (M, B), and which of them there are, bool (M, B)."""

    def encode(self, batch: Batch, modalities: Names = None) -> Distribution:
        """The posterior of z from the named modalities, or from all in the batch."""
        _, experts, present = self.experts(batch, modalities)
        return self.combined(experts, present)  # (B, d)

    def encode_private(self, batch: Batch, modalities: Names = None) -> dict[str, Independent[Normal]]:
        """q(wᵢ|xᵢ) of each modality, of batch shape (B,) and event shape (private,)."""
        names, _, privates, _ = self._infer(batch, modalities)
        return {name: row(privates, i) for i, name in enumerate(names)}

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
        names, n = self._named(to), whole(type(self).__name__, "n", n)
        known, experts, privates, present = self._infer(given)
        z = self.combined(experts, present).sample((n,))  # (n, B, d)
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
        k, chunk = whole(type(self).__name__, "k", k), whole(type(self).__name__, "chunk", chunk)
        q_z, q_w = self.encode(batch, modalities), self.encode_private(batch, modalities)
        names, present = self._check_batch(batch)
        batch = moved({name: batch[name] for name in names}, self)  # once for all draws
        log_ws = []
        step = max(1, chunk // present.shape[1])
        for start in range(0, k, step):
            z = q_z.sample((min(step, k - start),))  # (k_c, B, d)
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
                raise ValueError(
                    f"{type(self).__name__}: w of {name!r} must be ({size}, {self.private}), got {tuple(w.shape)}"
                )
            check_dtype(type(self).__name__, name, w, self)
