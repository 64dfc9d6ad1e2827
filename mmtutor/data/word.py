"""The digit as an English word, letter by letter, at a random position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = " abcdefghijklmnopqrstuvwxyz"
LENGTH = 8


def word(label: int, rng: np.random.Generator, typos: float = 0.0) -> NDArray[np.uint8]:
    """One-hot letters of a digit's English name at a random offset, padded with spaces.

    Args:
        label: 0 to 9.
        rng: where the offset and the typos are drawn from.
        typos: probability that a letter is replaced by a random one. With 0 the word determines the label.

    Returns:
        uint8 (8, 27), positions by letters; column 0 is the space.
    """
    name = WORDS[label]
    start = int(rng.integers(LENGTH - len(name) + 1))
    text = np.zeros(LENGTH, int)
    text[start : start + len(name)] = [LETTERS.index(c) for c in name]
    wrong = (text > 0) & (rng.random(LENGTH) < typos)
    text[wrong] = rng.integers(1, len(LETTERS), int(wrong.sum()))
    return np.eye(len(LETTERS), dtype=np.uint8)[text]


def read_word(letters: NDArray[np.floating] | NDArray[np.uint8]) -> str:
    """The text that ``(8, 27)`` letter scores spell, without the spaces around it.

    Examples:
        >>> read_word(word(7, np.random.default_rng(0)))
        'seven'
    """
    return "".join(LETTERS[i] for i in np.asarray(letters).argmax(-1)).strip()
