"""Free Spoken Digit Dataset (Jackson and others, CC BY-SA 4.0): people who say the digits in English.

A clip is a WAV file ``recordings/7_jackson_32.wav``: the digit, who says it, and the take. Each of the five
speakers of version 1.0.9 (six of 1.0.10) says each digit 50 times, takes 0 to 49.
"""

from __future__ import annotations

import io
import re
import wave
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from .download import RemoteFile, fetch, read_archive
from .items import Items, check_split
from .spoken import RATE

FILE = RemoteFile(
    "fsdd/free-spoken-digit-dataset-1.0.9.tar.gz",
    ("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.9.tar.gz",),
    "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
_NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")
_LIMIT = 512 * 2**20  # bytes unpacked; version 1.0.10 has 27 MB of recordings


def fsdd(
    split: str,
    *,
    folder: str | Path | None = None,
    archive: str | Path | None = None,
    file: RemoteFile = FILE,
) -> Items:
    """The recordings of a split, downloaded (12 MB) the first time.

    The test split is the official one: takes 0 to 4. The valid split is takes 5 to 9, the train split the
    rest. So every speaker is in every split; ``groups`` lets you hold out a speaker, which is much harder.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``.
        folder: the cache folder; see ``cache_folder``.
        archive: a zip or tar.gz of any version that is already on disk, read instead of downloading.
        file: where the archive comes from.

    Returns:
        Values float32 (N, 8000) in [-1, 1): the first second at 8 kHz, with silence after a shorter clip (20
        of the 3,000 clips of version 1.0.10 are longer). Labels 0 to 9. Groups int64: the speaker's index in
        ``SPEAKERS``. Sorted by speaker, digit and take, whatever the archive's order.

    Raises:
        ValueError: no such split, or an archive or clip that is not what it should be.
        FileNotFoundError: there is no ``archive``.
        DownloadError: the archive could not be fetched.
    """
    check_split(split)
    path = Path(archive) if archive is not None else fetch(file, folder)
    clips: dict[tuple[int, int, int], NDArray[np.float32]] = {}
    for name, content in read_archive(path, limit=_LIMIT):
        if PurePosixPath(name).parent.name != "recordings":
            continue
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match is None or match[2] not in SPEAKERS:
            raise ValueError(f"{path}: {name} should be recordings/DIGIT_SPEAKER_TAKE.wav, SPEAKER of {SPEAKERS}")
        digit, speaker, take = int(match[1]), SPEAKERS.index(match[2]), int(match[3])
        if split == ("test" if take < 5 else "valid" if take < 10 else "train"):
            clips[speaker, digit, take] = _read_wav(content, f"{path}: {name}")
    if not clips:
        raise ValueError(f"{path}: no recordings for the {split} split")
    keys = np.array(sorted(clips), np.int64)
    return Items(np.stack([clips[key] for key in sorted(clips)]), keys[:, 1].copy(), keys[:, 0].copy())


def _read_wav(content: bytes, name: str) -> NDArray[np.float32]:
    """One second of a 16-bit mono WAV file at 8 kHz, float32 (8000,) in [-1, 1)."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            kind = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            expected, sound = 2 * file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{name}: cut off, or not a WAV file ({error})") from error
    if kind != (1, 16, RATE):
        raise ValueError(f"{name}: should be 1 channel of 16 bits at {RATE} Hz, is {kind[0]} of {kind[1]} at {kind[2]}")
    if not 0 < expected == len(sound):
        raise ValueError(f"{name}: should be {expected:,} bytes of sound, has {len(sound):,}")
    samples = np.frombuffer(sound, "<i2")[:RATE].astype(np.float32) / 2**15
    return np.pad(samples, (0, RATE - len(samples)))
