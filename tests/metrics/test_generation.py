"""Metrics of generated modalities: against closed forms, other ways of counting, scikit-learn and SciPy."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import minimize
from torch import nn

from mmtutor.metrics import (
    coherence,
    coverage,
    frechet_distance,
    image_style,
    joint_coherence,
    linear_probe,
    paired_interval,
    share_interval,
    variety,
)

NAN, INF = float("nan"), float("inf")


# ---- coherence


class EvaluationClassifier(nn.Module):
    """Looks at the mean of each of three rows of a picture; with a part that behaves differently in training."""

    def __init__(self, modality="image"):
        super().__init__()
        self.modality, self.drop, self.weight = (
            modality,
            nn.Dropout(0.9),
            nn.Parameter(torch.ones(3, dtype=torch.float64)),
        )
        self.sizes = []

    def forward(self, batch):
        assert list(batch) == [self.modality]
        self.sizes.append(len(batch[self.modality]))
        assert not torch.is_grad_enabled()
        return self.drop(batch[self.modality].mean((1, 3)) * self.weight)


def pictures(rows):
    """(n, 1, 3, 4): the row is light."""
    generated = torch.zeros(len(rows), 1, 3, 4, dtype=torch.float64)
    generated[torch.arange(len(rows)), 0, rows] = 1
    return generated


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, lambda x: torch.tensor(x, dtype=torch.int8)])
def test_coherence_is_where_the_judge_reads_the_label(kind):
    rows, labels = [0, 1, 2, 2, 1, 0, 2], [0, 1, 2, 0, 2, 1, 2]
    right = coherence(EvaluationClassifier(), "image", pictures(rows), kind(labels))
    assert right.dtype == np.bool_
    assert right.tolist() == [True, True, True, False, False, False, True]


def test_coherence_needs_neither_one_batch_nor_a_module_and_leaves_the_judge_alone():
    rows, labels = np.random.default_rng(0).integers(0, 3, (2, 1100))
    generated = pictures(rows).requires_grad_()
    classifier = EvaluationClassifier()
    right = coherence(classifier, "image", generated, labels)
    assert right.tolist() == (rows == labels).tolist()
    assert len(classifier.sizes) > 1
    assert sum(classifier.sizes) == 1100
    assert classifier.training
    assert classifier.drop.training
    asked = []

    def function(batch):
        asked.append(torch.is_grad_enabled())
        return batch["image"].mean((1, 3))

    assert coherence(function, "image", generated, labels).tolist() == right.tolist()
    assert asked
    assert not any(asked)
    share = share_interval(right)
    assert share.mean == pytest.approx((rows == labels).mean())
    assert paired_interval(right, ~right).mean == pytest.approx(2 * share.mean - 1)


@pytest.mark.parametrize(
    ("generated", "labels", "error", "words"),
    [
        (pictures([0])[:0], [], ValueError, r"generated must be \(n, ...\) of 'image', n at least 1, got \(0,"),
        (torch.tensor(1.0), [0], ValueError, r"generated must be .* got \(\)"),
        (np.ones((1, 1, 3, 4)), [0], TypeError, "generated must be a tensor of 'image', got ndarray"),
        (pictures([0]) * NAN, [0], ValueError, "generated must be finite, got NaN or infinity in 'image'"),
        (pictures([0]) + INF, [0], ValueError, "generated must be finite"),
        (pictures([0, 1]), [0], ValueError, r"labels must be 2 whole numbers, \(2,\), got int64 \(1,\)"),
        (pictures([0, 1]), [[0, 1]], ValueError, r"labels must be 2 whole numbers, \(2,\), got int64 \(1, 2\)"),
        (pictures([0, 1]), [[0], [0, 1]], ValueError, "labels must be 2 whole numbers"),
        (pictures([0, 1]), [0.0, 1.0], ValueError, r"labels must be 2 whole numbers, \(2,\), got float64"),
        (pictures([0, 1]), [0, 3], ValueError, "labels must be from 0 to 2, the classifier's classes, got 0 to 3"),
        (pictures([0, 1]), [-1, 2], ValueError, "labels must be from 0 to 2, the classifier's classes, got -1 to 2"),
    ],
)
def test_coherence_of_what_does_not_fit_is_refused(generated, labels, error, words):
    with pytest.raises(error, match=f"^coherence: {words}"):
        coherence(EvaluationClassifier(), "image", generated, labels)


@pytest.mark.parametrize(
    ("classifier", "shape"),
    [
        (lambda batch: batch["image"], r"\(2, 1, 3, 4\)"),
        (lambda batch: batch["image"].mean((1, 2, 3)), r"\(2,\)"),
        (lambda batch: batch["image"].mean((1, 3))[:, :0], r"\(2, 0\)"),
        (lambda batch: batch["image"].mean((1, 3)).log() * 0, r"\(2, 3\)"),
    ],
)
def test_a_judge_without_scores_is_refused(classifier, shape):
    words = rf"coherence: the classifier of 'image' must give scores \(2, classes\) without NaN, got {shape}"
    with pytest.raises(ValueError, match=words):
        coherence(classifier, "image", pictures([0, 1]), [0, 1])


def test_a_judge_of_fewer_examples_is_refused():
    with pytest.raises(ValueError, match=r"coherence: the classifier of 'image' must give 2 rows .*, got \(1, 3\)"):
        coherence(lambda batch: batch["image"].mean((1, 3))[:1], "image", pictures([0, 1]), [0, 1])


def test_a_column_of_classes_is_a_row_and_one_hot_classes_are_refused():
    column, one_hot = torch.tensor([[0], [1], [2]]), torch.eye(3).long()
    right = coherence(EvaluationClassifier(), "image", pictures([0, 1, 1]), column)
    assert right.shape == (3,)
    assert right.tolist() == [True, True, False]
    x, y = [[0.0], [1.0], [2.0], [3.0]], [[0], [0], [1], [1]]
    assert linear_probe(x, y, x, y).tolist() == [True] * 4
    with pytest.raises(ValueError, match=r"coherence: labels must be 3 whole .*one-hot labels take \.argmax"):
        coherence(EvaluationClassifier(), "image", pictures([0, 1, 1]), one_hot)


def test_joint_coherence_is_where_all_modalities_agree():
    generated = {"image": [0, 1, 2, 0, 1], "sound": [0, 1, 0, 0, 2], "word": [0, 2, 2, 0, 1]}
    shown = {modality: pictures(rows) for modality, rows in generated.items()}
    classifiers = {
        modality: EvaluationClassifier(modality) for modality in ("word", "image", "sound")
    }  # their order does not matter
    agree = joint_coherence(classifiers, shown)
    assert agree.dtype == np.bool_
    assert agree.tolist() == [True, False, False, True, False]
    pairs = {
        ("image", "sound"): [1, 1, 0, 1, 0],
        ("image", "word"): [1, 0, 1, 1, 1],
        ("sound", "word"): [1, 0, 0, 1, 0],
    }
    for pair, expected in pairs.items():
        two = joint_coherence({s: classifiers[s] for s in pair}, {s: shown[s] for s in pair})
        assert two.tolist() == [bool(e) for e in expected]


def test_joint_coherence_is_the_coherence_with_what_one_judge_reads():
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 3, (2, 900))
    agree = joint_coherence(
        {"a": EvaluationClassifier("a"), "b": EvaluationClassifier("b")},
        {"a": pictures(rows[0]), "b": pictures(rows[1])},
    )
    assert agree.tolist() == coherence(EvaluationClassifier("b"), "b", pictures(rows[1]), rows[0]).tolist()
    share = share_interval(agree)
    assert share.low < 1 / 3 < share.high  # modalities that know nothing of each other


def test_joint_coherence_of_what_does_not_fit_is_refused():
    classifiers, generated = (
        {"a": EvaluationClassifier("a"), "b": EvaluationClassifier("b")},
        {"a": pictures([0, 1]), "b": pictures([0, 1])},
    )
    same = r"joint_coherence: classifiers and generated must have the same modalities, at least two, got"
    for some, things in (
        ({}, {}),
        ({"a": classifiers["a"]}, {"a": generated["a"]}),
        (classifiers, {"a": generated["a"]}),
        ({"a": classifiers["a"]}, generated),
        (classifiers, {"a": generated["a"], "c": generated["b"]}),
    ):
        with pytest.raises(ValueError, match=same):
            joint_coherence(some, things)
    shapes = r"joint_coherence: all modalities must have the same \(n, classes\), got \{'a': \(2, 3\), 'b': "
    with pytest.raises(ValueError, match=shapes + r"\(3, 3\)"):
        joint_coherence(classifiers, {**generated, "b": pictures([0, 1, 2])})
    with pytest.raises(ValueError, match=shapes + r"\(2, 4\)"):
        joint_coherence({**classifiers, "b": lambda batch: batch["b"].mean((1, 2))}, generated)
    with pytest.raises(ValueError, match="joint_coherence: generated must be finite, got NaN or infinity in 'b'"):
        joint_coherence(classifiers, {**generated, "b": generated["b"] * NAN})
    with pytest.raises(TypeError, match="joint_coherence: generated must be a tensor of 'b'"):
        joint_coherence(classifiers, {**generated, "b": None})


# ---- Fréchet distance


def exactly(mean, covariance, n=50, seed=0):
    """Points whose mean and covariance are exactly these."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T).reshape(len(mean), -1))).T
    return x @ np.real(sqrtm(np.atleast_2d(covariance))) + mean


