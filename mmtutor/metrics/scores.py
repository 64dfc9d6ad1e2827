"""Scores of a regression, such as sentiment from −3 to 3, and of classes that are not equally frequent.

The truth comes first everywhere, then what was predicted, as in `mmtutor.metrics.confusion` and scikit-learn.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmtutor.metrics.reading import class_rows, rows


def mean_absolute_error(score: ArrayLike, predicted: ArrayLike) -> float:
    """The mean of |predicted − score|.

    Args:
        score: a number for each example, finite, (N,) or (N, 1).
        predicted: the same from a model, such as `mmtutor.metrics.predict` gives.

    Raises:
        ValueError: the lengths differ, there is nothing, or a number is not finite.

    Examples:
        >>> mean_absolute_error([1.0, -2.0], [[0.5], [-3.0]])
        0.75
    """
    truth, guess = rows("mean_absolute_error", score=score, predicted=predicted)
    _some("mean_absolute_error", len(truth))
    return float(np.abs(guess - truth).mean())


def correlation(score: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's correlation coefficient, from −1 to 1.

    Args:
        score: as in `mean_absolute_error`.
        predicted: as in `mean_absolute_error`.

    Raises:
        ValueError: as in `mean_absolute_error`, or a row has the same number everywhere: then there is none.

    Examples:
        >>> correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
        1.0
    """
    truth, guess = rows("correlation", score=score, predicted=predicted)
    _some("correlation", len(truth))
    for name, row in (("score", truth), ("predicted", guess)):
        if (row == row[0]).all():
            raise ValueError(f"correlation: {name} is {row[0]:g} everywhere; what does not vary has no correlation")
    return float(np.corrcoef(truth, guess)[0, 1])


def accuracy_7(score: ArrayLike, predicted: ArrayLike) -> float:
    """The share of examples whose score, clipped to −3 … 3 and rounded, is predicted: seven classes.

    A number half-way between two is rounded to the even one. So do MulT (Tsai and others, 2019, arXiv:1906.00295) and
    MMSA (Mao and others, 2022, arXiv:2203.12441).

    Args:
        score: as in `mean_absolute_error`.
        predicted: as in `mean_absolute_error`.

    Raises:
        ValueError: as in `mean_absolute_error`.

    Examples:
        >>> accuracy_7([3.0, -1.0, 0.4], [4.2, -1.6, 0.5])
        0.6666666666666666
    """
    truth, guess = (row.clip(-3, 3).round() for row in rows("accuracy_7", score=score, predicted=predicted))
    _some("accuracy_7", len(truth))
    return float((truth == guess).mean())


def f1(label: ArrayLike, predicted: ArrayLike, average: Literal["macro", "weighted"] = "macro") -> float:
    """F1, the harmonic mean of precision and recall, averaged over the classes that occur.

    Args:
        label: the class of each example, whole numbers (N,).
        predicted: what it was taken for, (N,).
        average: ``"macro"``, each class counts the same; ``"weighted"``, by how many examples have it.

    Raises:
        ValueError: the lengths differ, there is nothing, a class is not a whole number, or another ``average``.

    Examples:
        >>> round(f1([0, 0, 0, 1], [0, 0, 0, 0]), 3), round(f1([0, 0, 0, 1], [0, 0, 0, 0], "weighted"), 3)
        (0.429, 0.643)
    """
    from sklearn.metrics import f1_score  # imported late: half a second

    if average not in ("macro", "weighted"):
        raise ValueError(f"f1: average must be 'macro' or 'weighted', got {average!r}")
    truth, guess = class_rows("f1", label=label, predicted=predicted)
    _some("f1", len(truth))
    return float(f1_score(truth, guess, average=average))


def balanced_accuracy(label: ArrayLike, predicted: ArrayLike) -> float:
    """The mean over classes of the share of their examples that is right: each class counts the same.

    A model that always says the most frequent of C classes has 1/C, however frequent that is.

    Args:
        label: as in `f1`; classes of which there is no example are left out.
        predicted: as in `f1`.

    Raises:
        ValueError: as in `f1`.

    Examples:
        >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
        0.5
    """
    truth, guess = class_rows("balanced_accuracy", label=label, predicted=predicted)
    _some("balanced_accuracy", len(truth))
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))


def sentiment_scores(score: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """The numbers that papers on CMU-MOSI and CMU-MOSEI report, as MMSA computes them (arXiv:2203.12441).

    Args:
        score: the sentiment of each example, from −3 to 3, (N,) or (N, 1).
        predicted: the same from a model.

    Returns:
        ``"MAE"``, `mean_absolute_error`; ``"Corr"``, `correlation`; ``"Acc-7"``, `accuracy_7`; ``"Acc-2"`` and
        ``"F1"``, accuracy and weighted F1 of two classes, above 0 or not, of the examples whose score is not 0 (MMSA's
        "Non0"). Papers that leave the zeros in have other numbers for the last two.

    Raises:
        ValueError: as in `correlation`, or every score is 0.

    Examples:
        >>> {name: round(x, 3) for name, x in sentiment_scores([2.0, -1.0, 0.0], [1.0, -1.2, 0.4]).items()}
        {'MAE': 0.533, 'Corr': 0.902, 'Acc-7': 0.667, 'Acc-2': 1.0, 'F1': 1.0}
    """
    truth, guess = rows("sentiment_scores", score=score, predicted=predicted)
    counted = truth != 0
    if not counted.any():
        raise ValueError("sentiment_scores: score is 0 everywhere, or there is none; Acc-2 needs others")
    positive, said = truth[counted] > 0, guess[counted] > 0
    return {
        "MAE": mean_absolute_error(truth, guess),
        "Corr": correlation(truth, guess),
        "Acc-7": accuracy_7(truth, guess),
        "Acc-2": float((positive == said).mean()),
        "F1": f1(positive, said, "weighted"),
    }


# ---- messages


def _some(what: str, n: int) -> None:
    if not n:
        raise ValueError(f"{what}: there is no example")
