"""The models: a classifier, or a regression, of several modalities that meet early, late, or in between.

`Classifier` holds what they share: the path from a batch to features and the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import CrossAttention
from .checks import (
    check_batch,
    check_finite,
    check_label,
    check_length,
    check_names,
    check_numbers,
    check_padding,
    flag,
    is_padded,
    kind,
    last_layer,
    module,
    modules,
    moved,
    on_device,
    reading,
    whole,
)
from .costs import Cost, check_cost, check_costs, cross_entropy, takes_classes, takes_numbers
from .merges import Concat, Merge, check_sizes, keep
from .rules import MeanRule, Rule, WeightedRule, check_rule


class Classifier(nn.Module, ABC):
    """Abstract: an encoder for each modality, and the mean cost of what ``forward`` gives.

    A batch may be on any device, its masks on another: it is moved to the parameters, and what is returned is there.

    Sequences (B, T, …) of different length are padded, and the batch says how many steps are real: ``"length"``,
    int64 (B,), or ``"<modality>_length"`` where modalities differ in it. An encoder with ``reads_length = True`` is
    handed the modality's length, as ``encoder(x, length)``; its attribute ``padding``, ``"end"`` or ``"front"``, says
    where padding must be. ``reads_length = False`` says that an encoder may read padding as if it were data.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        dims: the encoders' output sizes dₘ.
        classes: number C of classes; for a regression, of the numbers predicted.
        cost: from what ``forward`` gives, (B, C), and the label to a cost of each example, (B,).

    Raises:
        TypeError: an encoder is no module, a name no string, or the cost no function.
        ValueError: there is no modality, one has a name that it cannot have, or sizes do not fit.
    """

    takes_positions = True  # whether an encoder may give (B, Tₘ, dₘ), where the merge takes it

    def __init__(
        self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int, cost: Cost = cross_entropy
    ) -> None:
        dims = _check_encoders(self, encoders, dims)
        super().__init__()
        self.encoders, self.dims = nn.ModuleDict(encoders), dims
        self.classes, self.cost = check_cost(type(self).__name__, cost, classes), cost

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean cost, ``{"loss": ()}``; by default the cross-entropy in nats.

        Args:
            batch: with ``"label"``, int64 (B,); of a regression float (B, C), where C = 1 also (B,).

        Raises:
            TypeError: a modality is no tensor or of another float type than the parameters, or the label is of another
                type than the cost needs.
            ValueError: as ``forward``, or there is no label, or one is not from 0 to C − 1, or not of C numbers.
        """
        logits = self(batch)  # (B, C)
        costs = self.cost(logits, _label(self, batch, logits))  # (B,)
        return {"loss": check_costs(type(self).__name__, costs, logits.shape).mean()}

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits, or the numbers that a regression predicts, (B, C).

        Raises:
            TypeError: a modality is no tensor, or of another float type than the parameters.
            ValueError: a modality is misspelt, sizes differ, a mask is no mask, values that are there are NaN or
                infinite, an example has no modality at all, or padding is not where the encoder needs it.
        """

    def encode(self, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """Features of each modality, (B, dₘ), zero where its key is absent, and ``present``, bool (B, M)."""
        here = _check_batch(self, batch)
        names = ["length", *here, *(f"{m}_present" for m in here), *(f"{m}_length" for m in here)]
        batch = moved({name: batch[name] for name in names if name in batch}, self)
        encoded = {m: self.read(m, batch) for m in here}
        size, some = len(batch[here[0]]), encoded[here[0]]
        everywhere = torch.ones(size, dtype=torch.bool, device=some.device)  # (B,)
        features, masks = [], []
        for m, d in zip(self.encoders, self.dims, strict=True):
            features.append(encoded[m] if m in here else some.new_zeros(size, d))
            masks.append(batch.get(f"{m}_present", everywhere) if m in here else ~everywhere)
        return features, torch.stack(masks, 1)

    def read(self, modality: str, batch: Mapping[str, Tensor]) -> Tensor:
        """What the encoder of one modality gives; where the modality is missing, it reads zeros, of one step."""
        encoder, present = self.encoders[modality], batch.get(f"{modality}_present")
        x, length = keep(batch[modality], present), self.length(modality, batch)
        with reading(type(self).__name__, modality, x, encoder):
            features = encoder(x) if length is None else encoder(x, 1 + keep(length - 1, present))
        return _check_encoded(self, modality, x, features)

    def length(self, modality: str, batch: Mapping[str, Tensor]) -> Tensor | None:
        """The number of real steps of a modality, int64 (B,); None: the batch does not say, or no encoder reads it."""
        reads = getattr(self.encoders[modality], "reads_length", False)
        return batch.get(f"{modality}_length", batch.get("length")) if reads else None

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        here = _check_batch(self, batch)
        _check_label(self, batch, len(batch[here[0]]))


class EarlyFusion(Classifier):
    """Early fusion: the modalities are concatenated as they come, and one learner reads them all.

    A missing modality is zeros, which the learner cannot tell from true zeros. So is the padding of a sequence.

    Args:
        sizes: modality name to the number of values that one example has; they are flattened and concatenated.
        classes: number C of classes; for a regression, of the numbers predicted.
        learner: a network from (B, sum of sizes) to (B, C); by default a perceptron with two hidden layers of 128
            on the normalised input (raw modalities have different scales, and without it this does not learn).
        cost: `cross_entropy`, `WeightedCrossEntropy`; for a regression `squared_error`, `absolute_error`; or your own.

    Examples:
        >>> model = EarlyFusion({"image": 4, "sound": 5}, classes=3)
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5), "label": torch.zeros(7).long()}
        >>> model(batch).shape, model.loss(batch)["loss"].shape
        (torch.Size([7, 3]), torch.Size([]))
    """

    def __init__(
        self, sizes: Mapping[str, int], classes: int, learner: nn.Module | None = None, cost: Cost = cross_entropy
    ) -> None:
        super().__init__(*_flattened(sizes), classes, cost)
        self.merge = Concat(self.dims)
        self.learner = _perceptron(self.merge.dim, 128, self.classes) if learner is None else _check_end(self, learner)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        features, present = self.encode(batch)
        x = self.merge(features, present)  # (B, D)
        logits: Tensor = self.learner(x)  # (B, C)
        return logits


class Flatten(nn.Flatten):
    """Values as they come, padding too."""

    reads_length = False


def _perceptron(size: int, hidden: int, classes: int) -> nn.Module:
    first, second, last = nn.Linear(size, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)
    return nn.Sequential(nn.LayerNorm(size), first, nn.ReLU(), second, nn.ReLU(), last)


class LateFusion(Classifier):
    """Late fusion of features: one encoder per modality, a merge, and a classifier on top.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        classes: number C of classes; for a regression, of the numbers predicted.
        merge: how features meet; its ``dims`` are the encoders' output sizes, in the same order.
        hidden: units of the layer between merge and classes; 0 for a linear classifier.
        cost: `cross_entropy`, `WeightedCrossEntropy`; for a regression `squared_error`, `absolute_error`; or your own.

    Examples:
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 4)}
        >>> model = LateFusion(encoders, classes=3, merge=Concat([4, 4]))
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5)}
        >>> model(batch).shape
        torch.Size([7, 3])
        >>> from mmtutor.fusion import squared_error
        >>> regression = LateFusion(encoders, classes=1, merge=Concat([4, 4]), cost=squared_error)
        >>> regression.loss({**batch, "label": torch.rand(7)})["loss"].shape
        torch.Size([])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        merge: Merge,
        hidden: int = 64,
        cost: Cost = cross_entropy,
    ) -> None:
        super().__init__(encoders, _dims_of(self, merge), classes, cost)
        self.merge = merge
        hidden = whole(type(self).__name__, "hidden", hidden, 0)
        layers = [nn.ReLU(), nn.Linear(merge.dim, hidden), nn.ReLU()] if hidden else []
        self.head = nn.Sequential(*layers, nn.Linear(hidden or merge.dim, self.classes))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        features, present = self.encode(batch)
        x = self.merge(features, present, self.real(batch, features))  # (B, D)
        logits: Tensor = self.head(x)  # (B, C)
        return logits

    def real(self, batch: Mapping[str, Tensor], features: Sequence[Tensor]) -> list[Tensor | None]:
        """Which positions of features (B, Tₘ, dₘ) are no padding, bool (B, Tₘ); None: all, or they have none."""
        masks: list[Tensor | None] = []
        for m, x in zip(self.encoders, features, strict=True):
            length = self.length(m, batch) if x.ndim == 3 else None
            if length is None:
                masks.append(None)
                continue
            step = torch.arange(_check_steps(self, m, batch, x), device=x.device)
            step = step.flip(0) if getattr(self.encoders[m], "padding", "end") == "front" else step
            masks.append(step < on_device(length, x.device)[:, None])
        return masks


