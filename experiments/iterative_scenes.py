"""The claims on iterative inference for pictures and sentences: ``python -m experiments.iterative_scenes --seeds 5``.

The slides of Oshima and others have photographs of birds with sentences (CUB). Here a crop of a scene with a coloured
digit in its middle has one sentence about it. All else is as in ``experiments/iterative.py``, except for the encoders:
in all models their log σ is bounded. The weight of a caption is large, and without the bound a single unusual picture
ended a training of MoPoE. The weights were chosen on the valid split for the joint VAE, so that pictures generated from
a caption depend on it. A model has 9 epochs, 846 steps, "equal time" is three times as many, "a third" 282 steps.

The slides also have a *cosine similarity* for CUB, and do not say of what. Here it is that of an example's two latent
codes, the mean of the caption's student and that of the scene's, averaged over the test examples; beside it stands that
of codes of different examples, which is what an unrelated pair has.
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
    FLOWS,
    ITERATIVE,
    JNF,
    JOINT,
    LONG,
    LONG_FLOWS,
    LONG_MOPOE,
    OSHIMA,
    OURS,
    SHORT,
    JointEncoder,
    Kind,
    Model,
    better,
    build,
    cosines,
    curve,
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
from mmtutor.iterative import IterativeVAE, drawn_kl
from mmtutor.training import seed_everything
from mmtutor.vae import MoPoE, categorical, gaussian

SHARED = ("batch", "lr", "clip", "latent", "steps", "gap: examples", "ELBO: examples", "epochs", "epochs, a third",
          "epochs, equal time", "epochs of students")  # fmt: skip
SETTINGS: dict[str, Any] = {
    **{name: iterative.SETTINGS[name] for name in SHARED},
    "train": 3000,
    "test": 1000,
    "words": 12,
    "scale": 0.2,
    "weights": {"scene": 1.0, "caption": 300.0},
}
FULL = {"train": 20000, "test": 5000}
FD = fd("caption", to="scene")


def right(claim: str, what: str, more: str, less: str, source: str = OURS) -> Claim:
    """A row on how often the digit or the colour that a caption names is seen in the scene generated from it."""
    number = f"{what}, caption to scene"
    return Claim(f"Caption to scene: the {what} is right more often {claim}", source, f"{number}: {more}",
                 f"{number}: {less}", "share of examples")  # fmt: skip


def near(claim: str, more: str, less: str) -> Claim:
    """A row of the slides' cosine similarity."""
    return Claim(f"Cosine of the caption's and the scene's latent code: {claim}", OSHIMA, f"cosine: {more}",
                 f"cosine: {less}", "cosine, the mean over examples",
                 show=(f"cosine of other pairs: {more}", f"cosine of other pairs: {less}"))  # fmt: skip


