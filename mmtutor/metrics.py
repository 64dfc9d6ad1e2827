"""What is measured, each figure defined once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor, nn

from mmtutor.data import Senses


class Interval(NamedTuple):
    """A mean and the 95 % interval around it."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def predict(model: nn.Module, data: Senses, batch_size: int = 512) -> Tensor:
    """The scores of a classifier for every example, in evaluation mode, without gradients.

    Args:
        model: a module from a batch (a dict of tensors) to scores (B, classes).
        data: N examples.
        batch_size: how many at a time; it does not change the result.

    Returns:
        (N, classes) on the CPU. The model is left in the mode it was in.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batches = data.loader(batch_size)
            return torch.cat([model({k: v.to(device) for k, v in b.items()}).cpu() for b in batches])
    finally:
        model.train(was_training)


def correct(model: nn.Module, data: Senses) -> NDArray[np.bool_]:
    """Which examples a classifier gets right: bool (N,). Its mean is the accuracy."""
    return np.asarray((predict(model, data).argmax(1) == data[:]["label"]).numpy())


def mean_interval(values: ArrayLike) -> Interval:
    """Mean over independent repetitions (seeds) and its 95 % interval by Student's t.

    Args:
        values: (n,), n at least 2, finite.

    Raises:
        ValueError: fewer than two values, or NaN among them.

    Examples:
        >>> print(mean_interval([1.0, 2.0, 3.0]))
        2.000 [-0.484, 4.484]
    """
    x = np.asarray(values, float)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"mean_interval: needs at least two finite values in one row, got {values!r}")
    half = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half)


def paired_interval(
    a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean of a − b over the same test items, with a 95 % bootstrap interval.

    Items are drawn again with replacement, pairs kept together. Items that belong together (windows of one
    recording) are not independent: give their group, and whole groups are drawn.

    Args:
        a: a figure for each item, for example whether the first model is right, (N,).
        b: the same for the second model.
        groups: what each item belongs to, (N,); by default each item stands alone.
        draws: bootstrap samples.
        seed: of the draws.

    Raises:
        ValueError: the lengths differ, there are fewer than two groups, or there is NaN.

    Examples:
        >>> paired_interval([1, 1, 1, 1], [0, 0, 0, 0])
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    member = np.arange(len(x)) if groups is None else np.asarray(groups)
    if x.ndim != 1 or x.shape != y.shape or x.shape != member.shape or not np.isfinite(x + y).all():
        raise ValueError(
            f"paired_interval: needs finite rows of equal length, got {x.shape}, {y.shape} and {member.shape}"
        )
    _, member = np.unique(member, return_inverse=True)
    sizes = np.bincount(member).astype(float)
    if len(sizes) < 2:
        raise ValueError("paired_interval: needs at least two items or groups")
    sums = np.bincount(member, x - y)
    chosen = np.random.default_rng(seed).integers(len(sizes), size=(draws, len(sizes)))
    means = sums[chosen].sum(1) / sizes[chosen].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float((x - y).mean()), float(low), float(high))


def confusion(label: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How often class i was taken for class j: int64 (classes, classes), rows are the truth.

    Examples:
        >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    pairs = np.stack([np.asarray(label), np.asarray(predicted)])
    if pairs.min(initial=0) < 0 or pairs.max(initial=0) >= classes:
        raise ValueError(f"confusion: classes must be 0 to {classes - 1}")
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes**2).reshape(classes, classes)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, as tables print it.

    Examples:
        >>> spread([0.5, 0.7])
        '0.600 ± 0.141'
    """
    x = np.asarray(values, float)
    return f"{x.mean():.3f} ± {x.std(ddof=1):.3f}" if len(x) > 1 else f"{x.mean():.3f}"
