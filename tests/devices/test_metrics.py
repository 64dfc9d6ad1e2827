"""Metrics and figures of tensors on the pretend accelerator, and of models there: as on the CPU."""

import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor import plotting
from mmtutor.captioning import ShowAndTell, ShowAttendTell, Tokens, beam_search, greedy
from mmtutor.data import MultimodalDataset, Scenes, Vocabulary
from mmtutor.data.arrays import to_array
from mmtutor.data.scene import COLOURS, Thing
from mmtutor.metrics import (
    attention_shift,
    coherence,
    confusion,
    correct,
    evenness,
    frechet_distance,
    generate_captions,
    image_style,
    information_parts,
    joint_coherence,
    linear_probe,
    mean_interval,
    mutual_information,
    paired_interval,
    pointing,
    predict,
    share_interval,
)


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    """The accelerator; one without float64 too, as Apple's."""
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    with pretend.Mode():
        yield pretend.DEVICE
    pretend.SYNCS.clear()


class Classifier(nn.Module):
    def __init__(self, name="image"):
        super().__init__()
        self.name, self.layer = name, nn.Linear(4, 3)

    def forward(self, batch):
        return self.layer(batch[self.name])


def everywhere(device, *tensors):
    """The same tensors on the CPU and on the device."""
    return [tensors, tuple(x.to(device) for x in tensors)]


# ---- classifiers


def test_classifiers_and_data_may_be_on_different_devices(device):
    torch.manual_seed(0)
    model, x, label = Classifier(), torch.randn(9, 4), torch.arange(9) % 3
    scores, right = predict(model, MultimodalDataset({"image": x})), correct(model, data(x, label))
    sound = Classifier("sound")
    both = joint_coherence({"image": model, "sound": sound}, {"image": x, "sound": x.flip(0)})
    assert 0 < right.mean() < 1
    assert 0 < both.mean() < 1
    for place in ("cpu", device):
        model.to(place)
        for given, truth in everywhere(device, x, label):
            pretend.SYNCS.clear()
            found = predict(model, data(given, truth), batch_size=2)
            assert pretend.SYNCS["copy to the CPU"] <= (1 if place == device else 10)
            assert found.device.type == "cpu"
            torch.testing.assert_close(found, scores)
            assert (correct(model, data(given, truth)) == right).all()
            assert (coherence(model, "image", given, truth) == right).all()
            function = lambda batch, place=place: model(to(batch, place))  # noqa: E731
            assert (coherence(function, "image", given, truth) == right).all()
            pairs = {"image": given, "sound": x.flip(0)}
            assert (joint_coherence({"image": model, "sound": sound}, pairs) == both).all()


def data(x, label):
    return MultimodalDataset({"image": x, "label": label})


def to(batch, place):
    return {name: value.to(place) for name, value in batch.items()}


# ---- numbers


def test_intervals_and_tables_of_tensors_on_the_device(device):
    a, b, group = torch.tensor([1.0, 0, 1, 1, 0]), torch.tensor([0.0, 0, 1, 0, 1]), torch.tensor([0, 0, 1, 1, 2])
    for x, y, g in everywhere(device, a, b, group)[1:]:
        assert mean_interval(x) == mean_interval(a)
        assert mean_interval([*x]) == mean_interval(a)  # a list of tensors without dimensions
        assert mean_interval(x.to(torch.bfloat16).requires_grad_()) == mean_interval(a)
        assert share_interval(x.bool()) == share_interval(a)
        assert paired_interval(x, y, g, draws=50) == paired_interval(a, b, group, draws=50)
        assert (confusion(x.long(), y.long(), 2) == confusion(a, b, 2)).all()
        with pytest.raises(ValueError, match="mean_interval: values must be a row of finite numbers"):
            mean_interval(x / 0)


def test_information_of_tables_on_the_device(device):
    p = torch.arange(1.0, 13).view(2, 3, 2) / 78
    for (table,) in everywhere(device, p):
        assert information_parts(table) == information_parts(p)
        assert mutual_information(table.sum(0)) == mutual_information(p.sum(0))


def test_arrays_are_made_of_whatever_holds_numbers(device):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    there = x.to(device)
    for value in (x, there, x.numpy(), x.tolist(), [*x], [*there], [[*row] for row in there], (x[0], there[1])):
        assert to_array(value).tolist() == x.tolist()
        assert to_array(value, int).dtype == int
    assert to_array(there.to(torch.bfloat16)).dtype == np.float32
    assert to_array("a") == "a"


def test_features_on_the_device(device):
    torch.manual_seed(0)
    a, b, label = torch.randn(30, 3), torch.randn(20, 3) + 1, torch.arange(30) % 2
    distance, right = frechet_distance(a, b), linear_probe(a, label, b, label[:20])
    x, y, classes = everywhere(device, a, b, label)[1]
    assert frechet_distance(x, b) == frechet_distance(a, y) == distance
    assert (linear_probe(x, classes, y, classes[:20]) == right).all()
    for channels in (1, 3):
        pictures = torch.rand(4, channels, 6, 6)
        style = image_style(pictures.to(device))
        assert style.device == device
        torch.testing.assert_close(style.cpu(), image_style(pictures))


# ---- captions


