"""How an answer is compared: with what is right, and with what usual mistakes give."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmtutor.exercises.comparing import difference, form, names_of, same, shown, unlike


class Mistake(NamedTuple):
    """What is wrong, in a sentence without its full stop; hints, the first one first; and a number that shows it."""

    name: str
    hints: tuple[str, ...]
    seen: str = ""


class RefusedError(Exception):
    """An answer that cannot be compared, with its mistake."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.name)
        self.mistake = mistake


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answer is compared by values, or looked at by a function.

    Args:
        why: what to say when it is right.
        right: what a right answer gives: a function's result for each input of ``inputs``, or the answer itself.
        wrong: mistakes, each with what it would give in the place of ``right``; the first that fits is named.
        inputs: arguments with which an answer is called, a tuple each; none: the answer is no function.
        other: what to say of a wrong answer that fits no mistake.
        hints: what helps with such an answer, the first one first.
        look: in the place of all these, a function from the answer to its mistake, or None where it is right.
        tolerance: how far a value may be from the right one.
    """

    why: str
    right: Callable[..., Any] | None = None
    wrong: Mapping[Mistake, Callable[..., Any]] = field(default_factory=dict)
    inputs: Sequence[tuple[Any, ...]] = ()
    other: str = "the values differ from the right ones"
    hints: tuple[str, ...] = ()
    look: Callable[[Any], Mistake | None] | None = None
    tolerance: float = 1e-6

    def mistake(self, answer: Any) -> Mistake | None:
        """What is wrong with an answer; None if nothing is."""
        if (self.inputs or self.look) and not callable(answer):
            return Mistake(
                f"a function is asked for, not {type(answer).__name__}",
                ("Hand in the function, uncalled.", "Write its name in check(…), without brackets after it."),
            )
        try:
            if self.look:
                return self.look(answer)
            given = [called(answer, arguments) for arguments in self.inputs] if self.inputs else [answer]
        except RefusedError as refused:
            return refused.mistake
        assert self.right is not None
        if self.agrees(given, self.right):
            return None
        for mistake, gives in self.wrong.items():
            if self.agrees(given, gives):
                return mistake
        return self.unnamed(answer, given)

    def agrees(self, given: Sequence[Any], function: Callable[..., Any]) -> bool:
        """Whether all values are those of a function."""
        return all(same(a, b, self.tolerance) for a, b in zip(given, self.expected(function), strict=True))

    def expected(self, function: Callable[..., Any]) -> list[Any]:
        """What a function gives for each input, or a list of what it gives without one."""
        return [function(*arguments) for arguments in self.inputs] if self.inputs else [function()]

    def unnamed(self, answer: Any, given: Sequence[Any]) -> Mistake:
        """A mistake that has no name: the kind or shape of what is given, or else the first number that differs."""
        assert self.right is not None
        of = "its result" if self.inputs else "the answer"
        expected = self.expected(self.right)
        for a, b in zip(given, expected, strict=True):
            if name := unlike(a, b, of):
                return Mistake(
                    name, ("Read the task again: what is asked for, and in which order?", f"It is {form(b)}.")
                )
        k = next(k for k, (a, b) in enumerate(zip(given, expected, strict=True)) if not same(a, b, self.tolerance))
        where, x, y = difference(given[k], expected[k], self.tolerance, of)
        if not self.inputs:
            return Mistake(self.other, self.hints, f"{where} is {x}, and this is not right")
        arguments = shown(names_of(answer, len(self.inputs[k])), self.inputs[k])
        return Mistake(self.other, self.hints, f"with {arguments}, {where} is {x}, and {y} is right")


def called(answer: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What an answer gives for arguments, which it gets as copies.

    Raises:
        RefusedError: it stops with an error, or it changes what it gets.
    """
    names, copies = names_of(answer, len(arguments)), copy.deepcopy(arguments)
    try:
        value = answer(*copies)
    except Exception as error:
        hints = f"It was called with {shown(names, arguments)}.", "Call it yourself with numbers of these shapes."
        raise RefusedError(Mistake(f"it stops with {type(error).__name__}: {error}", hints)) from error
    for name, before, after in zip(names, arguments, copies, strict=True):
        if not same(after, before, 0):
            raise RefusedError(_changes(name))
    return value


def _changes(name: str) -> Mistake:
    return Mistake(
        f"your function changes its input {name}; work on a copy",
        (
            "Who calls it may need the input once more, as it was.",
            "x.clone() copies a tensor, dict(x) a dict. And x | {…} is a new dict.",
        ),
    )


def uniform(*shape: int, seed: int) -> Tensor:
    """Numbers between 0 and 1 to try a function with, float64."""
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
