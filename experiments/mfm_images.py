"""The claims of the chapter on images, over several seeds: ``python -m experiments.mfm_images --seeds 5``.

Pairs of a handwritten digit and a house number that show the same digit. All models of a seed are given the same data
and number of steps, and each seed has test pairs of its own. Hyperparameters were chosen on the valid split. Two
evaluation classifiers, networks of another initialisation trained on other pairs, predict the digits of generated
images; their own accuracy is measured too. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits
from mmtutor.decoders import ImageDecoder
from mmtutor.encoders import ImageEncoder
from mmtutor.fusion import Concat, LateFusion
from mmtutor.metrics import correct, image_style
from mmtutor.mfm import MFM, Factor, FromModality, Surrogate, VariationalFactor
from mmtutor.training import fit, seed_everything

SHAPES = {"handwritten": (1, 28), "street": (3, 32)}  # channels and size
SETTINGS: dict[str, Any] = {
    "train": 6000,
    "test": 2000,
    "batch": 64,
    "epochs": 10,
    "lr": 3e-3,
    "z": 8,
    "z, wide": 64,
    "f": 64,
    "weight of the modalities": 30.0,
    "weight of the label": 10.0,
    "prior, styles by KL": 0.01,
    "weight of the label's MMD beside KL": 100.0,
    "prior, one MMD for each latent code": 3.0,
    "prior, one MMD of all latent codes": 3.0,
    "prior, MMD with the released kernel": 3.0,
    "prior, none": 0.0,
    "shares of labels": [0.01, 0.05, 0.2],
    "weight of the label, few labels": 100.0,
    "epochs of a surrogate": 6,
}
TSAI, OURS = "Tsai 2019", "ours"
CLAIMS = [
    Claim("Both modalities together predict the label better than handwritten digits alone", TSAI,
          "accuracy, both modalities", "accuracy, handwritten"),
    Claim("Both modalities together predict the label better than house numbers alone",
          TSAI, "accuracy, both modalities", "accuracy, street"),
    Claim("Late fusion of two encoders predicts better than one encoder of the joined images (early fusion)", OURS,
          "accuracy, both modalities", "accuracy, joined images"),
    Claim("MFM predicts the label better than the same encoder trained only to classify", TSAI, "accuracy, MFM by MMD",
          "accuracy, both modalities", show=("accuracy, MFM by KL", "accuracy, MFM by joint MMD",
                                             "accuracy, MFM by MMD, released kernel")),
    Claim("MFM with wide latent codes (64 numbers, not 8) and no penalty predicts better than the "
          "encoder trained to classify",
          OURS,
          "accuracy, MFM by no penalty, wide", "accuracy, both modalities"),
    Claim("Without a penalty, wide latent codes predict better than those of 8 numbers", OURS,
          "accuracy, MFM by no penalty, wide", "accuracy, MFM by no penalty"),
    Claim("With 8 numbers, no penalty predicts better than an MMD for each latent code", OURS,
          "accuracy, MFM by no penalty", "accuracy, MFM by MMD"),
    Claim("Styles with KL: after a swap, nine in ten handwritten digits are classified as the digit of F_y's donor",
          OURS, "swap: handwritten classified as the label's donor, KL", "nine in ten", "share of images",
          show=("accuracy, evaluation classifier of handwritten",)),
    Claim("Styles with KL: after a swap, nine in ten house numbers are classified as the digit of F_y's donor",
          OURS, "swap: street classified as the label's donor, KL", "nine in ten",
          "share of images", show=("accuracy, evaluation classifier of street",)),
    Claim("An MMD for each latent code: after a swap, nine in ten handwritten "
          "digits are classified as the digit of F_y's donor", OURS,
          "swap: handwritten classified as the label's donor, MMD", "nine in ten", "share of images",
          show=("swap: handwritten classified as the style's donor, MMD",)),
    Claim("An MMD for each latent code: after a swap, nine in ten house numbers are classified as "
          "the digit of F_y's donor",
          OURS, "swap: street classified as the label's donor, MMD", "nine in ten",
          "share of images", show=("swap: street classified as the style's donor, MMD",)),
    Claim("One MMD of all latent codes, as in equation 4: after a swap, nine in ten handwritten digits are classified "
          "as the digit of F_y's donor", TSAI, "swap: handwritten classified as the label's donor, joint MMD",
          "nine in ten", "share of images", show=("swap: handwritten classified as the style's donor, joint MMD",)),
    Claim("One MMD of all latent codes, as in equation 4: after a swap, nine in ten house numbers "
          "are classified as the digit of F_y's donor",
          TSAI, "swap: street classified as the label's donor, joint MMD", "nine in ten",
          "share of images", show=("swap: street classified as the style's donor, joint MMD",)),
    Claim("After a swap, more handwritten digits follow F_y's donor with one MMD of all latent codes "
          "than with one for each",
          TSAI,
          "swap: handwritten classified as the label's donor, joint MMD",
          "swap: handwritten classified as the label's donor, MMD", "share of images"),
    Claim("After a swap, more house numbers follow F_y's donor with one MMD of all latent codes than with one for each",
          TSAI,
          "swap: street classified as the label's donor, joint MMD",
          "swap: street classified as the label's donor, MMD", "share of images"),
    *(Claim(f"After a swap, more {s} digits follow F_y's donor with {kind} than without any penalty", OURS,
            f"swap: {s} classified as the label's donor, {name}",
            f"swap: {s} classified as the label's donor, no penalty", "share of images")
      for kind, name in (("KL for the styles", "KL"), ("one MMD of all latent codes", "joint MMD")) for s in SHAPES),
    *(Claim(f"The released code's kernel, an MMD for each latent code: after a swap, more {s} digits follow F_y's "
            "donor than with the kernel of width d", OURS,
            f"swap: {s} classified as the label's donor, MMD, released kernel",
            f"swap: {s} classified as the label's donor, MMD", "share of images",
            show=(f"swap: {s} classified as the style's donor, MMD, released kernel",)) for s in SHAPES),
    Claim("With the kernel of width d the latent code of the label is farther from a standard deviation of 1 than with "
          "the released kernel", OURS, "latent code of the label: distance of its standard deviation from 1, MMD",
          "latent code of the label: distance of its standard deviation from 1, MMD, released kernel",
          "standard deviation", show=tuple(f"latent code of the label: standard deviation, {n}" for n in (
              "MMD", "MMD, released kernel", "joint MMD", "KL"))),
    *(Claim(f"After a swap (KL), the {what} of {s} images follow the donor of F_a more than that of F_y", OURS,
            f"swap: {s} style correlation with the style's donor, KL",
            f"swap: {s} style correlation with the label's donor, KL", "correlation",
            show=(f"swap: {s} style correlation with the style's donor, MMD",
                  f"swap: {s} style correlation with the label's donor, MMD"))
      for s, what in (("handwritten", "ink and slant"), ("street", "colours"))),
    Claim("Latent codes with MMD reconstruct the images with less error than styles with KL", OURS,
          "reconstruction, KL", "reconstruction, MMD", "squared error", show=("reconstruction, joint MMD",)),
    *(Claim(f"Without {s}: the surrogate predicts the label better than the model with zeros in its place", OURS,
            f"without {s}: accuracy, surrogate", f"without {s}: accuracy, zeros") for s in SHAPES),
    *(Claim(f"Without {s}: the surrogate predicts the label better than a network trained on the other modality", OURS,
            f"without {s}: accuracy, surrogate", f"accuracy, {next(o for o in SHAPES if o != s)}") for s in SHAPES),
    *(Claim(f"Without {s}: the image that the surrogate generates is classified as the label more often than the one "
            "generated from zeros", OURS, f"without {s}: classified as the label, surrogate",
            f"without {s}: classified as the label, zeros", "share of images") for s in SHAPES),
    Claim("Samples from the prior: both modalities show the same digit more often with one MMD of all latent codes "
          "than with one for each", OURS, "prior: modalities agree, joint MMD", "prior: modalities agree, MMD",
          "share of pairs", show=("prior: modalities agree, KL", "prior: modalities agree, MMD, released kernel")),
    *(Claim(f"With labels for {share:.0%} of the pairs, MFM on all pairs predicts better than a classifier on the "
            "labelled ones", OURS, f"{share:.0%} labelled: accuracy, MFM on all pairs",
            f"{share:.0%} labelled: accuracy, classifier on the labelled")
      for share in SETTINGS["shares of labels"]),
]  # fmt: skip


class UnimodalClassifier(nn.Module):
    """The digit from one modality."""

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality = modality
        self.net = nn.Sequential(ImageEncoder(SHAPES[modality][0], 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores (B, 10)."""
        scores: Tensor = self.net(batch[self.modality])
        return scores

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"loss": F.cross_entropy(self(batch), batch["label"])}


