"""A figure to move: one frame is seen at a time, by keyboard, without a script; a script prints the texts."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from mmtutor.plotting import frames


def figures(*names):
    made = {}
    for k, name in enumerate(names):
        made[name], axis = plt.subplots(figsize=(3, 2))
        axis.plot([0, k])
    return made


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed in a notebook."""
    seen = []
    module = __import__("sys").modules["mmtutor.plotting.frames"]
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    monkeypatch.setattr(module, "display", lambda data: seen.append(data))
    return seen


ALTS = {"σ = 1": 'A "line"', "σ = 2": "A steep line", "σ = 4": "A line\nthat is steeper"}


def test_each_frame_has_a_button_a_picture_and_a_text(displayed):
    frames(figures(*ALTS), ALTS, "the width σ", "σ = 2")
    [shown] = displayed
    text = shown["text/html"]
    assert re.findall(r'<input type="radio" name="the-width" id="(.*?)"( checked)?>', text) == [
        ("the-width-0", ""), ("the-width-1", " checked"), ("the-width-2", "")
    ]  # fmt: skip
    assert re.findall(r'<label for="(.*?)">(.*?)</label>', text) == [(f"the-width-{k}", n) for k, n in enumerate(ALTS)]
    assert re.findall(r'<figure class="(.*?)"><img alt="(.*?)"', text)[0] == ("the-width-0", "A &quot;line&quot;")
    for k in range(3):
        assert f"#the-width-{k}:checked~.the-width-{k}" in text
    assert "<script" not in text
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", text)]
    assert [picture.size for picture in pictures] == [(270, 180)] * 3
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert len(text) < 30_000
    assert shown["text/plain"].split("\n")[2] == "the width σ, σ = 4: A line that is steeper"
    assert not plt.get_fignums()


def test_a_photograph_is_small_and_a_drawing_stays_sharp(displayed):
    drawing, photograph = figures("a", "b").values()
    photograph.axes[0].imshow(np.random.default_rng(0).random((80, 80, 3)))
    drawing.savefig(exact := io.BytesIO(), dpi=90, facecolor="white")
    frames({"a": drawing, "b": photograph}, {"a": "a line", "b": "noise"}, "x")
    shown = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", displayed[0]["text/html"])]
    assert len(shown[1]) < 20_000
    kept, drawn = (np.asarray(Image.open(file).convert("RGB"), int) for file in (io.BytesIO(shown[0]), exact))
    assert np.abs(kept - drawn).max() < 32


def test_a_script_prints_the_texts(capsys):
    frames(figures(*ALTS), ALTS, "width")
    assert capsys.readouterr().out.startswith('width, σ = 1: A "line"\nwidth, σ = 2: A steep line\n')
    assert not plt.get_fignums()


def test_what_cannot_be_shown_is_refused():
    for drawn, alts in ((figures("a"), {"b": "text"}), ({}, {}), (figures("a"), {"a": " "})):
        with pytest.raises(ValueError, match="frames: each figure needs a text of its name"):
            frames(drawn, alts, "x")
    with pytest.raises(ValueError, match=r"frames: first must be one of \['a'\], got 'c'"):
        frames(figures("a"), {"a": "text"}, "x", "c")
    plt.close("all")
