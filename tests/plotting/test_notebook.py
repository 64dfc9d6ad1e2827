"""A figure and a sound reach the notebook as they are, with their texts."""

import base64
import html
import io
import re
import wave

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib import image as images

from mmtutor.plotting import bars, show, sound

NAN = float("nan")


def test_show_gives_the_picture_with_its_text_and_closes_it(shown):
    figure = bars({"a": 1.0}, "title", "unit")
    show(figure, 'A bar of "one" <long>')
    ((data, rest),) = shown
    picture = images.imread(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.shape[0] > 50
    assert picture[..., :3].std() > 0.01
    assert picture[0, 0].tolist() == [1, 1, 1, 1]  # opaque white: readable on a dark page
    assert data["text/plain"] == 'A bar of "one" <long>'
    assert rest["metadata"]["image/png"]["alt"] == 'A bar of "one" <long>'
    assert rest["raw"] is True
    assert not plt.fignum_exists(figure.number)


def samples_of(shown):
    ((data, _),) = shown
    encoded = re.search(r'src="data:audio/wav;base64,([^"]+)"', data["text/html"])[1]
    with wave.open(io.BytesIO(base64.b64decode(encoded))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2"), data


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, torch.tensor, list])
def test_the_sound_is_the_wave(shown, kind):
    x = np.r_[np.sin(np.arange(500) / 9), -1, 0, 1, 1 / 32767, -0.25]
    given = kind(x) if kind in (torch.tensor, list) else x.astype(kind)
    sound(given, 8000, 'A "tone" & more')
    rate, samples, data = samples_of(shown)
    assert rate == 8000
    assert len(samples) == len(x)
    assert np.abs(samples / 32767 - np.asarray(given, float)).max() <= 0.5 / 32767 + 1e-12  # rounded, not cut off
    assert samples[-5:-2].tolist() == [-32767, 0, 32767]
    assert data["text/plain"] == 'A "tone" & more'
    text = html.escape('A "tone" & more')
    assert f'aria-label="{text}"' in data["text/html"]
    assert f"<figcaption>{text}</figcaption>" in data["text/html"]
    assert "<audio controls" in data["text/html"]


def test_a_text_cannot_leave_its_place(shown):
    sound([0.0], 8000, '"><script>alert(1)</script>')
    assert "<script" not in shown[0][0]["text/html"]


@pytest.mark.parametrize(("alt", "error"), [("", ValueError), (" \n", ValueError), (None, TypeError), (3, TypeError)])
def test_a_text_is_required(shown, alt, error):
    with pytest.raises(error, match="show: alt"):
        show(bars({"a": 1.0}, "title", "unit"), alt)
    with pytest.raises(error, match="sound: alt"):
        sound([0.0], 8000, alt)
    assert not shown


@pytest.mark.parametrize(
    "bad",
    [
        [],
        0.5,
        [[0.1]],
        [1.1],
        [-1.001],
        [0, NAN],
        [float("inf")],
        "abc",
        ["a"],
        None,
        [[1], [2, 3]],
        {"a": 1},
        object(),
    ],
)
def test_a_wave_that_cannot_be_heard_is_refused(shown, bad):
    with pytest.raises((ValueError, TypeError), match="sound: wave"):
        sound(bad, 8000, "text")
    assert not shown


@pytest.mark.parametrize("rate", [0, -1, 8000.5, "8000", None, NAN, True, 2**31])
def test_a_bad_rate_is_refused(shown, rate):
    with pytest.raises((ValueError, TypeError), match="sound: rate"):
        sound([0.0], rate, "text")
    assert not shown


def test_what_is_no_figure_is_refused(shown):
    for bad in (None, "figure", plt.figure().add_subplot()):
        with pytest.raises(TypeError, match="show: figure"):
            show(bad, "text")
