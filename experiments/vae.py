"""Multimodal VAEs on digits, eight epochs (1,000 steps): ``python -m experiments.vae --seeds 5``.

Triples of a handwritten digit, a house number and the digit's word. All models of a seed have the same decoders and
encoders of one modality (JMVAE and TELBO have a joint encoder besides), data and number of steps; each seed has test
triples of its own. What all models share and the α of JMVAE and of MVTCAE were chosen on the valid split, from few
tries; all else is as its paper or its class has it. Evaluation classifiers, trained on other draws of the train split,
classify what is generated; their own accuracy is among the numbers. What papers claim of their models is judged after
three times the steps, in ``experiments/vae_long.py``; here are the questions about inference, missing modalities and
labels. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits
from mmtutor.metrics import coherence, correct, frechet_distance, joint_coherence, linear_probe
from mmtutor.training import fit, seed_everything
from mmtutor.vae import (
    DMVAE,
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    TELBO,
    Coordinated,
    MMVAEPlus,
    MoPoE,
    MultimodalVAE,
    average,
    categorical,
    from_network,
    gaussian,
    mean_of,
    product,
    product_of_posteriors,
    stacked,
)

MODALITIES = ("handwritten", "street", "word")
PICTURES = {"handwritten": (1, 28), "street": (3, 32)}  # channels and size
SETTINGS: dict[str, Any] = {
    "train": 4000,
    "valid": 500,
    "test": 2000,
    "epochs": 8,
    "epochs of classifiers": 8,
    "batch": 32,
    "lr": 3e-3,
    "clip": 200.0,
    "latent": 20,
    "private latent of MMVAE+": 10,
    "shared latent of MMVAE+": 10,
    "private latent of DMVAE": 10,
    "shared latent of DMVAE": 10,
    "private latent of MMVAE+, narrow": 14,
    "shared latent of MMVAE+, narrow": 6,
    "beta of MMVAE+, narrow": 4.0,
    "scale": {"handwritten": 0.2, "street": 0.25},
    "weights": {"handwritten": 4.0, "street": 1.0, "word": 40.0, "label": 5000.0},
    "alpha of JMVAE": 1.0,
    "alpha of MVTCAE": 0.9,
    "shares of complete examples": [0.05, 0.2],
    "label shares": [0.01, 0.2, 1.0],
}
SUZUKI, OURS = "Suzuki 2016", "ours"
JOINT = ("JMVAE", "TELBO", "MVAE", "MMVAE", "MoPoE", "MVTCAE", "DMVAE", "MMVAE+")
PRIVATE = ("DMVAE", "MMVAE+")


def coherent(larger: str, smaller: str, source: str, what: str = "one modality given") -> Claim:
    """A row that compares the coherence of two models."""
    return Claim(f"{larger} is more coherent than {smaller}, {what}", source, f"coherence, {what}: {larger}",
                 f"coherence, {what}: {smaller}", "share of examples")  # fmt: skip


def sharper(better: str, worse: str, source: str, what: str = "from the word") -> Claim:
    """A row that compares Fréchet distances, the smaller being better."""
    return Claim(f"{better} generates better pictures {what} than {worse}", source, f"log FD {what}: {worse}",
                 f"log FD {what}: {better}", "log of the Fréchet distance, mean over both kinds of pictures",
                 show=(f"FD {what}: {worse}", f"FD {what}: {better}"))  # fmt: skip


CLAIMS = [
    Claim("The product of two of JMVAE's surrogates is more coherent with the prior counted once than twice", OURS,
          "coherence, two modalities given: JMVAE", "coherence, two modalities given: JMVAE, naive product",
          "share of examples"),
    Claim("A joint encoder that is given zeros for missing modalities is less coherent than a surrogate", SUZUKI,
          "coherence, one modality given: JMVAE", "coherence, one modality given: zeros", "share of examples"),
    Claim("A joint encoder that is given zeros for missing modalities is less coherent than a product of experts", OURS,
          "coherence, one modality given: MVAE", "coherence, one modality given: zeros", "share of examples"),
    Claim("A joint encoder that is given zeros for missing modalities is less coherent than a mixture of experts", OURS,
          "coherence, one modality given: MMVAE", "coherence, one modality given: zeros", "share of examples"),
    Claim("Coordinated by KL: a linear probe of the product of both pictures' posteriors beats one of the better one",
          OURS, "probe: Coordinated, product of pictures", "probe: Coordinated, best picture",
          "accuracy of a linear probe"),
    Claim("Coordinated by KL: a linear probe of the average of both pictures' posteriors beats one of the better one",
          OURS, "probe: Coordinated, average of pictures",
          "probe: Coordinated, best picture", "accuracy of a linear probe"),
    Claim("Coordinated by cross-modal generation is more coherent than by KL", OURS,
          "coherence, one modality given: Coordinated, cross", "coherence, one modality given: Coordinated",
          "share of examples"),
    Claim("MMVAE+: with 6 shared numbers and β = 4 the style of a picture generated from a word follows the private "
          "latent more than with 10 and β = 1", OURS, "style: MMVAE+, narrow", "style: MMVAE+",
          "slope of the brightness of a generated house number over that of the one whose private latent it has",
          show=("coherence, one modality given: MMVAE+, narrow", "FD from the word: MMVAE+, narrow",
                "probe: MMVAE+, narrow, private", "probe: MMVAE+, narrow, shared")),
    Claim("MVAE with one in five examples complete, the others of one modality, keeps nine tenths of its coherence "
          "(Wu 2018 has it keep most of its accuracy with few complete examples)", OURS,
          "coherence, one modality given: MVAE, 20% complete", "nine tenths of MVAE's coherence", "share of examples",
          show=tuple(f"coherence, one modality given: MVAE, {share:.0%} complete" for share in (0.05, 1.0))),
    *(Claim(f"With {share:.0%} of the labels, {name} with the label as a modality classifies better than a classifier "
            "trained on the labelled examples alone", OURS, f"{share:.0%} of labels: {name}",
            f"{share:.0%} of labels: classifier")
      for name in ("MVAE", "MMVAE") for share in (0.01, 0.2)),
]  # fmt: skip


# ---- digits


class EvaluationClassifier(nn.Module):
    """One modality's digit; its features are those before the last layer."""

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality, self.body, self.last = modality, encoder(modality, 64), nn.Linear(64, 10)

    def features(self, x: Tensor) -> Tensor:
        """(B, 64)."""
        features: Tensor = F.silu(self.body(x))
        return features

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores (B, 10)."""
        scores: Tensor = self.last(self.features(batch[self.modality]))
        return scores

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"loss": F.cross_entropy(self(batch), batch["label"])}


def encoder(modality: str, outputs: int) -> nn.Module:
    """From a modality to (B, outputs)."""
    if modality == "label":
        return nn.Embedding(10, outputs)
    if modality == "word":
        return nn.Sequential(nn.Flatten(), nn.Linear(8 * 27, 128), nn.SiLU(), nn.Linear(128, outputs))
    channels, size = PICTURES[modality]
    widths = (16, 32) if modality == "handwritten" else (24, 48, 64)
    layers: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(4, after), nn.SiLU()]
    side = size // 2 ** len(widths)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 128), nn.SiLU(),
                         nn.Linear(128, outputs))  # fmt: skip


def decoder(modality: str, latent: int) -> nn.Module:
    """From (B, latent) to a modality."""
    if modality == "label":
        return nn.Linear(latent, 10)
    if modality == "word":
        return nn.Sequential(nn.Linear(latent, 128), nn.SiLU(), nn.Linear(128, 8 * 27), nn.Unflatten(1, (8, 27)))
    channels, size = PICTURES[modality]
    widths = (32, 16) if modality == "handwritten" else (64, 48, 24)
    side = size // 2 ** len(widths)
    layers: list[nn.Module] = [nn.Linear(latent, 128), nn.SiLU(), nn.Linear(128, widths[0] * side**2),
                               nn.Unflatten(1, (widths[0], side, side))]  # fmt: skip
    for before, after in zip(widths, (*widths[1:], channels), strict=True):
        if modality == "handwritten":  # group normalisation would take the colour and brightness from house numbers
            layers.append(nn.GroupNorm(4, before))
        layers += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Sigmoid())


class JointEncoder(nn.Module):
    """All modalities' encoders, and a layer over them."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({s: encoder(s, 128) for s in MODALITIES})
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(128 * len(MODALITIES), outputs))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """From a batch with all modalities to (B, outputs)."""
        out: Tensor = self.last(torch.cat([part(batch[s]) for s, part in self.parts.items()], 1))
        return out