def encoder(modalities: Mapping[str, tuple[int, int]] = SHAPES, outputs: int = 64) -> LateFusion:
    """Late fusion of one network a modality, (B, outputs)."""
    nets = {s: ImageEncoder(c, 64) for s, (c, _) in modalities.items()}
    return LateFusion(nets, outputs, Concat([64] * len(modalities)))


def classifier() -> LateFusion:
    """The same encoder, trained only to classify."""
    return encoder(outputs=10)


class Joined(UnimodalClassifier):
    """The digit from both images joined as channels of one (early fusion)."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.net = nn.Sequential(ImageEncoder(4, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores (B, 10)."""
        scores: Tensor = self.net(torch.cat([F.pad(batch["handwritten"], [2] * 4), batch["street"]], 1))
        return scores


def released_mmd(z: Tensor) -> Tensor:
    """The released code's discrepancy of latent codes (B, d): k(x, y) = exp(−‖x − y‖² / d²), and samples of the prior.

    A pair of a code and itself counts, too, so that the values are above 0 even for codes from the prior.
    """
    p = torch.randn_like(z)

    def k(x: Tensor, y: Tensor) -> Tensor:
        distance = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T
        return (-distance / z.shape[1] ** 2).exp().mean()

    discrepancy: Tensor = k(p, p) + k(z, z) - 2 * k(z, p)
    return discrepancy


