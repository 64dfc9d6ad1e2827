"""`fit` and `evaluate` on the pretend accelerator: the same numbers as on the CPU, and hardly any wait for it."""

import pretend_device as pretend
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtutor.captioning import ShowAttendTell, Tokens
from mmtutor.data import EncodedPhotos, MultimodalDataset, Vocabulary, same_length
from mmtutor.fusion import Concat, LateFusion
from mmtutor.training import evaluate, fit, seed_everything

STEPS, SIZE = 20, 4  # of an epoch


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    """The accelerator, chosen by `fit`; one without float64 too, as Apple's."""
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    with pretend.chosen():
        yield pretend.DEVICE


def data(n=STEPS * SIZE):
    g = torch.Generator().manual_seed(0)
    image, sound = torch.randn(n, 6, generator=g), torch.randn(n, 4, generator=g)
    present = torch.rand(n, generator=g) > 0.2
    label = (image[:, 0] > 0).long()
    return MultimodalDataset({"image": image, "sound": sound, "sound_present": present, "label": label})


class Plain(Dataset):
    """Not in memory as tensors."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


def model():
    seed_everything(0)
    return LateFusion({"image": nn.Linear(6, 5), "sound": nn.Linear(4, 5)}, 2, Concat([5, 5]), hidden=8)


OPTIONS = {"epochs": 2, "batch_size": SIZE, "lr": 1e-2, "clip_norm": 1.0, "schedule": "one-cycle", "progress": False}


@pytest.mark.parametrize("kind", ["tensors", "large tensors", "dataset", "loader"])
def test_fit_ends_where_it_ends_on_the_cpu(kind, device, monkeypatch):
    train = {"dataset": Plain, "loader": lambda d: DataLoader(Plain(d), SIZE)}.get(kind, lambda d: d)
    if kind == "large tensors":
        monkeypatch.setattr("mmtutor.training.batches.LARGE", 10)
    expected = model()
    with monkeypatch.context() as undo:
        undo.setattr(pretend, "DEVICE", torch.device("cpu"))
        history = fit(expected, train(data()), data(50), **OPTIONS)
    ours = model()
    found = fit(ours, train(data()), data(50), **OPTIONS)
    assert next(ours.parameters()).device == device
    assert found.train["loss"] == pytest.approx(history.train["loss"], rel=1e-5)
    assert found.valid["loss"] == pytest.approx(history.valid["loss"], rel=1e-5)
    for p, q in zip(ours.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p.cpu(), q, rtol=1e-4, atol=1e-6)
    with pretend.Mode():
        assert evaluate(ours, data(50))["loss"] == pytest.approx(found.valid["loss"][-1], rel=1e-5)


def spoilt(name, value, at):
    """Data with one bad value, and what is said about it."""
    examples = data(70)
    examples.tensors[name][at] = value
    return examples


BAD = {
    "NaN": ("image", torch.nan, 66, "'image' holds NaN or infinite values, first in example"),
    "label": ("label", 5, 66, "needs labels from 0 to 1, got 5 in example"),
}


@pytest.mark.parametrize("kind", ["tensors", "large tensors", "loader"])
@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named_before_they_are_on_the_device(name, kind, device, monkeypatch):
    *bad, says = BAD[name]
    if kind == "large tensors":
        monkeypatch.setattr("mmtutor.training.batches.LARGE", 10)
    monkeypatch.setattr("mmtutor.training.batches.CHUNK", 40)
    examples = DataLoader(Plain(spoilt(*bad)), 10) if kind == "loader" else spoilt(*bad)
    before = {n: p.clone() for n, p in model().state_dict().items()}
    ours = model()
    with pytest.raises(ValueError, match=says) as error:
        fit(ours, examples, epochs=1, batch_size=10, progress=False)
    if kind == "tensors":  # all of them are looked at before the first step
        assert "train, counted from example 40: LateFusion: " in str(error.value)
        assert "in example 26" in str(error.value)
        assert all(torch.equal(p.cpu(), before[n]) for n, p in ours.state_dict().items())
    with pretend.Mode(), pytest.raises(ValueError, match=says):
        evaluate(ours, examples)


@pytest.mark.parametrize("device", [True], indirect=True)
def test_a_data_set_is_looked_at_once(device, monkeypatch):
    seen = []
    monkeypatch.setattr(LateFusion, "check_batch", lambda model, batch: seen.append(len(batch["label"])))
    fit(model(), data(), data(50), epochs=3, batch_size=SIZE, progress=False)
    assert seen == [STEPS * SIZE, 50]


def waits(steps, **options):
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    fit(model(), data(steps * SIZE), **{**OPTIONS, "epochs": 1}, **options)
    return (pretend.SYNCS + pretend.UPLOADS).total()


@pytest.mark.parametrize("device", [True], indirect=True)
def test_at_most_one_step_in_twenty_waits(device):
    more, few = waits(160), waits(60)
    assert more - few <= 100 / 20, pretend.SYNCS + pretend.UPLOADS
    assert more > few  # it does read what it measured


def waits_on_photographs(captions):
    """How often `fit` waits in an epoch of steps with eight captions of one length, of encoded photographs."""
    photographs = EncodedPhotos(torch.rand(captions, 4, 5).half(), [["a dog"]] * captions)
    train = same_length(photographs.tokenised(Vocabulary(["a", "dog"]), 6, 1), 8)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    fit(ShowAttendTell(nn.Identity(), 5, Tokens(6), image="regions"), train, epochs=1, clip_norm=5.0, progress=False)
    return (pretend.SYNCS + pretend.UPLOADS).total()


@pytest.mark.parametrize("device", [True], indirect=True)
def test_photographs_in_batches_of_one_length_do_not_wait(device):
    more, few = waits_on_photographs(8 * 100), waits_on_photographs(8 * 40)
    assert more - few <= 60 / 20, pretend.SYNCS + pretend.UPLOADS


@pytest.mark.parametrize("device", [True], indirect=True)
def test_validation_waits_once(device):
    counts = []
    for n in (4, 100):
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        fit(model(), data(8), data(n), epochs=1, batch_size=SIZE, progress=False)
        counts.append((pretend.SYNCS + pretend.UPLOADS).total())
    assert counts[0] == counts[1]


def test_a_loss_that_is_not_finite_is_named_with_its_step_and_never_stored(device, tmp_path):
    class Bad(LateFusion):
        def loss(self, batch):
            terms = super().loss(batch)
            self.steps = getattr(self, "steps", 0) + 1
            return {"loss": terms["loss"] * (torch.nan if self.steps == 8 else 1.0)}

    seed_everything(0)
    bad = Bad({"image": nn.Linear(6, 5)}, 2, Concat([5]))
    path = tmp_path / "run.safetensors"
    with pytest.raises(FloatingPointError, match=r"step 7 of 20: the term 'loss' is nan"):  # one loss is tried before
        fit(bad, data(), epochs=1, batch_size=SIZE, progress=False, checkpoint=path, checkpoint_every=10)
    assert not path.exists()


def test_a_run_goes_on_from_its_checkpoint(device, tmp_path):
    path, whole, parts = tmp_path / "run.safetensors", model(), model()
    options = {"batch_size": SIZE, "progress": False}
    fit(whole, data(40), epochs=2, **options)
    fit(parts, data(40), epochs=1, checkpoint=path, **options)
    again = model()
    fit(again, data(40), epochs=2, checkpoint=path, **options)
    for p, q in zip(again.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(p.cpu(), q.cpu(), rtol=1e-5, atol=1e-7)
