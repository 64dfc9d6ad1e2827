"""Training that a score stops: one that is no mean of a loss, such as BLEU of captions that the model generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmtutor.training.batches import Data
from mmtutor.training.loop import fit
from mmtutor.training.loss import check_model
from mmtutor.training.state import History


def fit_by_score(
    model: nn.Module, train: Data, score: Callable[[nn.Module], float], *, patience: int, **settings: Any
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
        patience: stop after this many epochs without a higher score.
        settings: further arguments of `fit`, ``epochs`` (at most) among them. With ``checkpoint`` a run that was killed
            goes on; its file is of this function, not for `load_weights`.

    Returns:
        The history: ``valid["score"]`` has the score after each epoch, and ``best_epoch`` is that of the highest.

    Raises:
        TypeError: ``valid``, ``monitor`` or ``mode`` is given, which have no meaning here; else as in `fit`.
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
    for name in ("valid", "monitor", "mode"):
        if name in settings:
            raise TypeError(f"fit_by_score: {name} has no meaning here, the score takes its place")
    scored = _Scored(model, score)
    history = fit(scored, train, _NOTHING, patience=patience, monitor="score", mode="max", **settings)
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
