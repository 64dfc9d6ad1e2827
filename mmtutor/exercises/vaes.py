"""Exercises of chapter 10: multimodal VAEs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 10.1 and 10.2: products of normal distributions, each given by means and standard deviations (M,)


def product(mean: Tensor, std: Tensor, priors: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of ∏ᵢ N(μᵢ, σᵢ²), times N(0, 1) to the power ``priors``."""
    tau = std**-2
    total = tau.sum() + priors
    return (tau * mean).sum() / total, total**-0.5


_NORMALS = [(4 * uniform(m, seed=m) - 2, 0.2 + 0.7 * uniform(m, seed=9 + m)) for m in (2, 3)]

EXPERTS = Exercise(
    right=product,
    why="Precisions add up, and each factor pulls the mean by its precision.",
    hints=(
        "A product of normals is normal. What do the exponents −(z − μ)²/2σ² sum up to?",
        "The precision is 1 + Σ 1/σᵢ². The mean is Σ μᵢ/σᵢ² over it. Then the standard deviation.",
    ),
    wrong={
        Mistake(
            "the prior is missing",
            (
                "Which factors has the posterior of MVAE besides the experts?",
                "N(0, 1) has the precision 1, the mean 0.",
            ),
        ): lambda mean, std: product(mean, std, 0),
        Mistake(
            "the prior is counted for each expert",
            ("How many factors p(z) are there?", "One for all: add 1 to the sum of the precisions once."),
        ): lambda mean, std: product(mean, std, len(mean)),
        Mistake(
            "the second number is the variance, not the standard deviation",
            ("τ is one over the variance.", "Take the square root."),
        ): lambda mean, std: (product(mean, std)[0], product(mean, std)[1] ** 2),
        Mistake(
            "this is the mean of the experts, not their product",
            ("A product of densities is narrower than each factor.", "Add precisions, not means."),
        ): lambda mean, std: (mean.mean(), std.mean()),
        Mistake(
            "experts are weighted by 1/σ and not by 1/σ²",
            ("Precision is one over the variance.", "The weights are std**-2, not std**-1."),
        ): lambda mean, std: ((mean / std).sum() / ((1 / std).sum() + 1), 1 / ((1 / std).sum() + 1)),
    },
    inputs=_NORMALS,
)

POSTERIORS = Exercise(
    right=lambda mean, std: product(mean, std, 1.0 - len(mean)),
    why="M posteriors contain the prior M times, and the joint posterior once: divide by p(z)^(M − 1).",
    hints=(
        "Write p(z | x₁ … x_M) by Bayes' rule. How often is p(z) divided out?",
        "The precision is Σ 1/σᵢ² − (M − 1). The mean is Σ μᵢ/σᵢ² over it.",
    ),
    wrong={
        Mistake(
            "the prior is counted M times: this is the naive product",
            ("What does each posterior contain already?", "Take M − 1 from the sum of the precisions."),
        ): lambda mean, std: product(mean, std, 0),
        Mistake(
            "one prior more is multiplied in, as if these were experts",
            (
                "An expert does not contain the prior, a posterior does.",
                "M posteriors contain it M times: take M − 1 precisions of the prior off.",
            ),
        ): lambda mean, std: product(mean, std),
        Mistake(
            "the prior is divided out M times, so none is left",
            ("The joint posterior contains the prior once.", "Take M − 1 from the sum of the precisions, not M."),
        ): lambda mean, std: product(mean, std, -len(mean)),
    },
    inputs=[(2 * mean, std / 2) for mean, std in _NORMALS],
)

# ---- 10.3: the mean and standard deviation of a mixture


