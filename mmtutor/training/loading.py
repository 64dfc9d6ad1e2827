"""Trained weights from a file: of a run of `fit`, or of any other program."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmtutor.training.checkpoint import is_checkpoint, read_checkpoint, read_safetensors

M = TypeVar("M", bound=nn.Module)
PICKLES = (b"PK\x03\x04", b"\x80")  # how the files of torch.save begin, new and old


def load_weights(model: M, path: str | os.PathLike[str]) -> M:
    """Load trained weights into a model and put it into evaluation mode, ready to use.

    Everything is checked before anything is changed, and nothing is unpickled: a file cannot run code.

    Args:
        model: of the same architecture as the one that was trained, on any device, where it stays.
        path: a checkpoint of `fit`, or any safetensors file of a ``state_dict``. Of a run with ``patience`` the weights
            of the best epoch are taken, else the last.

    Returns:
        The model.

    Raises:
        TypeError: the model is no `torch.nn.Module`.
        ValueError: the file is damaged, of another format or of another model: a weight is missing there or here, or
            has another shape.
        FileNotFoundError: there is no such file.

    Examples:
        >>> import tempfile, torch
        >>> from safetensors.torch import save_file
        >>> path = tempfile.mkdtemp() + "/linear.safetensors"
        >>> save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, path)
        >>> model = load_weights(nn.Linear(2, 1), path)
        >>> model(torch.tensor([[3.0, 4.0]])).item(), model.training
        (7.0, False)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"load_weights: model must be a torch.nn.Module, got {type(model).__name__}")
    saved, state = _read(Path(path)), model.state_dict()
    for name in [*state, *saved]:
        ours, theirs = state.get(name), saved.get(name)
        if ours is None or theirs is None:
            has = "the model has no" if ours is None else "the file has no"
            raise ValueError(f"load_weights: {path} is of another model: {has} {name!r}{_hint(state, saved)}")
        if is_lazy(ours):
            raise ValueError(f"load_weights: {name!r} has no shape yet; take one batch through the model before")
        if ours.shape != theirs.shape or ours.is_floating_point() != theirs.is_floating_point():
            raise ValueError(
                f"load_weights: {path} is of another model: {name!r} is {_kind(theirs)} in the file and "
                f"{_kind(ours)} in the model"
            )
    model.load_state_dict(saved)
    return model.eval()


def _read(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by their names in the model."""
    try:
        tensors, header = read_safetensors(path)
    except ValueError as error:
        if path.is_file() and path.read_bytes()[:4].startswith(PICKLES):
            raise ValueError(
                f"load_weights: {path} is a pickle, as torch.save writes it, which could run code; load it with "
                "model.load_state_dict(torch.load(path, weights_only=True)), and keep weights with "
                "safetensors.torch.save_file(model.state_dict(), path)"
            ) from error
        raise
    if not is_checkpoint(header):
        # safetensors keeps one of several names of one tensor, and notes the others.
        return tensors | {name: tensors[kept] for name, kept in header.items() if kept in tensors}
    tensors, _ = read_checkpoint(path)
    best = any(name.startswith("best/") for name in tensors)
    prefix = "best/" if best else "model/"
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


# ---- messages


def _hint(state: Collection[str], saved: Mapping[str, Tensor]) -> str:
    """What is to be done where the names of one side are those of the other with something in front."""
    names = [name for name in state if name not in saved]
    others = [name for name in saved if name not in state]
    if not names or not others:
        return ""
    for name in others:
        if name.endswith(f".{names[0]}"):
            prefix = name.removesuffix(names[0])
            return (
                f", but {name!r}: the model seems to be the part {prefix.removesuffix('.')!r} of a larger or wrapped "
                f"one; load the whole, or save the weights anew without {prefix!r} in front of their names"
            )
        if names[0].endswith(f".{name}"):
            part = names[0].removesuffix(f".{name}")
            return f", but {name!r}: it seems to be of the part {part!r}; call load_weights(model.{part}, path)"
    return f", but {others[0]!r}"


def _kind(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
