"""The claims of the chapter on question answering, over several seeds: ``python -m experiments.vqa --seeds 5``.

The image encoder is trained to classify single objects and is then frozen; it sees all pairs of colour and digit. All
models of a seed are given the same
regions, questions, batches and number of steps. Each seed has its own scenes, those of the tests too. Learning rates
were chosen with other scenes. About 50 core-minutes a seed. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.captioning import ObjectClassifier
from experiments.results import Claim, measure
from mmtutor.data import Scenes, scenes
from mmtutor.data.question import (
    ANSWERS,
    KINDS,
    VOCABULARY,
    Question,
    Questions,
    answers,
    picture_alone,
    question_alone,
    questions,
)
from mmtutor.data.word import WORDS
from mmtutor.encoders import GridEncoder
from mmtutor.fusion import Arithmetic, Concat, LateFusion, LowRankFusion
from mmtutor.metrics import correct, emap, predict, question_pointing
from mmtutor.sentences import RecurrentSentence
from mmtutor.training import fit, seed_everything
from mmtutor.vqa import FiLM, RelationNetwork, StackedAttention

NEVER = (("red", 7), ("green", 2), ("blue", 5), ("purple", 9))
SEEN = (("red", 2), ("green", 7), ("blue", 9), ("purple", 5))  # the same colours and digits, in pairs that were trained
SETTINGS: dict[str, Any] = {
    "train": "8,000 scenes, 40,000 questions of five kinds; and another model with 40,000 about places",
    "test": "1,000 scenes, 5,000 questions of five kinds and 5,000 about places",
    "epochs of the image encoder": 4,
    "lr of the image encoder": 3e-3,
    "epochs": 16,
    "epochs of the question alone, and for comparison": 8,
    "lr": 5e-3,
    "lr of the relation network": 1e-3,
    "batch": 128,
    "clip": 5.0,
    "units": 64,
    "units before the answers": 128,
    "rank of low-rank fusion": 8,
    "regions of the relation network": "4 × 4, means of 2 × 2",
    "a usual answer is right in": 0.8,
    "EMAP": "300 questions, 90,000 pairs",
    "pairs of colour and digit that the image encoder sees and that are never asked about": "red 7, green 2, blue 5, "
    "purple 9",
}
SCENES, ASKED, SHOWN, TEST, PAIRS = 8000, 40_000, 1000, 5000, 300  # of training, of each test, and of EMAP
# Asked together, nine kinds keep models on a plateau for long; so those of places have a model of their own.
THINGS, PLACES = ("colour", "digit", "there", "bound", "count"), ("place", "beside")
ANTOL, YANG, PEREZ, SANTORO = "Antol 2015", "Yang 2016", "Perez 2018", "Santoro 2017"
OURS = "ours"
SHARE = "share of questions"


def _better(a: str, b: str, *kinds: str) -> dict[str, Any]:
    """The numbers of a claim that one model answers more of all questions than another."""
    return {
        "larger": f"all, {a}",
        "smaller": f"all, {b}",
        "unit": SHARE,
        "show": tuple(f"{kind}, {model}" for kind in kinds for model in (a, b)),
    }


CLAIMS = [
    Claim("Trained on usual answers, a network of the question alone is as good as the best guess, but for .02", OURS,
          "all, question, biased, usual answers and .02", "best guess, usual answers", SHARE),
    Claim("Trained on balanced answers, a network of the question alone is at chance: at most .02 above the best guess",
          OURS, "best guess and .02", "all, question", SHARE),
    Claim("Concatenation with the mean of the regions answers more than the best guess without the picture", ANTOL,
          "all, concatenation", "best guess", SHARE, show=("best guess without the question",)),
    Claim("The product answers more than the concatenation", ANTOL,
          **_better("product", "concatenation", "colour", "count", "parameters")),
    Claim("Low-rank fusion answers more than the concatenation", OURS,
          **_better("low rank", "concatenation", "colour", "count", "parameters")),
    Claim("Concatenation does not know which colour belongs to which digit: 'bound' is below .55", OURS,
          "at most .55", "bound, concatenation", SHARE, show=("bound, product", "bound, low rank")),
    Claim("Stacked attention, as in the paper, answers more than the product", YANG,
          **_better("attention, linear", "product", "colour", "there")),
    Claim("Two hops answer more than one", YANG,
          **_better("attention", "attention, one hop", "colour", "place", "beside")),
    Claim("With a layer between u and the answers stacked attention answers more of 'is there'", OURS,
          "there, attention", "there, attention, linear", SHARE, show=("bound, attention", "bound, attention, linear")),
    Claim("Asked for its colour, one of two hops points at the digit more often than one time in two", OURS,
          "pointing, colour, attention", "half", SHARE, show=("pointing by chance, colour, attention",)),
    Claim("FiLM answers more than stacked attention", PEREZ,
          **_better("FiLM", "attention", "bound", "count", "place", "beside", "parameters")),
    Claim("FiLM answers more than the same convolutions that get the question at their end", OURS,
          **_better("FiLM", "question last", "colour", "bound")),
    Claim("FiLM knows which colour belongs to which digit: 'bound' is above .9", OURS,
          "bound, FiLM", "at least .9", SHARE),
    Claim("The relation network knows which colour belongs to which digit: 'bound' is above .75", SANTORO,
          "bound, relations", "half", SHARE, margin=0.25),
    Claim("The relation network answers more than stacked attention", SANTORO,
          **_better("relations", "attention", "colour", "bound")),
    Claim("FiLM counts better than stacked attention", OURS, "count, FiLM", "count, attention", SHARE,
          show=("count, product",)),
    Claim("The relation network answers more about places than stacked attention, after as many epochs", SANTORO,
          "place, relations", "place, attention", SHARE, show=("beside, relations", "beside, attention")),
    Claim("FiLM answers more about places than .6", OURS, "place, FiLM", "at least .6", SHARE,
          show=("beside, FiLM",)),
    Claim("Without the two coordinates of each region FiLM answers less about places", OURS,
          "place, FiLM", "place, FiLM, no coordinates", SHARE, show=("beside, FiLM", "beside, FiLM, no coordinates")),
    Claim("FiLM owes more to both modalities together than concatenation: more is lost when they are only added", OURS,
          "owed, FiLM", "owed, concatenation", SHARE, show=("owed, product", "owed, low rank", "owed, program")),
    Claim("FiLM owes more to both modalities together than stacked attention", OURS,
          "owed, FiLM", "owed, attention", SHARE),
    *(
        Claim(f"Trained on usual answers, {name} answers fewer balanced questions than trained on balanced ones", OURS,
              f"all, {key}", f"all, {key}, biased", SHARE, show=(f"all, {key}, biased, usual answers",))
        for name, key in (("concatenation", "concatenation"), ("stacked attention", "attention"), ("FiLM", "FiLM"))
    ),
    Claim("FiLM loses less by usual answers than concatenation", OURS, "lost by bias, concatenation",
          "lost by bias, FiLM", SHARE, show=("lost by bias, attention",)),
    Claim("FiLM answers 'is the red digit a seven' less often rightly for pairs that were never asked about, though "
          "its image encoder has seen them", OURS,
          "bound of trained pairs, FiLM", "bound of new pairs, FiLM", SHARE,
          show=("bound of new pairs if so, FiLM", "bound of new pairs if not, FiLM")),
    *(
        Claim(f"Twice as many epochs add at most .05 to what {name} answers", OURS, f"all, {key}, half, and .05",
              f"all, {key}", SHARE, show=(f"all, {key}, in training",))
        for name, key in (("concatenation", "concatenation"), ("stacked attention", "attention"), ("FiLM", "FiLM"))
    ),
    Claim("With four objects, one more than in training, FiLM loses at most .05 of the questions about colour, digit",
          OURS, "four objects and .05, FiLM", "three objects, FiLM", SHARE,
          show=("three objects, attention", "four objects, attention")),
]  # fmt: skip


# ---- models


class Mean(nn.Module):
    """The mean of the regions, or of each square of 2 × 2."""

    def __init__(self, squares: bool = False) -> None:
        super().__init__()
        self.squares = squares

    def forward(self, regions: Tensor) -> Tensor:
        """(B, 64, D) to (B, D), or to (B, 16, D)."""
        if self.squares:
            return regions.unflatten(1, (4, 2, 4, 2)).mean((2, 4)).flatten(1, 2)
        return regions.mean(1)


class NoCoordinates(nn.Module):
    """The regions without their last two features."""

    def forward(self, regions: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D − 2)."""
        return regions[..., :-2]


