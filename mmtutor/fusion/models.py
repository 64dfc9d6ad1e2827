"""The models: a classifier of several modalities that meet early, late, or in between.

`Classifier` holds what they share: the path from a batch to features and the loss. The rules at the end merge class
probabilities for `DecisionFusion`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_batch, check_finite, check_label, check_names, kind, moved, whole
from .merges import Concat, CrossAttention, Merge, keep


class Classifier(nn.Module, ABC):
    """Abstract: an encoder for each modality, and the cross-entropy of what ``forward`` gives.

    A batch may be on any device, its masks on another: it is moved to the parameters, and what is returned is there.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        dims: the encoders' output sizes dₘ.
        classes: number C of classes.

    Raises:
        TypeError: an encoder is no module, or a name no string.
        ValueError: there is no modality, one has a name that it cannot have, or sizes do not fit.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int) -> None:
        _check_encoders(self, encoders, dims)
        super().__init__()
        self.encoders, self.dims = nn.ModuleDict(encoders), tuple(dims)
        self.classes = whole(type(self).__name__, "classes", classes, 2)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean cross-entropy in nats, ``{"loss": ()}``, of a batch with ``"label"``, int64 (B,).

        Raises:
            TypeError: a modality is no tensor, or the label not int64.
            ValueError: as ``forward``, or there is no label, or one is not from 0 to C − 1.
        """
        logits = self(batch)  # (B, C)
        label = check_label(type(self).__name__, batch, self.classes, len(logits))  # (B,)
        return {"loss": F.cross_entropy(logits, label.to(logits.device))}

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, C).

        Raises:
            TypeError: a modality is no tensor.
            ValueError: a modality is misspelt, sizes differ, a mask is no mask, values that are there are NaN or
                infinite, or an example has no modality at all.
        """

    def encode(self, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """Features of each modality, (B, dₘ), zero where its key is absent, and ``present``, bool (B, M)."""
        here = check_batch(type(self).__name__, batch, self.encoders)
        batch = moved(batch, self)
        encoded = {m: self.encoders[m](keep(batch[m], batch.get(f"{m}_present"))) for m in here}
        size, some = len(batch[here[0]]), encoded[here[0]]
        everywhere = torch.ones(size, dtype=torch.bool, device=some.device)  # (B,)
        features, masks = [], []
        for m, d in zip(self.encoders, self.dims, strict=True):
            features.append(encoded[m] if m in here else some.new_zeros(size, d))
            masks.append(batch.get(f"{m}_present", everywhere) if m in here else ~everywhere)
        return features, torch.stack(masks, 1)

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        here = check_batch(type(self).__name__, batch, self.encoders)
        check_label(type(self).__name__, batch, self.classes, len(batch[here[0]]))


class EarlyFusion(Classifier):
    """Early fusion: the modalities are concatenated as they come, and one learner reads them all.

    A missing modality is zeros, which the learner cannot tell from true zeros.

    Args:
        sizes: modality name to the number of values that one example has; they are flattened and concatenated.
        classes: number C of classes.
        learner: a network from (B, sum of sizes) to (B, C); by default a perceptron with two hidden layers of 128
            on the normalised input (raw modalities have different scales, and without it this does not learn).

    Examples:
        >>> model = EarlyFusion({"image": 4, "sound": 5}, classes=3)
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5), "label": torch.zeros(7).long()}
        >>> model(batch).shape, model.loss(batch)["loss"].shape
        (torch.Size([7, 3]), torch.Size([]))
    """

    def __init__(self, sizes: Mapping[str, int], classes: int, learner: nn.Module | None = None) -> None:
        super().__init__(*_flattened(sizes), classes)
        self.merge = Concat(self.dims)
        self.learner = _perceptron(self.merge.dim, 128, classes) if learner is None else learner

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        features, present = self.encode(batch)
        x = self.merge(features, present)  # (B, D)
        logits: Tensor = self.learner(x)  # (B, C)
        return logits


def _perceptron(size: int, hidden: int, classes: int) -> nn.Module:
    first, second, last = nn.Linear(size, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)
    return nn.Sequential(nn.LayerNorm(size), first, nn.ReLU(), second, nn.ReLU(), last)


class LateFusion(Classifier):
    """Late fusion of features: one encoder per modality, a merge, and a classifier on top.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        classes: number C of classes.
        merge: how features meet; its ``dims`` are the encoders' output sizes, in the same order.
        hidden: units of the layer between merge and classes; 0 for a linear classifier.

    Examples:
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 4)}
        >>> model = LateFusion(encoders, classes=3, merge=Concat([4, 4]))
        >>> model({"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5)}).shape
        torch.Size([7, 3])
    """

    def __init__(self, encoders: Mapping[str, nn.Module], classes: int, merge: Merge, hidden: int = 64) -> None:
        super().__init__(encoders, _dims_of(self, merge), classes)
        self.merge = merge
        hidden = whole(type(self).__name__, "hidden", hidden, 0)
        layers = [nn.ReLU(), nn.Linear(merge.dim, hidden), nn.ReLU()] if hidden else []
        self.head = nn.Sequential(*layers, nn.Linear(hidden or merge.dim, classes))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        features, present = self.encode(batch)
        x = self.merge(features, present)  # (B, D)
        logits: Tensor = self.head(x)  # (B, C)
        return logits


class CrossModalFusion(LateFusion):
    """Intermediate (cross-modal) fusion: the branches attend to each other K times before they are merged.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ) or, with positions, (B, Tₘ, dₘ).
        classes: number C of classes.
        dims: the encoders' output sizes dₘ.
        exchanges: number K of exchanges.
        dim: size of the features that are exchanged.
        heads: attention heads.

    Examples:
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 6)}
        >>> model = CrossModalFusion(encoders, classes=3, dims=[4, 6], exchanges=2, dim=8)
        >>> model({"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 9, 5)}).shape
        torch.Size([7, 3])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        dims: Sequence[int],
        exchanges: int = 1,
        dim: int = 64,
        heads: int = 4,
    ) -> None:
        super().__init__(encoders, classes, CrossAttention(dims, dim, exchanges, heads))


class DecisionFusion(Classifier):
    """Decision-level fusion: each modality has its own complete classifier, and class probabilities are merged.

    The branches are trained each on its own; only the weights of a `WeightedRule` see the merged decision. So
    another rule can be tried without training: ``model.rule = ProductRule()``.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        classes: number C of classes.
        dims: the encoders' output sizes dₘ.
        rule: how probabilities are merged; None: `MeanRule`.

    Examples:
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 6)}
        >>> model = DecisionFusion(encoders, classes=3, dims=[4, 6], rule=WeightedRule(2))
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5), "label": torch.zeros(7).long()}
        >>> model(batch).shape, list(model.loss(batch))
        (torch.Size([7, 3]), ['loss', 'image', 'sound', 'weights'])
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], classes: int, dims: Sequence[int], rule: Rule | None = None
    ) -> None:
        super().__init__(encoders, dims, classes)
        self.heads = nn.ModuleDict({m: nn.Linear(d, classes) for m, d in zip(encoders, dims, strict=True)})
        self.rule = _check_rule(self, MeanRule() if rule is None else rule)

    def branches(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Each modality's own classifier: log p(y | xₘ), (B, M, C), and ``present``, bool (B, M)."""
        features, present = self.encode(batch)
        _check_branches(self, features, len(present))
        log_p = [head(x.relu()).log_softmax(1) for head, x in zip(self.heads.values(), features, strict=True)]
        return torch.stack(log_p, 1), present

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Merged log-probabilities (B, C)."""
        log_p, present = self.branches(batch)
        fused: Tensor = self.rule(log_p, present)  # (B, C)
        return fused

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The branches' cross-entropies in nats, by modality, and their sum (plus that of learned weights)."""
        log_p, present = self.branches(batch)
        label = check_label("DecisionFusion", batch, self.classes, len(log_p)).to(log_p.device)  # (B,)
        nll = -log_p.gather(2, label[:, None, None].expand(-1, len(self.dims), 1)).squeeze(2)  # (B, M)
        means = nll.masked_fill(~present, 0).sum(0) / present.sum(0).clamp(min=1)  # (M,)
        terms = {m: means[k] for k, m in enumerate(self.encoders)}
        if isinstance(self.rule, WeightedRule):
            terms["weights"] = F.nll_loss(self.rule(log_p.detach(), present), label)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


class Rule(nn.Module, ABC):
    """Abstract: merges class probabilities pₘ = p(y | xₘ) of M modalities (Kittler et al., 1998)."""

    @abstractmethod
    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Merge log pₘ, (B, M, C), where ``present``, bool (B, M), is true, to log-probabilities (B, C).

        Both may be on any device; the result is on that of the rule's parameters, without any on that of log pₘ.
        """


class MeanRule(Rule):
    """Σ pₘ / M over the modalities that are there.

    Examples:
        >>> p = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]])
        >>> MeanRule()(p.log(), torch.ones(1, 2, dtype=torch.bool)).exp()
        tensor([[0.7000, 0.3000]])
    """

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Log Σ pₘ / M."""
        present = present.to(log_p.device)
        log_p = log_p.masked_fill(~present[..., None], -torch.inf)  # (B, M, C)
        count = present.sum(1, keepdim=True).to(log_p)  # (B, 1)
        return log_p.logsumexp(1) - count.log()  # (B, C)


