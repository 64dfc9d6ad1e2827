"""``digits``: examples of digits in several modalities, composed from the source items of a split."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cache import cached
from .dataset import MultimodalDataset
from .download import cache_folder
from .handwritten import handwritten
from .items import MOST_EXAMPLES, Source, check_split, example_rng, rows_by_digit, whole
from .shape import shape
from .spoken import add_noise, log_mel, spoken
from .street import street
from .word import word

# A modality that is derived from another one shows the same source item: `shape` measures *this* handwritten digit.
OWNER = {
    "handwritten": "handwritten",
    "street": "street",
    "spoken": "spoken",
    "word": "word",
    "shape": "handwritten",
    "waveform": "spoken",
}
MODALITIES = tuple(OWNER)
_CACHED = ("street", "spoken", "waveform", "shape")  # the others are made as fast as they are read
_NUMBER = (int, float, np.integer, np.floating)
Maker = Callable[[int, np.random.Generator], NDArray[Any]]
_FORMAT = 1  # part of the cache's key: raise it when the same arguments give other values


def digits(
    *modalities: str,
    split: str,
    n: int = 1000,
    seed: int = 0,
    relation: str = "same",
    drop: float | Mapping[str, float] = 0.0,
    street_difficulty: float = 0.5,
    snr_db: tuple[float, float] = (-3.0, 10.0),
    typos: float = 0.0,
    sources: Mapping[str, Source] | None = None,
    cache: bool = True,
    progress: bool = True,
) -> MultimodalDataset:
    """Examples of digits, each in the modalities named.

    Items are split before examples are composed: no image, voice family or font of one split is in another.
    Example k depends on ``seed``, ``split`` and k alone, not on ``n`` or on which other modalities are asked for.

    | modality | shape, float32 | what it is |
    | --- | --- | --- |
    | handwritten | (1, 28, 28) | real MNIST digit, in [0, 1] |
    | street | (3, 32, 32) | rendered house number, in [0, 1] |
    | spoken | (1, 32, 32) | log-mel spectrogram of a synthesised voice in noise, in [0, 1] |
    | waveform | (8000,) | the sound of `spoken`, 8 kHz, in [-1, 1] |
    | word | (8, 27) | one-hot letters of the English word |
    | shape | (16,) | measurements of the digit in `handwritten` |

    Args:
        modalities: one or more of the names above.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        n: how many examples.
        seed: of everything drawn at random, at least 0.
        relation: ``"same"``: all modalities show the same digit, which is the label. ``"sum"``: each modality shows
            its own digit (``"<modality>_label"``) and the label is their sum modulo 10. ``shape`` shows the digit
            of ``handwritten``, and ``waveform`` that of ``spoken``; it counts once, under the latter's name.
        drop: probability that a modality is missing for an example, for all or by name. At least one
            modality is always there. A modality that may be missing has a mask ``"<modality>_present"``, bool (n,),
            and zeros where it is missing.
        street_difficulty: 0 (clean) to 1 (dark, bent, blurred).
        snr_db: range of the signal-to-noise ratio of ``spoken``, in decibels, -100 to 100;
            ``(inf, inf)`` is clean.
        typos: probability that a letter of ``word`` is wrong.
        sources: other items for a modality, for example ``{"handwritten": mnist}``: a function of the split.
        cache: keep what is slow to make in the user's cache folder (``MMTUTOR_DATA`` names another one).
        progress: show a bar when making takes longer than two seconds.

    Returns:
        A dataset of dicts of tensors, with ``"label"`` int64 (n,).

    Raises:
        ValueError: an unknown modality, split or relation, or a number out of its range.
        TypeError: an argument of the wrong kind.

    Examples:
        >>> data = digits("handwritten", "word", split="train", n=8)
        >>> {name: tuple(value.shape) for name, value in data[:].items()}
        {'handwritten': (8, 1, 28, 28), 'word': (8, 8, 27), 'label': (8,)}
    """
    _check(modalities, split, relation)
    n, seed = whole("digits", "n", n, 1, MOST_EXAMPLES), whole("digits", "seed", seed, 0)
    difficulty, typos = _fraction("street_difficulty", street_difficulty), _fraction("typos", typos)
    snr_db = _decibels(snr_db)
    sources = {} if sources is None else sources
    _check_sources(sources)
    chances = _chances(modalities, drop)

    drawn = {
        owner: np.array([example_rng(seed, split, k, stream).integers(10) for k in range(n)])
        for owner in dict.fromkeys(OWNER[s] for s in modalities)
        for stream in ["label" if relation == "same" else f"label {owner}"]
    }
    label = sum(drawn.values()) % 10 if relation == "sum" else next(iter(drawn.values()))

    settings = {"street": [difficulty], "spoken": list(snr_db), "waveform": list(snr_db)}
    tensors: dict[str, Tensor] = {}
    for modality in modalities:
        owner = OWNER[modality]
        source = sources.get(owner)
        make = _maker(modality, split, source, difficulty, snr_db, typos)

        def compose(modality: str = modality, make: Maker = make) -> Tensor:
            return _compose(modality, make, drawn[OWNER[modality]], partial(example_rng, seed, split), progress)

        if cache and source is None and modality in _CACHED:
            key = [modality, split, n, seed, relation, settings.get(modality), _FORMAT, _versions()]
            stored = cached(modality, key, compose, cache_folder() / "digits")
        else:
            stored = compose()
        tensors[modality] = stored.float() / 255 if stored.dtype == torch.uint8 else stored.float()

    tensors |= _dropped(tensors, chances, partial(example_rng, seed, split))
    if relation == "sum":
        tensors |= {f"{owner}_label": torch.from_numpy(d) for owner, d in drawn.items()}
    return MultimodalDataset({**tensors, "label": torch.from_numpy(label)})


def _maker(
    modality: str,
    split: str,
    source: Source | None,
    difficulty: float,
    snr_db: tuple[float, float],
    typos: float,
) -> Maker:
    """A function of a digit and random numbers that gives one modality of one example."""
    if modality == "word":
        return lambda label, rng: word(label, rng, typos).astype(np.float32)
    if modality == "street" and source is None:
        return lambda label, rng: street(label, split, rng, difficulty)
    items = (source or {"handwritten": handwritten, "spoken": spoken}[OWNER[modality]])(split)
    by_label = rows_by_digit(items, split, f"digits: the source of {OWNER[modality]!r}")

    def make(label: int, rng: np.random.Generator) -> NDArray[Any]:
        value: NDArray[Any] = items.values[rng.choice(by_label[label])]
        if modality == "shape":
            return shape(value[0] if value.dtype == np.uint8 else np.rint(255 * value[0]).astype(np.uint8))
        if modality in ("spoken", "waveform"):
            wave = add_noise(value, snr_db, rng)
            return (log_mel(wave) if modality == "spoken" else wave).astype(np.float16)
        return value

    return make


def _compose(
    modality: str,
    make: Maker,
    labels: NDArray[np.int64],
    rng: Callable[[int, str], np.random.Generator],
    progress: bool,
) -> Tensor:
    """All examples of one modality, (n, ...); the digit of example k decides the class, its own seed the rest."""
    from mmtutor.data.progress import tqdm

    steps: Iterable[tuple[int, np.int64]] = enumerate(labels)
    bar = tqdm(steps, f"making {modality}", len(labels), leave=False, delay=2, disable=not progress)
    values = np.stack([make(int(label), rng(k, OWNER[modality])) for k, label in bar])
    if not np.isfinite(values).all():
        raise ValueError(f"digits: the source of {OWNER[modality]!r} has NaN or infinite values")
    return torch.from_numpy(values)


def _dropped(
    tensors: dict[str, Tensor], chances: dict[str, float], rng: Callable[[int, str], np.random.Generator]
) -> dict[str, Tensor]:
    """The masks of the modalities that may be missing; what is missing is set to zero in ``tensors``."""
    names = [modality for modality in tensors if chances[modality]]
    if not names:
        return {}
    chance = np.array([chances[modality] for modality in names])
    n = len(tensors[names[0]])
    draws = np.array([[rng(k, f"drop {modality}").random() for modality in names] for k in range(n)])
    present = draws >= chance
    if len(names) == len(tensors):  # where all would be missing one stays, each as likely as the others
        none = np.flatnonzero(~present.any(1))
        present[none, (draws[none] / chance).argmax(1)] = True
    masks = {}
    for modality, column in zip(names, present.T, strict=True):
        mask = torch.from_numpy(column.copy())
        tensors[modality] = torch.where(mask.view(-1, *[1] * (tensors[modality].ndim - 1)), tensors[modality], 0.0)
        masks[f"{modality}_present"] = mask
    return masks


def _versions() -> str:
    """Pixels may change with the libraries that draw them."""
    import matplotlib
    import PIL

    return f"{matplotlib.__version__} {PIL.__version__}"


def _known(name: object, names: tuple[str, ...], what: str) -> None:
    if not isinstance(name, str) or name not in names:
        near = difflib.get_close_matches(str(name), names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"digits: unknown {what} {name!r}, known: {', '.join(names)}{hint}")


def _check(modalities: tuple[str, ...], split: str, relation: str) -> None:
    if not modalities:
        raise ValueError(f"digits: name at least one modality: {', '.join(MODALITIES)}")
    for modality in modalities:
        if isinstance(modality, list | tuple):
            raise TypeError(f"digits: give one modality after the other, digits('word', 'shape', …), got {modality!r}")
        _known(modality, MODALITIES, "modality")
    if len(set(modalities)) < len(modalities):
        raise ValueError(f"digits: a modality is named twice: {modalities}")
    check_split(split)
    _known(relation, ("same", "sum"), "relation")


def _fraction(name: str, value: object) -> float:
    """The number, if it is between 0 and 1."""
    if not isinstance(value, _NUMBER) or isinstance(value, bool):
        raise TypeError(f"digits: {name} must be a number, got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"digits: {name} must be between 0 and 1, got {value}")
    return float(value)


def _decibels(snr_db: object) -> tuple[float, float]:
    """The range, if it is two finite numbers in order, or (inf, inf)."""
    pair = snr_db if isinstance(snr_db, tuple | list) else ()
    if not pair or any(not isinstance(end, _NUMBER) or isinstance(end, bool) for end in pair):
        raise TypeError(f"digits: snr_db must be (lowest, highest) in decibels, got {snr_db!r}")
    if len(pair) != 2 or not (-100 <= pair[0] <= pair[1] <= 100 or pair[0] == pair[1] == math.inf):
        raise ValueError(
            f"digits: snr_db must be (lowest, highest) between -100 and 100 decibels, or (inf, inf), got {snr_db}"
        )
    return float(pair[0]), float(pair[1])


def _check_sources(sources: Mapping[str, Source]) -> None:
    if not isinstance(sources, Mapping):
        raise TypeError(f"digits: sources must be a dict of functions of the split, got {sources!r}")
    for name, source in sources.items():
        _known(name, ("handwritten", "street", "spoken"), "source")
        if not callable(source):
            raise TypeError(f"digits: sources[{name!r}] must be a function of the split, got {source!r}")


def _chances(modalities: tuple[str, ...], drop: float | Mapping[str, float]) -> dict[str, float]:
    """The probability of missing for each modality."""
    if not isinstance(drop, Mapping):
        return dict.fromkeys(modalities, _fraction("drop", drop))
    for name in drop:
        _known(name, modalities, "modality in drop")
    return {modality: _fraction(f"drop of {modality!r}", drop.get(modality, 0.0)) for modality in modalities}
