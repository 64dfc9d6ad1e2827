"""What sentences about scenes say, whether it is true, and where attention was meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmtutor.data import COLOURS, MultimodalDataset, Scenes, Vocabulary
from mmtutor.data.scene import RELATIONS, SIZES, holds
from mmtutor.data.word import WORDS


class Mention(NamedTuple):
    """An object as a sentence names it: ``a big red seven``.

    Attributes:
        start: place of its first word, the article, in the sentence.
        size: ``"small"`` or ``"big"``, or None.
        colour: or None.
        digit: 0 to 9.
        places: where its size, colour and digit stand in the sentence, by class.
    """

    start: int
    size: str | None
    colour: str | None
    digit: int
    places: dict[str, int]


def mentions(sentence: str) -> list[Mention]:
    """The objects that a sentence about a scene names; a digit's word ends a mention.

    Examples:
        >>> [m[1:4] for m in mentions("a red three left of a big blue seven")]
        [(None, 'red', 3), ('big', 'blue', 7)]
    """
    found, places, start = [], dict[str, int](), None
    words = sentence.split()
    for place, word in enumerate(words):
        if word in ("a", "an"):
            start, places = place, {}
        elif word in SIZES:
            places["size"] = place
        elif word in COLOURS:
            places["colour"] = place
        elif word in WORDS:
            places["digit"] = place
            size, colour = (words[places[k]] if k in places else None for k in ("size", "colour"))
            first = min(places.values()) if start is None else start
            found.append(Mention(first, size, colour, WORDS.index(word), places))
            start, places = None, {}
    return found


def caption_facts(written: Sequence[str], data: Scenes) -> dict[str, float]:
    """What sentences about scenes get right, by class of word.

    Args:
        written: a sentence for each scene.
        data: the scenes.

    Returns:
        ``"digit"`` and ``"colour"``: the share of such words that are true of an object in the scene. ``"size"`` and
        ``"relation"``: the share that are true of the objects with the digits that are named; where there is no such
        object, the word is wrong. ``"binding"``: of the mentions with a colour, the share whose colour and digit belong
        to *one* object; ``"paired"``: the same of those whose digit is in the scene; ``"paired at random"``: what that
        would be if the colour were taken from one of the scene's objects. ``"found"``: the share of objects that are
        named with colour and digit, see `named`. A class of which no word was written has 0.
    """
    _per_scene("caption_facts", written, data)
    kinds = ("digit", "colour", "size", "relation", "binding", "paired", "paired at random")
    facts: dict[str, list[float]] = {name: [] for name in kinds}
    for sentence, things in zip(written, data.objects, strict=True):
        by_digit = {thing.digit: thing for thing in things}
        said = mentions(sentence)
        for m in said:
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
        for first, second in itertools.pairwise(said):
            between = " ".join(sentence.split()[first.places["digit"] + 1 : second.start])
            for stated in RELATIONS:
                if stated in between:
                    a, b = by_digit.get(first.digit), by_digit.get(second.digit)
                    facts["relation"].append(a is not None and b is not None and holds(stated, a, b))
    shares = {name: float(np.mean(values)) if values else 0.0 for name, values in facts.items()}
    return shares | {"found": float(named(written, data).mean())}


def named(written: Sequence[str], data: Scenes) -> NDArray[np.float64]:
    """The share of each scene's objects that its sentence names with the right colour and digit together, (n,)."""
    _per_scene("named", written, data)
    shares = []
    for sentence, things in zip(written, data.objects, strict=True):
        said = {(m.colour, m.digit) for m in mentions(sentence)}
        shares.append(np.mean([(thing.colour, thing.digit) in said for thing in things]))
    return np.array(shares)


class Pointing(NamedTuple):
    """How well attention points at what a class of words names.

    Attributes:
        hits: share of words at which the place with the most attention touches the object (the pointing game).
        mass: mean share of attention on the places that touch the object.
        chance: what both would be if attention were spread evenly or at random.
        words: how many words were looked at.
    """

    hits: float
    mass: float
    chance: float
    words: int


