"""The model in the order in which data meet it: Q, G, D and F, equation 4. Symbols and variants: ``__init__.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from .checks import (
    NO_MODALITY,
    check_batch,
    check_dtype,
    check_names,
    check_present,
    flag,
    kind,
    module,
    modules,
    moved,
    named,
    number,
    on_device,
    reading,
    whole,
)
from .costs import (
    Batch,
    Cost,
    check_cost,
    check_costs,
    check_padded,
    check_targets,
    cross_entropy,
    masked_mean,
    squared_error,
)
from .kernels import mmd


class Factor(nn.Module):
    """A latent code Z that is a function of the input, and the factor F = G(Z). Its penalty is MMD².

    Args:
        encoder: from a batch to (B, size); any multimodal network, or one modality by `FromModality` or `LSTMEncoder`.
        size: of the encoder's output.
        z: size of the latent code. It comes from a linear layer, because the output of an LSTM lies between −1 and 1
            and could not be normally distributed.
        f: size of the factor.
        weight: of the penalty, times λ; an MMD is much smaller than a KL divergence.
        dropout: probability, within G, in training.

    Examples:
        >>> factor = Factor(FromModality("image", nn.Flatten()), 12, z=4, f=8)
        >>> z, _ = factor.infer({"image": torch.rand(5, 3, 4)})
        >>> z.shape, factor.to_factor(z).shape
        (torch.Size([5, 4]), torch.Size([5, 8]))
    """

    numbers = 1  # that describe Q(Z|X), for each number of Z

    def __init__(
        self, encoder: nn.Module, size: int, z: int, f: int, *, weight: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        who = type(self).__name__
        self.size, self.z, self.f = whole(who, "size", size), whole(who, "z", z), whole(who, "f", f)
        self.weight = number(who, "the weight", weight)
        self.encoder = module(who, "encoder", encoder)
        dropout = number(who, "dropout", dropout, 0, 1)
        self.to_latent = nn.Linear(size, self.numbers * z)
        self.to_factor = nn.Sequential(nn.Linear(z, f), nn.ReLU(), nn.Dropout(dropout), nn.Linear(f, f), nn.ReLU())

    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The latent code (B, z), and what describes Q(Z|X), here the same."""
        check_input(self, batch)
        with reading(type(self).__name__, "all modalities", batch, self.encoder):
            h: Tensor = self.encoder(moved(batch, self))  # (B, h)
        check_encoding(self, h, batch)
        z = self.to_latent(h)  # (B, z)
        return z, z

    def penalty(self, q: Tensor, counted: Tensor | None = None) -> Tensor:
        """MMD² of the latent codes that count, bool (B,), from N(0, I), times the weight; a scalar."""
        return self.weight * mmd(q, counted=counted)


