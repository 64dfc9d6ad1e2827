"""Scores, intervals and tables against their definitions, by hand and by simulation."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from mmtutor.data import MultimodalDataset
from mmtutor.encoders import TabularEncoder
from mmtutor.fusion import Concat, LateFusion
from mmtutor.metrics import Interval, confusion, correct, mean_interval, paired_interval, predict, share_interval

NAN, INF = float("nan"), float("inf")


class Net(nn.Module):
    """With a part that behaves differently in training, and one that is frozen."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(4, 3), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.seen = []

    def forward(self, batch):
        self.seen.append((self.training, self.drop.training, torch.is_grad_enabled()))
        return self.linear(self.drop(self.norm(batch["x"])))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().double()


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(37, 4, dtype=torch.float64, generator=g)
    return MultimodalDataset({"x": x, "label": torch.arange(37) % 3})


def test_predict_is_the_model_in_evaluation_mode_on_every_example(net, data):
    net.norm.running_mean += 0.3
    expected = (data[:]["x"] - 0.3) / (1 + net.norm.eps) ** 0.5 @ net.linear.weight.T + net.linear.bias
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for batch_size in (1, 5, 37, 512):
        scores = predict(net, data, batch_size)
        torch.testing.assert_close(scores, expected.detach(), rtol=0, atol=1e-12)
        assert not scores.requires_grad
    assert all(mode == (False, False, False) for mode in net.seen)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_predict_restores_the_mode_of_every_part(net, data, training):
    net.train(training)
    net.norm.eval()  # frozen: as one does when fine-tuning
    net.drop.train()
    before = {name: module.training for name, module in net.named_modules()}
    predict(net, data)
    assert {name: module.training for name, module in net.named_modules()} == before
    net.linear = nn.Linear(7, 3)  # fails
    with pytest.raises(RuntimeError):
        predict(net, data)
    assert {name: module.training for name, module in net.named_modules()} == {**before, "linear": True}


def test_predict_works_without_parameters(data):
    class Constant(nn.Module):
        def forward(self, batch):
            return batch["x"] * 2

    assert torch.equal(predict(Constant(), data, 10), data[:]["x"] * 2)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "4", None, True])
def test_a_bad_batch_size_is_refused(net, data, batch_size):
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        predict(net, data, batch_size)
    assert net.training


def test_correct_is_where_the_largest_score_is_the_label(net, data):
    right = correct(net, data)
    assert right.dtype == np.bool_
    scores = predict(net, data)
    by_hand = [max(range(3), key=lambda c: scores[k, c]) == int(data[k]["label"]) for k in range(37)]
    assert right.tolist() == by_hand
    assert 0 < right.mean() < 1


class Reads(nn.Module):
    """A perfect classifier: its scores are the data."""

    def forward(self, batch):
        return batch["scores"]


LABEL = torch.tensor([0, 3, 1, 2, 2, 3, 0])
SCORES = torch.eye(4)[LABEL]


@pytest.mark.parametrize(
    "label", [LABEL, LABEL[:, None], LABEL.int(), LABEL.to(torch.uint8), LABEL[:, None].to(torch.int16)]
)
def test_a_label_may_be_a_column_of_any_whole_numbers(label):
    right = correct(Reads(), {"scores": SCORES, "label": label})
    assert right.shape == (7,)
    assert right.all()
    assert correct(Reads(), {"scores": SCORES.roll(1, 0), "label": label}).tolist() == (
        (LABEL.roll(1) == LABEL).tolist()
    )


