"""Figures: they say what they show, in words too, and draw the numbers they are given."""

import base64
import html
import io
import re
import wave

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib import image as images
from matplotlib.colors import to_hex

from mmtutor import plotting
from mmtutor.data import SENSES, Senses, digits, scenes, smartwatch
from mmtutor.data.word import WORDS
from mmtutor.plotting import bars, fusion_map, history, show, sound, world
from mmtutor.training import History

NAN = float("nan")


@pytest.fixture(autouse=True)
def _close():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before  # no figure changes the reader's settings


@pytest.fixture
def shown(monkeypatch):
    """What would reach the notebook."""
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda data, **rest: calls.append((data, rest)))
    return calls


@pytest.fixture(scope="module")
def everything():
    return digits(*SENSES, split="train", n=4, seed=1, cache=False, progress=False)


# ---- show and sound


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


# ---- world


def test_world_shows_every_sense_of_every_example(everything, shown):
    figure = world(everything, [2, 0, 1], "A title")
    axes = np.array(figure.axes).reshape(3, len(SENSES))
    assert figure.get_suptitle() == "A title"
    assert [a.get_title() for a in axes[0]] == list(SENSES)
    for row, k in zip(axes, [2, 0, 1], strict=True):
        example = everything[k]
        assert row[0].get_ylabel() == str(int(example["label"]))
        for axis, sense in zip(row, SENSES, strict=True):
            value = example[sense].numpy()
            if sense == "word":
                assert axis.texts[0].get_text() == WORDS[int(example["label"])]
            elif sense == "waveform":
                np.testing.assert_array_equal(axis.lines[0].get_ydata(), value)
            elif sense == "shape":
                np.testing.assert_allclose([b.get_height() for b in axis.patches], value)
            elif sense == "street":
                np.testing.assert_array_equal(axis.images[0].get_array(), value.transpose(1, 2, 0))
            else:
                np.testing.assert_array_equal(axis.images[0].get_array(), value[0])
                assert axis.images[0].origin == ("lower" if sense == "spoken" else "upper")  # low sounds below
    show(figure, "text")
    assert shown


@pytest.mark.parametrize("sense", SENSES)
def test_world_of_one_sense(everything, sense):
    one = Senses({sense: everything[:][sense], "label": everything[:]["label"]})
    assert len(world(one, [-1], "title").axes) == 1


def test_world_of_the_smartwatch_and_of_missing_senses(shown):
    figure = world(smartwatch("valid"), [0, 5], "title")
    first = smartwatch("valid")[0]["accelerometer"].numpy()
    np.testing.assert_array_equal(np.stack([line.get_ydata() for line in figure.axes[0].lines], 1), first)
    gaps = digits(*SENSES, split="train", n=6, drop=0.5, cache=False, progress=False)
    show(world(gaps, range(6), "title"), "text")
    assert len(shown) == 1


@pytest.mark.parametrize("examples", [[], [4], [-5], [0, 99]])
def test_world_names_examples_that_are_not_there(everything, examples):
    with pytest.raises(ValueError, match="world: examples"):
        world(everything, examples, "title")
    assert not plt.get_fignums()


def test_world_needs_a_sense_and_labels():
    for tensors in ({"label": torch.arange(3)}, {"shape": torch.ones(3, 16)}):
        with pytest.raises(ValueError, match="world: data must have a sense and a 'label'"):
            world(Senses(tensors), [0], "title")


# ---- history and bars


def test_history_draws_both_curves():
    past = History(train={"loss": [3.0, 2.0, 1.5], "part": [1.0, 1.0, 1.0]}, valid={"loss": [3.1, 2.5, 2.6]})
    (axis,) = history(past, "A title").axes
    assert (axis.get_title(loc="left"), axis.get_xlabel(), axis.get_ylabel()) == ("A title", "epoch", "loss (nats)")
    lines = {line.get_label(): line for line in axis.lines}
    assert lines["training"].get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.5]]
    assert lines["validation"].get_xydata().tolist() == [[1, 3.1], [2, 2.5], [3, 2.6]]
    assert len({to_hex(line.get_color()) for line in lines.values()}) == 2
    (axis,) = history(past, "A title", "part", unit="bits").axes
    assert [line.get_label() for line in axis.lines] == ["training"]
    assert axis.get_ylabel() == "part (bits)"
    (axis,) = history(past, "A title", "part", unit="").axes
    assert axis.get_ylabel() == "part"


