"""Text to image over several seeds: ``python -m experiments.text_to_image --seeds 5``.

All models of a seed are given the same pictures, sentences and number of steps, and are measured after a third, two
thirds and all of them. Three quarters of an hour a seed on one core. Stops and resumes seed by seed. ``--choose``
prints how often the digit is right on validation sentences with two learning rates, of a seed that no result has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.results import Claim, measure
from mmtutor.data import COLOURS, Drawings, drawings
from mmtutor.data.drawing import SIZE, VOCABULARY, encoded, sentence
from mmtutor.encoders import ImageEncoder
from mmtutor.metrics import coverage, frechet_distance, mutual_information, predict, variety
from mmtutor.text_to_image import (
    ConditionalGAN,
    Discriminator,
    FlowMatching,
    Generator,
    MatchingAware,
    Objective,
    Relativistic,
    TextToImageGAN,
    VelocityNetwork,
)
from mmtutor.training import fit, seed_everything

SETTINGS: dict[str, Any] = {
    "train": "4,000 pictures; red sevens and green twos are left out",
    "test": "1,000 pictures and sentences",
    "epochs": 60,
    "batch": 32,
    "lr": 1e-3,
    "lr of flow matching": 4e-3,
    "optimiser": "Adam (.5, .99), begun anew in each third; of flow matching Adam (.9, .999), one-cycle in each third",
    "dim of sentences": 32,
    "dim of noise": 32,
    "noisy": "three in ten sentences say another digit",
    "penalty γ of R3GAN": 0.01,
}
TRAIN, TEST, JUDGED = 4000, 1000, 20_000
NEVER = (("red", 7), ("green", 2))
REED, MIYATO, HUANG, HO, LIPMAN, OURS = "Reed 2016", "Miyato 2018", "Huang 2024", "Ho 2022", "Lipman 2023", "ours"
READS, DRAWN = "share of real pictures", "share of drawings"


@dataclass(frozen=True)
class Row:
    """What is special about a GAN."""

    objective: Callable[[], Objective] = MatchingAware
    wrong: str | None = "wrong_sentence"
    together: bool = True
    normalise: bool = True
    projection: bool = False
    noisy: bool = False


ROWS = {
    "GAN-CLS": Row(),
    "no wrong pairs": Row(ConditionalGAN),
    "another's sentence": Row(wrong=None),
    "apart": Row(together=False),
    "not normalised": Row(normalise=False),
    "projection": Row(projection=True),
    "projection, no wrong pairs": Row(ConditionalGAN, projection=True),
    "R3GAN": Row(partial(Relativistic, 0.01), normalise=False, projection=True),
    "GAN-CLS, noisy": Row(noisy=True),
    "no wrong pairs, noisy": Row(ConditionalGAN, noisy=True),
}
FLOWS = {"flow matching": False, "flow matching, noisy": True}
# Of those that draw better with another one after a third of the steps, of 3e-4, 1e-3, 3e-3 and, where 3e-3 was best,
# 1e-2. With 1.2e-2 flow matching diverges, with 1.3e-3 it is slower.
LR = {
    "another's sentence": 3e-3,
    "apart": 1e-2,
    "not normalised": 3e-3,
    "projection, no wrong pairs": 3e-3,
    "GAN-CLS, noisy": 3e-3,
}

CLAIMS = [
    Claim("With one word changed in wrong pairs the discriminator prefers the right digit more often than without "
          "wrong pairs", REED, "reads digit, GAN-CLS", "reads digit, no wrong pairs", READS,
          show=("reads colour, GAN-CLS", "reads colour, no wrong pairs")),
    Claim("With wrong pairs the generator draws the right digit more often than without", REED, "digit, GAN-CLS",
          "digit, no wrong pairs", DRAWN, show=("colour, GAN-CLS", "colour, no wrong pairs", "judge")),
    Claim("Without wrong pairs the discriminator prefers the right digit in at most .55", OURS, "at most .55",
          "reads digit, no wrong pairs", READS),
    Claim("With one word changed it prefers the right digit more often than with another example's sentence", OURS,
          "reads digit, GAN-CLS", "reads digit, another's sentence", READS,
          show=("digit, GAN-CLS", "digit, another's sentence")),
    Claim("Normalised as one batch it prefers the right digit more often than normalised apart", OURS,
          "reads digit, GAN-CLS", "reads digit, apart", READS, show=("digit, GAN-CLS", "digit, apart")),
    Claim("Normalised apart, it tells right from wrong sentences better if a batch is all right or all wrong than if "
          "it is mixed, by more than .05", OURS, "pure batches, apart", "mixed batches, apart", READS, margin=0.05,
          show=("pure batches, GAN-CLS", "mixed batches, GAN-CLS")),
    Claim("Without normalisation it prefers the right digit less often than with", OURS, "reads digit, GAN-CLS",
          "reads digit, not normalised", READS, show=("digit, not normalised",)),
    Claim("Without wrong pairs a projection draws the right digit more often than concatenation", MIYATO,
          "digit, projection, no wrong pairs", "digit, no wrong pairs", DRAWN,
          show=("digit, projection, no wrong pairs, 1/3", "digit, projection, no wrong pairs, 2/3")),
    Claim("Without wrong pairs it draws digits that its discriminator does not prefer: the share of right drawings is "
          "larger than that of right sentences preferred, by more than .1", OURS, "digit, projection, no wrong pairs",
          "reads digit, projection, no wrong pairs", DRAWN, margin=0.1),
    Claim("Without wrong pairs it prefers the right picture for a sentence more often than the right sentence for a "
          "picture", OURS, "tells digit, projection, no wrong pairs", "reads digit, projection, no wrong pairs", READS,
          show=("tells digit, no wrong pairs", "tells digit, GAN-CLS")),
    Claim("With wrong pairs a projection draws the right digit more often than concatenation", MIYATO,
          "digit, projection", "digit, GAN-CLS", DRAWN,
          show=("reads digit, projection", "reads digit, GAN-CLS")),
    Claim("R3GAN covers more than GAN-CLS", HUANG, "coverage, R3GAN", "coverage, GAN-CLS", "share of real pictures",
          show=("variety, R3GAN", "variety, GAN-CLS", "digit, R3GAN")),
    Claim("GAN-CLS has less than half of the variety of real pictures", OURS, "half", "variety, GAN-CLS",
          "relative to real pictures"),
    Claim("With noisy sentences GAN-CLS draws what is said more often than the pictures show it, by more than .1", OURS,
          "digit, GAN-CLS, noisy", "said, noisy", DRAWN, margin=0.1),
    Claim("With noisy sentences flow matching without guidance does not, but for .05", LIPMAN, "said, noisy and .05",
          "digit, flow matching, noisy, g = 1", DRAWN, show=("digit, flow matching, noisy, g = 2",)),
    Claim("Guidance of 4 makes the digit right more often", HO, "digit, flow matching, g = 4",
          "digit, flow matching, g = 1", DRAWN, show=("digit, flow matching, g = 2",)),
    Claim("Guidance of 4 costs variety", HO, "variety, flow matching, g = 1", "variety, flow matching, g = 4",
          "relative to real pictures", show=("variety, flow matching, g = 2",)),
    Claim("Flow matching with guidance 2 covers more than GAN-CLS, after as many steps", OURS,
          "coverage, flow matching, g = 2", "coverage, GAN-CLS", "share of real pictures",
          show=("coverage, real", "seconds, flow matching", "seconds, GAN-CLS")),
    Claim("Flow matching with guidance 2 draws the right digit as often as GAN-CLS, but for .05", OURS,
          "digit, flow matching, g = 2, and .05",
          "digit, GAN-CLS", DRAWN, show=("digit, flow matching, g = 2",)),
    Claim("GAN-CLS draws pairs that were never trained as often correctly, but for .05", OURS,
          "digit of new pairs, GAN-CLS, and .05", "digit, GAN-CLS", DRAWN, show=("digit of new pairs, GAN-CLS",)),
    Claim("Flow matching with guidance 2 draws pairs that were never trained as often correctly, but for .05", OURS,
          "digit of new pairs, flow matching, g = 2, and .05",
          "digit, flow matching, g = 2", DRAWN, show=("digit of new pairs, flow matching, g = 2",)),
    Claim("The last third of the steps adds at most .03 to the digits of GAN-CLS", OURS, "digit, GAN-CLS, 2/3, and .03",
          "digit, GAN-CLS", DRAWN, show=("digit, GAN-CLS, 1/3", "digit, GAN-CLS, 2/3")),
    Claim("The last third of the steps adds at most .03 to the digits of flow matching with guidance 2", OURS,
          "digit, flow matching, g = 2, 2/3, and .03",
          "digit, flow matching, g = 2", DRAWN,
          show=("digit, flow matching, g = 2, 1/3", "digit, flow matching, g = 2, 2/3")),
]  # fmt: skip


class Judge(nn.Module):
    """The evaluation classifier: scores of digit and colour, and its features, (B, 82)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.digit, self.colour = ImageEncoder(3), nn.Linear(64, 10), nn.Linear(64, 8)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Pictures (B, 3, 16, 16) to (B, 10 + 8 + 64)."""
        z = self.encoder(batch["picture"])
        return torch.cat([self.digit(z), self.colour(z), z], 1)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The cross-entropy of both, ()."""
        scores = self(batch)
        digit = nn.functional.cross_entropy(scores[:, :10], batch["digit_label"].to(scores.device))
        colour = nn.functional.cross_entropy(scores[:, 10:18], batch["colour_label"].to(scores.device))
        return {"loss": digit + colour}


