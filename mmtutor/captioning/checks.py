"""What a batch must be, what is said where it is not, and on which device it is read.

This file is the same in every folder of models, so that each folder can be copied alone; a test holds them equal.

Names, types and shapes are always checked. Values (NaN, labels, masks) are checked in tensors on the CPU alone: to read
them back from a GPU, a program must wait for it. So a batch is checked before it is moved.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

NO_MODALITY = ("label", "length")  # what a batch may have besides its modalities, masks and further labels


def check_batch(
    who: str, batch: Mapping[str, Tensor], known: Iterable[str], *, also: Sequence[str] = (), some: bool = True
) -> list[str]:
    """The known modalities that are in the batch, all of them checked.

    Args:
        who: the class that speaks.
        batch: what it was handed.
        known: the modalities that it reads.
        also: names of other tensors that it reads.
        some: whether each example needs one of the known modalities; not so where others are read elsewhere.

    Raises:
        TypeError: a modality is no tensor.
        ValueError: there is no modality, one is misspelt, sizes differ, a mask is no mask, values that are there are
            NaN or infinite, or an example has no modality at all.
    """
    known = list(known)
    if not isinstance(batch, Mapping):
        raise TypeError(f"{who}: a batch must be a dict of tensors, got {kind(batch)}")
    names = [m for m in known if m in batch]
    for m in names:
        if not isinstance(batch[m], Tensor) or not batch[m].ndim:
            raise TypeError(f"{who}: {m!r} must be a tensor (B, …), got {kind(batch[m])}")
    unknown = [k for k in batch if k not in (*known, *also, *NO_MODALITY) and not k.endswith(("_present", "_label"))]
    for m in known:
        if m not in names and unknown:
            near = difflib.get_close_matches(m, unknown, 1, 0.8)
            hint = "is one of them misspelt?" if near else "rename it, or leave it out"
            raise ValueError(f"{who}: the batch has no {m!r} but {(near or unknown)[0]!r}; {hint}")
    if not names:
        raise ValueError(f"{who}: the batch has none of the modalities {tuple(known)}, only {tuple(batch)}")
    sizes = {m: len(batch[m]) for m in names}
    size = min(sizes.values())
    if size == 0 or set(sizes.values()) != {size}:
        raise ValueError(f"{who}: modalities need the same number of examples, at least one, got {sizes}")
    masks = {m: batch[f"{m}_present"] for m in names if f"{m}_present" in batch}
    for m, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (size,):
            raise ValueError(f"{who}: '{m}_present' must be bool ({size},), got {kind(mask)}")
    for m in names:
        check_finite(who, m, batch[m], masks.get(m))
    if some and len(masks) == len(names) and all(mask.device.type == "cpu" for mask in masks.values()):
        check_present(who, torch.stack([*masks.values()], 1))
    return names


def moved(batch: Mapping[str, Tensor], model: nn.Module, *, masks: bool = True) -> dict[str, Tensor]:
    """The batch on the device of the model's parameters, wherever it came from.

    Args:
        batch: a dict of tensors, checked.
        model: whose parameters say where to; without parameters nothing moves.
        masks: whether ``"<modality>_present"`` moves too. On the CPU it tells without a wait which examples it names.
    """
    device = next((p.device for p in model.parameters()), None)
    move = [n for n, x in batch.items() if isinstance(x, Tensor) and (masks or not n.endswith("_present"))]
    return {n: on_device(x, device) if device and n in move else x for n, x in batch.items()}


def on_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; the program goes on while it is copied to a GPU.

    Not to the CPU, where it would go on with numbers that are not there yet, nor to Apple's GPU (MPS), where the copy
    may be made after the memory of x is freed (PyTorch issue 189690).
    """
    return x.to(device, non_blocking=device.type not in ("cpu", "mps"))


def check_finite(who: str, name: str, x: Tensor, mask: Tensor | None = None) -> None:
    """Refuse NaN and infinite values; where the mask (B,) is False anything may stand."""
    if x.device.type != "cpu" or (mask is not None and mask.device.type != "cpu"):
        return
    there = x if mask is None else torch.where(mask.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))
    # A sum is quick, and finite only if all terms are; finite terms seldom overflow it, then the long way decides.
    if there.is_floating_point() and not math.isfinite(there.detach().sum().item()):
        bad = ~there.isfinite().flatten(1).all(1) if there.ndim > 1 else ~there.isfinite()
        if bad.any():
            raise ValueError(f"{who}: {name!r} holds NaN or infinite values, first in example {int(bad.nonzero()[0])}")


def check_present(who: str, present: Tensor) -> None:
    """Refuse an example in which every modality is missing; ``present`` is bool (B, M)."""
    if present.device.type != "cpu":
        return
    nothing = (~present.any(1)).nonzero()
    if len(nothing):
        raise ValueError(f"{who}: every modality is missing in example {int(nothing[0])}; leave it out")


def check_label(who: str, batch: Mapping[str, Tensor], classes: int, size: int) -> Tensor:
    """The label, int64 (B,), from 0 to classes − 1."""
    label = batch.get("label")
    if label is None:
        raise ValueError(f"{who}: the batch has no 'label'")
    if not isinstance(label, Tensor) or label.dtype != torch.int64 or label.ndim != 1:
        raise TypeError(f"{who}: label must be int64 (B,), got {kind(label)}")
    if len(label) != size:
        raise ValueError(f"{who}: needs {size} labels, got {len(label)}")
    if label.device.type == "cpu" and len(wrong := ((label < 0) | (label >= classes)).nonzero()):
        row = int(wrong[0])
        raise ValueError(f"{who}: needs labels from 0 to {classes - 1}, got {int(label[row])} in example {row}")
    return label


def check_names(who: str, names: Iterable[str], taken: Iterable[str] = ()) -> None:
    """Refuse names that no modality can have: those that mean something else in a batch, in a loss or to torch."""
    for m in names:
        if not isinstance(m, str):
            raise TypeError(f"{who}: a modality's name must be a string, got {m!r}")
        if m in (*NO_MODALITY, *taken, "loss") or m.endswith(("_present", "_label")):
            raise ValueError(f"{who}: a modality cannot be called {m!r}, which means something else")
        if not m or "." in m or hasattr(nn.ModuleDict, m):
            raise ValueError(f"{who}: a modality cannot be called {m!r}, which torch does not allow")


def named(who: str, asked: str | Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """The modalities asked for, in the order in which they are known; None: all. A string is one name."""
    known = list(known)
    wanted = known if asked is None else [asked] if isinstance(asked, str) else list(asked)
    for m in wanted:
        if m not in known:
            near = difflib.get_close_matches(m, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{who}: no modality {m!r}, only {', '.join(known)}{hint}")
    return [m for m in known if m in wanted]


def whole(who: str, name: str, value: object, least: int = 1) -> int:
    """A whole number of at least so much, or an error."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or (number := value.__index__()) < least:
        raise ValueError(f"{who}: {name} must be a whole number ≥ {least}, got {value!r}")
    return int(number)


def kind(x: object) -> str:
    """What something is, in few words."""
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
