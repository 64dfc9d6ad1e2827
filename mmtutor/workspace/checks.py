"""What a batch must be, what is said where it is not, and on which device it is read.

This file is the same in every folder of models, so that each folder can be copied alone; a test holds them equal.

Names, types and shapes are always checked. Values (NaN, labels, masks) are checked in tensors on the CPU alone: to read
them back from a GPU, a program must wait for it. So a batch is checked before it is moved.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real

import torch
from torch import Tensor, nn

# What a batch may have besides its modalities, their masks and lengths "<modality>_length", and further labels.
NO_MODALITY = ("label", "length")


def check_batch(
    who: str,
    batch: Mapping[str, Tensor],
    known: Iterable[str],
    *,
    also: Sequence[str] = (),
    some: bool = True,
    model: nn.Module | None = None,
) -> list[str]:
    """The known modalities that are in the batch, all of them checked.

    Args:
        who: the class that speaks.
        batch: what it was handed.
        known: the modalities that it reads.
        also: names of other tensors that it reads.
        some: whether each example needs one of the known modalities; not so where others are read elsewhere.
        model: whose parameters say in which float type modalities must be, see `check_dtype`.

    Raises:
        TypeError: a modality is no tensor, or of another float type than the parameters that read it.
        ValueError: there is no modality, one is misspelt, sizes differ, a mask is no mask, values that are there are
            NaN or infinite, or an example has no modality at all.
    """
    known = list(known)
    if not isinstance(batch, Mapping):
        raise TypeError(f"{who}: a batch must be a dict of tensors, modality to (B, …), got {kind(batch)}")
    names = [m for m in known if m in batch]
    for m in names:
        if not isinstance(batch[m], Tensor) or not batch[m].ndim:
            raise TypeError(f"{who}: {m!r} must be a tensor (B, …), got {kind(batch[m])}{as_tensor(batch[m])}")
    allowed = (*known, *also, *NO_MODALITY, *(f"{m}_length" for m in known))
    unknown = [k for k in batch if k not in allowed and not str(k).endswith(("_present", "_label"))]
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
            raise ValueError(f"{who}: '{m}_present' must be bool ({size},), got {kind(mask)}{as_mask(mask, size)}")
    check_masks(who, batch, names, unknown)
    for m in names:
        check_dtype(who, m, batch[m], model)
        check_finite(who, m, batch[m], masks.get(m))
    if some and len(masks) == len(names) and all(mask.device.type == "cpu" for mask in masks.values()):
        check_present(who, torch.stack([*masks.values()], 1))
    return names


def check_masks(who: str, batch: Mapping[str, Tensor], names: Sequence[str], unknown: Sequence[str]) -> None:
    """Refuse a mask that nobody would read: its modality is misspelt, or it is called "<modality>_mask" or so."""
    for k in [k for k in batch if str(k).endswith("_present") and k.removesuffix("_present") not in batch]:
        if near := difflib.get_close_matches(k, [f"{m}_present" for m in names], 1, 0.8):
            raise ValueError(f"{who}: the batch has no {k.removesuffix('_present')!r} to which {k!r} belongs; "
                             f"did you mean {near[0]!r}?")  # fmt: skip
    for k in unknown:
        for m in names:
            if str(k).startswith(f"{m}_") and getattr(batch[k], "dtype", None) == torch.bool and batch[k].ndim == 1:
                raise ValueError(f"{who}: {k!r} looks like a mask, which must be called '{m}_present' and be True "
                                 "where the modality is there")  # fmt: skip


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


def check_dtype(who: str, name: str, x: Tensor, model: nn.Module | None) -> None:
    """Refuse another float type than that of the parameters which read it: NumPy and pandas make float64.

    These are the parameters of ``model.encoders[name]`` or, without any, of the model. Whole numbers are left to the
    encoder, and what autocast converts anyway is left to it.
    """
    if model is None or not x.is_floating_point():
        return
    encoders = getattr(model, "encoders", None)
    encoder = encoders[name] if isinstance(encoders, nn.ModuleDict) and name in encoders else model
    like = next((p for part in (encoder, model) for p in part.parameters() if p.is_floating_point()), None)
    if like is None or x.dtype == like.dtype:
        return
    if x.dtype != torch.float64 and torch.is_autocast_enabled(like.device.type):
        return
    to = ".float()" if like.dtype == torch.float32 else f".to({like.dtype})"
    raise TypeError(f"{who}: {name!r} is {kind(x)}, the parameters are {like.dtype}; convert it with {to}")


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
        raise ValueError(f"{who}: the batch has no 'label', only {', '.join(map(str, batch))}")
    if not isinstance(label, Tensor) or label.dtype != torch.int64 or label.ndim != 1:
        raise TypeError(f"{who}: label must be int64 (B,), got {kind(label)}{as_label(label, classes)}")
    if len(label) != size:
        raise ValueError(f"{who}: needs {size} labels, got {len(label)}")
    if label.device.type == "cpu" and len(wrong := ((label < 0) | (label >= classes)).nonzero()):
        row = int(wrong[0])
        raise ValueError(f"{who}: needs labels from 0 to {classes - 1}, got {int(label[row])} in example {row}")
    return label


def check_numbers(who: str, batch: Mapping[str, Tensor], numbers: int, size: int) -> Tensor:
    """The label of a regression, float (B, numbers); one number may be (B,), too.

    Whole numbers are refused: they are classes more often than scores, and a model would learn those without a word.
    """
    label = batch.get("label")
    if label is None:
        raise ValueError(f"{who}: the batch has no 'label', only {', '.join(map(str, batch))}")
    shapes = f"(B, {numbers})" if numbers > 1 else "(B,) or (B, 1)"
    if not isinstance(label, Tensor):
        raise TypeError(f"{who}: label must be float {shapes}, got {kind(label)}{as_tensor(label)}")
    if not label.is_floating_point():
        raise ValueError(
            f"{who}: for a regression label must be float {shapes}, got {kind(label)}; "
            "is this a class? If it is a score, convert it with .float()"
        )
    label = label.unsqueeze(1) if label.ndim == 1 and numbers == 1 else label
    if label.shape != (size, numbers):
        raise ValueError(f"{who}: label must be {shapes} with B = {size}, got {tuple(batch['label'].shape)}")
    check_finite(who, "label", label)
    return label


def check_length(
    who: str, length: object, size: int, steps: int, name: str = "length", mask: Tensor | None = None
) -> Tensor:
    """The number of real steps of each sequence, int64 (B,), from 1 to T; any where the mask (B,) is False."""
    if not isinstance(length, Tensor) or length.shape != (size,) or length.dtype != torch.int64:
        raise ValueError(f"{who}: {name!r} must be int64 ({size},) with values from 1 to {steps}, got {kind(length)}")
    if length.device.type == "cpu" and (mask is None or mask.device.type == "cpu"):
        bad = (length < 1) | (length > steps)
        if len(wrong := (bad if mask is None else bad & mask).nonzero()):
            row = int(wrong[0])
            raise ValueError(f"{who}: {name!r} must be from 1 to {steps}, got {int(length[row])} in example {row}")
    return length


def zeros_at(x: Tensor, length: Tensor) -> dict[str, Tensor]:
    """Whether an example (B, T, …) has zeros alone in its first T − length steps, "front", or its last, "end"; (B,)."""
    step = x.unsqueeze(2) if x.ndim == 2 else x.flatten(2)
    full = step.abs().sum(2) != 0 if x.is_floating_point() else step.ne(0).any(2)  # a sum is quicker
    early = torch.arange(x.shape[1]) < (x.shape[1] - length).unsqueeze(1)
    return {"front": ~(full & early).any(1), "end": ~(full & early.flip(1)).any(1)}


def is_padded(batch: Mapping[str, Tensor], m: str) -> bool:
    """Whether a modality on the CPU is surely padded, (B, T, …): zeros alone are where its length says padding is."""
    x, mask, length = batch[m], batch.get(f"{m}_present"), batch.get(f"{m}_length", batch.get("length"))
    if not isinstance(length, Tensor) or any(t.device.type != "cpu" for t in (x, length, mask) if t is not None):
        return False
    if x.ndim < 2 or (x.ndim == 2 and x.is_floating_point()) or length.shape != x.shape[:1]:
        return False  # no sequence
    shorter = length < x.shape[1] if mask is None else (length < x.shape[1]) & mask
    return bool(shorter.any()) and any(bool((zeros | ~shorter).all()) for zeros in zeros_at(x, length).values())


def check_padding(who: str, name: str, x: Tensor, length: Tensor, at: str, hint: str = "") -> None:
    """Refuse sequences (B, T, …) that are padded with zeros at the other end than ``at``, "front" or "end"."""
    if x.device.type != "cpu" or length.device.type != "cpu" or not (length < x.shape[1]).any():
        return
    other, zeros = "end" if at == "front" else "front", zeros_at(x, length)
    if len(wrong := (zeros[other] & ~zeros[at]).nonzero()):
        raise ValueError(
            f"{who}: {name!r} must be padded at the {at}, but example {int(wrong[0])} has its "
            f"{int(length[wrong[0]])} real steps there and its zeros at the {other}; "
            f"torch.nn.utils.rnn.pad_sequence takes padding_side={'left' if at == 'front' else 'right'!r}{hint}"
        )


def check_unpadded(who: str, batch: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Refuse padded sequences (B, T, …), known by their lengths and zeros, where padding would be read as data."""
    for m in names:
        if is_padded(batch, m):
            raise ValueError(
                f"{who}: {m!r} is padded to one length, and {who} would read its padding as data; cut all sequences to "
                "the same number of real steps, and leave their lengths out"
            )


