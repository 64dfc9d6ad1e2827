"""The recipe for photographs runs from files to scores, and resumes after a stop."""

import json

import pytest
import torch
from PIL import Image
from test_encoders import TinyResNet

from experiments.photographs import main, train_and_test
from mmtutor.data import photos


@pytest.fixture
def parts(tmp_path):
    """Six photographs of a split colour each, in Karpathy's format."""
    images = []
    for k, split in enumerate(["train"] * 4 + ["val", "test"]):
        name, colour = f"{k}.png", ("red", "blue")[k % 2]
        Image.new("RGB", (40, 32), colour).save(tmp_path / name)
        sentences = [{"tokens": text.split()} for text in (f"a {colour} wall", f"{colour}", f"this is {colour}")]
        images.append({"filename": name, "split": split, "sentences": sentences})
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "dataset": "walls"}))
    listing = tmp_path / "captions.json"
    return {s: photos(s, captions=listing, images=tmp_path, size=32) for s in ("train", "valid", "test")}


def test_the_recipe_runs_and_is_not_repeated(parts, tmp_path, fit_device):
    torch.manual_seed(0)
    resnet = TinyResNet()
    before = {name: p.clone() for name, p in resnet.named_parameters()}
    settings = {"epochs": 2, "fine_tune": 1, "batch_size": 2, "min_count": 1, "units": 8, "workers": 0}
    scores = train_and_test(parts, resnet, tmp_path / "out", **settings)
    assert list(scores) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    assert all(0 <= value <= 1 for value in scores.values())
    moved = {name.split(".")[0] for name, p in resnet.named_parameters() if not p.cpu().equal(before[name])}
    assert moved == {"layer2", "layer3", "layer4"}
    files = {"vocabulary.json", "frozen.safetensors", "fine-tuned.safetensors", "scores.json"}
    assert files <= {path.name for path in (tmp_path / "out").iterdir()}
    assert json.loads((tmp_path / "out/scores.json").read_text()) == scores
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    torch.manual_seed(0)
    assert train_and_test(parts, TinyResNet(), tmp_path / "out", **settings) == scores
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_half_a_set_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["photographs", "--images", "here"])
    with pytest.raises(SystemExit):
        main()
    assert "belong together" in capsys.readouterr().err