class VariationalFactor(Factor):
    """A latent code with a normal distribution, and its factor F = G(Z). The penalty is a KL divergence.

    In training the latent code is drawn from Q(Z|X) = N(μ, σ²); in evaluation it is the mean μ. The arguments are those
    of `Factor`.

    Examples:
        >>> factor = VariationalFactor(FromModality("image", nn.Flatten()), 12, z=4, f=8)
        >>> z, q = factor.infer({"image": torch.rand(5, 3, 4)})
        >>> z.shape, q.shape, bool(factor.penalty(q) > 0)
        (torch.Size([5, 4]), torch.Size([5, 8]), True)
    """

    numbers = 2  # μ and log σ

    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The latent code (B, z), and μ and log σ side by side (B, 2 z)."""
        check_input(self, batch)
        with reading(type(self).__name__, "all modalities", batch, self.encoder):
            h: Tensor = self.encoder(moved(batch, self))  # (B, h)
        check_encoding(self, h, batch)
        q = self.to_latent(h)  # (B, 2 z)
        posterior = self.posterior(q)  # (B, z)
        return posterior.rsample() if self.training else posterior.mean, q

    def posterior(self, q: Tensor) -> Normal:
        """Q(Z|X)."""
        mean, log_std = q.chunk(2, 1)
        return Normal(mean, log_std.exp(), validate_args=False)

    def penalty(self, q: Tensor, counted: Tensor | None = None) -> Tensor:
        """KL(Q(Z|X) ‖ N(0, I)) in nats, the mean over the examples that count, times the weight; a scalar."""
        zero = torch.zeros_like(q[:, : self.z])  # (B, z)
        prior = Normal(zero, torch.ones_like(zero), validate_args=False)  # (B, z)
        kl = kl_divergence(self.posterior(q), prior).sum(1)  # (B,)
        return self.weight * masked_mean(kl, None if counted is None else counted.unsqueeze(1))


class FromModality(nn.Module):
    """An encoder of one modality as an encoder of a batch. Where the modality is missing, the encoder reads zeros.

    Args:
        modality: its name.
        encoder: from (B, …) to (B, size).

    Examples:
        >>> encoder = FromModality("image", nn.Flatten())
        >>> encoder({"image": torch.rand(2, 3, 4), "image_present": torch.tensor([True, False])})[1].sum()
        tensor(0.)
    """

    def __init__(self, modality: str, encoder: nn.Module) -> None:
        super().__init__()
        check_names("FromModality", [modality])
        self.modality, self.encoder = modality, module("FromModality", "encoder", encoder)

    def forward(self, batch: Batch) -> Tensor:
        """The encoded modality, (B, size)."""
        self.check(batch)
        x = observed(moved(batch, self))[self.modality]  # (B, ...)
        with reading("FromModality", self.modality, x, self.encoder):
            h: Tensor = self.encoder(x)  # (B, h)
        return h

    def check(self, batch: Batch) -> None:
        """Refuse a batch that cannot be read."""
        check_one("FromModality", batch, self.modality, self)


def observed(batch: Batch) -> dict[str, Tensor]:
    """The batch with zeros wherever a mask says that something is missing: no NaN there, and no gradient.

    A mask comes back on the device of what it masks.
    """
    zeroed = dict(batch)
    for name, x in batch.items():
        if isinstance(x, Tensor) and f"{name}_present" in batch:
            present = on_device(batch[f"{name}_present"], x.device)  # (B,)
            mask = present.view(-1, *[1] * (x.ndim - 1))
            zeroed[name], zeroed[f"{name}_present"] = torch.where(mask, x, torch.zeros_like(x)), present
    return zeroed


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards every part of it is in the mode it came in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


class MFM(nn.Module):
    """The Multimodal Factorization Model. Its equations and the table of its variants stand in ``__init__.py``.

    Args:
        classes: of the label; with another cost than `cross_entropy`, its numbers.
        label: the factor F_y; None: the label is predicted from the styles.
        style: a factor for each modality by name, one factor for all, or None.
        decoders: for each modality that is reconstructed a network from all its factors, (B, Σ f), to its shape. None:
            no modality is. A decoder with an attribute ``steps`` gives sequences (B, T, …).
        costs: for each modality `squared_error` (default), `absolute_error`, `cross_entropy` (the modality has class
            numbers (B, …), the decoder gives scores (B, …, classes)) or another function or module from x̂ and x to
            costs (B, …), such as ``nn.HuberLoss(reduction="none")``. One that takes class numbers, as `cross_entropy`
            does, says so by an attribute ``takes_classes = True``.
        weights: λᵢ of each modality, 1 where none is given. A cost is a mean over a modality's numbers.
        label_cost: likewise for the label. If it takes no classes, the label must be float, (B, classes), where one
            number may be (B,), too.
        label_weight: of the label's cost.
        prior: λ.
        joint: the penalty is one MMD of all latent codes together, as equation 4 has it, instead of one for each code
            and their sum. No factor may be a `VariationalFactor` or have another weight than 1.
        dropout: probability, within D, in training.

    Examples:
        >>> style = Factor(FromModality("image", nn.Flatten()), 12, z=4, f=8)
        >>> label = Factor(FromModality("image", nn.Flatten()), 12, z=4, f=8)
        >>> decoder = nn.Sequential(nn.Linear(16, 12), nn.Unflatten(1, (3, 4)))
        >>> model = MFM(3, label, {"image": style}, {"image": decoder})
        >>> sorted(model.loss({"image": torch.rand(5, 3, 4), "label": torch.arange(5) % 3}))
        ['image', 'label', 'loss', 'prior']
        >>> model.generate(model.sample(2))["image"].shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        classes: int,
        label: Factor | None,
        style: Mapping[str, Factor] | Factor | None,
        decoders: Mapping[str, nn.Module] | None,
        *,
        costs: Mapping[str, Cost] | None = None,
        weights: Mapping[str, float] | None = None,
        label_cost: Cost = cross_entropy,
        label_weight: float = 1.0,
        prior: float = 1.0,
        joint: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_dicts(label, style, decoders, costs, weights)
        dropout = number("MFM", "dropout", dropout, 0, 1)
        styles = {"style": style} if isinstance(style, Factor) else dict(style or {})
        factors = ({} if label is None else {"label": label}) | styles
        check_factors(label, style, decoders or {}, joint)
        self.parts: Mapping[str, Factor] = cast(Any, nn.ModuleDict(factors))  # to mypy, each part is a `Factor`
        self.decoders, self.joint = nn.ModuleDict(decoders or {}), flag("MFM", "joint", joint)
        self.costs = {"label": label_cost, **dict.fromkeys(self.decoders, squared_error), **(costs or {})}
        self.weights = {"label": label_weight, **dict.fromkeys(self.decoders, 1.0), **(weights or {})}
        self.weights = check_costs(self.costs, self.weights, self.decoders)
        self.cost_modules = nn.ModuleDict({m: c for m, c in self.costs.items() if isinstance(c, nn.Module)})
        self.prior = number("MFM", "the weight of 'prior'", prior)
        self.label_from = list(factors) if label is None else ["label"]
        size = sum(factors[name].f for name in self.label_from)
        self.classifier = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(size, whole("MFM", "classes", classes))
        )

    def infer(self, batch: Batch) -> dict[str, Tensor]:
        """Q (equation 3): the latent codes ``"label"`` (Z_y), ``"style"`` or a modality's name (Z_a), each (B, z)."""
        check_modalities("MFM", batch, model=self)
        batch = observed(batch)
        return {name: part.infer(batch)[0] for name, part in self.parts.items()}

    def factors(self, latents: Batch) -> dict[str, Tensor]:
        """F = G(Z) of each latent code, (B, f). Latent codes of different examples may be put together."""
        check_latents(self, latents)
        latents = moved(latents, self)
        return {name: part.to_factor(latents[name]) for name, part in self.parts.items()}

    def classify(self, factors: Batch) -> Tensor:
        """Ŷ = D(F_y): scores of the label, (B, classes)."""
        check_floats(self, factors)
        factors = moved(factors, self)
        scores: Tensor = self.classifier(torch.cat([factors[name] for name in self.label_from], 1))  # (B, classes)
        return scores

    def decode(self, factors: Batch) -> dict[str, Tensor]:
        """X̂ᵢ = Fᵢ(F_y, F_aᵢ) of each modality and, as ``"label"``, Ŷ."""
        check_floats(self, factors)
        factors = moved(factors, self)
        outputs = {"label": self.classify(factors)}
        for modality, decoder in self.decoders.items():
            own = [factors[name] for name in ("label", "style", modality) if name in factors]
            outputs[modality] = decoder(torch.cat(own, 1))
        return outputs

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Equation 4, the mean over examples.

        Args:
            batch: the modalities, ``"label"``, and perhaps ``"length"`` and masks. What is missing costs
                nothing, and its style has no penalty.

        Returns:
            ``"loss"``; ``"label"``, a cost for each modality and ``"prior"``, all without their weights. With λ = 0 the
            penalty is not computed.
        """
        check_modalities("MFM", batch, self.decoders, self)
        batch = observed(batch)
        latents, q = {}, {}
        for name, part in self.parts.items():
            latents[name], q[name] = part.infer(batch)
        outputs = self.decode(self.factors(latents))
        targets = moved(check_targets(self.costs, batch, outputs), self)
        costs = {name: check_cost(name, self.costs[name](outputs[name], x), x) for name, x in targets.items()}
        terms = {name: masked_mean(cost, self.counted(name, batch)) for name, cost in costs.items()}
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()  # ()
        masks = {f"{name}_present" for name in self.parts if name not in ("label", "style")} & batch.keys()
        there = moved({mask: batch[mask] for mask in masks}, self)  # of the modalities that have a style
        if self.prior and self.joint:
            complete = torch.stack([*there.values()]).all(0) if there else None
            terms["prior"] = mmd(torch.cat([*latents.values()], 1), counted=complete)
        elif self.prior:
            penalties = [part.penalty(q[name], there.get(f"{name}_present")) for name, part in self.parts.items()]
            terms["prior"] = torch.stack(penalties).sum()
        return {"loss": loss + self.prior * terms["prior"] if self.prior else loss, **terms}

    def generate(self, latents: Batch) -> dict[str, Tensor]:
        """The modalities of latent codes and, as ``"label"``, the scores of their label."""
        return self.decode(self.factors(latents))

    def forward(self, batch: Batch) -> Tensor:
        """Scores of the label, (B, classes)."""
        return self.classify(self.factors(self.infer(batch)))

    def sample(self, n: int) -> dict[str, Tensor]:
        """Latent codes from the prior N(0, I), (n, z) each, drawn with torch's global random numbers."""
        like = next(self.parameters())
        n = whole("MFM", "n", n)
        return {name: torch.randn(n, part.z, device=like.device, dtype=like.dtype) for name, part in self.parts.items()}

    def counted(self, name: str, batch: Batch) -> Tensor | None:
        """Which numbers of the label or a modality have a cost: bool (B, 1) or (B, T); None: all."""
        mask = f"{name}_present"
        says = moved({key: batch[key] for key in (mask, "length") if key in batch}, self)
        present = says[mask].unsqueeze(1) if mask in says else None  # (B, 1)
        if "length" not in says or name not in self.decoders or not hasattr(self.decoders[name], "steps"):
            return present
        T, length = batch[name].shape[1], says["length"]
        real = torch.arange(T, device=length.device) >= T - length.unsqueeze(1)  # (B, T)
        return real if present is None else real & present

    def check_batch(self, batch: Batch) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        check_modalities("MFM", batch, self.decoders, self)
        batch = observed(batch)
        for part in self.parts.values():
            check_for(part.encoder, batch)
        like, size = next(self.parameters()), len(next(iter(batch.values())))
        with in_evaluation(self), torch.no_grad():  # of one example, to see the shapes of the outputs
            outputs = self.generate({name: like.new_zeros(1, part.z) for name, part in self.parts.items()})
        check_targets(self.costs, batch, {name: x.expand(size, *x.shape[1:]) for name, x in outputs.items()})


