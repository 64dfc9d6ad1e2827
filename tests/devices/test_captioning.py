"""Captioners, encoders and decoders on the pretend accelerator: as on the CPU, and no loss waits for the device."""

import copy
import math
from functools import partial

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.captioning import (
    HardAttention,
    ShowAndTell,
    ShowAttendTell,
    Tokens,
    beam_candidates,
    beam_search,
    greedy,
    sample,
)
from mmtutor.decoders import ImageDecoder
from mmtutor.encoders import (
    AudioEncoder,
    GridEncoder,
    ImageEncoder,
    SequenceEncoder,
    TabularEncoder,
    TextEncoder,
)
from mmtutor.photo_encoders import EfficientNetLiteGrid, ResNetGrid

TOKENS = Tokens(7)
SIZES = {"image": "regions", "embed": 4, "hidden": 5}
MODELS = {
    "tell": partial(ShowAndTell, nn.Linear(3, 4), 4, TOKENS, dropout=0.3, **SIZES),
    "soft": partial(ShowAttendTell, nn.Linear(3, 4), 4, TOKENS, attend=3, doubly_stochastic=0.3, **SIZES),
    "soft, reads first": partial(ShowAttendTell, nn.Linear(3, 4), 4, TOKENS, read_first=True, tau=1.0, **SIZES),
    "grid": lambda: ShowAttendTell(GridEncoder(3, (4, 5)), 7, TOKENS, image="regions"),
}
DECODERS = {
    "greedy": greedy,
    "sample": sample,
    "beam": beam_search,
    "normalised beam": partial(beam_search, beams=3, normalise=0.7),
}
every_model = pytest.mark.parametrize("name", [*MODELS, "hard"])
every_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
batch_on = pytest.mark.parametrize("on_device", [False, True], ids=["batch on the CPU", "batch on the device"])


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    """The accelerator; one without float64 too, as Apple's."""
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    with pretend.Mode():
        yield pretend.DEVICE
    pretend.SYNCS.clear()


def make(name):
    """A model with large weights, so that captions differ."""
    torch.manual_seed(0)
    if name == "hard":
        model = ShowAttendTell(nn.Linear(3, 4), 4, TOKENS, attention=HardAttention(), **SIZES)
    else:
        model = copy.deepcopy(MODELS[name]())
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.4 if name == "grid" else 1.2)
    return model


