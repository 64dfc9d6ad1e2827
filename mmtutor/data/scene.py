"""Scenes: coloured handwritten digits on a noisy background, with captions that say what is where.

Every object has a mask and for every word it is known which object it refers to, so that it can be measured whether a
network attends to the right object. The digits are real, the scenes and captions are synthetic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dataset import MultimodalDataset, take
from .handwritten import handwritten
from .items import MOST_EXAMPLES, Source, check_split, example_rng, rows_by_digit, whole
from .vocabulary import Vocabulary
from .word import WORDS

SIZE = 64  # pixels on a side
COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "orange": (1.00, 0.52, 0.05),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.12, 0.70, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.20, 0.35, 0.95),
    "purple": (0.65, 0.25, 0.85),
    "white": (0.95, 0.95, 0.95),
}
RELATIONS = ("left of", "right of", "above", "below")
MOST = 4  # objects that fit
CAPTION_LENGTH = 24  # numbers of the longest caption, start and end included
SIZES = {"small": (13, 17), "big": (23, 28)}  # heights in pixels
_GAP = 2  # pixels between objects
_OUTER = 12  # pixels from the middle: there begins the left, the right, the top and the bottom

Pair = tuple[str, int]


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        digit: 0 to 9.
        colour: a name in ``COLOURS``.
        size: ``"small"`` or ``"big"``.
        box: left, top, right, bottom in pixels; right and bottom lie outside.
    """

    digit: int
    colour: str
    size: str
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Across and down, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