# ---- messages


def check_for(encoder: object, batch: Batch) -> None:
    """Let an encoder with a method ``check`` say what it cannot read."""
    if check := getattr(encoder, "check", None):
        check(batch)


def check_input(reader: nn.Module, batch: Batch) -> None:
    """Let the encoder of a module check a batch that is about to leave the CPU; then it can no longer see values."""
    if next(reader.parameters()).device.type != "cpu":
        check_for(reader.encoder, batch)


def check_encoding(factor: Factor, h: Tensor, batch: Batch) -> None:
    """Refuse what an encoder gives if it has another shape than was promised, or another float type."""
    try:
        check_dtype(type(factor).__name__, "the encoder's output", h, factor.to_latent)
    except TypeError as error:
        raise TypeError(f"{error}; the batch has {kind(batch)}") from None
    if h.ndim != 2 or h.shape[1] != factor.size:
        raise ValueError(f"{type(factor).__name__}: the encoder must give (B, {factor.size}), got {tuple(h.shape)}")


def check_modalities(who: str, batch: Batch, targets: Iterable[str] = (), model: nn.Module | None = None) -> None:
    """Refuse masks that are no masks, an example without any modality, and a batch without a modality to reconstruct.

    Encoders speak for the modalities that they read. Those that a model has factors or decoders of must have its float
    type, since its encoders may be of any kind.
    """
    if not isinstance(batch, Mapping):
        raise TypeError(f"{who}: a batch must be a dict of tensors, got {kind(batch)}")
    targets = list(targets)
    there = check_batch(who, batch, targets, some=False) if targets else []
    if missing := [m for m in targets if m not in there]:
        raise ValueError(f"{who}: the batch has no {missing[0]!r}, only {', '.join(batch)}")
    tensors = {n: x for n, x in batch.items() if isinstance(x, Tensor) and x.ndim and not n.endswith("_present")}
    for n in ({*model.parts, *model.decoders} - {"label", "style"}) & tensors.keys() if isinstance(model, MFM) else ():
        check_dtype(who, n, tensors[n], model)
    for n in targets:
        if isinstance(model, MFM) and hasattr(model.decoders[n], "steps"):
            check_padded(who, batch, n)
    masks = {n: batch[f"{n}_present"] for n in tensors if f"{n}_present" in batch}
    for n, mask in masks.items():
        size = len(tensors[n])
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (size,):
            raise ValueError(f"{who}: '{n}_present' must be bool ({size},), got {kind(mask)}")
    modalities = [n for n in tensors if n not in NO_MODALITY and not n.endswith("_label")]
    sizes = {n: len(tensors[n]) for n in modalities}
    if len({*sizes.values()}) > 1:
        raise ValueError(f"{who}: modalities need the same number of examples, got {sizes}")
    # What is no tensor may be what an example has: its encoder says so.
    if len(tensors) + sum(n.endswith("_present") for n in batch) < len(batch):
        return
    if modalities and all(n in masks and masks[n].device.type == "cpu" for n in modalities):
        check_present(who, torch.stack([masks[n] for n in modalities], 1))


