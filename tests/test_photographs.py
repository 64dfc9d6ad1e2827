"""Captions for photographs, from small files in the real formats: training, scores, one file with all, the command."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image
from test_photo_encoders import TinyResNet
from torch import nn

from experiments import looking, photographs
from experiments.photographs import ROWS, Recipe, main, train_and_test
from mmtutor import photographs as library
from mmtutor.captioning import HardAttention, ShowAndTell, ShowAttendTell, Tokens, greedy
from mmtutor.data import EncodedPhotos, Vocabulary, photos
from mmtutor.photo_encoders import EfficientNetLiteGrid, ResNetGrid
from mmtutor.photographs import PhotoCaptioner

SMALL = {"units": 8, "embed": 8, "attend": 4, "batch": 4, "epochs": 2, "patience": 1}


@pytest.fixture
def listing(tmp_path):
    """Eight photographs of one colour each, in Karpathy's format."""
    images = []
    for k, split in enumerate(["train"] * 4 + ["val", "val", "test", "test"]):
        name, colour = f"{k}.png", ("red", "blue")[k % 2]
        Image.new("RGB", (40, 32), colour).save(tmp_path / name)
        texts = (f"a {colour} wall", f"{colour}", f"this is {colour}", f"a wall that is {colour}", f"the {colour} wall")
        images.append({"filename": name, "split": split, "sentences": [{"tokens": text.split()} for text in texts]})
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "dataset": "walls"}))
    return tmp_path / "captions.json"


@pytest.fixture
def parts(listing):
    return {s: photos(s, captions=listing, images=listing.parent, size=32) for s in ("train", "valid", "test")}


def tiny():
    torch.manual_seed(0)
    return ResNetGrid(TinyResNet(), grid=2, trained=())


@pytest.mark.parametrize("recipe", [{}, {"attention": "hard"}, {"attention": "none"}, {"read_first": True}])
def test_a_model_is_trained_scored_and_kept(parts, tmp_path, fit_device, recipe, monkeypatch):
    monkeypatch.setattr(library, "_encoder_name", lambda encoder: "tiny")
    monkeypatch.setattr(library, "_encoder", lambda name, grid: tiny())
    out = tmp_path / "out"
    scores = train_and_test(parts, tiny(), tmp_path / "regions", out, Recipe(**SMALL, **recipe), min_count=1)
    assert {f"BLEU-{k}" for k in range(1, 5)} | {"CIDEr", "words", "minutes", "best epoch"} <= scores.keys()
    assert json.loads((out / "scores.json").read_text()) == scores
    model = PhotoCaptioner.load(out / "captioner.safetensors")
    found = model.caption(tmp_path / "5.png")
    assert found.score < 0
    assert (found.alpha is None) == (recipe.get("attention") == "none")
    if found.alpha is not None:
        assert found.alpha.shape == (len(found.words), 4)
        assert (found.alpha.sum(1) - 1).abs().max() < 1e-5
    assert (
        found.words
        == PhotoCaptioner.load(out / "captioner.safetensors").caption((tmp_path / "5.png").read_bytes()).words
    )


def test_a_run_is_not_repeated_and_fine_tuning_changes_the_chosen_blocks(parts, tmp_path, fit_device, monkeypatch):
    monkeypatch.setattr(library, "_encoder_name", lambda encoder: "tiny")
    encoder, out = tiny(), tmp_path / "out"
    before = {name: p.clone() for name, p in encoder.named_parameters()}
    settings = {"min_count": 1, "fine_tune": 1, "trained_parts": ("layer4",)}
    scores = train_and_test(parts, encoder, tmp_path / "regions", out, Recipe(**SMALL), **settings)
    moved = {name.split(".")[1] for name, p in encoder.named_parameters() if not p.cpu().equal(before[name])}
    assert moved == {"layer4"}
    written = {
        path: path.stat().st_mtime_ns for path in out.glob("*.safetensors") if path.name != "captioner.safetensors"
    }
    assert train_and_test(parts, tiny(), tmp_path / "regions", out, Recipe(**SMALL), **settings) == scores
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_all_rows_are_measured_and_every_claim_has_its_numbers(parts, tmp_path, fit_device, monkeypatch):
    monkeypatch.setattr(photographs, "ROWS", {name: Recipe(**{**SMALL, "attention": r.attention, "spread": r.spread,
                        "read_first": r.read_first}) for name, r in ROWS.items()})  # fmt: skip
    monkeypatch.setattr(looking, "NOUNS", ("wall",))
    monkeypatch.setattr(looking, "HIDDEN", 1)
    encoder = tiny()
    data = {
        name: photographs.encode_photos(encoder, part, tmp_path / f"{name}.safetensors") for name, part in parts.items()
    }
    found = photographs.one_seed(0, data, tmp_path / "runs")
    assert all(np.isfinite(value) for value in found.values())
    for claim in photographs.CLAIMS:
        for name in (claim.larger, claim.smaller, *claim.show):
            assert name in found, name
    assert len(list((tmp_path / "runs").iterdir())) == len(ROWS) + 1


