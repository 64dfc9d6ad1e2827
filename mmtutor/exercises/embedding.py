"""Exercises of chapter 3: joint embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 3.1: InfoNCE


def info_nce(s: Tensor, t: float) -> float:
    """The mean of both directions, in nats, from similarities (N, N)."""
    log_p = (t * s).log_softmax(1).diagonal() + (t * s).log_softmax(0).diagonal()  # (N,)
    return float(-log_p.mean() / 2)


LOSS = Exercise(
    right=info_nce,
    why="It is the cross-entropy of which one of the batch belongs to this one, asked from both sides.",
    hints=(
        "log p of the partner is on the diagonal, of a softmax over a row and of one over a column.",
        "(t * s).log_softmax(1).diagonal(), the same with 0, and minus the mean of all 2 N numbers.",
    ),
    wrong={
        Mistake(
            "only pictures look for their sentences",
            ("Which picture belongs to this sentence? That is asked, too.", "A softmax over each column as well."),
        ): lambda s, t: float(-(t * s).log_softmax(1).diagonal().mean()),
        Mistake(
            "only sentences look for their pictures",
            ("Which sentence belongs to this picture? That is asked, too.", "A softmax over each row as well."),
        ): lambda s, t: float(-(t * s).log_softmax(0).diagonal().mean()),
        Mistake(
            "similarities are divided by t, and t is one over the temperature",
            ("A larger t should make the softmax sharper.", "Multiply by t."),
        ): lambda s, t: info_nce(s, 1 / t),
        Mistake(
            "it is the sum of both directions, not their mean",
            ("Divide by the number of questions. How many are asked?", "There are 2 N questions: a factor of 1/2."),
        ): lambda s, t: 2 * info_nce(s, t),
        Mistake(
            "the softmax is over the whole batch at once",
            ("Each picture has a question of its own, with N answers.", "One softmax for each row and each column."),
        ): lambda s, t: float(-(t * s).flatten().log_softmax(0).view_as(s).diagonal().mean()),
    },
    inputs=[(2 * uniform(5, 5, seed=0) - 1, 3.0), (2 * uniform(3, 3, seed=1) - 1, 0.5)],
)

# ---- 3.2: the floor of a batch


def floor_of(label: Tensor) -> float:
    """The mean of log m, m how many of the batch have this label, in nats."""
    m = (label[:, None] == label).sum(1)  # (N,)
    return float(m.double().log().mean())


FLOOR = Exercise(
    right=floor_of,
    why="Nothing tells the m apart, so 1/m is the most that the right one can get, and −log(1/m) the least loss.",
    hints=(
        "For one picture of a batch: how many of its sentences have the same label, its own among them?",
        "(label[:, None] == label).sum(1) are the m; then the mean of their logarithms.",
    ),
    wrong={
        Mistake(
            "this is the logarithm of the mean, and the mean of logarithms is smaller",
            ("Compute log m for each picture first.", "Then the mean over the batch."),
        ): lambda label: math.log(float((label[:, None] == label).sum(1).double().mean())),
        Mistake(
            "the right one itself does not count among the m",
            ("With a label that nobody shares, m is 1 and the loss can be 0.", "m counts the picture's own sentence."),
        ): lambda label: float(((label[:, None] == label).sum(1) - 1).clamp_min(1).double().log().mean()),
        Mistake(
            "this is in bits, and nats are asked for",
            ("log₂ gives bits.", "Take the natural logarithm, torch.log."),
        ): lambda label: floor_of(label) / math.log(2),
        Mistake(
            "this is the bound log N − I for uniform labels, which the floor of a batch can be far above",
            ("Count in the batch: who has the label of the first picture?", "The mean of log m, m counted."),
        ): lambda label: math.log(len(label) / len(label.unique())),
    },
    inputs=[(torch.tensor([0, 1, 1, 2, 2, 2, 3]),), (torch.tensor([4, 4, 0, 4]),), (torch.tensor([1, 2, 3, 3]),)],
)

# ---- 3.3: the hardest negative


def _apart(s: Tensor) -> Tensor:
    """Without the pairs: −∞ on the diagonal."""
    return s.masked_fill(torch.eye(len(s), dtype=torch.bool), -math.inf)


def hardest(s: Tensor, margin: float, largest: bool = True) -> float:
    """Mean over pairs of the hinges of both directions, of the hardest negative or of all."""
    pair = s.diagonal()
    rows = (margin + _apart(s) - pair[:, None]).clamp_min(0)  # of each picture
    columns = (margin + _apart(s) - pair).clamp_min(0)  # of each sentence
    both = rows.amax(1) + columns.amax(0) if largest else rows.sum(1) + columns.sum(0)
    return float(both.mean())


HARDEST = Exercise(
    right=hardest,
    why="In a constant space it is 2 α. So it is, too, if each picture has a false negative as similar as its partner.",
    hints=(
        "For one picture: of the sentences that are not its own, which is the most similar?",
        "Fill the diagonal of s with −∞, take the largest of each row and of each column, and [α + it − sᵢᵢ]₊.",
    ),
    wrong={
        Mistake(
            "the partner counts as a negative, so no pair costs less than α",
            ("Which sentence is the most similar to a picture that is right?", "Leave the diagonal out."),
        ): lambda s, a: float(
            ((a + s.amax(1) - s.diagonal()).clamp_min(0) + (a + s.amax(0) - s.diagonal()).clamp_min(0)).mean()
        ),
        Mistake(
            "all negatives are summed, not the hardest alone",
            ("VSE++ takes one negative for each direction.", "amax instead of sum."),
        ): lambda s, a: hardest(s, a, largest=False),
        Mistake(
            "only one direction counts",
            ("A sentence has a hardest picture, too.", "Add the same for the columns."),
        ): lambda s, a: float((a + _apart(s).amax(1) - s.diagonal()).clamp_min(0).mean()),
        Mistake(
            "a negative that is far enough away makes the loss smaller",
            ("[x]₊ is never below 0.", "clamp_min(0) after the margin is added."),
        ): lambda s, a: float((2 * a + _apart(s).amax(1) + _apart(s).amax(0) - 2 * s.diagonal()).mean()),
    },
    inputs=[
        (2 * uniform(5, 5, seed=2) - 1 + 0.8 * torch.eye(5, dtype=torch.float64), 0.2),
        (2 * uniform(4, 4, seed=3) - 1 + 0.8 * torch.eye(4, dtype=torch.float64), 0.5),
    ],
)

# ---- 3.4: recall with several right answers


def recall(s: Tensor, right: Tensor, k: int) -> float:
    """The share of rows that have a right candidate among the k most similar."""
    return float(right.gather(1, s.topk(k, 1).indices).any(1).double().mean())


def _queries(seed: int) -> tuple[Tensor, Tensor, int]:
    right = uniform(12, 9, seed=seed) < 0.3
    right[torch.arange(12), torch.arange(12) % 9] = True
    return uniform(12, 9, seed=seed + 5), right, 3


RECALL = Exercise(
    right=recall,
    why="One right answer among the first K is enough. A candidate that is as right as another is no mistake.",
    hints=(
        "For one query: which are its K most similar candidates, and is one of them right?",
        "right.gather(1, s.topk(k, 1).indices).any(1), and then the share.",
    ),
    wrong={
        Mistake(
            "this is the share of right ones among the first K: precision",
            ("A query is answered if one of the K is right.", "any(1), not a mean over the K."),
        ): lambda s, right, k: float(right.gather(1, s.topk(k, 1).indices).double().mean()),
        Mistake(
            "all right candidates must be found",
            ("One of them is enough.", "any instead of all, or a count above 0."),
        ): lambda s, right, k: float((right.gather(1, s.topk(k, 1).indices).sum(1) == right.sum(1)).double().mean()),
        Mistake(
            "this is the share of the right candidates that are found, and not of queries that found one",
            ("A query with many right candidates counts no more than one with a single one.", "any(1) for each query."),
        ): lambda s, right, k: float((right.gather(1, s.topk(k, 1).indices).sum(1).double() / right.sum(1)).mean()),
        Mistake(
            "the least similar come first",
            ("A larger similarity is nearer.", "topk gives the largest; argsort needs descending=True."),
        ): lambda s, right, k: recall(-s, right, k),
        Mistake(
            "candidates look for queries",
            ("Queries are the rows.", "Look for the largest along dimension 1."),
        ): lambda s, right, k: recall(s.T, right.T, k),
    },
    inputs=[_queries(0), _queries(1)],
)

# ---- 3.5: pointwise mutual information


def pmi(p: Tensor) -> Tensor:
    """Log p(x, y) / (p(x) p(y)), (X, Y), from the joint probabilities."""
    return p.log() - p.sum(1, keepdim=True).log() - p.sum(0).log()


INFORMATION = Exercise(
    right=pmi,
    why="It is what t s is at best, up to a constant; its mean under p(x, y) is the mutual information.",
    hints=(
        "p(x) is the sum of a row, p(y) that of a column.",
        "p.log() − p.sum(1, keepdim=True).log() − p.sum(0).log()",
    ),
    wrong={
        Mistake(
            "this is log p(x, y): a frequent sentence would be near every picture",
            ("How probable would the pair be if x and y were independent?", "Subtract log p(x) and log p(y)."),
        ): lambda p: p.log(),
        Mistake(
            "this is log p(y | x): a frequent sentence would be near every picture",
            ("Divide by p(y), too.", "Subtract the logarithm of the sums over dimension 0."),
        ): lambda p: p.log() - p.sum(1, keepdim=True).log(),
        Mistake(
            "this is in bits, and nats are asked for", ("log₂ gives bits.", "Take the natural logarithm.")
        ): lambda p: pmi(p) / math.log(2),
        Mistake(
            "it is weighted by p(x, y), which gives the parts of the mutual information",
            ("Each pair's own information is asked for.", "Leave out the factor p(x, y)."),
        ): lambda p: p * pmi(p),
    },
    inputs=[((x := uniform(4, 3, seed=4) + 0.05) / x.sum(),), ((y := uniform(2, 5, seed=5) + 0.05) / y.sum(),)],
)

EXERCISES = {"3.1": LOSS, "3.2": FLOOR, "3.3": HARDEST, "3.4": RECALL, "3.5": INFORMATION}
