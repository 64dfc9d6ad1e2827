"""Exercises of chapter 2: fusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 2.1: a linear layer on a concatenation, as two layers

BLOCKS = Exercise(
    right=lambda W, d: (W[:, :d], W[:, d:]),
    why="So concatenation and a linear layer is a merge layer, x₁ ↦ W₁x₁ plus x₂ ↦ W₂x₂.",
    hints=(
        "Which columns of W meet x₁, and which x₂?",
        "Cut W between column d₁ − 1 and column d₁; all rows stay.",
    ),
    wrong={
        Mistake(
            "the rows are split, not the columns",
            ("W has a column for each number of [x₁; x₂].", "The first d columns meet x₁."),
        ): lambda W, d: (W[:d], W[d:]),
        Mistake(
            "W₁ and W₂ have changed places", ("x₁ comes first in [x₁; x₂].", "So the first d₁ columns of W are W₁.")
        ): lambda W, d: (W[:, d:], W[:, :d]),
        Mistake(
            "the layer is cut in the middle, wherever x₁ ends",
            ("Are x₁ and x₂ equally long?", "Cut after d columns."),
        ): lambda W, d: (W[:, : W.shape[1] // 2], W[:, W.shape[1] // 2 :]),
    },
    inputs=[(uniform(5, 7, seed=0), 3), (uniform(4, 9, seed=1), 5), (uniform(6, 8, seed=2), 2)],
)

# ---- 2.2: the product rule


def product_rule(log_p: Tensor, prior: Tensor, times: int = 1) -> Tensor:
    """Log p(y | x₁ … x_M), (B, C), from log p(y | xₘ), (B, M, C); the prior is divided out M − ``times`` times."""
    total = log_p.sum(1) - (log_p.shape[1] - times) * prior.log()  # (B, C)
    return total.log_softmax(1)


def _cases(classes: int, seed: int) -> tuple[Tensor, Tensor]:
    prior = uniform(classes, seed=seed) + 0.1
    return uniform(4, 3, classes, seed=seed + 9).log_softmax(2), prior / prior.sum()


RULE = Exercise(
    right=product_rule,
    why="Each p(y | xₘ) contains the prior, so M of them contain it M times, and it should count once.",
    hints=(
        "Write p(x | y) for each modality by Bayes' rule. How often does p(y) come in the product?",
        "log_p.sum(1) − (M − 1) log p(y), and then log_softmax over the classes.",
    ),
    wrong={
        Mistake(
            "the prior counts M times",
            ("Write p(y | xₘ) by Bayes' rule. How often does p(y) come in the product?", "Divide by p(y)^(M − 1)."),
        ): lambda log_p, prior: product_rule(log_p, prior, log_p.shape[1]),
        Mistake(
            "the prior does not count at all",
            (
                "Divide by p(y)^(M − 1), not by p(y)^M: one p(y) should be left.",
                "In logarithms: subtract (M − 1) log p(y).",
            ),
        ): lambda log_p, prior: product_rule(log_p, prior, 0),
        Mistake(
            "it is not normalised",
            ("∝ means: divide by the sum over the classes.", "In logarithms that is log_softmax."),
        ): lambda log_p, prior: log_p.sum(1) - (log_p.shape[1] - 1) * prior.log(),
        Mistake(
            "probabilities are averaged, and not multiplied",
            ("The rule is a product; in logarithms a sum.", "log_p.sum(1), then take off the prior, then normalise."),
        ): lambda log_p, prior: log_p.exp().mean(1).log(),
        Mistake(
            "these are probabilities, and logarithms are asked for",
            ("Leave out the exponential at the end.", "log_softmax gives logarithms, softmax probabilities."),
        ): lambda log_p, prior: product_rule(log_p, prior).exp(),
    },
    inputs=[_cases(4, 0), _cases(3, 1)],
)

# ---- 2.3: the weight of low-rank fusion as the weight of tensor fusion


def full_weight(factors: Sequence[Tensor]) -> Tensor:
    """W, (D, d₁ + 1, d₂ + 1), from two factors (R, dₘ + 1, D)."""
    return torch.einsum("rid,rjd->dij", *factors)


FULL = Exercise(
    right=full_weight,
    why="A sum of R outer products: the full weight, of rank R at most, without ever being stored.",
    hints=(
        "Write out one output d, for one r: which number stands before x₁ᵢ x₂ⱼ?",
        "Σ_r W₁[r, i, d] W₂[r, j, d]",
    ),
    wrong={
        Mistake(
            "the factors are summed over r before they are multiplied",
            ("(a + b)(c + d) has more terms than ac + bd.", "Multiply for each r, and sum afterwards."),
        ): lambda factors: torch.einsum("rid,sjd->dij", *factors),
        Mistake(
            "the outputs come last",
            (
                "The shape asked for is (D, d₁ + 1, d₂ + 1).",
                "Move the last axis to the front, or end the einsum with “->dij”.",
            ),
        ): lambda factors: full_weight(factors).permute(1, 2, 0),
        Mistake(
            "it is the mean over r, not the sum",
            ("The equation has Σ_r.", "Leave out the division by R."),
        ): lambda factors: full_weight(factors) / len(factors[0]),
    },
    inputs=[
        ([uniform(3, 4, 2, seed=0), uniform(3, 5, 2, seed=1)],),
        ([uniform(2, 3, 4, seed=2), uniform(2, 2, 4, seed=3)],),
    ],
)

# ---- 2.4: what a branch lacks


def lacks(log_p: Tensor, label: Tensor) -> float:
    """The mean of −log p(label), in nats."""
    return float(-log_p.gather(1, label[:, None]).mean())


LACKS = Exercise(
    right=lacks,
    why="H(Y) less this is how much of the label the probe reads from the features: a bound from below.",
    hints=(
        "How much probability does the probe give to the right label?",
        "−log p(label), the mean over the examples.",
    ),
    wrong={
        Mistake(
            "this is in bits, and nats are asked for",
            ("log₂ gives bits, the natural logarithm nats.", "log_p is in nats already: use it as it is."),
        ): lambda log_p, label: lacks(log_p, label) / math.log(2),
        Mistake(
            "it is a sum over the examples, and not a mean",
            ("Would it grow with the size of the test set?", "Divide by the number of examples."),
        ): lambda log_p, label: lacks(log_p, label) * len(label),
        Mistake(
            "this is the entropy of the predictions, which does not ask whether they are right",
            ("Where does the label come in?", "Take log p of the label alone."),
        ): lambda log_p, label: float(-(log_p.exp() * log_p).sum(1).mean()),
        Mistake(
            "the sign is wrong: a better probe would lack more",
            ("log p is negative.", "What is lacking is −log p(label), 0 at best."),
        ): (lambda log_p, label: -lacks(log_p, label)),
        Mistake(
            "this is the share of wrong answers",
            (
                "A probe that is unsure and right lacks something, too.",
                "Take −log p of the label, not whether the largest p is that of the label.",
            ),
        ): lambda log_p, label: float((log_p.argmax(1) != label).double().mean()),
    },
    inputs=[((3 * uniform(40, 5, seed=k)).log_softmax(1), torch.arange(40) % 5) for k in range(2)],
)

# ---- 2.5: gradient modulation


def modulation(s: Tensor, alpha: float) -> Tensor:
    """kₘ from the confidences sₘ, (M,)."""
    rho = s / ((s.sum() - s) / (len(s) - 1))
    return torch.where(rho > 1, 1 - (alpha * rho).tanh(), torch.ones_like(rho))


MODULATION = Exercise(
    right=modulation,
    why="Who is ahead learns more slowly; who is behind keeps all of its gradient.",
    hints=(
        "First compute ρₘ: sₘ over the mean of the others. Try it with two modalities.",
        "kₘ = 1 − tanh(α ρₘ) where ρₘ > 1, else 1.",
    ),
    wrong={
        Mistake(
            "all modalities are slowed down, also those that are behind",
            ("kₘ = 1 where ρₘ ≤ 1.", "torch.where(rho > 1, …, 1.0)"),
        ): lambda s, a: 1 - (a * s / ((s.sum() - s) / (len(s) - 1))).tanh(),
        Mistake(
            "each is compared with the mean of all, itself among them",
            ("ρₘ compares with the mean of the *others*.", "(s.sum() − s) / (M − 1)"),
        ): lambda s, a: torch.where(s > s.mean(), 1 - (a * s / s.mean()).tanh(), torch.ones_like(s)),
        Mistake(
            "the modalities that are behind are slowed down",
            ("Which one should learn more slowly, to let the others catch up?", "The one with ρₘ > 1: it is ahead."),
        ): lambda s, a: torch.where(
            (r := s / ((s.sum() - s) / (len(s) - 1))) < 1, 1 - (a * r).tanh(), torch.ones_like(s)
        ),
    },
    inputs=[(torch.tensor([0.9, 0.3, 0.5]).double(), 0.5), (torch.tensor([0.2, 0.6]).double(), 1.0)],
)

EXERCISES = {"2.1": BLOCKS, "2.2": RULE, "2.3": FULL, "2.4": LACKS, "2.5": MODULATION}