def examples(name, n=6):
    """Two captions of each image; the last column is padding only where ``n`` is below 6."""
    torch.manual_seed(1)
    captions = [[[1, 3, 3, 2, 0, 0], [1, 5, 4, 2, 0, 0]], [[1, 5, 3, 4, 2, 0], [1, 4, 2, 0, 0, 0]]]
    images = torch.rand(n, 3, 12, 12) if name == "grid" else torch.randn(n, 5, 3)
    return {"regions": images, "caption": torch.tensor(captions * (n // 2))}


def moved(batch, device):
    return {name: value.to(device) for name, value in batch.items()}


def same(found, expected, device):
    assert found.device == device
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-6)


# ---- a batch to its loss


@every_model
@batch_on
def test_the_loss_and_its_gradient_are_those_of_the_cpu(name, on_device, device):
    model, batch = make(name), examples(name)
    batch["caption"] = batch["caption"][..., :5]  # no column of padding, which is cut only on the CPU
    there = copy.deepcopy(model).to(device)
    torch.manual_seed(2)
    wanted = model.loss(batch)
    wanted["loss"].backward()
    batch = moved(batch, device) if on_device else batch
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    torch.manual_seed(2)
    terms = there.loss(batch)
    terms["loss"].backward()
    assert not pretend.SYNCS + pretend.UPLOADS
    assert terms.keys() == wanted.keys()
    for term, value in wanted.items():
        same(terms[term], value, device)
    for p, expected in zip(there.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p.grad.cpu(), expected.grad, rtol=1e-4, atol=1e-5)
    for buffer, expected in zip(there.buffers(), model.buffers(), strict=True):
        same(buffer, expected, device)


@every_model
def test_padding_that_is_not_cut_changes_no_loss(name, device):
    model, batch = make(name).eval(), examples(name)
    wanted = model.loss(batch)
    assert model(batch).target.shape == (6, 2, 4)
    model.to(device)
    assert model(moved(batch, device)).target.shape == (6, 2, 5)
    for term, value in model.loss(moved(batch, device)).items():
        same(value, wanted[term], device)


@every_model
@batch_on
def test_what_is_computed_of_a_batch_is_on_the_device(name, on_device, device):
    model, batch = make(name).eval(), examples(name)
    batch["caption"] = batch["caption"][..., :5]
    there = copy.deepcopy(model).to(device)
    given = moved(batch, device) if on_device else batch
    for found, expected in zip(there(given), model(batch), strict=True):
        if expected is None:
            assert found is None
        else:
            same(found, expected, device)
    word = batch["caption"][..., 0]
    features, wanted = there.encode_image(given["regions"]), model.encode_image(batch["regions"])
    state, expected_state = there.initial_state(features), model.initial_state(wanted)
    state, expected_state = (tuple(p.expand(6, 2, -1) for p in parts) for parts in (state, expected_state))
    logits, state, alpha = there.step(features, state, given["caption"][..., 0])
    expected_logits, expected_state, expected_alpha = model.step(wanted, expected_state, word)
    for found, expected in zip((*features, logits, *state), (*wanted, expected_logits, *expected_state), strict=True):
        same(found, expected, device)
    assert (alpha is None) == (expected_alpha is None)
    if alpha is not None:
        same(alpha, expected_alpha, device)


def test_captions_are_checked_before_they_are_moved(device):
    model, batch = make("soft").to(device), examples("soft")
    for fault, says in ((9, "not among the 7 known"), (0, "goes on after padding")):
        wrong = batch["caption"].clone()
        wrong[1, 1, 1] = fault
        with pytest.raises(ValueError, match=f"{says}.*, in example 1"):
            model.loss({**batch, "caption": wrong})
    with pytest.raises(ValueError, match=r"regions.*NaN"):
        model.loss({**batch, "regions": batch["regions"].index_fill(0, torch.tensor([2]), math.nan)})
    with pytest.raises(ValueError, match="a caption is missing"):
        model.loss({**batch, "caption_present": torch.tensor([True] * 5 + [False])})
    with pytest.raises(TypeError, match="'caption' must be int64"):  # its type says no value: checked anywhere
        model.loss(moved({**batch, "caption": batch["caption"].float()}, device))
    with pytest.raises(ValueError, match=r"B = 6, got \(5, 2, 6\)"):
        model.loss(moved({**batch, "caption": batch["caption"][:5]}, device))


@pytest.mark.usefixtures("bfloat16_on_any_cpu")
@every_model
def test_captions_in_bfloat16(name):
    model, batch = make(name), examples(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for decode in DECODERS.values():
            found = decode(model, batch, 5)
            assert found.score.dtype == torch.float32
            assert found.score.isfinite().all()


# ---- decoding


@pytest.mark.parametrize("name", ["tell", "soft", "hard"])
@pytest.mark.parametrize("decode", [*DECODERS.values(), partial(beam_candidates, beams=3)], ids=[*DECODERS, "several"])
def test_captions_are_those_of_the_cpu_and_each_word_waits_once(name, decode, device):
    model, batch = make(name), {"regions": examples(name, 12)["regions"]}
    there, steps = copy.deepcopy(model).to(device), []
    there.output.register_forward_hook(lambda *_: steps.append(1))
    torch.manual_seed(2)
    wanted = decode(model, batch, 5)
    for given in (batch, moved(batch, device)):
        steps.clear()
        pretend.SYNCS.clear()
        torch.manual_seed(2)
        found = decode(there, given, 5)
        assert pretend.SYNCS.total() <= len(steps)
        for value, expected in zip(found, wanted, strict=True):
            if expected is None:
                assert value is None
            else:
                same(value, expected, device)


@every_decoder
def test_where_images_are_not_checked_nan_is_in_the_score(decode, device):
    model, images = make("soft").to(device), examples("soft")["regions"]
    images[2] = math.nan
    with pytest.raises(ValueError, match=r"regions.*NaN"):
        decode(model, {"regions": images}, 4)
    if decode is not sample:
        score = decode(model, {"regions": images.to(device)}, 4).score.cpu()
        assert score.isnan().tolist() == [k == 2 for k in range(6)]


# ---- encoders and decoders


class Block(nn.Conv2d):
    def __init__(self, before, after):
        super().__init__(before, after, 3, stride=2, padding=1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = Block(3, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Conv2d(4, 4, 1) for _ in range(4))
        self.fc = nn.Linear(4, 2)


class Lite(nn.Module):
    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0, self._swish = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU6()
        block = nn.Sequential(nn.Conv2d(4, 5, 1))
        block._bn2 = nn.BatchNorm2d(5)
        self._blocks = nn.ModuleList([block])


PARTS = {
    "tabular": (lambda: TabularEncoder(5, 4), (3, 5)),
    "image": (lambda: ImageEncoder(3, 4), (2, 3, 16, 16)),
    "image tokens": (lambda: ImageEncoder(3, 4, tokens=True), (2, 3, 16, 16)),
    "grid": (lambda: GridEncoder(3, (4, 5)), (2, 3, 16, 16)),
    "audio": (lambda: AudioEncoder(4), (2, 1, 16, 16)),
    "text": (lambda: TextEncoder(6, 4), (2, 5, 6)),
    "sequence": (lambda: SequenceEncoder(3, 4), (2, 7, 3)),
    "resnet": (lambda: ResNetGrid(Net(), grid=2), (2, 3, 16, 16)),
    "efficientnet": (lambda: EfficientNetLiteGrid(Lite(), grid=2, trained=("stem", "block0")), (2, 3, 16, 16)),
    "decoder": (lambda: ImageDecoder(5, 1, 8), (2, 5)),
}


@pytest.mark.parametrize("name", PARTS)
@batch_on
def test_an_encoder_takes_what_is_on_any_device(name, on_device, device):
    make_part, shape = PARTS[name]
    torch.manual_seed(0)
    part, x = make_part(), torch.rand(shape)
    there = copy.deepcopy(part).to(device)
    wanted = part(x)
    wanted.square().sum().backward()
    x = x.to(device) if on_device else x
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    found = there(x)
    found.square().sum().backward()
    assert not pretend.SYNCS + pretend.UPLOADS
    same(found, wanted, device)
    for p, expected in zip(there.parameters(), part.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(p.grad.cpu(), expected.grad, rtol=1e-4, atol=1e-5)
