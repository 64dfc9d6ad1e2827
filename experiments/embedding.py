"""The claims of the chapter on joint embedding, over several seeds: ``python -m experiments.embedding --seeds 5``.

Scenes of one or two coloured digits, and sentences that name them, "the red seven and the blue three". The image
encoder is trained first, by contrast of single objects with their names, and is then frozen; all models of a seed read
its regions, and the same sentences and batches. What differs is named in the row. About twenty core-minutes a seed.
Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.captioning import NEVER, SEEN
from experiments.results import Claim, measure
from mmtutor.data import COLOURS, MultimodalDataset, Scenes, Vocabulary, digits, scenes
from mmtutor.data.scene import Thing
from mmtutor.data.word import WORDS
from mmtutor.embedding import Contrast, InfoNCE, JointEmbedding, Sigmoid, Triplet
from mmtutor.encoders import AudioEncoder, GridEncoder, ImageEncoder, TextEncoder
from mmtutor.fusion import Concat, LateFusion
from mmtutor.metrics import (
    alignment,
    analogies,
    contrastive_floor,
    modality_gap,
    probe_loss,
    recall_at,
    recall_ceiling,
    uniformity,
)
from mmtutor.sentences import BagOfWords, RecurrentSentence, TransformerSentence
from mmtutor.training import fit, seed_everything

DIGITS = (1, 4, 7, 2, 9, 0, 5, 8, 3, 6)  # of which the first k are in the scenes of k colours
ALL = tuple((colour, digit) for colour in COLOURS for digit in range(10))
LENGTH = 9  # the longest sentence: start, "the red seven and the blue three", end
SETTINGS: dict[str, Any] = {
    "scenes": 5000,
    "test": 1000,
    "objects": [1, 2],
    "epochs of the image encoder": 8,
    "batch of the image encoder": 64,
    "lr of the image encoder": 5e-3,
    "epochs": 25,
    "batch": 128,
    "lr, times the root of batch / 128": 3e-3,
    "d": 64,
    "margin": 0.2,
    "warm-up of the hardest negatives, batches": 200,
    "scenes of k colours and k digits": 3000,
    "epochs, k colours and k digits": 25,
    "pairs of colour and digit never trained": "red 7, green 2, blue 5, purple 9",
    "examples of digits": 4000,
    "epochs, digits": 8,
    "lr, digits": 3e-3,
    "batch, digits": 64,
}
OORD, FAGHRI, ZHAI = "van den Oord 2018", "Faghri 2018", "Zhai 2023"
YUKSEKGONUL, KIROS, LIANG, OURS = "Yuksekgonul 2023", "Kiros 2014", "Liang 2022", "ours"
SHARE = "share of queries"


def _found(larger: str, smaller: str, margin: float = 0.0) -> dict[str, Any]:
    """The numbers of a claim about R@1: the first candidate says the same as the query; the mean of both directions."""
    return {
        "larger": f"R@1, {larger}",
        "smaller": f"R@1, {smaller}",
        "unit": SHARE,
        "margin": margin,
        "show": (f"R@5, {larger}", f"R@5, {smaller}"),
    }


CLAIMS = [
    Claim("InfoNCE of house numbers and words that share a digit alone is not below its floor", OORD,
          "loss, batches of 64", "floor, batches of 64", "nats",
          show=("loss, batches of 16", "floor, batches of 16", "loss, batches of 256", "floor, batches of 256")),
    Claim("InfoNCE of house numbers and words that share a digit alone is at most 5 % above its floor", OURS,
          "floor and 5 %, batches of 64", "loss, batches of 64", "nats"),
    Claim("R@1 of words that share a digit alone with house numbers is at most 5 % below its ceiling", OURS,
          "R@1 of 64", "ceiling less 5 %, of 64", SHARE,
          show=("ceiling of 64",)),
    Claim("The hardest negative finds better than all negatives (triplet loss)", FAGHRI,
          **_found("hardest", "triplet")),
    Claim("The hardest negative finds better if known false negatives do not count", OURS,
          **_found("hardest, without false negatives", "hardest")),
    Claim("Where known false negatives do not count, the hardest negative finds better than all negatives", FAGHRI,
          **_found("hardest, without false negatives", "triplet, without false negatives")),
    Claim("The hardest negative finds better after five epochs of all negatives than after one", OURS,
          **_found("hardest", "hardest, one epoch of warm-up")),
    Claim("InfoNCE finds better if known false negatives do not count", OURS,
          **_found("InfoNCE, without false negatives", "InfoNCE")),
    Claim("InfoNCE finds better than the triplet loss with all negatives", OURS, **_found("InfoNCE", "triplet")),
    Claim("The sigmoid loss finds better than InfoNCE in batches of 32", ZHAI,
          **_found("sigmoid, batches of 32", "batches of 32")),
    Claim("The sigmoid loss finds better than InfoNCE in batches of 128", ZHAI, **_found("sigmoid", "InfoNCE")),
    Claim("Batches of 512 find better than batches of 128 after the same number of pictures", OURS,
          **_found("batches of 512", "InfoNCE")),
    Claim("Batches of 128 find better than batches of 32 after the same number of pictures", OURS,
          **_found("InfoNCE", "batches of 32")),
    Claim("A learned temperature finds better than t = 1 does", OURS, **_found("InfoNCE", "t = 1")),
    Claim("A learned temperature finds better than t = 100 does", OURS, **_found("InfoNCE", "t = 100")),
    Claim("A bag of words finds nearly as well as a GRU (at most .02 below)", YUKSEKGONUL,
          **_found("bag", "InfoNCE", -0.02)),
    Claim("A model that finds well hardly knows which colour belongs to which digit: binding is below .65", YUKSEKGONUL,
          "binding, at most .65", "binding, InfoNCE", "share of scenes",
          show=("binding, bag", "binding, transformer", "R@1, InfoNCE")),
    Claim("Of three colours and three digits a GRU knows which belongs to which: binding is above .9", OURS,
          "binding, 3 × 3, GRU", "binding, at least .9", "share of scenes", show=("binding, 3 × 3, bag",)),
    Claim("Three colours and digits: the GRU binds better if exchanged scenes are among the negatives", YUKSEKGONUL,
          "binding, 3 × 3, GRU", "binding, 3 × 3, GRU, exchanged ones do not count", "share of scenes"),
    Claim("Five colours and digits: the GRU binds better if exchanged scenes are among the negatives", YUKSEKGONUL,
          "binding, 5 × 5, GRU", "binding, 5 × 5, GRU, exchanged ones do not count", "share of scenes"),
    Claim("Eight colours and digits: the GRU binds better if exchanged scenes are among the negatives", YUKSEKGONUL,
          "binding, 8 × 8, GRU", "binding, 8 × 8, GRU, exchanged ones do not count", "share of scenes"),
    Claim("The more colours and digits, the less it binds, though exchanged scenes do not count: 8 × 8 against 3 × 3",
          OURS, "binding, 3 × 3, GRU, exchanged ones do not count",
          "binding, 8 × 8, GRU, exchanged ones do not count", "share of scenes"),
    Claim("Three colours and digits: a transformer binds better than a bag", OURS,
          "binding, 3 × 3, transformer", "binding, 3 × 3, bag", "share of scenes"),
    Claim("Three colours and digits: a network of each region before their mean binds better than one of their mean",
          OURS,
          "binding, 3 × 3, GRU", "binding, 3 × 3, GRU, mean of the regions", "share of scenes"),
    Claim("A network of each region before their mean finds better than one of their mean", OURS,
          **_found("InfoNCE", "mean of the regions")),
    Claim("Picture − colour + other colour finds a right picture more often than not", KIROS,
          "analogies", "half", SHARE, show=("analogies, the picture left out", "analogies by a sentence")),
    Claim("Leaving the query's picture out makes analogies right more often", OURS, "analogies, the picture left out",
          "analogies", SHARE),
    Claim("The sentence that names what is wanted is right more often than the arithmetic", OURS,
          "analogies by a sentence", "analogies, the picture left out", SHARE),
    Claim("A pair of colour and digit that was never trained is named less often than one that was", OURS,
          "named, trained pairs", "named, new pairs", "share of pictures",
          show=("colour named, new pairs", "digit named, new pairs")),
    Claim("Pictures and sentences lie apart: the gap of their means is above .1", LIANG, "gap, InfoNCE", "gap, .1",
          "distance", show=("gap, t = 1", "gap, t = 100", "gap, untrained")),
    Claim("The larger t, the larger the gap: t = 100 against t = 1", LIANG, "gap, t = 100", "gap, t = 1", "distance"),
    Claim("Without the gap, each modality moved by its mean, R@1 is higher", LIANG, "R@1, InfoNCE, moved by the means",
          "R@1, InfoNCE", SHARE),
    Claim("By contrast of house number and voice, without labels, the encoder of house numbers lacks less than in late "
          "fusion with labels", OURS, "lacks, street, late fusion", "lacks, street, contrast", "nats",
          show=("lacks, spoken, late fusion", "lacks, spoken, contrast")),
]  # fmt: skip


# ---- sentences


def name(colour: str, digit: int) -> str:
    """How an object is named: ``the red seven``."""
    return f"the {colour} {WORDS[digit]}"


def sentence(things: Sequence[Thing], order: Sequence[int]) -> str:
    """The objects of a scene in an order."""
    return " and ".join(name(things[k].colour, things[k].digit) for k in order)


def swapped(things: Sequence[Thing]) -> str:
    """The sentence of two objects with their digits exchanged."""
    first, second = things
    return f"{name(first.colour, second.digit)} and {name(second.colour, first.digit)}"


def numbered(values: Sequence[Hashable]) -> Tensor:
    """A number for each value, equal where the values are."""
    numbers = {value: k for k, value in enumerate(dict.fromkeys(values))}
    return torch.tensor([numbers[value] for value in values])


VOCABULARY = Vocabulary.from_captions([*(name(*pair) for pair in ALL), "and"])


def encode(texts: Sequence[str]) -> Tensor:
    """Sentences as numbers, int64 (N, 9)."""
    return torch.stack([VOCABULARY.encode(text, LENGTH) for text in texts])


# ---- encoders


class Middle(nn.Module):
    """The mean of the four regions in the middle of a crop."""

    def __init__(self, grid: GridEncoder) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, crop: Tensor) -> Tensor:
        """(B, 3, 32, 32) to (B, D)."""
        middle: Tensor = self.grid(crop).unflatten(1, (4, 4))[:, 1:3, 1:3].mean((1, 2))
        return middle


class Regions(nn.Module):
    """A network of each region, then their mean; or of the mean of the regions."""

    def __init__(self, dim: int, each: bool = True) -> None:
        super().__init__()
        self.each = each
        self.network = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, 128))

    def forward(self, regions: Tensor) -> Tensor:
        """(B, L, D) to (B, 128)."""
        x: Tensor = self.network(regions).mean(1) if self.each else self.network(regions.mean(1))
        return x.relu()


SENTENCES = {"GRU": RecurrentSentence, "bag": BagOfWords, "transformer": TransformerSentence}


def joint(
    dim: int, loss: Contrast | None, *, text: str = "GRU", each: bool = True, group: str | None = None
) -> JointEmbedding:
    """Regions of D numbers and sentences in one space."""
    encoders = {"regions": Regions(dim, each), "sentence": SENTENCES[text](len(VOCABULARY), 64)}
    return JointEmbedding(encoders, [128, 64], SETTINGS["d"], loss, group=group)


# ---- scenes


@torch.no_grad()
def regions(encoder: GridEncoder, data: Scenes) -> Tensor:
    """Of each scene, (N, L, D)."""
    return torch.cat([encoder(pictures) for pictures in data.tensors["scene"].split(500)])


class World:
    """The scenes of a seed, as regions and sentences."""

    def __init__(self, seed: int, encoder: GridEncoder, train: Scenes, test: Scenes) -> None:
        self.things = test.objects
        self.train = self.encoded(encoder, train, seed)
        self.test = self.encoded(encoder, test, seed + 1)
        content = self.test.tensors["content_label"]
        self.same = (content[:, None] == content).numpy()  # which sentences say what a picture shows
        self.two = [k for k, things in enumerate(test.objects) if len(things) == 2]
        self.dim = encoder.dim

    @staticmethod
    def encoded(encoder: GridEncoder, data: Scenes, seed: int) -> MultimodalDataset:
        """Regions, sentences with their objects in random order, and a number for what is shown."""
        rng = np.random.default_rng(seed)
        texts = [sentence(things, rng.permutation(len(things)).tolist()) for things in data.objects]
        shown = [frozenset((t.colour, t.digit) for t in things) for things in data.objects]
        parts = [(frozenset(t.colour for t in things), frozenset(t.digit for t in things)) for things in data.objects]
        return MultimodalDataset(
            {
                "regions": regions(encoder, data),
                "sentence": encode(texts),
                "content_label": numbered(shown),
                "parts_label": numbered(parts),
            }
        )

    def trained(self, model: JointEmbedding, seed: int, epochs: int, batch: int) -> float:
        """Train, and return the seconds it took."""
        start = time.perf_counter()
        lr = SETTINGS["lr, times the root of batch / 128"] * (batch / 128) ** 0.5
        fit(model, self.train, epochs=epochs, lr=lr, batch_size=batch, schedule="one-cycle", seed=seed, progress=False)
        model.eval()
        return time.perf_counter() - start

    @torch.no_grad()
    def embedded(self, model: JointEmbedding) -> tuple[Tensor, Tensor]:
        """Pictures and sentences of the test scenes."""
        a, b = model.embed({m: self.test.tensors[m] for m in model.encoders}).values()
        return a, b

    def recall(self, a: Tensor, b: Tensor, right: Any = None, k: int = 1) -> float:
        """R@K, the mean of both directions; right is what says the same."""
        right = self.same if right is None else right
        s = (a @ b.T).numpy()
        return (recall_at(s, right, k) + recall_at(s.T, right.T, k)) / 2

    @torch.no_grad()
    def binding(self, model: JointEmbedding) -> float:
        """The share of scenes of two whose sentence is nearer than the one with exchanged digits; a tie is one half."""
        a = model.embed({"regions": self.test.tensors["regions"][self.two]})["regions"]
        said = (encode([f(self.things[k]) for k in self.two]) for f in (partial(sentence, order=(0, 1)), swapped))
        true, false = ((a * model.embed({"sentence": texts})["sentence"]).sum(1) for texts in said)
        gap = true - false
        return float((gap > 1e-5).double().mean() + (gap.abs() <= 1e-5).double().mean() / 2)

    def numbers(self, model: JointEmbedding, row: str) -> dict[str, float]:
        """Everything that is measured of a model."""
        a, b = self.embedded(model)
        out = {f"R@{k}, {row}": self.recall(a, b, k=k) for k in (1, 5)}
        out[f"R@1 of the written pair, {row}"] = self.recall(a, b, np.eye(len(a), dtype=bool))
        out |= {f"binding, {row}": self.binding(model), f"gap, {row}": modality_gap(a, b)}
        return out | {f"alignment, {row}": alignment(a, b), f"uniformity, {row}": uniformity(torch.cat([a, b]))}


def image_encoder(train: Scenes, seed: int) -> tuple[GridEncoder, JointEmbedding]:
    """Trained by contrast of single objects with their names; and the model that did it."""
    crops, colours = train.crops(seed=seed).tensors, list(COLOURS)
    names = [name(colours[c], d) for c, d in zip(crops["colour_label"], crops["digit_label"].tolist(), strict=True)]
    seed_everything(seed)
    grid = GridEncoder(3)
    encoders = {"scene": Middle(grid), "sentence": RecurrentSentence(len(VOCABULARY), 64)}
    model = JointEmbedding(encoders, [grid.dim, 64], SETTINGS["d"])
    fit(model, {"scene": crops["scene"], "sentence": encode(names)}, epochs=SETTINGS["epochs of the image encoder"],
        lr=SETTINGS["lr of the image encoder"], batch_size=SETTINGS["batch of the image encoder"],
        schedule="one-cycle", seed=seed, progress=False)  # fmt: skip
    model.eval()
    return grid.eval(), model


def rows() -> dict[str, tuple[dict[str, Any], int]]:
    """Each model's settings and its batch size."""
    hardest = partial(Triplet, SETTINGS["margin"], hardest=True)
    warm_up, batch = SETTINGS["warm-up of the hardest negatives, batches"], SETTINGS["batch"]
    fixed = partial(InfoNCE, learned=False)
    settings: dict[str, dict[str, Any]] = {
        "InfoNCE": {"loss": InfoNCE()},
        "InfoNCE, without false negatives": {"loss": InfoNCE(), "group": "content_label"},
        "triplet": {"loss": Triplet(SETTINGS["margin"])},
        "triplet, without false negatives": {"loss": Triplet(SETTINGS["margin"]), "group": "content_label"},
        "hardest": {"loss": hardest(warm_up=warm_up)},
        "hardest, without false negatives": {"loss": hardest(warm_up=warm_up), "group": "content_label"},
        "hardest, one epoch of warm-up": {"loss": hardest(warm_up=warm_up // 5)},
        "sigmoid": {"loss": Sigmoid()},
        "t = 1": {"loss": fixed(1.0)},
        "t = 100": {"loss": fixed(100.0)},
        "bag": {"loss": InfoNCE(), "text": "bag"},
        "transformer": {"loss": InfoNCE(), "text": "transformer"},
        "mean of the regions": {"loss": InfoNCE(), "each": False},
    }
    all_rows = {row: (of, batch) for row, of in settings.items()}
    all_rows |= {f"batches of {n}": ({"loss": InfoNCE()}, n) for n in (32, 512)}
    return all_rows | {"sigmoid, batches of 32": ({"loss": Sigmoid()}, 32)}


def finding(seed: int) -> dict[str, float]:
    """All models that find scenes and sentences, and what the space of the first of them knows."""
    draw = partial(scenes, seed=seed, objects=tuple(SETTINGS["objects"]), never=NEVER, progress=False)
    train, test = draw("train", n=SETTINGS["scenes"]), draw("test", n=SETTINGS["test"])
    encoder, _ = image_encoder(train, seed)
    world = World(seed, encoder, train, test)
    out = {"R@1 of the written pair, ceiling": float((1 / world.same.sum(1)).mean())}
    for row, (settings, batch) in rows().items():
        seed_everything(seed)
        model = joint(world.dim, **settings)
        if row == "InfoNCE":
            out["gap, untrained"] = modality_gap(*world.embedded(model.eval()))
        out[f"seconds, {row}"] = world.trained(model.train(), seed, SETTINGS["epochs"], batch)
        out |= world.numbers(model, row)
        if row == "InfoNCE":
            a, b = world.embedded(model)
            moved = [F.normalize(z - z.mean(0), dim=1) for z in (a, b)]
            out["R@1, InfoNCE, moved by the means"] = world.recall(moved[0], moved[1])
            out |= arithmetic(model, world) | naming(model, encoder, seed)
    return out | binding(encoder, seed)


@torch.no_grad()
def arithmetic(model: JointEmbedding, world: World) -> dict[str, float]:
    """Picture − its colour + another colour, among the pictures of one object."""
    one = [k for k, things in enumerate(world.things) if len(things) == 1]
    shown = [(world.things[k][0].colour, world.things[k][0].digit) for k in one]
    pictures = model.embed({"regions": world.test.tensors["regions"][one]})["regions"]
    words = model.embed({"sentence": encode([name(*pair) for pair in ALL])})["sentence"].view(len(COLOURS), 10, -1)
    colours = dict(zip(COLOURS, F.normalize(words.mean(1), dim=1), strict=True))
    known = set(shown)
    asked = [(k, c) for k, (colour, d) in enumerate(shown) for c in COLOURS if c != colour and (c, d) in known]
    start = torch.stack([pictures[k] for k, _ in asked])
    minus, plus = torch.stack([colours[shown[k][0]] for k, _ in asked]), torch.stack([colours[c] for _, c in asked])
    right = np.array([[pair == (c, shown[k][1]) for pair in shown] for k, c in asked])
    itself = np.eye(len(shown), dtype=bool)[[k for k, _ in asked]]
    said = model.embed({"sentence": encode([name(c, shown[k][1]) for k, c in asked])})["sentence"]
    return {
        "analogies": analogies(start, minus, plus, pictures, right),
        "analogies, the picture left out": analogies(start, minus, plus, pictures, right, itself),
        "analogies by a sentence": recall_at((said @ pictures.T).numpy(), right),
    }


@torch.no_grad()
def naming(model: JointEmbedding, encoder: GridEncoder, seed: int) -> dict[str, float]:
    """Which of the 80 names is nearest to a picture of one object, of pairs that were never trained and that were."""
    names = model.embed({"sentence": encode([name(*pair) for pair in ALL])})["sentence"]
    out = {}
    for kind, always in (("new", NEVER), ("trained", SEEN)):
        data = scenes("test", n=400, seed=2 * seed + 1, objects=(1, 1), always=always, progress=False)
        a = model.embed({"regions": regions(encoder, data)})["regions"]
        said = [ALL[k] for k in (a @ names.T).argmax(1).tolist()]
        true = [(things[0].colour, things[0].digit) for things in data.objects]
        pairs = list(zip(said, true, strict=True))
        out[f"named, {kind} pairs"] = float(np.mean([x == y for x, y in pairs]))
        out[f"colour named, {kind} pairs"] = float(np.mean([x[0] == y[0] for x, y in pairs]))
        out[f"digit named, {kind} pairs"] = float(np.mean([x[1] == y[1] for x, y in pairs]))
    return out


def binding(encoder: GridEncoder, seed: int) -> dict[str, float]:
    """Scenes of two, of k colours and k digits; as they are, or with the exchanged ones not among the negatives."""
    out = {"binding, at most .65": 0.65, "binding, at least .9": 0.9, "half": 0.5, "gap, .1": 0.1}
    kinds: dict[str, dict[str, Any]] = {"GRU": {}, "GRU, exchanged ones do not count": {"group": "parts_label"}}
    others: dict[str, dict[str, Any]] = {"bag": {"text": "bag"}, "transformer": {"text": "transformer"}}
    others |= {"GRU, mean of the regions": {"each": False}}
    for k in (3, 5, 8):
        few = [(colour, digit) for colour in list(COLOURS)[:k] for digit in DIGITS[:k]]
        never = [pair for pair in ALL if pair not in few]
        draw = partial(scenes, seed=seed, objects=(2, 2), never=never, progress=False)
        train, test = draw("train", n=SETTINGS["scenes of k colours and k digits"]), draw("test", n=SETTINGS["test"])
        world = World(seed, encoder, train, test)
        for row, settings in (kinds | (others if k == 3 else {})).items():
            seed_everything(seed)
            model = joint(world.dim, InfoNCE(), **settings)
            world.trained(model, seed, SETTINGS["epochs, k colours and k digits"], SETTINGS["batch"])
            found = world.numbers(model, f"{k} × {k}, {row}")
            out |= {name: value for name, value in found.items() if name.startswith(("R@1", "binding"))}
    return out


# ---- digits: floors, and what encoders know


def trained_on_digits(model: nn.Module, data: MultimodalDataset, seed: int) -> None:
    """The same steps for all."""
    fit(model, data, epochs=SETTINGS["epochs, digits"], lr=SETTINGS["lr, digits"], batch_size=SETTINGS["batch, digits"],
        schedule="one-cycle", seed=seed, progress=False)  # fmt: skip
    model.eval()


def floors(seed: int) -> dict[str, float]:
    """House numbers that are easy to read, and words: the loss and R@1 of test batches beside the best there are."""
    draw = partial(digits, "street", "word", seed=seed, street_difficulty=0.0, cache=False, progress=False)
    train, test = draw(split="train", n=SETTINGS["examples of digits"]), draw(split="test", n=2048)
    seed_everything(seed)
    model = JointEmbedding({"street": ImageEncoder(3), "word": TextEncoder(27)}, [64, 64], 16)
    trained_on_digits(model, train, seed)
    with torch.no_grad():
        a, b = model.embed(test[:]).values()
    assert isinstance(model.contrast, InfoNCE)
    out: dict[str, float] = {}
    for n in (16, 64, 256):
        parts = [(a[k : k + n], b[k : k + n]) for k in range(0, len(a), n)]
        everywhere = torch.ones(n, n, dtype=torch.bool)
        losses = [model.contrast(x @ y.T, torch.arange(n), everywhere).item() for x, y in parts]
        found = [recall_at((x @ y.T).numpy(), np.eye(n, dtype=bool)) for x, y in parts]
        floor, ceiling = contrastive_floor([0.1] * 10, n), recall_ceiling([0.1] * 10, n)
        out |= {f"loss, batches of {n}": float(np.mean(losses)), f"R@1 of {n}": float(np.mean(found))}
        out |= {f"floor, batches of {n}": floor, f"floor and 5 %, batches of {n}": 1.05 * floor}
        out |= {f"ceiling of {n}": ceiling, f"ceiling less 5 %, of {n}": 0.95 * ceiling}
    return out


def lacking(seed: int) -> dict[str, float]:
    """What a linear probe of encoders lacks: trained with labels by late fusion, or by contrast without."""
    names = ("street", "spoken")
    draw = partial(digits, *names, seed=seed, street_difficulty=1.0, cache=False, progress=False)
    data = {split: draw(split=split, n=n) for split, n in (("train", 4000), ("valid", 2000), ("test", 2000))}
    out = {}
    for way in ("late fusion", "contrast"):
        seed_everything(seed)
        encoders = {"street": ImageEncoder(3), "spoken": AudioEncoder()}
        model = (
            LateFusion(encoders, 10, Concat([64, 64])) if way == "late fusion" else JointEmbedding(encoders, [64, 64])
        )
        trained_on_digits(model, data["train"], seed)
        for m in names:
            with torch.no_grad():
                x, y = (encoders[m](data[split].tensors[m].float()).relu() for split in ("valid", "test"))
            labels = (data[split].tensors["label"] for split in ("valid", "test"))
            out[f"lacks, {m}, {way}"] = float(probe_loss(x, next(labels), y, next(labels)).mean())
    return out


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    return finding(seed) | floors(seed) | lacking(seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Joint embedding of pictures and sentences: losses, batches, temperature, binding, arithmetic"
    print(measure("embedding", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