@pytest.mark.parametrize("past", [History(), History(train={"loss": []}), History(train={"loss": [1.0]})])
def test_history_names_an_unknown_term(past):
    with pytest.raises(ValueError, match="history: unknown term 'los'"):
        history(past, "title", "los")


def test_bars_are_the_values_in_order():
    values = {"first": 0.25, "second": 0.5, "third": 0.75}
    (axis,) = bars(values, "A title", "accuracy (share)", chance=0.1).axes
    assert axis.get_title(loc="left") == "A title"
    assert axis.get_xlabel().startswith("accuracy (share)")
    names = [t.get_text() for t in axis.get_yticklabels()]
    assert dict(zip(names, [p.get_width() for p in axis.patches], strict=True)) == values
    tops = [axis.transData.transform((0, p.get_y()))[1] for p in axis.patches]
    assert names[int(np.argmax(tops))] == "first"  # read from the top
    texts = [t.get_text() for t in axis.texts]
    assert {"0.250", "0.500", "0.750"} <= set(texts)
    assert "chance" in " ".join([*texts, axis.get_xlabel()])  # what the dashed line is
    assert [line.get_xdata()[0] for line in axis.lines] == [0.1]


@pytest.mark.parametrize("values", [{}, {"a": NAN}, {"a": 1.0, "b": float("inf")}])
def test_bars_refuses_what_it_cannot_draw(values):
    with pytest.raises(ValueError, match="bars: values"):
        bars(values, "title", "unit")


def test_fusion_map_has_its_three_titles(shown):
    figure = fusion_map()
    assert [a.get_title(loc="left").split(":")[0] for a in figure.axes] == ["Early", "Late", "In between"]
    for axis in figure.axes:
        words = {t.get_text() for t in axis.texts}
        assert {"image", "sound", "table", "learner", "class"} <= words
    show(figure, "text")


