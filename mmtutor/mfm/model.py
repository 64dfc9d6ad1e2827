"""The model: which factors there are, and what is made from them. Equations and variants stand in ``__init__.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from .kernels import mmd

Batch = Mapping[str, Tensor]


class Factor(nn.Module):
    """One code and the factor made from it: Z = Q(X), F = G(Z).

    Args:
        encoder: from a batch to (B, size); any multimodal network, or one modality by `FromModality` or `LSTMEncoder`.
        size: what the encoder gives.
        z: size of the code. It comes from a linear layer, for the output of an LSTM lies between −1 and 1 and could
            not be normally distributed.
        f: size of the factor.
        penalty: ``"mmd"`` for a code that is a function of the input; ``"kl"`` for a normal distribution, from which
            the code is drawn in training (its mean is the code else).
        weight: of the penalty, times λ; an MMD is much smaller than a KL.
        dropout: within G, in training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        size: int,
        z: int,
        f: int,
        *,
        penalty: str = "mmd",
        weight: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if penalty not in ("mmd", "kl"):
            raise ValueError(f"Factor: penalty must be 'mmd' or 'kl', got {penalty!r}")
        if not 0 <= weight < math.inf:
            raise ValueError(f"Factor: weight must be finite and at least 0, got {weight!r}")
        self.encoder, self.size, self.z, self.f, self.kind, self.weight = encoder, size, z, f, penalty, weight
        self.to_z = nn.Linear(size, z if penalty == "mmd" else 2 * z)
        self.make = nn.Sequential(nn.Linear(z, f), nn.ReLU(), nn.Dropout(dropout), nn.Linear(f, f), nn.ReLU())

    def infer(self, batch: Batch) -> tuple[Tensor, Normal | None]:
        """The code (B, z), and the distribution that it comes from if there is one."""
        seen = self.encoder(batch)
        if seen.ndim != 2 or seen.shape[1] != self.size:
            raise ValueError(f"Factor: the encoder must give (B, {self.size}), got {tuple(seen.shape)}")
        z: Tensor = self.to_z(seen)
        if self.kind == "mmd":
            return z, None
        mean, log_std = z.chunk(2, 1)
        q = Normal(mean, log_std.exp())
        return q.rsample() if self.training else mean, q

    def penalty(self, z: Tensor, q: Normal | None) -> Tensor:
        """How far the codes are from N(0, I), MMD² or KL in nats (the mean over examples), times its weight."""
        if q is None:
            return self.weight * mmd(z)
        return self.weight * kl_divergence(q, Normal(torch.zeros_like(z), torch.ones_like(z))).sum(1).mean()


class FromModality(nn.Module):
    """An encoder of one modality as an encoder of a batch.

    Args:
        modality: its name.
        encoder: from (B, …) to (B, size).
    """

    def __init__(self, modality: str, encoder: nn.Module) -> None:
        super().__init__()
        self.modality, self.encoder = modality, encoder

    def forward(self, batch: Batch) -> Tensor:
        """The modality's encoding, (B, size)."""
        if self.modality not in batch:
            raise ValueError(f"FromModality: the batch has no {self.modality!r}, only {', '.join(batch)}")
        x: Tensor = self.encoder(batch[self.modality])
        return x


