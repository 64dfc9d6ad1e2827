"""Spoken digits: sound at 8 kHz, noise, and the log-mel spectrogram of a sound.

The sounds are synthesised (espeak-ng, 64 voices, each digit twice): a network trained on them recognises real
voices much less well (chapter 2). Voices that sound alike form a family, and a
family lies in one split only. ``fsdd`` in the same folder reads recordings of real people.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .items import SPLITS, Items, check_split, packaged

RATE = 8000  # samples per second
BANDS = FRAMES = 32
_WINDOW, _HOP, _FLOOR_DB = 400, 250, 60.0

Array = NDArray[np.float64]


def mu_law_encode(wave: Array) -> NDArray[np.uint8]:
    """Sound in [-1, 1] to one byte a sample, with finer steps near zero (ITU G.711's curve, mu = 255).

    Louder samples are clipped.
    """
    y = np.sign(wave) * np.log1p(255 * np.abs(np.clip(wave, -1, 1))) / np.log(256)
    return np.asarray(np.round((y + 1) * 127.5), np.uint8)


def mu_law_decode(encoded: NDArray[np.uint8]) -> Array:
    """The inverse of ``mu_law_encode``, float in [-1, 1]."""
    y = encoded / 127.5 - 1
    return np.asarray(np.sign(y) * np.expm1(np.abs(y) * np.log(256)) / 255)


def spoken(split: str) -> Items:
    """The synthesised voices: waveforms float32 (N, 8000) in [-1, 1], one second, padded with silence."""
    data = packaged("spoken.npz")
    ends = np.cumsum(data["lengths"])
    chosen = np.flatnonzero(data["splits"] == SPLITS.index(check_split(split)))
    waves = np.zeros((len(chosen), RATE), np.float32)
    for row, i in enumerate(chosen):
        clip = mu_law_decode(data["sound"][ends[i] - data["lengths"][i] : ends[i]])
        waves[row, : len(clip)] = clip
    return Items(waves, data["labels"][chosen].astype(np.int64), data["families"][chosen].astype(np.int64))


def add_noise(wave: NDArray[np.floating], snr_db: tuple[float, float], rng: np.random.Generator) -> Array:
    """Add white noise at a signal-to-noise ratio drawn from ``snr_db``, in decibels.

    Args:
        wave: (samples,) in [-1, 1]; silence after the last sound does not count as signal.
        snr_db: lowest and highest ratio; ``(inf, inf)`` adds nothing.
        rng: where the ratio and the noise are drawn from.

    Returns:
        (samples,), scaled so that it stays in [-1, 1].
    """
    low, high = snr_db
    if low == math.inf:
        return np.asarray(wave, float)
    sound = np.trim_zeros(wave, "b")
    power = float(np.mean(np.square(sound, dtype=float))) if len(sound) else 0.0
    sigma = np.sqrt(power / 10 ** (rng.uniform(low, high) / 10))
    noisy = wave + sigma * rng.standard_normal(len(wave))
    return np.asarray(noisy / max(1.0, float(np.abs(noisy).max())))


@cache
def _mel_filters() -> Array:
    """Triangles, equally spaced on the mel scale 2595 log10(1 + f/700) from 60 to 3,900 Hz: (bands, bins)."""
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in (60, 3900))
    mel = np.linspace(lowest, highest, BANDS + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    f = np.fft.rfftfreq(512, 1 / RATE)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return np.maximum(np.minimum((f - left) / (centre - left), (right - f) / (right - centre)), 0.0)


def log_mel(wave: NDArray[np.floating]) -> NDArray[np.float32]:
    """The log-mel spectrogram of a sound: energy per frequency band and frame, in decibels.

    Args:
        wave: (8000,) one second at 8 kHz, finite.

    Returns:
        float32 (1, 32, 32): bands from low to high by frames of 31 ms; 1 is the loudest value of the
        clip, 0 is 60 dB below it or softer. Silence is 0 everywhere.

    Raises:
        ValueError: another length, or NaN in it.
    """
    if np.shape(wave) != (RATE,) or not np.isfinite(wave).all():
        raise ValueError(f"log_mel: wave must be {RATE} finite samples, got shape {np.shape(wave)}")
    padded = np.pad(np.asarray(wave, float), (_WINDOW // 2, _WINDOW // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:FRAMES] * np.hanning(_WINDOW)
    energy = np.abs(np.fft.rfft(frames, 512)) ** 2 @ _mel_filters().T
    loudest = energy.max()
    if loudest < 1e-9:  # silence, but for rounding
        return np.zeros((1, BANDS, FRAMES), np.float32)
    db = 10 * np.log10(np.maximum(energy / loudest, 10 ** (-_FLOOR_DB / 10)))
    return np.ascontiguousarray((db / _FLOOR_DB + 1).T[None], np.float32)
