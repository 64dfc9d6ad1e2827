"""A figure and a sound reach the notebook as they are, with their texts."""

import base64
import html
import io
import os
import re
import subprocess
import sys
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


@pytest.mark.parametrize("installed", [True, False])
def test_a_script_prints_the_text_alone(installed, tmp_path):
    """In a process of its own, in which IPython may be missing."""
    script = tmp_path / "chapter.py"
    script.write_text(
        "import sys\n"
        + ("import IPython\n" if installed else "sys.modules['IPython'] = None\n")
        + "from mmtutor.plotting import bars, show, sound\n"
        "import matplotlib.pyplot as plt\n"
        "show(bars({'a': 1.0}, 'title', 'unit'), 'A bar\\n of one.')\n"
        "sound([0.0, 0.5], 8000, 'A click.')\n"
        "print(plt.get_fignums())\n"
    )
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.stdout == "A bar of one.\nA click.\n[]\n"
    assert not done.stderr


def test_in_a_script_too_a_figure_and_a_text_are_required(capsys):
    with pytest.raises(TypeError, match="show: figure"):
        show("figure", "text")
    with pytest.raises(ValueError, match="show: alt"):
        show(bars({"a": 1.0}, "title", "unit"), "")
    with pytest.raises(ValueError, match="sound: wave"):
        sound([2.0], 8000, "text")
    assert not capsys.readouterr().out


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
