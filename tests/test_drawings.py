"""Small pictures of one digit with a sentence: sentences say what is shown, wrong ones differ in one word."""

import numpy as np
import pytest
import torch

from mmtutor.data import COLOURS, Items, drawings
from mmtutor.data.drawing import VOCABULARY, sentence
from mmtutor.data.word import WORDS

NEVER = [("red", 7), ("green", 2)]


def facts(numbers):
    """Colour and digit that encoded sentences name."""
    said = [VOCABULARY.decode(row).split() for row in numbers]
    colours, digits = list(COLOURS), list(WORDS)
    return [tuple(next(names.index(w) for w in words if w in names) for names in (colours, digits)) for words in said]


def test_sentences_say_what_is_shown():
    data = drawings("train", n=300, never=NEVER, progress=False)
    t = data.tensors
    shown = list(zip(t["colour_label"].tolist(), t["digit_label"].tolist(), strict=True))
    assert facts(t["sentence"]) == shown
    assert (t["said_label"] == t["digit_label"]).all()
    assert [VOCABULARY.decode(row) for row in t["sentence"]] == data.texts
    assert not {(list(COLOURS)[c], d) for c, d in shown} & {*NEVER}


def test_a_wrong_sentence_differs_in_one_word():
    t = drawings("train", n=300, never=NEVER, progress=False).tensors
    right, wrong = facts(t["sentence"]), facts(t["wrong_sentence"])
    assert all((a == c) != (b == d) for (a, b), (c, d) in zip(right, wrong, strict=True))
    assert not {(list(COLOURS)[c], d) for c, d in wrong} & {*NEVER}


def test_the_picture_has_the_colour_and_the_ink():
    """A source of full squares: the ink covers the picture, and noise is all that is between it and the colour."""
    data = drawings("test", n=20, source=lambda split: Items(
        np.full((10, 1, 28, 28), 255, np.uint8), np.arange(10)), progress=False)  # fmt: skip
    colour = torch.tensor(list(COLOURS.values()))[data.tensors["colour_label"]]
    assert (data.tensors["picture"].mean((2, 3)) - colour).abs().max() < 0.01
    empty = drawings("test", n=200, source=lambda split: Items(
        np.zeros((10, 1, 28, 28), np.uint8), np.arange(10)), progress=False)  # fmt: skip
    ground = empty.tensors["picture"].mean((1, 2, 3))
    assert 0.04 < ground.min() < 0.08
    assert 0.22 < ground.max() < 0.26


def test_wrong_sentences_are_as_frequent_as_asked():
    t = drawings("train", n=1000, wrong=0.3, never=NEVER, progress=False).tensors
    share = (t["said_label"] != t["digit_label"]).double().mean().item()
    assert share == pytest.approx(0.3, abs=0.05)
    assert [digit for _, digit in facts(t["sentence"])] == t["said_label"].tolist()
    assert not {(list(COLOURS)[c], d) for c, d in facts(t["sentence"])} & {*NEVER}


def test_a_picture_does_not_depend_on_how_many_there_are():
    few, many = (drawings("valid", n=n, seed=3, progress=False).tensors for n in (5, 9))
    for name, value in few.items():
        assert torch.equal(value, many[name][:5])
    other = drawings("valid", n=5, seed=4, progress=False).tensors["picture"]
    assert not torch.equal(few["picture"], other)


def test_colours_and_digits_are_independent_and_even():
    t = drawings("train", n=4000, progress=False).tensors
    table = torch.zeros(8, 10)
    table.index_put_((t["colour_label"], t["digit_label"]), torch.ones(4000), accumulate=True)
    assert ((table - 50).square() / 50).sum() < 79 + 4 * (2 * 79) ** 0.5  # χ² of 79 degrees of freedom


def test_bad_input_is_refused():
    for settings, error, message in (
        ({"n": 0}, ValueError, "n must be a whole number"),
        ({"never": [("pink", 2)]}, ValueError, "never must hold pairs of a colour"),
        ({"never": [3]}, ValueError, "never must hold pairs of a colour"),
        ({"never": [("red", d) for d in range(9)]}, ValueError, "at least two digits of each colour"),
        ({"wrong": 2}, ValueError, "wrong must be a number from 0 to 1"),
        ({"wrong": True}, ValueError, "wrong must be a number from 0 to 1"),
        ({"source": 3}, TypeError, "source must be a function of the split"),
        ({"source": lambda split: Items(np.zeros((10, 3, 28, 28)), np.arange(10))}, ValueError, r"\(N, 1, H, H\)"),
    ):
        with pytest.raises(error, match=message):
            drawings("train", progress=False, **settings)
    with pytest.raises(ValueError, match="split must be one of"):
        drawings("dev")
    assert sentence("orange", 8, 1) == "an eight in orange"