def test_controls_by_hand():
    references = [["a b", "a c", "d", "d", "d"], ["x y", "x y", "x y", "x y", "x y"]]
    right = photographs.numbers(["a b", "x y"], references)["BLEU-1"]
    wrong = photographs.of_wrong_photographs(["a b", "x y"], references)["BLEU-1"]
    assert (right, wrong) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))
    person = photographs.by_a_person([["a b"] * 5, ["c d"] * 5])
    assert person["BLEU-1"] == pytest.approx(1.0)
    four = photographs.against_four(["a b", "x y"], references)["BLEU-1"]  # without "a b" the word b is wrong
    assert four == pytest.approx((4 * 1.0 + 0.75) / 5)


class Looks(nn.Module):
    """Attention weights and log-probabilities that are known: each word is as likely as its first region is bright."""

    def __init__(self):
        super().__init__()
        self.tokens = Tokens(9)

    def forward(self, batch):
        regions, caption = batch["regions"], batch["caption"]  # (B, 4, 1), (B, 1, T + 1)
        target = caption[..., 1:]
        p = regions[:, :1, None].expand(*target.shape, 1)  # (B, 1, T, 1)
        logits = torch.full((*target.shape, 9), -torch.inf)
        logits[..., 8] = torch.log1p(-p[..., 0])
        logits = logits.scatter(3, target.unsqueeze(3), p.log())
        log_alpha = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().expand(*target.shape, 4)
        return type("Out", (), {"logits": logits, "target": target, "log_alpha": log_alpha})


def test_what_hiding_a_region_costs_by_hand(monkeypatch):
    monkeypatch.setattr(looking, "NOUNS", ("dog",))
    regions = torch.tensor([[0.8, 0.0, 0.0, 0.0], [0.4, 0.1, 0.1, 0.2]])[:, :, None].half()
    data = EncodedPhotos(regions, [["a dog dog"], ["dog"]])
    reading = looking.Reading(Looks(), data, Vocabulary(["a", "dog"]), 6)
    places = reading.first_nouns()
    assert places.tolist() == [[0, 1], [1, 0]]
    assert reading.log_p[places[:, 0], places[:, 1]].exp().tolist() == pytest.approx([0.8, 0.4], abs=1e-3)
    lost = reading.without(places, torch.tensor([[0], [0]]))  # regions become their means, .2 and .2
    assert lost == pytest.approx((np.log(0.8 / 0.2) + np.log(0.4 / 0.2)) / 2, abs=1e-3)
    assert reading.without(places, torch.tensor([[1], [2]])) == pytest.approx(0, abs=1e-6)
    assert torch.special.entr(reading.alpha[0, 1]).sum().exp().item() == pytest.approx(2**1.75)


def test_the_middle_and_the_agreement_by_hand():
    assert looking.centre(49).view(7, 7).sum(1).tolist() == [0, 0, 3, 3, 3, 0, 0]
    assert looking.centre(196).view(14, 14).sum(0).tolist() == [0, 0, 0, 0, 6, 6, 6, 6, 6, 6, 0, 0, 0, 0]
    x = torch.rand(3, 4).double()
    assert looking.correlation(x, 2 * x + 1) == pytest.approx(1)
    assert looking.correlation(x, -x) == pytest.approx(-1)
    assert looking.partners(["a", "b", "a", "c", "a"]) == [2, 1, 4, 3, 0]


# ---------------------------------------------------------------------------------------------- PhotoCaptioner


def portrait():
    return cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)


def captioner(attention=None, decoder=None):
    pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    vocabulary = Vocabulary(["a", "woman", "in", "uniform"])
    decoder = decoder or ShowAttendTell(nn.Identity(), 320, Tokens(8), image="regions", attention=attention)
    decoder.output.bias.data[2] = -9  # the end: a sentence of some words
    return PhotoCaptioner(EfficientNetLiteGrid.pretrained(), decoder, vocabulary, length=9, normalise=0.5)


