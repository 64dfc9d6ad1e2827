"""How two answers differ: in their kind or shape, or else in which number, in a few words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from mmtutor.data.arrays import to_array

MOST_NUMBERS, MOST_KEYS = 16, 4  # of what is shown as a whole


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two answers agree: numbers and tensors within the tolerance, all else exactly, part by part."""
    if isinstance(b, Mapping):
        return isinstance(a, Mapping) and a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in b)
    if isinstance(b, str | bool) or b is None:
        return bool(a == b)
    if _has_parts(b):
        return _has_parts(a) and len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    x, y = _numbers(a), _numbers(b)
    return x is not None and y is not None and x.shape == y.shape and bool(_close(x, y, tolerance).all())


def unlike(a: Any, b: Any, of: str) -> str:
    """In what kind or shape an answer differs from the right one, without its values; "" if it does not.

    Args:
        a: the answer.
        b: the right one.
        of: what the answer is called, such as ``its result``.

    Examples:
        >>> unlike({"x": [1.0, 2.0]}, {"x": 1.0}, "its result")
        "its result['x'] is a list of 2 parts, and one number is expected"
    """
    if form(a) == form(b):
        return ""
    if _alike(a, b):
        return next(filter(None, (unlike(x, y, of + key) for key, x, y in _pairs(a, b))), "")
    x, y = _numbers(a), _numbers(b)
    if not isinstance(b, Mapping) and not _has_parts(b) and x is not None and y is not None and x.shape == y.shape:
        return ""
    return f"{of} is {kind(a)}, and {kind(b)} is expected"


def difference(a: Any, b: Any, tolerance: float, of: str) -> tuple[str, str, str]:
    """Of two answers of one form, where the first number is that differs, what it is, and what is right."""
    if _alike(a, b):
        key, x, y = next(pair for pair in _pairs(a, b) if not same(pair[1], pair[2], tolerance))
        return difference(x, y, tolerance, of + key)
    x, y = _numbers(a), _numbers(b)
    if x is None or y is None:
        return of, brief(a), brief(b)
    where = (~_close(x, y, tolerance)).nonzero()[0].tolist()
    return of + (f"{where}" if where else ""), *_told_apart(float(x[tuple(where)]), float(y[tuple(where)]))


def kind(value: Any) -> str:
    """What a value is, in a few words and without its numbers.

    Examples:
        >>> print(kind(torch.zeros(6)), kind({"accuracy": 0, "bits": 0}), kind((1, 2)), kind(0.5), sep="; ")
        a tensor of shape (6,); a dict with 'accuracy' and 'bits'; a tuple of 2 parts; one number
    """
    if value is None:
        return "nothing (None)"
    if isinstance(value, Mapping):
        return (
            f"a dict with {_listed(map(repr, value))}"
            if 0 < len(value) <= MOST_KEYS
            else f"a dict of {len(value)} parts"
        )
    if _has_parts(value):
        return f"a {type(value).__name__} of {len(value)} part{'s' * (len(value) != 1)}"
    if callable(value):
        return "a function"
    numbers = _numbers(value)
    if numbers is None:
        return f"of the type {type(value).__name__}"
    return f"a tensor of shape {tuple(numbers.shape)}" if numbers.shape else "one number"


def form(value: Any) -> str:
    """What a value is, with what its parts are."""
    if isinstance(value, Mapping) and 0 < len(value) <= MOST_KEYS:
        return f"a dict of {_listed(f'{key!r}: {form(part)}' for key, part in value.items())}"
    if _has_parts(value) and 0 < len(value) <= MOST_KEYS:
        return f"a tuple of {_listed(map(form, value))}"
    return kind(value)


def brief(value: Any) -> str:
    """A value with its numbers, if they are few, or else what it is.

    Examples:
        >>> print(brief(torch.tensor([1, 2])), brief(torch.zeros(50)), brief(1 / 3), brief("sum"), sep="; ")
        [1, 2]; a tensor of shape (50,); 0.3333; 'sum'
        >>> print(brief(torch.tensor([True, False])), brief(True), brief({1: 2}), brief([[1]]), sep="; ")
        [True, False]; True; a dict with 1; [[1]]
    """
    if isinstance(value, str):
        return repr(value)
    numbers = None if isinstance(value, Mapping) else _numbers(value)
    if numbers is None or numbers.numel() > MOST_NUMBERS:
        return kind(value)
    is_bool = isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool)
    return str(numbers.bool().tolist()) if is_bool else _rounded(numbers.tolist())


def shown(names: Sequence[str], arguments: Sequence[Any]) -> str:
    """Arguments with their names."""
    return _listed(f"{name} = {brief(value)}" for name, value in zip(names, arguments, strict=True))


def names_of(function: Callable[..., Any], count: int) -> list[str]:
    """What a function calls its first arguments; their numbers if it does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    return names[:count] if len(names) >= count else [f"argument {k + 1}" for k in range(count)]


def _has_parts(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _alike(a: Any, b: Any) -> bool:
    """Whether two answers are dicts with the same keys, or equally many parts."""
    if isinstance(b, Mapping):
        return isinstance(a, Mapping) and a.keys() == b.keys()
    return _has_parts(a) and _has_parts(b) and len(a) == len(b)


def _pairs(a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """How each part is indexed, and the part of both."""
    for key in b if isinstance(b, Mapping) else range(len(b)):
        yield f"[{key!r}]", a[key], b[key]


def _numbers(value: Any) -> Tensor | None:
    """As a tensor of float64; None if it is none."""
    try:
        return torch.as_tensor(to_array(value)).double()
    except (TypeError, ValueError, RuntimeError):
        return None


def _close(x: Tensor, y: Tensor, tolerance: float) -> Tensor:
    return torch.isclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True)


def _told_apart(x: float, y: float) -> tuple[str, str]:
    """Two numbers with as many digits as tell them apart."""
    few = f"{x:.4g}", f"{y:.4g}"
    return few if few[0] != few[1] else (f"{x:.10g}", f"{y:.10g}")


def _rounded(value: Any) -> str:
    """Numbers, or lists of them, with four digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_rounded, value))}]"
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"


def _listed(parts: Iterator[str] | map[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