class ProductRule(Rule):
    """∏ pₘ / p(y)^(M−1): the exact posterior if modalities are independent given the class.

    Every pₘ holds the prior once, so M − 1 of them are divided out. A missing modality is left out.

    Args:
        prior: class probabilities p(y), float (C,), all positive; None: equal.

    Raises:
        TypeError: the prior is no tensor.
        ValueError: it is not positive probabilities that add up to one.

    Examples:
        >>> p = torch.tensor([[[0.9, 0.1], [0.9, 0.1]]])
        >>> ProductRule()(p.log(), torch.ones(1, 2, dtype=torch.bool)).exp()
        tensor([[0.9878, 0.0122]])
    """

    log_prior: Tensor

    def __init__(self, prior: Tensor | None = None) -> None:
        super().__init__()
        _check_prior(prior)
        self.register_buffer("log_prior", torch.zeros(()) if prior is None else prior.log())

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Σ log pₘ − (M − 1) log p(y), normalised."""
        present = present.to(log_p.device)
        total = log_p.masked_fill(~present[..., None], 0).sum(1)  # (B, C)
        count = present.sum(1, keepdim=True)  # (B, 1)
        return (total - (count - 1) * self.log_prior.to(log_p.device)).log_softmax(1)  # (B, C)


class WeightedRule(Rule):
    """Σ wₘ pₘ with learned weights w = softmax(v) over the modalities that are there.

    Args:
        modalities: number M of modalities.
    """

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(whole("WeightedRule", "modalities", modalities)))

    def forward(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Log Σ wₘ pₘ."""
        log_p, present = log_p.to(self.weights.device), present.to(self.weights.device)
        log_w = self.weights.masked_fill(~present, -torch.inf).log_softmax(1)  # (B, M)
        weighted = (log_p + log_w[..., None]).masked_fill(~present[..., None], -torch.inf)  # (B, M, C)
        return weighted.logsumexp(1)  # (B, C)