class MFM(nn.Module):
    """Equations and the table of its variants stand in the folder's ``__init__.py``.

    Args:
        classes: number of classes; with another cost than cross-entropy, of numbers.
        label: the factor F_y; None: the label is made from the styles.
        style: a factor for each modality by name, one factor for all, or None.
        decoders: for each modality that is made again a network from all its factors, (B, Σ f), to the shape of the modality;
            None: no modality is made. A decoder with an attribute ``steps`` makes sequences (B, T, …).
        costs: for each modality ``"squared"`` (default), ``"absolute"`` or ``"cross-entropy"`` (the modality has numbers of
            classes (B, …), the decoder gives scores (B, …, classes)).
        weights: λᵢ of each modality, 1 where none is given. A cost is a mean over a modality's numbers.
        label_cost: likewise for the label.
        label_weight: of the label's cost.
        prior: λ.
        joint: the penalty is one MMD of all codes together, as equation 4 has it, instead of one for each code and
            their sum; every factor must have ``penalty="mmd"`` and weight 1.
        dropout: within D, in training.

    Examples:
        >>> eye = Factor(FromModality("picture", nn.Flatten()), 12, z=4, f=8)
        >>> both = Factor(FromModality("picture", nn.Flatten()), 12, z=4, f=8)
        >>> model = MFM(
        ...     3, both, {"picture": eye}, {"picture": nn.Sequential(nn.Linear(16, 12), nn.Unflatten(1, (3, 4)))}
        ... )
        >>> sorted(model.loss({"picture": torch.rand(5, 3, 4), "label": torch.arange(5) % 3}))
        ['label', 'loss', 'picture', 'prior']
        >>> model.generate(model.sample(2))["picture"].shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        classes: int,
        label: Factor | None,
        style: Mapping[str, Factor] | Factor | None,
        decoders: Mapping[str, nn.Module] | None,
        *,
        costs: Mapping[str, str] | None = None,
        weights: Mapping[str, float] | None = None,
        label_cost: str = "cross-entropy",
        label_weight: float = 1.0,
        prior: float = 1.0,
        joint: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        factors = {"label": label} if label is not None else {}
        if isinstance(style, Factor):
            factors["style"] = style
        for name, factor in style.items() if isinstance(style, Mapping) else ():
            factors[name] = factor
        for name in [*(style if isinstance(style, Mapping) else ()), *(decoders or {})]:
            if name in ("label", "style", "loss", "prior", "length"):
                raise ValueError(f"MFM: a modality cannot be called {name!r}")
        if not factors or (label is None and isinstance(style, Factor)):
            raise ValueError("MFM: needs the label's factor, or one factor for each modality")
        self.costs = {"label": label_cost, **dict.fromkeys(decoders or {}, "squared"), **(costs or {})}
        self.weights = {"label": label_weight, **dict.fromkeys(decoders or {}, 1.0), **(weights or {})}
        for given in (self.costs, self.weights):
            if unknown := sorted(given.keys() - {"label", *(decoders or {})}):
                raise ValueError(f"MFM: no decoder makes {unknown[0]!r}, so it has no cost and no weight")
        for name, cost in self.costs.items():
            if cost not in COSTS:
                raise ValueError(f"MFM: the cost of {name!r} must be one of {', '.join(COSTS)}, got {cost!r}")
        for name, weight in {**self.weights, "prior": prior}.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"MFM: the weight of {name!r} must be finite and at least 0, got {weight!r}")
        if isinstance(style, Mapping) and (without := sorted((decoders or {}).keys() - style.keys())):
            raise ValueError(f"MFM: {without[0]!r} has a decoder but no factor")
        if joint and any((factor.kind, factor.weight) != ("mmd", 1.0) for factor in factors.values()):
            raise ValueError("MFM: joint needs factors with penalty='mmd' and weight 1; use prior for the weight")
        self.parts, self.decoders = nn.ModuleDict(factors), nn.ModuleDict(decoders or {})
        self.prior, self.joint = prior, joint
        self.of_label = ["label"] if label is not None else list(factors)
        size = sum(self._factor(name).f for name in self.of_label)
        self.decide = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(size, classes))

    def _factor(self, name: str) -> Factor:
        part = self.parts[name]
        assert isinstance(part, Factor)
        return part

    def infer(self, batch: Batch) -> dict[str, Tensor]:
        """The codes of a batch: ``"label"`` for Z_y, a modality's name for its Z_a, each (B, z)."""
        return {name: z for name, (z, _) in self._infer(batch).items()}

    def _infer(self, batch: Batch) -> dict[str, tuple[Tensor, Normal | None]]:
        modalities = [n for n in batch if n not in ("label", "length") and not n.endswith(("_present", "_label"))]
        masks = [batch[f"{modality}_present"] for modality in modalities if f"{modality}_present" in batch]
        if masks and len(masks) == len(modalities) and not torch.stack(masks).any(0).all():
            raise ValueError("MFM: an example has no modality at all; leave it out")
        return {name: self._factor(name).infer(batch) for name in self.parts}

    def factors(self, codes: Batch) -> dict[str, Tensor]:
        """F = G(Z) for each code, (B, f). Codes of different pictures may be put together."""
        if missing := [name for name in self.parts if name not in codes]:
            raise ValueError(f"MFM: no code {missing[0]!r}, only {', '.join(codes)}")
        return {name: self._factor(name).make(codes[name]) for name in self.parts}

    def scores(self, factors: Batch) -> Tensor:
        """Ŷ = D(F_y), (B, classes)."""
        scores: Tensor = self.decide(torch.cat([factors[name] for name in self.of_label], 1))
        return scores

    def decode(self, factors: Batch) -> dict[str, Tensor]:
        """X̂ᵢ = Fᵢ(F_y, F_aᵢ) of each modality."""
        return {
            modality: decoder(torch.cat([factors[n] for n in ("label", "style", modality) if n in factors], 1))
            for modality, decoder in self.decoders.items()
        }

    def forward(self, batch: Batch) -> Tensor:
        """Scores of the label, (B, classes)."""
        return self.scores(self.factors(self.infer(batch)))

    def generate(self, codes: Batch) -> dict[str, Tensor]:
        """The modalities of some codes and, as ``"label"``, the scores of their label."""
        factors = self.factors(codes)
        return {"label": self.scores(factors), **self.decode(factors)}

    def sample(self, n: int) -> dict[str, Tensor]:
        """Codes from the prior N(0, I), with torch's global random numbers."""
        like = next(self.parameters())
        return {name: torch.randn(n, self._factor(name).z, device=like.device, dtype=like.dtype) for name in self.parts}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Equation 4, the mean over examples.

        Args:
            batch: the modalities, ``"label"``, and perhaps ``"length"`` and masks; an absent modality is not to be made again.

        Returns:
            ``"loss"``; ``"label"``, a cost for each modality and ``"prior"``, all without their weights. With λ = 0 the
            penalty is not computed.
        """
        inferred = self._infer(batch)
        made = self.generate({name: z for name, (z, _) in inferred.items()})
        terms = {}
        for name, x in made.items():
            if name not in batch:
                raise ValueError(f"MFM: the batch has no {name!r}, only {', '.join(batch)}")
            terms[name] = COSTS[self.costs[name]](x, self._target(name, x, batch), self._real(name, batch))
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        if self.prior:
            if self.joint:
                terms["prior"] = mmd(torch.cat([z for z, _ in inferred.values()], 1))
            else:
                terms["prior"] = torch.stack([self._factor(n).penalty(*zq) for n, zq in inferred.items()]).sum()
            loss = loss + self.prior * terms["prior"]
        return {"loss": loss, **terms}

    def _target(self, name: str, made: Tensor, batch: Batch) -> Tensor:
        """What a modality or the label should have been, checked and in the shape of what was made."""
        x = batch[name]
        shape = made.shape[:-1] if self.costs[name] == "cross-entropy" else made.shape
        if name == "label" and x.shape == (len(made),) and shape == (len(made), 1):
            x = x.unsqueeze(1)
        if x.shape != shape:
            raise ValueError(f"MFM: {name!r} must be {tuple(shape)} as it is made, got {tuple(x.shape)}")
        if not x.isfinite().all():
            raise ValueError(f"MFM: {name!r} has NaN or infinite values")
        return x if self.costs[name] == "cross-entropy" else x.to(made.dtype)

    def _real(self, name: str, batch: Batch) -> Tensor | None:
        """Which numbers of a modality are there, (B, 1) or (B, T); None: all."""
        x, present = batch[name], batch.get(f"{name}_present")
        real = None if present is None else present.unsqueeze(1)
        if name in self.decoders and hasattr(self.decoders[name], "steps") and "length" in batch:
            late = torch.arange(x.shape[1], device=x.device) >= x.shape[1] - batch["length"].unsqueeze(1)
            real = late if real is None else late & real
        return real


def _mean(cost: Tensor, real: Tensor | None) -> Tensor:
    """The mean over an example's numbers that are there, then over examples that have any."""
    if real is None:
        return cost.mean()
    weight = real.view(*real.shape, *[1] * (cost.ndim - 2)).expand_as(cost).to(cost.dtype).flatten(1)
    each = (cost.flatten(1) * weight).sum(1) / weight.sum(1).clamp_min(1)
    return each.sum() / (weight.sum(1) > 0).sum().clamp_min(1)


def _squared(made: Tensor, x: Tensor, real: Tensor | None) -> Tensor:
    return _mean(F.mse_loss(made, x, reduction="none"), real)


def _absolute(made: Tensor, x: Tensor, real: Tensor | None) -> Tensor:
    return _mean(F.l1_loss(made, x, reduction="none"), real)


def _cross_entropy(made: Tensor, x: Tensor, real: Tensor | None) -> Tensor:
    cost = F.cross_entropy(made.flatten(0, -2), x.flatten(), reduction="none").view_as(x)
    return _mean(cost.unsqueeze(1) if cost.ndim == 1 else cost, real)


COSTS = {"squared": _squared, "absolute": _absolute, "cross-entropy": _cross_entropy}
