"""A vocabulary: words and their numbers (token ids)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")


class Vocabulary:
    """The words that a model knows, numbered. The first four are ``<pad> <start> <end> <unk>``, 0 to 3.

    Make it from the training captions only: no model can learn a word that occurs in no training caption, and a
    vocabulary from all captions would leak the test set into the model.

    Args:
        words: the others, each once, without white space.

    Raises:
        ValueError: a word occurs twice, is empty, has white space in it or is one of the four.

    Examples:
        >>> vocabulary = Vocabulary.from_captions(["a red seven", "a blue seven"], min_count=2)
        >>> vocabulary.words[4:]
        ('a', 'seven')
        >>> vocabulary.encode("a red seven", length=7)
        tensor([1, 4, 3, 5, 2, 0, 0])
        >>> vocabulary.decode([1, 4, 3, 5, 2, 0, 0])
        'a <unk> seven'
    """

    def __init__(self, words: Sequence[str]) -> None:
        if isinstance(words, str):
            raise TypeError("Vocabulary: words must be many strings, got one")
        words = tuple(words)
        for word in words:
            if not isinstance(word, str) or word.split() != [word] or word in SPECIAL:
                raise ValueError(f"Vocabulary: a word must be a string without white space, not {word!r}")
        if len(set(words)) < len(words):
            raise ValueError(f"Vocabulary: {Counter(words).most_common(1)[0][0]!r} occurs twice")
        self.words = SPECIAL + words
        # Without the four: "<end>" in a caption is not the end of it.
        self._number = {word: number for number, word in enumerate(self.words) if word not in SPECIAL}

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int = 1) -> Vocabulary:
        """The words that occur at least ``min_count`` times, the most frequent first, then in alphabetical order.

        Args:
            captions: words with white space between them; they are taken as they are.
            min_count: rarer words become ``<unk>``, at least 1.
        """
        if isinstance(captions, str):
            raise TypeError("Vocabulary: captions must be many strings, got one")
        if not isinstance(min_count, int) or isinstance(min_count, bool) or min_count < 1:
            raise ValueError(f"Vocabulary: min_count must be an int of at least 1, got {min_count!r}")
        captions = list(captions)
        for caption in captions:
            if not isinstance(caption, str):
                raise TypeError(f"Vocabulary: captions must be strings, got {caption!r}")
        counts = Counter(word for caption in captions for word in caption.split())
        if not counts:
            raise ValueError("Vocabulary: there is no word in the captions")
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, caption: str, length: int, *, cut: bool = False) -> Tensor:
        """The numbers of a caption's words between ``<start>`` and ``<end>``, padded: int64 (length,).

        Args:
            caption: words with white space between them; one that is not known becomes ``<unk>``.
            length: how many numbers, start and end included, at least 3.
            cut: leave out the words that do not fit, instead of refusing the caption. The end is kept.

        Raises:
            ValueError: the caption is empty, or too long.
        """
        words = caption.split()
        if not words:
            raise ValueError("Vocabulary: the caption is empty")
        if length < 3:
            raise ValueError(f"Vocabulary: length must be at least 3 (start, a word, end), got {length}")
        if len(words) > length - 2:
            if not cut:
                raise ValueError(
                    f"Vocabulary: {len(words)} words do not fit into length {length} with start and end: {caption!r}"
                )
            words = words[: length - 2]
        numbers = [START, *(self._number.get(word, UNKNOWN) for word in words), END]
        return torch.tensor(numbers + [PAD] * (length - len(numbers)))

    def decode(self, numbers: Iterable[int] | Tensor) -> str:
        """The words up to the first ``<end>``, without start and padding.

        Raises:
            ValueError: there is no word with such a number.
        """
        words = []
        for number in torch.as_tensor(list(numbers) if not isinstance(numbers, Tensor) else numbers).tolist():
            if not 0 <= number < len(self.words):
                raise ValueError(f"Vocabulary: {number} is no word's number, there are {len(self.words)} words")
            if number == END:
                break
            if number not in (PAD, START):
                words.append(self.words[number])
        return " ".join(words)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the words as a JSON list; what lay at the path is replaced only when all is written."""
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(self.words, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        part.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is damaged or something else.
        """
        try:
            words = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: no JSON ({error})") from error
        if not isinstance(words, list) or tuple(words[:4]) != SPECIAL:
            raise ValueError(f"{path}: should be a list of words that begins with {', '.join(SPECIAL)}")
        return cls(words[4:])