def check_names(who: str, names: Iterable[str], taken: Iterable[str] = ()) -> None:
    """Refuse names that no modality can have: those that mean something else in a batch, in a loss or to torch."""
    names = list(names)
    for m in names:
        if not isinstance(m, str):
            raise TypeError(f"{who}: a modality's name must be a string, got {m!r}")
        is_length = m.endswith("_length") and m.removesuffix("_length") in names
        if m in (*NO_MODALITY, *taken, "loss") or m.endswith(("_present", "_label")) or is_length:
            raise ValueError(f"{who}: a modality cannot be called {m!r}, which means something else")
        if not m or "." in m or hasattr(nn.ModuleDict, m):
            raise ValueError(f"{who}: a modality cannot be called {m!r}, which torch does not allow")


def named(who: str, asked: str | Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """The modalities asked for, in the order in which they are known; None: all. A string is one name."""
    known = list(known)
    one = isinstance(asked, str) or not isinstance(asked, Iterable)
    wanted = known if asked is None else [asked] if one else list(asked)
    for m in wanted:
        if m not in known:
            near = difflib.get_close_matches(str(m), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{who}: no modality {m!r}, only {', '.join(known)}{hint}")
    return [m for m in known if m in wanted]


def whole(who: str, name: str, value: object, least: int = 1) -> int:
    """A whole number of at least so much, or an error."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # no whole number
        number = least - 1
    if number < least:
        raise ValueError(f"{who}: {name} must be a whole number ≥ {least}, got {value!r}")
    return number


@contextmanager
def reading(who: str, name: str, x: Tensor | Mapping[str, Tensor], encoder: nn.Module) -> Iterator[None]:
    """Say which modality, or all, an encoder was reading when it failed, such as at a shape that it does not take."""
    of = name if isinstance(x, Mapping) else repr(name)
    says = f"{who}: the encoder of {of} cannot read {kind(x)}"
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(x, Mapping) and isinstance(error, ValueError | TypeError):  # it has names and says them itself
            raise
        reads_whole = any(isinstance(part, nn.Embedding | nn.EmbeddingBag) for part in encoder.modules())
        if isinstance(x, Tensor) and not (x.is_floating_point() or reads_whole or isinstance(error, ValueError)):
            to = ".float() / 255" if x.dtype == torch.uint8 else ".float()"
            raise TypeError(f"{says}; convert it with {to}") from error
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{says}: {error}") from error
    except Exception as error:
        error.add_note(says)
        raise


def number(
    who: str, name: str, value: object, least: float = 0, most: float = math.inf, *, above: bool = False
) -> float:
    """A finite number from ``least`` to ``most``, or above ``least``; NumPy's, or a tensor's of one number, will do."""
    single = isinstance(value, Real) or (isinstance(value, Tensor) and not value.ndim and not value.is_complex())
    if not isinstance(value, bool) and single:
        real = float(value)  # type: ignore[arg-type]
        if math.isfinite(real) and least <= real <= most and not (above and real == least):
            return real
    says = f"above {least}" if above else f"at least {least}" if most == math.inf else f"from {least} to {most}"
    raise ValueError(f"{who}: {name} must be finite and {says}, got {value!r}")


def flag(who: str, name: str, value: object) -> bool:
    """True or False, or an error: a string would be true, whatever it says."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):  # NumPy's
        return bool(value)
    raise TypeError(f"{who}: {name} must be True or False, got {value!r}")


def module(who: str, name: str, value: object) -> nn.Module:
    """A network, not the class of one, or an error."""
    if isinstance(value, nn.Module):
        return value
    hint = f"; make one: {value.__name__}(…)" if isinstance(value, type) else ""
    raise TypeError(f"{who}: {name} must be a torch.nn.Module, got {value!r}{hint}")


def modules(who: str, name: str, value: object) -> dict[str, nn.Module]:
    """A network for each modality, or an error."""
    if not isinstance(value, Mapping | nn.ModuleDict):
        raise TypeError(f"{who}: {name} must be a dict from modality to torch.nn.Module, got {kind(value)}")
    return {m: module(who, f"{name}[{m!r}]", part) for m, part in value.items()}


def last_layer(network: nn.Module) -> nn.Module:
    """The layer whose values a network gives for certain: of an `nn.Sequential` the last one that changes values."""
    while isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward:
        layers = [layer for layer in network if not isinstance(layer, nn.Flatten | nn.Unflatten | nn.Identity)]
        if not layers:
            break
        network = layers[-1]
    return network


def kind(x: object) -> str:
    """What something is, in few words."""
    if isinstance(x, Mapping):
        return ", ".join(f"{name!r} {kind(part)}" for name, part in x.items())
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def as_tensor(x: object) -> str:
    """How something becomes a tensor, said at the end of a message."""
    makers = {"ndarray": "torch.from_numpy", "list": "torch.tensor", "tuple": "torch.tensor"}
    return f"; convert it with {makers[name]}" if (name := type(x).__name__) in makers else ""


def as_mask(x: object, size: int) -> str:
    """How something becomes a mask (B,)."""
    if not isinstance(x, Tensor):
        return as_tensor(x)
    to = (".squeeze(1)" if x.shape == (size, 1) else "") + (".bool()" if x.dtype != torch.bool else "")
    return f"; convert it with {to}" if to else ""


def as_label(x: object, classes: int) -> str:
    """How something becomes a label (B,) of classes."""
    if not isinstance(x, Tensor):
        return as_tensor(x)
    if x.is_floating_point() and x.shape[1:] in ((), (1,)):
        return "; convert classes with .long()" + (".squeeze(1)" if x.ndim > 1 else "") + ", scores need a regression"
    to = {(): ".long()", (1,): ".squeeze(1)", (classes,): ".argmax(1)"}.get(tuple(x.shape[1:]))
    if to == ".squeeze(1)" and x.dtype != torch.int64:
        to += ".long()"
    return f"; convert it with {to}" if to and x.ndim else ""
