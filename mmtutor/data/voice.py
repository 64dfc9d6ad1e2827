"""Scenes in which an object speaks: a voice says one of the digits that the picture shows.

Which object speaks is known by program, and is no part of what a network is given: it must find out from the voice.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from .items import MOST_EXAMPLES, Source, check_split, example_rng, rows_by_digit, whole
from .scene import MOST, Scenes
from .spoken import RATE, add_noise, log_mel, spoken

SAYS = ("shown", "other", "nothing")


def speak(
    data: Scenes,
    split: str,
    *,
    says: str = "shown",
    voices: int = 1,
    seed: int = 0,
    snr_db: tuple[float, float] = (-3.0, 10.0),
    source: Source = spoken,
    waveform: bool = False,
    progress: bool = True,
) -> Scenes:
    """The scenes, each with a sound: a voice in noise says a digit.

    The sound of scene k depends on ``seed``, ``split``, k and the scene alone.

    Args:
        data: from `scenes` or `twins`.
        split: of the voices, ``"train"``, ``"valid"`` or ``"test"``: the same as that of the scenes.
        says: ``"shown"``, the digit of an object of the scene, each object with equal chance; ``"other"``, a digit that
            the scene does not show, as from a speaker who is not in the picture; ``"nothing"``, noise alone.
        voices: how many objects speak at once, 1 to 4; all of them where the scene has fewer. Each says its own digit.
        seed: of everything drawn at random, at least 0.
        snr_db: range of the signal-to-noise ratio, in decibels, as in `digits`; ``(inf, inf)`` is clean.
        source: of the voices, for example `mmtutor.data.fsdd`: a function of the split.
        waveform: give the sounds themselves, too.
        progress: show a bar when making takes longer than two seconds.

    Returns:
        New scenes that also have ``"spoken"``, float32 (n, 1, 32, 32), the log-mel spectrogram; ``"speaks_label"``,
        bool (n, most), which objects speak; ``"said_label"``, int64 (n,), the digit that is said, of several that of
        the first, -1 in silence; and ``"waveform"``, float32 (n, 8000), if asked for.

    Raises:
        TypeError: data are no scenes, or the source gives no items.
        ValueError: a number out of range, or a name that is not known.

    Examples:
        >>> from mmtutor.data import scenes
        >>> data = speak(scenes("test", n=3), "test")
        >>> {name: tuple(data[:][name].shape) for name in data.modalities}
        {'scene': (3, 3, 64, 64), 'spoken': (3, 1, 32, 32)}
        >>> data[:]["digit_label"][data[:]["speaks_label"]] == data[:]["said_label"]
        tensor([True, True, True])
    """
    from mmtutor.data.progress import tqdm

    if not isinstance(data, Scenes):
        raise TypeError(f"speak: data must be Scenes, whose objects are known, got {type(data).__name__}")
    check_split(split)
    if says not in SAYS:
        raise ValueError(f"speak: says must be one of {', '.join(SAYS)}, got {says!r}")
    voices, seed = whole("speak", "voices", voices, 1, MOST), whole("speak", "seed", seed, 0, MOST_EXAMPLES)
    snr_db = _decibels(snr_db)
    if not callable(source):
        raise TypeError(f"speak: source must be a function of the split, got {source!r}")
    items = source(split)
    by_digit = rows_by_digit(items, split, "speak: the source")

    n, most = data.tensors["digit_label"].shape
    speaks, said = np.zeros((n, most), bool), np.full(n, -1)
    sounds = np.empty((n, 1, 32, 32), np.float32)
    waves = np.empty((n, RATE), np.float32) if waveform else None
    for k in tqdm(range(n), "making sounds", leave=False, delay=2, disable=not progress):
        rng = example_rng(seed, split, k, "voice")
        shown = [thing.digit for thing in data.objects[k]]
        digits: list[int] = []
        if says == "shown":
            chosen = rng.permutation(len(shown))[:voices]
            speaks[k, chosen] = True
            digits = [shown[j] for j in chosen]
        elif says == "other":
            digits = [int(d) for d in rng.permutation([d for d in range(10) if d not in shown])[:voices]]
        wave = _mixed([items.values[rng.choice(by_digit[digit])] for digit in digits], snr_db, rng)
        said[k] = digits[0] if digits else -1
        sounds[k] = log_mel(wave)
        if waves is not None:
            waves[k] = wave
    tensors = {
        **data.tensors,
        "spoken": torch.from_numpy(sounds),
        "speaks_label": torch.from_numpy(speaks),
        "said_label": torch.from_numpy(said),
    }
    if waves is not None:
        tensors["waveform"] = torch.from_numpy(waves)
    return Scenes(tensors, data.captions, data.objects, data._about)


def _mixed(
    clips: list[NDArray[np.floating]], snr_db: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Voices at once, in noise, (8000,) in [-1, 1]; without a voice the noise alone, or nothing where all is clean."""
    if not clips:
        noise = rng.standard_normal(RATE)
        return 0.0 * noise if snr_db[0] == math.inf else noise / np.abs(noise).max()
    mixed = np.sum(clips, 0, dtype=float)
    return add_noise(mixed / max(1.0, float(np.abs(mixed).max())), snr_db, rng)


def _decibels(snr_db: object) -> tuple[float, float]:
    pair = snr_db if isinstance(snr_db, tuple | list) and len(snr_db) == 2 else (None, None)
    number = (int, float, np.integer, np.floating)
    low, high = (float(x) if isinstance(x, number) and not isinstance(x, bool) else math.nan for x in pair)
    if not (-100 <= low <= high <= 100 or low == high == math.inf):
        raise ValueError(
            f"speak: snr_db must be (lowest, highest) between -100 and 100 decibels, or (inf, inf), got {snr_db!r}"
        )
    return low, high
