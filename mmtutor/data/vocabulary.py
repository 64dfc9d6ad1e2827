"""A vocabulary: words and their numbers (token ids); and how a sentence becomes words."""

from __future__ import annotations

import json
import os
import re
import reprlib
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from .items import whole

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
# Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese, which are written without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)
_LONG = 6  # of these letters in a word, on average: words have fewer, sentences more
_JOINERS = "\u200c\u200d"  # within words of Persian and Indian languages


def tokenise(text: str) -> str:
    """A sentence as words in small letters with a space between them, as in Karpathy's splits.

    Letters, accents and digits are kept, all else separates words: ``t-shirt`` becomes ``t shirt``, ``dog's`` becomes
    ``dog s``, ``3.5`` becomes ``3 5``. Accents are composed (Unicode NFC). For languages without spaces between words
    it is not enough, see `Vocabulary.from_captions`.

    Args:
        text: a sentence.

    Raises:
        TypeError: it is no string.

    Examples:
        >>> tokenise("A dog's *T-shirt*, number 28.")
        'a dog s t shirt number 28'
    """
    if not isinstance(text, str):
        raise TypeError(f"tokenise: text must be a string, got {reprlib.repr(text)}")
    words = "".join(map(_kept, composed(composed(text).lower()))).split()
    return " ".join(word for piece in words if (word := piece.strip(_JOINERS)))


@cache
def _kept(letter: str) -> str:
    """The letter, or a space for what separates words."""
    return letter if unicodedata.category(letter)[0] in "LMN" or letter in _JOINERS else " "


def composed(text: str) -> str:
    """Unicode has 가 as one letter and as two (a Mac's file names): here always as one, the form NFC."""
    return unicodedata.normalize("NFC", text)


