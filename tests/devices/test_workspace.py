"""Messages and the shared workspace on the pretend accelerator: as on the CPU, and no step waits for the device."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.embedding import InfoNCE
from mmtutor.workspace import (
    GaussianMessage,
    LinearLink,
    MessageTree,
    MixtureLink,
    SharedCategories,
    SharedWorkspace,
    TableLink,
)

MODELS = {
    "translation": {"translation": 1.0},
    "contrastive": {"contrastive": 1.0},
    "cycles": {"demi_cycle": 1.0, "cycle": 1.0},
    "all": {"translation": 1.0, "contrastive": 0.1, "demi_cycle": 1.0, "cycle": 1.0},
}


def model_of(name):
    torch.manual_seed(0)
    encoders, decoders = {"a": nn.Linear(5, 3), "b": nn.Linear(4, 3)}, {"a": nn.Linear(3, 5), "b": nn.Linear(3, 4)}
    weights = MODELS[name]
    return SharedWorkspace(encoders, decoders, weights, InfoNCE(3.0) if "contrastive" in weights else None)


def batch_of():
    torch.manual_seed(1)
    return {"a": torch.randn(6, 5), "b": torch.randn(6, 4), "b_present": torch.tensor([1, 1, 0, 1, 1, 1]).bool()}


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
        if expected.grad is not None:
            torch.testing.assert_close(p.grad.cpu(), expected.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        there.translate(given, to="b").cpu(), model.translate(batch, to="b"), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("on_device", [False, True], ids=["batch on the CPU", "batch on the device"])
def test_categories_are_those_of_the_cpu(on_device, device):
    batch = batch_of() | {"label": torch.arange(6) % 2, "label_present": torch.arange(6) < 4}
    model = SharedCategories({"a": MixtureLink(2, 5), "b": MixtureLink(2, 4), "label": TableLink(2, 2)})
    there = copy.deepcopy(model).to(device)
    wanted = model.fit_em(batch, 5)
    found = there.fit_em({name: x.to(device) if on_device else x for name, x in batch.items()}, 5)
    assert found.device == device
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-4)
    only = {"a": batch["a"]}
    torch.testing.assert_close(
        there.predict(only, to="label").probs.cpu(), model.predict(only, to="label").probs, rtol=1e-3, atol=1e-3
    )


def test_beliefs_are_those_of_the_cpu(device):
    torch.manual_seed(0)
    links = {
        "a": ("r", LinearLink(torch.randn(3, 2), torch.eye(3))),
        "b": ("a", LinearLink(torch.randn(2, 3), torch.eye(2))),
    }
    tree = MessageTree(links)
    there = copy.deepcopy(tree).to(device)
    evidence = {"b": torch.randn(4, 2), "r": GaussianMessage(torch.randn(4, 2), torch.eye(2))}
    wanted, found = tree.beliefs(evidence), there.beliefs(evidence)
    for m in ("r", "a"):
        assert found[m].mean.device == device
        torch.testing.assert_close(found[m].mean.cpu(), wanted[m].mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[m].covariance.cpu(), wanted[m].covariance, rtol=1e-4, atol=1e-5)
