"""How much of a label a linear function can read from features: a linear probe, its mistakes and its nats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtutor.metrics.arguments import matrix, whole_numbers

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def linear_probe(train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike) -> NDArray[np.bool_]:
    """Which test examples a linear classifier of latent codes gets right: bool (m,).

    Its mean is the accuracy of a linear probe: how much of the class a linear function can read from the latent code
    (Alain and Bengio, 2016, arXiv:1610.01644). It is scikit-learn's logistic regression with C = 1, on latent codes
    whose every coordinate has mean 0 and standard deviation 1 in the training set. Nothing is drawn at random.

    Args:
        train_x: latent codes (n, d), finite.
        train_y: their classes, whole numbers (n,), at least two different ones.
        test_x: latent codes (m, d) of other examples.
        test_y: their classes (m,); one that is not in the training set is never right.

    Raises:
        ValueError: the shapes do not fit, there is nothing or NaN, or only one class.

    Examples:
        >>> linear_probe([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [[-1.0], [5.0]], [0, 0]).tolist()
        [True, False]
    """
    probe, _, x, y = _fitted("linear_probe", train_x, train_y, test_x, test_y)
    return np.asarray(probe.predict(x) == y)


def probe_loss(train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike) -> NDArray[np.float64]:
    """−log p(y | x) of each test example by a linear classifier of features: nats (m,).

    H(Y) less its mean bounds the information I(X; Y) that the features have from below, as far as a linear function can
    read it. It is scikit-learn's logistic regression with C = 1, on features whose every coordinate has mean 0 and
    standard deviation 1 in the training set, as in `mmtutor.metrics.linear_probe`. Nothing is drawn at random.

    Args:
        train_x: features (n, d), finite, such as those of a branch of a trained network.
        train_y: their classes, whole numbers (n,), at least two different ones.
        test_x: features (m, d) of other examples.
        test_y: their classes (m,), each of which is in the training set.

    Raises:
        ValueError: the shapes do not fit, there is nothing or NaN, only one class, or one that was not trained.

    Examples:
        >>> probe_loss([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [[-1.0], [5.0]], [0, 0]).round(2).tolist()
        [0.11, 3.01]
    """
    probe, classes, x, y = _fitted("probe_loss", train_x, train_y, test_x, test_y)
    if len(unknown := np.setdiff1d(y, classes)):
        raise ValueError(f"probe_loss: test_y has the class {unknown[0]}, which is not in train_y")
    log_p = probe.predict_log_proba(x)
    return np.asarray(-log_p[np.arange(len(y)), np.searchsorted(classes, y)], dtype=np.float64)


def _fitted(
    what: str, train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike
) -> tuple[Pipeline, NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The trained probe, its classes in order, and the test set as arrays."""
    from sklearn.linear_model import LogisticRegression  # imported late: half a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, other_x = (matrix(what, k, v, 1) for k, v in (("train_x", train_x), ("test_x", test_x)))
    if x.shape[1] != other_x.shape[1]:
        raise ValueError(
            f"{what}: train_x and test_x must have the same coordinates, got {x.shape} and {other_x.shape}"
        )
    y, other_y = whole_numbers(what, "train_y", train_y, len(x)), whole_numbers(what, "test_y", test_y, len(other_x))
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"{what}: train_y must have at least two different classes, got only {y[0]}")
    return (
        make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=10_000)).fit(x, y),
        classes,
        other_x,
        other_y,
    )
