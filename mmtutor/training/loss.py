"""A model's loss terms: asked for, checked, averaged over a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmtutor.training.batches import Batch, Examples
from mmtutor.training.processes import Share
from mmtutor.training.readings import Readings
from mmtutor.training.seeds import private_rng


def check_model(model: object, *, trains: bool = True) -> None:
    """Refuse what has no loss, or nothing to train."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
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
        return terms_of(self.model, batch)


def terms_of(model: Any, batch: Batch) -> dict[str, Tensor]:
    """``model.loss(batch)``, checked; only ``"loss"`` keeps its graph."""
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
            readings.add(terms_of(model, batch), "", size, weight)
    for reading in readings.read():
        add_means(sums, reading.means, reading.size)
    return {name: value / examples.count for name, value in sums.items()}


def add_means(sums: dict[str, float], means: Mapping[str, float], size: int) -> None:
    """Add a batch's mean terms to the sums, once per example."""
    if sums and means.keys() != sums.keys():
        raise ValueError(f"loss returned the terms {sorted(means)}, before {sorted(sums)}")
    for name, value in means.items():
        sums[name] = sums.get(name, 0.0) + value * size


def try_loss(model: nn.Module, examples: Examples, held_out: Examples | None, share: Share) -> tuple[str, ...]:
    """Take one batch of each kind through the loss, to see what is wrong before training; the names of its terms."""
    device = share.accelerator.device
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m.named_buffers(recurse=False)]
    for data, training in ((examples, True), (held_out, False)):
        if data is None:
            continue
        _, _, batch = next(share.batches(data, data.plan(0)[:1], 0, device, model))
        with private_rng(0), torch.set_grad_enabled(training):
            model.train(training)
            try:
                names = tuple(terms_of(model, batch))
            finally:
                with torch.no_grad():
                    for module, name, buffer, value in buffers:
                        setattr(module, name, buffer)
                        if not torch.equal(buffer, value):
                            buffer.copy_(value)
    return names


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


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """Leave every module in the mode it came in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
