"""CMU-MOSI: opinions about films, as features of language, voice and face (Zadeh et al., 2016).

The features are shared as pickles, and a pickle is a program: whoever loads one runs it. Here numpy and the rest of
Python are out of its reach: whatever it asks for is looked up in a table of six names, which stand for small classes
of this file. They know arrays of numbers and text, and build nothing else.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dataset import MultimodalDataset
from .download import cache_folder
from .items import SPLITS, check_split

KEYS = {"language": "text", "acoustic": "audio", "visual": "vision"}  # our names, and those of the files
_KEPT = {*KEYS, "length", "score", "repaired"}


class Mosi(MultimodalDataset):
    """CMU-MOSI with the texts and names of its examples; made by `mosi`.

    Attributes:
        sentences: the transcript of each example; None if the file does not have it.
        ids: the name of each example, its parts with a space between them; None if the file does not have it.
        repaired: how many numbers of each modality in the whole split were NaN or infinite, and are 0 now.
        dropped: how many examples of the split were left out, since their score is 0.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        sentences: list[str] | None,
        ids: list[str] | None,
        repaired: dict[str, int],
        dropped: int = 0,
    ) -> None:
        super().__init__(tensors)
        self.sentences, self.ids, self.repaired, self.dropped = sentences, ids, repaired, dropped


