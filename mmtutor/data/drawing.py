"""Small pictures of one coloured handwritten digit, each with a sentence: what a generator is to draw.

The digits are real, colours, backgrounds and sentences are synthetic.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .dataset import MultimodalDataset
from .handwritten import handwritten
from .items import MOST_EXAMPLES, Source, check_split, example_rng, rows_by_digit, whole
from .scene import COLOURS, Pair
from .vocabulary import Vocabulary
from .word import WORDS

SIZE = 16  # pixels on a side
LENGTH = 7  # numbers of a sentence, padding included
_WORDINGS = ("{a} {colour} {digit}", "{article} {digit} in {colour}", "the digit {digit} in {colour}")


def sentence(colour: str, digit: int, wording: int = 0) -> str:
    """What is said of a picture, in one of three wordings.

    Examples:
        >>> [sentence("orange", 8, k) for k in range(3)]
        ['an orange eight', 'an eight in orange', 'the digit eight in orange']
    """
    a, article = ("an" if word[0] in "aeiou" else "a" for word in (colour, WORDS[digit]))
    return _WORDINGS[wording].format(a=a, article=article, colour=colour, digit=WORDS[digit])


VOCABULARY = Vocabulary.from_captions(
    (sentence(colour, digit, k) for colour in COLOURS for digit in range(10) for k in range(3)), 1
)


def encoded(texts: Collection[str]) -> Tensor:
    """Sentences as the numbers of their words, int64 (n, 7).

    Examples:
        >>> encoded(["a red seven", "an eight in orange"]).shape
        torch.Size([2, 7])
    """
    return torch.stack([VOCABULARY.encode(text, LENGTH) for text in texts])


class Drawings(MultimodalDataset):
    """Pictures with their sentences: a dataset of dicts of tensors, plus the sentences as text.

    Attributes:
        texts: one for each picture.
    """

    def __init__(self, tensors: dict[str, Tensor], texts: list[str]) -> None:
        super().__init__(tensors)
        self.texts = texts


def drawings(
    split: str,
    *,
    n: int = 1000,
    seed: int = 0,
    never: Collection[Pair] = (),
    wrong: float = 0.0,
    source: Source = handwritten,
    progress: bool = True,
) -> Drawings:
    """Pictures of one coloured digit on a dark background, each with a sentence such as "a red seven".

    Colours and digits are drawn independently, all equally often. How a digit is written and how light the background
    is, the sentence does not say. Picture k depends on ``seed``, ``split`` and k alone, not on ``n``.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``, of the handwritten digits.
        n: how many, at least 1.
        seed: of everything drawn at random, at least 0.
        never: pairs such as ``("red", 7)`` that no picture shows and no sentence says.
        wrong: how often a sentence says another digit than the picture shows, from 0 to 1.
        source: other handwritten digits, for example `mmtutor.data.mnist`: a function of the split.
        progress: show a bar when making takes longer than two seconds.

    Returns:
        ``"picture"`` float32 (n, 3, 16, 16) in [0, 1]; ``"sentence"`` int64 (n, 7), numbers of words in ``VOCABULARY``,
        0 for padding; ``"wrong_sentence"``, the same with another colour or another digit; ``"digit_label"`` and
        ``"colour_label"`` (an index into ``COLOURS``), what is shown, and ``"said_label"``, the digit that is said,
        int64 (n,).

    Raises:
        ValueError: a number out of range, an unknown colour, pairs that leave nothing to show, or pictures of digits
            that are no square.
        TypeError: an argument of the wrong kind.

    Examples:
        >>> train = drawings("train", n=4)
        >>> train.texts[:2], train[:]["picture"].shape
        (['a five in red', 'a four in orange'], torch.Size([4, 3, 16, 16]))
    """
    from mmtutor.data.progress import tqdm

    check_split(split)
    n, seed = whole("drawings", "n", n, 1, MOST_EXAMPLES), whole("drawings", "seed", seed, 0)
    if isinstance(wrong, bool) or not isinstance(wrong, int | float) or not 0 <= wrong <= 1:
        raise ValueError(f"drawings: wrong must be a number from 0 to 1, got {wrong!r}")
    pairs = [(colour, digit) for colour in COLOURS for digit in range(10)]
    for pair in (left_out := [tuple(pair) if isinstance(pair, list) else pair for pair in tuple(never)]):
        if pair not in pairs:
            raise ValueError(
                f"drawings: never must hold pairs of a colour ({', '.join(COLOURS)}) and a digit, got {pair!r}"
            )
    pairs = [pair for pair in pairs if pair not in left_out]
    sayable = {c: [d for colour, d in pairs if colour == c] for c in COLOURS}
    if any(len(digits) == 1 for digits in sayable.values()) or len(pairs) < 2:
        raise ValueError("drawings: never must leave at least two digits of each colour that it leaves any of")
    if not callable(source):
        raise TypeError(f"drawings: source must be a function of the split, got {source!r}")
    items = source(split)
    by_digit = rows_by_digit(items, split, "drawings: the source")
    shapes, ground, shift, noise, shown, said, texts, changed = [], [], [], [], [], [], [], []
    for k in tqdm(range(n), "drawing", leave=False, delay=2, disable=not progress):
        rng = example_rng(seed, split, k, "drawing")
        colour, digit = pairs[rng.integers(len(pairs))]
        others = [other for other in sayable[colour] if other != digit]
        named = others[rng.integers(len(others))] if rng.random() < wrong else digit
        shapes.append(items.values[rng.choice(by_digit[digit])])
        ground.append(rng.uniform(0.05, 0.25))
        shift.append(rng.integers(3, size=2))
        noise.append(rng.normal(size=(3, SIZE, SIZE)).astype(np.float32))
        shown.append((list(COLOURS).index(colour), digit))
        said.append(named)
        wording = int(rng.integers(3))
        texts.append(sentence(colour, named, wording))
        near = [(c, d) for c, d in pairs if (c == colour) != (d == named)]  # one word is another
        changed.append(sentence(*near[rng.integers(len(near))], wording))

    ink = torch.from_numpy(np.stack(shapes)).float() / 255
    if ink.ndim != 4 or ink.shape[1] != 1 or ink.shape[2] != ink.shape[3]:
        raise ValueError(f"drawings: the source must give digits (N, 1, H, H), got {tuple(ink.shape)}")
    ink = F.interpolate(ink, size=(SIZE + 2, SIZE + 2), mode="bilinear", antialias=True)[:, 0]
    ink = torch.stack([x[i : i + SIZE, j : j + SIZE] for x, (i, j) in zip(ink, shift, strict=True)])[:, None]
    colours, digits = torch.tensor(shown).T
    paint = torch.tensor(list(COLOURS.values()))[colours][..., None, None]  # (n, 3, 1, 1)
    dark = torch.tensor(ground, dtype=torch.float32).view(-1, 1, 1, 1)
    picture = (1 - ink) * dark + ink * paint + 0.02 * torch.from_numpy(np.stack(noise))
    tensors = {
        "picture": picture.clamp(0, 1),
        "sentence": encoded(texts),
        "wrong_sentence": encoded(changed),
        "digit_label": digits,
        "colour_label": colours,
        "said_label": torch.tensor(said),
    }
    return Drawings(tensors, texts)