def check_one(who: str, batch: Batch, modality: str, model: nn.Module | None = None) -> None:
    """Refuse a batch without the one modality that a network reads, or where it is not what it should be."""
    named(who, modality, [n for n in batch if n not in NO_MODALITY and not n.endswith(("_present", "_label"))])
    check_batch(who, batch, [modality], some=False, model=model)


def check_latents(model: MFM, latents: Batch) -> None:
    """Refuse latent codes of which one is not there, or of another float type."""
    if missing := [name for name in model.parts if name not in latents]:
        raise ValueError(f"MFM: no latent code {missing[0]!r}, only {', '.join(latents)}")
    check_floats(model, latents)


def check_floats(model: MFM, given: Batch) -> None:
    """Refuse latent codes or factors of another float type."""
    for name in given.keys() & model.parts.keys():
        check_dtype("MFM", name, given[name], model)


def check_dicts(label: object, style: object, decoders: object, costs: object, weights: object) -> None:
    """Refuse what is no factor, no network or no dict by modality."""
    several = style is not None and not isinstance(style, Factor)
    styles = {f"style[{m!r}]": part for m, part in modules("MFM", "style", style).items()} if several else {}
    for name, part in {"label": label, **styles}.items():
        if not isinstance(part, Factor | None):
            raise TypeError(f"MFM: {name} must be a Factor, got {part!r}")
    if decoders is not None:
        modules("MFM", "decoders", decoders)
    for name, given in (("costs", costs), ("weights", weights)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"MFM: {name} must be a dict by modality, got {kind(given)}")


def check_factors(
    label: Factor | None, style: Mapping[str, Factor] | Factor | None, decoders: Iterable[str], joint: bool
) -> None:
    """Refuse factors from which label and modalities cannot be made."""
    check_names("MFM", [*(style if isinstance(style, Mapping) else ()), *decoders], ("style", "prior"))
    factors = [f for f in (label, *(style.values() if isinstance(style, Mapping) else (style,))) if f is not None]
    if not factors or (label is None and isinstance(style, Factor)):
        raise ValueError("MFM: needs the label's factor, or one factor for each modality")
    if isinstance(style, Mapping) and (without := sorted({*decoders} - style.keys())):
        raise ValueError(f"MFM: {without[0]!r} has a decoder but no factor")
    if joint and any(isinstance(f, VariationalFactor) or f.weight != 1 for f in factors):
        raise ValueError(
            "MFM: joint needs factors with an MMD, no `VariationalFactor`, and of weight 1; prior has the weight"
        )
