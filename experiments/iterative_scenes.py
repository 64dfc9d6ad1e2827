"""The claims on iterative inference for pictures and sentences: ``python -m experiments.iterative_scenes --seeds 5``.

The slides of Oshima and others have photographs of birds with sentences (CUB). Here a crop of a scene with a coloured
digit in its middle has one sentence about it. All else is as in ``experiments/iterative.py``, except for the encoders:
in all models their log σ is bounded. The weight of a caption is large, and without the bound a single unusual picture
ended a training of MoPoE. The weights were chosen on the valid split for the joint VAE, so that pictures generated from
a caption depend on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments import iterative, vae
from experiments.iterative import (
    ITERATIVE,
    JOINT,
    LONG,
    OSHIMA,
    OURS,
    JointEncoder,
    Kind,
    Model,
    better,
    build,
    distance,
    distil,
    divergences,
    fd,
    gap,
    generate,
    logarithms,
    ready,
    teacher,
    train,
)
from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, Vocabulary, scenes
from mmtutor.iterative import IterativeVAE
from mmtutor.training import seed_everything
from mmtutor.vae import MoPoE, categorical, gaussian

SHARED = ("batch", "lr", "clip", "latent", "steps", "gap: examples")
SETTINGS: dict[str, Any] = {
    **{name: iterative.SETTINGS[name] for name in SHARED},
    "train": 3000,
    "test": 1000,
    "epochs": 12,
    "words": 12,
    "scale": 0.2,
    "weights": {"scene": 1.0, "caption": 300.0},
    "epochs of MoPoE, long": 48,
}
FULL = {"train": 20000, "test": 5000, "epochs": 200, "epochs of MoPoE, long": 400}
CLAIMS = [
    better("Caption to scene: the iterative student makes better scenes than the joint VAE's, equal steps", OSHIMA,
           fd("caption", to="scene"), JOINT, ITERATIVE),
    better("… equal time", OURS, fd("caption", to="scene"), LONG, ITERATIVE),
    better("… than MoPoE with four times the epochs", OSHIMA, fd("caption", to="scene"), "MoPoE, long", ITERATIVE),
    *(Claim(f"KL(teacher ‖ student), {modality}: the joint VAE's is smaller than the iterative VAE's", OSHIMA,
            f"KL, {modality}: {ITERATIVE}", f"KL, {modality}: {JOINT}", "nats") for modality in ("scene", "caption")),
    *(Claim(f"Caption to scene: the {what} is right more often by the iterative student than by the joint VAE's, equal "
            "steps", OURS, f"{what}, caption to scene: {ITERATIVE}", f"{what}, caption to scene: {JOINT}",
            "share of examples", show=(f"{what}, caption to scene: {LONG}", f"{what}, caption to scene: MoPoE, long"))
      for what in ("digit", "colour")),
    Claim("Refinement in 4 steps shrinks the amortisation gap at least threefold", OSHIMA, f"gap: {JOINT}",
          f"three gaps: {ITERATIVE}", "nats, with the weights of the modalities", show=(f"gap: {ITERATIVE}",)),
]  # fmt: skip


# ---- data and networks


def pairs(split: str, n: int, seed: int) -> MultimodalDataset:
    """Crops of 32 × 32 with one coloured digit about in the middle, and a caption of its scene, the words one-hot.

    "There is" is left out, or the position of all other words would depend on it.
    """
    known = scenes("train", n=1000, objects=(1, 1), progress=False).captions
    vocabulary = Vocabulary.from_captions(text for three in known for text in three)
    drawn = scenes(split, n=n, seed=seed, objects=(1, 1), progress=False)
    crops = drawn.crops(32, shift=2, seed=seed).tensors
    texts = [three[0].removeprefix("there is ") for three in drawn.captions]
    words = torch.stack([vocabulary.encode(text, SETTINGS["words"]) for text in texts])
    return ready(MultimodalDataset({
        "scene": crops["scene"],
        "caption": F.one_hot(words, len(vocabulary)).float(),
        "digit": crops["digit_label"],
        "colour": crops["colour_label"],
    }))  # fmt: skip


class Bounded(nn.Module):
    """λ with log σ smoothly bounded by 1.5, as the refiner bounds it. The KL divergence grows with σ²."""

    def forward(self, lam: Tensor) -> Tensor:
        """(B, 2 latent)."""
        mean, log_std = lam.chunk(2, 1)
        return torch.cat([mean, 1.5 - F.softplus(1.5 - log_std)], 1)


def scene_kind(words: int) -> Kind:
    """A scene and its caption of so many known words; the scene's networks are those of house numbers."""
    s, numbers = SETTINGS, SETTINGS["words"] * words

    def encoder(modality: str, outputs: int) -> nn.Module:
        net = vae.encoder("street", outputs) if modality == "scene" else nn.Sequential(
            nn.Flatten(), nn.Linear(numbers, 128), nn.SiLU(), nn.Linear(128, outputs))  # fmt: skip
        return nn.Sequential(net, Bounded()) if outputs == 2 * s["latent"] else net  # λ, or features

    def decoder(modality: str) -> nn.Module:
        if modality == "scene":
            return vae.decoder("street", s["latent"])
        return nn.Sequential(nn.Linear(s["latent"], 128), nn.SiLU(), nn.Linear(128, numbers),
                             nn.Unflatten(1, (s["words"], words)))  # fmt: skip

    likelihoods = {"scene": gaussian(s["scale"]), "caption": categorical(one_hot=True)}
    return Kind(encoder, decoder, likelihoods, s["weights"], s["epochs"])


