"""GloVe: vectors of words, trained on large texts (Pennington et al., 2014)."""

from __future__ import annotations

import math
import os
import unicodedata
from pathlib import Path

import torch
from torch import Tensor

from .items import whole
from .vocabulary import PAD, SPECIAL, Vocabulary


def glove(path: str | os.PathLike[str], vocabulary: Vocabulary, *, seed: int = 0) -> tuple[Tensor, list[str]]:
    """The vectors of a vocabulary's words, read from a text file such as ``glove.6B.300d.txt``.

    Each line is a word and its numbers, with one space between them. A first line with the count of words and
    of numbers, as word2vec writes it, is passed over. The file may be larger than the memory: it is read line by
    line, and only the vectors of the vocabulary's words are kept and checked to be numbers. If the file has a
    word twice, the first one counts.

    Args:
        path: the file, UTF-8.
        vocabulary: whose words to look for. The files tell capitals from small letters.
        seed: of the vectors of words that the file does not have.

    Returns:
        float32 (len(vocabulary), dim), one row for each index of the vocabulary, and the words that were not found
        (the four special ones not counted). A word that was not found gets normal noise around 0 with the
        standard deviation of all numbers found; ``<pad>`` gets zeros.

    Raises:
        OSError: there is no such file, or it cannot be read.
        TypeError: there is no vocabulary.
        ValueError: a line has another count of numbers than the first, or something else than finite numbers; or
            no word of the vocabulary is in the file.
    """
    from mmtutor.data.progress import tqdm

    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"glove: vocabulary must be a Vocabulary, got {type(vocabulary).__name__}")
    path, seed = Path(path), whole("glove", "seed", seed, 0, 2**63 - 1)
    wanted = {word.encode(): number for number, word in enumerate(vocabulary.words)}
    # The vocabulary is in the Unicode form NFC, the file may be in the other.
    wanted |= {unicodedata.normalize("NFD", word).encode(): number for number, word in enumerate(vocabulary.words)}
    found: dict[int, Tensor] = {}
    dim = 0
    with (
        path.open("rb") as file,
        tqdm(
            desc="reading word vectors", total=path.stat().st_size, unit="B", unit_scale=True, leave=False, delay=2
        ) as bar,
    ):
        for k, line in enumerate(file, 1):  # bytes: as text, some letters would end a line
            bar.update(len(line))
            word, *values = line.rstrip(b" \r\n").split(b" ")
            if k == 1:
                if len(values) == 1 and word.isdigit() and values[0].isdigit():
                    dim = int(values[0])  # the line of word2vec
                    continue
                dim = len(values)
                _numbers(values, path, k)
            if len(values) != dim or dim == 0:
                extra = values[: len(values) - dim]
                # A word may have spaces (". . ."), none that we look for has; but it does not end in a number.
                if not extra or _is_number(extra[-1]):
                    raise ValueError(
                        f"{path}, line {k}: should be a word and {dim or 'its'} numbers, has {len(values)}"
                    )
            elif word in wanted:
                found.setdefault(wanted[word], _numbers(values, path, k))
    missing = [word for number, word in enumerate(vocabulary.words) if number >= len(SPECIAL) and number not in found]
    if len(missing) == len(vocabulary) - len(SPECIAL):
        raise ValueError(f"{path}: none of the {len(missing)} words of the vocabulary has a vector here")
    known = torch.stack(list(found.values()))
    # Noise for every word, so that a word's does not depend on which others were found.
    noise = torch.randn(len(vocabulary), dim, generator=torch.Generator().manual_seed(seed))
    table = known.std(correction=0) * noise
    table[list(found)] = known
    table[PAD] = 0
    return table, missing


def _numbers(values: list[bytes], path: Path, line: int) -> Tensor:
    """A line's numbers, float32."""
    try:
        numbers = torch.tensor([float(value) for value in values])
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}") from error
    if not numbers.isfinite().all():
        raise ValueError(f"{path}, line {line}: a number is not finite")
    return numbers


def _is_number(value: bytes) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