class ReleasedFactor(Factor):
    """A factor with the released code's discrepancy as its penalty."""

    def penalty(self, q: Tensor, counted: Tensor | None = None) -> Tensor:
        """The discrepancy; a scalar. All examples are complete."""
        return self.weight * released_mmd(q)


PRIORS = {
    "KL": "styles by KL",
    "MMD": "one MMD for each latent code",
    "joint MMD": "one MMD of all latent codes",
    "MMD, released kernel": "MMD with the released kernel",
    "no penalty": "none",
    "no penalty, wide": "none",
}
KINDS = {"KL": VariationalFactor, "MMD, released kernel": ReleasedFactor}


def build(name: str, label_weight: float = SETTINGS["weight of the label"]) -> MFM:
    """The model with one of the ``PRIORS``."""
    s, kind = SETTINGS, KINDS.get(name, Factor)
    z, f = s["z, wide" if name.endswith("wide") else "z"], s["f"]
    weights = dict.fromkeys(SHAPES, s["weight of the modalities"])
    style = {
        modality: kind(FromModality(modality, ImageEncoder(channels, 64)), 64, z, f)
        for modality, (channels, _) in SHAPES.items()
    }
    decoders = {modality: ImageDecoder(2 * f, channels, size) for modality, (channels, size) in SHAPES.items()}
    weight = s["weight of the label's MMD beside KL"] if name == "KL" else 1.0
    of_label = ReleasedFactor if kind is ReleasedFactor else Factor
    return MFM(10, of_label(encoder(), 64, z, f, weight=weight), style, decoders, weights=weights,
               label_weight=label_weight, prior=s[f"prior, {PRIORS[name]}"], joint=name == "joint MMD")  # fmt: skip


def train(model: nn.Module, data: MultimodalDataset, seed: int, epochs: int = 0) -> None:
    """Train in place."""
    fit(model, data, epochs=epochs or SETTINGS["epochs"], lr=SETTINGS["lr"], batch_size=SETTINGS["batch"],
        schedule="one-cycle", seed=seed, progress=False)  # fmt: skip
    model.eval()


def correlation(a: Tensor, b: Tensor) -> float:
    """Of two lists of style measures (n, k), the mean over the measures."""
    a, b = a - a.mean(0), b - b.mean(0)
    return float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-12)).mean())


def digit_of(classifiers: Mapping[str, UnimodalClassifier], modality: str, images: Tensor) -> Tensor:
    """The digit that the evaluation classifier of a modality predicts for each image."""
    return classifiers[modality]({modality: images}).argmax(1)


@torch.no_grad()
def numbers(
    model: MFM, classifiers: Mapping[str, UnimodalClassifier], data: MultimodalDataset, name: str
) -> dict[str, float]:
    """Accuracy and reconstruction, and what happens when the latent codes of the label are swapped."""
    batch = data[:]
    latents = model.infer(batch)
    outputs = model.generate(latents)
    out = {f"accuracy, MFM by {name}": (outputs["label"].argmax(1) == batch["label"]).double().mean().item()}
    out[f"reconstruction, {name}"] = sum(F.mse_loss(outputs[s], batch[s]).item() for s in SHAPES) / len(SHAPES)
    for which, z in latents.items():
        spread = z.std(0).mean().item()  # the mean over the numbers of the code
        whose = f"latent code of the {'label' if which == 'label' else which + ' style'}"
        out[f"{whose}: standard deviation, {name}"] = spread
        out[f"{whose}: distance of its standard deviation from 1, {name}"] = abs(spread - 1)
    donor = torch.arange(len(data)).roll(1)
    other = batch["label"][donor] != batch["label"]
    swapped = model.generate({**latents, "label": latents["label"][donor]})
    for modality in SHAPES:
        digit, style = digit_of(classifiers, modality, swapped[modality]), image_style(swapped[modality])
        for whose, of in (("label's", donor), ("style's", torch.arange(len(data)))):
            same = (digit == batch["label"][of])[other]
            out[f"swap: {modality} classified as the {whose} donor, {name}"] = same.double().mean().item()
            out[f"swap: {modality} style correlation with the {whose} donor, {name}"] = correlation(
                style, image_style(batch[modality][of])
            )
    samples = model.generate(model.sample(len(data)))
    digits_of = [digit_of(classifiers, modality, samples[modality]) for modality in SHAPES]
    out[f"prior: modalities agree, {name}"] = (digits_of[0] == digits_of[1]).double().mean().item()
    return out