def pointing(written: Sequence[str], alpha: Tensor, data: Scenes) -> dict[str, Pointing]:
    """Whether attention is on the object that a word names, by class of word.

    A digit's or colour's word names the object of the scene that has it; a word for the size the object with the digit
    of its mention. Words that name nothing in the scene are left out: `caption_facts` counts them.

    Args:
        written: a sentence for each scene.
        alpha: the attention at each word, (n, T, L), L places in a square grid.
        data: the scenes.

    Returns:
        For ``"digit"``, ``"colour"`` and ``"size"``, those of which a word was written.

    Raises:
        ValueError: the shapes do not fit.
    """
    touch = _touched("pointing", written, alpha, data)
    looks = np.asarray(alpha.detach().cpu().double().numpy())
    seen: dict[str, list[tuple[bool, float, float]]] = {"digit": [], "colour": [], "size": []}
    for k, (sentence, things) in enumerate(zip(written, data.objects, strict=True)):
        for m in mentions(sentence):
            for kind, place in m.places.items():
                owner = [t.colour == m.colour if kind == "colour" else t.digit == m.digit for t in things]
                if any(owner):
                    on, look = touch[k, owner.index(True)], looks[k, place]
                    seen[kind].append((bool(on[look.argmax()]), float(look[on].sum()), float(on.mean())))
    points = {}
    for kind, rows in seen.items():
        if rows:
            hits, mass, chance = np.mean(rows, 0).tolist()
            points[kind] = Pointing(hits, mass, chance, len(rows))
    return points


def gaze(
    written: Sequence[str], alpha: Tensor, data: Scenes, around: int = 3, at: str = "digit"
) -> dict[str, NDArray[np.float64]]:
    """Where attention is around the moment at which a new object is named.

    Only objects after the first are counted, and only where both it and the one named before are in the scene.

    Args:
        written: a sentence for each scene.
        alpha: the attention at each word, (n, T, L).
        data: the scenes.
        around: words before and after moment 0.
        at: which word moment 0 is: the ``"digit"`` of the new object, or its ``"article"`` (without one, the first word
            about it).

    Returns:
        The mean share of attention on the object ``"named"`` and on the one ``"before"``, and by ``"chance"``, were
        attention spread evenly, on the object named; each (2 around + 1,), 0 at a moment outside of all sentences.

    Raises:
        ValueError: the shapes do not fit, no sentence names two objects of its scene, or there is no such word.
    """
    if at not in ("digit", "article"):
        raise ValueError(f"gaze: at must be 'digit' or 'article', got {at!r}")
    touch = _touched("gaze", written, alpha, data)
    looks = np.asarray(alpha.detach().cpu().double().numpy())
    rows = []
    for k, (sentence, things) in enumerate(zip(written, data.objects, strict=True)):
        digits, length = [thing.digit for thing in things], len(sentence.split())
        for first, second in itertools.pairwise(mentions(sentence)):
            moments = (second.places["digit"] if at == "digit" else second.start) + np.arange(-around, around + 1)
            if first.digit in digits and second.digit in digits and first.digit != second.digit:
                pair = [touch[k, digits.index(m.digit)] for m in (second, first)]
                inside = (moments >= 0) & (moments < length)
                row = np.zeros((4, len(moments)))
                even = np.full(inside.sum(), pair[0].mean())
                row[:, inside] = [*(looks[k, moments[inside]] @ on for on in pair), even, np.ones_like(even)]
                rows.append(row)
    if not rows:
        raise ValueError("gaze: no sentence names two objects of its scene")
    *sums, count = np.sum(rows, 0)
    return {name: x / np.maximum(count, 1) for name, x in zip(("named", "before", "chance"), sums, strict=True)}


