"""The additive projection: by loops, by least squares, and of models of which it is known."""

import pytest
import torch
from torch import nn

from mmtutor.data import MultimodalDataset
from mmtutor.metrics import emap, predict


class Both(nn.Module):
    """Scores of two modalities, of which a share is additive."""

    def __init__(self, together=1.0):
        super().__init__()
        self.together, self.calls = together, 0
        torch.manual_seed(0)
        self.one, self.other = nn.Linear(3, 4).double(), nn.Linear(2, 4).double()

    def forward(self, batch):
        self.calls += 1
        a, b = self.one(batch["image"]), self.other(batch["text"])
        return a + b + self.together * a * b


def data(n=7):
    torch.manual_seed(1)
    image, text = torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 2, dtype=torch.float64)
    return {"image": image, "text": text, "label": torch.arange(n) % 4}


def test_it_is_the_mean_over_the_partners():
    model, examples = Both(), data()
    f = {(i, j): model({"image": examples["image"][[i]], "text": examples["text"][[j]]})[0].detach()
         for i in range(7) for j in range(7)}  # fmt: skip
    everything = sum(f.values()) / 49
    wanted = [sum(f[i, j] for j in range(7)) / 7 + sum(f[j, i] for j in range(7)) / 7 - everything for i in range(7)]
    for modality in ("image", "text", ["text"]):
        found = emap(model, MultimodalDataset(examples), modality, batch_size=5)
        assert (found - torch.stack(wanted)).abs().max() < 1e-12


def test_it_is_the_nearest_of_all_additive_models():
    model, examples, n = Both(), data(), 7
    one, other = (x.flatten() for x in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    scores = model({"image": examples["image"][one], "text": examples["text"][other]}).detach()
    parts = torch.cat([nn.functional.one_hot(one, n), nn.functional.one_hot(other, n)], 1).double()
    best = parts @ torch.linalg.lstsq(parts, scores, driver="gelsd").solution
    assert (emap(model, examples, "image") - best.view(n, n, -1)[range(n), range(n)]).abs().max() < 1e-10


def test_an_additive_model_is_its_own_projection_and_a_product_of_signs_has_none():
    additive = Both(together=0.0)
    torch.testing.assert_close(emap(additive, data(), "image"), predict(additive, data()))

    class Product(nn.Module):
        def forward(self, batch):
            return torch.stack([batch["image"] * batch["text"], torch.zeros_like(batch["text"])], 1)

    signs = {"image": torch.tensor([1.0, 1.0, -1.0, -1.0]), "text": torch.tensor([1.0, -1.0, 1.0, -1.0])}
    assert torch.equal(emap(Product(), signs, "image"), torch.zeros(4, 2))


def test_masks_and_lengths_go_with_their_modality():
    class Reads(nn.Module):
        def forward(self, batch):
            assert torch.equal(batch["image_present"], batch["image"] > 0)
            assert torch.equal(batch["text_length"], batch["text"].long())
            return torch.stack([batch["image"], batch["text"]], 1)

    image, text = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])
    examples = {"image": image, "image_present": image > 0, "text": text, "text_length": text.long()}
    assert torch.equal(emap(Reads(), examples, "image"), torch.stack([image, text], 1))


class Wide(nn.Module):
    def forward(self, batch):
        return batch["image"][..., None]


def test_bad_input_is_refused():
    model = Both()
    for examples, modality, message in (
        (data(), "sound", "no modality 'sound', only image, text"),
        (data(), "label", "no modality 'label', only image, text"),
        (data(), ["image", "text"], "modality must name a part of the modalities, and leave another"),
        (data(), [], "modality must name a part"),
        (data(1), "image", "needs at least two examples, got one"),
    ):
        with pytest.raises(ValueError, match=f"^emap: {message}"):
            emap(model, examples, modality)
    with pytest.raises(ValueError, match=r"^emap: batch_size must be a whole number"):
        emap(model, data(), "image", batch_size=0)
    with pytest.raises(TypeError, match="must be a dict of tensors, not list"):
        emap(model, [data()], "image")
    assert model.calls == 0
    with pytest.raises(ValueError, match=r"^emap: the model must give scores \(B, classes\), got \(49, 3, 1\)"):
        emap(Wide(), data(), "image")