CLAIMS = [
    better("Caption to scene: the iterative student makes better scenes than the joint VAE's, equal steps", OSHIMA, FD,
           JOINT, ITERATIVE),
    better("Caption to scene: the iterative student makes better scenes than the joint VAE's, equal time",
           OURS, FD, LONG, ITERATIVE),
    better("Caption to scene: the iterative student makes better scenes than the joint VAE's, equal "
           "time, a third of that",
           OURS, FD, JOINT, SHORT),
    better("Caption to scene: the iterative student makes better scenes than MoPoE, equal time",
           OSHIMA, FD, LONG_MOPOE, ITERATIVE),
    better("Three times the steps still improve the joint VAE's scenes", OURS, FD, JOINT, LONG),
    better("Three times the steps still improve the iterative VAE's scenes", OURS, FD, SHORT, ITERATIVE),
    better("Three times the steps still improve MoPoE's scenes", OURS, FD, "MoPoE", LONG_MOPOE),
    *(right("by the iterative student than by the joint VAE's, equal steps", what, ITERATIVE, JOINT)
      for what in ("digit", "colour")),
    *(right("by the iterative student than by the joint VAE's, equal time", what, ITERATIVE, LONG)
      for what in ("digit", "colour")),
    *(right("by MoPoE than by the iterative student, equal time", what, LONG_MOPOE, ITERATIVE)
      for what in ("digit", "colour")),
    better("JNF: flow students of the joint VAE, equal time, make better scenes than normal ones", JNF, FD, LONG,
           LONG_FLOWS),
    better("Flow students of the iterative VAE make better scenes than normal ones", OURS, FD, ITERATIVE, FLOWS),
    right("by flow students of the iterative VAE than by normal ones", "digit", FLOWS, ITERATIVE),
    near("the iterative students' is larger than the joint VAE's, equal steps", ITERATIVE, JOINT),
    near("the iterative students' is larger than MoPoE's, equal time", ITERATIVE, LONG_MOPOE),
    *(Claim(f"KL(teacher ‖ student), {modality}: the joint VAE's is smaller than the iterative VAE's, equal steps",
            OSHIMA, f"KL, {modality}: {ITERATIVE}", f"KL, {modality}: {JOINT}", "nats",
            show=(f"KL, {modality}: {LONG}",)) for modality in ("scene", "caption")),
    Claim("Refinement in 4 steps shrinks the amortisation gap, equal steps", OSHIMA, f"gap: {JOINT}",
          f"gap: {ITERATIVE}", "nats, with the weights of the modalities", show=(f"gap: {LONG}",)),
    Claim("Refinement in 4 steps shrinks the amortisation gap to a third or less",
          OURS, f"gap: {JOINT}", f"three gaps: {ITERATIVE}",
          "nats, with the weights of the modalities"),
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
    """What a model generates from captions and from scenes, and how near its two latent codes of an example are."""
    out = from_captions(model, classifier, batch, name, seed)
    words = generate(model, batch, ["scene"], ["caption"])["caption"].argmax(2)
    out[f"words, scene to caption: {name}"] = float((words == batch["caption"].argmax(2)).cpu().double().mean())
    with torch.no_grad():
        codes = [model.infer(batch, [modality]).mean for modality in ("caption", "scene")]
    return out | {f"{what}: {name}": value for what, value in cosines(codes[0], codes[1]).items()}


def from_captions(
    model: Model, classifier: EvaluationClassifier, batch: Mapping[str, Tensor], name: str, seed: int
) -> dict[str, float]:
    """Distance of the scenes that a model generates, and how often digit and colour are right."""
    seed_everything(seed)
    generated = generate(model, batch, ["caption"], ["scene"])["scene"]
    return {
        f"FD, caption to scene: {name}": distance(classifier, batch["scene"], generated),
        **{f"{what}, caption to scene: {name}": share for what, share in classifier.right(generated, batch).items()},
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

    seconds = {}
    for name, steps, epochs in ((JOINT, 0, "epochs"), (LONG, 0, "epochs, equal time"),
                                (ITERATIVE, s["steps"], "epochs"), (SHORT, s["steps"], "epochs, a third")):  # fmt: skip
        model = bounded(kind, seed, steps)
        seconds[name] = train(model, data["train"], seed, s[epochs])
        bounds = curve(model, data["test"], seed, steps)
        out |= {f"gap: {name}": gap(model, data["test"], seed), f"ELBO: {name}": bounds[-1]}
        out[f"ELBO, before its steps: {name}"] = bounds[0]
        students = distil(kind, model.encode, data["train"], seed)
        out |= measures(Model(students.encode, model.elbo.decode), classifier, batch, name, seed)
        out |= divergences(model.encode, students, data["test"], name, seed)
        if name in (LONG, ITERATIVE):
            flow = LONG_FLOWS if name == LONG else FLOWS
            flows = distil(kind, model.encode, data["train"], seed, drawn_kl)
            out |= from_captions(Model(flows.encode, model.elbo.decode), classifier, batch, flow, seed)
            out |= divergences(model.encode, flows, data["test"], flow, seed)
    out["times the joint VAE's seconds"] = seconds[ITERATIVE] / seconds[JOINT]
    for name, epochs in (("MoPoE", "epochs"), (LONG_MOPOE, "epochs, equal time")):
        mopoe = build(kind, MoPoE, seed)
        seconds[name] = train(mopoe, data["train"], seed, s[epochs])
        out |= measures(Model(mopoe.encode, mopoe.decode), classifier, batch, name, seed)
    out |= {f"seconds: {name}": value for name, value in seconds.items()}
    out[f"three gaps: {ITERATIVE}"] = 3 * out[f"gap: {ITERATIVE}"]
    return out | logarithms(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="the paper's sizes, for a GPU")
    arguments = parser.parse_args()
    if arguments.full:
        SETTINGS |= FULL | {name: iterative.FULL[name] for name in SHARED if name in iterative.FULL}
        iterative.SETTINGS |= {name: SETTINGS[name] for name in SHARED}
    name = "iterative_scenes" + "_full" * arguments.full
    what = "Iterative inference and its students on pictures with sentences"
    print(measure(name, what, CLAIMS, one_seed, arguments.seeds, SETTINGS))
