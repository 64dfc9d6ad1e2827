"""Costs: how far a prediction is from the label, and a reconstruction from its modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import check_finite, check_label, check_numbers, check_padding, kind, last_layer, number

Batch = Mapping[str, Tensor]  # a name to (B, ...)
Cost = Callable[[Tensor, Tensor], Tensor]  # x̂ and x to a cost of each number of x


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """(x̂ − x)² of each number, both of one shape."""
    return F.mse_loss(x_hat, x.to(x_hat), reduction="none")


def absolute_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """|x̂ − x| of each number, both of one shape."""
    return F.l1_loss(x_hat, x.to(x_hat), reduction="none")


def cross_entropy(scores: Tensor, x: Tensor) -> Tensor:
    """−log softmax(scores)ₓ of each class x, in nats, (B, …), from scores (B, …, classes)."""
    return F.cross_entropy(scores.flatten(0, -2), x.flatten().to(scores.device), reduction="none").view_as(x)


def masked_mean(cost: Tensor, counted: Tensor | None = None) -> Tensor:
    """The mean over the numbers of an example that count, then over the examples that have any; a scalar.

    Args:
        cost: (B, …).
        counted: bool (B, 1) or (B, T); None: all numbers count.

    Examples:
        >>> masked_mean(torch.tensor([[1.0, 5.0], [2.0, 2.0]]), torch.tensor([[True, False], [True, True]]))
        tensor(1.5000)
    """
    if counted is None:
        return cost.mean()
    cost = cost.unsqueeze(1) if cost.ndim == 1 else cost
    counted = counted.view(*counted.shape, *[1] * (cost.ndim - 2)).expand_as(cost).flatten(1)  # (B, n)
    weight = counted.to(cost.dtype)  # (B, n)
    each = (cost.flatten(1) * weight).sum(1) / weight.sum(1).clamp_min(1)  # (B,)
    return each.sum() / (weight.sum(1) > 0).sum().clamp_min(1)


# ---- messages


def takes_classes(cost: Cost) -> bool:
    """Whether a cost compares scores (B, …, classes) with numbers of classes (B, …)."""
    known = getattr(cost, "__name__", None) == "cross_entropy" or isinstance(cost, nn.CrossEntropyLoss)
    return known or bool(getattr(cost, "takes_classes", False))


def number_of_classes(cost: Cost, x: object, output: Tensor) -> int:
    """How many classes a cost chooses from; 0: it compares numbers. One's own cost takes whole numbers as classes."""
    numbers = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
    own = cost not in (squared_error, absolute_error) and not isinstance(cost, numbers) and output.shape[-1] > 1
    whole = isinstance(x, Tensor) and x.dtype == torch.int64 and x.shape == output.shape[:-1]
    return output.shape[-1] if takes_classes(cost) or (own and whole) else 0


def check_targets(costs: Mapping[str, Cost], batch: Batch, outputs: Batch) -> dict[str, Tensor]:
    """Label and modalities, of the shape that their cost needs; a label of one number may be (B,) or (B, 1)."""
    targets = {}
    for name, output in outputs.items():
        classes = number_of_classes(costs[name], batch.get(name), output)
        if name == "label":
            check = check_label if classes else check_numbers
            targets[name] = check("MFM", batch, output.shape[-1], len(output))
            continue
        if name not in batch:
            raise ValueError(f"MFM: the batch has no {name!r}, only {', '.join(batch)}")
        x, shape = batch[name], output.shape[:-1] if classes else output.shape
        if not isinstance(x, Tensor):
            raise TypeError(f"MFM: {name!r} must be a tensor (B, …), got {kind(x)}")
        if x.shape != shape:
            raise ValueError(f"MFM: {name!r} must be {tuple(shape)}, as the model gives it, got {tuple(x.shape)}")
        if classes and x.dtype != torch.int64:
            raise ValueError(f"MFM: {name!r} must be int64 from 0 to {classes - 1}, got {kind(x)}")
        if classes and x.device.type == "cpu" and len(wrong := ((x < 0) | (x >= classes)).nonzero()):
            raise ValueError(f"MFM: {name!r} must be int64 from 0 to {classes - 1}, got {int(x[*wrong[0]])} "
                             f"in example {int(wrong[0, 0])}")  # fmt: skip
        check_finite("MFM", name, x)
        targets[name] = x
    return targets


def check_cost(name: str, cost: Tensor, x: Tensor) -> Tensor:
    """A cost of each number of x, or of each example; torch's own give the mean of all, where masks are lost."""
    if not isinstance(cost, Tensor) or not cost.ndim or cost.shape != x.shape[: cost.ndim]:
        raise ValueError(f"MFM: the cost of {name!r} must be one of each number, {tuple(x.shape)}, or of each example, "
                         f"({len(x)},), got {kind(cost)}; torch's own give it with reduction='none'")  # fmt: skip
    return cost


def check_padded(who: str, batch: Batch, name: str) -> None:
    """Refuse sequences that do not have their padding where "length" says: at the front."""
    x, length, present = batch[name], batch.get("length"), batch.get(f"{name}_present")
    if isinstance(length, Tensor) and length.shape == x.shape[:1]:
        if present is not None and present.device == x.device:
            x = torch.where(present.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))  # not read there
        check_padding(who, name, x, length, "front")


def check_costs(
    costs: Mapping[str, Cost], weights: Mapping[str, float], decoders: Mapping[str, nn.Module] | nn.ModuleDict
) -> dict[str, float]:
    """The weights; refuse what is no cost or no weight, and those of what is not reconstructed."""
    if unknown := [name for name in (*costs, *weights) if name not in ("label", *decoders)]:
        raise ValueError(f"MFM: {unknown[0]!r} has no decoder, so it has no cost and no weight")
    for name, cost in costs.items():
        if not callable(cost):
            raise ValueError(f"MFM: the cost of {name!r} must be a function, got {cost!r}")
        if getattr(cost, "reduction", "none") != "none":
            raise ValueError(f"MFM: the cost of {name!r} must give a cost of each example; use {cost} with "
                             "reduction='none'")  # fmt: skip
        last = last_layer(decoders[name]) if name != "label" else None
        if takes_classes(cost) and isinstance(last, nn.Softmax | nn.Sigmoid):
            raise ValueError(f"MFM: the cost of {name!r} takes the softmax of scores, but its decoder ends in {last} "
                             "already; leave this layer out")  # fmt: skip
    return {name: number("MFM", f"the weight of {name!r}", weight) for name, weight in weights.items()}
