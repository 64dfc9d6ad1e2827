"""Training and evaluation mode: which part of a model trains in which."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

Modes = list[tuple[nn.Module, bool]]


def training_modes(model: nn.Module) -> Modes:
    """Put a model into the modes in which it trains; each of its modules with its own.

    A model in training mode is left as it is: who has put a part into evaluation mode, such as a frozen encoder, means
    it. A model that comes in evaluation mode as a whole, as after a test, is put into training mode, except for parts
    in which nothing is trained.
    """
    if not model.training:
        frozen = [m for m in model.modules() if not m.training and is_frozen(m)]
        model.train()
        for part in frozen:
            part.eval()
    return [(module, module.training) for module in model.modules()]


def set_modes(modes: Modes) -> None:
    """Put each module into its mode."""
    for module, training in modes:
        module.training = training


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """Leave every module in the mode it came in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        set_modes(before)


def is_frozen(part: nn.Module) -> bool:
    """Whether it has parameters, and none of them is trained."""
    trained = [p.requires_grad for p in part.parameters()]
    return bool(trained) and not any(trained)


def warn_of_drift(model: nn.Module) -> None:
    """Warn of a frozen part that changes all the same: batch normalisation in training mode averages what it sees."""
    for name, part in model.named_modules():
        drifts = [m for m in part.modules() if m.training and getattr(m, "running_mean", None) is not None]
        if drifts and is_frozen(part):
            plain = all(word.isidentifier() for word in name.split("."))
            call = f"model.{name}" if plain else f"model.get_submodule({name!r})"
            warnings.warn(
                f"fit: {name!r} is frozen, but its {type(drifts[0]).__name__} is in training mode and would change "
                f"with every batch; call {call}.eval() before fit",
                stacklevel=3,
            )
            return
