"""Questions about scenes: the answers by an interpreter of the words alone, and what is known of one modality."""

import re
import sys
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from mmtutor.data import COLOURS, Vocabulary, scenes
from mmtutor.data.question import (
    ANSWERS,
    KINDS,
    VOCABULARY,
    Question,
    answers,
    picture_alone,
    question_alone,
    questions,
)
from mmtutor.data.scene import Thing
from mmtutor.data.word import WORDS

question_module = sys.modules["mmtutor.data.question"]
PLACES = r"(left of|right of|above|below)"
# What is asked, by its words. {c} is a colour, {d} a digit, {p} a place.
ASKS = {
    r"what colour is the {d}|which colour does the {d} have|the {d} is of which colour": "colour",
    r"which digit is {c}|what is the {c} digit|the {c} digit is which": "digit",
    r"(?:is there|does it show|can you see) an? {d}": "there",
    r"is the {c} digit an? {d}": "bound",
    r"is the {d} {c}|does the {d} have the colour {c}": "bound, the digit first",
    r"(?:how many|what is the number of|count the)(?: (big|small))? digits(?: are there)?": "count",
    r"is the {c} digit more than the {c} digit|does the {c} digit exceed the {c} digit": "greater",
    r"is the {c} digit less than the {c} digit": "less",
    r"what is the last digit of the sum of the {c} and the {c} digit|"
    r"the {c} digit plus the {c} digit ends in which digit|"
    r"add the {c} digit to the {c} digit what is the last digit": "sum",
    r"(?:is|can you see|does) the {d}(?: lie)? {p} the {d}": "place",
    r"what colour is the digit {p} the {d}|which colour does the digit {p} the {d} have|"
    r"the digit {p} the {d} is of which colour": "beside",
}
PATTERNS = {
    re.compile(
        pattern.replace("{c}", f"({'|'.join(COLOURS)})").replace("{d}", f"({'|'.join(WORDS)})").replace("{p}", PLACES)
    ): kind
    for pattern, kind in ASKS.items()
}


def interpreted(text, scene):
    """The answer of a sentence, from the labels of a scene, or None: it cannot be answered."""
    ((kind, words),) = [
        (kind, [word for word in match.groups() if word])
        for p, kind in PATTERNS.items()
        if (match := p.fullmatch(text))
    ]
    there = range(int((scene["digit_label"] >= 0).sum()))
    digit = {WORDS[scene["digit_label"][k]]: k for k in there}
    colour = {list(COLOURS)[scene["colour_label"][k]]: k for k in there}
    name = {k: word for word, k in digit.items()}
    shade = {k: word for word, k in colour.items()}

    def apart(i, k):
        boxes = (scene["box_label"][j].double() for j in (i, k))
        (x, y), (u, v) = ((box[:2] + box[2:]) / 2 for box in boxes)
        return float(x - u), float(y - v)

    def is_at(place, i, k):  # None: along the diagonal
        across, down = apart(i, k)
        wide, high = abs(across) >= 1.3 * abs(down), abs(down) >= 1.3 * abs(across)
        if wide == high:
            return None
        return place == (("left of", "right of")[across > 0] if wide else ("above", "below")[down > 0])

    def may_be_at(place, i, k):  # on that side, if along the diagonal
        across, down = apart(i, k)
        side = {"left of": across < 0, "right of": across > 0, "above": down < 0, "below": down > 0}[place]
        return side if is_at(place, i, k) is None else is_at(place, i, k)

    yes = {True: "yes", False: "no", None: None}
    if kind == "there":
        return yes[words[0] in digit]
    if kind == "count":
        size = {"big": 1, "small": 0}.get(words[0]) if words else None
        return WORDS[sum(size in (None, int(scene["big_label"][k])) for k in there)]
    needed = [word for word in words if word in (*WORDS, *COLOURS)]
    if any(word not in digit and word not in colour for word in needed):
        return None
    if kind == "colour":
        return shade[digit[words[0]]]
    if kind == "digit":
        return name[colour[words[0]]]
    if kind.startswith("bound"):
        (d,), (c,) = [w for w in words if w in digit], [w for w in words if w in colour]
        return yes[digit[d] == colour[c]]
    if kind in ("greater", "less", "sum"):
        a, b = (int(scene["digit_label"][colour[word]]) for word in words)
        return WORDS[(a + b) % 10] if kind == "sum" else yes[a > b if kind == "greater" else a < b]
    if kind == "place":
        return yes[is_at(words[1], digit[words[0]], digit[words[2]])]
    beside = [i for i in there if i != digit[words[1]] and may_be_at(words[0], i, digit[words[1]])]
    return shade[beside[0]] if len(beside) == 1 and is_at(words[0], beside[0], digit[words[1]]) else None


@pytest.fixture(scope="module")
def world():
    return scenes("valid", n=1000, seed=3, objects=(1, 4), progress=False)


