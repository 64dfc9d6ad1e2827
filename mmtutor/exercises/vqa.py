"""Exercises of chapter 5: visual question answering."""

from __future__ import annotations

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 5.1: the best guess without the picture


def best_guess(p: Tensor) -> float:
    """The accuracy of the best guess that knows the question alone, from p(question, answer), (Q, C)."""
    return float(p.amax(1).sum())


def _table(questions: int, classes: int, seed: int) -> tuple[Tensor]:
    p = uniform(questions, classes, seed=seed) + 0.05
    return (p / p.sum(),)


GUESS = Exercise(
    right=best_guess,
    why="A question's commonest answer is right with p(answer | question), and questions count by p(question).",
    hints=(
        "For one question: which answer is the best guess, and how probable are both together?",
        "p.amax(1) is that of each question; the questions are told apart, so the sum is the accuracy.",
    ),
    wrong={
        Mistake(
            "this guesses the commonest answer of all, whatever the question is",
            ("The question is known.", "Take the largest of each row first, then the sum."),
        ): lambda p: float(p.sum(0).max()),
        Mistake(
            "all questions count the same, though some are asked more often",
            ("p(question) is the sum of a row.", "The sum of p.amax(1), without dividing by the rows' sums."),
        ): lambda p: float((p.amax(1) / p.sum(1)).mean()),
        Mistake(
            "this is a guess drawn from p(answer | question); the best one always takes the commonest answer",
            ("Is it ever better to guess a rarer answer?", "The largest of each row, not the squares."),
        ): lambda p: float((p.square().sum(1) / p.sum(1)).sum()),
        Mistake(
            "this is the chance of a guess among all answers",
            ("Some answers are more frequent than others.", "The largest of each row."),
        ): lambda p: 1 / p.shape[1],
    },
    inputs=[_table(4, 3, 0), _table(6, 5, 1)],
)

# ---- 5.2: a hop of attention


def hop(v: Tensor, u: Tensor, score: Tensor) -> Tensor:
    """U + Σ p v with p the softmax of scores over the regions: (B, L, H), (B, H), (B, L) to (B, H)."""
    return u + (score.softmax(1)[..., None] * v).sum(1)


HOP = Exercise(
    right=hop,
    why="The weights of the regions of one picture sum to one, so what is seen is their mean, weighted by attention.",
    hints=(
        "Over which dimension is the softmax? The regions of one picture are compared.",
        "u + (score.softmax(1)[..., None] * v).sum(1)",
    ),
    wrong={
        Mistake(
            "the softmax is over the batch: the weights of one picture depend on the others",
            ("dim=0 compares pictures; F.softmax without dim takes it for (B, L, 1).", "softmax(1), over the regions."),
        ): lambda v, u, score: u + (score.softmax(0)[..., None] * v).sum(1),
        Mistake(
            "what was seen takes the place of what was asked",
            ("The paper adds: the question must not be forgotten.", "Add u."),
        ): lambda v, u, score: hop(v, u, score) - u,
        Mistake(
            "the regions are averaged, not summed with their weights: a factor 1/L too much",
            ("The weights sum to one already.", "sum(1) in place of mean(1)."),
        ): lambda v, u, score: u + (score.softmax(1)[..., None] * v).mean(1),
        Mistake(
            "scores are taken for weights",
            ("Weights are positive and sum to one.", "score.softmax(1)"),
        ): lambda v, u, score: u + (score[..., None] * v).sum(1),
    },
    inputs=[
        (2 * uniform(3, 4, 2, seed=2) - 1, uniform(3, 2, seed=3), 3 * uniform(3, 4, seed=4)),
        (2 * uniform(2, 5, 3, seed=5) - 1, uniform(2, 3, seed=6), 3 * uniform(2, 5, seed=7)),
    ],
)

# ---- 5.3: FiLM


def film(features: Tensor, change: Tensor) -> Tensor:
    """(1 + Δγ) ⊙ F + β from features (B, H, rows, columns) and [Δγ; β], (B, 2 H)."""
    change = change[:, :, None, None]
    H = features.shape[1]
    return (1 + change[:, :H]) * features + change[:, H:]


def _at_places(features: Tensor, change: Tensor) -> Tensor:
    """The mistake of [γ; β] along the last dimension, where it fits."""
    H = features.shape[1]
    return (1 + change[:, None, None, :H]) * features + change[:, None, None, H:]