def bleu(written: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4 of a corpus with several references (Papineni and others, 2002), in [0, 1].

    Counts of n-grams are clipped by the reference that has most of them, added up over the corpus, and punished for
    shortness against the reference length closest to each sentence (the first of two equally close). No smoothing.
    Words are separated by white space.

    Args:
        written: n sentences, each written by the model alone, without the true words before each word.
        references: the references of each.

    Raises:
        ValueError: the lengths differ, there is nothing, or a sentence has no reference.

    Examples:
        >>> [round(b, 3) for b in bleu(["a red seven"], [["a red seven at the left", "a red one"]])]
        [1.0, 1.0, 1.0, 0.0]
    """
    from torchmetrics.functional.text import bleu_score

    lists = all(len(r) and not isinstance(r, str) for r in references)
    if len(written) != len(references) or not len(written) or not lists:
        raise ValueError(
            f"bleu: each of the {len(written)} sentences needs a list of at least one reference, "
            f"got {len(references)} lists"
        )
    one, two, three, four = (bleu_score(written, references, n_gram=n).item() for n in (1, 2, 3, 4))
    return one, two, three, four


def write(
    model: nn.Module,
    data: MultimodalDataset,
    vocabulary: Vocabulary,
    decode: Callable[..., Any],
    length: int,
    batch_size: int = 256,
    **settings: Any,
) -> tuple[list[str], Tensor | None]:
    """A sentence for every example, written by the model alone.

    Args:
        model: a captioner.
        data: the pictures.
        vocabulary: of the words.
        decode: `mmtutor.captioning.greedy`, `sample` or `beam_search`.
        length: the most words, the end included.
        batch_size: how many pictures at a time.
        settings: others of ``decode``, such as ``beams``.

    Returns:
        The sentences, and the attention at each word (n, T, L) on the CPU, or None without attention.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    sentences, looks = [], []
    for batch in data.loader(batch_size):
        tokens, _, alpha = decode(model, {k: v.to(device) for k, v in batch.items()}, length, **settings)
        sentences += [vocabulary.decode(row) for row in tokens]
        if alpha is not None:
            looks.append(nn.functional.pad(alpha.cpu(), (0, 0, 0, length - alpha.shape[1])))
    return sentences, torch.cat(looks) if looks else None


def evenness(written: Sequence[str], alpha: Tensor, data: Scenes) -> float:
    """How evenly attention is shared out among the objects while a sentence is written.

    The attention on each object is added up over the words. The number is the least of these sums over their mean, for
    the scenes with at least two objects: 1 if all get the same, 0 if one gets nothing.

    Args:
        written: a sentence for each scene.
        alpha: the attention at each word, (n, T, L).
        data: the scenes.

    Raises:
        ValueError: the shapes do not fit, or no scene has two objects.
    """
    touch = _touched("evenness", written, alpha, data)
    looks = np.asarray(alpha.detach().cpu().double().numpy())
    shares = []
    for k, (sentence, things) in enumerate(zip(written, data.objects, strict=True)):
        if len(things) > 1:
            sums = looks[k, : len(sentence.split())].sum(0) @ touch[k, : len(things)].T
            shares.append(sums.min() / max(sums.mean(), 1e-12))
    if not shares:
        raise ValueError("evenness: no scene has two objects")
    return float(np.mean(shares))


def _per_scene(what: str, written: Sequence[str], data: Scenes) -> None:
    if isinstance(written, str) or len(written) != len(data):
        raise ValueError(f"{what}: written must be one sentence for each of the {len(data)} scenes, got {len(written)}")


def _touched(what: str, written: Sequence[str], alpha: Tensor, data: Scenes) -> NDArray[np.bool_]:
    """Which places of the grid touch which object, (n, objects, L)."""
    _per_scene(what, written, data)
    owner = data.tensors["owner_label"]
    side = round(alpha.shape[-1] ** 0.5) if alpha.ndim == 3 else 0
    longest = max(len(sentence.split()) for sentence in written)
    if not side or len(alpha) != len(data) or side**2 != alpha.shape[2] or owner.shape[1] % side:
        raise ValueError(
            f"{what}: alpha must be (n, T, L) with n = {len(data)} and L places in a square grid that divides "
            f"{owner.shape[1]} pixels, got {tuple(alpha.shape)}"
        )
    if alpha.shape[1] < longest:
        raise ValueError(f"{what}: alpha has {alpha.shape[1]} words, a sentence has {longest}")
    cell = owner.shape[1] // side
    cells = owner.view(len(owner), side, cell, side, cell).transpose(2, 3).flatten(3).flatten(1, 2)  # (n, L, pixels)
    most = data.tensors["digit_label"].shape[1]
    return np.stack([(cells == k).any(2).numpy() for k in range(most)], 1)
