"""What a run was made with, in words that a later process can compare: a model's settings, and the data.

A checkpoint is of one model and one data set. Weights say neither what β was nor which examples there were, so `fit`
writes down the attributes of all modules and of the data: numbers and strings as they are, large values as checksums,
functions by name and code, other objects by their class and what pickle would keep of them. Weights, which a checkpoint
holds anyway, random generators and devices are left out.
"""

from __future__ import annotations

import copyreg
import functools
import io
import os
import random
import types
import warnings
import zlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmtutor.data import MultimodalDataset

Description = dict[str, str | None]  # what to its value; None: it changes while it is used, so it is no setting

LONG = 80  # characters; longer texts become checksums
MANY = 100  # the parts of a longer list have no lines of their own
DEPTH = 12  # of objects within objects
PLAIN = (type(None), bool, int, float, complex, str, bytes, range, torch.dtype, type(Ellipsis), np.generic)
SEQUENCE = (list, tuple, deque)
SET = (set, frozenset)
STATE = (torch.Generator, torch.device, random.Random, np.random.Generator, np.random.RandomState, io.IOBase)
LOGGERS = ("logging", "tqdm", "tensorboard", "torch.utils.tensorboard", "wandb", "mlflow")  # what logs a run
LEAF = (*PLAIN, *SET, *STATE, Tensor, np.ndarray, types.ModuleType, types.CodeType, os.PathLike)
MODULE = frozenset(vars(nn.Module()))  # what torch itself keeps in each module