def mixture(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Of equal weights, by the law of total variance."""
    return mean.mean(), ((std**2).mean() + mean.var(correction=0)).sqrt()


MIXTURE = Exercise(
    right=mixture,
    why="A mixture is as wide as its components on average, and wider by how far they are apart. "
    "If they are far enough apart, it is wider than each of them.",
    hints=(
        "What are E z and E z² of a mixture, from those of its components?",
        "The variance is the mean of σᵢ² plus the variance of the μᵢ, with the divisor M.",
    ),
    wrong={
        Mistake(
            "the components' distances are left out",
            ("Two narrow normals far apart: how wide is their mixture?", "Add the variance of the means."),
        ): lambda mean, std: (mean.mean(), (std**2).mean().sqrt()),
        Mistake(
            "the components' own widths are left out",
            ("Two normals with the same mean: is their mixture a point?", "Add the mean of the variances."),
        ): lambda mean, std: (mean.mean(), mean.var(correction=0).sqrt()),
        Mistake(
            "the variance of the means is that of a sample, with M − 1",
            ("The components are all there are, no sample of them: divide by M.", "mean.var(correction=0)"),
        ): lambda mean, std: (mean.mean(), ((std**2).mean() + mean.var()).sqrt()),
        Mistake(
            "this is the product of the components",
            (
                "A mixture adds densities; a product multiplies them.",
                "The variance of a mixture is the mean variance plus the variance of the means.",
            ),
        ): lambda mean, std: product(mean, std, 0),
    },
    inputs=_NORMALS,
)

# ---- 10.4: the importance-weighted bound


def iwae(log_w: Tensor) -> Tensor:
    """Log 1/K Σ wₖ of each example, (B,), from log w, (K, B)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


BOUND = Exercise(
    right=iwae,
    why="With K = 1 it is the ELBO; with more draws it comes nearer to log p(x), always from below.",
    hints=(
        "Compute it for K = 1: it should be log w as it is. Then for two equal draws.",
        "logsumexp over the draws, less log K.",
    ),
    wrong={
        Mistake(
            "this is the mean of the logarithms, the ELBO estimated by K draws",
            ("Is the logarithm inside or outside of the mean?", "log 1/K Σ w, not 1/K Σ log w."),
        ): lambda log_w: log_w.mean(0),
        Mistake(
            "the K is missing: more draws would always raise the bound by log K",
            ("A mean over draws, not a sum.", "Subtract log K."),
        ): lambda log_w: log_w.logsumexp(0),
        Mistake(
            "this is the best draw alone",
            ("The maximum is not the mean.", "All K draws count: logsumexp over the draws, less log K."),
        ): lambda log_w: log_w.max(0).values,
        Mistake(
            "the draws and the examples have changed places",
            (
                "The first axis is that of the draws.",
                "logsumexp(0) sums over the draws. One number for each example is left.",
            ),
        ): lambda log_w: log_w.logsumexp(1) - math.log(log_w.shape[1]),
    },
    inputs=[(6 * uniform(5, 3, seed=0) - 900,), (3 * uniform(4, 4, seed=1),)],
)

# ---- 10.5: joint coherence


def joint_coherence(scores: dict[str, Tensor]) -> float:
    """The share of examples for which all classifiers say the same."""
    classes = torch.stack([s.argmax(1) for s in scores.values()])
    return float((classes == classes[0]).all(0).double().mean())


def _pairs(scores: dict[str, Tensor]) -> float:
    classes = torch.stack([s.argmax(1) for s in scores.values()])
    return float((classes == classes.roll(1, 0)).double().mean())


_SCORES = [({m: uniform(60, 3, seed=10 * k + j) for j, m in enumerate("abc")},) for k in range(3)]

COHERENCE = Exercise(
    right=joint_coherence,
    why="From the prior nothing is given, so agreement is all that one can ask for.",
    hints=(
        "For one example: which digit does each classifier say?",
        "argmax over the classes, then all modalities equal to the first, then the mean over the examples.",
    ),
    wrong={
        Mistake(
            "pairs that agree are counted, not examples in which all agree",
            (
                "Two of three modalities agree: is this example coherent?",
                "all over the modalities, mean over examples.",
            ),
        ): _pairs,
        Mistake(
            "only the first two modalities are compared",
            (
                "What if the third shows another digit?",
                "Compare all modalities with the first, and ask for all of them.",
            ),
        ): lambda scores: joint_coherence(dict(list(scores.items())[:2])),
        Mistake(
            "two of the modalities that agree are enough here",
            ("any is not all.", "(classes == classes[0]).all(0), with the modalities along the first axis."),
        ): lambda scores: float(
            (lambda c: (c == c.roll(1, 0)).any(0).double().mean())(torch.stack([s.argmax(1) for s in scores.values()]))
        ),
        Mistake(
            "this is the number of examples, not their share",
            ("Divide by the number of examples.", "The mean of a bool tensor, .double().mean(), is a share."),
        ): lambda scores: 60 * joint_coherence(scores),
    },
    inputs=_SCORES,
)

EXERCISES = {"10.1": EXPERTS, "10.2": POSTERIORS, "10.3": MIXTURE, "10.4": BOUND, "10.5": COHERENCE}
