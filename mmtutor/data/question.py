"""Questions about scenes, with answers that are known by program.

| kind | such as | answers |
| --- | --- | --- |
| ``"colour"`` | what colour is the seven | a colour |
| ``"digit"`` | which digit is red | a digit |
| ``"there"`` | is there a seven | yes, no |
| ``"bound"`` | is the red digit a seven | yes, no |
| ``"count"`` | how many big digits are there | a digit |
| ``"greater"`` | is the red digit more than the blue digit | yes, no |
| ``"sum"`` | what is the last digit of the sum of the red and the blue digit | a digit |
| ``"place"`` | is the seven left of the three | yes, no |
| ``"beside"`` | what colour is the digit left of the seven | a colour |

A question is asked only of a scene that answers it: of what is not there nothing is asked (but whether it is there),
and a place must be clear (`mmtutor.data.scene.relation`). ``"bound"`` asks only where both the colour and the digit are
there. ``"beside"`` asks only where no other object could be meant.

**First the question, then the answer, then the scene.** An example draws a kind, a question of it, a number of objects
(not for ``"count"``), an answer, and one of the scenes with so many objects of which that answer is true. So the number
of objects says nothing about yes or no, p(answer | question) is known, and with it how often the question alone can be
answered rightly at best. By default the answers of a question are equally probable, *balanced*; VQA v2 was made more
balanced by pairs of pictures with different answers to one question (Goyal and others, 2017, arXiv:1612.00837). With
``bias`` each question has a *usual* answer. Trained on a biased set and tested on a balanced one, a model shows whether
it looks. (In VQA-CP the test has other usual answers; Agrawal and others, 2018, arXiv:1712.00377.)
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dataset import MultimodalDataset, take
from .items import MOST_EXAMPLES, whole
from .scene import COLOURS, RELATIONS, Scenes, Thing, holds, relation
from .vocabulary import Vocabulary
from .word import WORDS

KINDS = ("colour", "digit", "there", "bound", "count", "greater", "sum", "place", "beside")
ANSWERS = ("yes", "no", *WORDS, *COLOURS)

_WORDINGS = {
    "colour": ("what colour is the {0}", "which colour does the {0} have", "the {0} is of which colour"),
    "digit": ("which digit is {0}", "what is the {0} digit", "the {0} digit is which"),
    "there": ("is there {a0}", "does it show {a0}", "can you see {a0}"),
    "bound": ("is the {0} digit {a1}", "is the {1} {0}", "does the {1} have the colour {0}"),
    "count": ("how many {0} digits are there", "what is the number of {0} digits", "count the {0} digits"),
    "greater": (
        "is the {0} digit more than the {1} digit",
        "does the {0} digit exceed the {1} digit",
        "is the {1} digit less than the {0} digit",
    ),
    "sum": (
        "what is the last digit of the sum of the {0} and the {1} digit",
        "the {0} digit plus the {1} digit ends in which digit",
        "add the {0} digit to the {1} digit what is the last digit",
    ),
    "place": ("is the {0} {1} the {2}", "does the {0} lie {1} the {2}", "can you see the {0} {1} the {2}"),
    "beside": (
        "what colour is the digit {0} the {1}",
        "which colour does the digit {0} the {1} have",
        "the digit {0} the {1} is of which colour",
    ),
}
_ARGUMENTS: dict[str, list[tuple[str, ...]]] = {
    "colour": [(digit,) for digit in WORDS],
    "digit": [(colour,) for colour in COLOURS],
    "there": [(digit,) for digit in WORDS],
    "bound": list(product(COLOURS, WORDS)),
    "count": [("",), ("big",), ("small",)],
    "greater": list(permutations(COLOURS, 2)),
    "sum": [(a, b) for a, b in permutations(COLOURS, 2) if a < b],
    "place": [(a, r, b) for a, b in permutations(WORDS, 2) for r in RELATIONS],
    "beside": list(product(RELATIONS, WORDS)),
}
_POSSIBLE: dict[str, Sequence[str]] = {
    **dict.fromkeys(("there", "bound", "greater", "place"), ANSWERS[:2]),
    **dict.fromkeys(("colour", "beside"), tuple(COLOURS)),
    **dict.fromkeys(("digit", "sum"), WORDS),
    "count": WORDS[:5],
}


@dataclass(frozen=True)
class Question:
    """What is asked, apart from its wording.

    Attributes:
        kind: one of ``KINDS``.
        arguments: the words that it asks about: ``("red", "seven")`` of ``"bound"``.
    """

    kind: str
    arguments: tuple[str, ...]

    @property
    def wordings(self) -> tuple[str, ...]:
        """Three ways to ask it, words with a space between them."""
        articles = {f"a{k}": f"{'an' if word == 'eight' else 'a'} {word}" for k, word in enumerate(self.arguments)}
        texts = (text.format(*self.arguments, **articles) for text in _WORDINGS[self.kind])
        return tuple(" ".join(text.split()) for text in texts)

    def usual(self, possible: Collection[str]) -> str:
        """The answer that is the usual one of a biased set: any of the possible ones, but always the same of these."""
        all_answers = _POSSIBLE[self.kind]
        first = zlib.crc32(" ".join((self.kind, *self.arguments)).encode()) % len(all_answers)
        return next(answer for answer in (*all_answers[first:], *all_answers[:first]) if answer in possible)


def answers(things: Sequence[Thing]) -> dict[Question, tuple[str, tuple[int, ...]]]:
    """All questions that a scene answers, each with its answer and the objects that it is about.

    Args:
        things: the objects of a scene, no two of one colour or of one digit.

    Examples:
        >>> here = answers([Thing(7, "red", "big", (2, 2, 20, 28)), Thing(3, "blue", "small", (40, 4, 50, 20))])
        >>> here[Question("sum", ("blue", "red"))]
        ('zero', (1, 0))
        >>> here[Question("place", ("three", "right of", "seven"))]
        ('yes', (1, 0))
        >>> Question("colour", ("two",)) in here
        False
    """
    of_colour = {thing.colour: k for k, thing in enumerate(things)}
    of_digit = {WORDS[thing.digit]: k for k, thing in enumerate(things)}
    if len(of_colour) < len(things) or len(of_digit) < len(things):
        raise ValueError("answers: two objects of a scene have the same colour or the same digit")
    found: dict[Question, tuple[str, tuple[int, ...]]] = {}

    def put(kind: str, arguments: tuple[str, ...], answer: str | bool, *about: int) -> None:
        said = answer if isinstance(answer, str) else ANSWERS[not answer]
        found[Question(kind, arguments)] = (said, about)

    for digit, k in of_digit.items():
        put("colour", (digit,), things[k].colour, k)
    for colour, k in of_colour.items():
        put("digit", (colour,), WORDS[things[k].digit], k)
    for digit in WORDS:
        put("there", (digit,), digit in of_digit, *([of_digit[digit]] if digit in of_digit else []))
    for (colour, i), (digit, k) in product(of_colour.items(), of_digit.items()):
        put("bound", (colour, digit), i == k, *dict.fromkeys((i, k)))
    for (size,) in _ARGUMENTS["count"]:
        counted = [k for k, thing in enumerate(things) if size in ("", thing.size)]
        put("count", (size,), WORDS[len(counted)], *counted)
    for (a, i), (b, k) in permutations(of_colour.items(), 2):
        put("greater", (a, b), things[i].digit > things[k].digit, i, k)
        if a < b:
            put("sum", (a, b), WORDS[(things[i].digit + things[k].digit) % 10], i, k)
    for (a, i), (b, k) in permutations(of_digit.items(), 2):
        if (clear := relation(things[i], things[k])) is not None:
            for stated in RELATIONS:
                put("place", (a, stated, b), stated == clear, i, k)
    for stated, (digit, k) in product(RELATIONS, of_digit.items()):
        there = [i for i, thing in enumerate(things) if i != k and holds(stated, thing, things[k])]
        if len(there) == 1 and relation(things[there[0]], things[k]) == stated:
            put("beside", (stated, digit), things[there[0]].colour, there[0], k)
    return found


Cell = tuple[str, float, list[int]]  # an answer, its probability, the rows of the scenes that have it


class Questions(MultimodalDataset):
    """Questions about scenes: each example is a scene and a question about it.

    Examples have what the scenes have, and ``"question"`` int64 (T,), padded to the longest question of the kinds that
    are asked, ``"label"`` int64 (), an index into ``ANSWERS``, ``"kind_label"`` int64 (), an index into ``KINDS``,
    ``"asked_label"`` bool (most,), the objects that the question is about, and ``"scene_label"`` int64 (), the row of
    the scene.

    Attributes:
        asked: the question of each example.
        texts: as it is worded.
        cells: of each question how an example is drawn: an answer, its probability, and the rows of the scenes of which
            one is drawn; exact. An answer has a cell for each number of objects.
    """

    def __init__(
        self,
        pictures: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        asked: Sequence[Question],
        texts: Sequence[str],
        cells: Mapping[Question, Sequence[Cell]],
    ) -> None:
        super().__init__(pictures)
        if both := [name for name in pictures if name in own]:
            raise ValueError(f"Questions: {both[0]!r} is a name of the questions; give that of the scenes another one")
        self.tensors = {**pictures, **own}
        self.asked, self.texts, self.cells = list(asked), list(texts), dict(cells)
        self._pictures, self.scenes = tuple(pictures), len(next(iter(pictures.values())))

    @property
    def prior(self) -> dict[Question, dict[str, float]]:
        """p(answer | question), by question and answer; exact."""
        prior: dict[Question, dict[str, float]] = {}
        for question, cells in self.cells.items():
            of = prior.setdefault(question, {})
            for answer, p, _ in cells:
                of[answer] = of.get(answer, 0.0) + p
        return prior

    def __len__(self) -> int:
        return len(self.tensors["scene_label"])

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> dict[str, Tensor]:
        index = list(index) if isinstance(index, tuple) else index
        scene = take(self.tensors["scene_label"], index)
        return {
            name: take(value, scene) if name in self._pictures else take(value, index)
            for name, value in self.tensors.items()
        }

    def showing(self, pictures: Mapping[str, Tensor]) -> Questions:
        """The same questions, with other tensors for the scenes, such as ``{"regions": …}`` of an image encoder.

        Args:
            pictures: each with a row for every scene.

        Raises:
            TypeError: pictures is no dict of tensors.
            ValueError: a tensor has not as many rows as there are scenes, or a name of the questions.
        """
        for name, value in MultimodalDataset(pictures).tensors.items():
            if len(value) != self.scenes:
                raise ValueError(f"Questions.showing: {name!r} must have a row for each of {self.scenes} scenes")
        own = {name: value for name, value in self.tensors.items() if name not in self._pictures}
        return Questions(pictures, own, self.asked, self.texts, self.cells)


_TEXTS = {kind: [text for words in of for text in Question(kind, words).wordings] for kind, of in _ARGUMENTS.items()}
VOCABULARY = Vocabulary.from_captions(text for kind in KINDS for text in _TEXTS[kind])


def questions(
    data: Scenes,
    *,
    n: int = 1000,
    seed: int = 0,
    kinds: Collection[str] = KINDS,
    bias: float | None = None,
    progress: bool = True,
) -> Questions:
    """Questions about scenes; example k depends on the scenes, ``seed`` and k alone, not on ``n``.

    A question of which only one answer is true in these scenes is not asked. So to ask for a pair that was never
    trained, the test scenes must be some that show it and some that do not.

    Args:
        data: the scenes; those of training and of testing are made by `scenes`.
        n: how many questions, at least 1.
        seed: of everything drawn at random, at least 0.
        kinds: of questions, each drawn equally often.
        bias: how probable the usual answer of a question is, above 0 and below 1; the others share the rest. None: all
            answers of a question are equally probable.
        progress: show a bar when making takes longer than two seconds.

    Raises:
        TypeError: data are no scenes.
        ValueError: a number out of range, an unknown kind, or a kind that these scenes have no question of.

    Examples:
        >>> from mmtutor.data import scenes
        >>> asked = questions(scenes("train", n=200, progress=False), n=3, kinds=("there",))
        >>> asked.texts[0], ANSWERS[asked[0]["label"]]
        ('does it show a two', 'no')
        >>> question_alone(asked)
        {'there': 0.5}
    """
    from .progress import tqdm

    if not isinstance(data, Scenes):
        raise TypeError(f"questions: data must be scenes, got {type(data).__name__}")
    n, seed = whole("questions", "n", n, 1, MOST_EXAMPLES), whole("questions", "seed", seed, 0)
    chosen = _kinds(kinds)
    if bias is not None and not (isinstance(bias, Real) and 0 < bias < 1):
        raise ValueError(f"questions: bias must be a probability above 0 and below 1, or None, got {bias!r}")

    here_is = [answers(things) for things in data.objects]
    true: dict[Question, dict[int, dict[str, list[int]]]] = {}  # question, number of objects and answer to scenes
    for row, here in enumerate(here_is):
        for question, (answer, _) in here.items():
            if question.kind in chosen:
                many = 0 if question.kind == "count" else len(data.objects[row])
                true.setdefault(question, {}).setdefault(many, {}).setdefault(answer, []).append(row)
    cells = {question: found for question, of in true.items() if (found := _cells(question, of, bias))}
    of_kind = {kind: sorted((q for q in cells if q.kind == kind), key=lambda q: q.arguments) for kind in chosen}
    for kind, there in of_kind.items():
        if not there:
            raise ValueError(
                f"questions: in these scenes no question of kind {kind!r} has two answers; make more scenes, or scenes "
                "of more objects"
            )

    most = data.tensors["digit_label"].shape[1]
    of_scenes = zlib.crc32(data.tensors["box_label"].cpu().numpy().tobytes())  # other scenes are asked other questions
    rows, texts, asked, labels = [], [], [], []
    about = torch.zeros(n, most, dtype=torch.bool)
    for k in tqdm(range(n), "asking questions", leave=False, delay=2, disable=not progress):
        rng = np.random.default_rng([seed, of_scenes, k])
        kind = chosen[rng.integers(len(chosen))]
        question = of_kind[kind][rng.integers(len(of_kind[kind]))]
        answer, _, fit = cells[question][rng.choice(len(cells[question]), p=[p for _, p, _ in cells[question]])]
        row = fit[rng.integers(len(fit))]
        about[k, list(here_is[row][question][1])] = True
        asked.append(question)
        texts.append(question.wordings[rng.integers(3)])
        rows.append(row)
        labels.append((ANSWERS.index(answer), KINDS.index(kind)))
    longest = 2 + max(len(text.split()) for kind in chosen for text in _TEXTS[kind])  # with start and end
    own = {
        "question": torch.stack([VOCABULARY.encode(text, longest) for text in texts]),
        "label": torch.tensor([answer for answer, _ in labels]),
        "kind_label": torch.tensor([kind for _, kind in labels]),
        "asked_label": about,
        "scene_label": torch.tensor(rows),
    }
    return Questions(data.tensors, own, asked, texts, cells)


def question_alone(train: Questions, test: Questions | None = None) -> dict[str, float]:
    """How often the question alone can be answered rightly, by kind, if the answers are guessed as in ``train``: exact.

    Args:
        train: where p(answer | question) is from; of equally probable answers any is guessed, and of a question that is
            not asked there any answer that it has in ``test``.
        test: where the questions are asked; None: of the same p(answer | question).
    """
    known, asked = train.prior, (train if test is None else test).prior
    right: dict[str, list[float]] = {}
    for question, of in asked.items():
        guess = known.get(question, dict.fromkeys(of, 1.0))
        likely = max(guess.values())
        guesses = [of.get(answer, 0.0) for answer, p in guess.items() if p > likely - 1e-12]
        right.setdefault(question.kind, []).append(float(np.mean(guesses)))
    return {kind: float(np.mean(right[kind])) for kind in KINDS if kind in right}


def picture_alone(asked: Questions) -> dict[str, float]:
    """How often the picture alone can be answered rightly, by kind, by one who knows all of it: exact for these scenes.

    It knows the kind, which questions may be asked of the picture, and how probable each is, but not which one is
    asked. The fewer scenes, the more of that is peculiar to them.
    """
    weights: dict[str, NDArray[np.float64]] = {}  # kind to p(scene, answer)
    for question, cells in asked.cells.items():
        weight = weights.setdefault(question.kind, np.zeros((asked.scenes, len(ANSWERS))))
        for answer, p, rows in cells:
            weight[rows, ANSWERS.index(answer)] += p / len(rows)
    return {kind: float(weights[kind].max(1).sum() / weights[kind].sum()) for kind in KINDS if kind in weights}


def _cells(question: Question, of: Mapping[int, Mapping[str, list[int]]], bias: float | None) -> list[Cell]:
    """How examples of a question are drawn: for each number of objects at which it has two answers, each of these."""
    groups = [dict(sorted(of[many].items())) for many in sorted(of) if len(of[many]) > 1]
    cells = []
    for group in groups:
        usual, rest = question.usual(group), len(group) - 1
        for answer, rows in group.items():
            p = 1 / (rest + 1) if bias is None else bias if answer == usual else (1 - bias) / rest
            cells.append((answer, p / len(groups), rows))
    return cells


def _kinds(kinds: Collection[str]) -> list[str]:
    """The kinds in their order, checked."""
    named = {kinds} if isinstance(kinds, str) else set(kinds) if isinstance(kinds, Collection) else set()
    if not named or not named <= set(KINDS):
        raise ValueError(f"questions: kinds must be some of {', '.join(KINDS)}, got {kinds!r}")
    return [kind for kind in KINDS if kind in named]