def build(name: str, modalities: tuple[str, ...] = MODALITIES) -> MultimodalVAE:
    """A model by its name."""
    s = SETTINGS
    d, w = s.get(f"shared latent of {name}", s["latent"]), s.get(f"private latent of {name}", 0)
    encoders = {modality: encoder(modality, 2 * (d + w)) for modality in modalities}
    decoders = {modality: decoder(modality, d + w) for modality in modalities}
    likelihoods = {
        x: gaussian(s["scale"][x]) if x in PICTURES else categorical(one_hot=x == "word") for x in modalities
    }
    common: dict[str, Any] = {"weights": {x: s["weights"][x] for x in modalities}}
    kinds: dict[str, Any] = {
        "TELBO": (TELBO, {}),
        "JMVAE": (JMVAE, {"alpha": s["alpha of JMVAE"]}),
        "MVAE": (MVAE, {}),
        "MMVAE": (MMVAE, {}),
        "MoPoE": (MoPoE, {}),
        "MVTCAE": (MVTCAE, {"alpha": s["alpha of MVTCAE"]}),
        "DMVAE": (DMVAE, {"private": w}),
        "MMVAE+": (MMVAEPlus, {"private": w}),
        "MMVAE+, narrow": (MMVAEPlus, {"private": w, "beta": s["beta of MMVAE+, narrow"]}),
        "Coordinated": (Coordinated, {}),
        "Coordinated, cross": (Coordinated, {"distance_weight": 0.0, "cross_weight": 0.5}),
    }
    kind, options = kinds[name]
    first = [JointEncoder(2 * d)] if name in ("JMVAE", "TELBO") else []
    model: MultimodalVAE = kind(*first, encoders, decoders, likelihoods, d, **common, **options)
    return model


