"""The costs: how far what a model gives, (B, C), is from the label. Each gives a cost of each example, (B,).

The loss is their mean. A classifier takes `cross_entropy` or `WeightedCrossEntropy`, a regression `squared_error` or
`absolute_error`. A cost of your own is a function of the same form; torch's take ``reduction="none"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_label, kind, whole

Cost = Callable[[Tensor, Tensor], Tensor]  # what the model gives, (B, C), and the label to a cost of each example


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """−log softmax(logits)_y of each example in nats, (B,), from logits (B, C) and classes y, int64 (B,)."""
    return F.cross_entropy(logits, label, reduction="none")  # (B,)


def squared_error(prediction: Tensor, label: Tensor) -> Tensor:
    """(ŷ − y)² of each example, (B,), the mean over its C numbers; prediction ŷ and label y are (B, C).

    Examples:
        >>> squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([2.])
    """
    return (prediction - label).square().mean(1)  # (B,)


def absolute_error(prediction: Tensor, label: Tensor) -> Tensor:
    """|ŷ − y| of each example, (B,), the mean over its C numbers; prediction ŷ and label y are (B, C).

    Examples:
        >>> absolute_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([1.])
    """
    return (prediction - label).abs().mean(1)  # (B,)


class WeightedCrossEntropy(nn.Module):
    """−w_y log softmax(logits)_y: an example counts as much as the weight w of its class y.

    The mean over examples is not divided by their weights, as ``torch.nn.CrossEntropyLoss(weight)`` does: so the
    gradients of parts of a batch add up to that of the batch.

    Args:
        weights: of each class, C numbers ≥ 0.

    Raises:
        ValueError: they are not finite numbers ≥ 0, or all are 0.

    Examples:
        >>> WeightedCrossEntropy([1.0, 3.0])(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.6931, 2.0794])
    """

    takes_classes = True
    weights: Tensor

    def __init__(self, weights: Tensor | Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", _check_weights(weights))

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The cost of each example, (B,), from logits (B, C) and classes y, int64 (B,)."""
        return self.weights[label] * F.cross_entropy(logits, label, reduction="none")  # (B,)

    @classmethod
    def balanced(cls, labels: Tensor, classes: int) -> WeightedCrossEntropy:
        """All classes count alike: w_y = N / (C n_y), where n_y of the N training examples are of class y.

        Args:
            labels: of the training examples, int64 (N,).
            classes: number C of classes.

        Raises:
            TypeError: the labels are not int64 (N,).
            ValueError: one is not from 0 to C − 1, or a class has no example.

        Examples:
            >>> WeightedCrossEntropy.balanced(torch.tensor([0, 0, 0, 1]), 2).weights
            tensor([0.6667, 2.0000])
        """
        counts = _counts(labels, classes)  # (C,)
        return cls(len(labels) / (len(counts) * counts))


# ---- messages


def takes_classes(cost: Cost) -> bool:
    """Whether a cost reads logits, and the label is a class. A cost of your own says so by ``takes_classes = True``."""
    known = cost is cross_entropy or isinstance(cost, nn.CrossEntropyLoss)
    return known or bool(getattr(cost, "takes_classes", False))


def takes_numbers(cost: Cost) -> bool:
    """Whether the label of a cost is a row of numbers, never a class."""
    torch_own = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
    return cost in (squared_error, absolute_error) or isinstance(cost, torch_own)


def check_cost(who: str, cost: Cost, classes: int) -> int:
    """The number of classes, at least two, or of a regression's numbers; refuse what is no cost for them."""
    if not callable(cost) or isinstance(cost, type):
        raise TypeError(f"{who}: cost must be a function such as squared_error, got {cost!r}")
    if getattr(cost, "reduction", "none") != "none" or cost is F.cross_entropy:
        raise ValueError(f"{who}: cost must give the cost of each example; take it with reduction='none'")
    classes = whole(who, "classes", classes, 1)
    if classes == 1 and takes_classes(cost):
        raise ValueError(f"{who}: classes must be ≥ 2; two classes are 2, a regression takes cost=squared_error, got 1")
    if isinstance(cost, WeightedCrossEntropy) and len(cost.weights) != classes:
        raise ValueError(f"{who}: cost has weights of {len(cost.weights)} classes, not {classes}")
    return classes


def check_costs(who: str, costs: Tensor, shape: torch.Size) -> Tensor:
    """What a cost gives: a number of each example (B,), or of each number of the prediction (B, C)."""
    if not isinstance(costs, Tensor) or costs.shape not in (shape, shape[:1]):
        raise ValueError(f"{who}: cost must give the cost of each example, {tuple(shape[:1])}, got {kind(costs)}; "
                         "torch's own do so with reduction='none'")  # fmt: skip
    return costs


def _check_weights(weights: Tensor | Sequence[float]) -> Tensor:
    if not isinstance(weights, Tensor | Sequence) and not hasattr(weights, "__array__"):
        raise ValueError(f"WeightedCrossEntropy: weights must be a number ≥ 0 for each class, got {weights!r}")
    weights = torch.as_tensor(weights).to(torch.get_default_dtype())
    if weights.ndim != 1 or not (weights.isfinite() & (weights >= 0)).all() or not weights.any():
        raise ValueError(f"WeightedCrossEntropy: weights must be a number ≥ 0 for each class, got {weights.tolist()}")
    return weights


def _counts(labels: Tensor, classes: int) -> Tensor:
    classes = whole("WeightedCrossEntropy", "classes", classes, 2)
    size = len(labels) if isinstance(labels, Tensor) and labels.ndim else 0
    labels = check_label("WeightedCrossEntropy", {"label": labels}, classes, size)
    counts = labels.bincount(minlength=classes)
    if len(missing := (counts == 0).nonzero()):
        raise ValueError(f"WeightedCrossEntropy: no example is of class {int(missing[0])}, so it has no weight")
    return counts
