"""Captions that a model generates; of scenes: what they say, whether it is true, where the attention was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mmtutor.data import COLOURS, Scenes, Vocabulary
from mmtutor.data.arrays import to_array
from mmtutor.data.scene import RELATIONS, SIZES, holds
from mmtutor.data.word import WORDS
from mmtutor.metrics.reading import watched
from mmtutor.training.batches import Data


class Mention(NamedTuple):
    """An object as a sentence names it: ``a big red seven``.

    Attributes:
        start: position of its first word, the article, in the sentence.
        size: ``"small"`` or ``"big"``, or None.
        colour: or None.
        digit: 0 to 9.
        positions: where its size, colour and digit stand in the sentence, by class of word.
    """

    start: int
    size: str | None
    colour: str | None
    digit: int
    positions: dict[str, int]


def mentions(sentence: str) -> list[Mention]:
    """The objects that a sentence about a scene names; a digit's word ends a mention.

    Examples:
        >>> [m[1:4] for m in mentions("a red three left of a big blue seven")]
        [(None, 'red', 3), ('big', 'blue', 7)]
    """
    found, positions, start = [], dict[str, int](), None
    words = sentence.split()
    for position, word in enumerate(words):
        if word in ("a", "an"):
            start, positions = position, {}
        elif word in SIZES:
            positions["size"] = position
        elif word in COLOURS:
            positions["colour"] = position
        elif word in WORDS:
            positions["digit"] = position
            size, colour = (words[positions[k]] if k in positions else None for k in ("size", "colour"))
            first = min(positions.values()) if start is None else start
            found.append(Mention(first, size, colour, WORDS.index(word), positions))
            start, positions = None, {}
    return found


def caption_facts(captions: Sequence[str], data: Scenes) -> dict[str, float]:
    """What captions of scenes get right, by class of word.

    Args:
        captions: a generated caption for each scene.
        data: the scenes. If two objects of one share a digit, as in `twins`, a digit names the second of them.

    Returns:
        ``"digit"`` and ``"colour"``: the share of such words that are true of an object in the scene. ``"size"`` and
        ``"relation"``: the share that are true of the objects with the digits that are named; where there is no such
        object, the word is wrong. ``"relation digits"``: of the relation words, the share that stand between digits of
        two objects in the scene; ``"related"``: of these, the share that are true; ``"related at random"``: what that
        would be with any of the four relations. ``"binding"``: of the mentions with a colour, the share whose colour
        and digit belong to *one* object; ``"paired"``: the same of those whose digit is in the scene; ``"paired at
        random"``: what that would be if the colour were taken from one of the scene's objects. ``"object recall"``:
        the share of objects that are named with colour and digit, see `object_recall`. A class of which no word was
        generated has 0.
    """
    _check_captions("caption_facts", captions, data)
    kinds = ("digit", "colour", "size", "binding", "paired", "paired at random")
    relations = ("relation", "relation digits", "related", "related at random")
    facts: dict[str, list[float]] = {name: [] for name in kinds + relations}
    for sentence, things in zip(captions, data.objects, strict=True):
        by_digit = {thing.digit: thing for thing in things}
        named = mentions(sentence)
        for m in named:
            thing = by_digit.get(m.digit)
            facts["digit"].append(thing is not None)
            if m.colour is not None:
                facts["colour"].append(any(m.colour == other.colour for other in things))
                facts["binding"].append(thing is not None and thing.colour == m.colour)
                if thing is not None:
                    facts["paired"].append(thing.colour == m.colour)
                    facts["paired at random"].append(float(np.mean([thing.colour == other.colour for other in things])))
            if m.size is not None:
                facts["size"].append(thing is not None and thing.size == m.size)
        for first, second in itertools.pairwise(named):
            between = " ".join(sentence.split()[first.positions["digit"] + 1 : second.start])
            for stated in RELATIONS:
                if stated in between:
                    a, b = by_digit.get(first.digit), by_digit.get(second.digit)
                    true = [] if a is None or b is None or a is b else [holds(r, a, b) for r in RELATIONS]
                    facts["relation digits"].append(bool(true))
                    facts["relation"].append(bool(true) and true[RELATIONS.index(stated)])
                    if true:
                        facts["related"].append(true[RELATIONS.index(stated)])
                        facts["related at random"].append(float(np.mean(true)))
    shares = {name: float(np.mean(values)) if values else 0.0 for name, values in facts.items()}
    return shares | {"object recall": float(object_recall(captions, data).mean())}


def object_recall(captions: Sequence[str], data: Scenes) -> NDArray[np.float64]:
    """The share of each scene's objects that its caption names with the right colour and digit together, (n,)."""
    _check_captions("object_recall", captions, data)
    shares = []
    for sentence, things in zip(captions, data.objects, strict=True):
        pairs = {(m.colour, m.digit) for m in mentions(sentence)}
        shares.append(np.mean([(thing.colour, thing.digit) in pairs for thing in things]))
    return np.array(shares)


