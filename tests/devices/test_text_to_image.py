"""Text to image on the pretend accelerator: as on the CPU, and no step waits for the device."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.text_to_image import (
    ConditionalGAN,
    Discriminator,
    FlowMatching,
    Generator,
    MatchingAware,
    Relativistic,
    TextToImageGAN,
    VelocityNetwork,
)

MODELS = {"conditional": ConditionalGAN, "matching-aware": MatchingAware, "relativistic": Relativistic, "flow": None}


def model_of(name):
    torch.manual_seed(0)
    if name == "flow":
        return FlowMatching(VelocityNetwork(6, 1, 8, 4), nn.Linear(4, 6), 6)
    generator = Generator(nn.Linear(4, 6), 6, 5, 1, 8, 8)
    options = {"projection": name == "conditional", "normalise": name != "relativistic"}
    discriminator = Discriminator(nn.Linear(4, 6), 6, 1, 8, 8, **options)
    return TextToImageGAN(generator, discriminator, 5, MODELS[name]())


def batch_of():
    torch.manual_seed(1)
    return {"picture": torch.rand(6, 1, 8, 8), "sentence": torch.randn(6, 4)}


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    with pretend.Mode():
        yield pretend.DEVICE
    pretend.SYNCS.clear()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("on_device", [False, True], ids=["batch on the CPU", "batch on the device"])
def test_the_loss_and_its_gradient_do_not_wait(name, on_device, device):
    model, batch = model_of(name), batch_of()
    there = copy.deepcopy(model).to(device)
    given = {name: x.to(device) if on_device else x for name, x in batch.items()}
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    found = there.loss(given)["loss"]
    found.backward()
    assert not pretend.SYNCS + pretend.UPLOADS
    assert found.device == device
    trained = [p for p in there.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.device == device for p in trained)
    options = {"shape": (1, 8, 8), "steps": 2} if name == "flow" else {}
    noise = torch.randn(6, 1, 8, 8) if name == "flow" else torch.randn(6, 5)
    same = copy.deepcopy(model).eval()
    same.load_state_dict({key: x.cpu() for key, x in there.state_dict().items()})
    wanted = same.draw(batch["sentence"], noise=noise, **options)
    drawn = there.eval().draw(given["sentence"], noise=noise, **options)
    assert drawn.device == device
    torch.testing.assert_close(drawn.cpu(), wanted, rtol=1e-4, atol=1e-5)
