"""MoPoE: a mixture of the products of experts of all sets of modalities (Sutter, Daunhawer and Vogt, 2021).

The paper is "Generalized multimodal ELBO", ICLR 2021, arXiv:2105.02470.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, MixtureSameFamily, Normal

from .base import Batch, MultimodalVAE, Names, mean_where
from .checks import flag, named
from .gaussian import choose, divergence, mixture, product, subsets
from .likelihoods import Likelihood


class MoPoE(MultimodalVAE):
    """q(z|X) = 1/|𝒮| Σ_S q(z|x_S) over all sets S of modalities, q(z|x_S) ∝ ∏_S qᵢ(z|xᵢ).

        loss = −E_q [Σᵢ wᵢ log p(xᵢ|z)] + β/|𝒮| Σ_S KL(q(z|x_S) ‖ p(z))

    The generalized multimodal ELBO: the mean divergence is an upper bound of the mixture's. For each example z comes
    from a set drawn for it alone. All products are computed together. An example that lacks a modality has the sets of
    what it has, and |𝒮| counts those alone.

    From all modalities `encode` gives this mixture. From some of them it gives their product, q(z|x_S), which is what
    the authors' code and the package MultiVae generate from; the mixture over the sets within S, which averages over
    posteriors that know less, is `encode_mixture`.

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of qᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality, see ``likelihoods.py``.
        latent: size of z.
        weights: wᵢ, 1 where none is given.
        beta: β.
        sets: the sets of modalities in the mixture; None: all but the empty one. One set of all modalities is a plain
            product of experts, sets of one modality each a plain mixture.
        prior: whether p(z) is a factor of each product. The paper's equation has none; its released code has it for the
            set of all modalities alone.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmtutor.vae import MoPoE, gaussian
        >>> encoders = {"image": nn.Linear(5, 4), "sound": nn.Linear(3, 4)}
        >>> decoders = {"image": nn.Linear(2, 5), "sound": nn.Linear(2, 3)}
        >>> model = MoPoE(encoders, decoders, {"image": gaussian(1.0), "sound": gaussian(0.5)}, latent=2)
        >>> batch = {"image": torch.rand(4, 5), "sound": torch.rand(4, 3)}
        >>> sorted(model.loss(batch))
        ['image', 'kl', 'loss', 'sound']
        >>> model.encode(batch).mixture_distribution.probs[0]  # {image}, {sound}, {image, sound}
        tensor([0.3333, 0.3333, 0.3333])
        >>> model.encode(batch, "sound").mixture_distribution.probs[0]  # one set: the one that is given
        tensor([1.])
        >>> MoPoE(encoders, decoders, model.likelihoods, latent=2, sets=["image", ("image", "sound")]).members.tolist()
        [[True, False], [True, True]]
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
        sets: Sequence[str | Sequence[str]] | None = None,
        prior: bool = False,
    ) -> None:
        super().__init__(encoders, decoders, likelihoods, latent, weights=weights, beta=beta)
        sets = [sets] if isinstance(sets, str) else sets
        members = subsets(len(encoders)) if sets is None else self._members(sets)  # (S, M)
        self.prior = flag("MoPoE", "prior", prior)
        self.members = members  # no buffer: it stays on the CPU, with the masks

    def encode(self, batch: Batch, modalities: Names = None) -> MixtureSameFamily:
        """From all modalities the mixture over all sets; from some of them their product q(z|x_S).

        It goes by what each example has. Where S is not among ``sets`` its product was never trained, and the mixture
        over the sets within S takes its place.
        """
        names, products, there, present = self._products(batch, modalities)
        whole = (self._inside(names).unsqueeze(2) == present).all(1)  # (S, B)
        some = ~present.all(0) | (len(names) < len(self.encoders))  # (B,)
        return mixture(products, torch.where(some & whole.any(0), whole, there))  # (B, d)

    def encode_mixture(self, batch: Batch, modalities: Names = None) -> MixtureSameFamily:
        """The mixture over all sets of the given modalities, also where some are missing."""
        _, products, there, _ = self._products(batch, modalities)
        return mixture(products, there)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        names, products, there, present = self._products(batch)
        z = choose(products, there).rsample()  # (B, d)
        log_p = self.log_probs(z, batch, names, present)  # (M, B)
        kl = mean_where(divergence(products), there)  # (B,)
        loss = -self.weighted(names, log_p) + self.beta * kl  # (B,)
        return {"loss": loss, **dict(zip(names, -log_p, strict=True)), "kl": kl}

    def _products(
        self, batch: Batch, modalities: Names = None
    ) -> tuple[list[str], Independent[Normal], Tensor, Tensor]:
        """The names, q(z|x_S) of batch shape (S, B), which sets each example has whole, and which modalities."""
        names, experts, present = self.experts(batch, modalities)
        inside = self._inside(names).unsqueeze(2)  # (S, M, 1)
        there = (present | ~inside).all(1)  # (S, B)
        self._check_sets(names, there)
        # Where `there` is False a product is of stand-ins, and nobody reads it.
        products = product(experts, inside, prior=self.prior)  # (S, B, d)
        return names, products, there, present

    def _inside(self, names: Sequence[str]) -> Tensor:
        """The sets of these modalities alone, and which of them is in which, bool (S, M)."""
        given = torch.tensor([name in names for name in self.encoders])  # one for each encoder
        possible = ~(self.members & ~given).any(1)
        return self.members[possible][:, given]

    # ---- messages

    def _members(self, sets: Sequence[str | Sequence[str]]) -> Tensor:
        """Which modalities are in which of the named sets, bool (S, M)."""
        if not sets or not all(sets):
            raise ValueError("MoPoE: sets must be at least one, and none of them empty")
        known = [named("MoPoE", names, self.encoders) for names in sets]
        return torch.tensor([[name in names for name in self.encoders] for names in known])  # (S, M)

    def _check_sets(self, names: Sequence[str], there: Tensor) -> None:
        if len(without := (~there.any(0)).nonzero()):
            row = int(without[0])
            raise ValueError(f"MoPoE: in example {row} every set of modalities lacks one, given {', '.join(names)}")