class Scenes(MultimodalDataset):
    """Scenes with their captions: a dataset of dicts of tensors, plus the captions as text.

    Attributes:
        captions: three references for each scene.
        objects: what each scene shows.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        captions: list[list[str]],
        objects: list[list[Thing]],
        about: list[list[list[int]]],
    ) -> None:
        super().__init__(tensors)
        self.captions, self.objects, self._about = captions, objects, about

    def tokenised(self, vocabulary: Vocabulary) -> Scenes:
        """The same scenes with captions as numbers.

        Args:
            vocabulary: made from the captions of the training scenes.

        Returns:
            New scenes that also have ``"caption"``, int64 (n, 3, 24), and ``"about_label"``, int64 (n, 3, 24): the
            object that each word refers to, -1 where it refers to none.
        """
        if not isinstance(vocabulary, Vocabulary):
            raise TypeError(f"Scenes.tokenised: vocabulary must be a Vocabulary, got {type(vocabulary).__name__}")
        caption = torch.stack(
            [torch.stack([vocabulary.encode(text, CAPTION_LENGTH) for text in texts]) for texts in self.captions]
        )
        about = torch.full_like(caption, -1)
        for row, references in zip(about, self._about, strict=True):
            for line, numbers in zip(row, references, strict=True):
                line[1 : len(numbers) + 1] = torch.tensor(numbers)
        tensors = {**self.tensors, "caption": caption, "about_label": about}
        return Scenes(tensors, self.captions, self.objects, self._about)

    def crops(self, size: int = 32, shift: int = 6, seed: int = 0) -> MultimodalDataset:
        """Each object by itself, as images to train an image encoder on.

        Args:
            size: pixels on a side, even, at most 64; what lies outside the scene repeats its border.
            shift: the largest number of pixels by which an object is off the middle, across and down.
            seed: of the shifts.

        Returns:
            ``"scene"`` float32 (N, 3, size, size) with the object about in the middle and parts of others around it,
            ``"digit_label"`` and ``"colour_label"`` int64 (N,), for the N objects of all scenes.

        Raises:
            ValueError: no such size or shift.
        """
        size = whole("Scenes.crops", "size", size, 2, SIZE)
        if size % 2:
            raise ValueError(f"Scenes.crops: size must be even, got {size}")
        shift = whole("Scenes.crops", "shift", shift, 0, size // 2)
        rng = np.random.default_rng(whole("Scenes.crops", "seed", seed, 0))
        pictures = []
        for scene, things in zip(self.tensors["scene"], self.objects, strict=True):
            wide = torch.nn.functional.pad(scene[None], (size // 2 + shift,) * 4, mode="replicate")[0]
            for thing in things:
                across, down = (int(c) + int(rng.integers(2 * shift + 1)) for c in thing.centre)
                pictures.append(wide[:, down : down + size, across : across + size])
        shown = self.tensors["digit_label"] >= 0
        labels = {name: self.tensors[name][shown] for name in ("digit_label", "colour_label")}
        return MultimodalDataset({"scene": torch.stack(pictures), **labels})


class Pairs(MultimodalDataset):
    """Images with several captions as pairs of an image and one caption: R examples for each image.

    Args:
        tensors: ``"caption"`` (n, R, T) among them.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        if "caption" not in tensors or tensors["caption"].ndim != 3:
            raise ValueError(f"Pairs: needs 'caption' of shape (n, R, T), got {', '.join(tensors)}")

    def __len__(self) -> int:
        n, references, _ = self.tensors["caption"].shape
        return n * references

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> dict[str, Tensor]:
        pair = torch.arange(len(self))[list(index) if isinstance(index, tuple) else index]
        references = self.tensors["caption"].shape[1]
        own = ("caption", "about_label")  # of each reference
        return {
            name: take(value.flatten(0, 1), pair) if name in own else take(value, pair // references)
            for name, value in self.tensors.items()
        }


def scenes(
    split: str,
    *,
    n: int = 1000,
    seed: int = 0,
    objects: tuple[int, int] = (1, 3),
    never: Collection[Pair] = (),
    always: Collection[Pair] = (),
    source: Source = handwritten,
    progress: bool = True,
) -> Scenes:
    """Scenes of coloured digits, each with three different captions.

    Colours differ within a scene, and so do digits. Scene k depends on ``seed``, ``split`` and k alone, not on ``n``.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``, of the handwritten digits.
        n: how many, at least 1.
        seed: of everything drawn at random, at least 0.
        objects: the fewest and the most objects of a scene, 1 to 4.
        never: pairs such as ``("red", 7)`` that no scene shows.
        always: pairs of which every scene shows one.
        source: other handwritten digits, for example `mmtutor.data.mnist`: a function of the split.
        progress: show a bar when making takes longer than two seconds.

    Returns:
        ``"scene"`` float32 (n, 3, 64, 64) in [0, 1]; and what is known of synthetic data only: ``"owner_label"`` int8
        (n, 64, 64), the object that a pixel shows or -1; ``"box_label"`` int64 (n, most, 4), left, top, right and
        bottom; ``"digit_label"``, ``"colour_label"`` (an index into ``COLOURS``) and ``"big_label"`` int64 (n, most),
        -1 where there is no such object. Captions are text until `Scenes.tokenised`.

    Raises:
        ValueError: a number out of range, an unknown colour, or pairs that leave nothing to show.
        TypeError: an argument of the wrong kind.

    Examples:
        >>> train = scenes("train", n=4)
        >>> train.captions[0][0]
        'there is an orange six right of a blue three'
        >>> train = train.tokenised(Vocabulary.from_captions(c for three in train.captions for c in three))
        >>> {name: tuple(train[:][name].shape) for name in train.modalities}
        {'scene': (4, 3, 64, 64), 'caption': (4, 3, 24)}
    """
    from mmtutor.data.progress import tqdm

    check_split(split)
    n, seed = whole("scenes", "n", n, 1, MOST_EXAMPLES), whole("scenes", "seed", seed, 0)
    objects, never, always = _counts(objects), _listed("never", never), _listed("always", always)
    if both := set(never) & set(always):
        raise ValueError(f"scenes: {sorted(both)[0]} is to be shown always and never")
    if not callable(source):
        raise TypeError(f"scenes: source must be a function of the split, got {source!r}")
    items = source(split)
    by_digit = rows_by_digit(items, split, "scenes: the source")

    most = objects[1]
    pictures = np.empty((n, 3, SIZE, SIZE), np.uint8)
    owners = np.empty((n, SIZE, SIZE), np.int8)
    things: list[list[Thing]] = []
    captions: list[list[str]] = []
    about: list[list[list[int]]] = []
    for k in tqdm(range(n), "making scenes", leave=False, delay=2, disable=not progress):
        rng = example_rng(seed, split, k, "scene")
        for _ in range(1000):  # until it fits
            pairs = _pairs(rng, int(rng.integers(objects[0], most + 1)), set(never), sorted(always))
            glyphs = [_glyph(items.values[rng.choice(by_digit[digit])]) for _, digit in pairs]
            placed = _place(rng, pairs, glyphs)
            if placed is not None:
                break
        else:
            raise ValueError(f"scenes: {objects[0]} to {most} digits of this source do not fit into a scene")
        pictures[k], owners[k] = _draw(rng, placed, glyphs)
        words = _references(rng, placed)
        things.append(placed)
        captions.append([" ".join(word for word, _ in sentence) for sentence in words])
        about.append([[owner for _, owner in sentence] for sentence in words])

    def column(values: list[list[int]]) -> Tensor:
        return torch.tensor([row + [-1] * (most - len(row)) for row in values])

    tensors = {
        "scene": torch.from_numpy(pictures).float() / 255,
        "owner_label": torch.from_numpy(owners),
        "box_label": torch.stack([column([[t.box[side] for t in row] for row in things]) for side in range(4)], -1),
        "digit_label": column([[t.digit for t in row] for row in things]),
        "colour_label": column([[list(COLOURS).index(t.colour) for t in row] for row in things]),
        "big_label": column([[int(t.size == "big") for t in row] for row in things]),
    }
    return Scenes(tensors, captions, things, about)


def twins(split: str, *, n: int = 1000, seed: int = 0, source: Source = handwritten, progress: bool = True) -> Scenes:
    """Scenes of two objects that show the same digit in different colours.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``, of the handwritten digits.
        n: how many, at least 1.
        seed: of everything drawn at random, at least 0.
        source: of the digits, as in `scenes`.
        progress: show a bar when making takes longer than two seconds.

    Returns:
        As `scenes`.

    Raises:
        ValueError: a number out of range, or digits that do not fit.
        TypeError: the source is no function, or gives no items.

    Examples:
        >>> twins("test", n=3)[:]["digit_label"]
        tensor([[2, 2],
                [1, 1],
                [1, 1]])
    """
    from mmtutor.data.progress import tqdm

    check_split(split)
    n, seed = whole("twins", "n", n, 1, MOST_EXAMPLES), whole("twins", "seed", seed, 0)
    if not callable(source):
        raise TypeError(f"twins: source must be a function of the split, got {source!r}")
    items = source(split)
    by_digit = rows_by_digit(items, split, "twins: the source")
    made = []
    for k in tqdm(range(n), "making scenes", leave=False, delay=2, disable=not progress):
        rng = example_rng(seed, split, k, "twins")
        for _ in range(1000):  # until it fits
            (one, digit), (other, _) = _pairs(rng, 2, set(), ())
            pairs = [(one, digit), (other, digit)]
            glyphs = [_glyph(items.values[row]) for row in rng.choice(by_digit[digit], 2)]
            placed = _place(rng, pairs, glyphs)
            if placed is not None:
                break
        else:
            raise ValueError("twins: two digits of this source do not fit into a scene")
        made.append((placed, *_draw(rng, placed, glyphs), _references(rng, placed)))
    things, pictures, owners, words = zip(*made, strict=True)
    tensors = {
        "scene": torch.from_numpy(np.stack(pictures)).float() / 255,
        "owner_label": torch.from_numpy(np.stack(owners)),
        "box_label": torch.tensor([[t.box for t in row] for row in things]),
        "digit_label": torch.tensor([[t.digit for t in row] for row in things]),
        "colour_label": torch.tensor([[list(COLOURS).index(t.colour) for t in row] for row in things]),
        "big_label": torch.tensor([[int(t.size == "big") for t in row] for row in things]),
    }
    captions = [[" ".join(word for word, _ in sentence) for sentence in three] for three in words]
    return Scenes(tensors, captions, list(things), [[[owner for _, owner in s] for s in three] for three in words])


def relation(first: Thing, second: Thing) -> str | None:
    """Where the first lies as seen from the second, or None where it is not clear (along the diagonal)."""
    across, down = (a - b for a, b in zip(first.centre, second.centre, strict=True))
    if max(abs(across), abs(down)) < 1.3 * min(abs(across), abs(down)) or across == down == 0:
        return None
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def holds(stated: str, first: Thing, second: Thing) -> bool:
    """Whether it is true that the first is ``stated`` the second; where that is not clear, the direction counts."""
    across, down = (a - b for a, b in zip(first.centre, second.centre, strict=True))
    clear = relation(first, second)
    towards = {"left of": across < 0, "right of": across > 0, "above": down < 0, "below": down > 0}
    return clear == stated if clear else towards[stated]


def _pairs(rng: np.random.Generator, count: int, never: set[Pair], always: Sequence[Pair]) -> list[Pair]:
    """Colours and digits of a scene, each once."""
    names = list(COLOURS)
    for _ in range(100_000):
        colours = [names[i] for i in rng.permutation(len(names))[:count]]
        pairs = list(zip(colours, map(int, rng.permutation(10)[:count]), strict=True))
        if always:
            pairs[int(rng.integers(count))] = always[int(rng.integers(len(always)))]
        distinct = all(len(set(kind)) == count for kind in zip(*pairs, strict=True))
        if distinct and never.isdisjoint(pairs):
            return pairs
    raise ValueError(f"scenes: never and always leave no scene of {count} objects, or hardly any")


def _glyph(value: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The digit without the empty border, uint8 (height, width)."""
    pixels = np.asarray(value[0] if value.dtype == np.uint8 else np.rint(255 * value[0]), np.uint8)
    rows, columns = np.flatnonzero((pixels > 50).any(1)), np.flatnonzero((pixels > 50).any(0))
    if not len(rows):
        raise ValueError("scenes: the source has an empty picture")
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(rng: np.random.Generator, pairs: Sequence[Pair], glyphs: list[NDArray[np.uint8]]) -> list[Thing] | None:
    """A position for each object, or None where they do not fit or no two have a clear relation."""
    things: list[Thing] = []
    for (colour, digit), glyph in zip(pairs, glyphs, strict=True):
        size = "big" if rng.random() < 0.5 else "small"
        low, high = SIZES[size]
        height = int(rng.integers(low, high + 1))
        width = max(4, round(height * glyph.shape[1] / glyph.shape[0]))
        if width > SIZE - 2:
            return None
        for _ in range(20):
            left, top = int(rng.integers(1, SIZE - width)), int(rng.integers(1, SIZE - height))
            box = (left, top, left + width, top + height)
            if not any(_touch(box, other.box) for other in things):
                things.append(Thing(digit, colour, size, box))
                break
        else:
            return None
    clear = len(things) == 1 or any(relation(a, b) for a in things for b in things if a is not b)
    return things if clear else None


def _touch(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] + _GAP and b[0] < a[2] + _GAP and a[1] < b[3] + _GAP and b[1] < a[3] + _GAP


def _draw(
    rng: np.random.Generator, things: Sequence[Thing], glyphs: Sequence[NDArray[np.uint8]]
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The picture, uint8 (3, 64, 64), and which object each pixel shows, int8 (64, 64)."""
    from PIL import Image

    # Grey noise: noise in each colour by itself would make a white digit look pink.
    slope = np.tensordot(rng.uniform(-0.08, 0.08, 2), np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j], 1)
    grey = rng.uniform(0.1, 0.35) + slope + 0.03 * rng.standard_normal((SIZE, SIZE))
    picture = grey[None] + rng.uniform(-0.03, 0.03, (3, 1, 1))
    owner = np.full((SIZE, SIZE), -1, np.int8)
    for k, (thing, glyph) in enumerate(zip(things, glyphs, strict=True)):
        left, top, right, bottom = thing.box
        ink = Image.fromarray(glyph).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        alpha = np.asarray(ink, float) / 255
        colour = np.array(COLOURS[thing.colour]) * rng.uniform(0.85, 1.0) + rng.uniform(-0.04, 0.04, 3)
        part = picture[:, top:bottom, left:right]
        part[:] = part * (1 - alpha) + colour[:, None, None] * alpha
        owner[top:bottom, left:right][alpha > 0.35] = k
    return (255 * np.clip(picture, 0, 1)).astype(np.uint8), owner


def _references(rng: np.random.Generator, things: Sequence[Thing]) -> list[list[tuple[str, int]]]:
    """Three different captions as pairs of a word and the object that it refers to (-1: none)."""
    sentences: list[list[tuple[str, int]]] = []
    while len(sentences) < 3:
        sentence = _sentence(rng, things)
        if sentence not in sentences:
            sentences.append(sentence)
    return sentences


def _sentence(rng: np.random.Generator, things: Sequence[Thing]) -> list[tuple[str, int]]:
    """One caption: all objects, the first two with their relation."""
    order = [int(k) for k in rng.permutation(len(things))]
    there_is, sizes, more = rng.random(3) < 0.5

    def mention(k: int) -> list[tuple[str, int]]:
        thing = things[k]
        words = [*([thing.size] if sizes else []), thing.colour, WORDS[thing.digit]]
        return [("an" if words[0] == "orange" else "a", k), *((word, k) for word in words)]

    def plain(text: str) -> list[tuple[str, int]]:
        return [(word, -1) for word in text.split()]

    sentence = plain("there is") if there_is else []
    if len(things) == 1:
        across, down = (c - SIZE / 2 for c in things[0].centre)
        where = ("top " if down < -_OUTER else "bottom " if down > _OUTER else "") + (
            "left" if across < -_OUTER else "right" if across > _OUTER else ""
        )
        at = [(word, 0) for word in f"at the {where}".split()] if where and more else []
        return sentence + mention(0) + at
    while (between := relation(things[order[0]], things[order[1]])) is None:
        order = [int(k) for k in rng.permutation(len(things))]
    sentence += mention(order[0]) + plain(between if there_is or more else f"is {between}") + mention(order[1])
    for k in order[2:]:
        sentence += plain("and") + mention(k)
    return sentence


def _counts(objects: object) -> tuple[int, int]:
    """The fewest and the most objects, checked."""
    try:
        fewest, most = objects if isinstance(objects, tuple | list) else ()
        fewest = whole("scenes", "objects", fewest, 1, MOST)
        return fewest, whole("scenes", "objects", most, fewest, MOST)
    except ValueError:
        raise ValueError(f"scenes: objects must be (fewest, most) between 1 and {MOST}, got {objects!r}") from None


def _listed(name: str, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Pairs of a colour and a digit, checked."""
    found = []
    for pair in tuple(pairs):  # a generator could be read once only
        what = f"{name} must hold pairs of a colour ({', '.join(COLOURS)}) and a digit"
        if not isinstance(pair, tuple | list) or len(pair) != 2 or pair[0] not in COLOURS:
            raise ValueError(f"scenes: {what}, got {pair!r}")
        found.append((str(pair[0]), whole("scenes", f"{what}; the digit", pair[1], 0, 9)))
    return tuple(found)
