"""The claims of the chapter on multimodal VAEs, over several seeds: ``python -m experiments.vae --seeds 5``.

First the linear-Gaussian world, whose posteriors are known: decoders are the true ones, encoders are linear, and what
each objective makes of them is compared with the truth. Then triples of a handwritten digit, a house number and the
digit's word. All models of a seed have the same decoders and encoders of one modality (JMVAE and TELBO have a joint
encoder besides), data and number of steps. What all models share and the α of JMVAE and of MVTCAE were chosen on the
valid split, from few tries; all else is as its paper or its class has it. Evaluation classifiers, trained on other
draws of the train split, classify what is generated; their own accuracy is among the numbers. Stops and resumes seed
by seed.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, digits
from mmtutor.lineargaussian import LinearGaussian
from mmtutor.metrics import coherence, correct, frechet_distance, joint_coherence, linear_probe
from mmtutor.training import fit, seed_everything
from mmtutor.vae import (
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
    "test": 2000,
    "epochs": 8,
    "batch": 32,
    "lr": 3e-3,
    "clip": 200.0,
    "latent": 20,
    "private latent of MMVAE+": 10,
    "shared latent of MMVAE+": 10,
    "private latent of MMVAE+, narrow": 14,
    "shared latent of MMVAE+, narrow": 6,
    "beta of MMVAE+, narrow": 4.0,
    "scale": {"handwritten": 0.2, "street": 0.25},
    "weights": {"handwritten": 4.0, "street": 1.0, "word": 40.0, "label": 5000.0},
    "alpha of JMVAE": 1.0,
    "alpha of MVTCAE": 0.9,
    "world: sizes": {"a": 3, "b": 4, "c": 5},
    "world: latent": 2,
    "world: noise": 0.7,
    "world: steps": 3000,
    "world: batch": 256,
    "label shares": [0.01, 0.05, 0.2, 1.0],
}
SHI, SUTTER, DAUNHAWER, PALUMBO = "Shi 2019", "Sutter 2021", "Daunhawer 2022", "Palumbo 2023"
SUZUKI, WU, OURS = "Suzuki 2016", "Wu 2018", "ours"
EXACT = ("JMVAE", "TELBO", "MVAE")
NARROW = ("MMVAE", "MoPoE")
JOINT = ("JMVAE", "TELBO", "MVAE", "MMVAE", "MoPoE", "MVTCAE", "MMVAE+")


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
    *(Claim(f"World: {name}'s posterior of one modality is exact, within .01 nats", OURS, "world: .01 nats",
            f"world: {name}, one modality", "nats of KL from the exact posterior",
            show=(f"world: {name}, all modalities",)) for name in EXACT),
    *(Claim(f"World: {name}'s experts are narrower than the exact posterior of their modality", OURS, "one",
            f"world: {name}, width", "share of the exact standard deviation",
            show=(f"world: {name}, one modality", f"world: {name}, all modalities",
                  "world: width of the joint posterior"))
      for name in NARROW),
    Claim("World: MVTCAE's posterior of all modalities is exact, within .01 nats; its experts are no posteriors", OURS,
          "world: .01 nats", "world: MVTCAE, all modalities", "nats of KL from the exact posterior",
          show=("world: MVTCAE, one modality", "world: MVTCAE, width")),
    Claim("The product of two of JMVAE's surrogates is more coherent with the prior counted once than twice", OURS,
          "coherence, two modalities given: JMVAE", "coherence, two modalities given: JMVAE, naive product",
          "share of examples"),
    Claim("A joint encoder that is given zeros for missing modalities is less coherent than a surrogate", SUZUKI,
          "coherence, one modality given: JMVAE", "coherence, one modality given: zeros", "share of examples"),
    Claim("… than a product of experts", OURS,
          "coherence, one modality given: MVAE", "coherence, one modality given: zeros", "share of examples"),
    Claim("… than a mixture of experts", OURS,
          "coherence, one modality given: MMVAE", "coherence, one modality given: zeros", "share of examples"),
    coherent("MMVAE", "MVAE", SHI),
    sharper("MVAE", "MMVAE", DAUNHAWER),
    sharper("MVTCAE", "MMVAE", OURS),
    sharper("MVAE", "MMVAE", DAUNHAWER, "from the prior"),
    coherent("MoPoE", "MVAE", SUTTER),
    coherent("MoPoE", "MMVAE", SUTTER, "two modalities given"),
    sharper("MoPoE", "MMVAE", OURS),
    Claim("MoPoE's bound of the likelihood (k = 50) is higher than MMVAE's", SUTTER, "log-likelihood: MoPoE",
          "log-likelihood: MMVAE", "nats",
          show=tuple(f"log-likelihood: {m}" for m in JOINT)),
    coherent("MVTCAE", "MoPoE", "Hwang 2021", "two modalities given"),
    sharper("MVTCAE", "MoPoE", "Hwang 2021"),
    sharper("MMVAE+", "MMVAE", PALUMBO),
    coherent("MMVAE+", "MMVAE", PALUMBO),
    Claim("MMVAE+: private latents hold style alone; a linear probe of them gets fewer than two digits in ten right",
          PALUMBO, "two in ten", "probe: MMVAE+, private", "accuracy",
          show=("probe: MMVAE+, shared", "probe: MMVAE+, narrow, private", "probe: MMVAE+, narrow, shared")),
    Claim("MMVAE+: with 6 shared numbers and β = 4 the style of a picture generated from a word follows the private "
          "latent more than with 10 and β = 1", OURS, "style: MMVAE+, narrow", "style: MMVAE+",
          "slope of the brightness of a generated house number over that of the one whose private latent it has",
          show=("coherence, one modality given: MMVAE+, narrow", "FD from the word: MMVAE+, narrow")),
    Claim("Coordinated by KL: a linear probe of the product of both pictures' posteriors beats one of the better one",
          OURS, "probe: Coordinated, product of pictures", "probe: Coordinated, best picture",
          "accuracy of a linear probe"),
    Claim("… and so does a linear probe of their average", OURS, "probe: Coordinated, average of pictures",
          "probe: Coordinated, best picture", "accuracy of a linear probe"),
    Claim("Coordinated by cross-modal generation is more coherent than by KL", OURS,
          "coherence, one modality given: Coordinated, cross", "coherence, one modality given: Coordinated",
          "share of examples"),
    Claim("MVAE with one in five examples complete, the others of one modality, keeps nine tenths of its coherence", WU,
          "coherence, one modality given: MVAE, 20% complete", "nine tenths of MVAE's coherence", "share of examples",
          show=tuple(f"coherence, one modality given: MVAE, {share:.0%} complete" for share in (0.01, 0.05, 1.0))),
    *(Claim(f"With {share:.0%} of the labels, {name} with the label as a modality classifies better than a classifier "
            "trained on the labelled examples alone", source, f"{share:.0%} of labels: {name}",
            f"{share:.0%} of labels: classifier")
      for name, source in (("MVAE", WU), ("MMVAE", OURS)) for share in SETTINGS["label shares"]),
]  # fmt: skip


# ---- the linear-Gaussian world


class LinearJointEncoder(nn.Module):
    """A linear layer of all modalities side by side."""

    def __init__(self, sizes: Mapping[str, int], outputs: int) -> None:
        super().__init__()
        self.modalities, self.net = list(sizes), nn.Linear(sum(sizes.values()), outputs)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """From a batch to (B, outputs)."""
        out: Tensor = self.net(torch.cat([batch[s] for s in self.modalities], 1))
        return out


def make_world(seed: int) -> LinearGaussian:
    """A world whose posteriors have independent numbers, so that encoders with independent numbers can be exact."""
    s, rng = SETTINGS, torch.Generator().manual_seed(seed)
    weights = {}
    for name, size in s["world: sizes"].items():
        columns = torch.linalg.qr(torch.randn(size, s["world: latent"], generator=rng, dtype=torch.float64)).Q
        weights[name] = columns * (0.5 + torch.rand(s["world: latent"], generator=rng, dtype=torch.float64))
    return LinearGaussian(weights, s["world: noise"])


def in_world(seed: int) -> dict[str, float]:
    """What each objective makes of linear encoders when the decoders are the true ones."""
    s, world = SETTINGS, make_world(seed)
    sizes, d = s["world: sizes"], s["world: latent"]
    _, test = world.sample(500, seed + 1)
    exact = {name: world.posterior(test, [name]) for name in sizes}
    out = {"one": 1.0, "world: .01 nats": 0.01}
    joint = world.posterior(test)
    widths = [float((joint.stddev / q.stddev).mean()) for q in exact.values()]
    out["world: width of the joint posterior"] = sum(widths) / len(widths)
    for name, kind in (("JMVAE", JMVAE), ("TELBO", TELBO), ("MVAE", MVAE), ("MMVAE", MMVAE), ("MoPoE", MoPoE),
                       ("MVTCAE", MVTCAE)):  # fmt: skip
        seed_everything(seed)
        encoders = {n: nn.Linear(size, 2 * d) for n, size in sizes.items()}
        decoders = {n: nn.Linear(d, size, bias=False).requires_grad_(False) for n, size in sizes.items()}
        for n, decoder in decoders.items():
            decoder.weight.copy_(world.weights[n])
        likelihoods = {n: gaussian(s["world: noise"]) for n in sizes}
        first = [LinearJointEncoder(sizes, 2 * d)] if kind in (JMVAE, TELBO) else []
        options = {"alpha": s["alpha of MVTCAE"]} if kind is MVTCAE else {}
        model: MultimodalVAE = kind(*first, encoders, decoders, likelihoods, d, **options).double()
        steps = s["world: steps"]
        optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-2)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            _, batch = world.sample(s["world: batch"], seed * 10**6 + step)
            optimiser.zero_grad()
            model.loss(batch)["loss"].backward()
            optimiser.step()
            slower.step()
        with torch.no_grad():
            single = {n: model.encode(test, [n]) for n in sizes}
            out[f"world: {name}, one modality"] = sum(distance(single[n], exact[n]) for n in sizes) / len(sizes)
            out[f"world: {name}, all modalities"] = distance(model.encode(test), joint)
            width = [float((single[n].variance.sqrt() / exact[n].stddev).mean()) for n in sizes]
            out[f"world: {name}, width"] = sum(width) / len(sizes)
    naive = product(stacked([*exact.values()]), prior=False)
    out["world: naive product"] = distance(naive, joint)
    out["world: naive product, theory"] = world.naive_product_gap()
    out["world: product, prior once"] = world.gap(test, world.posterior(test)).mean().item()
    return out


def distance(q: Any, p: Any, draws: int = 400) -> float:
    """KL(q ‖ p) in nats by draws from q, the mean over examples."""
    z = q.sample((draws,))
    return float((q.log_prob(z) - p.log_prob(z)).mean())


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
    plus = name.startswith("MMVAE+")
    d, w = (s[f"shared latent of {name}"], s[f"private latent of {name}"]) if plus else (s["latent"], 0)
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
        "MMVAE+": (MMVAEPlus, {"private": w}),
        "MMVAE+, narrow": (MMVAEPlus, {"private": w, "beta": s["beta of MMVAE+, narrow"]}),
        "Coordinated": (Coordinated, {}),
        "Coordinated, cross": (Coordinated, {"distance_weight": 0.0, "cross_weight": 0.5}),
    }
    kind, options = kinds[name]
    first = [JointEncoder(2 * d)] if name in ("JMVAE", "TELBO") else []
    model: MultimodalVAE = kind(*first, encoders, decoders, likelihoods, d, **common, **options)
    return model


def train(model: nn.Module, data: MultimodalDataset, seed: int, epochs: int = 0) -> None:
    """Train in place."""
    s = SETTINGS
    fit(model, data, epochs=epochs or s["epochs"], lr=s["lr"], batch_size=s["batch"], schedule="one-cycle",
        clip_norm=s["clip"], seed=seed, progress=False)  # fmt: skip
    model.eval()


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


@torch.no_grad()
def numbers(
    model: MultimodalVAE, classifiers: EvaluationClassifiers, data: MultimodalDataset, name: str, seed: int
) -> dict[str, float]:
    """Coherence and Fréchet distance of what a model generates from one modality, from two, and from the prior."""
    seed_everything(seed)
    batch = data[:]
    out = {f"coherence, one modality given: {name}": one_given(model, classifiers, batch)}
    two = []
    for modality in MODALITIES:
        generated = model.generate({s: batch[s] for s in MODALITIES if s != modality}, [modality])
        two.append(mean_coherence(classifiers, {modality: generated[modality][0]}, batch["label"]))
    out[f"coherence, two modalities given: {name}"] = sum(two) / len(two)
    drawn = model.generate(n=len(data))
    out[f"coherence, from the prior: {name}"] = float(joint_coherence(classifiers, drawn).mean())
    from_word = model.generate({"word": batch["word"]}, list(PICTURES))
    for what, generated in (("from the word", {s: x[0] for s, x in from_word.items()}), ("from the prior", drawn)):
        distances = [
            frechet_distance(classifiers[s].features(batch[s]), classifiers[s].features(generated[s])) for s in PICTURES
        ]
        out[f"FD {what}: {name}"] = sum(distances) / len(distances)
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
def of_plus(model: MMVAEPlus, data: Mapping[str, MultimodalDataset], name: str, seed: int) -> dict[str, float]:
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
    train(alone, some, seed, max(1, round(SETTINGS["epochs"] / share)))
    out = {f"{share:.0%} of labels: classifier": float(correct(alone, data["test"]).mean())}
    for name in ("MVAE", "MMVAE"):
        seed_everything(seed)
        model = build(name, ("street", "label"))
        train(model, MultimodalDataset({"street": picture, "label": label * labelled, "label_present": labelled}), seed)
        with torch.no_grad():
            p = model.decode(model.encode({"street": test["street"]}).mean, ["label"])["label"]
        right = mean_of(p).argmax(1) == test["label"]
        out[f"{share:.0%} of labels: {name}"] = right.double().mean().item()
    return out


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    s = SETTINGS
    out = in_world(seed)
    data = {
        split: digits(*MODALITIES, split=split, n=s[split], seed=seed, progress=False) for split in ("train", "test")
    }
    others = digits(*MODALITIES, split="train", n=s["train"], seed=seed + 1000, progress=False)
    classifiers = {}
    for modality in MODALITIES:
        seed_everything(seed + 1000)
        classifiers[modality] = EvaluationClassifier(modality)
        train(classifiers[modality], others, seed + 1000)
        out[f"accuracy, classifier of {modality}"] = float(correct(classifiers[modality], data["test"]).mean())
    models = {}
    for name in (*JOINT, "MMVAE+, narrow", "Coordinated", "Coordinated, cross"):
        seed_everything(seed)
        models[name] = build(name)
        train(models[name], data["train"], seed)
        out |= numbers(models[name], classifiers, data["test"], name, seed)
    jmvae, coordinated = models["JMVAE"], models["Coordinated"]
    assert isinstance(jmvae, JMVAE)
    assert isinstance(coordinated, Coordinated)
    out |= of_jmvae(jmvae, classifiers, data["test"], seed)
    for name, model in models.items():
        if isinstance(model, MMVAEPlus):
            out |= of_plus(model, data, name, seed)
    with torch.no_grad():
        experts = {name: models[name].encode(data["test"][:], ["street"]) for name in ("MVAE", "MVTCAE")}
    for name, q in experts.items():  # an expert that is wide everywhere counts little in the product
        out[f"least width of the house numbers' expert: {name}"] = float(q.variance.sqrt().min())

    single = [probe(means(coordinated, data["train"], p), means(coordinated, data["test"], p), data) for p in PICTURES]
    out["probe: Coordinated, best picture"] = max(single)
    for name, combine in (("product", product_of_posteriors), ("average", average)):
        both = copy.copy(coordinated)
        both.combine = combine
        latents = [means(both, data[split], *PICTURES) for split in ("train", "test")]
        out[f"probe: Coordinated, {name} of pictures"] = probe(*latents, data)

    name = "coherence, one modality given: MVAE, {:.0%} complete"
    out[name.format(1.0)] = out["coherence, one modality given: MVAE"]
    for share in (0.01, 0.05, 0.2):
        seed_everything(seed)
        model = build("MVAE")
        train(model, incomplete(data["train"], share, seed), seed)
        out[name.format(share)] = one_given(model, classifiers, data["test"][:])
    for share in s["label shares"]:
        out |= with_labels(data, share, seed)
    return out | derived(out)


def derived(out: Mapping[str, float]) -> dict[str, float]:
    """What follows from other numbers. FD is compared by its logarithm, since each classifier has its own unit."""
    logs = {f"log {name}": math.log(value) for name, value in out.items() if name.startswith("FD ")}
    return {
        **logs,
        "two in ten": 0.2,
        "nine tenths of MVAE's coherence": 0.9 * out["coherence, one modality given: MVAE"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Multimodal VAEs on a known world and on three modalities of a digit"
    print(measure("vae", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