def train(
    model: nn.Module,
    data: MultimodalDataset,
    seed: int,
    epochs: int,
    valid: MultimodalDataset | None = None,
    callbacks: Sequence[Callable[[int, Any, Any], None]] = (),
) -> list[float]:
    """Train in place; the validation loss after each epoch."""
    s = SETTINGS
    history = fit(model, data, valid, epochs=epochs, lr=s["lr"], batch_size=s["batch"], schedule="one-cycle",
                  clip_norm=s["clip"], seed=seed, callbacks=callbacks, progress=False)  # fmt: skip
    model.eval()
    return history.valid.get("loss", [])


EvaluationClassifiers = Mapping[str, EvaluationClassifier]


def mean_coherence(classifiers: EvaluationClassifiers, generated: Mapping[str, Tensor], label: Tensor) -> float:
    """The coherence of what was generated from one example each, the mean over the modalities."""
    shares = [coherence(classifiers[modality], modality, x, label).mean() for modality, x in generated.items()]
    return float(sum(shares) / len(shares))


@torch.no_grad()
def one_given(model: MultimodalVAE, classifiers: EvaluationClassifiers, batch: Mapping[str, Tensor]) -> float:
    """Coherence over the six directions from one modality to another."""
    shares = []
    for modality in MODALITIES:
        generated = model.generate({modality: batch[modality]}, [s for s in MODALITIES if s != modality])
        shares.append(mean_coherence(classifiers, {s: x[0] for s, x in generated.items()}, batch["label"]))
    return sum(shares) / len(shares)


