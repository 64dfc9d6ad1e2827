"""Generated modalities: their coherence, their distance from data, how varied they are, their style."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mmtutor.metrics.arguments import matrix, whole_numbers
from mmtutor.metrics.reading import predicted

EvaluationClassifier = Callable[[dict[str, Tensor]], Tensor]
"""A classifier of one modality, from a batch such as ``{"image": (B, ...)}`` to scores (B, classes): a module, or any
function. It was trained on real examples, and evaluates generated ones."""


def coherence(
    classifier: EvaluationClassifier, modality: str, generated: Tensor, labels: ArrayLike
) -> NDArray[np.bool_]:
    """For which generated examples an evaluation classifier gives the class that they should show: bool (n,).

    Its mean is the coherence (Shi and others, 2019, arXiv:1911.03393), with `share_interval`; two models that generated
    from the same examples are compared with `paired_interval`. It is bounded by the accuracy of the classifier on real
    examples, and the classifier should not have been trained on anything that the model generated.

    Args:
        classifier: a classifier of this one modality; a module is put into evaluation mode and back.
        modality: under which name the classifier expects the generated examples.
        generated: (n, ...), finite, for example pictures generated from sounds. Without gradients, on any device; where
            the classifier is no module, it is called on the CPU.
        labels: the class of what each was generated from, whole numbers (n,) from 0 to classes - 1.

    Raises:
        TypeError: ``generated`` is not a tensor.
        ValueError: there is nothing or NaN in it, the labels do not fit, or the classifier gives no finite scores (n,
            classes).

    Examples:
        >>> coherence(lambda batch: batch["image"], "image", torch.eye(3), [0, 1, 1]).tolist()
        [True, True, False]
    """
    scores = _scores("coherence", classifier, modality, generated)
    truth = whole_numbers("coherence", "labels", labels, len(scores))
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise ValueError(
            f"coherence: labels must be from 0 to {scores.shape[1] - 1}, the classifier's classes, "
            f"got {truth.min()} to {truth.max()}"
        )
    return np.asarray(scores.argmax(1).numpy() == truth)


def joint_coherence(
    classifiers: Mapping[str, EvaluationClassifier], generated: Mapping[str, Tensor]
) -> NDArray[np.bool_]:
    """Which examples generated from the prior show the same class in all modalities: bool (n,).

    Which class it is does not matter, so no label is needed (Shi and others, 2019, arXiv:1911.03393). Its mean has a
    chance level: 0.1 for two independent modalities and ten equally frequent classes. It is 1 for a model that always
    generates the same digit, so look at the classes too.

    Args:
        classifiers: an evaluation classifier for each modality, as in `coherence`, all with the same classes.
        generated: modality name to (n, ...), at least two modalities; row k of each belongs to one draw of z.

    Raises:
        TypeError: what was generated is not a tensor.
        ValueError: fewer than two modalities, classifiers of other modalities, different n or different classes,
            nothing or NaN.

    Examples:
        >>> classifiers = {"image": lambda batch: batch["image"], "sound": lambda batch: batch["sound"]}
        >>> joint_coherence(classifiers, {"image": torch.eye(3), "sound": torch.eye(3)[[0, 2, 2]]}).tolist()
        [True, False, True]
    """
    if len(generated) < 2 or classifiers.keys() != generated.keys():
        raise ValueError(
            f"joint_coherence: classifiers and generated must have the same modalities, at least two, "
            f"got {sorted(classifiers)} and {sorted(generated)}"
        )
    scores = {m: _scores("joint_coherence", classifiers[m], m, x) for m, x in generated.items()}
    if len({value.shape for value in scores.values()}) > 1:
        shapes = {modality: tuple(value.shape) for modality, value in scores.items()}
        raise ValueError(f"joint_coherence: all modalities must have the same (n, classes), got {shapes}")
    classes = torch.stack([value.argmax(1) for value in scores.values()])  # (modalities, n)
    return np.asarray((classes == classes[0]).all(0).numpy())


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Fréchet distance between two sets of features, each taken as a Gaussian: 0 where mean and covariance agree.

        FD = ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)

    Dowson and Landau, 1982; known as FID where the features are those of the Inception network (Heusel and others,
    2017, arXiv:1706.08500). For our digits that network says little: hand in the features of a classifier's
    penultimate layer. So its size can be compared only where the classifier is the same. It also depends on how many
    examples there are, the fewer the larger: compare numbers at equal n and m (Chong and Forsyth, 2020,
    arXiv:1911.07023). With n ≤ d the covariance is singular; the distance is still defined, and far too large.

    Args:
        a: (n, d), n at least 2, finite.
        b: (m, d), m at least 2.

    Returns:
        A number of at least 0, in squared units of the features; the same if a and b are exchanged.

    Raises:
        ValueError: not two such sets, or of different d.

    Examples:
        >>> square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(frechet_distance(square, square + [3.0, 0.0]), 6)
        9.0
    """
    x, y = (matrix("frechet_distance", name, value, 2) for name, value in (("a", a), ("b", b)))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"frechet_distance: a and b must have the same features, got {x.shape} and {y.shape}")
    # The squared singular values of R_a R_bᵀ are the eigenvalues of Σ_a^½ Σ_b Σ_a^½, and these are those of Σ_a Σ_b. So
    # their sum is tr (Σ_a Σ_b)^½: never complex, and exact also where a covariance is singular.
    root_a, root_b = _root(x), _root(y)
    both = np.linalg.norm(root_a @ root_b.T, "nuc")
    means = np.square(x.mean(0) - y.mean(0)).sum()
    return max(0.0, float(means + np.square(root_a).sum() + np.square(root_b).sum() - 2 * both))