class Pointing(NamedTuple):
    """How well attention points at what a class of words names.

    Attributes:
        hits: share of words at which the region with the largest weight touches the object (the pointing game).
        mass: mean sum of the attention weights of the regions that touch the object.
        chance: what both would be with uniform or random attention.
        words: how many words were evaluated.
    """

    hits: float
    mass: float
    chance: float
    words: int


def pointing(captions: Sequence[str], alpha: ArrayLike, data: Scenes) -> dict[str, Pointing]:
    """Whether attention is on the object that a word names, by class of word.

    A digit's or colour's word names the object of the scene that has it; a word for the size the object with the digit
    of its mention. Words that name nothing in the scene are left out: `caption_facts` counts them.

    Args:
        captions: a generated caption for each scene.
        alpha: the attention weights at each word, (n, T, L), for L regions in a square grid.
        data: the scenes.

    Returns:
        For ``"digit"``, ``"colour"`` and ``"size"``, those of which a word was generated.

    Raises:
        ValueError: the shapes do not fit.
    """
    touch, weights = _touched("pointing", captions, alpha, data)
    found: dict[str, list[tuple[bool, float, float]]] = {"digit": [], "colour": [], "size": []}
    for k, (sentence, things) in enumerate(zip(captions, data.objects, strict=True)):
        for m in mentions(sentence):
            for kind, position in m.positions.items():
                owner = [t.colour == m.colour if kind == "colour" else t.digit == m.digit for t in things]
                if any(owner):
                    on, weight = touch[k, owner.index(True)], weights[k, position]
                    found[kind].append((bool(on[weight.argmax()]), float(weight[on].sum()), float(on.mean())))
    points = {}
    for kind, rows in found.items():
        if rows:
            hits, mass, chance = np.mean(rows, 0).tolist()
            points[kind] = Pointing(hits, mass, chance, len(rows))
    return points


def attention_shift(
    captions: Sequence[str], alpha: ArrayLike, data: Scenes, around: int = 3, at: str = "digit"
) -> dict[str, NDArray[np.float64]]:
    """Where attention is around the moment at which a new object is named.

    Only objects after the first are counted, and only where both it and the one named before are in the scene.

    Args:
        captions: a generated caption for each scene.
        alpha: the attention weights at each word, (n, T, L).
        data: the scenes.
        around: words before and after moment 0.
        at: which word moment 0 is: the ``"digit"`` of the new object, or its ``"article"`` (without one, the first word
            about it).

    Returns:
        The mean attention on the object ``"named"`` and on the one ``"before"``, and by ``"chance"``, what uniform
        attention would have on the object named; each (2 around + 1,), 0 at a moment outside of all captions.

    Raises:
        ValueError: the shapes do not fit, no caption names two objects of its scene, or there is no such word.
    """
    if at not in ("digit", "article"):
        raise ValueError(f"attention_shift: at must be 'digit' or 'article', got {at!r}")
    touch, weights = _touched("attention_shift", captions, alpha, data)
    rows = []
    for k, (sentence, things) in enumerate(zip(captions, data.objects, strict=True)):
        digits, length = [thing.digit for thing in things], len(sentence.split())
        for first, second in itertools.pairwise(mentions(sentence)):
            moments = (second.positions["digit"] if at == "digit" else second.start) + np.arange(-around, around + 1)
            if first.digit in digits and second.digit in digits and first.digit != second.digit:
                pair = [touch[k, digits.index(m.digit)] for m in (second, first)]
                inside = (moments >= 0) & (moments < length)
                row = np.zeros((4, len(moments)))
                uniform = np.full(inside.sum(), pair[0].mean())
                row[:, inside] = [*(weights[k, moments[inside]] @ on for on in pair), uniform, np.ones_like(uniform)]
                rows.append(row)
    if not rows:
        raise ValueError("attention_shift: no caption names two objects of its scene")
    *sums, count = np.sum(rows, 0)
    return {name: x / np.maximum(count, 1) for name, x in zip(("named", "before", "chance"), sums, strict=True)}


