"""Exercises of chapter 1: the digit world."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, called, uniform
from mmtutor.exercises.comparing import kind

# ---- 1.1: a ratio of powers in decibels


def _ratio(signal: Tensor, noise: Tensor) -> float:
    return float(signal.square().mean() / noise.square().mean())


LOUD = Exercise(
    right=lambda s, n: 10 * math.log10(_ratio(s, n)),
    why="Ten times the logarithm of a ratio of powers: 3 dB is twice the power, 10 dB ten times.",
    hints=(
        "What is the power of a wave, and what is a ratio of powers in decibels?",
        "10 · log₁₀ of the signal's mean square over that of the noise.",
    ),
    wrong={
        Mistake(
            "it has the factor 20 and a ratio of powers",
            ("20 belongs to a ratio of amplitudes.", "log₁₀ of a square is twice log₁₀: use either 10 or the square."),
        ): lambda s, n: 20 * math.log10(_ratio(s, n)),
        Mistake(
            "it is the noise over the signal",
            ("Should loud noise give a large or a small number?", "Exchange numerator and denominator."),
        ): lambda s, n: -10 * math.log10(_ratio(s, n)),
        Mistake(
            "it has the natural logarithm",
            ("torch.log and math.log have the base e.", "A decibel is defined with base 10: log10."),
        ): lambda s, n: 10 * math.log(_ratio(s, n)),
        Mistake(
            "it compares mean sizes and not mean squares",
            ("What is the power of a wave?", "Square first, then take the mean."),
        ): lambda s, n: 10 * math.log10(float(s.abs().mean() / n.abs().mean())),
        Mistake(
            "it has the factor 10 and a ratio of amplitudes",
            ("10 belongs to a ratio of powers.", "Leave out the square root, or take the factor 20."),
        ): lambda s, n: 5 * math.log10(_ratio(s, n)),
        Mistake(
            "it has no logarithm: this is ten times the ratio",
            (
                "How many decibels should two equally loud waves have?",
                "10 · log₁₀ of the ratio: equal waves have 0 dB.",
            ),
        ): lambda s, n: 10 * _ratio(s, n),
        Mistake(
            "this is the ratio itself, and not in decibels",
            ("A decibel is defined by a logarithm.", "10 · log₁₀ of the ratio."),
        ): _ratio,
    },
    inputs=[(uniform(50, seed=k) - 0.5, (k + 0.5) * (uniform(50, seed=9 + k).square() - 0.4)) for k in range(3)],
)

# ---- 1.2: what one digit tells about a sum modulo 10

SUM = Exercise(
    right=lambda: {"accuracy": 0.1, "bits": 0.0},
    why="Whatever one digit is, the other makes each sum equally likely.",
    hints=(
        "Fix the digit that is seen, say 3. Which labels can there be, and how likely is each?",
        "The accuracy is the largest p(label | digit). The bits are H(label) − H(label | digit).",
    ),
    wrong={
        Mistake(
            "half of the sum is taken for half of the answer",
            (
                "fix the digit that is seen, say 3. Which sums modulo 10 can there be, and how likely is each?",
                "The ten sums 3 + 0, …, 3 + 9 modulo 10 are ten different digits, equally likely.",
            ),
        ): lambda: {"accuracy": 0.5, "bits": 0.0},
        Mistake(
            "half of the bits are counted",
            (
                "Information needs a distribution that changes. Does p(sum) change when one digit is known?",
                "Ten sums, equally likely before and after: H(y) − H(y | digit) = log₂ 10 − log₂ 10.",
            ),
        ): lambda: {"accuracy": 0.1, "bits": math.log2(10) / 2},
        Mistake(
            "the accuracy is that of guessing, but knowing nothing is 0 bits, not log₂ 10",
            ("log₂ 10 bits is what one does not know of the label.", "Subtract: H(y) − H(y | digit)."),
        ): lambda: {"accuracy": 0.1, "bits": math.log2(10)},
    },
    other="accuracy and bits are not both right",
    tolerance=1e-3,
)

# ---- 1.3: a split by people

PEOPLE = torch.randint(20, (400,), generator=torch.Generator().manual_seed(0))


def _look_at_split(split: Any) -> Mistake | None:
    given = [called(split, (PEOPLE, share, seed)) for share in (0.25, 0.5) for seed in range(4)]
    masks = [mask for mask in map(_mask, given) if mask is not None]
    if len(masks) < len(given):
        return Mistake(
            "it does not give one bool for each window",
            (f"It gives {kind(given[0])}.", "A mask has the shape of people and the type torch.bool."),
        )
    if any(set(PEOPLE[mask].tolist()) & set(PEOPLE[~mask].tolist()) for mask in masks):
        return Mistake(
            "a person is on both sides: the windows were split, not the people",
            ("Draw people first: people.unique().", "Then a window is in the test set if its person is: torch.isin."),
        )
    shares = [len(set(PEOPLE[mask].tolist())) / 20 for mask in masks]
    if any(abs(found - share) > 0.051 for found, share in zip(shares, [0.25] * 4 + [0.5] * 4, strict=True)):
        return Mistake(
            "the share of people in the test set is not the one asked for",
            (f"Of 20 people and a share of 0.25 it takes {round(20 * shares[0])}.", "round(share · number of people)"),
        )
    if all(torch.equal(mask, masks[0]) for mask in masks[:4]):
        return Mistake(
            "it takes the same people whatever the seed",
            ("Shuffle people with a generator of that seed.", "torch.randperm(n, generator=torch.Generator()…)"),
        )
    if not torch.equal(masks[0], torch.as_tensor(split(PEOPLE.clone(), 0.25, 0))):
        return Mistake(
            "it takes other people each time, for the same seed",
            ("The seed should decide everything.", "torch.Generator().manual_seed(seed), made anew in each call."),
        )
    return None


def _mask(value: Any) -> Tensor | None:
    """One bool for each window; None if the value is something else."""
    try:
        mask = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return mask if mask.shape == PEOPLE.shape and mask.dtype == torch.bool else None


SPLIT = Exercise(why="No person is on both sides, so the test asks about new people.", look=_look_at_split)

# ---- 1.4: the table of two readers


def readers(first: float = 0.9, second: float = 0.6, wrong: float = 9.0, prior: float = 0.1) -> Tensor:
    """p(x₁, x₂, y) of two readers of a digit with independent errors, (10, 10, 10)."""
    eye = torch.eye(10, dtype=torch.float64)
    one, two = (right * eye + (1 - right) / wrong * (1 - eye) for right in (first, second))  # (read, digit)
    return prior * torch.einsum("ay,by->aby", one, two)


READERS = Exercise(
    right=readers,
    why="The worse reader is like the better one with more noise added: what it knows, the better one knows, too.",
    hints=(
        "Sum over x₁ and x₂: is it p(y), ten times 0.1?",
        "p(y) p(x₁ | y) p(x₂ | y). A reader has 0.9 or 0.6 for x = y, and the rest is shared by nine digits.",
    ),
    wrong={
        Mistake(
            "the table sums to 10 and not to 1: p(y) is missing",
            ("These are probabilities given the digit.", "p(x₁, x₂, y) = p(y) p(x₁ | y) p(x₂ | y)"),
        ): lambda: readers(prior=1.0),
        Mistake(
            "the errors are shared over ten digits, and only nine are wrong",
            ("Sum over x₁ and x₂: is it p(y)?", "Each wrong digit has (1 − accuracy) / 9."),
        ): lambda: readers(wrong=10.0),
        Mistake(
            "an error may be the right digit: it is shared over all ten",
            ("How often is the first reader right in your table?", "Only the nine other digits share an error."),
        ): lambda: readers(0.91, 0.64),
        Mistake(
            "y is the first axis, and it should be the last",
            ("The order is x₁, x₂, y.", "einsum: “ay,by->aby”, or table.permute(1, 2, 0) of yours."),
        ): lambda: readers().permute(2, 0, 1),
        Mistake(
            "y is the middle axis, and it should be the last",
            ("The order is x₁, x₂, y.", "einsum: “ay,by->aby”, or table.permute(0, 2, 1) of yours."),
        ): lambda: readers().permute(0, 2, 1),
        Mistake(
            "the readers have changed places",
            (
                "The first axis is that of the first reader, who is right with probability 0.9.",
                "The trace of table.sum(1) is how often the first reader is right: 0.9.",
            ),
        ): lambda: readers(0.6, 0.9),
    },
    other="it is not the table (10, 10, 10) of p(x₁, x₂, y)",
)

EXERCISES = {"1.1": LOUD, "1.2": SUM, "1.3": SPLIT, "1.4": READERS}