FILM = Exercise(
    right=film,
    why="A channel is scaled and shifted everywhere alike; γ = 1 + Δγ, so a layer of zeros changes nothing.",
    hints=(
        "Δγ is change[:, :H], (B, H). What must be added for it to fit (B, H, rows, columns)?",
        "change = change[:, :, None, None]; (1 + change[:, :H]) * features + change[:, H:]",
    ),
    wrong={
        Mistake(
            "γ is Δγ without the 1: with a layer of zeros all features are gone",
            ("With Δγ = 0 and β = 0 the features should come out as they went in.", "1 + Δγ"),
        ): lambda features, change: film(features, change) - features,
        Mistake(
            "γ and β are exchanged",
            ("The first half scales, the second shifts.", "change[:, :H] is Δγ."),
        ): lambda features, change: film(features, change.roll(features.shape[1], 1)),
        Mistake(
            "channels are not modulated but columns: the vector has met the last dimension",
            ("Broadcasting begins at the last dimension.", "change[:, :, None, None]"),
        ): _at_places,
        Mistake(
            "the shift is scaled, too",
            ("F′ = γ ⊙ F + β.", "Scale first, then add."),
        ): lambda features, change: (
            (1 + change[:, : features.shape[1], None, None]) * (features + change[:, features.shape[1] :, None, None])
        ),
    },
    inputs=[
        (2 * uniform(2, 3, 3, 3, seed=8) - 1, 2 * uniform(2, 6, seed=9) - 1),
        (2 * uniform(3, 4, 4, 4, seed=10) - 1, 2 * uniform(3, 8, seed=11) - 1),
    ],
)

# ---- 5.4: the additive projection


def projection(scores: Tensor) -> Tensor:
    """EMAP of scores (N, N, C) of picture i and question j, for the pairs (i, i): (N, C)."""
    return scores.mean(1) + scores.mean(0) - scores.mean((0, 1))


EMAP = Exercise(
    right=projection,
    why="It is the least-squares fit by a part of the picture and a part of the question; the mean would count twice.",
    hints=(
        "What does picture i give on average over all questions? And question i over all pictures?",
        "scores.mean(1) + scores.mean(0) − scores.mean((0, 1))",
    ),
    wrong={
        Mistake(
            "the mean of all is in it twice: once from the pictures, once from the questions",
            ("Try scores that are all 1.", "Subtract scores.mean((0, 1))."),
        ): lambda scores: scores.mean(1) + scores.mean(0),
        Mistake(
            "this is the part of the picture alone",
            ("A question has an average, too.", "Add scores.mean(0)."),
        ): lambda scores: scores.mean(1),
        Mistake(
            "this is the part of the question alone",
            ("A picture has an average, too.", "Add scores.mean(1)."),
        ): lambda scores: scores.mean(0),
        Mistake(
            "these are the model's own scores, of the pairs (i, i)",
            ("The projection is of averages over all pairs.", "Means over dimension 1 and over dimension 0."),
        ): lambda scores: scores.diagonal().T,
        Mistake(
            "the mean over the answers is subtracted",
            ("Each answer has a projection of its own.", "scores.mean((0, 1)) is (C,)."),
        ): lambda scores: scores.mean(1) + scores.mean(0) - scores.mean(),
    },
    inputs=[(2 * uniform(4, 4, 3, seed=12) - 1,), (2 * uniform(3, 3, 5, seed=13) - 1,)],
)

# ---- 5.5: the accuracy of VQA


def vqa_accuracy(count: Tensor) -> Tensor:
    """The accuracy of an answer that ``count`` of ten people gave: min(n / 3, 1), averaged over the groups of nine."""
    count = count.double()
    said = (count - 1).clamp_min(0) / 3  # one of those who gave it is left out
    return (count * said.clamp_max(1) + (10 - count) * (count / 3).clamp_max(1)) / 10


ACCURACY = Exercise(
    right=vqa_accuracy,
    why="An answer of three people is worth 0.9: if one of them is left out, only two are left, which is worth 2/3.",
    hints=(
        "If one who gave the answer is left out, n − 1 of nine gave it; how often does that happen?",
        "(n · min((n − 1) / 3, 1) + (10 − n) · min(n / 3, 1)) / 10",
    ),
    wrong={
        Mistake(
            "this is min(n / 3, 1), as in the paper; the official program averages over the ten groups of nine people",
            ("Leave each person out once.", "n times one who gave it is left out, 10 − n times another one."),
        ): lambda count: (count.double() / 3).clamp_max(1),
        Mistake(
            "this is the share of people who gave the answer",
            ("Three of them are enough.", "min(n / 3, 1) for each group of nine."),
        ): lambda count: count.double() / 10,
        Mistake(
            "an answer can be more than right",
            ("At most 1 for each group.", "clamp_max(1)"),
        ): lambda count: (count * (count - 1).clamp_min(0) + (10 - count) * count).double() / 30,
        Mistake(
            "the person who is left out has always given the answer",
            ("Each of the ten is left out once.", "10 − n times it is one who said something else."),
        ): lambda count: ((count.double() - 1).clamp_min(0) / 3).clamp_max(1),
    },
    inputs=[(torch.arange(11),)],
)

EXERCISES = {"5.1": GUESS, "5.2": HOP, "5.3": FILM, "5.4": EMAP, "5.5": ACCURACY}