@pytest.mark.parametrize(
    ("scores", "label", "says"),
    [
        (SCORES, torch.eye(4)[LABEL], r"whole numbers \(7,\), got torch.float32 \(7, 4\); apply .argmax"),
        (SCORES, torch.eye(4)[LABEL].long(), r"got torch.int64 \(7, 4\); apply .argmax\(1\) to one-hot labels"),
        (SCORES, LABEL.float(), r"got torch.float32 \(7,\); .*\.long\(\) to whole numbers in floats"),
        (SCORES, LABEL[:, None, None], r"got torch.int64 \(7, 1, 1\)"),
        (SCORES, LABEL.where(LABEL < 3, -100), "from 0 to 3, the classes that the model scores, got -100 in example 1"),
        (SCORES, LABEL + 2, "from 0 to 3, .*, got 5 in example 1"),
        (SCORES[:, :1], LABEL, r"score for each of at least two classes, \(N, classes\), got \(7, 1\); .* sentiment"),
        (SCORES[:, 0], LABEL, r"at least two classes, .* got \(7,\)"),
        (SCORES[:, :, None], LABEL, r"at least two classes, .* got \(7, 4, 1\)"),
    ],
)
def test_scores_and_labels_that_are_no_classes_are_refused(scores, label, says):
    with pytest.raises(ValueError, match=f"correct: .*{says}"):
        correct(Reads(), {"scores": scores, "label": label})


@pytest.mark.parametrize(
    ("gives", "error", "says"),
    [
        (lambda x: {"scores": x}, TypeError, "predict: the model must give its scores as a tensor, got dict"),
        (lambda x: x[:2], ValueError, r"predict: the model must give 7 rows for 7 examples, got \(2, 4\)"),
        (lambda x: x.sum(), ValueError, r"predict: the model must give 7 rows for 7 examples, got \(\)"),
    ],
)
def test_what_is_no_row_for_each_example_is_refused(gives, error, says):
    class Gives(nn.Module):
        def forward(self, batch):
            return gives(batch["scores"])

    with pytest.raises(error, match=says):
        predict(Gives(), {"scores": SCORES})


class Rows(torch.utils.data.Dataset):
    """A dataset of one's own."""

    def __len__(self):
        return 37

    def __getitem__(self, k):
        return {"x": torch.full((4,), k / 37, dtype=torch.float64), "label": k % 3}


def test_any_data_that_can_be_trained_on_can_be_read(net, data):
    own = MultimodalDataset(torch.utils.data.default_collate([Rows()[k] for k in range(37)]))
    for whole, kinds in (
        (data, [data.tensors, torch.utils.data.Subset(data, range(37)), data.loader(5)]),
        (own, [Rows(), torch.utils.data.DataLoader(Rows(), 5), torch.utils.data.DataLoader(Rows(), 8, num_workers=1)]),
    ):
        scores, right = predict(net, whole), correct(net, whole)
        assert 0 < right.mean() < 1
        for kind in kinds:
            torch.testing.assert_close(predict(net, kind), scores, rtol=0, atol=1e-12)
            assert (correct(net, kind, 7) == right).all()
        few = torch.utils.data.Subset(whole, [4, 2])
        torch.testing.assert_close(predict(net, few), scores[[4, 2]], rtol=0, atol=1e-12)


def test_labels_and_scores_of_a_shuffled_loader_belong_together():
    data = MultimodalDataset({"scores": torch.eye(9).repeat(4, 1), "label": torch.arange(36) % 9})
    assert correct(Reads(), torch.utils.data.DataLoader(data, 5, shuffle=True)).all()


@pytest.mark.parametrize("bad", [None, 3, [torch.ones(2, 4)], torch.ones(2, 4), {}])
def test_what_is_no_data_is_refused(net, bad):
    with pytest.raises((TypeError, ValueError), match="data"):
        predict(net, bad)
    assert net.training


def test_the_models_own_message_says_what_is_missing():
    fusion = LateFusion({"row": TabularEncoder(4, 3)}, 2, Concat([3]))
    with pytest.raises(ValueError, match=r"LateFusion: .*'x'"):
        predict(fusion, {"x": torch.ones(2, 4)})


def test_correct_refuses_nan_and_data_without_labels(net, data):
    with pytest.raises(ValueError, match="no 'label', only x"):
        correct(net, MultimodalDataset({"x": data[:]["x"]}))
    with torch.no_grad():
        net.linear.weight[0, 0] = NAN
    with pytest.raises(ValueError, match="NaN"):
        correct(net, data)


