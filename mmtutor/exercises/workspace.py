"""Exercises of chapter 12: modules and a shared workspace."""

from __future__ import annotations

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 12.1: two messages


def together(means: Tensor, variances: Tensor) -> Tensor:
    """Mean and variance of the product of Gaussians, each with a mean and a variance, (M,)."""
    precision = (1 / variances).sum()
    return torch.stack([(means / variances).sum() / precision, 1 / precision])


TOGETHER = Exercise(
    right=together,
    why="Precisions add up, and each mean weighs as much as its precision: who is sure counts more.",
    hints=(
        "What adds up when two factors exp(h z − ½ P z²) are multiplied?",
        "P = Σ 1/variance and h = Σ mean/variance; then the mean is h/P, and the variance 1/P.",
    ),
    wrong={
        Mistake(
            "the mean is that of the means: who is unsure counts as much as who is sure",
            ("One variance is 0.01, another one 100. Where should the mean be?", "Weigh the means by 1/variance."),
        ): lambda means, variances: torch.stack([means.mean(), 1 / (1 / variances).sum()]),
        Mistake(
            "variances add up here: after a second message one would know less",
            ("Does a second message make one surer or less sure?", "1/variance adds up."),
        ): lambda means, variances: torch.stack([together(means, variances)[0], variances.sum()]),
        Mistake(
            "the variance is the mean of the variances: a second message of the same kind would change nothing",
            ("Two equal messages: is one as unsure as after the first?", "1/variance adds up."),
        ): lambda means, variances: torch.stack([together(means, variances)[0], variances.mean()]),
        Mistake(
            "the means are weighted by the variances: who is unsure counts most",
            ("One variance is 0.01, another one 100. Where should the mean be?", "Weigh the means by 1/variance."),
        ): lambda means, variances: torch.stack(
            [(means * variances).sum() / variances.sum(), 1 / (1 / variances).sum()]
        ),
    },
    inputs=[
        (torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64)),
        (4 * uniform(3, seed=1) - 2, 0.2 + uniform(3, seed=2)),
    ],
)

# ---- 12.2: a message on its way


def up(h: float, p: float, a: float, q: float) -> Tensor:
    """What a message (h, p) about a child says about its parent, child = a parent + noise of variance q: (h′, p′)."""
    return torch.tensor([a * h / (1 + p * q), a * a * p / (1 + p * q)], dtype=torch.float64)


UP = Exercise(
    right=up,
    why="The link's noise makes the message weaker, by 1 + p q; and a turns the child's units into the parent's.",
    hints=(
        "If the child were known exactly, p → ∞, how sure could one be of the parent? Its precision is a²/q.",
        "M = 1/(1 + p q), then h′ = a M h and p′ = a M p a.",
    ),
    wrong={
        Mistake(
            "the noise of the link is forgotten: a child that is known exactly would tell its parent exactly",
            ("With p → ∞ the parent's precision should be a²/q.", "Divide by 1 + p q."),
        ): lambda h, p, a, q: torch.tensor([a * h, a * a * p], dtype=torch.float64),
        Mistake(
            "a is forgotten: child and parent have other units",
            ("If a = 2 the child is twice as large as its parent.", "h′ has a factor a, and p′ has a²."),
        ): lambda h, p, a, q: torch.tensor([h / (1 + p * q), p / (1 + p * q)], dtype=torch.float64),
        Mistake(
            "the precision has a where it needs a²",
            ("In p′ = a M p a, how often is a a factor?", "a * a * p / (1 + p * q)"),
        ): lambda h, p, a, q: torch.tensor([a * h / (1 + p * q), a * p / (1 + p * q)], dtype=torch.float64),
        Mistake(
            "this divides by a: it takes the message for one about the parent",
            ("The child's mean is a times the parent's. Is h its mean?", "h is precision times mean: a M h."),
        ): lambda h, p, a, q: torch.tensor([h / a / (1 + p * q), p / a**2 / (1 + p * q)], dtype=torch.float64),
    },
    inputs=[(1.2, 2.0, 0.5, 0.3), (-0.7, 0.4, 3.0, 1.1)],
)

# ---- 12.3: what a parent tells a child


def down(belief: Tensor, told: Tensor) -> Tensor:
    """Mean and variance of a belief (mean, variance) without a message (mean, variance) that is a factor of it."""
    p = 1 / belief[1] - 1 / told[1]
    return torch.stack([(belief[0] / belief[1] - told[0] / told[1]) / p, 1 / p])


DOWN = Exercise(
    right=down,
    why="A child must not hear its own words again; a factor is taken back by subtracting its h and P.",
    hints=(
        "The belief is a product, and what the child told is one of its factors. How is a factor taken out?",
        "Precision 1/v − 1/v′, information m/v − m′/v′; then back to mean and variance.",
    ),
    wrong={
        Mistake(
            "this is the whole belief: the child hears what it said itself, and counts it twice",
            ("What does the child know already?", "Divide by what it told."),
        ): lambda belief, told: 1 * belief,
        Mistake(
            "means are subtracted: factors are divided, so information (mean over variance) is subtracted",
            ("Which numbers add up when messages are multiplied?", "Subtract m/v and 1/v, then divide."),
        ): lambda belief, told: torch.stack([belief[0] - told[0], 1 / (1 / belief[1] - 1 / told[1])]),
        Mistake(
            "the message is multiplied in once more, not taken out",
            ("Without the child's words one is less sure, not surer.", "Minus, not plus."),
        ): lambda belief, told: together(torch.stack([belief[0], told[0]]), torch.stack([belief[1], told[1]])),
        Mistake(
            "the mean is still that of the whole belief",
            ("Without the child's words the mean moves away from what it said.", "(m/v − m′/v′) / (1/v − 1/v′)"),
        ): lambda belief, told: torch.stack([belief[0], 1 / (1 / belief[1] - 1 / told[1])]),
    },
    inputs=[
        (torch.tensor([2.0, 0.25], dtype=torch.float64), torch.tensor([3.0, 0.5], dtype=torch.float64)),
        (torch.tensor([-1.0, 0.1], dtype=torch.float64), torch.tensor([0.5, 0.7], dtype=torch.float64)),
    ],
)