def scenes(device):
    """Two scenes without pictures: a three to the left of a seven."""
    things = [Thing(3, "red", "small", (4, 8, 14, 22)), Thing(7, "blue", "big", (32, 8, 48, 34))]
    owner = torch.full((2, 64, 64), -1, dtype=torch.int8)
    for k, thing in enumerate(things):
        left, top, right, bottom = thing.box
        owner[:, top:bottom, left:right] = k
    colours = [list(COLOURS).index(thing.colour) for thing in things]
    tensors = {
        "owner_label": owner,
        "digit_label": torch.tensor([[3, 7]] * 2),
        "colour_label": torch.tensor([colours] * 2),
    }
    return Scenes(to(tensors, device), [[""]] * 2, [things] * 2, [[[]]] * 2)


def test_attention_weights_on_the_device(device):
    torch.manual_seed(0)
    texts, alpha = ["a red three left of a big blue seven"] * 2, torch.rand(2, 12, 64).softmax(2)
    here = scenes("cpu")
    for given, shown in ((alpha.to(device), here), (alpha, scenes(device)), (alpha.to(device), scenes(device))):
        assert pointing(texts, given, shown) == pointing(texts, alpha, here)
        assert evenness(texts, given, shown) == evenness(texts, alpha, here)
        shift, wanted = attention_shift(texts, given, shown), attention_shift(texts, alpha, here)
        assert all((shift[name] == wanted[name]).all() for name in wanted)
    assert pointing(texts, alpha.to(torch.bfloat16), here).keys() == {"digit", "colour", "size"}


@pytest.mark.parametrize("cls", [ShowAndTell, ShowAttendTell])
@pytest.mark.parametrize("decode", [greedy, beam_search])
def test_captions_of_a_model_on_the_device(cls, decode, device):
    torch.manual_seed(0)
    vocabulary = Vocabulary(["one", "two", "three"])
    model, images = cls(nn.Identity(), 3, Tokens(len(vocabulary)), image="regions", hidden=5), torch.randn(5, 4, 3)
    with torch.no_grad():
        model.output.weight.normal_(0, 3)
    wanted, weights = generate_captions(model, MultimodalDataset({"regions": images}), vocabulary, decode, 6)
    model.to(device)
    for given in (images, images.to(device)):
        texts, alpha = generate_captions(model, MultimodalDataset({"regions": given}), vocabulary, decode, 6, 2)
        assert texts == wanted
        assert (alpha is None) == (weights is None)
        if alpha is not None:
            assert alpha.device.type == "cpu"
            torch.testing.assert_close(alpha, weights)


# ---- figures


def figures(device):
    """Each figure that shows numbers, from tensors on a device."""
    g = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.rand(shape, generator=g).to(device)  # noqa: E731
    text, x = ["a", "red", "three"], rand(3)
    pictures = {"image": rand(2, 1, 8, 8), "shape": rand(2, 16), "wave": rand(2, 200), "label": torch.arange(2)}
    world = MultimodalDataset(to(pictures, device))
    shown = scenes(device)
    shown.tensors["scene"] = rand(2, 3, 64, 64)
    gaussian = (rand(2), torch.eye(2).to(device))
    return {
        "world": lambda: plotting.world(world, [0, 1], "t"),
        "captioned": lambda: plotting.captioned(shown, [0, 1], ["a", "b"], "t"),
        "attention": lambda: plotting.attention(shown.tensors["scene"][0], text, x.softmax(0).repeat(3, 3)[:, :4], "t"),
        "grid": lambda: plotting.grid(shown.tensors["scene"][None], ["a"], ["b", "c"], "t"),
        "heatmap": lambda: plotting.sentence_heatmap(text, {"voice": x}, {"voice": x > 0.5}, "t"),
        "bars": lambda: plotting.bars({"a": x[0], "b": x[1]}, "t", "u"),
        "curves": lambda: plotting.curves(x.cumsum(0), {"a": x, "b": x.repeat(2, 1)}, "t", "x", "y"),
        "scatter": lambda: plotting.scatter({"a": (x[0], x[1]), "b": (x[1], x[2])}, "t", "x", "y"),
        "moments": lambda: plotting.moments({"m": {"named": x, "before": x, "chance": x}}, "t"),
        "latents": lambda: plotting.latents(x.repeat(3, 1) + torch.eye(3).to(device), (x > 0.5).long(), "t"),
        "gaussians": lambda: plotting.gaussians(gaussian, {"p": {"a": gaussian}}, "t"),
    }


@pytest.mark.parametrize("name", figures("cpu"))
def test_a_figure_of_tensors_on_the_device_is_the_same(name, device):
    drawn = []
    for place in ("cpu", device):
        figure, buffer = figures(place)[name](), io.BytesIO()
        figure.savefig(buffer, format="raw", dpi=40)
        plt.close(figure)
        drawn.append(buffer.getvalue())
    assert drawn[0] == drawn[1]


def test_a_sound_on_the_device_is_played(device, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from IPython import display
    shown = []
    monkeypatch.setattr("IPython.get_ipython", object)  # as if in a notebook
    monkeypatch.setattr(display, "display", lambda data, **_: shown.append(data))
    wave = torch.linspace(-1, 1, 50)
    for given in (wave, wave.to(device)):
        plotting.sound(given, 8000, "a rising line")
    assert shown[0] == shown[1]