# ---- intervals


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_mean_interval_is_students(n):
    x = np.random.default_rng(n).normal(3, 2, n)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    mean, low, high = mean_interval(x.tolist())
    assert (mean, low, high) == pytest.approx((x.mean(), expected.low, expected.high), rel=1e-12)


def test_mean_interval_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, t(2) at 97.5 % is 4.302653."""
    assert mean_interval([1, 2, 3]) == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
    assert mean_interval(torch.tensor([5.0, 5.0])) == Interval(5, 5, 5)
    assert str(Interval(0.12345, -1, 2)) == "0.123 [-1.000, 2.000]"


def test_mean_interval_covers():
    """95 % of 2,000 intervals over five seeds, within 3 standard deviations of a binomial."""
    x = np.random.default_rng(0).normal(1, 3, (2000, 5))
    covered = np.mean([i.low <= 1 <= i.high for i in map(mean_interval, x)])
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / 2000) ** 0.5


def test_paired_interval_covers():
    """Two models of accuracy 0.85 and 0.80 that fail together, on 300 items: 200 test sets."""
    rng, hits, widths = np.random.default_rng(0), 0, []
    for repeat in range(200):
        hard = rng.random(300) < 0.1
        a = ~hard & (rng.random(300) < 0.85 / 0.9)
        b = ~hard & (rng.random(300) < 0.80 / 0.9)
        interval = paired_interval(a, b, draws=500, seed=repeat)
        hits += interval.low <= 0.05 <= interval.high
        widths.append(interval.high - interval.low)
    assert 180 <= hits <= 199, hits
    exact = 2 * 1.96 * (0.9 * (0.85 / 0.9 + 0.8 / 0.9 - 2 * 0.85 * 0.8 / 0.81) - 0.0025) ** 0.5 / 300**0.5
    assert np.mean(widths) == pytest.approx(exact, rel=0.05)


def test_paired_interval_covers_when_items_come_in_groups():
    """40 recordings of 5 to 15 windows that share most of their luck. Whole groups drawn: at least 90 % of the
    intervals cover. Windows drawn as if they were alone: far fewer, which is what groups are for."""
    rng, hits, alone = np.random.default_rng(1), 0, 0
    for repeat in range(200):
        group = np.repeat(np.arange(40), rng.integers(5, 16, 40))
        difference = 0.1 + rng.normal(0, 0.5, 40)[group] + rng.normal(0, 0.2, len(group))
        order = rng.permutation(len(group))  # groups need not be contiguous, nor numbers
        named = np.array([f"person {g}" for g in group])[order]
        a, b = difference[order], np.zeros(len(group))
        interval = paired_interval(a, b, named, draws=400, seed=repeat)
        hits += interval.low <= 0.1 <= interval.high
        wrong = paired_interval(a, b, draws=400, seed=repeat)
        alone += wrong.low <= 0.1 <= wrong.high
    assert 180 <= hits <= 199, hits
    assert alone < 140, alone


def test_paired_interval_by_another_way_of_counting():
    """Drawing groups with replacement written out item by item, with the same draws."""
    rng = np.random.default_rng(3)
    a, b, group = rng.random(30), rng.random(30), rng.integers(0, 7, 30)
    draws = np.random.default_rng(11).integers(7, size=(200, 7))  # all at once: the same stream
    means = [np.concatenate([(a - b)[group == g] for g in row]).mean() for row in draws]
    expected = ((a - b).mean(), np.quantile(means, 0.025), np.quantile(means, 0.975))
    assert paired_interval(a, b, group, draws=200, seed=11) == pytest.approx(expected, rel=1e-12)


def test_paired_interval_knows_its_bounds_and_its_seed():
    a, b = np.array([1, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 0, 1, 1])
    one, two = (paired_interval(a, b, seed=s) for s in (1, 1))
    assert one == two
    assert one != paired_interval(b, a, seed=1)
    assert one.mean == pytest.approx(1 / 6)
    swapped = paired_interval(b, a, seed=1)
    assert swapped == pytest.approx((-one.mean, -one.high, -one.low))
    assert paired_interval(torch.tensor(a), list(b), seed=1) == one
    x = np.random.default_rng(0).random(50)
    assert paired_interval(x, 1 - x, seed=1) != paired_interval(x, 1 - x, seed=2)


def test_paired_interval_needs_memory_of_the_items_only():
    import tracemalloc

    x = np.random.default_rng(0).random(26_032)  # SVHN's test set; at once it would be 2000 × 26,032 × 8 × 3 bytes
    tracemalloc.start()
    paired_interval(x, 1 - x, draws=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * x.nbytes


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 20), (3, 20), (10, 20), (20, 20), (9871, 10_000)])
def test_share_interval_is_wilsons(right, n):
    """His formula; and what it means: the shares from which what was seen is 1.96 standard errors away."""
    share, z = right / n, stats.norm.ppf(0.975)
    middle, half = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    interval = share_interval([True] * right + [False] * (n - right))
    assert interval == pytest.approx((share, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)))
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.low < interval.high
    for bound in interval[1:]:
        if 0 < bound < 1:
            assert abs(share - bound) / (bound * (1 - bound) / n) ** 0.5 == pytest.approx(z)


def test_share_interval_covers():
    """95 % of intervals over 60 items of which nine in ten are right, within 3 standard deviations of a binomial."""
    flags = np.random.default_rng(0).random((2000, 60)) < 0.9
    covered = np.mean([i.low <= 0.9 <= i.high for i in map(share_interval, flags)])
    exact = stats.binom.pmf(range(61), 60, 0.9) @ [
        i.low <= 0.9 <= i.high for i in (share_interval([1] * k + [0] * (60 - k)) for k in range(61))
    ]
    assert abs(covered - exact) < 3 * (0.05 / 2000) ** 0.5
    assert 0.93 < exact < 0.98


def test_share_interval_takes_what_is_true_or_false():
    for flags in ([1, 0, 1], np.array([True, False, True]), torch.tensor([True, False, True]), [1.0, 0.0, 1.0]):
        assert share_interval(flags) == share_interval([True, False, True])


BAD_ROWS = [
    None,
    "abc",
    ["a", "b"],
    [[1, 2], [3, 4]],
    [[1], [2, 3]],
    [1, NAN],
    [INF, 1],
    3.0,
    {"a": 1},
    [1j, 2],
    object(),
]


@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_bad_rows_are_refused_by_name(bad):
    for call, name in [
        (lambda: mean_interval(bad), "mean_interval: values"),
        (lambda: share_interval(bad), "share_interval: flags"),
        (lambda: paired_interval(bad, [1, 2]), "paired_interval: a "),
        (lambda: paired_interval([1, 2], bad), "paired_interval: b "),
        (lambda: confusion(bad, [0, 1], 2), "confusion: label"),
        (lambda: confusion([0, 1], bad, 2), "confusion: predicted"),
    ]:
        with pytest.raises((ValueError, TypeError), match=name):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([]), "values must be at least two"),
        (lambda: mean_interval([1]), "values must be at least two"),
        (lambda: share_interval([]), "flags must be true or false, at least one, got"),
        (lambda: share_interval([1, 0, 2]), "flags must be true or false"),
        (lambda: share_interval([0.5]), "flags must be true or false"),
        (lambda: paired_interval([], []), "at least two items"),
        (lambda: paired_interval([1], [0]), "at least two items"),
        (lambda: paired_interval([1, 2], [1, 2, 3]), "a and b must have the same length"),
        (lambda: paired_interval([1, 2], [1, 2], [0, 0]), "groups"),
        (lambda: paired_interval([1, 2], [1, 2], [0]), "groups must be of shape"),
        (lambda: paired_interval([1, 2], [1, 2], 3), "groups must be of shape"),
        (lambda: paired_interval([1, 2], [1, 2], draws=0), "draws"),
        (lambda: paired_interval([1, 2], [1, 2], draws=2.5), "draws"),
        (lambda: paired_interval([1, 2], [1, 2], seed=-1), "seed"),
        (lambda: paired_interval([1, 2], [1, 2], seed="x"), "seed"),
        (lambda: confusion([0, 1], [0], 2), "label and predicted must have the same length"),
        (lambda: confusion([0, 2], [0, 1], 2), "label must be whole numbers from 0 to 1"),
        (lambda: confusion([0, 1], [0, -1], 2), "predicted must be whole numbers"),
        (lambda: confusion([0, 0.5], [0, 1], 2), "label must be whole numbers"),
        (lambda: confusion([0, 1], [0, 1], 0), "classes"),
        (lambda: confusion([0, 1], [0, 1], "2"), "classes"),
        (lambda: confusion([0, 1], [0, 1], True), "classes"),
    ],
)
def test_bad_figures_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_column_is_a_row():
    column, other = np.array([[1.0], [0.0], [1.0]]), torch.tensor([[0], [0], [1]])
    assert mean_interval(column) == mean_interval([1, 0, 1])
    assert share_interval(column) == share_interval([1, 0, 1])
    assert paired_interval(column, [0, 0, 1], draws=9) == paired_interval([1, 0, 1], other, draws=9)
    assert confusion(column, other, 2).tolist() == confusion([1, 0, 1], [0, 0, 1], 2).tolist() == [[1, 0], [1, 1]]


def test_scores_and_one_hot_labels_are_no_classes():
    for scores in (np.eye(3), torch.eye(3)):
        with pytest.raises(ValueError, match=r"confusion: predicted must be one class .*\(3, 3\); apply .argmax\(1\)"):
            confusion([0, 1, 2], scores, 3)
        with pytest.raises(ValueError, match=r"confusion: label must be one class for each"):
            confusion(scores, [0, 1, 2], 3)


def test_a_message_shows_a_number_and_its_place_not_all_of_them():
    with pytest.raises(ValueError, match=r"finite numbers, got nan at 700$"):
        mean_interval(np.r_[np.zeros(700), NAN, np.zeros(9000)])
    with pytest.raises(ValueError, match=r"label must be whole numbers, the classes, got 0.5 at 1$"):
        confusion([0, 0.5], [0, 1], 2)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.lists(st.floats(), max_size=6), st.lists(st.floats(), max_size=6))
def test_any_rows_give_finite_figures_or_an_error(a, b):
    for call in (lambda: mean_interval(a), lambda: paired_interval(a, b, draws=20)):
        if any(abs(v) > 1e100 for v in a + b):  # finite, yet their squares or differences are not
            continue
        try:
            interval = call()
        except ValueError as error:
            message = str(error)
        else:
            message = "mean_interval"
            assert np.isfinite(interval).all()
            scale = 1e-9 * max(map(abs, [1e-300, *a, *b]))
            assert interval.low <= interval.high
            assert call.__code__.co_names[0] == "paired_interval" or (
                interval.low - scale <= interval.mean <= interval.high + scale
            )
        assert re.match("mean_interval|paired_interval", message)


# ---- tables


def test_confusion_counts():
    rng = np.random.default_rng(0)
    label, predicted = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    table = confusion(torch.tensor(label), predicted.tolist(), 5)
    assert table.dtype == np.int64
    assert table.shape == (5, 5)
    for i in range(5):
        for j in range(5):
            assert table[i, j] == sum(a == i and b == j for a, b in zip(label, predicted, strict=True))
    assert confusion([], [], 3).tolist() == [[0] * 3] * 3
    assert np.trace(confusion(label, label, 4)) == 300


def test_whole_numbers_of_numpy_are_whole_numbers():
    three, label = np.int64(3), np.array([0, 2, 1])
    assert (confusion(label, label, label.max() + 1) == np.eye(3)).all()
    assert paired_interval(label, [0, 0, 0], draws=three, seed=three) == paired_interval(
        label, [0, 0, 0], draws=3, seed=3
    )
    for wrong in (True, 3.0, "3", None, 0):
        with pytest.raises(ValueError, match="classes must be a whole number"):
            confusion(label, label, wrong)