class EvaluationClassifier(nn.Module):
    """Digit and colour of a scene; its features are those before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = vae.encoder("street", 64), nn.Linear(64, 20)

    def features(self, x: Tensor) -> Tensor:
        """(B, 64)."""
        features: Tensor = F.silu(self.body(x))
        return features

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Scores of digits and of colours, (B, 10) each."""
        digit, colour = self.last(self.features(x)).chunk(2, 1)
        return {"digit": digit, "colour": colour}

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of both."""
        scores = self(batch["scene"])
        return {"loss": sum(F.cross_entropy(score, batch[name]) for name, score in scores.items())}

    @torch.no_grad()
    def right(self, x: Tensor, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """The share of pictures with the right digit, and with the right colour."""
        return {name: float((score.argmax(1) == batch[name]).cpu().double().mean()) for name, score in self(x).items()}


# ---- one seed


def measures(
    model: Model, classifier: EvaluationClassifier, batch: Mapping[str, Tensor], name: str, seed: int
) -> dict[str, float]:
    """What a model generates from captions and from scenes."""
    seed_everything(seed)
    generated = generate(model, batch, ["caption"], ["scene"])["scene"]
    words = generate(model, batch, ["scene"], ["caption"])["caption"].argmax(2)
    return {
        f"FD, caption to scene: {name}": distance(classifier, batch["scene"], generated),
        **{f"{what}, caption to scene: {name}": share for what, share in classifier.right(generated, batch).items()},
        f"words, scene to caption: {name}": float((words == batch["caption"].argmax(2)).cpu().double().mean()),
    }


def bounded(kind: Kind, seed: int, steps: int) -> IterativeVAE:
    """An untrained teacher whose start is bounded, too."""
    seed_everything(seed)
    return teacher(kind, seed, steps, nn.Sequential(JointEncoder(kind, 2 * SETTINGS["latent"]), Bounded()))


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    s, out = SETTINGS, {}
    data = {split: pairs(split, s[split], seed) for split in ("train", "test")}
    kind, batch = scene_kind(data["train"].tensors["caption"].shape[2]), data["test"][:]
    seed_everything(seed + 1000)
    classifier = EvaluationClassifier()
    train(classifier, pairs("train", s["train"], seed + 1000), seed + 1000, kind.epochs)
    out |= {
        f"accuracy, classifier of scenes, {what}": share
        for what, share in classifier.right(batch["scene"], batch).items()
    }

    joint, refined, long = (bounded(kind, seed, steps) for steps in (0, s["steps"], 0))
    seconds = {m: train(m, data["train"], seed, kind.epochs) for m in (joint, refined)}
    longer = round(kind.epochs * seconds[refined] / seconds[joint])
    train(long, data["train"], seed, longer)
    out["epochs at equal time"] = float(longer)
    for name, model in ((JOINT, joint), (LONG, long), (ITERATIVE, refined)):
        out[f"gap: {name}"] = gap(model, data["test"], seed)
        students = distil(kind, model.encode, data["train"], seed)
        out |= measures(Model(students.encode, model.elbo.decode), classifier, batch, name, seed)
        out |= divergences(model.encode, students, data["test"], name, seed)
    for name, epochs in (("MoPoE", kind.epochs), ("MoPoE, long", s["epochs of MoPoE, long"])):
        mopoe = build(kind, MoPoE, seed)
        train(mopoe, data["train"], seed, epochs)
        out |= measures(Model(mopoe.encode, mopoe.decode), classifier, batch, name, seed)
    out[f"three gaps: {ITERATIVE}"] = 3 * out[f"gap: {ITERATIVE}"]
    return out | logarithms(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="the paper's sizes, for a GPU")
    arguments = parser.parse_args()
    if arguments.full:
        SETTINGS |= FULL | {name: iterative.FULL[name] for name in ("batch", "lr")}
        iterative.SETTINGS |= {name: SETTINGS[name] for name in SHARED}
    name = "iterative_scenes" + "_full" * arguments.full
    what = "Iterative inference and its students on pictures with sentences"
    print(measure(name, what, CLAIMS, one_seed, arguments.seeds, SETTINGS))
