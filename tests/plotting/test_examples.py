"""Examples are drawn as they are, each where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mmtutor import plotting
from mmtutor.data import MODALITIES, MultimodalDataset, digits, scenes, smartwatch
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


def test_captioned_refuses_what_does_not_fit(some_scenes):
    for examples, captions in (([], []), ([9], ["a"]), ([0, 1], ["a"]), ([0], "a")):
        with pytest.raises(ValueError, match="captioned: "):
            plotting.captioned(some_scenes, examples, captions, "t")


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
    for rows, columns in ((["a"], ["x", "y", "z"]), (["a", "b"], ["x"])):
        with pytest.raises(ValueError, match="grid: pictures must be"):
            plotting.grid(pictures, rows, columns, "t")


def test_a_sentence_heatmap_colours_each_word_and_frames_the_events():
    values = {"voice": [0.0, 1.0, 2.0], "face": [3.0, 0.0, 0.0]}
    events = {"voice": [False, True, False], "face": [True, False, True]}
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