def test_colours_can_be_told_apart_without_red_and_green():
    """Okabe and Ito's colours, in the matrix of Viénot, Brettel and Mollon (1999) for deuteranopia: linear RGB to
    LMS, M from L and S, and back. Every pair stays far apart."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plotting.COLOURS]) ** 2.2
    lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    seen = np.clip(rgb @ (np.linalg.inv(lms) @ blind @ lms).T, 0, 1) ** (1 / 2.2)
    for a in range(len(seen)):
        for b in range(a):
            assert np.linalg.norm(seen[a] - seen[b]) > 0.1, (plotting.COLOURS[a], plotting.COLOURS[b])


@pytest.fixture(scope="module")
def some_scenes():
    return scenes("test", n=6)


def test_captioned_shows_each_scene_with_its_sentence(some_scenes):
    sentences = ["a red three", "there is a very long sentence about a big blue seven", "c", "d", "e"]
    figure = plotting.captioned(some_scenes, [1, 0, 2, 3, 4], sentences, "Look")
    axes = [axis for axis in figure.axes if axis.images]
    assert len(axes) == 5
    np.testing.assert_array_equal(axes[0].images[0].get_array(), some_scenes[1]["scene"].permute(1, 2, 0))
    assert [" ".join(axis.texts[0].get_text().split()) for axis in axes] == sentences
    assert "\n" in axes[1].texts[0].get_text()
    assert figure.get_suptitle() == "Look"


def test_captioned_refuses_what_does_not_fit(some_scenes):
    for examples, sentences in (([], []), ([9], ["a"]), ([0, 1], ["a"]), ([0], "a")):
        with pytest.raises(ValueError, match="captioned: "):
            plotting.captioned(some_scenes, examples, sentences, "t")


def test_attention_is_light_where_the_model_looked():
    alpha = np.zeros((2, 16))
    alpha[0, 3], alpha[1, 4], alpha[1, 5] = 1, 0.75, 0.25  # the top right; the second row's first two
    figure = plotting.attention(np.full((3, 8, 8), 0.5), ["red", "three"], alpha, "Look")
    scene, red, three = (axis.images[0].get_array() for axis in figure.axes[:3])
    assert (scene == 0.5).all()
    assert np.argwhere(red[..., 0] > 0.5).tolist() == [[0, 6], [0, 7], [1, 6], [1, 7]]
    np.testing.assert_allclose(red[0, 6], 0.3 + 0.4)
    np.testing.assert_allclose(three[2, 0], 0.3 + 0.4)
    np.testing.assert_allclose(three[3, 3], 0.3 + 0.4 / 3)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["scene", "red  1.00", "three  0.75"]


def test_attention_refuses_what_does_not_fit():
    scene = np.zeros((3, 8, 8))
    for picture, words, alpha in (
        (scene[0], ["a"], np.ones((1, 16))),
        (scene, [], np.ones((1, 16))),
        (scene, ["a", "b"], np.ones((1, 16))),
        (scene, ["a"], np.ones((1, 15))),
        (scene, ["a"], np.ones(16)),
    ):
        with pytest.raises(ValueError, match="attention: needs a scene"):
            plotting.attention(picture, words, alpha, "t")


def test_moments_draws_both_objects_of_each_model_on_one_scale():
    looks = {
        "one": {"named": [0.1, 0.2, 0.9], "before": [0.3, 0.2, 0.1], "chance": [0.1] * 3},
        "two": {"named": [0.1, 0.2, 0.3], "before": [0.5, 0.4, 0.1], "chance": [0.2] * 3},
    }
    figure = plotting.moments(looks, "Look")
    assert [axis.get_title("left") for axis in figure.axes] == ["one", "two"]
    for axis, look in zip(figure.axes, looks.values(), strict=True):
        for line, key in zip(axis.lines, ("named", "before", "chance"), strict=False):
            assert line.get_xdata().tolist() == [-1, 0, 1]
            assert line.get_ydata().tolist() == look[key]
        assert axis.get_ylim()[0] == 0
        assert axis.get_ylim()[1] > 0.9
    with pytest.raises(ValueError, match="at least one"):
        plotting.moments({}, "t")


def test_grid_shows_each_picture_in_its_row_and_column():
    pictures = np.random.default_rng(0).random((2, 3, 1, 4, 5))
    figure = plotting.grid(pictures, ["a", "b"], ["x", "y", "z"], "Grid")
    shown = np.array([axis.images[0].get_array() for axis in figure.axes]).reshape(2, 3, 4, 5)
    assert np.array_equal(shown, pictures[:, :, 0])
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["a", "b"]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["x", "y", "z"]
    coloured = plotting.grid(np.full((1, 2, 3, 4, 4), 2.0), ["a"], [], "Too bright")
    assert coloured.axes[0].images[0].get_array().shape == (4, 4, 3)
    assert coloured.axes[0].images[0].get_array().max() == 1
    for rows, columns in ((["a"], ["x", "y", "z"]), (["a", "b"], ["x"])):
        with pytest.raises(ValueError, match="grid: pictures must be"):
            plotting.grid(pictures, rows, columns, "t")


def test_shares_colours_each_word_and_frames_the_events():
    values = {"voice": [0.0, 1.0, 2.0], "face": [3.0, 0.0, 0.0]}
    events = {"voice": [False, True, False], "face": [True, False, True]}
    figure = plotting.shares(["so", "it", "goes"], values, events, "Where")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["so", "it", "goes"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["voice", "face"]
    filled = {p.get_xy(): p.get_facecolor() for p in axis.patches if p.get_fill()}
    framed = {p.get_xy() for p in axis.patches if not p.get_fill()}
    assert len(filled) == 6
    assert framed == {(1, 0), (0, -1), (2, -1)}
    assert filled[2, 0] == filled[0, -1]  # the largest of each row
    assert filled[0, 0] == filled[1, -1] != filled[1, 0] != filled[2, 0]
    for wrong in ({"voice": [1.0, 2.0]}, {"nose": [1.0, 2.0, 3.0]}, {}):
        with pytest.raises(ValueError, match="shares: "):
            plotting.shares(["so", "it", "goes"], wrong, {"voice": [True] * 3}, "t")