class QuestionLast(FiLM):
    """FiLM's convolutions without the question, which joins the largest values of the channels at the end."""

    def __init__(self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int, dim: int) -> None:
        super().__init__(encoders, dims, classes, dim)
        self.output = nn.Sequential(nn.Linear(dim + dims[1], 2 * dim), nn.ReLU(), nn.Linear(2 * dim, classes))

    def answer(self, regions: Tensor, question: Tensor) -> Tensor:
        """A perceptron of the largest values and the question."""
        x = regions.transpose(1, 2).reshape(len(regions), -1, 8, 8)  # (B, D, 8, 8)
        x = self.first(x).relu()
        for block in self.blocks:
            x = block(x, torch.zeros_like(question))
        logits: Tensor = self.output(torch.cat([x.amax((2, 3)), question], 1))
        return logits


def reader() -> RecurrentSentence:
    """The encoder of questions."""
    return RecurrentSentence(len(VOCABULARY), SETTINGS["units"])


def _late(merge: Callable[[list[int]], nn.Module], D: int) -> nn.Module:
    Q, hidden = SETTINGS["units"], SETTINGS["units before the answers"]
    encoders = {"regions": nn.Sequential(Mean(), nn.Linear(D, Q)), "question": reader()}
    return LateFusion(encoders, len(ANSWERS), merge([Q, Q]), hidden)  # type: ignore[arg-type]