def _root(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """R (at most d, d) with Σ = RᵀR, the covariance of the rows of x (n, d)."""
    return np.asarray(np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r"), float)


def coverage(real: ArrayLike, drawn: ArrayLike, k: int = 5) -> float:
    """The share of real examples that have a drawn one near: within the distance of their k-th nearest real neighbour.

    Naeem and others, 2020, arXiv:2002.09797. One that always draws the same covers few. It is not 1 for the data
    themselves: of n and m independent examples of one distribution, as many of either, it is about 1 − 2⁻ᵏ, and exactly
    1 − Π (n − i) / (n + m − i) with i from 1 to k in expectation. Compare at equal n, m and features.

    Args:
        real: features (n, d), n above k, finite.
        drawn: features (m, d).
        k: which neighbour, at least 1.

    Raises:
        ValueError: not two such sets, of different d, or no such k.

    Examples:
        >>> coverage([[0.0], [1.0], [10.0]], [[0.4]], k=1)
        0.6666666666666666
    """
    x, y = matrix("coverage", "real", real, 2), matrix("coverage", "drawn", drawn, 1)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"coverage: real and drawn must have the same features, got {x.shape} and {y.shape}")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < len(x):
        raise ValueError(f"coverage: k must be a whole number from 1 to {len(x) - 1}, got {k!r}")
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    radius = torch.cdist(a, a).kthvalue(k + 1, dim=1).values  # the nearest is itself
    return float((torch.cdist(a, b).amin(1) <= radius).double().mean())


def variety(features: ArrayLike, labels: ArrayLike) -> float:
    """The mean distance between two examples of the same class, such as pictures drawn from the same sentence.

    Args:
        features: (n, d), finite.
        labels: whole numbers (n,); a class of one example has no pair.

    Returns:
        The mean over all pairs, in units of the features: 0 if all examples of a class are alike.

    Raises:
        ValueError: wrong shapes, or no class has two examples.

    Examples:
        >>> variety([[0.0], [2.0], [7.0]], [1, 1, 0])
        2.0
    """
    x = matrix("variety", "features", features, 1)
    label = torch.from_numpy(whole_numbers("variety", "labels", labels, len(x)))
    pair = (label[:, None] == label).triu(1)
    if not pair.any():
        raise ValueError("variety: no class has two examples")
    z = torch.from_numpy(x)
    return float(torch.cdist(z, z)[pair].mean())


def image_style(pictures: Tensor) -> Tensor:
    """What of a digit's style can be measured without knowing which digit it is.

    Args:
        pictures: (n, C, H, W) in [0, 1].

    Returns:
        (n, k). Grey pictures: the ink, their mean; and the slant, how many pixels to the right a stroke goes on one
        pixel upwards, from the second moments of the ink (0 for a picture without ink). Colour pictures: the mean of
        each channel.

    Examples:
        >>> image_style(torch.eye(5).flip(1)[None, None]).tolist()  # a stroke from the lower left to the upper right
        [[0.20000000298023224, 1.0]]
    """
    if not isinstance(pictures, Tensor) or not pictures.is_floating_point():
        came = pictures.dtype if hasattr(pictures, "dtype") else type(pictures).__name__
        raise TypeError(f"image_style: pictures must be a float tensor with numbers in [0, 1], got {came}")
    if pictures.ndim != 4 or 0 in pictures.shape:
        raise ValueError(f"image_style: pictures must be (n, C, H, W), got {tuple(pictures.shape)}")
    if pictures.shape[1] > 1:
        return pictures.mean((2, 3))
    ink = pictures[:, 0]
    total = ink.sum((1, 2)).clamp_min(1e-12)
    up = -torch.arange(ink.shape[1], device=ink.device, dtype=ink.dtype)
    right = torch.arange(ink.shape[2], device=ink.device, dtype=ink.dtype)
    up = up - ((ink.sum(2) @ up) / total)[:, None]  # from the centre of the ink, (n, H)
    right = right - ((ink.sum(1) @ right) / total)[:, None]
    both = torch.einsum("nhw,nh,nw->n", ink, up, right)
    upwards = torch.einsum("nhw,nh->n", ink, up.square())
    return torch.stack([ink.mean((1, 2)), both / upwards.clamp_min(1e-12)], 1)


class _Module(nn.Module):
    """A function as a module."""

    def __init__(self, function: EvaluationClassifier) -> None:
        super().__init__()
        self.forward = function


def _scores(what: str, classifier: EvaluationClassifier, modality: str, generated: Tensor) -> Tensor:
    """The classifier's finite scores of generated examples, (n, classes) on the CPU."""
    if not isinstance(generated, Tensor):
        raise TypeError(f"{what}: generated must be a tensor of {modality!r}, got {type(generated).__name__}")
    n = len(generated) if generated.ndim else 0
    if n == 0 or 0 in generated.shape:
        raise ValueError(
            f"{what}: generated must be (n, ...) of {modality!r}, n at least 1, got {tuple(generated.shape)}"
        )
    if not generated.isfinite().all():
        raise ValueError(f"{what}: generated must be finite, got NaN or infinity in {modality!r}")
    model = classifier if isinstance(classifier, nn.Module) else _Module(classifier)
    scores, _ = predicted(f"{what}: the classifier of {modality!r}", model, {modality: generated}, 512)
    if scores.ndim != 2 or len(scores) != n or not scores.shape[1] or scores.isnan().any():
        raise ValueError(
            f"{what}: the classifier of {modality!r} must give scores ({n}, classes) without NaN, "
            f"got {tuple(scores.shape)}"
        )
    return scores
