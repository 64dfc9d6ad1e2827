"""The claims of the chapter on fusion, over several seeds: ``python -m experiments.fusion --seeds 5``.

Every model of a comparison has the same encoders, the same data and the same number of steps; nothing is chosen
by a test score. About three core-minutes a seed. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits, fsdd, smartwatch
from mmtutor.encoders import AudioEncoder, ImageEncoder, SequenceEncoder, TabularEncoder
from mmtutor.fusion import (
    Concat,
    CrossModalFusion,
    DecisionFusion,
    EarlyFusion,
    LateFusion,
    LowRankFusion,
    MeanRule,
    ProductRule,
)
from mmtutor.metrics import correct
from mmtutor.training import fit, seed_everything

SETTINGS: dict[str, Any] = {
    "train": 4000,
    "test": 2000,
    "epochs": 8,
    "epochs, sum of two digits": 15,
    "lr": 2e-3,
    "batch": 64,
    "street difficulty": 1.0,
    "SNR of spoken, dB": [-3, 10],
    "SNR of spoken in the sum, dB": [20, 30],
    "probability missing at test": 0.5,
    "modality dropout, probability": 0.3,
    "people of the watch held out": "seed k: the k-th of five pairs",
    "real voices": "FSDD 1.0.10, official split",
}
MEMO = "memo on multimodal classification"
OURS = "ours"
CLAIMS = [
    Claim("Three modalities together beat the best single one", MEMO, "late", "best single modality",
          show=("street", "spoken", "shape")),
    Claim("Two sensors of a smartwatch beat the best single one (people held out)", MEMO,
          "both sensors", "best sensor"),
    Claim("Late fusion of features beats early fusion of raw modalities", OURS, "late", "early"),
    Claim("Cross-modal fusion with one exchange beats late fusion", MEMO, "1 exchange", "late", show=("0 exchanges",)),
    Claim("Cross-modal fusion with three exchanges beats one exchange", MEMO, "3 exchanges", "1 exchange"),
    Claim(
        "Decision-level fusion by the product rule beats late fusion (modalities independent given the digit)",
        OURS,
        "product of probabilities",
        "late",
        show=("mean of probabilities",),
    ),
    Claim(
        "With about half of the modalities missing at test, modality dropout in training helps",
        OURS,
        "missing at test, modality dropout",
        "missing at test, no modality dropout",
        show=("missing at test, product of probabilities",),
    ),
    Claim("Modality dropout in training costs accuracy when nothing is missing", OURS,
          "late", "modality dropout"),
    Claim("Label in the relation between modalities: low-rank fusion learns it, the product rule cannot", OURS,
          "sum: low-rank", "sum: product of probabilities"),
    Claim("Label in the relation between modalities: low-rank fusion learns it sooner than concatenation", OURS,
          "sum: low-rank", "sum: concatenation"),
    Claim("A network trained on synthetic voices generalises less well to real voices than to new synthetic ones", OURS,
          "synthetic to synthetic", "synthetic to real", show=("real to real",)),
]  # fmt: skip
MODALITIES = ("street", "spoken", "shape")
DIMS = [64, 64, 64]


def encoders(*modalities: str) -> dict[str, nn.Module]:
    """New encoders for the modalities named."""
    make = {
        "street": lambda: ImageEncoder(3),
        "handwritten": lambda: ImageEncoder(1),
        "spoken": AudioEncoder,
        "shape": lambda: TabularEncoder(16),
        "accelerometer": lambda: SequenceEncoder(3),
        "gyroscope": lambda: SequenceEncoder(3),
    }
    return {m: make[m]() for m in modalities}


def accuracy(
    model: nn.Module, train: MultimodalDataset, *tests: MultimodalDataset, seed: int, epochs: int = SETTINGS["epochs"]
) -> list[float]:
    """Train a model and measure its accuracy on each test set."""
    fit(
        model,
        train,
        epochs=epochs,
        lr=SETTINGS["lr"],
        batch_size=SETTINGS["batch"],
        seed=seed,
        schedule="one-cycle",
        clip_norm=1.0,
        progress=False,
    )
    return [float(correct(model, test).mean()) for test in tests]


def one_seed(seed: int, archive: Path | None) -> dict[str, float]:
    """All numbers of one seed."""
    out: dict[str, float] = {}
    n, n_test, epochs_sum = SETTINGS["train"], SETTINGS["test"], SETTINGS["epochs, sum of two digits"]
    three = partial(
        digits,
        *MODALITIES,
        seed=seed,
        snr_db=SETTINGS["SNR of spoken, dB"],
        street_difficulty=SETTINGS["street difficulty"],
    )
    train, test = three(split="train", n=n), three(split="test", n=n_test)
    missing = three(split="test", n=n_test, drop=SETTINGS["probability missing at test"])
    go = partial(accuracy, seed=seed)

    for modality in MODALITIES:
        seed_everything(seed)
        [out[modality]] = go(LateFusion(encoders(modality), 10, Concat([64])), train, test)
    out["best single modality"] = max(out[m] for m in MODALITIES)
    seed_everything(seed)
    late = LateFusion(encoders(*MODALITIES), 10, Concat(DIMS))
    out["late"], out["missing at test, no modality dropout"] = go(late, train, test, missing)
    seed_everything(seed)
    late = LateFusion(encoders(*MODALITIES), 10, Concat(DIMS))
    out["modality dropout"], out["missing at test, modality dropout"] = go(
        late, three(split="train", n=n, drop=SETTINGS["modality dropout, probability"]), test, missing
    )
    seed_everything(seed)
    [out["early"]] = go(EarlyFusion({"street": 3072, "spoken": 1024, "shape": 16}, 10), train, test)
    for k, name in {0: "0 exchanges", 1: "1 exchange", 3: "3 exchanges"}.items():
        seed_everything(seed)
        [out[name]] = go(CrossModalFusion(encoders(*MODALITIES), 10, DIMS, exchanges=k), train, test)
    seed_everything(seed)
    decisions = DecisionFusion(encoders(*MODALITIES), 10, DIMS, ProductRule())
    out["product of probabilities"], out["missing at test, product of probabilities"] = go(
        decisions, train, test, missing
    )
    decisions.rule = MeanRule()  # only the rule differs: each branch is trained on its own
    out["mean of probabilities"] = float(correct(decisions, test).mean())

    # Seed k holds out the k-th pair of people, so the interval over seeds is one over people too.
    train, test = smartwatch("train", fold=seed % 5, hop=25), smartwatch("test", fold=seed % 5)
    for modalities in (("accelerometer",), ("gyroscope",), ("accelerometer", "gyroscope")):
        seed_everything(seed)
        model = LateFusion(encoders(*modalities), 7, Concat([64] * len(modalities)))
        [out["both sensors" if len(modalities) > 1 else modalities[0]]] = go(model, train, test)
    out["best sensor"] = max(out["accelerometer"], out["gyroscope"])

    pair = partial(
        digits, "handwritten", "spoken", seed=seed, relation="sum", snr_db=SETTINGS["SNR of spoken in the sum, dB"]
    )
    train, test = pair(split="train", n=n), pair(split="test", n=n_test)
    for name, merge in {"concatenation": Concat([64] * 2), "low-rank": LowRankFusion([64] * 2, 64, rank=8)}.items():
        seed_everything(seed)
        model = LateFusion(encoders("handwritten", "spoken"), 10, merge)
        [out[f"sum: {name}"]] = go(model, train, test, epochs=epochs_sum)
    seed_everything(seed)
    model = DecisionFusion(encoders("handwritten", "spoken"), 10, [64] * 2, ProductRule())
    [out["sum: product of probabilities"]] = go(model, train, test, epochs=epochs_sum)

    real = {"spoken": partial(fsdd, archive=archive) if archive else fsdd}
    sound = partial(digits, "spoken", seed=seed, snr_db=SETTINGS["SNR of spoken, dB"])
    synthetic_test = sound(split="test", n=n_test)
    real_test = sound(split="test", n=n_test, sources=real, progress=False)
    seed_everything(seed)
    model = LateFusion(encoders("spoken"), 10, Concat([64]))
    out["synthetic to synthetic"], out["synthetic to real"] = go(
        model, sound(split="train", n=n), synthetic_test, real_test
    )
    seed_everything(seed)
    model = LateFusion(encoders("spoken"), 10, Concat([64]))
    [out["real to real"]] = go(model, sound(split="train", n=n, sources=real, progress=False), real_test)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fsdd", type=Path, help="an archive of FSDD that is already here; otherwise it is downloaded")
    arguments = parser.parse_args()
    what = "Early, late and cross-modal fusion on the digit world and on a smartwatch."
    print(measure("fusion", what, CLAIMS, partial(one_seed, archive=arguments.fsdd), arguments.seeds, SETTINGS))
