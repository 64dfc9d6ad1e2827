"""Each model's `check_batch`, which `fit` asks before a batch leaves the CPU: it says what the loss would say there."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from devices.test_precision import CASES, device  # noqa: F401
from mmtutor.mfm import MFM, Factor, FromModality, cross_entropy


def spoilt(batch):
    """What is spoilt in a batch, and the batch."""
    for name, x in batch.items():
        bad = x.clone()
        if x.is_floating_point():
            bad[-1] = torch.nan
            present = {f"{name}_present": torch.ones(len(x), dtype=torch.bool)} if f"{name}_present" in batch else {}
            yield f"NaN in {name}", {**batch, name: bad, **present}
        elif name == "label" or name == "caption":
            bad[-1, ...] = 99
            yield f"an unknown {name}", {**batch, name: bad}


def says(function, batch):
    try:
        function(batch)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_the_loss_says(case):
    model, batch, *_ = CASES[case]()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(0)
    model.check_batch(batch)
    assert torch.equal(torch.rand(1), torch.manual_seed(0) and torch.rand(1))  # it draws nothing
    for what, bad in spoilt(batch):
        wanted = says(model.loss, bad)
        assert says(model.check_batch, bad) == wanted, what
        assert wanted is not None or not what.startswith("NaN"), what
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize("case", CASES)
def test_it_says_so_for_a_model_on_the_device_too(case, device):  # noqa: F811
    model, batch, *others = CASES[case]()
    wanted = {what: says(model.check_batch, bad) for what, bad in spoilt(batch)}
    for module in (model, *others):
        module.to(device)
    pretend.SYNCS.clear()
    for what, bad in spoilt(batch):
        assert says(model.check_batch, bad) == wanted[what], what
    assert not pretend.SYNCS


def test_the_classes_of_a_modality_are_those_of_its_decoder():
    style = Factor(FromModality("word", nn.Embedding(5, 6)), 6, z=2, f=3)
    decoder = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5))
    label = Factor(FromModality("word", nn.Embedding(5, 6)), 6, z=2, f=3)
    model = MFM(3, label, {"word": style}, {"word": decoder}, costs={"word": cross_entropy})
    batch = {"word": torch.arange(4), "label": torch.arange(4) % 3}
    model.check_batch(batch)
    assert decoder[0].num_batches_tracked == 0
    with pytest.raises(ValueError, match="'word' must be int64 from 0 to 4"):
        model.check_batch({**batch, "word": torch.tensor([0, 1, 2, 5])})