class Describer:
    """Describes a model and its data, in lines: the path of a value, and the value.

    Each attribute has a line of its own, also that of an object within an object, since some of them are settings and
    others change while they are used.

    Args:
        model: whose own modules, parameters and buffers are named only, wherever they turn up.
    """

    def __init__(self, model: nn.Module) -> None:
        self.own = model
        self.digests: dict[tuple[int, int], tuple[Tensor, str]] = {}
        self.known: dict[int, tuple[Any, str]] = {}

    def model(self) -> Description:
        """Class and attributes of each module, by path."""
        self._forget()
        found: Description = {}
        for path, module in self.own.named_modules():
            found[f"{path}.class" if path else "class"] = type(module).__qualname__
            for name, value in _attributes(module).items():
                self._lines(f"{path}.{name}" if path else name, value, found, set())
        return found

    def data(self, data: Any, batches: list[list[int]]) -> Description:
        """The values of a `MultimodalDataset`, the attributes of another one, and what its loader does with them."""
        self._forget()
        found: Description = {}
        if isinstance(data, DataLoader):
            for name in ("collate_fn", "worker_init_fn"):
                self._lines(name, getattr(data, name), found, set())
            found["batches"] = self.text(batches)
            data = data.dataset
        _, parts = self._parts(data) or ("", {})
        if isinstance(data, SEQUENCE):
            parts = {"examples": data}
        else:
            found["class"] = type(data).__qualname__
        for name, value in parts.items():
            self._lines(name, value, found, set())
        return found

    def text(self, x: Any, depth: int = 0) -> str:
        """A value in one line."""
        if isinstance(x, PLAIN):
            return _short(repr(x.item() if isinstance(x, np.generic) else x), "text")
        if id(x) not in self.known:
            self.known[id(x)] = (x, "…")  # while it is described; it is kept, or another value could get its id
            self.known[id(x)] = (x, self._text(x, depth + 1))
        return self.known[id(x)][1]

    def _lines(self, path: str, x: Any, found: Description, above: set[int]) -> None:
        """Write down a value at its path, and what it consists of at paths of their own."""
        parts = None if id(x) in self.known or len(above) > DEPTH else self._parts(x)
        plain = isinstance(x, (*SEQUENCE, Mapping)) and (
            len(x) > MANY or all(isinstance(y, LEAF) for y in (x.values() if isinstance(x, Mapping) else x))
        )
        if parts is None or plain or id(x) in above:
            found[path] = "…" if id(x) in above else self.text(x)
            return
        found[path], inner = parts
        for name, value in inner.items():
            self._lines(f"{path}.{name}", value, found, {*above, id(x)})

    def _text(self, x: Any, depth: int) -> str:
        if isinstance(x, Tensor):
            return self._tensor(x)
        if isinstance(x, np.memmap):
            return f"{x.dtype} {x.shape} in {x.filename}"
        if isinstance(x, np.ndarray):
            values = self.text(x.tolist(), depth) if x.dtype.hasobject else _crc(np.ascontiguousarray(x).data)
            return f"{x.dtype} {x.shape} {values}"
        if isinstance(x, SET):
            return _short(f"{{{', '.join(sorted(self.text(value, depth) for value in x))}}}", f"set of {len(x)}")
        if isinstance(x, types.CodeType):  # a function within a function
            return self._code(x, None)
        if isinstance(x, os.PathLike):
            return _short(repr(os.fspath(x)), "path")
        parts = None if depth > DEPTH else self._parts(x)
        if parts is None:
            return x.__name__ if isinstance(x, types.ModuleType) else type(x).__qualname__
        head, inner = parts
        if head.startswith("list of"):
            return _short(f"({', '.join(self.text(value, depth) for value in x)})", head)
        texts = sorted(f"{name}: {self.text(value, depth)}" for name, value in inner.items())
        kind = "" if isinstance(x, Mapping) else head
        return _short(f"{kind}{{{', '.join(texts)}}}" if texts or not kind else kind, head)

    def _parts(self, x: Any) -> tuple[str, dict[str, Any]] | None:
        """What a value is, and what it consists of; None of one that is looked at as a whole."""
        kind = type(x).__qualname__
        if isinstance(x, LEAF) or str(type(x).__module__).startswith(LOGGERS):
            return None
        if isinstance(x, Mapping):
            return f"dict of {len(x)}", {self.text(name): value for name, value in x.items()}
        if isinstance(x, SEQUENCE):
            named = getattr(x, "_fields", None)
            return kind if named else f"list of {len(x)}", dict(zip(named or map(str, range(len(x))), x, strict=True))
        if isinstance(x, types.FunctionType):
            code = {} if _is_of_torch(x) else {"code": self._code(x.__code__, x.__doc__)}
            return x.__qualname__, _of_function(x) | code
        if isinstance(x, types.MethodType):
            return "method", {"function": x.__func__, "of": x.__self__}
        if isinstance(x, functools.partial):
            return "partial", {"function": x.func, **{str(k): v for k, v in enumerate(x.args)}, **x.keywords}
        if isinstance(x, type):
            return f"class {x.__qualname__}", _of_class(x)
        if isinstance(x, nn.Module):  # not one of the model's own: a teacher in a tuple
            weights = dict(x.named_parameters(recurse=False)) | dict(x.named_buffers(recurse=False))
            return kind, _attributes(x) | dict(x.named_children()) | weights
        inner = _attributes(x)
        if isinstance(x, MultimodalDataset):
            inner = {repr(name): value for name, value in inner.pop("tensors", {}).items()} | inner
        return kind, inner

    def _tensor(self, x: Tensor) -> str:
        key = (id(x), x._version if not x.is_inference() else 0)
        if key not in self.digests:
            try:
                values = _crc(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            except (RuntimeError, TypeError, NotImplementedError):  # such as a sparse one
                values = ""
            self.digests[key] = (x, f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)} {values}".strip())
        return self.digests[key][1]

    def _code(self, code: types.CodeType, doc: str | None) -> str:
        constants = [c for c in code.co_consts if c is not None and c != doc]
        return _crc(self.text([code.co_code, code.co_names, constants]).encode())

    def _forget(self) -> None:
        """Values other than tensors may have changed since."""
        self.known = {id(m): (m, "a part of the model") for m in self.own.modules()}
        self.known |= {id(x): (x, "a weight") for x in (*self.own.parameters(), *self.own.buffers())}