def generate_captions(
    model: nn.Module,
    data: Data,
    vocabulary: Vocabulary,
    decode: Callable[..., Any],
    length: int,
    batch_size: int = 256,
    **settings: float,
) -> tuple[list[str], Tensor | None]:
    """A caption for every example, generated by the model alone.

    Args:
        model: a captioner.
        data: n images, as `mmtutor.training.fit` takes them: a dict of tensors, a dataset such as `mmtutor.data.photos`
            gives, or a `DataLoader`, which had better not shuffle. On any device.
        vocabulary: of the words.
        decode: `mmtutor.captioning.greedy`, `sample` or `beam_search`.
        length: the largest number of words, the end included.
        batch_size: how many images at a time; a `DataLoader` has its own.
        settings: other numbers that ``decode`` takes, such as ``beams`` or ``temperature``.

    Returns:
        The captions, and the attention weights at each word (n, T, L) on the CPU, or None without attention.

    Raises:
        ValueError: the vocabulary is not the model's, or the data do not have what the model reads.
    """
    size = getattr(getattr(model, "tokens", None), "size", len(vocabulary))
    if size != len(vocabulary):
        raise ValueError(
            f"generate_captions: the model was made for {size} words, the vocabulary has {len(vocabulary)}; "
            "hand in the vocabulary that it was trained with"
        )
    captions, alphas = [], []
    for batch in watched(data, batch_size):
        tokens, _, alpha = decode(model, batch, length, **settings)
        if tokens.ndim != 2:
            raise ValueError(f"generate_captions: decode must give one caption each, (B, T), got {tuple(tokens.shape)}")
        captions += [vocabulary.decode(row) for row in tokens.cpu()]
        if alpha is not None:
            alphas.append(nn.functional.pad(alpha.cpu(), (0, 0, 0, length - alpha.shape[1])))
    return captions, torch.cat(alphas) if alphas else None


def evenness(captions: Sequence[str], alpha: ArrayLike, data: Scenes) -> float:
    """How evenly attention is divided among the objects over a caption.

    The attention on each object is summed over the words. The score is the smallest of these sums over their mean, for
    the scenes with at least two objects: 1 if all get the same, 0 if one gets nothing.

    Args:
        captions: a generated caption for each scene.
        alpha: the attention weights at each word, (n, T, L).
        data: the scenes.

    Raises:
        ValueError: the shapes do not fit, or no scene has two objects.
    """
    touch, weights = _touched("evenness", captions, alpha, data)
    shares = []
    for k, (sentence, things) in enumerate(zip(captions, data.objects, strict=True)):
        if len(things) > 1:
            sums = weights[k, : len(sentence.split())].sum(0) @ touch[k, : len(things)].T
            shares.append(sums.min() / max(sums.mean(), 1e-12))
    if not shares:
        raise ValueError("evenness: no scene has two objects")
    return float(np.mean(shares))


def _check_captions(who: str, captions: Sequence[str], data: Scenes) -> None:
    if not isinstance(data, Scenes):
        raise TypeError(f"{who}: data must be Scenes, whose objects are known, got {type(data).__name__}")
    if isinstance(captions, str) or len(captions) != len(data):
        raise ValueError(f"{who}: captions must be one for each of the {len(data)} scenes, got {len(captions)}")
    for k, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise TypeError(f"{who}: a caption must be a string, its words with spaces between, got {caption!r} at {k}")


def _touched(
    who: str, captions: Sequence[str], alpha: ArrayLike, data: Scenes
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which regions of the grid touch which object, (n, objects, L), and the attention weights, (n, T, L)."""
    _check_captions(who, captions, data)
    if alpha is None:
        raise ValueError(f"{who}: alpha is None; this model has no attention")
    weights, owner = to_array(alpha, float), data.tensors["owner_label"].cpu()
    side = round(weights.shape[-1] ** 0.5) if weights.ndim == 3 else 0
    longest = max(len(sentence.split()) for sentence in captions)
    if not side or len(weights) != len(data) or side**2 != weights.shape[2] or owner.shape[1] % side:
        raise ValueError(
            f"{who}: alpha must be (n, T, L) with n = {len(data)} and L regions in a square grid that divides "
            f"{owner.shape[1]} pixels, got {weights.shape}"
        )
    if weights.shape[1] < longest:
        raise ValueError(f"{who}: alpha has {weights.shape[1]} words, a caption has {longest}")
    cell = owner.shape[1] // side
    cells = owner.view(len(owner), side, cell, side, cell).transpose(2, 3).flatten(3).flatten(1, 2)  # (n, L, pixels)
    most = data.tensors["digit_label"].shape[1]
    return np.stack([(cells == k).any(2).numpy() for k in range(most)], 1), weights
