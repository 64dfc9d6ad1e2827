"""The cross-entropy of a linear probe, in nats."""

import math

import numpy as np
import pytest

from mmtutor.metrics import linear_probe, probe_loss

rng = np.random.default_rng(0)


def two_normals(n):
    """p(y = 1 | x) is the sigmoid of 2 x: means −1 and 1, standard deviation 1."""
    y = rng.integers(0, 2, n)
    return (2 * y - 1 + rng.normal(size=n))[:, None], y


def test_it_comes_to_the_cross_entropy_of_the_true_posterior():
    (x, y), (other_x, other_y) = two_normals(20_000), two_normals(20_000)
    nats = probe_loss(x, y, other_x, other_y)
    exact = np.log1p(np.exp(-2 * other_x[:, 0] * (2 * other_y - 1)))
    assert nats.shape == (20_000,)
    assert nats == pytest.approx(exact, abs=0.1)
    assert nats.mean() == pytest.approx(exact.mean(), abs=2e-3)


def test_features_that_say_nothing_leave_the_entropy_of_the_label():
    y = rng.integers(0, 10, 20_000)
    nats = probe_loss(rng.normal(size=(20_000, 1)), y, rng.normal(size=(1000, 1)), rng.integers(0, 10, 1000))
    assert nats.mean() == pytest.approx(math.log(10), abs=0.02)


def test_it_is_the_same_probe_as_that_of_accuracy_whatever_the_classes_are_called():
    x = rng.normal(size=(200, 3))
    y = np.array([7, 2, 5])[x.argmax(1)]
    nats, right = probe_loss(x[:100], y[:100], x[100:], y[100:]), linear_probe(x[:100], y[:100], x[100:], y[100:])
    assert (nats[right] < math.log(3)).all()
    assert (nats[~right] > math.log(2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0], [2.0]], [0, 0], [[1.0]], [0]), "at least two different classes, got only 0"),
        (([[1.0], [2.0]], [0, 1], [[1.0]], [3]), "test_y has the class 3, which is not in train_y"),
        (([[1.0], [2.0]], [0, 1], [[1.0, 2.0]], [0]), "same coordinates"),
        (([[1.0], [float("nan")]], [0, 1], [[1.0]], [0]), "train_x must be finite"),
    ],
)
def test_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        probe_loss(*arguments)
