"""Training that a score stops: the best weights stay, and a kill loses nothing."""

import pytest
import torch
from torch import nn

from mmtutor.training import fit, fit_by_score

DATA = {"x": torch.tensor([1.0, 3.0, 2.0])}


class Mean(nn.Module):
    """Its one number goes from 0 towards 2, with dropout that must not change when a run is resumed."""

    def __init__(self):
        super().__init__()
        self.mean, self.drop = nn.Parameter(torch.zeros(())), nn.Dropout(0.2)

    def loss(self, batch):
        return {"loss": ((self.drop(batch["x"]) - self.mean) ** 2).mean()}


def near_one(model):
    assert not any(module.training for module in model.modules())
    assert not torch.is_grad_enabled()
    return -abs(model.mean.item() - 1)


def rising(model):
    return model.mean.item()


def train(score=near_one, epochs=40, patience=3, model=None, **settings):
    model = Mean() if model is None else model
    settings = {"lr": 0.1, "optimizer": torch.optim.SGD, "progress": False, "batch_size": 2, **settings}
    return model, fit_by_score(model, DATA, score, epochs=epochs, patience=patience, **settings)


def test_the_weights_with_the_highest_score_stay(fit_device):
    model, history = train()
    scores = history.valid["score"]
    assert history.best_epoch == scores.index(max(scores))
    assert len(scores) == history.best_epoch + 1 + 3 < 40
    assert -abs(model.mean.item() - 1) == pytest.approx(max(scores))
    assert len(history.train["loss"]) == len(history.seconds) == len(scores)
    assert set(history.valid) == {"score"}
    assert model.training  # as it came


def test_training_is_that_of_fit(fit_device):
    model, history = train(rising, epochs=4)
    other = Mean()
    alone = fit(other, DATA, epochs=4, lr=0.1, optimizer=torch.optim.SGD, progress=False, batch_size=2)
    assert history.train == alone.train
    assert model.mean.item() == other.mean.item()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_stop_at_any_epoch_changes_nothing(tmp_path, fit_device, at):
    def stops(epoch, model, history):
        if epoch == at - 1:
            raise Killed

    wanted, history = train(checkpoint=tmp_path / "whole")
    with pytest.raises(Killed):
        train(checkpoint=tmp_path / "run", callbacks=[stops])
    model, again = train(checkpoint=tmp_path / "run")
    assert model.mean.item() == wanted.mean.item()
    assert (again.train, again.valid, again.best_epoch) == (history.train, history.valid, history.best_epoch)


def test_a_finished_run_is_loaded_and_another_one_is_refused(tmp_path, fit_device):
    path = tmp_path / "run"
    wanted, history = train(checkpoint=path)
    calls = []
    model, again = train(checkpoint=path, callbacks=[lambda *_: calls.append(1)])
    assert not calls
    assert model.mean.item() == wanted.mean.item()
    assert again.seconds == history.seconds
    with pytest.raises(ValueError, match="was made with optimizer"):
        train(checkpoint=path, lr=0.2)
    with pytest.raises(ValueError, match="was made with the model's score"):
        train(rising, checkpoint=path)


def test_scores_that_are_no_numbers_and_no_patience_are_refused(fit_device):
    with pytest.raises(FloatingPointError, match="nan"):
        train(lambda model: float("nan"))
    with pytest.raises(ValueError, match="patience must be at least 1"):
        train(patience=0)
    with pytest.raises(TypeError, match="model"):
        train(model=3)
