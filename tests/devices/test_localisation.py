"""Sound localisation on the pretend accelerator: as on the CPU, and no step waits for the device."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.localisation import Attention, LogSumExp, Max, Positives, SoundLocalisation

MODELS = {"log-sum-exp": LogSumExp, "attention": Attention, "max": Max, "positives": Positives}


def model_of(name):
    torch.manual_seed(0)
    return SoundLocalisation({"scene": nn.Linear(5, 6), "spoken": nn.Linear(4, 8)}, [6, 8], 3, MODELS[name]())


def batch_of():
    torch.manual_seed(1)
    present = torch.tensor([1, 1, 0, 1, 1, 1]).bool()
    return {"scene": torch.randn(6, 9, 5), "spoken": torch.randn(6, 4), "scene_present": present}


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    with pretend.Mode():
        yield pretend.DEVICE
    pretend.SYNCS.clear()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("on_device", [False, True], ids=["batch on the CPU", "batch on the device"])
def test_the_loss_and_its_gradient_are_those_of_the_cpu_without_a_wait(name, on_device, device):
    model, batch = model_of(name), batch_of()
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
    assert abs(found.item() - wanted.item()) < 1e-4
    for p, expected in zip(there.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p.grad.cpu(), expected.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(there.eval()(given).cpu(), model.eval()(batch), rtol=1e-4, atol=1e-5)
    threshold = there.calibrate(given)
    assert threshold.device == device
    assert there.comes_from_picture(given).cpu().tolist() == (model.fits(batch) > there.threshold.cpu()).tolist()