def distance_of(
    classifiers: EvaluationClassifiers, batch: Mapping[str, Tensor], generated: Mapping[str, Tensor]
) -> float:
    """The Fréchet distance of generated pictures from those of the batch, the mean over both kinds."""
    features = {s: (classifiers[s].features(batch[s]), classifiers[s].features(generated[s])) for s in PICTURES}
    return sum(frechet_distance(*two) for two in features.values()) / len(features)


@torch.no_grad()
def two_given(
    model: MultimodalVAE,
    encode: Callable[[Mapping[str, Tensor]], Any],
    classifiers: EvaluationClassifiers,
    batch: Mapping[str, Tensor],
    name: str,
) -> dict[str, float]:
    """Coherence of each modality generated from the two others, and the Fréchet distance of the pictures."""
    generated = {}
    for modality in MODALITIES:
        z = encode({s: batch[s] for s in MODALITIES if s != modality}).sample()
        generated[modality] = mean_of(model.decode(z, [modality])[modality])
    return {
        f"coherence, two modalities given: {name}": mean_coherence(classifiers, generated, batch["label"]),
        f"FD from two: {name}": distance_of(classifiers, batch, generated),
    }


@torch.no_grad()
def numbers(
    model: MultimodalVAE, classifiers: EvaluationClassifiers, data: MultimodalDataset, name: str, seed: int
) -> dict[str, float]:
    """Coherence and Fréchet distance of what a model generates from one modality, from two, and from the prior."""
    seed_everything(seed)
    batch = data[:]
    out = {f"coherence, one modality given: {name}": one_given(model, classifiers, batch)}
    out |= two_given(model, model.encode, classifiers, batch, name)
    if isinstance(model, MoPoE):
        out |= two_given(model, model.encode_mixture, classifiers, batch, f"{name}, mixture")
    drawn = model.generate(n=len(data))
    out[f"coherence, from the prior: {name}"] = float(joint_coherence(classifiers, drawn).mean())
    from_word = model.generate({"word": batch["word"]}, list(PICTURES))
    for what, generated in (("from the word", {s: x[0] for s, x in from_word.items()}), ("from the prior", drawn)):
        out[f"FD {what}: {name}"] = distance_of(classifiers, batch, generated)
    out[f"log-likelihood: {name}"] = model.log_likelihood(data[:500], 50).mean().item()
    return out


@torch.no_grad()
def means(model: MultimodalVAE, data: MultimodalDataset, *modalities: str) -> Tensor:
    """The mean of q(z|x) of the modalities."""
    return model.encode({s: data[:][s] for s in modalities}).mean


def probe(train_x: Tensor, test_x: Tensor, data: Mapping[str, MultimodalDataset]) -> float:
    """The accuracy of a linear probe."""
    return float(linear_probe(train_x, data["train"][:]["label"], test_x, data["test"][:]["label"]).mean())


@torch.no_grad()
def of_jmvae(model: JMVAE, classifiers: EvaluationClassifiers, data: MultimodalDataset, seed: int) -> dict[str, float]:
    """The joint encoder with zeros, and the naive product of surrogates."""
    seed_everything(seed)
    batch, zeros, naive = data[:], [], []
    for modality in MODALITIES:
        given = {s: batch[s] if s == modality else torch.zeros_like(batch[s]) for s in MODALITIES}
        z = from_network(model.joint(given)).sample()
        others = [s for s in MODALITIES if s != modality]
        zeros.append(
            mean_coherence(classifiers, {s: mean_of(p) for s, p in model.decode(z, others).items()}, batch["label"])
        )
        z = product(stacked([model.encode(batch, [s]) for s in others]), prior=False).sample()
        naive.append(
            mean_coherence(classifiers, {s: mean_of(p) for s, p in model.decode(z, [modality]).items()}, batch["label"])
        )
    return {
        "coherence, one modality given: zeros": sum(zeros) / len(zeros),
        "coherence, two modalities given: JMVAE, naive product": sum(naive) / len(naive),
    }


