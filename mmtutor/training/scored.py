"""Training that a score stops: one that is no mean of a loss, such as BLEU of captions that the model generates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmtutor.training.arguments import Optimizer
from mmtutor.training.batches import Data
from mmtutor.training.loop import Callback, Resume, Schedule, fit
from mmtutor.training.loss import check_model
from mmtutor.training.state import History


def fit_by_score(
    model: nn.Module,
    train: Data,
    score: Callable[[nn.Module], float],
    *,
    epochs: int,
    patience: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    accumulate: int = 1,
    seed: int = 0,
    optimizer: Optimizer = torch.optim.Adam,
    schedule: Schedule = "constant",
    clip_norm: float | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: Resume = "auto",
    progress: bool = True,
) -> History:
    """Train with `fit` until a score stops rising, and keep the weights that had the highest.

    `fit` itself stops by a term of the validation loss, a mean over examples. A score need not be one: Xu and others
    (2015, section 4.3) stop by BLEU of the captions that the model generates for the validation images. Measure it on
    validation data, never on test data.

    Args:
        model: as for `fit`; it is trained in place.
        train: as for `fit`.
        score: of the model in evaluation mode, without gradients; higher is better. It is called once before training,
            to see that it works, and after each epoch.
        epochs: at most.
        patience: stop after this many epochs without a higher score.
        lr: this and the others as for `fit`.
        batch_size: examples per batch.
        accumulate: batches per step.
        seed: of the order of the examples and of all noise.
        optimizer: called as ``optimizer(parameters, lr=lr)``.
        schedule: of the learning rate.
        clip_norm: gradients are scaled down to this norm.
        callbacks: called after each epoch, with a history whose ``valid`` also has ``"loss"``, minus the score.
        checkpoint: of this function, not for `load_weights`.
        checkpoint_every: write it also after every so many steps.
        resume: a run that was killed goes on.
        progress: show a bar.

    Returns:
        The history: ``valid["score"]`` has the score after each epoch, and ``best_epoch`` is that of the highest.

    Raises:
        TypeError: as in `fit`.
        ValueError: as in `fit`.
        FloatingPointError: a score is not finite; else as in `fit`.

    Examples:
        >>> class Mean(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = nn.Parameter(torch.zeros(()))
        ...
        ...     def loss(self, batch):
        ...         return {"loss": ((batch["x"] - self.mean) ** 2).mean()}
        >>> model, data = Mean(), {"x": torch.tensor([1.0, 3.0])}
        >>> best = lambda model: -abs(model.mean.item() - 1)
        >>> history = fit_by_score(model, data, best, patience=2, epochs=50, lr=0.1, optimizer=torch.optim.SGD)
        >>> len(history.valid["score"]), history.best_epoch, f"{model.mean.item():.2f}"
        (5, 2, '0.98')
    """
    history = fit(
        _Scored(model, score), train, _NOTHING, patience=patience, monitor="score", mode="max", epochs=epochs, lr=lr,
        batch_size=batch_size, accumulate=accumulate, seed=seed, optimizer=optimizer, schedule=schedule,
        clip_norm=clip_norm, callbacks=callbacks, checkpoint=checkpoint, checkpoint_every=checkpoint_every,
        resume=resume, progress=progress,
    )  # fmt: skip
    return replace(history, valid={"score": history.valid["score"]})


_NOTHING = {"score": torch.zeros(1)}  # the validation data of `fit`: one example, with nothing in it


class _Scored(nn.Module):
    """A model whose validation loss is its score."""

    def __init__(self, model: nn.Module, score: Callable[[nn.Module], float]) -> None:
        super().__init__()
        check_model(model)
        self.model, self.score = model, score
        self.masks_on_cpu = bool(getattr(model, "masks_on_cpu", False))
        self.train(model.training)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if batch.keys() != _NOTHING.keys():
            return self.model.loss(batch)  # type: ignore[no-any-return, operator]
        score = batch["score"].new_tensor(float(self.score(self.model)))
        return {"loss": -score, "score": score}

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """As the model does, before a batch leaves the CPU."""
        if batch.keys() != _NOTHING.keys() and hasattr(self.model, "check_batch"):
            self.model.check_batch(batch)  # type: ignore[operator]