def by_scipy(a, b):
    """The formula as it stands, with SciPy's root of a matrix that is not symmetric."""
    one, two = np.cov(a.T), np.cov(b.T)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (30, 400)])
def test_distance_of_known_gaussians(n, m):
    """One dimension: (μ − μ')² + (σ − σ')². Where covariances commute, the same along each axis."""
    assert frechet_distance(exactly([1.0], [[4.0]], n), exactly([-2.0], [[25.0]], m, 1)) == pytest.approx(9 + 9)
    a = exactly([0.0, 1.0, 2.0], np.diag([1.0, 4.0, 9.0]), n)
    b = exactly([3.0, 1.0, 0.0], np.diag([16.0, 1.0, 9.0]), m, 1)
    assert frechet_distance(a, b) == pytest.approx((9 + 0 + 4) + (1 - 4) ** 2 + (2 - 1) ** 2 + 0)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(23)
    assert frechet_distance(a, a + np.array([1.0, 2.0, 2.0])) == pytest.approx(9)


def test_distance_of_gaussians_that_do_not_commute():
    """For 2 × 2 matrices tr (Σ_a Σ_b)^½ = √(tr Σ_a Σ_b + 2 √det Σ_a Σ_b)."""
    one, two = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 0.9], [0.9, 3.0]])
    assert abs(one @ two - two @ one).max() > 1
    root = np.sqrt(np.trace(one @ two) + 2 * np.sqrt(np.linalg.det(one @ two)))
    expected = 1 + 3 + 4 - 2 * root
    a, b = exactly([0.0, 0.0], one), exactly([1.0, 0.0], two, 70, 1)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("d", [2, 7, 20])
