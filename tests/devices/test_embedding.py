"""Joint embedding on the pretend accelerator: as on the CPU, and no loss waits for the device."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.embedding import InfoNCE, JointEmbedding, Sigmoid, Triplet
from mmtutor.sentences import BagOfWords, RecurrentSentence, TransformerSentence

LOSSES = {
    "InfoNCE": lambda: InfoNCE(5.0),
    "triplet": lambda: Triplet(),
    "hardest": lambda: Triplet(hardest=True, warm_up=1),
    "sigmoid": lambda: Sigmoid(5.0, -1.0),
}
SENTENCES = {"bag": BagOfWords, "GRU": RecurrentSentence, "transformer": TransformerSentence}


def model_of(loss="InfoNCE", sentence="bag"):
    torch.manual_seed(0)
    encoders = {"picture": nn.Linear(5, 6), "words": SENTENCES[sentence](9, 8, 8)}
    return JointEmbedding(encoders, [6, 8], 4, LOSSES[loss](), several=True, group="digit_label")


def batch_of():
    torch.manual_seed(1)
    words = torch.randint(1, 9, (6, 2, 4))
    words[:, :, 3] = 0
    return {
        "picture": torch.randn(6, 5),
        "words": words,
        "picture_present": torch.tensor([1, 1, 0, 1, 1, 1]).bool(),
        "digit_label": torch.tensor([1, 2, 3, 1, 4, 5]),
    }


MODELS = [*((name, "bag") for name in LOSSES), ("InfoNCE", "GRU"), ("InfoNCE", "transformer")]


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    with pretend.Mode():
        yield pretend.DEVICE
    pretend.SYNCS.clear()


@pytest.mark.parametrize(("loss", "sentence"), MODELS)
@pytest.mark.parametrize("on_device", [False, True], ids=["batch on the CPU", "batch on the device"])
def test_the_loss_and_its_gradient_are_those_of_the_cpu_without_a_wait(loss, sentence, on_device, device):
    model, batch = model_of(loss, sentence), batch_of()
    there = copy.deepcopy(model).to(device)
    wanted = model.loss(batch)["loss"]
    wanted.backward()
    given = {name: x.to(device) if on_device else x for name, x in batch.items()}
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    found = there.loss(given)["loss"]
    found.backward()
    assert not pretend.SYNCS + pretend.UPLOADS
    assert found.device == device
    assert abs(found.item() - wanted.item()) < 1e-5
    for p, expected in zip(there.parameters(), model.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(p.grad.cpu(), expected.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there.similarity(given).cpu(), model.similarity(batch), rtol=1e-4, atol=1e-5)
