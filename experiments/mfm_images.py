"""The claims of the chapter on images, over several seeds: ``python -m experiments.mfm_images --seeds 5``.

Pairs of a handwritten digit and a house number that show the same digit. All models of a seed are given the same data
and number of steps. Hyperparameters were chosen on the valid split. Two evaluation classifiers, networks of another
initialisation trained on other pairs, predict the digits of generated images; their own accuracy is measured too.
Stops and resumes seed by seed.
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
    "f": 64,
    "weight of the modalities": 30.0,
    "weight of the label": 10.0,
    "prior, styles by KL": 0.01,
    "weight of the label's MMD beside KL": 100.0,
    "prior, one MMD for each latent code": 3.0,
    "prior, one MMD of all latent codes": 3.0,
    "epochs of a surrogate": 6,
}
TSAI, OURS = "Tsai 2019", "ours"
CLAIMS = [
    Claim("Both modalities together predict the label better than handwritten digits alone", TSAI,
          "accuracy, both modalities", "accuracy, handwritten"),
    Claim("… and better than house numbers alone", TSAI, "accuracy, both modalities", "accuracy, street"),
    Claim("MFM predicts the label better than the same encoder trained only to classify", TSAI, "accuracy, MFM by MMD",
          "accuracy, both modalities", show=("accuracy, MFM by KL", "accuracy, MFM by joint MMD")),
    Claim("Styles with KL: after a swap, nine in ten handwritten digits are classified as the digit of F_y's donor",
          OURS, "swap: handwritten classified as the label's donor, KL", "nine in ten", "share of images",
          show=("accuracy, evaluation classifier of handwritten",)),
    Claim("… and house numbers", OURS, "swap: street classified as the label's donor, KL", "nine in ten",
          "share of images", show=("accuracy, evaluation classifier of street",)),
    Claim("Styles with an MMD for each latent code, as in the released code: after a swap, nine in ten handwritten "
          "digits are classified as the digit of F_y's donor", OURS,
          "swap: handwritten classified as the label's donor, MMD", "nine in ten", "share of images",
          show=("swap: handwritten classified as the style's donor, MMD",)),
    Claim("… and house numbers", OURS, "swap: street classified as the label's donor, MMD", "nine in ten",
          "share of images", show=("swap: street classified as the style's donor, MMD",)),
    Claim("One MMD of all latent codes, as in equation 4: after a swap, nine in ten handwritten digits are classified "
          "as the digit of F_y's donor", TSAI, "swap: handwritten classified as the label's donor, joint MMD",
          "nine in ten", "share of images", show=("swap: handwritten classified as the style's donor, joint MMD",)),
    Claim("… and house numbers", TSAI, "swap: street classified as the label's donor, joint MMD", "nine in ten",
          "share of images", show=("swap: street classified as the style's donor, joint MMD",)),
    Claim("… more handwritten digits than with an MMD for each latent code", TSAI,
          "swap: handwritten classified as the label's donor, joint MMD",
          "swap: handwritten classified as the label's donor, MMD", "share of images"),
    Claim("… more house numbers than with an MMD for each latent code", TSAI,
          "swap: street classified as the label's donor, joint MMD",
          "swap: street classified as the label's donor, MMD", "share of images"),
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
          "share of pairs", show=("prior: modalities agree, KL",)),
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


def encoder(modalities: Mapping[str, tuple[int, int]] = SHAPES) -> LateFusion:
    """Late fusion of one network a modality, (B, 64)."""
    return LateFusion({s: ImageEncoder(c, 64) for s, (c, _) in modalities.items()}, 64, Concat([64] * len(modalities)))


PRIORS = {"KL": "styles by KL", "MMD": "one MMD for each latent code", "joint MMD": "one MMD of all latent codes"}


def build(name: str) -> MFM:
    """The model with one of the ``PRIORS``."""
    s, kl = SETTINGS, name == "KL"
    z, f, weights = s["z"], s["f"], dict.fromkeys(SHAPES, s["weight of the modalities"])
    kind = VariationalFactor if kl else Factor
    style = {
        modality: kind(FromModality(modality, ImageEncoder(channels, 64)), 64, z, f)
        for modality, (channels, _) in SHAPES.items()
    }
    decoders = {modality: ImageDecoder(2 * f, channels, size) for modality, (channels, size) in SHAPES.items()}
    weight = s["weight of the label's MMD beside KL"] if kl else 1.0
    return MFM(10, Factor(encoder(), 64, z, f, weight=weight), style, decoders, weights=weights,
               label_weight=s["weight of the label"], prior=s[f"prior, {PRIORS[name]}"],
               joint=name == "joint MMD")  # fmt: skip


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
    plain = LateFusion({s: ImageEncoder(c, 64) for s, (c, _) in SHAPES.items()}, 10, Concat([64] * len(SHAPES)))
    train(plain, data["train"], seed)
    out["accuracy, both modalities"] = float(correct(plain, data["test"]).mean())
    for name in PRIORS:
        seed_everything(seed)
        model = build(name)
        train(model, data["train"], seed)
        out |= numbers(model, classifiers, data["test"], name)
        if name == "KL":
            for modality in modalities:
                out |= without(model, modality, classifiers, data, seed)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "The Multimodal Factorization Model on pairs of images"
    print(measure("mfm_images", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
