"""Exercises of chapter 7: sound localisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 7.1: decibels


def decibels(energy: Tensor) -> Tensor:
    """10 log10 of energies relative to the largest, not below −60."""
    return (10 * torch.log10(energy / energy.max())).clamp_min(-60)


DECIBELS = Exercise(
    right=decibels,
    why="A factor of ten in energy is 10 dB, whatever the microphone's scale is.",
    hints=(
        "How many decibels has the largest energy?",
        "10 * torch.log10(energy / energy.max()), and nothing below −60.",
    ),
    wrong={
        Mistake(
            "20 times the logarithm is for amplitudes; these are energies, their squares",
            ("A factor of ten in energy is 10 dB.", "10 * torch.log10(…)"),
        ): lambda energy: (20 * torch.log10(energy / energy.max())).clamp_min(-60),
        Mistake(
            "this is the natural logarithm",
            ("A decibel is a tenth of a factor of ten.", "torch.log10"),
        ): lambda energy: (10 * torch.log(energy / energy.max())).clamp_min(-60),
        Mistake(
            "energies are compared with 1, so the result depends on the microphone's scale",
            ("The largest should have 0 dB.", "Divide by energy.max() first."),
        ): lambda energy: (10 * torch.log10(energy)).clamp_min(-60),
        Mistake(
            "what is very soft goes below −60 dB",
            ("What is 0 has −∞ dB.", "clamp(min=-60)"),
        ): lambda energy: 10 * torch.log10(energy / energy.max()),
    },
    inputs=[
        (torch.tensor([[4.0, 0.4, 1e-9], [0.0, 2.0, 3.0]], dtype=torch.float64),),
        (torch.tensor([[0.03, 0.2], [0.0, 1e-9]], dtype=torch.float64),),
    ],
)

# ---- 7.2: the map


def cosines(v: Tensor, h: Tensor) -> Tensor:
    """The cosine of each region, (L, d), with the sound, (d,)."""
    return torch.nn.functional.cosine_similarity(v, h[None], dim=1)


MAP = Exercise(
    right=cosines,
    why="Each region is divided by its own length, so a bright region is not similar to all sounds.",
    hints=(
        "What is the length of one region? Along which dimension is it computed?",
        "(v @ h) / (v.norm(dim=1) * h.norm())",
    ),
    wrong={
        Mistake(
            "these are products, not cosines: a region with large numbers is similar to all",
            ("A cosine is from −1 to 1.", "Divide by the lengths, v.norm(dim=1) and h.norm()."),
        ): lambda v, h: v @ h,
        Mistake(
            "lengths are computed over the regions, dimension 0; each region has a length of its own",
            ("How many lengths are there? L.", "v.norm(dim=1)"),
        ): lambda v, h: (v / v.norm(dim=0)) @ h / h.norm(),
        Mistake(
            "the sound has not length 1",
            ("A cosine is from −1 to 1.", "Divide by h.norm(), too."),
        ): lambda v, h: (v @ h) / v.norm(dim=1),
        Mistake(
            "this is a softmax over the regions, which sums to one; the loss needs the cosines",
            ("A map of nothing similar should be low everywhere.", "Leave the softmax out."),
        ): lambda v, h: cosines(v, h).softmax(0),
    },
    inputs=[
        (2 * uniform(5, 3, seed=0) - 1, 2 * uniform(3, seed=1) - 1),
        (4 * uniform(4, 4, seed=2) - 2, 3 * uniform(4, seed=3) - 1),
    ],
)

# ---- 7.3: log-sum-exp


def log_sum_exp(m: Tensor, r: float) -> Tensor:
    """(1/r) log of the mean of exp(r m) over the regions, (…, L) to (…)."""
    return ((r * m).logsumexp(-1) - math.log(m.shape[-1])) / r


POOLING = Exercise(
    right=log_sum_exp,
    why="With the mean inside, it lies between the mean of the map (r → 0) and its maximum (r → ∞).",
    hints=(
        "If all regions have the value 0.3, the result should be 0.3. What is yours?",
        "torch.logsumexp(r * m, -1) is the logarithm of the sum; subtract log L, then divide by r.",
    ),
    wrong={
        Mistake(
            "this is the sum of exp(r m), not the mean: it grows with the number of regions",
            (
                "If all regions are alike, the result should be their value.",
                "Subtract math.log(L) before dividing by r.",
            ),
        ): lambda m, r: (r * m).logsumexp(-1) / r,
        Mistake(
            "it is not divided by r: the result has another scale than the map",
            ("If all regions have 0.3 the result should be 0.3.", "Divide by r at the end."),
        ): lambda m, r: (r * m).logsumexp(-1) - math.log(m.shape[-1]),
        Mistake(
            "this is attention, the map weighted by its softmax",
            ("No softmax here: exp, mean, logarithm.", "torch.logsumexp"),
        ): lambda m, r: ((r * m).softmax(-1) * m).sum(-1),
        Mistake(
            "this is the maximum",
            ("It is soft: other regions count, too.", "torch.logsumexp"),
        ): lambda m, r: m.amax(-1),
    },
    inputs=[(2 * uniform(3, 4, seed=4) - 1, 5.0), (2 * uniform(2, 3, 9, seed=5) - 1, 2.0)],
)

# ---- 7.4: without listening


def deaf(count: Tensor) -> Tensor:
    """How often one is right who points at one object of each scene, whatever is said."""
    return count.double().reciprocal().mean()


DEAF = Exercise(
    right=deaf,
    why="In a scene of n objects one of n voices says the digit at which one points, and scenes count the same.",
    hints=(
        "How often is it right in a scene of two objects, and in one of four? Half of the scenes are of each kind.",
        "The mean of 1/n, not 1 over the mean.",
    ),
    wrong={
        Mistake(
            "this is one over the mean number of objects",
            (
                "One object in half of the scenes and three in the others: right for 1 and for 1/3.",
                "(1 / count).mean()",
            ),
        ): lambda count: 1 / count.double().mean(),
        Mistake(
            "this is one over the largest number of objects",
            ("Scenes with fewer objects are easier.", "(1 / count).mean()"),
        ): lambda count: 1 / count.double().max(),
        Mistake(
            "this is how often a guess at two objects is right",
            ("There is one answer in each scene.", "(1 / count).mean()"),
        ): lambda count: (2 / count.double()).clamp_max(1).mean(),
        Mistake(
            "scenes of one object are left out; there one is right as well",
            ("They are scenes of the test, too.", "The mean over all of them."),
        ): lambda count: (1 / count[count > 1].double()).mean(),
    },
    inputs=[(torch.tensor([1, 2, 2, 4]),), (torch.tensor([1, 1, 3, 3, 3]),)],
)

# ---- 7.5: at the median


def best_overlap(share: Tensor) -> Tensor:
    """The best IoU of an answer that covers half of the picture, for an object of this share of it."""
    return share.clamp_max(0.5) / share.clamp_min(0.5)


MEDIAN = Exercise(
    right=best_overlap,
    why="The best answer lies inside a larger object, or around a smaller one; an object below a quarter never gets ½.",
    hints=(
        "If the object is smaller than half the picture, what are intersection and union at best? If it is larger?",
        "The smaller of the two areas over the larger one.",
    ),
    wrong={
        Mistake(
            "this is the intersection over the area of the picture; the union is smaller",
            ("At best one of the two areas lies inside the other.", "Divide by the larger of s and ½."),
        ): lambda share: share.clamp_max(0.5),
        Mistake(
            "the union counts what both cover twice",
            ("At best one of the two areas lies inside the other.", "The union is then the larger one."),
        ): lambda share: share.clamp_max(0.5) / (share + 0.5),
        Mistake(
            "this is the Dice coefficient, twice the intersection over the sum of the areas",
            ("IoU has the union below.", "The smaller area over the larger one."),
        ): lambda share: 2 * share.clamp_max(0.5) / (share + 0.5),
        Mistake(
            "this is what the whole picture gets",
            ("The answer covers half the picture.", "The smaller area over the larger one."),
        ): lambda share: 1 * share,
    },
    inputs=[(torch.tensor([0.05, 0.25, 0.4, 0.5, 0.7, 1.0], dtype=torch.float64),)],
)

EXERCISES = {"7.1": DECIBELS, "7.2": MAP, "7.3": POOLING, "7.4": DEAF, "7.5": MEDIAN}
