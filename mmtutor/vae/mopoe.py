"""MoPoE: a mixture of the products of experts of all sets of modalities (Sutter, Daunhawer and Vogt, 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily

from .base import Batch, MultimodalVAE, divergence
from .gaussian import choose, mixture, product, subsets


class MoPoE(MultimodalVAE):
    """q(z|X) = 1/|𝒮| Σ_S q(z|x_S) over all sets S of modalities, q(z|x_S) ∝ ∏_S qᵢ(z|xᵢ).

        loss = −E_q [Σᵢ wᵢ log p(xᵢ|z)] + β/|𝒮| Σ_S KL(q(z|x_S) ‖ p(z))

    The mean divergence is an upper bound of the mixture's. For each example z comes from a set drawn for it alone. All
    products are computed together. An example that lacks a modality has the sets of what it has.

    All other arguments are those of `MultimodalVAE`.

    Args:
        sets: the sets of modalities in the mixture; None: all but the empty one. One set of all modalities is a plain product
            of experts, sets of one modality each a plain mixture.
        prior: whether p(z) is a factor of each product. The paper's equation has none; its released code has it for the
            set of all modalities alone.
    """

    def __init__(
        self, *args: Any, sets: Sequence[Sequence[str]] | None = None, prior: bool = False, **others: Any
    ) -> None:
        super().__init__(*args, **others)
        if sets is None:
            members = subsets(len(self.likelihoods))
        else:
            if not sets or not all(sets):
                raise ValueError("MoPoE: sets must be at least one, and none of them empty")
            known = [self._known(names) for names in sets]
            members = torch.tensor([[s in names for s in self.likelihoods] for names in known])
        self.members: Tensor
        self.register_buffer("members", members, persistent=False)
        self.prior = prior

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> MixtureSameFamily:
        """The mixture over all sets of the modalities."""
        return mixture(*self._products(batch, modalities)[1:])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        names, q, there = self._products(batch)
        z = choose(q, there).rsample()
        log_p = self._reconstruct(z, batch, self._present(batch, names))
        kl = (divergence(q) * there).sum(0) / there.sum(0)
        return {"loss": -self._total(log_p) + self.beta * kl, **{s: -v for s, v in log_p.items()}, "kl": kl}

    def _products(self, batch: Batch, modalities: Sequence[str] | None = None) -> tuple[list[str], Any, Tensor]:
        """The names, q(z|x_S) of batch shape (S, B), and which sets each example has whole, bool (S, B)."""
        names, experts, present = self._experts(batch, modalities)
        inside = self.members
        if len(names) < len(self.likelihoods):
            of_all = [s in names for s in self.likelihoods]
            inside = inside[~inside[:, [not x for x in of_all]].any(1)][:, of_all]  # sets of these modalities
        there = (present | ~inside.unsqueeze(2)).all(1)
        if not there.any(0).all():
            raise ValueError(f"MoPoE: an example lacks a modality of every set that is made of {', '.join(names)}")
        safe = inside.unsqueeze(2).expand(-1, -1, present.shape[1])
        q = product(experts, safe, self.prior)
        return names, q, there