def test_every_wording_is_answered_as_an_interpreter_of_its_words_does(world):
    """A thousand scenes: no disagreement, and of thirty scenes nothing that can be asked is left out."""
    checked = Counter()
    for row, things in enumerate(world.objects):
        scene, here = {name: x[row] for name, x in world.tensors.items() if name != "scene"}, answers(things)
        for k, (question, (answer, about)) in enumerate(here.items()):
            assert interpreted(question.wordings[(row + k) % 3], scene) == answer, (row, question)
            assert set(about) <= set(range(len(things)))
            checked[question.kind] += 1
        if row < 30:
            every = {Question(kind, words) for kind, of in question_module._ARGUMENTS.items() for words in of}
            assert len(every) == 595
            for question in every - here.keys():
                assert interpreted(question.wordings[row % 3], scene) is None, question
    assert min(checked[kind] for kind in KINDS) > 1000
    assert sum(checked.values()) > 40_000


def test_an_example_has_the_answer_of_its_scene(world):
    asked = questions(world, n=600)
    for k in range(600):
        example = asked[k]
        assert interpreted(asked.texts[k], example) == ANSWERS[example["label"]]
        assert VOCABULARY.decode(example["question"]) == asked.texts[k]
        assert KINDS[example["kind_label"]] == asked.asked[k].kind
        about = answers(world.objects[example["scene_label"]])[asked.asked[k]][1]
        assert example["asked_label"].nonzero().flatten().tolist() == sorted(about)
    batch = asked[[3, 1, 4]]
    for name, value in batch.items():
        assert torch.equal(value, torch.stack([asked[k][name] for k in (3, 1, 4)])), name
    assert all(torch.equal(value, asked[(3, 1, 4)][name]) for name, value in batch.items())
    assert len(asked) == 600
    for kinds in (KINDS, ("there",), ("count", "bound")):
        every = (Question(k, words) for k in kinds for words in question_module._ARGUMENTS[k])
        longest = max(len(text.split()) for question in every for text in question.wordings)
        asked = questions(world, n=2, kinds=kinds)  # with start and end
        assert asked.tensors["question"].shape == (2, longest + 2)


def commonest(train, test):
    """Of each kind the share that a table of the commonest answer to each question gets right, and how many."""
    counts = {}
    for question, label in zip(train.asked, train.tensors["label"].tolist(), strict=True):
        counts.setdefault(question, Counter())[label] += 1
    right = {}
    for question, label in zip(test.asked, test.tensors["label"].tolist(), strict=True):
        if question in counts:
            right.setdefault(question.kind, []).append(counts[question].most_common(1)[0][0] == label)
    return {kind: (np.mean(of), len(of)) for kind, of in right.items()}


@pytest.mark.parametrize("bias", [None, 0.7])
def test_the_question_alone_is_right_as_often_as_its_answers_say(world, bias):
    """A table of the commonest answer to each question, filled with other questions about other scenes."""
    other = scenes("train", n=1000, seed=3, objects=(1, 4), progress=False)
    kinds = ("colour", "there", "count", "greater")
    train, test = questions(other, n=6000, bias=bias, kinds=kinds), questions(world, n=3000, bias=bias, kinds=kinds)
    exact = question_alone(train, test)
    if bias:
        assert all(value == pytest.approx(0.7) for value in exact.values())
    else:
        count = np.mean([1 / 4, 1 / 5, 1 / 5])  # there are one to four digits, and none to four big or small ones
        assert exact == pytest.approx({"colour": 1 / 8, "there": 1 / 2, "count": count, "greater": 1 / 2}, abs=0.01)
    for kind, (right, n) in commonest(train, test).items():
        assert right == pytest.approx(exact[kind], abs=4 * np.sqrt(0.25 / n)), kind
    if bias:  # what is usual there is of no use where all answers are equally probable
        balanced = questions(world, n=10, kinds=("there", "greater"))
        assert question_alone(train, balanced) == pytest.approx({"there": 0.5, "greater": 0.5})


def test_other_scenes_are_asked_other_questions(world):
    other = scenes("train", n=1000, seed=3, objects=(1, 4), progress=False)
    a, b = questions(world, n=500), questions(other, n=500)
    assert np.mean([x == y for x, y in zip(a.asked, b.asked, strict=True)]) < 0.1


def test_the_number_of_objects_says_nothing_about_yes_or_no(world):
    asked = questions(world, n=10, kinds=("there", "bound", "greater", "place"))
    together = {}  # p(number of objects, answer), exact
    for cells in asked.cells.values():
        for answer, p, rows in cells:
            (many,) = {len(world.objects[row]) for row in rows}
            together[many, answer] = together.get((many, answer), 0.0) + p / len(asked.cells)
    assert {many for many, _ in together} == {1, 2, 3, 4}
    for many in range(1, 5):
        assert together[many, "yes"] == pytest.approx(together[many, "no"])


