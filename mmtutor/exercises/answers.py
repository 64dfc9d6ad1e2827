"""How an answer is compared: with what is right, and with what usual mistakes give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmtutor.data.arrays import to_array


class Mistake(NamedTuple):
    """What is wrong, in a sentence without its full stop, and hints, the first one first."""

    name: str
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answer is compared by values, or looked at by a function.

    Args:
        why: what to say when it is right.
        right: what a right answer gives: a function's result for each input of ``inputs``, or the answer itself.
        wrong: mistakes, each with what it would give in the place of ``right``; the first that fits is named.
        inputs: arguments with which an answer is called, a tuple each; none: the answer is no function.
        other: what to say of a wrong answer that fits no mistake.
        look: in the place of all these, a function from the answer to its mistake, or None where it is right.
        tolerance: how far a value may be from the right one.
    """

    why: str
    right: Callable[..., Any] | None = None
    wrong: Mapping[Mistake, Callable[..., Any]] = field(default_factory=dict)
    inputs: Sequence[tuple[Any, ...]] = ()
    other: str = "the values differ from the right ones"
    look: Callable[[Any], Mistake | None] | None = None
    tolerance: float = 1e-6

    def mistake(self, answer: Any) -> Mistake | None:
        """What is wrong with an answer; None if nothing is."""
        if (self.inputs or self.look) and not callable(answer):
            return Mistake(
                f"a function is asked for, not {type(answer).__name__}", ("Hand in the function, uncalled.",)
            )
        try:
            if self.look:
                return self.look(answer)
            given = [answer(*arguments) for arguments in self.inputs] if self.inputs else [answer]
        except Exception as error:
            return Mistake(f"it stops with {type(error).__name__}: {error}", ("Call it yourself with small numbers.",))
        assert self.right is not None
        if self.agrees(given, self.right):
            return None
        for mistake, gives in self.wrong.items():
            if self.agrees(given, gives):
                return mistake
        return Mistake(self.other, (self.shown(given, self.right),))

    def agrees(self, given: Sequence[Any], function: Callable[..., Any]) -> bool:
        """Whether all values are those of a function."""
        expected = [function(*arguments) for arguments in self.inputs] if self.inputs else [function()]
        return all(same(a, b, self.tolerance) for a, b in zip(given, expected, strict=True))

    def shown(self, given: Sequence[Any], right: Callable[..., Any]) -> str:
        """The first value that differs, beside the right one, of a function; else that it differs."""
        if not self.inputs:
            return "Compare it with the text of the chapter."
        for arguments, value in zip(self.inputs, given, strict=True):
            if not same(value, expected := right(*arguments), self.tolerance):
                return f"For {arguments} it gives {value}, and {expected} is right."
        return ""


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two answers agree: numbers and tensors within the tolerance, all else exactly, part by part."""
    if isinstance(b, Mapping):
        return isinstance(a, Mapping) and a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in b)
    if isinstance(b, str | bool) or b is None:
        return bool(a == b)
    if isinstance(b, Sequence):
        return (
            isinstance(a, Sequence)
            and len(a) == len(b)
            and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
        )
    try:
        x, y = (torch.as_tensor(to_array(value)).double() for value in (a, b))
    except (TypeError, ValueError):
        return False
    return x.shape == y.shape and bool(torch.allclose(x, y, rtol=tolerance, atol=tolerance))


def uniform(*shape: int, seed: int) -> Tensor:
    """Numbers between 0 and 1 to try a function with, float64."""
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