def test_distance_as_scipy_has_it(d):
    rng = np.random.default_rng(d)
    a = rng.normal(size=(80, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)
    b = rng.gamma(1, size=(60, d)) @ rng.normal(size=(d, d))
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * frechet_distance(a, b))
    assert frechet_distance(a + 1e6, b + 1e6) == pytest.approx(frechet_distance(a, b), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (30, 4), (5, 40), (2, 3)])
def test_a_set_has_no_distance_from_itself(n, d):
    """Also where the covariance is singular: the root of a rounding error would be 1e-8."""
    a = np.random.default_rng(n).normal(5, 1, (n, d))
    for other in (a, a[::-1]):
        assert 0 <= frechet_distance(a, other) < 1e-12 * d * 26
    assert frechet_distance(np.ones((4, d)), np.ones((3, d))) == 0
    assert frechet_distance(np.ones((4, d)), 3 * np.ones((3, d))) == 4 * d


def test_distance_of_few_examples_is_defined_and_too_large():
    rng = np.random.default_rng(0)
    few, many = (np.mean([frechet_distance(*rng.normal(size=(2, n, 8))) for _ in range(20)]) for n in (6, 600))
    assert many < 0.2 < 2 < few
    a, b = rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
    root = np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real.clip(0) ** 0.5  # of rank 3 at most
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T)) - 2 * np.sort(root)[-3:].sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_distance_takes_tensors():
    a, b = torch.randn(2, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = by_scipy(a.detach().numpy(), b.detach().numpy())
    distance = frechet_distance(a, b)
    assert type(distance) is float
    assert distance == pytest.approx(expected)
    assert frechet_distance(a.float(), b.detach().tolist()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([[1.0, 2.0]], r"must be \(n, d\) with n at least 2 and d at least 1, got \(1, 2\)"),
        ([], r"must be \(n, d\).* got \(0,\)"),
        ([1.0, 2.0], r"must be \(n, d\).* got \(2,\)"),
        (np.ones((3, 0)), r"must be \(n, d\).* got \(3, 0\)"),
        (np.ones((3, 2, 1)), r"must be \(n, d\).* got \(3, 2, 1\)"),
        ([[1.0, NAN], [1.0, 2.0]], r"must be finite, got NaN or infinity among \(2, 2\)"),
        ([[1.0, INF], [1.0, 2.0]], "must be finite"),
        ([["a", "b"], ["c", "d"]], r"must be numbers \(n, d\)"),
        ([[1.0], [1.0, 2.0]], r"must be numbers \(n, d\)"),
        (None, "must be"),
    ],
)
def test_bad_codes_are_refused_by_name(bad, words):
    good = np.arange(4.0).reshape(2, 2)
    for name, call in (("a", lambda: frechet_distance(bad, good)), ("b", lambda: frechet_distance(good, bad))):
        with pytest.raises(ValueError, match=f"^frechet_distance: {name} {words}"):
            call()
    if isinstance(bad, list) and len(bad) == 1:
        return  # one code is enough to be tested
    words = words.replace("at least 2", "at least 1")
    for name, call in (
        ("train_x", lambda: linear_probe(bad, [0, 1], good, [0, 1])),
        ("test_x", lambda: linear_probe(good, [0, 1], bad, [0, 1])),
    ):
        with pytest.raises(ValueError, match=f"^linear_probe: {name} {words}"):
            call()