@torch.no_grad()
def of_private(
    model: DMVAE | MMVAEPlus, data: Mapping[str, MultimodalDataset], name: str, seed: int
) -> dict[str, float]:
    """How much of the digit shared and private latents hold, and what the private one does to a picture."""
    seed_everything(seed)
    shared = [means(model, data[split], *PICTURES) for split in ("train", "test")]
    private = [
        torch.cat([q.mean for q in model.encode_private({p: data[k][:][p] for p in PICTURES}).values()], 1)
        for k in ("train", "test")
    ]
    batch = data["test"][:]
    z = model.encode({"word": batch["word"]}).mean[torch.randperm(len(batch["word"]))]
    w = model.encode_private({"street": batch["street"]})["street"].mean
    generated = mean_of(model.decode(z, ["street"], {"street": w})["street"])
    covariance = torch.cov(torch.stack([x.mean((1, 2, 3)) for x in (batch["street"], generated)]))
    return {
        f"probe: {name}, shared": probe(*shared, data),
        f"probe: {name}, private": probe(*private, data),
        f"style: {name}": float(covariance[0, 1] / covariance[0, 0]),
    }


def incomplete(data: MultimodalDataset, share: float, seed: int) -> MultimodalDataset:
    """The same examples, of which only some are complete; each other one has one modality, drawn at random."""
    rng = torch.Generator().manual_seed(seed)
    n = len(data)
    complete = torch.arange(n) < round(share * n)
    only = torch.randint(len(MODALITIES), (n,), generator=rng)
    tensors = dict(data.tensors)
    for k, modality in enumerate(MODALITIES):
        there = complete | (only == k)
        tensors[f"{modality}_present"] = there
        tensors[modality] = data.tensors[modality] * there.view(-1, *[1] * (data.tensors[modality].ndim - 1))
    return MultimodalDataset(tensors)


def with_labels(data: Mapping[str, MultimodalDataset], share: float, seed: int) -> dict[str, float]:
    """The label as a modality that is present for some examples only; the classifier has as many steps."""
    n = round(share * len(data["train"]))
    picture, label = data["train"].tensors["street"], data["train"].tensors["label"]
    labelled = torch.arange(len(label)) < n
    test, some = data["test"][:], MultimodalDataset({"street": picture[:n], "label": label[:n]})
    seed_everything(seed)
    alone = EvaluationClassifier("street")
    epochs = SETTINGS["epochs"]
    train(alone, some, seed, max(1, round(epochs / share)))
    out = {f"{share:.0%} of labels: classifier": float(correct(alone, data["test"]).mean())}
    for name in ("MVAE", "MMVAE"):
        seed_everything(seed)
        model = build(name, ("street", "label"))
        masked = {"street": picture, "label": label * labelled, "label_present": labelled}
        train(model, MultimodalDataset(masked), seed, epochs)
        with torch.no_grad():
            p = model.decode(model.encode({"street": test["street"]}).mean, ["label"])["label"]
        right = mean_of(p).argmax(1) == test["label"]
        out[f"{share:.0%} of labels: {name}"] = right.double().mean().item()
    return out


def make_data(seed: int) -> dict[str, MultimodalDataset]:
    """The triples of a seed, by split."""
    splits = ("train", "valid", "test")
    return {x: digits(*MODALITIES, split=x, n=SETTINGS[x], seed=seed, progress=False) for x in splits}


