"""Exercises that check themselves: hand in an answer, and hear what is right or what usual mistake it is.

A chapter's exercises are in ``notebooks/exercises/``, with solutions in ``notebooks/solutions/``. All is offline.

>>> check("1.2", {"accuracy": 0.5, "bits": 0.0})
✗ 1.2: half of the sum is taken for half of the answer.
  Hint: fix the digit that is seen, say 3. Which sums modulo 10 can there be, and how likely is each?
>>> check("1.2", {"accuracy": 0.1, "bits": 0.0})
✓ 1.2 is right. Whatever one digit is, the other makes each sum equally likely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmtutor.exercises import (
    captioning,
    digit_world,
    embedding,
    fusion,
    iterative,
    localisation,
    mfm_images,
    mfm_sequences,
    text_to_image,
    vaes,
    vqa,
    workspace,
)
from mmtutor.exercises.answers import Exercise, Mistake

EXERCISES: Mapping[str, Exercise] = {
    **digit_world.EXERCISES,
    **fusion.EXERCISES,
    **embedding.EXERCISES,
    **captioning.EXERCISES,
    **vqa.EXERCISES,
    **text_to_image.EXERCISES,
    **localisation.EXERCISES,
    **mfm_images.EXERCISES,
    **mfm_sequences.EXERCISES,
    **vaes.EXERCISES,
    **iterative.EXERCISES,
    **workspace.EXERCISES,
}

__all__ = ["EXERCISES", "Exercise", "Mistake", "check", "mistake"]

_tried: Counter[tuple[str, str]] = Counter()  # how often which mistake was made: the second time there is another hint


def check(exercise: str, answer: Any) -> None:
    """Print whether an answer is right; if not, what is wrong with it, and a hint. A second time there is another hint.

    Args:
        exercise: its number, such as ``"2.1"``, the first exercise of chapter 2.
        answer: what the exercise asks for; None or ``...`` if there is none yet.

    Raises:
        ValueError: there is no such exercise.
    """
    found = mistake(exercise, answer)
    if answer is None or answer is ...:
        print(f"○ {exercise} is not answered yet.")
    elif found is None:
        print(f"✓ {exercise} is right. {EXERCISES[exercise].why}")
    else:
        hints = found.hints
        hint = hints[min(_tried[exercise, found.name], len(hints) - 1)]
        _tried[exercise, found.name] += 1
        seen = f"  {found.seen[0].upper()}{found.seen[1:]}.\n" if found.seen else ""
        print(f"✗ {exercise}: {found.name}.\n{seen}  Hint: {hint}")


def mistake(exercise: str, answer: Any) -> Mistake | None:
    """What is wrong with an answer; None if it is right, or if there is none yet.

    Raises:
        ValueError: there is no such exercise.
    """
    if exercise not in EXERCISES:
        raise ValueError(f"check: there is no exercise {exercise!r}; there are {', '.join(EXERCISES)}")
    return None if answer is None or answer is ... else EXERCISES[exercise].mistake(answer)
