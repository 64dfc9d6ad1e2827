"""The claims of the chapter on captioning, over several seeds: ``python -m experiments.captioning --seeds 5``.

The image encoder is trained to classify single objects and is then frozen, as in the papers; all models of a seed are
given the same regions, captions, batches and number of steps. Each seed has its own scenes, those of the tests too.
Hyperparameters were chosen on the valid split. About ten core-minutes a seed. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.results import Claim, measure
from mmtutor.captioning import Captioner, HardAttention, ShowAndTell, ShowAttendTell, Tokens, beam_search, greedy
from mmtutor.data import MultimodalDataset, Pairs, Scenes, Vocabulary, scenes
from mmtutor.data.scene import CAPTION_LENGTH
from mmtutor.encoders import GridEncoder
from mmtutor.metrics import (
    attention_shift,
    bleu,
    caption_facts,
    evenness,
    generate_captions,
    mentions,
    pointing,
    predict,
)
from mmtutor.training import fit, seed_everything

NEVER = (("red", 7), ("green", 2), ("blue", 5), ("purple", 9))
SEEN = (("red", 2), ("green", 7), ("blue", 9), ("purple", 5))  # the same colours and digits, in pairs that were trained
SETTINGS: dict[str, Any] = {
    "train": 12000,
    "test": 1000,
    "epochs of the image encoder": 3,
    "lr of the image encoder": 3e-3,
    "epochs": 2,
    "epochs of Show and Tell at equal time": 8,
    "lr": 8e-3,
    "lr of Show and Tell": 4e-3,
    "batch": 64,
    "clip": 20.0,
    "λᵣ of hard attention": 0.02,
    "λ_H of hard attention": 0.01,
    "λ of equation 14 and of the authors' code (captions a batch / regions)": 1.0,
    "λ of the tutorial": "mean words / regions, T/L",
    "pairs of colour and digit never trained": "red 7, green 2, blue 5, purple 9",
}
VINYALS, XU = "Vinyals 2015", "Xu 2015"
OURS = "ours"
CLAIMS = [
    Claim("Attention binds colour to digit better than Show and Tell with the mean of the same regions, at equal steps",
          OURS, "binding, soft", "binding, Show and Tell", "share of mentions",
          show=("paired, soft", "paired, Show and Tell", "paired at random, Show and Tell",
                "digit words right, soft", "digit words right, Show and Tell", "colour words right, soft",
                "colour words right, Show and Tell")),
    Claim("Attention binds colour to digit better than Show and Tell, at equal time, too",
          OURS, "binding, soft", "binding, Show and Tell, equal time", "share of mentions",
          show=("seconds, soft", "seconds, Show and Tell, equal time")),
    Claim("Attention points at the object that a digit's word names, more often than three times in four", OURS,
          "pointing, digit, soft", "three in four", "share of words",
          show=("mass, digit, soft", "chance, digit, soft")),
    Claim("Attention points at the object that a colour's word names, more often than three times in four", OURS,
          "pointing, colour, soft", "three in four", "share of words",
          show=("mass, colour, soft", "chance, colour, soft")),
    Claim("Of the relation words, more stand between two digits of the scene with attention than with Show and Tell",
          OURS, "relation digits, soft", "relation digits, Show and Tell", "share of relation words",
          show=("relation words right, soft", "relation words right, Show and Tell")),
    Claim("Where both digits are right, the relation is true more often with attention than with Show and Tell",
          OURS, "related, soft",
          "related, Show and Tell", "share of relation words between right digits"),
    Claim("Where both digits are right, attention gives a true relation more often than a random word of the four",
          OURS, "related, soft", "related at random, soft", "share of relation words between right digits"),
    Claim("At the article of a new object there is more attention on the new object than on the one named before", OURS,
          "at the article, on the next, soft", "at the article, on the last, soft", "share of attention",
          show=("at the article, by chance, soft", "at the article, on the next, read first",
                "at the article, on the last, read first", "at the digit, on the next, soft",
                "at the digit, on the next, read first")),
    Claim("The doubly stochastic term with λ = 1, as in the authors' code, spreads attention more evenly over objects",
          OURS, "evenness, λ = 1", "evenness, soft", "least over mean",
          show=("doubly stochastic term, λ = 1", "doubly stochastic term, soft", "mass, digit, λ = 1",
                "mass, digit, soft")),
    Claim("The term with λ = T/L, the λ = 1 of the tutorial that many follow, spreads attention more "
          "evenly over objects",
          OURS, "evenness, λ = T/L",
          "evenness, soft", "least over mean",
          show=("doubly stochastic term, λ = T/L", "doubly stochastic term, soft", "mass, digit, λ = T/L")),
    Claim("The doubly stochastic term with λ = 1 improves BLEU-4", XU, "BLEU-4, λ = 1", "BLEU-4, soft", "BLEU-4",
          show=("binding, λ = 1", "binding, soft")),
    Claim("The doubly stochastic term with λ = T/L improves BLEU-4", XU, "BLEU-4, λ = T/L", "BLEU-4, soft", "BLEU-4",
          show=("binding, λ = T/L", "binding, soft")),
    Claim("Hard attention has a higher BLEU-4 than soft attention", XU, "BLEU-4, hard", "BLEU-4, soft", "BLEU-4",
          show=("binding, hard", "binding, soft")),
    Claim("Hard attention points better at digits than soft attention", OURS, "pointing, digit, hard",
          "pointing, digit, soft", "share of digit words", show=("mass, digit, hard", "mass, digit, soft")),
    Claim("The gradient of hard attention (λᵣ = 1) has a larger variance, with the same weights and batches", XU,
          "gradient variance, hard", "gradient variance, soft", "variance",
          show=("gradient variance, hard with λᵣ as trained", "gradient variance, hard with λᵣ of the authors' code")),
    Claim("Beam search with 5 beams beats greedy decoding", VINYALS, "BLEU-4, soft, beam 5", "BLEU-4, soft", "BLEU-4",
          show=("words, soft", "words, soft, beam 5")),
    Claim("Beam search by the mean log-probability of a word beats beam search by log-probability", OURS,
          "BLEU-4, soft, beam 5 by mean per word", "BLEU-4, soft, beam 5", "BLEU-4",
          show=("words, soft, beam 5 by mean per word", "words, soft, beam 5")),
    Claim("BLEU with teacher forcing (the true words before each word) is higher than BLEU of generated captions", OURS,
          "BLEU-4, soft, teacher forcing", "BLEU-4, soft", "BLEU-4"),
    Claim("A pair of colour and digit that was never trained is named less often than one that was (soft)", OURS,
          "trained pair named, soft", "new pair named, soft", "share of scenes",
          show=("trained pair named, Show and Tell", "new pair named, Show and Tell")),
    Claim("A pair that was never trained is named less often by the model that reads the last word first, too",
          OURS, "trained pair named, read first",
          "new pair named, read first", "share of scenes"),
    Claim("Of four objects, one more than in training, a smaller share is named than of three (soft)", OURS,
          "object recall of three", "object recall of four", "share of objects"),
    Claim("Reading the last word before attending binds better than attending first", OURS, "binding, read first",
          "binding, soft", "share of mentions", show=("BLEU-4, read first", "BLEU-4, soft")),
    Claim("Reading the last word first gives more true relations where both digits are right",
          OURS, "related, read first", "related, soft",
          "share of relation words between right digits",
          show=("related at random, read first", "relation digits, read first", "relation digits, soft")),
    Claim("Reading the last word first points better at digits",
          OURS, "pointing, digit, read first", "pointing, digit, soft",
          "share of digit words", show=("mass, digit, read first", "mass, digit, soft")),
    Claim("Reading the last word first points less often at colours",
          OURS, "pointing, colour, soft", "pointing, colour, read first",
          "share of colour words", show=("pointing, size, soft", "pointing, size, read first")),
]  # fmt: skip


class ObjectClassifier(nn.Module):
    """Classifies digit and colour of the object in the middle of an image: what the image encoder is trained with."""

    def __init__(self, encoder: GridEncoder) -> None:
        super().__init__()
        self.encoder, self.digit, self.colour = encoder, nn.Linear(encoder.dim, 10), nn.Linear(encoder.dim, 8)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The regions, (B, L, dim)."""
        regions: Tensor = self.encoder(batch["scene"])
        return regions

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of digit and colour, from the four regions in the middle of 4×4."""
        middle = self(batch)[:, [5, 6, 9, 10]].mean(1)
        digit = F.cross_entropy(self.digit(middle), batch["digit_label"])
        return {"loss": digit + F.cross_entropy(self.colour(middle), batch["colour_label"]), "digit": digit}


class World:
    """The data of one seed, encoded by the frozen image encoder."""

    def __init__(self, seed: int) -> None:
        n, test = SETTINGS["train"], SETTINGS["test"]
        train = scenes("train", n=n, seed=seed, never=NEVER, progress=False)
        self.vocabulary = Vocabulary.from_captions(text for texts in train.captions for text in texts)
        train = train.tokenised(self.vocabulary)
        seed_everything(seed)
        classifier = ObjectClassifier(GridEncoder(3))
        fit(classifier, train.crops(), epochs=SETTINGS["epochs of the image encoder"],
            lr=SETTINGS["lr of the image encoder"], batch_size=64, schedule="one-cycle", seed=seed,
            progress=False)  # fmt: skip
        self.pairs = Pairs({"regions": predict(classifier, train), "caption": train.tensors["caption"]})
        draw = partial(scenes, "test", n=test, progress=False)
        self.tests = {
            "test": draw(seed=3 * seed, never=NEVER),
            "new": draw(seed=3 * seed + 1, always=NEVER),
            "trained": draw(seed=3 * seed + 1, always=SEEN, never=NEVER),
            "three": draw(seed=3 * seed + 2, objects=(3, 3), never=NEVER),
            "four": draw(seed=3 * seed + 2, objects=(4, 4), never=NEVER),
        }
        self.encoded = {
            name: MultimodalDataset({"regions": predict(classifier, data)}) for name, data in self.tests.items()
        }
        self.dim = classifier.encoder.dim
        self.words = (train.tensors["caption"] > 1).sum(2).double().mean().item()  # of a caption, its end included
        self.regions = self.pairs[0]["regions"].shape[0]

    def trained(self, model: Captioner, seed: int, epochs: int, lr: float) -> float:
        """Train, and return the seconds it took."""
        start = time.perf_counter()
        fit(model, self.pairs, epochs=epochs, lr=lr, batch_size=SETTINGS["batch"], schedule="one-cycle",
            clip_norm=SETTINGS["clip"], seed=seed, progress=False)  # fmt: skip
        return time.perf_counter() - start

    def generate(self, model: Captioner, name: str = "test", **settings: Any) -> tuple[list[str], Tensor | None]:
        """Captions for one of the test sets; by beam search where ``beams`` are given."""
        decode = beam_search if settings else greedy
        return generate_captions(model, self.encoded[name], self.vocabulary, decode, CAPTION_LENGTH, **settings)


def show_attend_tell(world: World, seed: int, **settings: Any) -> ShowAttendTell:
    """Show, Attend and Tell with weights drawn from the seed."""
    seed_everything(seed)
    return ShowAttendTell(nn.Identity(), world.dim, Tokens(len(world.vocabulary)), image="regions", **settings)


def show_and_tell(world: World, seed: int) -> ShowAndTell:
    """Show and Tell with weights drawn from the seed."""
    seed_everything(seed)
    return ShowAndTell(nn.Identity(), world.dim, Tokens(len(world.vocabulary)), image="regions")


def numbers(world: World, model: Captioner, name: str) -> dict[str, float]:
    """Scores of the generated captions of the test scenes, and of their attention weights."""
    data = world.tests["test"]
    captions, alpha = world.generate(model)
    facts = caption_facts(captions, data)
    out = {f"{kind} words right, {name}": facts[kind] for kind in ("digit", "colour", "size", "relation")}
    kinds = ("binding", "paired", "paired at random", "relation digits", "related", "related at random")
    out |= {f"{kind}, {name}": facts[kind] for kind in (*kinds, "object recall")}
    out[f"BLEU-4, {name}"] = bleu(captions, data.captions)[3]
    out[f"words, {name}"] = length(captions)
    if alpha is not None:
        for kind, point in pointing(captions, alpha, data).items():
            out |= {f"pointing, {kind}, {name}": point.hits, f"mass, {kind}, {name}": point.mass}
            out[f"chance, {kind}, {name}"] = point.chance
        for word in ("article", "digit"):
            shift = attention_shift(captions, alpha, data, around=0, at=word)
            for kind, key in (("on the next", "named"), ("on the last", "before"), ("by chance", "chance")):
                out[f"at the {word}, {kind}, {name}"] = float(shift[key][0])
        out[f"evenness, {name}"] = evenness(captions, alpha, data)
    return out


def length(captions: list[str]) -> float:
    """Mean number of words."""
    return float(np.mean([len(text.split()) for text in captions]))


def pair_named(world: World, model: Captioner, name: str, wanted: tuple[tuple[str, int], ...]) -> float:
    """The share of scenes whose pair among ``wanted`` is named."""
    captions, _ = world.generate(model, name)
    named = []
    for caption, things in zip(captions, world.tests[name].objects, strict=True):
        pairs = {(m.colour, m.digit) for m in mentions(caption)}
        named += [(thing.colour, thing.digit) in pairs for thing in things if (thing.colour, thing.digit) in wanted]
    return float(np.mean(named))


def recall(world: World, model: Captioner, name: str) -> float:
    """The share of objects that are named with colour and digit."""
    return caption_facts(world.generate(model, name)[0], world.tests[name])["object recall"]


def teacher_forced(world: World, model: ShowAttendTell, data: Scenes) -> list[str]:
    """The likeliest word after each true beginning of the first reference: what must not be called generation."""
    caption = data.tokenised(world.vocabulary).tensors["caption"][:, 0]
    with torch.no_grad():
        logits = model.eval()({"regions": world.encoded["test"].tensors["regions"], "caption": caption}).logits
    logits[..., [model.tokens.pad, model.tokens.start]] = -torch.inf
    words = logits[:, 0].argmax(2)
    lengths = (caption != model.tokens.pad).sum(1) - 2
    return [" ".join(world.vocabulary.words[w] for w in row[:n]) for row, n in zip(words, lengths, strict=True)]


def doubly_stochastic(world: World, model: ShowAttendTell) -> float:
    """The doubly stochastic term with the true captions of the test scenes."""
    caption = world.tests["test"].tokenised(world.vocabulary).tensors["caption"]
    batch = {"regions": world.encoded["test"].tensors["regions"], "caption": caption}
    with torch.no_grad():
        return model.eval().loss(batch)["doubly_stochastic"].item()


def gradient_variance(world: World, model: ShowAttendTell, batches: int = 40) -> float:
    """Variance of the gradient over batches, and over samples with hard attention, all parameters together."""
    model.train()
    gradients = []
    for batch, _ in zip(world.pairs.loader(64, shuffle=True, seed=0), range(batches), strict=False):
        model.zero_grad()
        model.loss(batch)["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return float(torch.stack(gradients).var(0).sum())


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    world, s = World(seed), SETTINGS
    reinforce, entropy = s["λᵣ of hard attention"], s["λ_H of hard attention"]
    models: dict[str, Captioner] = {
        "Show and Tell": show_and_tell(world, seed),
        "Show and Tell, equal time": show_and_tell(world, seed),
        "soft": show_attend_tell(world, seed),
        "hard": show_attend_tell(world, seed, attention=HardAttention(reinforce, entropy)),
        "λ = 1": show_attend_tell(world, seed, doubly_stochastic=1.0),
        "λ = T/L": show_attend_tell(world, seed, doubly_stochastic=world.words / world.regions),
        "read first": show_attend_tell(world, seed, read_first=True),
    }
    out = {"three in four": 0.75, "words, T": world.words, "λ = T/L": world.words / world.regions}
    for name, model in models.items():
        epochs = s["epochs of Show and Tell at equal time" if "equal time" in name else "epochs"]
        lr = s["lr" if isinstance(model, ShowAttendTell) else "lr of Show and Tell"]
        out[f"seconds, {name}"] = world.trained(model, seed, epochs, lr)
        out |= numbers(world, model, name)
        if isinstance(model, ShowAttendTell):
            out[f"doubly stochastic term, {name}"] = doubly_stochastic(world, model)
    soft = models["soft"]
    assert isinstance(soft, ShowAttendTell)
    data = world.tests["test"]
    for name, settings in (("beam 5", {"beams": 5}), ("beam 5 by mean per word", {"beams": 5, "normalise": 1.0})):
        captions, _ = world.generate(soft, **settings)
        out[f"BLEU-4, soft, {name}"], out[f"words, soft, {name}"] = bleu(captions, data.captions)[3], length(captions)
    out["BLEU-4, soft, teacher forcing"] = bleu(teacher_forced(world, soft, data), data.captions)[3]
    for name in ("Show and Tell", "soft", "read first"):
        out[f"trained pair named, {name}"] = pair_named(world, models[name], "trained", SEEN)
        out[f"new pair named, {name}"] = pair_named(world, models[name], "new", NEVER)
    out["object recall of three"], out["object recall of four"] = (recall(world, soft, n) for n in ("three", "four"))
    same = {"soft": soft} | {
        name: show_attend_tell(world, seed, attention=HardAttention(weight, entropy))
        for name, weight in (
            ("hard", 1.0),
            ("hard with λᵣ as trained", reinforce),
            ("hard with λᵣ of the authors' code", s["batch"] / (10 * world.words)),  # see HardAttention
        )
    }
    for name, model in same.items():
        model.load_state_dict(soft.state_dict(), strict=False)  # soft attention has no baseline
        seed_everything(seed)
        out[f"gradient variance, {name}"] = gradient_variance(world, model)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Captioning small scenes: Show and Tell; Show, Attend and Tell"
    print(measure("captioning", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
