"""Scores of regressions and of unbalanced classes against closed forms, scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as theirs

from mmtutor.metrics import (
    accuracy_7,
    balanced_accuracy,
    confusion,
    correlation,
    f1,
    mean_absolute_error,
    sentiment_scores,
)

NUMBERS = (mean_absolute_error, correlation, accuracy_7, sentiment_scores)
CLASSES = (f1, balanced_accuracy)


def opinions(seed=0, n=200):
    """Scores in thirds from -3 to 3, as annotators give them, and guesses that go beyond."""
    rng = np.random.default_rng(seed)
    score = rng.integers(-9, 10, n) / 3
    return score, score * 0.8 + rng.normal(0, 1.2, n)


def test_error_and_correlation_are_those_of_scikit_learn_and_scipy():
    for seed in range(5):
        score, guess = opinions(seed)
        assert mean_absolute_error(score, guess) == pytest.approx(theirs.mean_absolute_error(score, guess), rel=1e-12)
        assert correlation(score, guess) == pytest.approx(stats.pearsonr(score, guess).statistic, rel=1e-12)
        assert correlation(score, -2 * score + 7) == pytest.approx(-1)


def test_seven_classes_by_hand():
    score = [3.0, 2.6, -0.4, 0.5, 1.5, -2.5, -3.0, 0.0]
    guess = [7.1, 2.4, -0.6, 0.4, 2.4, -1.6, -2.4, -0.5]
    #        3=3  3,2  0,-1  0=0  2=2  -2=-2  -3,-2  0=0; half-way between two it is the even one
    assert accuracy_7(score, guess) == 5 / 8
    assert accuracy_7([4.0, -4.0], [3.0, -9.0]) == 1


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_f1_and_balanced_accuracy_are_those_of_scikit_learn(classes):
    rng = np.random.default_rng(classes)
    label = rng.choice(classes, 300, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    guess = np.where(rng.random(300) < 0.6, label, rng.integers(0, classes, 300))
    assert balanced_accuracy(label, guess) == pytest.approx(theirs.balanced_accuracy_score(label, guess))
    for average in ("macro", "weighted"):
        assert f1(label, guess, average) == pytest.approx(theirs.f1_score(label, guess, average=average))
    table = confusion(label, guess, classes)
    assert f1(label, guess) == pytest.approx(np.mean(2 * table.diagonal() / (table.sum(0) + table.sum(1))))
    assert balanced_accuracy(label, guess) == pytest.approx(np.mean(table.diagonal() / table.sum(1)))


def test_a_model_that_knows_the_most_frequent_class_only():
    label = [0] * 90 + [1] * 10
    assert balanced_accuracy(label, [0] * 100) == 0.5
    assert f1(label, [0] * 100) == pytest.approx((2 * 90 / 190 + 0) / 2)
    assert f1(label, [0] * 100, "weighted") == pytest.approx(0.9 * 2 * 90 / 190)
    assert f1([1, 1], [1, 1]) == balanced_accuracy([1, 1], [1, 1]) == 1  # one class only
    assert balanced_accuracy([0, 0], [2, 0]) == 0.5  # the 2 is of no example
    assert f1([0, 0], [2, 0]) == pytest.approx((2 / 3 + 0) / 2)


def test_truth_and_guess_cannot_be_exchanged():
    label, guess = [0, 0, 0, 1], [0, 1, 1, 1]
    assert balanced_accuracy(label, guess) == pytest.approx((1 / 3 + 1) / 2)
    assert balanced_accuracy(guess, label) == pytest.approx((1 + 1 / 3) / 2)
    assert f1(label, guess, "weighted") == pytest.approx((3 * 2 / 4 + 1 * 2 / 4) / 4)
    unequal = [0, 0, 0, 1, 2], [0, 0, 1, 1, 1]
    assert f1(*unequal, "weighted") != pytest.approx(f1(*unequal[::-1], "weighted"))


def test_sentiment_scores_are_those_of_the_papers():
    """Two classes without the examples whose score is 0; a guess of 0 or less is negative."""
    score, guess = opinions()
    guess[:3] = 0
    kept = score != 0
    assert 150 < kept.sum() < 200
    truth, said = score[kept] > 0, guess[kept] > 0
    assert sentiment_scores(score, guess) == {
        "MAE": pytest.approx(np.abs(score - guess).mean()),
        "Corr": pytest.approx(np.corrcoef(score, guess)[0, 1]),
        "Acc-7": pytest.approx(np.mean(np.round(score.clip(-3, 3)) == np.round(guess.clip(-3, 3)))),
        "Acc-2": pytest.approx(theirs.accuracy_score(truth, said)),
        "F1": pytest.approx(theirs.f1_score(truth, said, average="weighted")),
    }
    assert all(type(value) is float for value in sentiment_scores(score, guess).values())
    assert sentiment_scores([1.0, 2.0, 0.0], [0.0, 1.0, 5.0])["Acc-2"] == 0.5


@pytest.mark.parametrize("measure", NUMBERS)
def test_columns_and_tensors_are_rows_of_numbers(measure):
    score, guess = opinions(n=30)
    column = torch.tensor(guess)[:, None].requires_grad_()
    assert measure(torch.tensor(score), column) == measure(score[:, None], guess.tolist()) == measure(score, guess)
    for bad, says in (
        ((score, guess[:29]), "score and predicted must have the same length"),
        ((score, np.stack([guess, guess], 1)), r"predicted must be a row of numbers \(n,\), got shape \(30, 2\)"),
        ((score, np.where(guess > 1, np.nan, guess)), "predicted must be a row of finite numbers, got nan at"),
        ((["a"], [1.0]), "score must be a row of numbers"),
        (([], []), "there is none|there is no example"),
    ):
        with pytest.raises(ValueError, match=f"{measure.__name__}: .*({says})"):
            measure(*bad)


@pytest.mark.parametrize("measure", CLASSES)
def test_columns_and_tensors_are_rows_of_classes(measure):
    label, guess = [0, 1, 1, 2], [0, 1, 2, 2]
    assert measure(torch.tensor(label)[:, None], np.array(guess)) == measure(label, guess)
    for bad, says in (
        ((label, guess[:3]), "label and predicted must have the same length"),
        ((label, torch.rand(4, 3)), r"predicted must be one class .*apply \.argmax\(1\)"),
        (([0.5, 1, 1, 2], guess), "label must be whole numbers, the classes, got 0.5 at 0"),
        (([], []), "there is no example"),
    ):
        with pytest.raises(ValueError, match=f"{measure.__name__}: .*{says}"):
            measure(*bad)


def test_what_does_not_vary_has_no_correlation():
    for rows, name in ((([1, 1], [1, 2]), "score is 1"), (([1, 2], [0.5, 0.5]), "predicted is 0.5")):
        for measure in (correlation, sentiment_scores):
            with pytest.raises(ValueError, match=f"correlation: {name} everywhere"):
                measure(*rows)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="sentiment_scores: score is 0 everywhere"):
        sentiment_scores([0.0, 0.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="f1: average must be 'macro' or 'weighted', got 'binary'"):
        f1([0, 1], [0, 1], "binary")