class Vocabulary:
    """The words that a model knows, numbered. The first four are ``<pad> <start> <end> <unk>``, 0 to 3.

    Make it from the training captions only: no model can learn a word that occurs in no training caption, and a
    vocabulary from all captions would leak the test set into the model.

    Words are compared as they are written: "Red" is not "red", and "red," is another word. `tokenise` takes capitals
    and punctuation away. Only their Unicode form does not count: all text is brought into NFC.

    Args:
        words: the others, each once, without white space, in the order of their numbers.

    Raises:
        TypeError: words is one string, or has no order (a set, a dict).
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

    def __init__(self, words: Iterable[str]) -> None:
        if isinstance(words, str | bytes | Mapping | set | frozenset) or not isinstance(words, Iterable):
            what = "one" if isinstance(words, str) else type(words).__name__
            raise TypeError(f"Vocabulary: words must be many strings in the order of their numbers, got {what}")
        words = tuple(composed(word) if isinstance(word, str) else word for word in words)
        for word in words:
            if not isinstance(word, str) or word.split() != [word] or word in SPECIAL:
                raise ValueError(f"Vocabulary: a word must be a string without white space, not {reprlib.repr(word)}")
        if len(set(words)) < len(words):
            raise ValueError(f"Vocabulary: {Counter(words).most_common(1)[0][0]!r} occurs twice")
        self.words = SPECIAL + words
        # Without the four: "<end>" in a caption is not the end of it.
        self._number = {word: number for number, word in enumerate(self.words) if word not in SPECIAL}

    @classmethod
    def from_captions(cls, captions: Iterable[str | Iterable[str]], min_count: int = 1) -> Vocabulary:
        """The words that occur at least ``min_count`` times, the most frequent first, then in alphabetical order.

        Warns where captions in Japanese, Chinese, Thai, Lao, Burmese or Khmer have no spaces between words.

        Args:
            captions: words with white space between them; they are taken as they are. Also lists of captions, such as
                the five of each photograph, or lists of words.
            min_count: rarer words become ``<unk>``, at least 1.

        Raises:
            TypeError: captions is one string, a table or a dict, or holds something else than strings.
            ValueError: there is no word, or no such ``min_count``.
        """
        if isinstance(captions, str | bytes | Mapping) or not isinstance(captions, Iterable):
            what = "one" if isinstance(captions, str) else type(captions).__name__
            raise TypeError(f"Vocabulary: captions must be many strings, got {what}")
        for name in ("captions", "columns"):  # a data set, or a table of pandas
            if hasattr(captions, name):
                what = (
                    f"{type(captions).__name__}; give its .captions" if name == "captions" else "a table; give a column"
                )
                raise TypeError(f"Vocabulary: captions must be many strings, got {what}")
        min_count = whole("Vocabulary", "min_count", min_count, 1)
        counts: Counter[str] = Counter()
        for row, caption in enumerate(captions):
            single = isinstance(caption, str | bytes | Mapping) or not isinstance(caption, Iterable)
            for text in [caption] if single else caption:
                if not isinstance(text, str):
                    raise TypeError(f"Vocabulary: captions must be strings, got {reprlib.repr(text)} in row {row}")
                counts.update(composed(text).split())
        if not counts:
            raise ValueError("Vocabulary: there is no word in the captions")
        _warn_of_unspaced(counts)
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, caption: str | Sequence[str], length: int, *, cut: bool = False) -> Tensor:
        """The numbers of a caption's words between ``<start>`` and ``<end>``, padded: int64 (length,).

        Args:
            caption: words with white space between them, or a list of words; one that is not known becomes ``<unk>``.
            length: how many numbers, start and end included, at least 3.
            cut: leave out the words that do not fit, instead of refusing the caption. The end is kept.

        Raises:
            TypeError: the caption is something else.
            ValueError: the caption is empty, or too long; or there is no such length.
        """
        words = _words(caption)
        if not words:
            raise ValueError("Vocabulary: the caption is empty")
        length = whole("Vocabulary", "length", length, 3)
        if len(words) > length - 2:
            if not cut:
                raise ValueError(
                    f"Vocabulary: {len(words)} words do not fit into length {length} with start and end: {caption!r}; "
                    "cut=True leaves out the last ones"
                )
            words = words[: length - 2]
        numbers = [START, *(self._number.get(word, UNKNOWN) for word in words), END]
        return torch.tensor(numbers + [PAD] * (length - len(numbers)))

    def decode(self, numbers: Iterable[int] | Tensor) -> str:
        """The words up to the first ``<end>``, without start and padding.

        Args:
            numbers: of one caption, (T,): a list, an array or a tensor of whole numbers.

        Raises:
            TypeError: they are something else.
            ValueError: there is no word with such a number.
        """
        values = numbers.tolist() if isinstance(numbers, Tensor) else numbers
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(
                f"Vocabulary: numbers must be the whole numbers of one caption, got {reprlib.repr(numbers)}"
            )
        words = []
        for value in values:
            number = value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value
            if type(number) is not int:
                hint = "; decode each row by itself" if hasattr(number, "__len__") else ""
                raise TypeError(
                    f"Vocabulary: numbers must be the whole numbers of one caption, got {reprlib.repr(number)}{hint}"
                )
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
            words = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{path}: no JSON ({error})") from error
        if not isinstance(words, list) or tuple(words[:4]) != SPECIAL:
            raise ValueError(f"{path}: should be a list of words that begins with {', '.join(SPECIAL)}")
        return cls(words[4:])


# ---- messages


def _words(caption: object) -> list[str]:
    """The words of one caption, whether it is a string or a list of them."""
    if isinstance(caption, str):
        return composed(caption).split()
    words = [] if isinstance(caption, bytes | Mapping) or not isinstance(caption, Iterable) else list(caption)
    if not all(isinstance(word, str) for word in words) or (not words and caption not in ([], ())):
        raise TypeError(f"Vocabulary: a caption must be a string or a list of words, got {reprlib.repr(caption)}")
    for word in words:
        if len(word.split()) != 1:
            raise ValueError(f"Vocabulary: {word!r} is no single word; encode one caption at a time")
    return [composed(word) for word in words]


def _warn_of_unspaced(counts: Mapping[str, int]) -> None:
    """Say that captions have no spaces, where words of such languages are as long as sentences."""
    letters = {word: sum(unicodedata.category(c)[0] == "L" for c in _UNSPACED.findall(word)) for word in counts}
    longest = max(letters, key=lambda word: letters[word])
    total = sum(counts[word] for word in letters if letters[word])
    if total and sum(counts[word] * letters[word] for word in letters) >= _LONG * total:
        warnings.warn(
            f"Vocabulary: the captions seem to have no spaces between words: {reprlib.repr(longest)} counts as one "
            "word. Separate the words first by a word segmenter (morphological analyser) of the language",
            stacklevel=3,
        )
