"""Examples are drawn as they are, each where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from mmtutor import plotting
from mmtutor.data import MODALITIES, MultimodalDataset, Photos, Vocabulary, digits, scenes, smartwatch
from mmtutor.data.word import WORDS
from mmtutor.plotting import show, world


@pytest.fixture(scope="module")
def everything():
    return digits(*MODALITIES, split="train", n=4, seed=1, cache=False, progress=False)


def test_world_shows_every_modality_of_every_example(everything, shown):
    figure = world(everything, [2, 0, 1], "A title")
    axes = np.array(figure.axes).reshape(3, len(MODALITIES))
    assert figure.get_suptitle() == "A title"
    assert [a.get_title() for a in axes[0]] == list(MODALITIES)
    for row, k in zip(axes, [2, 0, 1], strict=True):
        example = everything[k]
        assert row[0].get_ylabel() == str(int(example["label"]))
        for axis, modality in zip(row, MODALITIES, strict=True):
            value = example[modality].numpy()
            if modality == "word":
                assert axis.texts[0].get_text() == WORDS[int(example["label"])]
            elif modality == "waveform":
                np.testing.assert_array_equal(axis.lines[0].get_ydata(), value)
            elif modality == "shape":
                np.testing.assert_allclose([b.get_height() for b in axis.patches], value)
            elif modality == "street":
                np.testing.assert_array_equal(axis.images[0].get_array(), value.transpose(1, 2, 0))
            else:
                np.testing.assert_array_equal(axis.images[0].get_array(), value[0])
                assert axis.images[0].origin == ("lower" if modality == "spoken" else "upper")  # low sounds below
    show(figure, "text")
    assert shown


@pytest.mark.parametrize("modality", MODALITIES)
def test_world_of_one_modality(everything, modality):
    one = MultimodalDataset({modality: everything[:][modality], "label": everything[:]["label"]})
    assert len(world(one, [-1], "title").axes) == 1


def test_world_of_the_smartwatch_and_of_missing_modalities(shown):
    figure = world(smartwatch("valid"), [0, 5], "title")
    first = smartwatch("valid")[0]["accelerometer"].numpy()
    np.testing.assert_array_equal(np.stack([line.get_ydata() for line in figure.axes[0].lines], 1), first)
    gaps = digits(*MODALITIES, split="train", n=6, drop=0.5, cache=False, progress=False)
    show(world(gaps, range(6), "title"), "text")
    assert len(shown) == 1


@pytest.mark.parametrize("examples", [[], [4], [-5], [0, 99]])
def test_world_names_examples_that_are_not_there(everything, examples):
    with pytest.raises(ValueError, match="world: examples"):
        world(everything, examples, "title")
    assert not plt.get_fignums()


def test_world_needs_a_modality_and_labels():
    for tensors in ({"label": torch.arange(3)}, {"shape": torch.ones(3, 16)}):
        with pytest.raises(ValueError, match="world: data must have a modality and a 'label'"):
            world(MultimodalDataset(tensors), [0], "title")


def test_world_shows_data_of_ones_own():
    """A dict or a dataset of dicts, with other modalities than the digits' and with the label of a regression."""
    own = {
        "word": torch.rand(3, 5, 2),
        "age": torch.tensor([30.0, 41.5, 7.0]),
        "label": torch.tensor([[0.25], [1.5], [-3.0]]),
    }
    data = MultimodalDataset(own)
    for kind in (own, data, torch.utils.data.Subset(data, [0, 1, 2]), [data[k] for k in range(3)]):
        figure = world(kind, [2, 0], "Own")
        assert [axis.get_ylabel() for axis in figure.axes[::2]] == ["-3", "0.25"]
        assert [axis.get_title() for axis in figure.axes[:2]] == ["word", "age"]
        np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), own["word"][2, :, 1])
        assert figure.axes[3].texts[0].get_text() == "30"
    with pytest.raises(ValueError, match=r"world: 'film' cannot be drawn, .* has the shape \(4, 3, 8, 8\)"):
        world({"film": torch.rand(2, 4, 3, 8, 8), "label": torch.arange(2)}, [0], "t")
    for wrong in ([torch.ones(2)], [{"text": "a", "label": 1}]):
        with pytest.raises(TypeError, match="world: an example must be a dict of tensors"):
            world(wrong, [0], "t")