def _asked(kind: Callable[..., nn.Module], D: int, picture: nn.Module | None = None, **settings: Any) -> nn.Module:
    encoders = {"regions": nn.Identity() if picture is None else picture, "question": reader()}
    return kind(encoders, [D, SETTINGS["units"]], len(ANSWERS), dim=SETTINGS["units"], **settings)


def models(D: int) -> dict[str, Callable[[], nn.Module]]:
    """All rows, by name; D features of a region, the last two its coordinates."""
    Q, hidden = SETTINGS["units"], SETTINGS["units before the answers"]
    low_rank = partial(LowRankFusion, dim=hidden, rank=SETTINGS["rank of low-rank fusion"])
    return {
        "question": lambda: LateFusion({"question": reader()}, len(ANSWERS), Concat([Q]), hidden),
        "concatenation": partial(_late, Concat, D),
        "product": partial(_late, partial(Arithmetic, operator="product"), D),
        "low rank": partial(_late, low_rank, D),
        "attention, linear": partial(_asked, StackedAttention, D),
        "attention, one hop": partial(_asked, StackedAttention, D, hops=1, hidden=hidden),
        "attention": partial(_asked, StackedAttention, D, hidden=hidden),
        "FiLM": partial(_asked, FiLM, D),
        "question last": partial(_asked, QuestionLast, D),
        "FiLM, no coordinates": partial(_asked, FiLM, D - 2, NoCoordinates()),
        "relations": partial(_asked, RelationNetwork, D, Mean(squares=True)),
    }


BIASED = ("question", "concatenation", "attention", "FiLM")  # the rows that are trained on usual answers, too
PLACED = ("attention", "attention, one hop", "FiLM", "FiLM, no coordinates", "relations")  # those about places, too
HALF = ("concatenation", "attention", "FiLM")  # with half the epochs, too: does training still improve?


# ---- scenes and questions