# ---- messages


def _check_encoders(model: Classifier, encoders: Mapping[str, nn.Module], dims: Sequence[int]) -> None:
    who = type(model).__name__
    if not isinstance(encoders, Mapping):
        raise TypeError(f"{who}: encoders must be a dict from modality to module, got {kind(encoders)}")
    if not encoders or len(dims) != len(encoders):
        raise ValueError(f"{who}: needs at least one modality, and a size for each; got {tuple(encoders)}, {dims}")
    check_names(who, encoders, taken=("weights",))
    for m, encoder in encoders.items():
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"{who}: the encoder of {m!r} must be a torch.nn.Module, got {kind(encoder)}")
    for k, d in enumerate(dims):
        whole(who, f"dims[{k}]", d)


def _flattened(sizes: Mapping[str, int]) -> tuple[dict[str, nn.Module], list[int]]:
    if not isinstance(sizes, Mapping):
        raise TypeError(f"EarlyFusion: sizes must be a dict from modality to a number, got {kind(sizes)}")
    return {m: nn.Flatten() for m in sizes}, list(sizes.values())


def _dims_of(model: LateFusion, merge: Merge) -> tuple[int, ...]:
    if not isinstance(merge, Merge):
        raise TypeError(f"{type(model).__name__}: merge must be a Merge, such as Concat([64, 64]), got {kind(merge)}")
    return merge.dims


def _check_branches(model: DecisionFusion, features: list[Tensor], size: int) -> None:
    for m, x, d in zip(model.encoders, features, model.dims, strict=True):
        if x.shape != (size, d) or not x.is_floating_point():
            raise ValueError(f"DecisionFusion: the encoder of {m!r} must give floats ({size}, {d}), got {kind(x)}")
        check_finite("DecisionFusion", f"features of {m}", x)


def _check_prior(prior: Tensor | None) -> None:
    if prior is None:
        return
    if not isinstance(prior, Tensor) or not prior.is_floating_point():
        raise TypeError(f"ProductRule: prior must be a float tensor (C,), got {kind(prior)}")
    if prior.ndim != 1 or not (prior > 0).all() or abs(float(prior.sum()) - 1) > 1e-4:
        raise ValueError("ProductRule: prior must be one positive probability for each class, with the sum 1")


def _check_rule(model: DecisionFusion, rule: Rule) -> Rule:
    if not isinstance(rule, Rule):
        raise TypeError(f"DecisionFusion: rule must be a Rule, such as ProductRule(), got {rule!r}")
    if isinstance(rule, WeightedRule) and len(rule.weights) != len(model.dims):
        raise ValueError(f"DecisionFusion: rule has {len(rule.weights)} weights for {len(model.dims)} modalities")
    if isinstance(rule, ProductRule) and rule.log_prior.shape not in ((), (model.classes,)):
        raise ValueError(f"DecisionFusion: rule has a prior of {len(rule.log_prior)} classes, not {model.classes}")
    return rule
