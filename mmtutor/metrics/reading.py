"""Classifiers: their scores, which examples they get right, and intervals of the numbers that are reported."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor, nn

from mmtutor.data.arrays import to_array
from mmtutor.data.items import whole
from mmtutor.data.progress import tqdm
from mmtutor.training.batches import Data, batches_of
from mmtutor.training.modes import modes_restored


class Interval(NamedTuple):
    """A mean and the 95 % interval around it."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def predict(model: nn.Module, data: Data, batch_size: int = 512) -> Tensor:
    """The scores of a classifier for every example, in evaluation mode, without gradients.

    Args:
        model: a module from a batch (a dict of tensors) to scores (B, classes), or to anything else of B rows.
        data: N examples, as `mmtutor.training.fit` takes them: a dict of tensors, a dataset of dicts of tensors, or a
            `DataLoader`. On any device; a batch is moved to that of the model's parameters.
        batch_size: how many at a time; it does not change the result. A `DataLoader` has its own.

    Returns:
        (N, classes) on the CPU, in the order of the batches. The model and every part of it are left in the mode they
        were in.

    Raises:
        TypeError: the model gives no tensor.
        ValueError: it gives another number of rows than there are examples.
    """
    return predicted("predict: the model", model, data, batch_size)[0]


def correct(model: nn.Module, data: Data, batch_size: int = 512) -> NDArray[np.bool_]:
    """Which examples a classifier gets right: bool (N,). Its mean is the accuracy.

    Args:
        model: as in `predict`, with a score for each of at least two classes.
        data: as in `predict`, with ``"label"``: whole numbers (N,) or (N, 1), from 0 to classes − 1. Labels and scores
            are of the same batches, in whatever order a `DataLoader` has them.
        batch_size: as in `predict`.

    Raises:
        ValueError: the data have no label or another one, or a score is NaN.
    """
    scores, labels = predicted("correct: the model", model, data, batch_size, labels=True)
    label = _checked(scores, torch.cat(labels).cpu())
    return np.asarray((scores.argmax(1) == label).numpy())


