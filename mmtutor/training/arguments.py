"""The arguments of `fit`: what they may be, and what is said where they are something else."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import nn

Direction = Literal["min", "max"]
Optimizer = Callable[..., torch.optim.Optimizer]

# The words of a term's name by which "auto" knows whether it should rise. A name with one of LOSSES is a loss, whatever
# else stands in it ("dice loss"); a "score" is one only where no other word says more ("Brier score").
LOSSES = {"loss", "losses", "error", "errors", "err", "cost", "penalty"}
FALLS = {"mse", "mae", "rmse", "mape", "nll", "kl", "kld", "ce", "bce", "crossentropy", "xent", "perplexity", "ppl"}
FALLS |= {"wer", "cer", "eer", "fid", "brier", "distance", "divergence", "regret", "bpd"}
RISES = {"accuracy", "accuracies", "acc", "f1", "auc", "auroc", "auprc", "roc", "recall", "precision", "sensitivity"}
RISES |= {"specificity", "correlation", "corr", "pearson", "spearman", "kappa", "mcc", "bleu", "cider", "meteor"}
RISES |= {"rouge", "spice", "r2", "iou", "miou", "jaccard", "dice", "ndcg", "mrr", "psnr", "ssim"}
TURNED = {"neg", "negative", "minus", "inverse", "inv", "non", "not"}


def whole_number(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least so much, as an int."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an int, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return number


def positive(name: str, value: object) -> float:
    """A positive number, as a float."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return number


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def direction(monitor: str, mode: str) -> Direction:
    """Whether the monitored term should fall or rise.

    Examples:
        >>> direction("valid accuracy", "auto"), direction("dice_loss", "auto"), direction("label", "min")
        ('max', 'min', 'min')
    """
    if mode == "min" or mode == "max":
        return "min" if mode == "min" else "max"
    words = {w for w in re.split(r"[^a-z0-9]+", monitor.lower()) if w}
    words |= {w.rstrip("0123456789") for w in words}  # "bleu4"
    turned = words & TURNED or re.match(r"\s*(1\s*)?[-−–]", monitor)  # "1 - accuracy"
    falls, rises = bool(words & FALLS) or {"cross", "entropy"} <= words, bool(words & RISES)
    if words & LOSSES and not turned:
        return "min"
    if not turned and falls != rises:
        return "min" if falls else "max"
    if not turned and not falls and words & {"score", "scores"}:
        return "max"
    raise ValueError(
        f"fit: is monitor={monitor!r} better when it is low or when it is high? Its name does not tell: "
        "add mode='min' or mode='max'"
    )


def check_optimizer(optimizer: object, callbacks: object) -> None:
    """Refuse what cannot be called, and an optimiser that is made already, or with a learning rate of its own."""
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"fit: optimizer must be a class that fit calls with the model's parameters, not a ready {_name(optimizer)}"
            f": hand over torch.optim.{_name(optimizer)}, or functools.partial(torch.optim.{_name(optimizer)}, …)"
        )
    if not callable(optimizer):
        raise TypeError(
            f"fit: optimizer must be callable, such as torch.optim.AdamW, or functools.partial of it; got {optimizer!r}"
        )
    if isinstance(optimizer, functools.partial) and "lr" in optimizer.keywords:
        raise ValueError("fit: the learning rate is fit's own argument: give lr=… to fit, not to the optimizer")
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(f"fit: callbacks must be a list of functions, got {callbacks!r}")
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"fit: callbacks must be callable, got {callback!r}")


def make_optimizer(optimizer: Optimizer, weights: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """The optimiser of the weights, one that takes a step from gradients alone."""
    stepper = optimizer(weights, lr=lr)
    if not isinstance(stepper, torch.optim.Optimizer):
        raise TypeError(f"fit: optimizer(...) must make a torch Optimizer, got {type(stepper).__name__}")
    closure = inspect.signature(stepper.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(f"fit: {_name(stepper)} asks for the loss again within a step, which fit does not do")
    return stepper


def _name(value: object) -> str:
    return type(value).__name__
