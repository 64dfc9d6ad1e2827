"""The claims of the chapter on fusion, over several seeds: ``python -m experiments.fusion --seeds 5``.

Every model of a comparison has the same data and number of steps, and, but for early fusion of raw modalities, the same
encoders; nothing is chosen by a test score. About six core-minutes a seed. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits, fsdd, smartwatch
from mmtutor.encoders import AudioEncoder, ImageEncoder, SequenceEncoder, TabularEncoder
from mmtutor.fusion import (
    Classifier,
    Concat,
    CrossModalFusion,
    DecisionFusion,
    EarlyFusion,
    HarmonicRule,
    HybridFusion,
    LateFusion,
    LowRankFusion,
    MeanRule,
    ModulatedFusion,
    ProductRule,
)
from mmtutor.metrics import correct, probe_loss
from mmtutor.training import fit, seed_everything

SETTINGS: dict[str, Any] = {
    "train": 4000,
    "valid, for probes": 2000,
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
    "α of gradient modulation": 0.5,
    "people of the watch held out": "seed k: the k-th of five pairs",
    "real voices": "FSDD 1.0.10, official split",
}
MEMO = "memo on multimodal classification"
WANG, WU, PENG, OURS = "Wang 2020", "Wu 2022", "Peng 2022", "ours"
MODALITIES = ("street", "spoken", "shape")
DIMS = [64, 64, 64]
JOINT = ("late", "branch losses", "modality dropout", "modulated", "product, as a whole")  # trained as one network
TRAINED = ", encoders trained alone first"
SEEN = ", training examples"
KNOWS = "nats a probe lacks, mean over the branches: {}"

CLAIMS = [
    Claim("Three modalities together beat the best single one", MEMO, "late", "best single modality",
          show=("street", "spoken", "shape")),
    Claim("Two sensors of a smartwatch beat the best single one (people held out)", MEMO,
          "both sensors", "best sensor"),
    Claim("Late fusion of features beats early fusion of raw modalities", OURS, "late", "early"),
    Claim("Early fusion of the features of encoders that were trained alone beats encoders that are trained together",
          OURS, "early, features of trained encoders", "late"),
    Claim("Decision-level fusion by the product rule, branches trained alone, beats late fusion trained as a whole",
          OURS, "product of probabilities", "late", show=("mean of probabilities", "harmonic mean of probabilities")),
    Claim("It is not the rule: the product trained as a whole is no better than late fusion by more than .005", OURS,
          "late, plus .005", "product, as a whole", show=("late",)),
    Claim("It is the training: late fusion with a loss on each branch beats plain late fusion", WANG, "branch losses",
          "late", show=("hybrid",)),
    Claim("Even the mean of probabilities, branches trained alone, beats late fusion trained as a whole", OURS,
          "mean of probabilities", "late"),
    Claim("A branch that is trained with the others knows less than one that is trained alone", WU,
          KNOWS.format("late"), KNOWS.format("alone"), "nats of cross-entropy of a linear probe",
          show=tuple(f"nats a probe lacks, {m}: {k}" for m in MODALITIES for k in ("alone", "late"))),
    Claim("A branch that is trained with the others knows less of its training examples, too: it did not overfit",
          OURS, KNOWS.format("late" + SEEN),
          KNOWS.format("alone" + SEEN), "nats of cross-entropy of a linear probe",
          show=tuple(f"nats a probe lacks, {m}: {k}{SEEN}" for m in MODALITIES for k in ("alone", "late"))),
    *(Claim(f"With {what} the branches lack less than in plain joint training", source, KNOWS.format("late"),
            KNOWS.format(name), "nats of cross-entropy of a linear probe",
            show=tuple(f"nats a probe lacks, {m}: {name}" for m in MODALITIES))
      for name, what, source in (("branch losses", "a loss on each branch", WANG),
                                 ("modality dropout", "modality dropout", OURS),
                                 ("modulated", "gradient modulation", PENG))),
    Claim("Gradient modulation beats plain joint training", PENG, "modulated", "late"),
    Claim("With about half of the modalities missing at test, modality dropout in training helps", OURS,
          "missing at test, modality dropout", "missing at test, no modality dropout",
          show=("missing at test, product of probabilities", "missing at test, branch losses")),
    Claim("Modality dropout in training costs accuracy when nothing is missing", OURS, "late", "modality dropout"),
    Claim("One exchange beats none, one vector a modality", MEMO, "1 exchange", "0 exchanges", show=("late",)),
    Claim("Three exchanges beat one, one vector a modality", MEMO, "3 exchanges", "1 exchange"),
    Claim("One exchange beats none, 16 positions a modality", MEMO, "1 exchange, positions",
          "0 exchanges, positions"),
    Claim("Label in the relation between modalities: low-rank fusion learns it, the product rule cannot", OURS,
          "sum: low-rank", "sum: product of probabilities"),
    Claim("Label in the relation: low-rank fusion learns it sooner than concatenation",
          OURS, "sum: low-rank", "sum: concatenation"),
    Claim("Label in the relation, 16 positions a modality: it is learned from encoders that know "
          "digits, not from new ones",
          OURS,
          f"sum: 1 exchange, positions{TRAINED}", "sum: 1 exchange, positions", show=("sum: 0 exchanges, positions",)),
    Claim("Label in the relation, encoders that know digits, 16 positions: one exchange beats none",
          MEMO, f"sum: 1 exchange, positions{TRAINED}",
          f"sum: 0 exchanges, positions{TRAINED}"),
    Claim("A network trained on synthetic voices generalises less well to real voices than to new synthetic ones", OURS,
          "synthetic to synthetic", "synthetic to real", show=("real to real",)),
]  # fmt: skip


def encoders(*modalities: str, tokens: bool = False) -> dict[str, nn.Module]:
    """New encoders for the modalities named; with ``tokens`` a picture or a sound has 16 positions."""
    make = {
        "street": lambda: ImageEncoder(3, tokens=tokens),
        "handwritten": lambda: ImageEncoder(1, tokens=tokens),
        "spoken": lambda: AudioEncoder(tokens=tokens),
        "shape": lambda: TabularEncoder(16),
        "accelerometer": lambda: SequenceEncoder(3),
        "gyroscope": lambda: SequenceEncoder(3),
    }
    return {m: make[m]() for m in modalities}


def joint(name: str) -> Classifier:
    """A new model of all three modalities that is trained as one network."""
    if name == "branch losses":
        return HybridFusion(encoders(*MODALITIES), 10, Concat(DIMS))
    if name == "modulated":
        return ModulatedFusion(encoders(*MODALITIES), 10, Concat(DIMS), SETTINGS["α of gradient modulation"])
    if name == "product, as a whole":
        return DecisionFusion(encoders(*MODALITIES), 10, DIMS, ProductRule(), joint=True)
    return LateFusion(encoders(*MODALITIES), 10, Concat(DIMS))


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


@torch.no_grad()
def branch_features(model: Classifier, data: MultimodalDataset) -> dict[str, Tensor]:
    """What each branch makes of the data, (N, 64) by modality."""
    features, _ = model.eval().encode(data[:])
    return dict(zip(model.encoders, features, strict=True))


def lacking(model: Classifier, valid: MultimodalDataset, test: MultimodalDataset, name: str) -> dict[str, float]:
    """The cross-entropy in nats of a linear probe of each branch: what a branch does not know about the label.

    The probe is fitted to examples that the network was not: features of its own training examples look too good.
    """
    seen, new = branch_features(model, valid), branch_features(model, test)
    labels = valid[:]["label"], test[:]["label"]
    lacks = {m: probe_loss(seen[m].relu(), labels[0], new[m].relu(), labels[1]).mean() for m in seen}
    return {f"nats a probe lacks, {m}: {name}": float(nats) for m, nats in lacks.items()}


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
        progress=False,
    )
    train, test = three(split="train", n=n), three(split="test", n=n_test)
    valid = three(split="valid", n=SETTINGS["valid, for probes"])
    missing = three(split="test", n=n_test, drop=SETTINGS["probability missing at test"])
    dropped = three(split="train", n=n, drop=SETTINGS["modality dropout, probability"])
    go = partial(accuracy, seed=seed)

    features: list[dict[str, Tensor]] = [{}, {}]  # of encoders that are trained alone: of the train, of the test split
    for modality in MODALITIES:
        seed_everything(seed)
        alone = LateFusion(encoders(modality), 10, Concat([64]))
        [out[modality]] = go(alone, train, test)
        out |= lacking(alone, valid, test, "alone") | lacking(alone, valid, train, "alone" + SEEN)
        for split, data in zip(features, (train, test), strict=True):
            split |= branch_features(alone, data)
    out["best single modality"] = max(out[m] for m in MODALITIES)

    models: dict[str, Classifier] = {}
    for name in JOINT:
        seed_everything(seed)
        models[name] = model = joint(name)
        out[name], out[f"missing at test, {name}"] = go(model, dropped if "dropout" in name else train, test, missing)
        out |= lacking(model, valid, test, name) | lacking(model, valid, train, name + SEEN)
    out["missing at test, no modality dropout"] = out["missing at test, late"]
    out["late, plus .005"] = out["late"] + 0.005
    for name in (k + of for k in ("alone", *JOINT) for of in ("", SEEN)):
        out[KNOWS.format(name)] = sum(out[f"nats a probe lacks, {m}: {name}"] for m in MODALITIES) / len(MODALITIES)
    hybrid = models["branch losses"]
    assert isinstance(hybrid, HybridFusion)
    hybrid.rule = MeanRule()
    out["hybrid"] = float(correct(hybrid, test).mean())

    seed_everything(seed)
    [out["early"]] = go(EarlyFusion({"street": 3072, "spoken": 1024, "shape": 16}, 10), train, test)
    seed_everything(seed)
    seen, new = (
        MultimodalDataset({**of, "label": data[:]["label"]}) for of, data in zip(features, (train, test), strict=True)
    )
    [out["early, features of trained encoders"]] = go(EarlyFusion(dict.fromkeys(MODALITIES, 64), 10), seen, new)
    for k, name in {0: "0 exchanges", 1: "1 exchange", 3: "3 exchanges"}.items():
        seed_everything(seed)
        [out[name]] = go(CrossModalFusion(encoders(*MODALITIES), 10, DIMS, exchanges=k), train, test)
        if k < 3:
            seed_everything(seed)
            model = CrossModalFusion(encoders(*MODALITIES, tokens=True), 10, DIMS, exchanges=k)
            [out[f"{name}, positions"]] = go(model, train, test)
    seed_everything(seed)
    decisions = DecisionFusion(encoders(*MODALITIES), 10, DIMS, ProductRule())
    out["product of probabilities"], out["missing at test, product of probabilities"] = go(
        decisions, train, test, missing
    )
    for rule, name in ((MeanRule(), "mean"), (HarmonicRule(), "harmonic mean")):
        decisions.rule = rule  # only the rule differs: each branch is trained on its own
        out[f"{name} of probabilities"] = float(correct(decisions, test).mean())

    # Seed k holds out the k-th pair of people, so the interval over seeds is one over people too.
    train, test = smartwatch("train", fold=seed % 5, hop=25), smartwatch("test", fold=seed % 5)
    for modalities in (("accelerometer",), ("gyroscope",), ("accelerometer", "gyroscope")):
        seed_everything(seed)
        model = LateFusion(encoders(*modalities), 7, Concat([64] * len(modalities)))
        [out["both sensors" if len(modalities) > 1 else modalities[0]]] = go(model, train, test)
    out["best sensor"] = max(out["accelerometer"], out["gyroscope"])

    pair = partial(
        digits, "handwritten", "spoken", seed=seed, snr_db=SETTINGS["SNR of spoken in the sum, dB"], progress=False
    )
    train, test = pair(split="train", n=n, relation="sum"), pair(split="test", n=n_test, relation="sum")
    for name, merge in {"concatenation": Concat([64] * 2), "low-rank": LowRankFusion([64] * 2, 64, rank=8)}.items():
        seed_everything(seed)
        model = LateFusion(encoders("handwritten", "spoken"), 10, merge)
        [out[f"sum: {name}"]] = go(model, train, test, epochs=epochs_sum)
    seed_everything(seed)
    model = DecisionFusion(encoders("handwritten", "spoken"), 10, [64] * 2, ProductRule())
    [out["sum: product of probabilities"]] = go(model, train, test, epochs=epochs_sum)
    single = pair(split="train", n=n, relation="same")
    seed_everything(seed)
    trained = encoders("handwritten", "spoken", tokens=True)
    for modality, encoder in trained.items():
        go(CrossModalFusion({modality: encoder}, 10, [64], exchanges=0), single)
    for k, name in {0: "0 exchanges", 1: "1 exchange"}.items():
        for how in ("", TRAINED):
            seed_everything(seed)
            parts = copy.deepcopy(trained) if how else encoders("handwritten", "spoken", tokens=True)
            model = CrossModalFusion(parts, 10, [64] * 2, exchanges=k)
            [out[f"sum: {name}, positions{how}"]] = go(model, train, test, epochs=epochs_sum)

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
