"""The experiment on NLVR: what it reads of an example, how it cuts the data, and that a fold has all numbers."""

import io
import json
import math
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from experiments import nlvr

RGB = {"#0099ff": (0, 153, 255), "Yellow": (255, 255, 0), "Black": (0, 0, 0)}


def example(k):
    """Boxes of squares, and a sentence that is true where the first box has a black one."""
    rng = np.random.default_rng(k)
    boxes = [
        [
            {"x_loc": int(rng.integers(0, 80)), "y_loc": int(rng.integers(0, 80)), "type": "square",
             "size": int(rng.choice([10, 20, 30])), "color": str(rng.choice(list(RGB)))}
            for _ in range(1 + int(rng.integers(3)))
        ]
        for _ in range(3)
    ]  # fmt: skip
    black = any(thing["color"] == "Black" for thing in boxes[0])
    said = f"There is a Black square,  in box {'one' if k % 8 < 4 else 'a'}!"
    return {"sentence": said + f" {k // 4}", "label": str(black).lower(), "identifier": f"{k // 4}-{k % 4}",
            "structured_rep": boxes}  # fmt: skip


def drawn(boxes):
    picture = Image.new("RGB", (400, 100), (200, 200, 200))
    for b, box in enumerate(boxes):
        for thing in box:
            x, y = 150 * b + thing["x_loc"], thing["y_loc"]
            ImageDraw.Draw(picture).rectangle((x, y, x + thing["size"], y + thing["size"]), RGB[thing["color"]])
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("nlvr") / "nlvr.zip"
    examples = [example(k) for k in range(120)]
    with zipfile.ZipFile(path, "w") as file:
        for s, split in enumerate(nlvr.SPLITS):
            rows = examples[40 * s : 40 * (s + 1)]
            file.writestr(f"{split}.json", "\n".join(json.dumps(row) for row in rows))
            for row in rows:
                file.writestr(f"images/{split}-{row['identifier']}-0.png", drawn(row["structured_rep"]))
    return path, examples


def test_an_example_is_read_object_by_object(archive):
    path, examples = archive
    tensors, sentences = nlvr.read(path)
    assert sentences[0] == "there is a black square in box one 0"
    assert tensors["picture"].shape == (120, 3, 50, 200)
    assert 0 <= tensors["picture"].min() <= tensors["picture"].max() <= 1
    for k, row in enumerate(examples):
        assert tensors["label"][k] == (row["label"] == "true")
        things, kinds = tensors["objects"][k].view(3, nlvr.MOST, nlvr.FEATURES), tensors["shown_label"][k]
        for b, box in enumerate(row["structured_rep"]):
            assert things[b, :, 0].sum() == len(box)
            assert (things[b, len(box) :] == 0).all()
            wanted = torch.zeros(3, 3, 3)
            for i, thing in enumerate(box):
                colour, size = list(RGB).index(thing["color"]), nlvr.SIZES.index(thing["size"])
                assert things[b, i, [1 + b, 6 + colour, 9, 12 + size]].tolist() == [1, 1, 1, 1]
                assert things[b, i, 1:4].sum() == things[b, i, 6:9].sum() == things[b, i, 12:].sum() == 1
                assert things[b, i, 4:6].tolist() == pytest.approx([thing["x_loc"] / 50 - 1, thing["y_loc"] / 50 - 1])
                wanted[colour, 0, size] = 1
            assert torch.equal(kinds[b].view(3, 3, 3), wanted)


def test_a_sentence_is_in_one_part():
    sentences = [f"sentence {k % 50}" for k in range(200)]
    part = nlvr.parts(sentences)
    assert torch.equal(part, nlvr.parts(sentences))
    assert len({(sentence, int(p)) for sentence, p in zip(sentences, part, strict=True)}) == 50
    assert torch.bincount(part).tolist() == [20] * 10


def test_a_fold_has_all_numbers(archive, monkeypatch, fit_device):
    small = {"epochs of the image encoder": 1, "epochs at most": 1, "units": 8}
    monkeypatch.setattr(nlvr, "SETTINGS", nlvr.SETTINGS | small)
    found = nlvr.one_seed(3, *nlvr.read(archive[0]))
    wanted = {name for claim in nlvr.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    assert wanted <= found.keys()
    assert all(math.isfinite(value) for value in found.values())
    assert 0 <= found["commonest answer"] <= 1