class World:
    """The scenes and questions of a seed, as regions of the frozen image encoder."""

    def __init__(self, seed: int) -> None:
        self.train, single = (
            scenes("train", n=SCENES, seed=2 * seed + k, never=never, progress=False)
            for k, never in enumerate((NEVER, ()))
        )
        seed_everything(seed)
        self.classifier = ObjectClassifier(GridEncoder(3))
        fit(self.classifier, single.crops(), epochs=SETTINGS["epochs of the image encoder"],
            lr=SETTINGS["lr of the image encoder"], batch_size=64, schedule="one-cycle", seed=seed,
            progress=False)  # fmt: skip
        self.dim = self.classifier.encoder.dim
        self.regions = predict(self.classifier, self.train)
        draw = partial(scenes, "test", n=SHOWN, progress=False, never=NEVER)
        self.test = draw(seed=4 * seed + 10)
        crowds = {name: draw(seed=4 * seed + 11, objects=(k, k)) for name, k in (("three", 3), ("four", 4))}
        self.crowds = {name: self.asked(data, 2 * SHOWN, kinds=("colour", "digit")) for name, data in crowds.items()}
        seen = predict(self.classifier, self.test)
        self.pairs = {}  # questions of pairs, where it is so and where it is not, with their answer
        for which, pairs, never in (("new", NEVER, ()), ("trained", SEEN, NEVER)):
            shown = draw(seed=4 * seed + 12, always=pairs, never=never, objects=(2, 3))
            yes = pair_questions(shown, predict(self.classifier, shown), pairs, "yes")
            self.pairs[which] = (yes, pair_questions(self.test, seen, pairs, "no"))
        bias = SETTINGS["a usual answer is right in"]
        things, places = partial(self.asked, kinds=THINGS), partial(self.asked, kinds=PLACES)
        self.balanced, self.biased = (things(self.train, ASKED, self.regions, bias=b) for b in (None, bias))
        self.asked_test, self.usual_test = (things(self.test, TEST, seen, bias=b) for b in (None, bias))
        self.places, self.places_test = places(self.train, ASKED, self.regions), places(self.test, TEST, seen)

    def asked(self, data: Scenes, n: int, regions: Tensor | None = None, **settings: Any) -> Questions:
        """Questions about scenes, with their regions."""
        regions = predict(self.classifier, data) if regions is None else regions
        pictures = {"regions": regions, "owner_label": data.tensors["owner_label"]}
        return questions(data, n=n, progress=False, **settings).showing(pictures)

    def trained(self, name: str, data: Questions, seed: int, half: bool = False) -> tuple[nn.Module, float]:
        """A trained model, and the seconds it took."""
        seed_everything(seed)
        model, start = models(self.dim)[name](), time.perf_counter()
        few = half or name == "question"
        epochs = SETTINGS["epochs of the question alone, and for comparison" if few else "epochs"]
        fit(model, data, epochs=epochs, batch_size=SETTINGS["batch"], clip_norm=SETTINGS["clip"],
            lr=SETTINGS["lr of the relation network" if name == "relations" else "lr"], schedule="one-cycle",
            seed=seed, progress=False)  # fmt: skip
        return model.eval(), time.perf_counter() - start


def pair_questions(data: Scenes, regions: Tensor, pairs: Sequence[tuple[str, int]], answer: str) -> dict[str, Tensor]:
    """'Is the red digit a seven', of each pair, in all wordings, about each scene of which the answer is true."""
    here, rows = [answers(things) for things in data.objects], []
    for colour, digit in pairs:
        question = Question("bound", (colour, WORDS[digit]))
        there = [k for k, of in enumerate(here) if of.get(question, ("",))[0] == answer]
        rows += [(k, text) for k in there for text in question.wordings]
    words = torch.stack([VOCABULARY.encode(text, 17) for _, text in rows])
    label = torch.full((len(rows),), ANSWERS.index(answer))
    return {"regions": regions[[k for k, _ in rows]], "question": words, "label": label}


def accuracy(model: nn.Module, data: Questions) -> dict[str, float]:
    """The share of right answers by kind, and of all kinds that are asked, each kind counting the same."""
    right, kind = predict(model, data).argmax(1) == data.tensors["label"], data.tensors["kind_label"]
    by_kind = {KINDS[k]: right[kind == k].double().mean().item() for k in kind.unique().tolist()}
    return by_kind | {"all": _mean(by_kind)}


def _mean(of: dict[str, float]) -> float:
    return sum(of.values()) / len(of)