# ---- 12.4: a category from several modules


def category(prior: Tensor, messages: Tensor, present: Tensor) -> Tensor:
    """p(c | x), (B, K), from p(c), (K,), messages log p(xₘ | c), (M, B, K), and who observed something, (M, B)."""
    said = torch.where(present[..., None], messages, torch.zeros_like(messages))
    return (prior.log() + said.sum(0)).softmax(1)


CATEGORY = Exercise(
    right=category,
    why="The prior counts once, each message once, and who observed nothing says nothing.",
    hints=(
        "How often does p(c) occur in p(c) ∏ p(xₘ | c), and what does a module say that observed nothing?",
        "Set messages to 0 where nothing was observed, add them to log p(c), and take the softmax over categories.",
    ),
    wrong={
        Mistake(
            "the prior counts once for each module",
            ("How often does p(c) occur in p(c) ∏ p(xₘ | c)?", "Add prior.log() after summing the messages."),
        ): lambda prior, messages, present: (
            (torch.where(present[..., None], messages, 0 * messages) + prior.log()).sum(0).softmax(1)
        ),
        Mistake(
            "messages of modules that observed nothing are counted",
            ("What does present say?", "torch.where(present[..., None], messages, 0)"),
        ): lambda prior, messages, present: (prior.log() + messages.sum(0)).softmax(1),
        Mistake(
            "this is the mean of what each module believes, a mixture and not a product",
            ("One module excludes a category for sure. Can it be likely?", "Add logarithms, then softmax."),
        ): lambda prior, messages, present: (
            (prior.log() + torch.where(present[..., None], messages, 0 * messages)).softmax(2).mean(0)
        ),
        Mistake(
            "the prior is missing",
            ("Without any message the belief should be p(c).", "Add prior.log()."),
        ): lambda prior, messages, present: torch.where(present[..., None], messages, 0 * messages).sum(0).softmax(1),
    },
    inputs=[
        (
            torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64),
            4 * uniform(2, 3, 3, seed=3) - 4,
            torch.tensor([[True, True, False], [True, False, True]]),
        ),
        (
            torch.tensor([0.25, 0.75], dtype=torch.float64),
            3 * uniform(3, 2, 2, seed=4) - 3,
            torch.tensor([[True, False], [True, True], [False, True]]),
        ),
    ],
)

# ---- 12.5: a rotation from pairs


def rotation(a: Tensor, b: Tensor) -> Tensor:
    """The orthogonal Q with the smallest ‖a Q − b‖², (d, d)."""
    U, _, Vh = torch.linalg.svd(a.T @ b)
    Q: Tensor = U @ Vh
    return Q


ROTATION = Exercise(
    right=rotation,
    why="Of aᵀb = U S Vᵀ only the directions are kept; S, the stretching, is left out.",
    hints=(
        "‖a Q − b‖² = ‖a‖² + ‖b‖² − 2 tr Qᵀ aᵀb. Which orthogonal Q makes the trace largest?",
        "U, S, Vh = torch.linalg.svd(a.T @ b), then U @ Vh.",
    ),
    wrong={
        Mistake(
            "this is least squares: any linear map, which also stretches",
            ("Is QᵀQ = I?", "From torch.linalg.svd(a.T @ b) keep U and Vh alone."),
        ): lambda a, b: torch.linalg.lstsq(a, b).solution,
        Mistake(
            "this turns the other way: it takes b to a",
            ("Compare a @ Q with b.", "Transpose it: U @ Vh of a.T @ b."),
        ): lambda a, b: rotation(a, b).T,
        Mistake(
            "S is still in it, so it stretches",
            ("Is QᵀQ = I?", "Leave S out."),
        ): lambda a, b: a.T @ b,
        Mistake(
            "torch.linalg.svd returns Vh, which is V transposed already",
            ("Is U @ torch.diag(S) @ Vh equal to a.T @ b?", "U @ Vh, not U @ Vh.T"),
        ): lambda a, b: torch.linalg.svd(a.T @ b)[0] @ torch.linalg.svd(a.T @ b)[2].T,
    },
    inputs=[
        (2 * uniform(6, 3, seed=5) - 1, 2 * uniform(6, 3, seed=6) - 1),
        (2 * uniform(9, 4, seed=7) - 1, 2 * uniform(9, 4, seed=8) - 1),
    ],
)

EXERCISES = {"12.1": TOGETHER, "12.2": UP, "12.3": DOWN, "12.4": CATEGORY, "12.5": ROTATION}