class World:
    """The pictures of a seed, and the judge; ``test`` may be the validation split."""

    def __init__(self, seed: int, test: str = "test") -> None:
        self.seed, draw = seed, partial(drawings, progress=False)
        self.train = {noisy: draw("train", n=TRAIN, seed=seed, never=NEVER, wrong=0.3 * noisy) for noisy in (0, 1)}
        self.test, self.others = draw(test, n=TEST, seed=seed), draw(test, n=TEST, seed=1000 + seed)
        seed_everything(seed)
        self.judge = Judge()
        fit(self.judge, draw("train", n=JUDGED, seed=1000 + seed), epochs=4, batch_size=128, lr=4e-3,
            schedule="one-cycle", seed=seed, progress=False)  # fmt: skip
        self.real = self.features(self.test.tensors["picture"])
        each = max(TEST // 10, 2)
        self.new = encoded([sentence(colour, digit) for colour, digit in NEVER for _ in range(each)])
        self.new_digit = torch.tensor([digit for _, digit in NEVER for _ in range(each)])

    def scores(self, pictures: Tensor) -> Tensor:
        """Of the judge, on the CPU."""
        return predict(self.judge, {"picture": pictures.cpu()})

    def features(self, pictures: Tensor) -> Tensor:
        """The judge's features, (n, 64)."""
        return self.scores(pictures)[:, 18:]


def kind(data: Drawings) -> Tensor:
    """Colour and digit as one number, (n,)."""
    return 10 * data.tensors["colour_label"] + data.tensors["digit_label"]


def marks(pictures: Tensor, data: Drawings, world: World) -> dict[str, float]:
    """How good drawings of the sentences of some data are."""
    scores, said = world.scores(pictures), kind(data)
    digit, z = scores[:, :10].argmax(1), scores[:, 18:]
    joint = torch.zeros(10, 10, dtype=torch.float64)
    joint.index_put_((said % 10, digit), torch.full((len(said),), 1 / len(said), dtype=torch.float64), accumulate=True)
    return {
        "digit": float((digit == said % 10).double().mean()),
        "colour": float((scores[:, 10:18].argmax(1) == said // 10).double().mean()),
        "bits about the digit": mutual_information(joint),
        "variety": variety(z, said) / variety(world.real, kind(world.test)),
        "coverage": coverage(world.real, z),
        "FD": frechet_distance(world.real, z),
    }


@torch.no_grad()
def reading(model: TextToImageGAN, data: Drawings, seed: int) -> dict[str, float]:
    """How often the discriminator prefers the right word ("reads") or the right picture ("tells").

    And how often it prefers the right digit with statistics of its batch, of one kind or mixed.
    """
    draw = torch.Generator().manual_seed(seed)
    colour, digit, names = data.tensors["colour_label"], data.tensors["digit_label"], list(COLOURS)
    others = {
        "right": (colour, digit),
        "colour": ((colour + torch.randint(1, 8, colour.shape, generator=draw)) % 8, digit),
        "digit": (colour, (digit + torch.randint(1, 10, digit.shape, generator=draw)) % 10),
    }
    judge, device = model.discriminator.eval(), next(model.parameters()).device
    x = data.tensors["picture"].to(device)
    texts = {
        what: encoded([sentence(names[i], j) for i, j in zip(c.tolist(), d.tolist(), strict=True)]).to(device)
        for what, (c, d) in others.items()
    }
    score = {what: judge(x, s) for what, s in texts.items()}
    out = {f"reads {what}": float((score["right"] > score[what]).double().mean()) for what in ("colour", "digit")}
    other = (colour[:, None] == colour) & (digit[:, None] != digit)
    partner = torch.multinomial(other.double(), 1, generator=draw)[:, 0]  # of the same colour, and another digit
    out["tells digit"] = float((score["right"] > judge(x[partner.to(device)], texts["right"])).double().mean())
    trained = deepcopy(judge).train()  # its running statistics are a copy
    pure, mixed = [], []
    for rows in torch.split(torch.arange(len(x)), SETTINGS["batch"]):
        a, b = texts["right"][rows], texts["digit"][rows]
        pure.append(trained(x[rows], a) > trained(x[rows], b))
        both = trained(torch.cat([x[rows], x[rows]]), torch.cat([a, b])).chunk(2)
        mixed.append(both[0] > both[1])
    return out | {
        "pure batches": float(torch.cat(pure).double().mean()),
        "mixed batches": float(torch.cat(mixed).double().mean()),
    }


def reader() -> nn.Module:
    """A vector for each word, and their sum."""
    return nn.EmbeddingBag(len(VOCABULARY), SETTINGS["dim of sentences"], mode="sum", padding_idx=0)


def gan(row: Row) -> TextToImageGAN:
    """Both players from scratch."""
    s, z = SETTINGS["dim of sentences"], SETTINGS["dim of noise"]
    players = (
        Generator(reader(), s, z),
        Discriminator(reader(), s, normalise=row.normalise, projection=row.projection),
    )
    return TextToImageGAN(*players, z, row.objective(), wrong=row.wrong, together=row.together)


def flow() -> FlowMatching:
    """Flow matching from scratch."""
    return FlowMatching(VelocityNetwork(SETTINGS["dim of sentences"]), reader(), SETTINGS["dim of sentences"])


Measure = Callable[[str], dict[str, float]]


def thirds(
    model: TextToImageGAN | FlowMatching, world: World, noisy: bool, lr: float, found: Measure
) -> dict[str, float]:
    """Train, and measure after a third, two thirds and all of the steps."""
    out: dict[str, float] = {}
    settings: dict[str, Any] = {"schedule": "one-cycle"}
    if isinstance(model, TextToImageGAN):
        settings = {"optimizer": partial(torch.optim.Adam, betas=(0.5, 0.99))}
    data = world.train[int(noisy)]
    batch = {name: data.tensors[name] for name in ("picture", "sentence", "wrong_sentence")}
    for k, after in enumerate((", 1/3", ", 2/3", "")):
        fit(model, batch, epochs=SETTINGS["epochs"] // 3, batch_size=SETTINGS["batch"], lr=lr,
            seed=3 * world.seed + k, progress=False, **settings)  # fmt: skip
        model.eval()
        seed_everything(world.seed)
        out |= found(after)
        model.train()
    return out


def of_gan(name: str, world: World, lr: float) -> dict[str, float]:
    """All numbers of a GAN."""
    seed_everything(world.seed)
    model, row = gan(ROWS[name]), ROWS[name]

    def found(after: str) -> dict[str, float]:
        values = marks(model.draw(world.test.tensors["sentence"]), world.test, world)
        values |= reading(model, world.test, world.seed)
        new = world.scores(model.draw(world.new))[:, :10].argmax(1)
        values["digit of new pairs"] = float((new == world.new_digit).double().mean())
        return {f"{what}, {name}{after}": value for what, value in values.items()}

    return thirds(model, world, row.noisy, lr, found)


def of_flow(name: str, world: World, lr: float) -> dict[str, float]:
    """All numbers of flow matching, with guidance 1, 2 and 4."""
    seed_everything(world.seed)
    model, shape = flow(), (3, SIZE, SIZE)

    def found(after: str) -> dict[str, float]:
        out: dict[str, float] = {}
        for g in (1, 2, 4):
            drawn = model.draw(world.test.tensors["sentence"], shape, guidance=g)
            values = marks(drawn, world.test, world)
            new = world.scores(model.draw(world.new, shape, guidance=g))[:, :10].argmax(1)
            values["digit of new pairs"] = float((new == world.new_digit).double().mean())
            out |= {f"{what}, {name}, g = {g}{after}": value for what, value in values.items()}
        return out

    return thirds(model, world, FLOWS[name], lr, found)


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    world = World(seed)
    noisy = world.train[1].tensors
    out: dict[str, float] = {"half": 0.5, "at most .55": 0.55}
    out["said, noisy"] = float((noisy["said_label"] == noisy["digit_label"]).double().mean())
    out["said, noisy and .05"] = out["said, noisy"] + 0.05
    out |= {
        f"{what}, real": value for what, value in marks(world.others.tensors["picture"], world.others, world).items()
    }
    out["judge"] = out["digit, real"]
    for names, of, lr in ((ROWS, of_gan, "lr"), (FLOWS, of_flow, "lr of flow matching")):
        for name in names:
            start = time.perf_counter()
            out |= of(name, world, LR.get(name, SETTINGS[lr]))
            out[f"seconds, {name}"] = time.perf_counter() - start
    for name, more in (
        ("digit, flow matching, g = 2", 0.05), ("digit of new pairs, GAN-CLS", 0.05),
        ("digit of new pairs, flow matching, g = 2", 0.05), ("digit, GAN-CLS, 2/3", 0.03),
        ("digit, flow matching, g = 2, 2/3", 0.03),
    ):  # fmt: skip
        out[f"{name}, and {f'{more:.2f}'[1:]}"] = out[name] + more
    return out


def choose(seed: int = 90) -> None:
    """Print how often the digit is right on validation sentences, after a third of the steps, with two rates."""
    world, SETTINGS["epochs"] = World(seed, "valid"), SETTINGS["epochs"] // 3
    for names, of, rate in ((ROWS, of_gan, "lr"), (FLOWS, of_flow, "lr of flow matching")):
        for name in names:
            for lr in (SETTINGS[rate], SETTINGS[rate] / 3):
                digits = {what: value for what, value in of(name, world, lr).items() if what.startswith("digit, ")}
                print(f"lr {lr:.1e}:", ", ".join(f"{what} {x:.3f}" for what, x in digits.items()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--choose", action="store_true", help="compare learning rates in place of measuring")
    given = parser.parse_args()
    if given.choose:
        choose()
        raise SystemExit
    what = "Pictures of coloured digits from sentences: what makes a discriminator read, and flow matching beside it"
    print(measure("text_to_image", what, CLAIMS, one_seed, given.seeds, SETTINGS))
