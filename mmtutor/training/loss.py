"""A model's loss terms: asked for, checked, averaged over a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmtutor.training.batches import Batch, Examples, in_front
from mmtutor.training.modes import Modes, modes_restored, set_modes
from mmtutor.training.processes import Share
from mmtutor.training.readings import Readings
from mmtutor.training.seeds import private_rng


def check_model(model: object, *, trains: bool = True) -> None:
    """Refuse what has no loss, or nothing to train."""
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"model must be a torch.nn.Module, got {got}")
    if not callable(getattr(model, "loss", None)):
        raise TypeError(f"model must have a method loss(batch), but {type(model).__name__} has none")
    if trains and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameter to train (requires_grad=True)")


class Loss(nn.Module):
    """A model whose ``forward`` is its ``loss``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The terms, checked."""
        return terms_of(self.model, batch, "train")


def terms_of(model: Any, batch: Batch, data: str) -> dict[str, Tensor]:
    """``model.loss(batch)``, checked; only ``"loss"`` keeps its graph. ``data`` is the argument the batch is of."""
    with in_front(data):
        terms = model.loss(batch)
    if not isinstance(terms, Mapping):
        raise TypeError(f"{type(model).__name__}.loss must return a dict of terms, got {type(terms).__name__}")
    if "loss" not in terms:
        raise ValueError(f"{type(model).__name__}.loss must return a term 'loss', got {sorted(terms)}")
    for name, value in terms.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{type(model).__name__}.loss: {name!r} must be a tensor, got {type(value).__name__}")
        if value.ndim or value.is_complex():
            raise ValueError(
                f"{type(model).__name__}.loss: {name!r} must be one real number (shape ()), "
                f"got {value.dtype} of shape {tuple(value.shape)}"
            )
    if torch.is_grad_enabled() and not terms["loss"].requires_grad:
        raise ValueError(f"{type(model).__name__}.loss: 'loss' does not depend on any parameter that is trained")
    return {name: value if name == "loss" else value.detach() for name, value in terms.items()}


def mean_terms(model: nn.Module, examples: Examples, share: Share, seed: int) -> dict[str, float]:
    """Mean of each term over all examples, in evaluation mode and with noise of its own."""
    sums: dict[str, float] = {}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    readings = Readings(share, len(examples.plan(0)))
    # Not inference_mode: a model may take gradients inside its loss, as iterative inference does.
    with modes_restored(model), private_rng(seed), torch.no_grad():
        model.eval()
        for size, weight, batch in share.batches(examples, examples.plan(0), 0, device, model):
            readings.add(terms_of(model, batch, examples.name), "", size, weight)
    for reading in readings.read():
        add_means(sums, reading.means, reading.size)
    return {name: value / examples.count for name, value in sums.items()}


def add_means(sums: dict[str, float], means: Mapping[str, float], size: int) -> None:
    """Add a batch's mean terms to the sums, once per example."""
    if sums and means.keys() != sums.keys():
        raise ValueError(f"loss returned the terms {sorted(means)}, before {sorted(sums)}")
    for name, value in means.items():
        sums[name] = sums.get(name, 0.0) + value * size


def try_loss(
    model: nn.Module, examples: Examples, held_out: Examples | None, share: Share, modes: Modes
) -> tuple[str, ...]:
    """Take a batch of each kind through the loss, to see what is wrong before training; the names of its terms.

    The last batch of an epoch may be small. So one of its size is tried, too: of the first examples, which are known
    to be good.
    """
    device = share.accelerator.device
    names: tuple[str, ...] = ()
    for data, training in ((examples, True), (held_out, False)):
        if data is None:
            continue
        plan = data.plan(0)
        least = min(map(len, plan))
        for index in (plan[0], plan[0][:least])[: 1 if least == len(plan[0]) else 2]:
            _, _, batch = next(share.batches(data, [index], 0, device, model))
            with _buffers_kept(model), private_rng(0), torch.set_grad_enabled(training):
                set_modes(modes) if training else model.eval()
                try:
                    names = tuple(terms_of(model, batch, data.name))
                except Exception as error:
                    said = str(error).removeprefix(f"{data.name}: ")
                    if index is plan[0] and not said.startswith("Expected more than 1 value"):
                        raise
                    raise ValueError(
                        f"{data.name} has {data.count} examples and a batch of only {least}, which "
                        f"{type(model).__name__} cannot take ({said}); choose another batch_size, or hand over a "
                        "DataLoader with drop_last=True"
                    ) from error
    return names


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put the buffers back as they were, such as the running means of batch normalisation."""
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m.named_buffers(recurse=False)]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                setattr(module, name, buffer)
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


@contextmanager
def memory_noted(batch_size: int, accumulate: int = 1) -> Iterator[None]:
    """Say what to do when the device, or the computer, has not enough memory."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text:
            error.add_note(
                f"The batches (batch_size={batch_size}, or that of a DataLoader) are too large for the memory: try "
                f"half of it. fit(…, accumulate={2 * accumulate}) then makes each step of as many examples as before."
            )
        raise


def check_finite(values: Mapping[str, float], where: str, path: Path | None) -> None:
    """Stop at a term that is not finite; ``path`` is the checkpoint that is kept."""
    for name, value in values.items():
        if not math.isfinite(value):
            kept = f" The last good checkpoint is {path}." if path is not None and path.exists() else ""
            raise FloatingPointError(
                f"{where}: the term {name!r} is {value}. Look at the data, or try a smaller learning rate.{kept}"
            )


def check_weights(model: nn.Module, where: str, path: Path | None) -> None:
    """A finite loss can have a gradient that is not; such weights must not get into a checkpoint."""
    named = dict(model.named_parameters())
    finite = torch.stack([p.isfinite().all() for p in named.values()]).tolist()  # all of them are read at once
    check_finite({f"weight {n}": 0.0 if f else math.nan for n, f in zip(named, finite, strict=True)}, where, path)