def predicted(
    who: str, model: nn.Module, data: Data, batch_size: int, labels: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """The scores, and the labels of the same batches; ``who`` is the subject of what is said about the model."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    scores, found = [], []
    with modes_restored(model), torch.no_grad():
        model.eval()
        for batch in watched(data, batch_size):
            if labels and "label" not in batch:
                raise ValueError(f"correct: the data have no 'label', only {', '.join(batch)}")
            size = len(next(iter(batch.values())))
            given = model({name: x.to(device) for name, x in batch.items()})
            if not isinstance(given, Tensor):
                raise TypeError(f"{who} must give its scores as a tensor, got {type(given).__name__}")
            if given.ndim < 1 or len(given) != size:
                raise ValueError(f"{who} must give {size} rows for {size} examples, got {tuple(given.shape)}")
            scores.append(given)
            found += [batch["label"]] if labels else []
    return torch.cat(scores).cpu(), found


def watched(data: Data, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The batches of any data, in their order; once they take longer than two seconds a bar counts them."""
    batch_size = whole("predict", "batch_size", batch_size, 1)
    with tqdm(unit="batch", delay=2.0, leave=False) as bar:
        for batch in batches_of(data, batch_size):
            yield batch
            bar.update()


def _checked(scores: Tensor, label: Tensor) -> Tensor:
    """The label (N,) that belongs to scores (N, classes), or an error that says what is wrong with one of them."""
    N, C = len(scores), scores.shape[-1]
    if scores.ndim != 2 or C < 2:
        raise ValueError(
            f"correct: the model must give a score for each of at least two classes, (N, classes), got "
            f"{tuple(scores.shape)}; the numbers of a regression are for mean_absolute_error and sentiment_scores"
        )
    if scores.isnan().any():
        raise ValueError(
            f"correct: the model gives NaN as a score, first of example {int(scores.isnan().any(1).nonzero()[0])}"
        )
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.shape != (N,) or label.is_floating_point() or label.is_complex():
        raise ValueError(
            f"correct: label must be the class of each example, whole numbers ({N},), got {label.dtype} "
            f"{tuple(label.shape)}; apply .argmax(1) to one-hot labels, .long() to whole numbers in floats"
        )
    wrong = ((label < 0) | (label >= C)).nonzero()
    if len(wrong):
        k = int(wrong[0])
        raise ValueError(
            f"correct: label must be from 0 to {C - 1}, the classes that the model scores, "
            f"got {int(label[k])} in example {k}"
        )
    return label


def rows(what: str, **values: ArrayLike) -> list[NDArray[np.float64]]:
    """Each as a row of finite numbers of the same length; one column (n, 1) is taken for a row."""
    found = []
    for name, value in values.items():
        try:
            row = to_array(value, float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what}: {name} must be a row of numbers, got {reprlib.repr(value)}") from error
        row = row[:, 0] if row.ndim == 2 and row.shape[1] == 1 else row
        if row.ndim != 1:
            raise ValueError(f"{what}: {name} must be a row of numbers (n,), got shape {row.shape}")
        if not np.isfinite(row).all():
            k = int(np.flatnonzero(~np.isfinite(row))[0])
            raise ValueError(f"{what}: {name} must be a row of finite numbers, got {row[k]} at {k}")
        found.append(row)
    if len({len(row) for row in found}) > 1:
        raise ValueError(f"{what}: {' and '.join(values)} must have the same length, got {[len(r) for r in found]}")
    return found


def class_rows(what: str, **values: ArrayLike) -> list[NDArray[np.int64]]:
    """Each as a row of whole numbers, the classes, of the same length."""
    for name, value in values.items():
        if isinstance(value, Tensor | np.ndarray) and value.ndim == 2 and value.shape[1] > 1:
            raise ValueError(
                f"{what}: {name} must be one class for each example, (n,), got shape {tuple(value.shape)}; "
                "apply .argmax(1) to scores or one-hot labels"
            )
    found = rows(what, **values)
    for name, row in zip(values, found, strict=True):
        if (row != np.floor(row)).any():
            k = int(np.flatnonzero(row != np.floor(row))[0])
            raise ValueError(f"{what}: {name} must be whole numbers, the classes, got {row[k]} at {k}")
    return [row.astype(np.int64) for row in found]


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
    (x,) = rows("mean_interval", values=values)
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
    x, y = rows("paired_interval", a=a, b=b)
    draws, seed = whole("paired_interval", "draws", draws, 1), whole("paired_interval", "seed", seed, 0)
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
    (x,) = rows("share_interval", flags=flags)
    if not len(x) or not np.isin(x, (0, 1)).all():
        raise ValueError(f"share_interval: flags must be true or false, at least one, got {flags!r}")
    low, high = stats.binomtest(int(x.sum()), len(x)).proportion_ci(0.95, method="wilson")
    return Interval(float(x.mean()), float(low), float(high))


def confusion(label: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How often class i was taken for class j: int64 (classes, classes), rows are the truth.

    Args:
        label: the class of each example, whole numbers (N,) from 0 to classes − 1.
        predicted: what it was taken for, (N,); of scores (N, classes) take ``.argmax(1)``.
        classes: how many there are.

    Raises:
        ValueError: not two rows of equal length, or a class that is not a whole number from 0 to classes - 1.

    Examples:
        >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    classes = whole("confusion", "classes", classes, 1)
    found = class_rows("confusion", label=label, predicted=predicted)
    for name, row in zip(("label", "predicted"), found, strict=True):
        if row.min(initial=0) < 0 or row.max(initial=0) >= classes:
            raise ValueError(
                f"confusion: {name} must be whole numbers from 0 to {classes - 1}, got {row.min()} to {row.max()}"
            )
    return np.bincount(found[0] * classes + found[1], minlength=classes**2).reshape(classes, classes)