def settled(before: Description, after: Description) -> Description:
    """A description without values of what has changed in use, such as a counter or a cache."""
    return {name: before.get(name) if before.get(name) == after.get(name) else None for name in before | after}


def difference(then: Description, now: Description) -> tuple[str, str, str] | None:
    """The first thing that differs, and its value in both descriptions."""
    used = {name for name in then | now if then.get(name, "") is None or now.get(name, "") is None}
    for name in [*then, *(name for name in now if name not in then)]:
        was, is_ = then.get(name, "nothing"), now.get(name, "nothing")
        words = name.split(".")
        if used & {".".join(words[:k]) for k in range(1, len(words) + 1)} or was is None or is_ is None:
            continue  # it changes in use, or is of something that does
        if _equal(was, is_):
            continue
        if name.rpartition(".")[2].startswith("_") and {was, is_} & {"nothing", "None", "{}", "()"}:
            continue  # a cache that was empty
        return name, was, is_
    return None


def _equal(a: str, b: str) -> bool:
    """Whether two texts mean the same: 1 and 1.0 do."""
    try:
        return a == b or float(a) == float(b)
    except ValueError:
        return False


def _attributes(x: Any) -> dict[str, Any]:
    """The attributes of an object: those of its classes, and its own as pickle keeps them; nothing if it cannot."""
    found = _of_class(type(x))
    if isinstance(x, nn.Module):
        return found | {name: value for name, value in vars(x).items() if name not in MODULE}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reduce = copyreg.dispatch_table.get(type(x))
            reduced = reduce(x) if reduce else x.__reduce_ex__(2)
    except Exception:  # a lock, an open file
        return found
    if isinstance(reduced, str):
        return {"name": reduced}
    _, args, *rest = reduced
    found |= {f"argument {i}": value for i, value in enumerate(args) if value is not type(x)}
    for state in rest[0] if rest and isinstance(rest[0], tuple) else rest[:1]:
        if isinstance(state, Mapping):
            found |= {str(name): value for name, value in state.items()}
        elif state is not None:
            found["state"] = state
    return found


def _of_class(cls: type) -> dict[str, Any]:
    """The plain values that the class and its bases have: of ``class Config: beta = 0.1`` the beta."""
    found = {}
    for base in reversed(cls.__mro__):
        if str(base.__module__).partition(".")[0] not in ("torch", "builtins", "typing", "abc", "enum"):
            for name, value in vars(base).items():
                if not name.startswith("_") and isinstance(value, (*PLAIN, list, tuple, dict, set, frozenset, Tensor)):
                    found[name] = value
    return found


def _of_function(x: types.FunctionType) -> dict[str, Any]:
    """What a function computes with: its defaults, and what it takes from outside."""
    if _is_of_torch(x):
        return {}
    code = x.__code__
    found: dict[str, Any] = {"defaults": x.__defaults__, "keyword defaults": x.__kwdefaults__}
    cells = zip(code.co_freevars, x.__closure__ or (), strict=True)
    found |= {name: cell.cell_contents for name, cell in cells if _filled(cell)}
    outside = {n: x.__globals__[n] for n in code.co_names if n in x.__globals__ and n[:2] != "__"}
    found |= {name: value for name, value in outside.items() if isinstance(value, PLAIN)}
    return {name: value for name, value in found.items() if value is not None}


def _is_of_torch(x: types.FunctionType) -> bool:
    """Whether its code is the business of torch, which may change it from version to version."""
    return (x.__module__ or "").partition(".")[0] == "torch"


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _crc(content: Any) -> str:
    return f"{zlib.crc32(content):08x}"


def _short(text: str, what: str) -> str:
    return text if len(text) <= LONG else f"{what}, {_crc(text.encode())}"