def test_features_of_different_size_are_refused():
    with pytest.raises(ValueError, match=r"frechet_distance: a and b must .* same features, got \(3, 2\) and \(4, 3\)"):
        frechet_distance(np.ones((3, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"linear_probe: train_x and test_x must .* got \(2, 2\) and \(4, 3\)"):
        linear_probe(np.ones((2, 2)), [0, 1], np.ones((4, 3)), [0] * 4)


# ---- a linear probe


def clouds(n=60, d=4, classes=3, noise=1.0, seed=0):
    """Codes of classes in different places, each coordinate on another scale."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    centres = np.random.default_rng(99).normal(size=(classes, d))
    scale, shift = 10.0 ** np.arange(-2, d - 2), 1000 * np.arange(d)
    return (centres[y] + noise * rng.normal(size=(n, d))) * scale + shift, y


def test_probe_is_regularised_logistic_regression_on_standardised_codes():
    """The same by minimising Σ −log p(y|x) + ‖W‖² / 2, written out (the constant is not punished)."""
    (x, y), (other, truth) = clouds(), clouds(400, seed=1)
    mean, deviation = x.mean(0), x.std(0)
    z, tested = (x - mean) / deviation, (other - mean) / deviation

    def objective(flat):
        w, c = flat[:12].reshape(4, 3), flat[12:]
        scores = z @ w + c
        log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        grad = np.exp(log_p) - np.eye(3)[y]
        return -log_p[np.arange(len(y)), y].sum() + (w**2).sum() / 2, np.r_[(z.T @ grad + w).ravel(), grad.sum(0)]

    best = minimize(objective, np.zeros(15), jac=True, method="BFGS", options={"gtol": 1e-6}).x
    expected = (tested @ best[:12].reshape(4, 3) + best[12:]).argmax(1) == truth
    right = linear_probe(x, y, other, truth)
    assert right.dtype == np.bool_
    assert 0.5 < right.mean() < 0.95
    assert (right != expected).sum() <= 1  # one may lie on the border
    scaled = linear_probe(x * 7 + 3, y, other * 7 + 3, truth)
    assert (right != scaled).sum() <= 1


def test_probe_does_not_look_at_the_test_set():
    (x, y), (other, truth) = clouds(), clouds(40, seed=1)
    right = linear_probe(x, y, other, truth)
    for k in (0, 7, 39):
        assert linear_probe(x, y, other[[k]], truth[[k]]).tolist() == [right[k]]
    assert linear_probe(x, y, other, (truth + 1) % 3).tolist() != right.tolist()


def test_probe_finds_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(2, 400, 2))
    line, cross = (lambda z: (z[:, 0] > z[:, 1]).astype(int)), (lambda z: (z[:, 0] * z[:, 1] > 0).astype(int))
    assert linear_probe(x, line(x), other, line(other)).mean() > 0.97
    assert linear_probe(x, cross(x), other, cross(other)).mean() < 0.62


def test_probe_takes_tensors_constant_codes_and_classes_of_any_number():
    (x, y), (other, truth) = clouds(noise=0.1), clouds(30, noise=0.1, seed=1)
    codes, tested = (torch.tensor(np.c_[v, np.ones(len(v))]).requires_grad_() for v in (x, other))
    right = linear_probe(codes, torch.tensor(y) * 5, tested, torch.tensor(truth * 5, dtype=torch.int32))
    assert right.all()
    truth[:3] = 77  # never seen in training
    assert linear_probe(x, y, other, truth).tolist() == [False] * 3 + [True] * 27


@pytest.mark.parametrize(
    ("train_y", "test_y", "words"),
    [
        ([1, 1], [0, 1], "train_y must have at least two different classes, got only 1"),
        ([0, 1, 0], [0, 1], r"train_y must be 2 whole numbers, \(2,\), got int64 \(3,\)"),
        ([0.0, 1.0], [0, 1], "train_y must be 2 whole numbers"),
        ([0, 1], [0], "test_y must be 2 whole numbers"),
        ([0, 1], ["a", "b"], "test_y must be 2 whole numbers"),
        ([[0, 1], [1, 0]], [0, 1], "train_y must be 2 whole numbers"),
    ],
)
def test_bad_classes_are_refused_by_name(train_y, test_y, words):
    with pytest.raises(ValueError, match=f"^linear_probe: {words}"):
        linear_probe([[0.0], [1.0]], train_y, [[0.0], [1.0]], test_y)


def test_importing_the_figures_does_not_import_scikit_learn():
    code = "import sys, mmtutor.metrics; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- style


def test_style_of_grey_pictures_by_hand():
    pictures = torch.zeros(5, 1, 6, 6, dtype=torch.float64)
    pictures[0, 0, 1:5, 2] = 1  # upright
    pictures[1, 0, [4, 3, 2, 1], [1, 2, 3, 4]] = 0.5  # one to the right for one up
    pictures[2, 0, [4, 2], [1, 2]] = 1  # one to the right for two up
    pictures[3, 0, [1, 2], [1, 2]] = 1  # to the left
    style = image_style(pictures)
    assert style[:, 0].tolist() == pytest.approx([4 / 36, 2 / 36, 2 / 36, 2 / 36, 0])
    assert style[:, 1].tolist() == pytest.approx([0, 1, 0.5, -1, 0])


def test_style_of_colour_pictures_is_their_mean_colour():
    pictures = torch.rand(3, 3, 4, 5)
    assert torch.equal(image_style(pictures), pictures.mean((2, 3)))
    for bytes_ in ((255 * pictures).to(torch.uint8), pictures.numpy()):
        with pytest.raises(
            TypeError, match=r"image_style: pictures must be a float tensor with numbers in \[0, 1\], got"
        ):
            image_style(bytes_)
    with pytest.raises(ValueError, match=r"image_style: pictures must be \(n, C, H, W\), got \(3, 4\)"):
        image_style(pictures[:, 0, :, 0])


# ---- coverage and variety


def test_coverage_by_loops():
    rng = np.random.default_rng(0)
    real, drawn = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)) + 1
    for k in (1, 3):
        covered = 0
        for i in range(30):
            others = sorted(np.linalg.norm(real[i] - real[j]) for j in range(30) if j != i)
            covered += any(np.linalg.norm(real[i] - y) <= others[k - 1] for y in drawn)
        assert coverage(real, drawn, k) == pytest.approx(covered / 30, abs=1e-12)
    assert coverage(real, real) == 1
    assert coverage(real, real + 100) == 0
    assert coverage(real, np.repeat(real[:1], 20, 0)) < 0.5  # always the same


def test_the_expected_coverage_of_the_data_themselves():
    rng = np.random.default_rng(0)
    n, m, k = 40, 25, 3
    found = np.mean([coverage(rng.random((n, 2)), rng.random((m, 2)), k) for _ in range(400)])
    missed = np.prod([(n - i) / (n + m - i) for i in range(1, k + 1)])
    assert found == pytest.approx(1 - missed, abs=0.01)


def test_variety_by_loops():
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(12, 3)), rng.integers(3, size=12)
    pairs = [(i, j) for i in range(12) for j in range(i) if label[i] == label[j]]
    assert variety(x, label) == pytest.approx(np.mean([np.linalg.norm(x[i] - x[j]) for i, j in pairs]), abs=1e-12)
    assert variety(np.ones((4, 2)), [0, 0, 1, 1]) == 0


def test_coverage_and_variety_refuse_what_they_cannot_measure():
    x = np.zeros((3, 2))
    for wrong, message in (
        (lambda: coverage(x, np.zeros((3, 1))), "the same features"),
        (lambda: coverage(x, x, 3), "k must be a whole number from 1 to 2"),
        (lambda: coverage(x, x, True), "k must be a whole number"),
        (lambda: coverage(x, x * NAN), "must be finite"),
        (lambda: variety(x, [0, 1, 2]), "no class has two examples"),
        (lambda: variety(x, [0, 1]), "3 whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