def without(
    model: MFM,
    modality: str,
    classifiers: Mapping[str, UnimodalClassifier],
    data: dict[str, MultimodalDataset],
    seed: int,
) -> dict[str, float]:
    """One modality is missing."""
    seed_everything(seed)
    phi = Surrogate(model, modality, encoder({s: shape for s, shape in SHAPES.items() if s != modality}), 64)
    train(phi, data["train"], seed, SETTINGS["epochs of a surrogate"])
    batch = data["test"][:]
    out = {}
    with torch.no_grad():
        zeros = model.generate(model.infer({**batch, modality: torch.zeros_like(batch[modality])}))
        for name, outputs in (("surrogate", phi.generate(batch)), ("zeros", zeros)):
            right = outputs["label"].argmax(1) == batch["label"]
            out[f"without {modality}: accuracy, {name}"] = right.double().mean().item()
            right = digit_of(classifiers, modality, outputs[modality]) == batch["label"]
            out[f"without {modality}: classified as the label, {name}"] = right.double().mean().item()
    return out


def few_labels(share: float, data: dict[str, MultimodalDataset], seed: int) -> dict[str, float]:
    """Labels for a share of the pairs: MFM learns from all pairs, a classifier from the labelled ones; equal steps.

    Half of each of MFM's batches is labelled, on average: labelled pairs come as often as the others together.
    """
    n, name = round(share * len(data["train"])), f"{share:.0%} labelled: accuracy,"
    often = torch.cat([torch.arange(len(data["train"]) - n) % n, torch.arange(n, len(data["train"]))])
    mixed = MultimodalDataset({**data["train"][often], "label_present": often < n})
    labelled = MultimodalDataset(data["train"][:n])
    seed_everything(seed)
    model = build("KL", SETTINGS["weight of the label, few labels"])
    train(model, mixed, seed, round(SETTINGS["epochs"] * len(data["train"]) / len(mixed)))
    seed_everything(seed)
    plain = classifier()
    train(plain, labelled, seed, round(SETTINGS["epochs"] / share))
    return {
        f"{name} MFM on all pairs": float(correct(model, data["test"]).mean()),
        f"{name} classifier on the labelled": float(correct(plain, data["test"]).mean()),
    }


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    s, modalities = SETTINGS, tuple(SHAPES)
    data = {
        split: digits(*modalities, split=split, n=s[split], seed=seed, progress=False) for split in ("train", "test")
    }
    others = digits(*modalities, split="train", n=s["train"], seed=seed + 1000, progress=False)
    out, classifiers = {"nine in ten": 0.9}, {}
    for modality in modalities:
        seed_everything(seed + 1000)
        classifiers[modality] = UnimodalClassifier(modality)
        train(classifiers[modality], others, seed + 1000)
        out[f"accuracy, evaluation classifier of {modality}"] = float(
            correct(classifiers[modality], data["test"]).mean()
        )
        seed_everything(seed)
        alone = UnimodalClassifier(modality)
        train(alone, data["train"], seed)
        out[f"accuracy, {modality}"] = float(correct(alone, data["test"]).mean())
    seed_everything(seed)
    plain = classifier()
    train(plain, data["train"], seed)
    out["accuracy, both modalities"] = float(correct(plain, data["test"]).mean())
    seed_everything(seed)
    joined = Joined()
    train(joined, data["train"], seed)
    out["accuracy, joined images"] = float(correct(joined, data["test"]).mean())
    for name in PRIORS:
        seed_everything(seed)
        model = build(name)
        train(model, data["train"], seed)
        out |= numbers(model, classifiers, data["test"], name)
        if name == "KL":
            for modality in modalities:
                out |= without(model, modality, classifiers, data, seed)
    for share in s["shares of labels"]:
        out |= few_labels(share, data, seed)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "The Multimodal Factorization Model on pairs of images"
    print(measure("mfm_images", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