@pytest.fixture(scope="module")
def some_scenes():
    return scenes("test", n=6)


def test_captioned_shows_each_scene_with_its_caption(some_scenes):
    captions = ["a red three", "there is a very long sentence about a big blue seven", "c", "d", "e"]
    figure = plotting.captioned(some_scenes, [1, 0, 2, 3, 4], captions, "Look")
    axes = [axis for axis in figure.axes if axis.images]
    assert len(axes) == 5
    np.testing.assert_array_equal(axes[0].images[0].get_array(), some_scenes[1]["scene"].permute(1, 2, 0))
    assert [" ".join(axis.texts[0].get_text().split()) for axis in axes] == captions
    assert "\n" in axes[1].texts[0].get_text()
    assert figure.get_suptitle() == "Look"


def test_retrieved_shows_what_each_query_finds(some_scenes):
    data, right = {"scene": some_scenes.tensors["scene"]}, [[True, False, False], [False, False, True]]
    figure = plotting.retrieved(data, ["a red seven", "a two"], torch.tensor([[2, 0, 1], [3, 2, 0]]), right, "Look")
    axes = np.array(figure.axes).reshape(2, 3)
    assert [row[0].get_ylabel() for row in axes] == ["a red seven", "a two"]
    for row, found, fits in zip(axes, [[2, 0, 1], [3, 2, 0]], right, strict=True):
        for axis, k, is_right in zip(row, found, fits, strict=True):
            np.testing.assert_array_equal(axis.images[0].get_array(), data["scene"][k].permute(1, 2, 0))
            assert axis.get_title(loc="right") == ("✓" if is_right else "✗")
            assert (axis.spines["left"].get_linewidth() > 2) == is_right


def test_retrieved_refuses_what_does_not_fit(some_scenes):
    data, right = {"scene": some_scenes.tensors["scene"]}, np.ones((2, 2), bool)
    for queries, found, fits, said in (
        (["a"], [[0, 1], [1, 2]], right, r"found must be \(Q, K\) for 1 queries"),
        ("ab", [[0, 1], [1, 2]], right, r"found must be \(Q, K\)"),
        (["a", "b"], [0, 1], right, r"found must be \(Q, K\)"),
        (["a", "b"], [[0, 1], [1, 2]], right[:1], r"right must be bool \(2, 2\)"),
        (["a", "b"], [[0, 1], [1, 99]], right, "examples must be some of the"),
    ):
        with pytest.raises(ValueError, match=f"^retrieved: {said}"):
            plotting.retrieved(data, queries, found, fits, "t")


def test_captioned_refuses_what_does_not_fit(some_scenes):
    for examples, captions in (([], []), ([9], ["a"]), ([0, 1], ["a"]), ([0], "a"), ([0], [["a", "b"]])):
        with pytest.raises(ValueError, match="captioned: "):
            plotting.captioned(some_scenes, examples, captions, "t")
    for pictures in ({"a": torch.rand(1, 3, 4, 4), "b": torch.rand(1, 1, 4, 4)}, {"row": torch.rand(1, 4)}):
        with pytest.raises(ValueError, match=r"captioned: an example must have one picture \(3, H, W\), got '"):
            plotting.captioned(pictures, [0], ["a"], "t")


def test_any_data_with_one_picture_can_be_captioned(tmp_path, some_scenes):
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(tmp_path / f"{k}.png")
    photographs = Photos(tmp_path, [f"{k}.png" for k in range(3)], [["a dog"]] * 3, size=9)
    loader = torch.utils.data.DataLoader(photographs, 2)
    for data in (photographs, photographs.tokenised(Vocabulary(["a", "dog"]), 6), loader):
        figure = plotting.captioned(data, [2, 0], ["c", "a"], "Look")
        for axis, k in zip(figure.axes, (2, 0), strict=False):
            np.testing.assert_array_equal(axis.images[0].get_array(), photographs[k]["photo"].permute(1, 2, 0))
    half = torch.utils.data.Subset(some_scenes, [3, 4])
    figure = plotting.captioned(half, [1], ["a"], "Look")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), some_scenes[4]["scene"].permute(1, 2, 0))
    grey = plotting.captioned({"image": torch.rand(2, 1, 4, 4)}, [0], ["a"], "Look")
    assert grey.axes[0].images[0].get_array().shape == (4, 4, 3)