def make_classifiers(seed: int, data: Mapping[str, MultimodalDataset]) -> tuple[dict[str, Any], dict[str, float]]:
    """Evaluation classifiers, trained on other draws of the train split, and their accuracy."""
    others = digits(*MODALITIES, split="train", n=SETTINGS["train"], seed=seed + 1000, progress=False)
    classifiers, accuracy = {}, {}
    for modality in MODALITIES:
        seed_everything(seed + 1000)
        classifiers[modality] = EvaluationClassifier(modality)
        train(classifiers[modality], others, seed + 1000, SETTINGS["epochs of classifiers"])
        accuracy[f"accuracy, classifier of {modality}"] = float(correct(classifiers[modality], data["test"]).mean())
    return classifiers, accuracy


def compared(
    names: Sequence[str],
    classifiers: EvaluationClassifiers,
    data: Mapping[str, MultimodalDataset],
    seed: int,
    epochs: int,
) -> tuple[dict[str, MultimodalVAE], dict[str, float]]:
    """Models trained on the same data for as many epochs, and what is measured of each."""
    models: dict[str, MultimodalVAE] = {}
    out: dict[str, float] = {}

    def on_the_way(epoch: int, model: MultimodalVAE, _: Any) -> None:
        if (epoch + 1) % 4 == 0:  # on validation triples
            share = one_given(model, classifiers, data["valid"][:])
            out[f"coherence, one modality given, epoch {epoch + 1}: {name}"] = share

    for name in names:
        seed_everything(seed)
        models[name] = model = build(name)
        curve = train(model, data["train"], seed, epochs, data["valid"], [on_the_way])
        out |= {f"validation loss, epoch {k + 1}: {name}": loss for k, loss in enumerate(curve)}
        out |= numbers(model, classifiers, data["test"], name, seed)
        if isinstance(model, DMVAE | MMVAEPlus):
            out |= of_private(model, data, name, seed)
    with torch.no_grad():
        for name in [name for name in ("MVAE", "MVTCAE") if name in models]:
            width = models[name].encode(data["test"][:], ["street"]).variance.sqrt()
            # an expert that is wide everywhere counts little in the product
            out[f"least width of the house numbers' expert: {name}"] = float(width.min())
    # FD is compared by its logarithm, since each classifier has its own unit
    return models, out | {f"log {name}": math.log(value) for name, value in out.items() if name.startswith("FD ")}


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    s, data = SETTINGS, make_data(seed)
    classifiers, out = make_classifiers(seed, data)
    names = (*JOINT, "MMVAE+, narrow", "Coordinated", "Coordinated, cross")
    models, measured = compared(names, classifiers, data, seed, s["epochs"])
    out |= measured
    jmvae, coordinated = models["JMVAE"], models["Coordinated"]
    assert isinstance(jmvae, JMVAE)
    assert isinstance(coordinated, Coordinated)
    out |= of_jmvae(jmvae, classifiers, data["test"], seed)

    single = [probe(means(coordinated, data["train"], p), means(coordinated, data["test"], p), data) for p in PICTURES]
    out["probe: Coordinated, best picture"] = max(single)
    for name, combine in (("product", product_of_posteriors), ("average", average)):
        both = copy.copy(coordinated)
        both.combine = combine
        latents = [means(both, data[split], *PICTURES) for split in ("train", "test")]
        out[f"probe: Coordinated, {name} of pictures"] = probe(*latents, data)

    name = "coherence, one modality given: MVAE"
    out |= {f"{name}, 100% complete": out[name], "nine tenths of MVAE's coherence": 0.9 * out[name]}
    for share in s["shares of complete examples"]:
        seed_everything(seed)
        model = build("MVAE")
        train(model, incomplete(data["train"], share, seed), seed, s["epochs"])
        out[f"{name}, {share:.0%} complete"] = one_given(model, classifiers, data["test"][:])
    for share in s["label shares"]:
        out |= with_labels(data, share, seed)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Multimodal VAEs on three modalities of a digit, 1,000 steps"
    print(measure("vae", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