def test_the_picture_alone_by_enumeration_of_all_that_may_be_drawn():
    world = scenes("train", n=60, objects=(2, 3), progress=False)
    asked = questions(world, n=10, kinds=("colour", "there"), bias=0.6)
    here = [answers(things) for things in world.objects]
    for kind in ("colour", "there"):
        joint = torch.zeros(60, len(ANSWERS), dtype=torch.float64)  # p(scene, answer)
        of_kind = [q for q in asked.cells if q.kind == kind]
        for question in of_kind:
            said = {row: found[question][0] for row, found in enumerate(here) if question in found}
            groups = {m: {row: a for row, a in said.items() if len(world.objects[row]) == m} for m in (2, 3)}
            groups = {m: group for m, group in groups.items() if len(set(group.values())) > 1}
            for group in groups.values():
                usual = question.usual(set(group.values()))
                for row, answer in group.items():
                    rest = (1 - 0.6) / (len(set(group.values())) - 1)
                    p = (0.6 if answer == usual else rest) / [*group.values()].count(answer)
                    joint[row, ANSWERS.index(answer)] += p / len(groups) / len(of_kind)
        assert joint.sum() == pytest.approx(1)
        assert picture_alone(asked)[kind] == pytest.approx(float(joint.max(1).values.sum()), abs=1e-12)


def test_without_its_usual_answer_a_question_has_another(world):
    one = questions(scenes("train", n=80, objects=(3, 3), progress=False), n=10, bias=0.9)
    assert all(max(of.values()) == pytest.approx(0.9) for of in one.prior.values())


def test_the_usual_answers_are_spread_over_all_answers():
    usual = Counter(Question("bound", (c, d)).usual(("yes", "no")) for c in COLOURS for d in WORDS)
    assert 25 < usual["yes"] < 55
    assert len({Question("colour", (d,)).usual(COLOURS) for d in WORDS}) > 3


def test_an_example_depends_on_the_seed_and_its_number_alone(world):
    few, many, other = questions(world, n=20), questions(world, n=60), questions(world, n=20, seed=1)
    assert few.texts == many.texts[:20] != other.texts
    assert torch.equal(few.tensors["scene_label"], many.tensors["scene_label"][:20])
    assert len(set(questions(world, n=400).tensors["scene_label"].tolist())) > 250


def test_pairs_that_are_never_shown_are_not_asked_for():
    asked = questions(scenes("train", n=600, never=[("red", 7)], progress=False), n=10, kinds=("bound",))
    assert Question("bound", ("red", "seven")) not in asked.prior  # only "no" would be true
    assert Question("bound", ("red", "two")) in asked.prior


def test_other_pictures_of_the_same_scenes(world):
    asked = questions(world, n=30)
    regions = torch.rand(1000, 4, 3)
    shown = asked.showing({"regions": regions})
    assert set(shown[0]) == {"regions", "question", "label", "kind_label", "asked_label", "scene_label"}
    assert torch.equal(shown[[5, 6]]["regions"], regions[asked.tensors["scene_label"][5:7]])
    assert shown.modalities == ("regions", "question")
    for wrong, error, message in (
        (
            {"regions": regions[:9]},
            ValueError,
            r"showing: 'regions' must have a row for each of 1000 scenes",
        ),
        ({"question": regions}, ValueError, "Questions: 'question' is a name of the questions"),
        ({"regions": [1]}, TypeError, "'regions' must be a torch.Tensor"),
        (regions, TypeError, "tensors must be a dict of tensors"),
    ):
        with pytest.raises(error, match=message):
            asked.showing(wrong)


def test_scenes_with_captions_keep_what_their_words_refer_to(world):
    some = scenes("train", n=60, progress=False)
    some = some.tokenised(Vocabulary.from_captions(c for three in some.captions for c in three))
    asked = questions(some, n=90)
    for k in (0, 50, 89):
        assert torch.equal(asked[k]["about_label"], some[int(asked[k]["scene_label"])]["about_label"])


def test_bad_input_is_refused(world):
    with pytest.raises(TypeError, match=r"^questions: data must be scenes, got list"):
        questions([1])
    for wrong, message in (
        ({"n": 0}, "n must be a whole number"),
        ({"seed": -1}, "seed must be"),
        ({"bias": 1.0}, "bias must be a probability above 0 and below 1, or None, got 1.0"),
        ({"bias": "much"}, "bias must be"),
        ({"kinds": ("colours",)}, r"kinds must be some of colour, .*, got \('colours',\)"),
        ({"kinds": ()}, "kinds must be some of"),
        ({"kinds": None}, "kinds must be some of"),
    ):
        with pytest.raises(ValueError, match=f"^questions: {message}"):
            questions(world, **wrong)
    one = scenes("train", n=5, objects=(1, 1), progress=False)
    with pytest.raises(
        ValueError,
        match=r"^questions: in these scenes no question of kind 'greater' has two",
    ):
        questions(one, kinds="greater")
    a, b = (Thing(1, colour, "big", (2, 2, 9, 9)) for colour in ("red", "blue"))
    with pytest.raises(ValueError, match=r"^answers: two objects of a scene have the same"):
        answers([a, b])


def test_places_and_their_reverse_agree(world):
    back = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for things in world.objects[:200]:
        here = answers(things)
        for a, b in permutations(things, 2):
            for place, reverse in back.items():
                one = Question("place", (WORDS[a.digit], place, WORDS[b.digit]))
                other = Question("place", (WORDS[b.digit], reverse, WORDS[a.digit]))
                assert here.get(one, ("",))[0] == here.get(other, ("",))[0]