class CrossModalFusion(LateFusion):
    """Intermediate (cross-modal) fusion: the branches attend to each other K times before they are merged.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ) or, with positions, (B, Tₘ, dₘ).
        classes: number C of classes; for a regression, of the numbers predicted.
        dims: the encoders' output sizes dₘ.
        exchanges: number K of exchanges.
        dim: size of the features that are exchanged.
        heads: attention heads.
        cost: `cross_entropy`, `WeightedCrossEntropy`; for a regression `squared_error`, `absolute_error`; or your own.

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
        cost: Cost = cross_entropy,
    ) -> None:
        super().__init__(encoders, classes, CrossAttention(dims, dim, exchanges, heads), cost=cost)


class DecisionFusion(Classifier):
    """Decision-level fusion: each modality has its own complete classifier, and class probabilities are merged.

    The branches are trained each on its own; only the weights of a `WeightedRule` see the merged decision. So
    another rule can be tried without training: ``model.rule = ProductRule()``. There is no regression: numbers have no
    probabilities to merge.

    With ``joint=True`` the merged decision is trained as a whole instead, as the features of `LateFusion` are. That is
    a control: it has the same rule, but branches that are not trained each on its own.

    Args:
        encoders: modality name to a network from (B, …) to (B, dₘ).
        classes: number C of classes.
        dims: the encoders' output sizes dₘ.
        rule: how probabilities are merged; None: `MeanRule`.
        joint: whether the loss is that of the merged decision, instead of the sum over the branches.

    Examples:
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 6)}
        >>> model = DecisionFusion(encoders, classes=3, dims=[4, 6], rule=WeightedRule(2))
        >>> batch = {"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5), "label": torch.zeros(7).long()}
        >>> model(batch).shape, list(model.loss(batch))
        (torch.Size([7, 3]), ['loss', 'image', 'sound', 'weights'])
    """

    takes_positions = False

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        dims: Sequence[int],
        rule: Rule | None = None,
        joint: bool = False,
    ) -> None:
        super().__init__(encoders, dims, classes)
        self.joint = flag("DecisionFusion", "joint", joint)
        heads = [nn.Linear(d, self.classes) for d in self.dims]
        self.heads = nn.ModuleDict(dict(zip(self.encoders, heads, strict=True)))
        self.rule = check_rule(MeanRule() if rule is None else rule, len(self.dims), self.classes)

    def branches(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Each modality's own classifier: log p(y | xₘ), (B, M, C), and ``present``, bool (B, M)."""
        features, present = self.encode(batch)
        check_features(self, features)
        log_p = [head(x.relu()).log_softmax(1) for head, x in zip(self.heads.values(), features, strict=True)]
        return torch.stack(log_p, 1), present

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Merged log-probabilities (B, C)."""
        log_p, present = self.branches(batch)
        fused: Tensor = self.rule(log_p, present)  # (B, C)
        return fused

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The branches' cross-entropies in nats, by modality, and their sum (plus that of learned weights).

        With ``joint`` the loss is the cross-entropy of the merged decision, and the branches' are for the reader.
        """
        log_p, present = self.branches(batch)
        label = check_label("DecisionFusion", batch, self.classes, len(log_p)).to(log_p.device)  # (B,)
        terms = dict(zip(self.encoders, branch_losses(log_p, present, label), strict=True))
        if self.joint:
            return {"loss": F.nll_loss(self.rule(log_p, present), label), **terms}
        if isinstance(self.rule, WeightedRule):
            terms["weights"] = F.nll_loss(self.rule(log_p.detach(), present), label)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def branch_losses(log_p: Tensor, present: Tensor, label: Tensor) -> Tensor:
    """The cross-entropy of each branch in nats, (M,), each a mean over the examples that have its modality.

    Args:
        log_p: log p(y | xₘ), (B, M, C).
        present: bool (B, M).
        label: int64 (B,).
    """
    nll = -log_p.gather(2, label[:, None, None].expand(-1, log_p.shape[1], 1)).squeeze(2)  # (B, M)
    return nll.masked_fill(~present, 0).sum(0) / present.sum(0).clamp(min=1)


# ---- messages


def _check_encoders(model: Classifier, encoders: Mapping[str, nn.Module], dims: Sequence[int]) -> tuple[int, ...]:
    who = type(model).__name__
    modules(who, "encoders", encoders)
    sizes = check_sizes(who, dims) if len(encoders) else ()
    if len(sizes) != len(encoders) or not sizes:
        raise ValueError(f"{who}: needs at least one modality, and a size for each; got {tuple(encoders)}, {sizes}")
    check_names(who, encoders, taken=("weights",))
    for m, encoder in encoders.items():
        if getattr(encoder, "padding", "end") not in ("end", "front") and getattr(encoder, "reads_length", False):
            raise ValueError(f"{who}: padding of the encoder of {m!r} must be end or front, got {encoder.padding!r}")
    return sizes


def _check_batch(model: Classifier, batch: Mapping[str, Tensor]) -> list[str]:
    """The modalities that are there; their lengths are checked, too."""
    who = type(model).__name__
    shared: dict[str, int] = {}  # steps of the modalities that have one length
    here = check_batch(who, batch, model.encoders, model=model)
    for m in here:
        encoder, x, mask = model.encoders[m], batch[m], batch.get(f"{m}_present")
        name = f"{m}_length" if f"{m}_length" in batch else "length"
        if name not in batch or x.ndim < 2:
            continue
        if getattr(encoder, "reads_length", False):
            length = check_length(who, batch[name], len(x), x.shape[1], name, mask)
            if mask is None or mask.device == x.device:
                at = getattr(encoder, "padding", "end")
                hint = f", {type(encoder).__name__} takes padding={'end' if at == 'front' else 'front'!r}"
                check_padding(who, m, keep(x, mask), length, at, hint if hasattr(encoder, "padding") else "")
            if name == "length":
                shared[m] = x.shape[1]
        elif not hasattr(encoder, "reads_length") and (name != "length" or is_padded(batch, m)):
            raise ValueError(f"{who}: the encoder of {m!r} does not read {name!r}, so it would read padding; give it "
                             "reads_length = True and forward(x, length), or reads_length = False")  # fmt: skip
    if len(set(shared.values())) > 1:
        raise ValueError(f"{who}: 'length' cannot be that of all, which have {shared} steps; give '<modality>_length'")
    return here


def _label(model: Classifier, batch: Mapping[str, Tensor], logits: Tensor) -> Tensor:
    """The label as the cost needs it, and where the logits are; numbers are not rounded to half precision."""
    size = next(len(batch[m]) for m in model.encoders if m in batch)
    if logits.shape != (size, model.classes):
        who, wanted = type(model).__name__, (size, model.classes)
        raise ValueError(f"{who}: needs {wanted} for the cost, classes being {model.classes}; got {kind(logits)}")
    label = _check_label(model, batch, size)
    if label.is_floating_point():
        label = label.to(torch.promote_types(logits.dtype, torch.float32))
    return label.to(logits.device)


def _check_label(model: Classifier, batch: Mapping[str, Tensor], size: int) -> Tensor:
    cost, label = model.cost, batch.get("label")
    is_float = isinstance(label, Tensor) and label.is_floating_point()
    numbers = takes_numbers(cost) or model.classes == 1 or (is_float and not takes_classes(cost))
    check = check_numbers if numbers else check_label
    return check(type(model).__name__, batch, model.classes, size)


def _check_encoded(model: Classifier, m: str, x: Tensor, features: Tensor) -> Tensor:
    who, merge, d = type(model).__name__, getattr(model, "merge", None), model.dims[list(model.encoders).index(m)]
    flat = not model.takes_positions or (isinstance(merge, Merge) and not merge.takes_positions)
    fits = isinstance(features, Tensor) and features.is_floating_point() and features.ndim in ((2,) if flat else (2, 3))
    if fits and features.shape[0] == len(x) and features.shape[-1] == d:
        return features
    if isinstance(model, EarlyFusion):
        if not x.is_floating_point():
            raise TypeError(f"{who}: {m!r} must be floats, got {kind(x)}; convert it with .float()")
        raise ValueError(f"{who}: {m!r} must have {d} values for each example, as sizes says, got {kind(x)}")
    said = "as the merge's dims say" if isinstance(merge, Merge) else "as dims says"
    raise ValueError(f"{who}: the encoder of {m!r} must give floats ({len(x)}, {d}), {said}, got {kind(features)}")


def _check_steps(model: Classifier, m: str, batch: Mapping[str, Tensor], x: Tensor) -> int:
    positions, steps = x.shape[1], batch[m].shape[1]
    if positions != steps:
        raise ValueError(f"{type(model).__name__}: the encoder of {m!r} gives {positions} positions for {steps} steps; "
                         "which are padding is not known, so let it give features (B, d)")  # fmt: skip
    return positions


def _check_end(model: EarlyFusion, learner: nn.Module) -> nn.Module:
    last = last_layer(module("EarlyFusion", "learner", learner))
    if takes_classes(model.cost) and isinstance(last, nn.Softmax | nn.Softmax2d | nn.Sigmoid):
        raise ValueError(f"EarlyFusion: the cost takes the softmax of logits, but learner ends in {last} already; "
                         "leave this layer out")  # fmt: skip
    return learner


def _flattened(sizes: Mapping[str, int]) -> tuple[dict[str, nn.Module], list[int]]:
    if not isinstance(sizes, Mapping):
        raise TypeError(f"EarlyFusion: sizes must be a dict from modality to a number, got {kind(sizes)}")
    each = {m: whole("EarlyFusion", f"the size of {m!r}", size) for m, size in sizes.items()}
    return {m: Flatten() for m in each}, [*each.values()]


def _dims_of(model: LateFusion, merge: Merge) -> tuple[int, ...]:
    if not isinstance(merge, Merge):
        raise TypeError(f"{type(model).__name__}: merge must be a Merge, such as Concat([64, 64]), got {kind(merge)}")
    return merge.dims


def check_features(model: Classifier, features: Sequence[Tensor]) -> None:
    """Refuse features that are not finite."""
    for m, x in zip(model.encoders, features, strict=True):
        check_finite(type(model).__name__, f"features of {m}", x)
