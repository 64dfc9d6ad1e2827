"""FSDD from archives in the real layout, made here, and from the real recordings where they are at hand."""

import hashlib
import io
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from mmtutor.data.download import DownloadError, read_archive
from mmtutor.data.fsdd import FILE, SPEAKERS, fsdd

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data" / "fsdd-1.0.10-recordings.tar.gz"
real = pytest.mark.skipif(not RECORDINGS.is_file(), reason=f"the real recordings are not at {RECORDINGS}")
TOP = "free-spoken-digit-dataset-1.0.9"


def sound(name, samples):
    """Noise that depends on the name only, int16."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).integers(-(2**15), 2**15, samples).astype("<i2")


def wav(samples, rate=8000, channels=1, width=2):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(np.asarray(samples).tobytes())
    return file.getvalue()


def packed(recordings):
    """A tar.gz as GitHub makes it: a global header, folders, other files, and the recordings in any order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c0ffee"}) as tar:
        for folder in (TOP, f"{TOP}/recordings", f"{TOP}/utils"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        others = {"README.md": b"# FSDD", "utils/9_nobody_0.wav": b"not a recording"}
        for name, content in (others | {f"recordings/{n}": c for n, c in recordings.items()}).items():
            info = tarfile.TarInfo(f"{TOP}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


NAMES = [f"{d}_{s}_{t}.wav" for t in (32, 0, 4, 5, 9, 10) for d in (7, 0) for s in ("theo", "jackson")]
LENGTHS = dict(zip(NAMES, [2384, 8000, 12000, 1, 7999, 8001] * 4, strict=True))
WAVS = {name: wav(sound(name, LENGTHS[name])) for name in NAMES}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / f"{TOP}.tar.gz"
    path.write_bytes(packed(WAVS))
    return path


def check(items, takes):
    expected = [f"{d}_{s}_{t}.wav" for s in ("jackson", "theo") for d in (0, 7) for t in takes]
    assert items.values.shape == (len(expected), 8000)
    assert items.values.dtype == np.float32
    assert items.labels.dtype == items.groups.dtype == np.int64
    assert [f"{d}_{SPEAKERS[g]}" for d, g in zip(items.labels, items.groups, strict=True)] == [
        name.rpartition("_")[0] for name in expected
    ]
    for values, name in zip(items.values, expected, strict=True):
        clip = sound(name, LENGTHS[name])[:8000] / 2**15
        np.testing.assert_array_equal(values[: len(clip)], clip.astype(np.float32))
        assert not values[len(clip) :].any()


def test_the_splits(archive):
    """Takes 0 to 4 are the official test, 5 to 9 are valid; one second, padded with silence or cropped."""
    check(fsdd("test", archive=archive), [0, 4])
    check(fsdd("valid", archive=archive), [5, 9])
    check(fsdd("train", archive=archive), [10, 32])


def test_a_zip_is_read_as_well(archive, tmp_path):
    with zipfile.ZipFile(tmp_path / "fsdd.zip", "w") as out:
        for name, content in read_archive(archive, limit=2**30):
            out.writestr(name, content)
    check(fsdd("test", archive=tmp_path / "fsdd.zip"), [0, 4])


def test_the_archive_is_downloaded_once(server, tmp_path):
    file = server.remote(FILE.name, packed(WAVS))
    check(fsdd("test", folder=tmp_path, file=file), [0, 4])
    check(fsdd("train", folder=tmp_path, file=file), [10, 32])
    assert len(server.requests) == 1
    assert (tmp_path / FILE.name).is_file()


def test_a_failed_download_is_named(server, tmp_path):
    file = server.remote(FILE.name, b"", lambda handler: handler.send_error(404))
    with pytest.raises(DownloadError, match=r"could not download free-spoken-digit-dataset-1\.0\.9\.tar\.gz"):
        fsdd("test", folder=tmp_path, file=file)


def test_an_unknown_split_names_the_three_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="train, valid, test, got 'dev'"):
        fsdd("dev", archive=tmp_path / "absent")


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        fsdd("test", archive=tmp_path / "absent")


GOOD = WAVS["7_theo_0.wav"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "1_theo_0.wav",
            wav(sound("x", 100), rate=16000),
            "1 channel of 16 bits at 8000 Hz, is 1 of 16 at 16000",
        ),
        ("1_theo_0.wav", wav(sound("x", 100), channels=2), "is 2 of 16 at 8000"),
        ("1_theo_0.wav", wav(sound("x", 100), width=1), "is 1 of 8 at 8000"),
        ("1_theo_0.wav", wav([]), "should be 0 bytes of sound, has 0"),
        ("1_theo_0.wav", GOOD[:-1], "bytes of sound, has"),
        ("1_theo_0.wav", GOOD[:30], "cut off, or not a WAV file"),
        ("1_theo_0.wav", b"", "cut off, or not a WAV file"),
        ("1_theo_0.wav", b"no sound" * 100, "cut off, or not a WAV file"),
        ("1_theo_0.wav", GOOD.replace(b"fmt \x10\0\0\0\1\0", b"fmt \x10\0\0\0\3\0"), "unknown format: 3"),
        ("x_theo_0.wav", GOOD, "should be recordings/DIGIT_SPEAKER_TAKE.wav"),
        ("10_theo_0.wav", GOOD, "should be recordings/DIGIT_SPEAKER_TAKE.wav"),
        ("1_theo.wav", GOOD, "should be recordings/DIGIT_SPEAKER_TAKE.wav"),
        ("1_nobody_0.wav", GOOD, "SPEAKER of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_recording_is_named(tmp_path, name, content, says):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed({**WAVS, name: content}))
    with pytest.raises(ValueError, match=says) as caught:
        fsdd("test", archive=path)
    assert f"{path}: {TOP}/recordings/{name}" in str(caught.value)


def test_a_malformed_archive_is_named(archive):
    archive.write_bytes(archive.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"1\.0\.9\.tar\.gz: cut off"):
        fsdd("test", archive=archive)


@pytest.mark.parametrize("recordings", [{}, {"1_theo_7.wav": GOOD}])
def test_an_archive_without_the_split_is_refused(tmp_path, recordings):
    (tmp_path / "a.tar.gz").write_bytes(packed(recordings))
    with pytest.raises(ValueError, match=r"a\.tar\.gz: no recordings for the test split"):
        fsdd("test", archive=tmp_path / "a.tar.gz")


@real
def test_the_real_recordings():
    """Version 1.0.10: six speakers, ten digits, fifty takes, each in its split."""
    takes = {"test": 5, "valid": 5, "train": 40}
    items = {split: fsdd(split, archive=RECORDINGS) for split in takes}
    for split, each in takes.items():
        count = np.zeros((6, 10), int)
        np.add.at(count, (items[split].groups, items[split].labels), 1)
        assert (count == each).all()
        assert np.abs(items[split].values).max() <= 1
        assert items[split].values.any(axis=1).all()
    # Read a second way: scipy, and names looked up by hand.
    position = {(s, d, t): i for i, (s, d, t) in enumerate(np.ndindex(6, 10, 5))}
    seen, longer = 0, 0
    for name, content in read_archive(RECORDINGS, limit=2**26):
        digit, speaker, take = Path(name).stem.split("_")
        rate, clip = wavfile.read(io.BytesIO(content))
        assert rate == 8000
        longer += len(clip) > 8000
        if int(take) < 5:
            seen += 1
            values = items["test"].values[position[SPEAKERS.index(speaker), int(digit), int(take)]]
            np.testing.assert_array_equal(values[: len(clip)], clip[:8000] / np.float32(2**15))
            assert not values[len(clip) :].any()
    assert (seen, longer) == (300, 20)