def additive_part(scores: Tensor, label: Tensor) -> float:
    """Accuracy of an additive projection, (N, C)."""
    return (scores.argmax(1) == label).double().mean().item()


def program(asked: Questions, data: Scenes, n: int) -> Tensor:
    """The additive projection of the program that knows all answers, (n, C).

    Where a scene does not answer a question, the program says how probable each answer of the question is.
    """
    here, prior = [answers(data.objects[k]) for k in asked[:n]["scene_label"].tolist()], asked.prior
    scores = torch.zeros(n, n, len(ANSWERS), dtype=torch.float64)
    for j, question in enumerate(asked.asked[:n]):
        for i in range(n):
            said = {here[i][question][0]: 1.0} if question in here[i] else prior[question]
            for answer, p in said.items():
                scores[i, j, ANSWERS.index(answer)] = p
    return scores.mean(1) + scores.mean(0) - scores.mean((0, 1))


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    world = World(seed)
    guess, usual = question_alone(world.balanced, world.asked_test), question_alone(world.biased, world.usual_test)
    part = world.asked_test[:PAIRS]
    out = {
        "half": 0.5, "at most .55": 0.55, "at least .6": 0.6,
        "at least .9": 0.9, "best guess": _mean(guess), "best guess and .02": _mean(guess) + 0.02,
        "best guess, usual answers": _mean(usual),
        "best guess without the question": _mean(picture_alone(world.asked_test)),
        "owed, program": 1 - additive_part(program(world.asked_test, world.test, PAIRS), part["label"]),
    }  # fmt: skip
    for name in models(world.dim):
        model, out[f"seconds, {name}"] = world.trained(name, world.balanced, seed)
        out[f"parameters, {name}"] = sum(p.numel() for p in model.parameters())
        out |= {f"{kind}, {name}": value for kind, value in accuracy(model, world.asked_test).items()}
        out[f"all, {name}, in training"] = accuracy(model, world.balanced)["all"]
        if name in PLACED:
            of_places = accuracy(world.trained(name, world.places, seed)[0], world.places_test)
            out |= {f"{kind}, {name}": of_places[kind] for kind in PLACES}
        if name in HALF:
            fewer, _ = world.trained(name, world.balanced, seed, half=True)
            out[f"all, {name}, half"] = accuracy(fewer, world.asked_test)["all"]
            out[f"all, {name}, half, and .05"] = out[f"all, {name}, half"] + 0.05
        if name != "question":
            own = additive_part(predict(model, part), part["label"])
            out[f"owed, {name}"] = own - additive_part(emap(model, part, "regions"), part["label"])
            for k, asked in world.crowds.items():
                out[f"{k} objects, {name}"] = accuracy(model, asked)["all"]
            for which, two in world.pairs.items():
                yes, no = (float(correct(model, asked).mean()) for asked in two)
                out |= {f"bound of {which} pairs if so, {name}": yes, f"bound of {which} pairs if not, {name}": no}
                out[f"bound of {which} pairs, {name}"] = (yes + no) / 2
        if isinstance(model, StackedAttention):
            looked = torch.cat([model.attention(batch) for batch in world.asked_test.loader(500)]).detach().cpu()
            points = [question_pointing(looked[:, hop], world.asked_test) for hop in range(looked.shape[1])]
            for kind, point in points[0].items():
                out[f"pointing, {kind}, {name}"] = max(of[kind].hits for of in points)
                out[f"pointing by chance, {kind}, {name}"] = point.chance
    for name in BIASED:
        model, _ = world.trained(name, world.biased, seed)
        of_usual, of_test = (accuracy(model, data) for data in (world.usual_test, world.asked_test))
        out |= {f"{kind}, {name}, biased": value for kind, value in of_test.items()}
        out[f"all, {name}, biased, usual answers"] = of_usual["all"]
        out[f"lost by bias, {name}"] = out[f"all, {name}"] - of_test["all"]
    out["all, question, biased, usual answers and .02"] = out["all, question, biased, usual answers"] + 0.02
    out["four objects and .05, FiLM"] = out["four objects, FiLM"] + 0.05
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Questions about small scenes: fusion of two vectors, stacked attention, FiLM, relation network"
    print(measure("vqa", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