def mosi(
    path: str | os.PathLike[str],
    split: str,
    *,
    label: Literal["sign", "score", "class"] | None = None,
    zeros: Literal["drop", "negative"] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Mosi:
    """A split of CMU-MOSI, or of another set in its form, from a file that you downloaded by hand.

    MMSA (``aligned_50.pkl``) and MultiBench (``mosi_raw.pkl``; ``mosi_data.pkl`` has the same form) publish theirs on
    Google Drive; the links are in their repositories. To see whether ``aligned_50.pkl`` came whole, compare
    ``pooch.file_hash(path)`` with d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9.

    The first time, the pickle is converted to ``<its name>.npz`` beside it, or in the cache folder where the folder
    cannot be written; after that, only this file is read as long as it is newer. Nothing in the pickle is run.

    Args:
        path: the pickle, or the ``.npz`` file of ``convert_mosi``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        label: what is to be learnt. ``"sign"`` of the score: two classes. ``"score"``: the score itself, from -3 to 3,
            for a regression. ``"class"``: the file has classes instead of scores, as MultiBench's sets of humour and
            sarcasm do. None: ``"class"`` where all labels of the file are 0 or 1, else ``"sign"``.
        zeros: of the sign only, what becomes of the examples with a score of exactly 0. ``"drop"`` (or None) leaves
            them out, as the usual two-class accuracy does (MulT's, MMSA's "Non0_acc_2"); ``dropped`` counts them, and
            a warning says if it is more than half or all of a class. ``"negative"`` keeps them with label 0, as
            MultiBench's classes do.
        folder: the cache folder; see ``cache_folder``.

    Returns:
        Modalities of N examples: ``"language"``, ``"acoustic"`` and ``"visual"`` are float32 (N, T, features);
        ``"length"`` int64 (N,) from 1 to T, the real steps. They always stand at the end, after zeros, wherever the
        file has them. Zeros in all three modalities at the beginning or end of an example are taken for padding; one of
        zeros alone has length 1. ``"label"`` is int64 (N,), 1 where the score is above 0, else 0; or the score, float32
        (N,); or the class, int64 (N,). ``"score_label"`` is the score, float32 (N,), if the file has scores.

    Raises:
        OSError: there is no such file, or nowhere to write the converted one.
        ValueError: no such split, another ``label`` or ``zeros``, or a file that is not what it should be: among others
            one whose labels could be classes or scores (whole numbers from 0, some above 1), if ``label`` is None.

    Examples:
        >>> train = mosi("aligned_50.pkl", "train")  # doctest: +SKIP
        >>> {name: tuple(value.shape) for name, value in train[0].items() if name in train.modalities}  # doctest: +SKIP
        {'language': (50, 768), 'acoustic': (50, 5), 'visual': (50, 20)}

        Regression, of one number:

        >>> train = mosi("aligned_50.pkl", "train", label="score")  # doctest: +SKIP
        >>> sizes = {"language": 768, "acoustic": 5, "visual": 20}
        >>> model = sequence_mfm(sizes, 50, 1, label_cost=absolute_error)  # doctest: +SKIP
        >>> encoders = {name: SequenceEncoder(d, 64, padding="front") for name, d in sizes.items()}  # doctest: +SKIP
        >>> model = LateFusion(encoders, 1, Concat([64] * 3), cost=absolute_error)  # doctest: +SKIP
    """
    check_split(split)
    _check_arguments(label, zeros)
    path = Path(path)
    npz = path if path.suffix == ".npz" else _converted(path, folder)
    npz.open("rb").close()  # not there, or not ours to read: the system's own error says it best
    try:
        with npz.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            data = {name.split("/")[1]: file[name] for name in file.files if name.startswith(f"{split}/")}
            labels = np.concatenate([file[f"{each}/score"] for each in SPLITS])
        if not data.keys() >= _KEPT:
            raise ValueError(f"{split!r} has no {', '.join(sorted(_KEPT - data.keys()))}")
    except MemoryError:
        raise
    except Exception as error:  # numpy raises a dozen kinds for a damaged file
        raise ValueError(f"{npz}: damaged, or no file of convert_mosi ({error}); remove it, convert again") from error
    label = label or _meant(labels, zeros, path)
    score = data["score"]
    kept = np.flatnonzero(score) if label == "sign" and zeros != "negative" else np.arange(len(score))
    tensors = {name: torch.from_numpy(data[name][kept]) for name in (*KEYS, "length")}
    if label == "class":
        _check_classes(labels, path)
        tensors["label"] = torch.from_numpy(score.astype(np.int64))
    else:
        sign = torch.from_numpy((score[kept] > 0).astype(np.int64))
        tensors["label"] = sign if label == "sign" else torch.from_numpy(score[kept].copy())
        tensors["score_label"] = torch.from_numpy(score[kept])
        _warn_of_dropped(score, kept, f"{path}, {split}")
    sentences, ids = (data[name][kept].tolist() if name in data else None for name in ("sentences", "ids"))
    repaired = dict(zip(KEYS, data["repaired"].tolist(), strict=True))
    return Mosi(tensors, sentences, ids, repaired, len(score) - len(kept))


def _check_arguments(label: str | None, zeros: str | None) -> None:
    if label not in ("sign", "score", "class", None):
        raise ValueError(f'mosi: label must be "sign", "score" or "class", got {label!r}')
    if zeros not in ("drop", "negative", None):
        raise ValueError(f'mosi: zeros must be "drop" or "negative", got {zeros!r}')
    if zeros is not None and label not in ("sign", None):
        raise ValueError(
            f'mosi: zeros is for label="sign" only, all examples are kept with label={label!r}; leave it out'
        )


def _meant(labels: NDArray[Any], zeros: str | None, path: Path) -> Literal["sign", "class"]:
    """What the labels of a whole file are, if the caller does not say: scores, or classes of which none is negative."""
    if not _are_classes(labels):
        return "sign"
    if labels.max() <= 1 and zeros is None:
        return "class"
    if labels.max() <= 1 and zeros == "negative":  # the same two classes
        return "sign"
    raise ValueError(
        f"{path}: the labels are whole numbers from 0 to {labels.max():g}, which could be classes or scores; say "
        'label="class", label="score" or label="sign"'
    )


def _are_classes(labels: NDArray[Any]) -> bool:
    return bool((labels >= 0).all() and (labels == labels.round()).all())


def _check_classes(labels: NDArray[Any], path: Path) -> None:
    if not _are_classes(labels):
        raise ValueError(
            f"{path}: classes should be whole numbers from 0, found {labels.min():g} to {labels.max():g}; are these "
            'scores? Say label="sign" or label="score"'
        )


def _warn_of_dropped(score: NDArray[Any], kept: NDArray[Any], where: str) -> None:
    """Say that most examples, or all of a class, are left out."""
    dropped, positive = len(score) - len(kept), score[kept] > 0
    if not len(kept):
        raise ValueError(f'{where}: all {dropped} scores are 0; zeros="negative" keeps them')
    single = positive.all() or not positive.any()
    if dropped > len(score) / 2 or (dropped and single):
        left = f", and all that are left are {'positive' if positive[0] else 'negative'}" if single else ""
        warnings.warn(
            f"mosi: {where}: {dropped} of {len(score)} examples have a score of 0 and are left out{left}; "
            'zeros="negative" keeps them, label="class" takes 0 for a class',
            stacklevel=3,
        )


def convert_mosi(path: str | os.PathLike[str], npz_path: str | os.PathLike[str] | None = None) -> Path:
    """Check a pickle of CMU-MOSI without running it, and write what `mosi` needs as an ``.npz`` file.

    Args:
        path: the pickle, in MMSA's or MultiBench's form, of any protocol, also one of Python 2.
        npz_path: the file to write, ending in ``.npz``; None: ``<its name>.npz`` beside the pickle. It gets this name
            when it is whole.

    Returns:
        The path of the file written. For each split it holds arrays named such as ``"train/language"``.

    Raises:
        OSError: the pickle is not there or not readable, or the file cannot be written (rights, full disk).
        ValueError: the pickle asks for something else than arrays and plain values, is cut off or damaged, or its
            content is not what it should be; or ``npz_path`` does not end in ``.npz``. Nothing is written.
    """
    path = Path(path)
    npz = path.with_name(path.name + ".npz") if npz_path is None else Path(npz_path)
    if npz.suffix != ".npz":
        raise ValueError(f"npz_path must end in .npz, got {str(npz)!r}")
    content = _read_pickle(path)
    arrays: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        others = ("dev", "val", "validation") if split == "valid" and isinstance(content, dict) else ()
        name = next((other for other in (split, *others) if other in content), split) if others else split
        checked = _checked(_get(content, name, str(path)), f"{path}, {name}")
        arrays |= {f"{split}/{kind}": array for kind, array in checked.items()}
    part = npz.with_name(f"{npz.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        part.replace(npz)
    finally:
        part.unlink(missing_ok=True)
    return npz


def _converted(path: Path, folder: str | os.PathLike[str] | None) -> Path:
    """The npz of a pickle, made if it is not there or not newer."""
    beside = path.with_name(path.name + ".npz")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    cached = cache_folder(None if folder is None else Path(folder)) / "mosi" / f"{path.stem}-{digest}.npz"
    for npz in (beside, cached):
        if npz.is_file() and npz.stat().st_mtime_ns > path.stat().st_mtime_ns:
            return npz
    if os.access(path.parent, os.W_OK):
        return convert_mosi(path, beside)
    cached.parent.mkdir(parents=True, exist_ok=True)
    return convert_mosi(path, cached)


def _get(content: Any, key: str, where: str) -> Any:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: should be a dict, is {type(content).__name__}")
    if key not in content:
        raise ValueError(f"{where}: has no {key!r}, only {', '.join(map(str, content)) or 'nothing'}")
    return content[key]


def _checked(part: Any, where: str) -> dict[str, NDArray[Any]]:
    """The arrays of one split, as they are written."""
    found = {modality: _array(_get(part, key, where), f"{where}, {key!r}", "f", 3) for modality, key in KEYS.items()}
    if len({array.shape[:2] for array in found.values()}) > 1:
        shapes = ", ".join(f"{KEYS[modality]} {array.shape}" for modality, array in found.items())
        raise ValueError(f"{where}: all modalities should have the same N and steps (aligned features), got {shapes}")
    n = len(found["language"])
    key = "regression_labels" if "regression_labels" in part else "labels"
    score = _array(_get(part, key, where), f"{where}, {key!r}", "fiu")
    if len(score) != n or score.size != n:
        raise ValueError(f"{where}, {key!r}: should be one score for each of {n} examples, is {score.shape}")
    if not ((score >= -3) & (score <= 3)).all() and not _are_classes(score):  # nor is it true of NaN
        raise ValueError(f"{where}, {key!r}: scores should be from -3 to 3, found {score.min()} to {score.max()}")
    repaired = []
    for modality, array in found.items():
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
        bad = ~np.isfinite(values)
        values[bad] = 0
        repaired.append(int(bad.sum()))
        found[modality] = values
    arrays = _pad_left(found)
    arrays |= {"score": score.reshape(n).astype(np.float32), "repaired": np.array(repaired)}
    for name, key in (("sentences", "raw_text"), ("ids", "id")):
        if key in part:
            arrays[name] = _texts(part[key], n, f"{where}, {key!r}")
    return arrays


def _pad_left(modalities: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Rotate each example until its last real step is at the end, and count from its first one."""
    real = np.any([(array != 0).any(2) for array in modalities.values()], 0)  # (N, T)
    steps = real.shape[1]
    real[~real.any(1), -1] = True
    first, end = real.argmax(1), steps - real[:, ::-1].argmax(1)
    source = (np.arange(steps) + end[:, None]) % steps  # (N, T)
    turned = {modality: np.take_along_axis(array, source[:, :, None], 1) for modality, array in modalities.items()}
    return turned | {"length": end - first}


def _array(value: Any, where: str, kinds: str, ndim: int | None = None) -> NDArray[Any]:
    array = value.value if isinstance(value, _Array) else None
    if array is None:
        raise ValueError(f"{where}: should be an array, is {type(value).__name__}")
    if array.dtype.kind not in kinds or array.ndim == 0 or (ndim or array.ndim) != array.ndim or array.size == 0:
        wanted = "floats, (N, steps, features)" if ndim else "numbers, (N, ...)"
        raise ValueError(f"{where}: should be {wanted}, is {array.dtype} {array.shape}")
    return array


def _texts(value: Any, n: int, where: str) -> NDArray[np.str_]:
    """Texts, or rows of a few texts and numbers, as unicode (N,)."""
    rows = value.value.tolist() if isinstance(value, _Array) and value.value is not None else value
    if not isinstance(rows, (list, tuple)) or len(rows) != n:
        raise ValueError(f"{where}: should be {n} texts, one for each example")
    parts = [row if isinstance(row, (list, tuple)) else [row] for row in rows]
    wrong = {type(part).__name__ for row in parts for part in row if not isinstance(part, (str, bytes, int, float))}
    if wrong:
        raise ValueError(f"{where}: should be texts, found {', '.join(sorted(wrong))}")
    texts = [[p.decode(errors="replace") if isinstance(p, bytes) else str(p) for p in row] for row in parts]
    return np.array([" ".join(row) for row in texts], np.str_)


class _RefusedError(Exception):
    """The pickle asks for something that features do not need."""


def _read_pickle(path: Path) -> Any:
    """The plain values of a pickle, its arrays as `_Array`."""
    with path.open("rb") as file:
        try:
            return _Unpickler(file, encoding="latin1").load()  # latin1: how numpy arrays of Python 2 are read
        except MemoryError:
            raise
        except _RefusedError as error:
            raise ValueError(
                f"{path}: refused, the pickle asks for {error}, which is no array or plain value. Nothing in it was "
                "run. Do not load it in another way; get the features from their publishers."
            ) from None
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(
                f"{path}: cut off, damaged, or no pickle of plain arrays ({error}); download it again"
            ) from error


class _StandIn:
    """What a pickle gets instead of numpy. It can only call it, and set its state by this method."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:  # without it, BUILD would set any attribute, even of the class
        raise _RefusedError(f"a state of {type(self).__name__}")


class _Dtype(_StandIn):
    """``numpy.dtype`` of numbers, text or objects.

    Numpy's own is not safe here: a state that gives it a field of objects makes numpy follow any bytes as a pointer.
    """

    def __init__(self, kind: Any, *args: Any) -> None:
        if not isinstance(kind, str) or not re.fullmatch("b1|[iu][1248]|f[248]|[SU][0-9]{1,7}|O[48]?", kind):
            raise _RefusedError(f"an array of {kind!r}")
        self.value: np.dtype[Any] = np.dtype(kind.rstrip("48") if kind[0] == "O" else kind)

    def __setstate__(self, state: Any) -> None:
        _, order, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None or order not in ("<", ">", "|", "="):
            raise _RefusedError("an array of records")
        self.value = self.value.newbyteorder(order)


class _Array(_StandIn):
    """``numpy.ndarray``, and numpy's ``_reconstruct``, which makes one that is empty until its state is set."""

    value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, columns_first, data = state
        self.fill(data, dtype, shape, "F" if columns_first else "C")

    def fill(self, data: Any, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> None:
        if dtype.value.hasobject:
            flat = np.empty(len(data), object)
            for k, item in enumerate(data):
                flat[k] = item
            self.value = flat.reshape(shape)  # numpy writes objects row by row, whatever the order in memory
            return
        content = data.encode("latin1") if isinstance(data, str) else bytes(data)
        if math.prod(shape) * dtype.value.itemsize != len(content):
            raise ValueError(f"{len(content)} bytes for an array {shape} of {dtype.value}")
        self.value = np.ndarray(shape, dtype.value, content, order=order)
        if dtype.value.kind == "U":
            self.value.tolist()  # fails here, as damage, if there are no such letters


class _Buffer(_Array):
    """numpy's ``_frombuffer``, in pickles of protocol 5."""

    def __init__(self, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> None:
        self.fill(data, dtype, shape, "C" if order == "K" else order)
        if order == "K" and self.value is not None:
            self.value = self.value.transpose(axes)


class _Scalar(_Array):
    """numpy's ``scalar``."""

    def __init__(self, dtype: Any, data: Any) -> None:
        self.fill(data, dtype, (), "C")


class _Encode(_StandIn):
    """``_codecs.encode``, as pickles before protocol 3 write bytes; no other codec is looked up."""

    def __new__(cls, text: Any, codec: Any) -> Any:
        if not isinstance(text, str) or codec != "latin1":
            raise _RefusedError(f"the codec {codec!r}")
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _Encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    """Looks every name up in the table; nothing is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return _ALLOWED[module, name]
