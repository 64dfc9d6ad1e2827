"""JMVAE: a joint encoder, and a surrogate for each modality alone (Suzuki, Nakayama and Matsuo, 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from .base import Batch, MultimodalVAE, Names, put, take
from .checks import module, number, on_device
from .gaussian import divergence, from_network, product_of_posteriors, where
from .likelihoods import Likelihood


class JointVAE(MultimodalVAE):
    """Abstract: inference by a joint encoder q(z|X), and by a surrogate qᵢ(z|xᵢ) from one modality.

    From several modalities, but not all, there is no surrogate; then the product of the surrogates is taken, with the
    prior counted once.

    Args:
        joint: a network from a batch with all modalities to (B, 2 latent), the mean and log σ of q(z|X).
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of the surrogate qᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
    """

    def __init__(
        self,
        joint: nn.Module,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        latent: int,
        *,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.joint = module(type(self).__name__, "joint", joint)

    def encode(self, batch: Batch, modalities: Names = None) -> Independent[Normal]:
        """From all modalities by the joint encoder, from fewer by the surrogates."""
        names, surrogates, present = self.experts(batch, modalities)
        complete = self.complete(names, present)  # (B,)
        joint = self.joint_posterior(batch, complete)  # (B, d)
        return where(complete, joint, product_of_posteriors(surrogates, present))  # (B, d)

    def complete(self, names: Sequence[str], present: Tensor) -> Tensor:
        """Which examples have all modalities, bool (B,), from which have which, bool (M, B)."""
        return present.all(0) if len(names) == len(self.encoders) else torch.zeros_like(present[0])  # (B,)

    def joint_posterior(self, batch: Batch, complete: Tensor) -> Independent[Normal]:
        """The joint encoder's q(z|X) of the examples that are complete; of others N(0, I)."""
        rows = complete.nonzero()[:, 0]  # (n,)
        like = next(self.parameters())
        output = like.new_zeros(0, self.output_size)  # (0, O)
        if len(rows):
            complete_rows = {name: on_device(take(batch[name], rows), like.device) for name in self.encoders}
            output = self.joint(complete_rows)  # (n, O)
            self._check_encoder("of all modalities", output, len(rows))
        return from_network(put(output, rows, len(complete)))  # (B, d)


class JMVAE(JointVAE):
    """JMVAE-kl: the joint posterior is trained by the ELBO, each surrogate by its divergence from the joint posterior.

        loss = −E_q [Σᵢ wᵢ log p(xᵢ|z)] + β KL(q(z|X) ‖ p(z)) + α Σᵢ KL(q(z|X) ‖ qᵢ(z|xᵢ)),    q = q(z|X)

    All examples must be complete in training.

    Args:
        joint: a network from a batch with all modalities to (B, 2 latent), the mean and log σ of q(z|X).
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of the surrogate qᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
        alpha: α, at least 0.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import JMVAE, gaussian
        >>> class Joint(nn.Linear):
        ...     def forward(self, batch):
        ...         return super().forward(torch.cat([batch["image"], batch["sound"]], 1))
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> model = JMVAE(Joint(8, 4), encoders, decoders, {"image": gaussian(1.0), "sound": gaussian(0.5)}, latent=2)
        >>> batch = {"image": torch.rand(3, 5), "sound": torch.rand(3, 3)}
        >>> sorted(model.loss(batch))
        ['image', 'kl', 'loss', 'sound', 'surrogate_kl']
        >>> model.generate({"sound": batch["sound"]}, "image", n=2)["image"].shape
        torch.Size([2, 3, 5])
    """

    def __init__(
        self,
        joint: nn.Module,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        latent: int,
        *,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(joint, encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        self.alpha = number("JMVAE", "alpha", alpha)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class; ``"surrogate_kl"`` is the last sum, without α."""
        names, surrogates, present = self.experts(batch)
        self._check_complete(self.complete(names, present))
        q = self.joint_posterior(batch, present.all(0))  # (B, d)
        z = q.rsample()  # (B, d)
        log_p = self.log_probs(z, batch, names, present)  # (M, B)
        kl = divergence(q)  # (B,)
        surrogate_kl = divergence(q, surrogates).sum(0)  # (B,)
        loss = -self.weighted(names, log_p) + self.beta * kl + self.alpha * surrogate_kl  # (B,)
        return {"loss": loss, **dict(zip(names, -log_p, strict=True)), "kl": kl, "surrogate_kl": surrogate_kl}

    # ---- messages

    def _check_complete(self, complete: Tensor) -> None:
        if len(rows := (~complete).nonzero()):
            raise ValueError(f"JMVAE: needs all modalities of every example in training, but not all are in example "
                             f"{int(rows[0])}; leave out what is incomplete")  # fmt: skip
