"""Classifiers: their scores, which examples they get right, and intervals of the numbers that are reported."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor, nn

from mmtutor.data import MultimodalDataset
from mmtutor.data.arrays import to_array
from mmtutor.training.loss import modes_restored


class Interval(NamedTuple):
    """A mean and the 95 % interval around it."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def predict(model: nn.Module, data: MultimodalDataset, batch_size: int = 512) -> Tensor:
    """The scores of a classifier for every example, in evaluation mode, without gradients.

    Args:
        model: a module from a batch (a dict of tensors) to scores (B, classes).
        data: N examples, on any device; a batch is moved to that of the model's parameters.
        batch_size: how many at a time; it does not change the result.

    Returns:
        (N, classes) on the CPU. The model and every part of it are left in the mode they were in.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with modes_restored(model), torch.no_grad():
        model.eval()
        batches = data.loader(batch_size)
        return torch.cat([model({k: v.to(device) for k, v in b.items()}) for b in batches]).cpu()


def correct(model: nn.Module, data: MultimodalDataset) -> NDArray[np.bool_]:
    """Which examples a classifier gets right: bool (N,). Its mean is the accuracy.

    Raises:
        ValueError: the data have no label, or a score is NaN.
    """
    if "label" not in data.tensors:
        raise ValueError(f"correct: the data have no 'label', only {', '.join(data.tensors)}")
    scores = predict(model, data)
    if scores.isnan().any():
        raise ValueError("correct: the model gives NaN as a score")
    return np.asarray((scores.argmax(1) == data.tensors["label"].cpu()).numpy())


def _rows(what: str, **values: ArrayLike) -> list[NDArray[np.float64]]:
    """Each as a row of finite numbers of the same length, or an error that names it."""
    rows = []
    for name, value in values.items():
        try:
            row = to_array(value, float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what}: {name} must be a row of numbers, got {value!r}") from error
        if row.ndim != 1 or not np.isfinite(row).all():
            raise ValueError(f"{what}: {name} must be a row of finite numbers, got {value!r}")
        rows.append(row)
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{what}: {' and '.join(values)} must have the same length, got {[len(r) for r in rows]}")
    return rows


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
    (x,) = _rows("mean_interval", values=values)
    if len(x) < 2:
        raise ValueError(f"mean_interval: values must be at least two, got {values!r}")
    half = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half)


def paired_interval(
    a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean of a − b over the same test items, with a 95 % bootstrap interval.

    Items are resampled with replacement, and pairs are kept together. Items that belong together (windows of one
    recording) are not independent: give their group, and whole groups are resampled.

    Args:
        a: a number for each item, for example whether the first model is right, (N,).
        b: the same for the second model.
        groups: what each item belongs to, (N,); by default each item stands alone.
        draws: bootstrap samples.
        seed: of the draws.

    Raises:
        ValueError: the lengths differ, there are fewer than two groups, there is NaN, or no draws.

    Examples:
        >>> paired_interval([1, 1, 1, 1], [0, 0, 0, 0])
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    x, y = _rows("paired_interval", a=a, b=b)
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"paired_interval: {name} must be an int of at least {least}, got {value!r}")
    member = np.arange(len(x)) if groups is None else to_array(groups)
    if member.shape != x.shape:
        raise ValueError(f"paired_interval: groups must be of shape {x.shape} like a and b, got {member.shape}")
    _, member = np.unique(member, return_inverse=True)
    sizes = np.bincount(member).astype(float)
    if len(sizes) < 2:
        raise ValueError("paired_interval: a and b must have at least two items, or groups where given")
    sums = np.bincount(member, x - y)
    rng, means = np.random.default_rng(seed), np.empty(draws)
    for k in range(draws):  # one at a time: all at once is gigabytes for the 26,032 items of SVHN
        chosen = rng.integers(len(sizes), size=len(sizes))
        means[k] = sums[chosen].sum() / sizes[chosen].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float((x - y).mean()), float(low), float(high))


def share_interval(flags: ArrayLike) -> Interval:
    """Share of items for which something is true, and its 95 % interval by Wilson's score (1927).

    The interval holds the shares p that lie within 1.96 of their own standard errors √(p (1 − p) / n) from the observed
    one. Unlike mean ± 1.96 standard errors, it stays in [0, 1], and is no single point where all items are true.

    Args:
        flags: true or false (0 or 1) for each of n independent items, (n,), n at least 1.

    Raises:
        ValueError: there is no item, or other numbers.

    Examples:
        >>> print(share_interval([True, True, True, True]))
        1.000 [0.510, 1.000]
    """
    (x,) = _rows("share_interval", flags=flags)
    if not len(x) or not np.isin(x, (0, 1)).all():
        raise ValueError(f"share_interval: flags must be true or false, at least one, got {flags!r}")
    low, high = stats.binomtest(int(x.sum()), len(x)).proportion_ci(0.95, method="wilson")
    return Interval(float(x.mean()), float(low), float(high))


def confusion(label: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How often class i was taken for class j: int64 (classes, classes), rows are the truth.

    Raises:
        ValueError: not two rows of equal length, or a class that is not a whole number from 0 to classes - 1.

    Examples:
        >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise ValueError(f"confusion: classes must be an int of at least 1, got {classes!r}")
    rows = _rows("confusion", label=label, predicted=predicted)
    for name, row in zip(("label", "predicted"), rows, strict=True):
        if (row != np.floor(row)).any() or row.min(initial=0) < 0 or row.max(initial=0) >= classes:
            raise ValueError(f"confusion: {name} must be whole numbers from 0 to {classes - 1}")
    pairs = np.stack(rows).astype(np.int64)
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes**2).reshape(classes, classes)