def test_attention_is_light_where_the_weights_are_large():
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


@pytest.mark.parametrize(("height", "width", "side"), [(256, 256, 14), (224, 224, 14), (250, 333, 7), (5, 5, 7)])
def test_attention_is_drawn_on_a_picture_of_any_size(height, width, side):
    """Each pixel has the weight of the region in which it lies; regions differ by one pixel at most."""
    alpha = np.random.default_rng(0).dirichlet(np.ones(side**2), 1)
    figure = plotting.attention(np.zeros((3, height, width)), ["dog"], alpha, "Look")
    drawn = figure.axes[1].images[0].get_array()
    assert drawn.shape == (height, width, 3)
    light = 0.4 * alpha[0].reshape(side, side) / alpha.max()
    rows, columns = (np.array([int(k * side / n) for k in range(n)]) for n in (height, width))
    np.testing.assert_allclose(drawn[..., 0], light[rows[:, None], columns[None]], rtol=1e-12)
    sizes = np.bincount(rows, minlength=side)
    assert sizes.max() - sizes.min() <= 1
    show(figure, "a dog")


def test_attention_takes_a_caption_as_a_string_and_a_grey_picture():
    alpha = np.random.default_rng(0).dirichlet(np.ones(16), 9)
    alpha[3:] = 0  # after the end of the caption
    caption = plotting.attention(np.full((1, 8, 8), 0.5), "a red three", torch.tensor(alpha), "Look")
    words = plotting.attention(torch.full((3, 8, 8), 0.5), ["a", "red", "three"], alpha, "Look")
    for one, other in zip(caption.axes[:4], words.axes[:4], strict=True):
        assert one.get_title() == other.get_title()
        assert np.array_equal(one.images[0].get_array(), other.images[0].get_array())
    many = plotting.attention(np.zeros((3, 8, 8)), [f"w{k}" for k in range(9)], alpha, "Look")  # some without attention
    assert [axis.get_title().split()[0] for axis in many.axes if axis.images] == ["scene", *(f"w{k}" for k in range(9))]
    assert not many.axes[9].images[0].get_array().any()


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1), (0, np.nan)])
def test_brightness_is_from_0_to_1(low, high):
    picture = np.linspace(low, high, 192).reshape(3, 8, 8)
    with pytest.raises(
        ValueError, match=r"attention: a picture must have numbers from 0 to 1, got .*divide bytes by 255"
    ):
        plotting.attention(picture, ["a"], np.ones((1, 16)) / 16, "t")
    with pytest.raises(ValueError, match=r"captioned: a picture must have numbers from 0 to 1"):
        plotting.captioned({"photo": torch.tensor(picture)[None]}, [0], ["a"], "t")


def test_attention_of_a_model_without_attention_is_refused():
    with pytest.raises(ValueError, match="attention: alpha is None; this model has no attention"):
        plotting.attention(np.zeros((3, 8, 8)), ["a"], None, "t")


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
    with pytest.raises(ValueError, match="grid: a picture must have numbers from 0 to 1, got 7 to 7; divide bytes"):
        plotting.grid(torch.full((1, 2, 3, 4, 4), 7, dtype=torch.uint8), ["a"], [], "Bytes")
    for rows, columns in ((["a"], ["x", "y", "z"]), (["a", "b"], ["x"])):
        with pytest.raises(ValueError, match="grid: pictures must be"):
            plotting.grid(pictures, rows, columns, "t")


def test_a_sentence_heatmap_colours_each_word_and_frames_the_events():
    values = {"voice": [0.0, 1.0, 2.0], "face": [3.0, 0.0, 0.0]}
    events = {"voice": [False, True, False], "face": [True, False, True]}
    assert len(plotting.sentence_heatmap("so it goes", values, events, "Where").axes[0].patches) == 9
    figure = plotting.sentence_heatmap(["so", "it", "goes"], values, events, "Where")
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
        with pytest.raises(ValueError, match="sentence_heatmap: "):
            plotting.sentence_heatmap(["so", "it", "goes"], wrong, {"voice": [True] * 3}, "t")