@pytest.mark.parametrize("kind", ["soft", "hard", "read first", "none"])
def test_what_is_kept_is_what_is_read(tmp_path, kind, monkeypatch):
    torch.manual_seed(0)
    settings = {"image": "regions", "embed": 5, "hidden": 6}
    decoder = {
        "none": ShowAndTell(nn.Identity(), 320, Tokens(8), **settings),
        "read first": ShowAttendTell(nn.Identity(), 320, Tokens(8), read_first=True, **settings),
    }.get(kind)
    model = captioner(HardAttention() if kind == "hard" else None, decoder)
    model.save(tmp_path / "captioner.safetensors")
    again = PhotoCaptioner.load(tmp_path / "captioner.safetensors")
    assert (again.length, again.normalise, again.size) == (9, 0.5, 224)
    assert again.vocabulary.words == model.vocabulary.words
    one, other = model.caption(portrait()), again.caption(portrait())
    assert one.words == other.words
    assert one.score == other.score
    assert getattr(again.decoder, "read_first", None) == getattr(model.decoder, "read_first", None)
    asked = []
    search = library.beam_search
    monkeypatch.setattr(library, "beam_search", lambda *given: asked.append(given[2:]) or search(*given))
    again.caption(portrait(), beams=3)
    assert asked == [(9, 3, 0.5)]
    by_hand = greedy(model.decoder, {"regions": model.encoder(one.photo[None])}, 9)
    assert model.caption(portrait(), beams=1).words == model.vocabulary.decode(by_hand.tokens[0]).split()
    if kind == "none":
        with pytest.raises(ValueError, match="no attention to draw"):
            library.draw(one)
    else:
        assert len(library.draw(one).axes) > len(one.words)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mmtutor.photographs", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def test_the_command_captions_pictures_and_draws(tmp_path):
    model = captioner()
    model.save(tmp_path / "captioner.safetensors")
    done = command(portrait(), "--weights", tmp_path / "captioner.safetensors", "--figure", tmp_path / "look.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == model.caption(portrait()).words
    with Image.open(tmp_path / "look.png") as figure:
        assert min(figure.size) > 100
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for photo, weights, says in (
        (tmp_path / "broken.jpg", "captioner.safetensors", "cannot read .*broken.jpg"),
        (tmp_path / "nothing.jpg", "captioner.safetensors", "No such file"),
        (portrait(), "other.safetensors", "there is no checkpoint at"),
    ):
        failed = command(photo, "--weights", tmp_path / weights)
        assert failed.returncode == 1
        assert "Traceback" not in failed.stderr
        assert re.search(says, failed.stderr), failed.stderr


def test_other_files_and_parts_that_do_not_fit_are_refused(tmp_path):
    from mmtutor.training.checkpoint import write_checkpoint

    write_checkpoint(tmp_path / "run.safetensors", {"w": torch.ones(2)}, {"epoch": 3})
    with pytest.raises(ValueError, match=r"holds no captioner for photographs; python -m experiments.photographs"):
        PhotoCaptioner.load(tmp_path / "run.safetensors")
    wrong = ShowAttendTell(nn.Identity(), 320, Tokens(9), image="regions")
    with pytest.raises(ValueError, match="should read 'regions' and know 8 words, it reads 'regions' and knows 9"):
        captioner(decoder=wrong)
    with pytest.raises(ValueError, match="can keep EfficientNet-lite0, ResNet-50"):
        PhotoCaptioner(tiny(), ShowAndTell(nn.Identity(), 10, Tokens(4), image="regions"), Vocabulary([])).save(
            tmp_path / "x.safetensors"
        )


# ------------------------------------------------------------------------------------------------- the command


def test_half_a_set_is_refused(monkeypatch, capsys):
    for arguments, says in (
        (["--images", "here"], "belong together"),
        (["--splits", "0.1"], "Flickr8k has its own splits"),
    ):
        monkeypatch.setattr("sys.argv", ["photographs", *arguments])
        with pytest.raises(SystemExit):
            main()
        assert says in capsys.readouterr().err


def test_the_command_trains_from_files_to_scores(listing, tmp_path, monkeypatch, capsys, fit_device):
    pytest.importorskip("efficientnet_lite_pytorch")
    rows = {"soft": Recipe(**SMALL), "Show and Tell": Recipe(**SMALL, attention="none")}
    monkeypatch.setattr(photographs, "ROWS", rows)
    for row, seed in (("soft", 0), ("Show and Tell", 0), ("soft", 1)):  # all in one folder
        arguments = ["--captions", listing, "--images", tmp_path, "--folder", tmp_path / "out", "--row", row]
        monkeypatch.setattr("sys.argv", ["photographs", *map(str, arguments), "--seed", str(seed)])
        main()
        said = capsys.readouterr().out
        assert "BLEU-4" in said
        (weights,) = re.findall(r"--weights '(.+)'", said)
        found = PhotoCaptioner.load(weights).caption(tmp_path / "5.png")
        assert (found.alpha is None) == (row == "Show and Tell")
