"""Sound localisation over several seeds: ``python -m experiments.localisation --seeds 5 --voices fsdd.tar.gz``.

All models of a seed are given the same scenes, sounds and number of examples; each seed has its own scenes, those of
the tests too. ``--voices`` is the archive of the Free Spoken Digit Dataset (Jackson and others, CC BY-SA 4.0, version
1.0.10): six people, four to train with and two as a test. Half an hour a seed on one core. Stops and resumes seed by
seed. ``--choose`` prints the loss on validation scenes of each model with two learning rates, of a seed that no result
has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.results import Claim, measure
from mmtutor.data import SPLITS, Items, Scenes, Source, fsdd, scenes, speak, twins
from mmtutor.data.spoken import spoken
from mmtutor.embedding import Triplet
from mmtutor.encoders import GridEncoder
from mmtutor.localisation import Attention, InfoNCE, LogSumExp, Max, Mean, Pooling, Positives, SoundLocalisation
from mmtutor.metrics import hearing, map_overlap, map_pointing, predict, speaker_masks
from mmtutor.training import evaluate, fit, seed_everything

SETTINGS: dict[str, Any] = {
    "train": "8,000 scenes of one object, then 8,000 of one to three",
    "people": "Free Spoken Digit Dataset: to train with george, jackson, lucas, nicolas; as a test theo, yweweler",
    "test": "1,000 scenes of one to three objects, 1,000 twins",
    "signal-to-noise ratio": "-3 to 10 dB",
    "epochs of one object": 4,
    "epochs of one to three": 8,
    "batch": 64,
    "lr": 3e-3,
    "clip": 5.0,
    "schedule": "one-cycle, in each of the two parts",
    "dim": 64,
    "sharpness r": 14.0,
    "scale t": "14 to begin with, learned",
}
TRAIN, TEST = 8000, 1000
SENOCAK, ZISSERMAN, CHEN, MO, OYA, OURS = (
    "Senocak 2018", "Arandjelović 2018", "Chen 2021", "Mo 2022", "Oya 2020", "ours",
)  # fmt: skip
SHARE = "share of scenes"


class Blocks(InfoNCE):
    """InfoNCE within blocks of a batch: fewer negatives, and as many updates.

    Args:
        size: pairs of a block.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, similarity: Tensor, owner: Tensor, counted: Tensor, background: Tensor | None = None) -> Tensor:
        """The loss, ()."""
        block = torch.arange(len(owner), device=owner.device) // self.size
        return super().forward(similarity, owner, counted & (block[:, None] == block), background)


@dataclass(frozen=True)
class Row:
    """What is special about a model: ``afterwards`` pools in the second part (None: the same), ``times`` its epochs."""

    pooling: Callable[[], Pooling] = LogSumExp
    afterwards: Callable[[], Pooling] | None = None
    contrast: Callable[[], nn.Module] = InfoNCE
    widths: tuple[int, ...] = (16, 32, 64)
    crowd_first: bool = False
    shown: bool = False
    people: bool = False
    shuffled: bool = False
    trained: bool = True
    times: int = 1


ROWS = {
    "log-sum-exp": Row(),
    "twice the epochs": Row(times=2),
    "attention": Row(Attention),
    "mean": Row(Mean),
    "maximum": Row(Max),
    "maximum afterwards": Row(afterwards=Max),
    "positives": Row(Positives),
    "positives afterwards": Row(afterwards=Positives),
    "triplet": Row(contrast=partial(Triplet, 0.2)),
    "r = 5": Row(partial(LogSumExp, 5.0)),
    "r = 40": Row(partial(LogSumExp, 40.0)),
    "15 negatives": Row(contrast=partial(Blocks, 16)),
    "4 × 4": Row(widths=(16, 32, 64, 64)),
    "16 × 16": Row(widths=(32, 64)),
    "one to three from the start": Row(crowd_first=True),
    "shown": Row(shown=True),
    "people": Row(people=True),
    "shuffled sounds": Row(shuffled=True),
    "untrained": Row(trained=False),
}


LR: dict[str, float] = {"triplet": 1e-3}  # of those that match better with another one, see --choose
AS_MAIN = {
    "twice the epochs",
    "maximum afterwards",
    "positives afterwards",
    "shown",
    "people",
    "shuffled sounds",
    "untrained",
}


def _better(a: str, b: str, **more: Any) -> dict[str, Any]:
    """The numbers of a claim that one model points at the speaker more often than another."""
    show = tuple(f"finds, {name}" for name in (a, b))
    return {"larger": f"points, {a}", "smaller": f"points, {b}", "unit": SHARE, "show": show, **more}


CLAIMS = [
    Claim("Learned from matching alone, the network points at the speaker more often than one who finds every object "
          "and does not listen", SENOCAK, "points, log-sum-exp", "deaf", SHARE,
          show=("finds, log-sum-exp", "any region", "centre")),
    Claim("It gains more than half of what listening could add", OURS, "gains, log-sum-exp", "half",
          "share of what listening could add", show=("gains over its averaged map, log-sum-exp",)),
    Claim("Its map averaged over all sounds points at the speaker as often as one who finds every object, but for .1",
          OYA, "averaged map and .1, log-sum-exp", "deaf", SHARE, show=("averaged map, log-sum-exp",)),
    Claim("Twice the epochs add at most .03", OURS, "points, log-sum-exp, and .03", "points, twice the epochs", SHARE,
          show=("points, log-sum-exp", "loss, log-sum-exp", "loss, twice the epochs", "best loss")),
    Claim("With the sound of another scene it points at the speaker less often", OURS, "points, log-sum-exp",
          "other sound, log-sum-exp", SHARE),
    Claim("Trained with the sounds of other scenes it does not point better than an untrained network, but for .03",
          OURS, "points, untrained, and .03", "points, shuffled sounds", SHARE, show=("points, untrained",)),
    Claim("Log-sum-exp points better than attention", SENOCAK, **_better("log-sum-exp", "attention")),
    Claim("Log-sum-exp points better than the mean, which matches, too", OURS, **_better("log-sum-exp", "mean")),
    Claim("Log-sum-exp points better than the maximum", ZISSERMAN, **_better("log-sum-exp", "maximum", found=0.5)),
    Claim("After log-sum-exp on single objects the maximum points as well, but for .03", MO,
          "points, maximum afterwards, and .03", "points, log-sum-exp", SHARE, show=("points, maximum afterwards",)),
    Claim("Log-sum-exp points better than positive and negative regions", CHEN,
          **_better("log-sum-exp", "positives", found=0.5)),
    Claim("After log-sum-exp on single objects positive and negative regions point better than log-sum-exp", CHEN,
          **_better("positives afterwards", "log-sum-exp")),
    Claim("InfoNCE points better than triplets with all negatives", OURS, **_better("log-sum-exp", "triplet")),
    Claim("A sharpness of 14 points better than 5", OURS, **_better("log-sum-exp", "r = 5")),
    Claim("A sharpness of 14 points better than 40", OURS, **_better("log-sum-exp", "r = 40")),
    Claim("With 63 negatives it points better than with 15, after as many updates", OURS,
          **_better("log-sum-exp", "15 negatives")),
    Claim("8 × 8 regions point better than 4 × 4", OURS, **_better("log-sum-exp", "4 × 4")),
    Claim("16 × 16 regions have a larger mean IoU than 8 × 8", OURS, "IoU, 16 × 16", "IoU, log-sum-exp", "mean IoU",
          show=("points, 16 × 16", "points, log-sum-exp")),
    Claim("Single objects first points better than one to three from the start, after as many examples", OURS,
          **_better("log-sum-exp", "one to three from the start")),
    Claim("Who is shown where the speaker is points better, by more than .03", OURS,
          **_better("shown", "log-sum-exp", margin=0.03)),
    Claim("Of two twins it points at the one that speaks in at most .53", OURS, "at most .53",
          "twin, log-sum-exp", SHARE, show=("either twin, log-sum-exp",)),
    Claim("A speaker is told from noise alone, which was never trained: area under the ROC curve above .75", OURS,
          "noise, log-sum-exp", "at least .75", "area under the ROC curve", show=("noise, untrained",)),
    Claim("A speaker in the picture is told from one elsewhere: area above .85", OURS, "elsewhere, log-sum-exp",
          "at least .85", "area under the ROC curve", show=("false alarms, log-sum-exp", "detected, log-sum-exp")),
    Claim("Trained on synthetic voices it points less often with people's", OURS, "points, log-sum-exp",
          "points with people, log-sum-exp", SHARE, show=("deaf",)),
    Claim("Trained on the voices of four people it points more often with those of two others", OURS,
          "points with people, people", "points with people, log-sum-exp", SHARE, show=("points, people",)),
]  # fmt: skip


class Shown(SoundLocalisation):
    """The upper bound: it is shown the regions of the speaker, and the cross-entropy is that of the map's softmax."""

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """−log of the weight on the speaker's regions, ``"speaker_label"`` bool (B, L)."""
        scores = 14 * self.map(batch)  # (B, L)
        there = batch["speaker_label"].to(scores.device)
        right = scores.masked_fill(~there, torch.finfo(scores.dtype).min).logsumexp(1)
        return {"loss": (scores.logsumexp(1) - right).mean()}


def network(row: Row) -> SoundLocalisation:
    """The image encoder and the audio encoder from scratch."""
    image = GridEncoder(3, row.widths)
    ear = nn.Sequential(GridEncoder(1), nn.Flatten(), nn.Linear(16 * 66, 64))
    kind = Shown if row.shown else SoundLocalisation
    return kind({"scene": image, "spoken": ear}, [image.dim, 64], SETTINGS["dim"], row.pooling(), row.contrast())


def with_regions(data: Scenes, side: int) -> dict[str, Tensor]:
    """Scenes and sounds, and which regions touch the speaker."""
    cell = 64 // side
    touch = torch.from_numpy(speaker_masks(data, pixels=True)).view(-1, side, cell, side, cell).any(4).any(2)
    return {**{m: data.tensors[m] for m in ("scene", "spoken")}, "speaker_label": touch.flatten(1)}


def people_of(split: str, archive: Path) -> Items:
    """Four people to train with, two others as a test: all takes of each."""
    parts = [fsdd(part, archive=archive) for part in SPLITS]
    who = np.concatenate([part.groups for part in parts if part.groups is not None])
    chosen = who < 4 if split == "train" else who >= 4
    values, labels = (np.concatenate([getattr(part, name) for part in parts])[chosen] for name in ("values", "labels"))
    return Items(values, labels, who[chosen])


class World:
    """The scenes and sounds of a seed; ``people`` is a source of people's voices."""

    def __init__(self, seed: int, people: Source) -> None:
        self.seed, self.people, draw = seed, people, partial(scenes, progress=False)
        self.pictures = {
            "single": draw("train", n=TRAIN, seed=3 * seed, objects=(1, 1)),
            "another crowd": draw("train", n=TRAIN, seed=3 * seed + 1),
            "crowd": draw("train", n=TRAIN, seed=3 * seed + 2),
        }
        self.sounds: dict[tuple[str, bool], Scenes] = {}
        shown, valid = draw("test", n=TEST, seed=seed), draw("valid", n=TEST, seed=seed)
        say = partial(speak, seed=seed, progress=False)
        self.test, self.valid = say(shown, "test"), say(valid, "valid")
        self.with_people = say(shown, "test", source=people)
        self.twins = say(twins("test", n=TEST, seed=seed), "test")
        self.elsewhere, self.noise = (say(shown, "test", says=what) for what in ("other", "nothing"))
        self.calibration = say(valid, "valid", says="other")

    def train(self, name: str, row: Row) -> dict[str, Tensor]:
        """One part of the training."""
        if (name, row.people) not in self.sounds:
            source = self.people if row.people else spoken
            data = speak(self.pictures[name], "train", seed=self.seed, source=source, progress=False)
            self.sounds[name, row.people] = data
        data = with_regions(self.sounds[name, row.people], 64 // 2 ** len(row.widths))
        return data | ({"spoken": data["spoken"].roll(1, 0)} if row.shuffled else {})


def best_loss(data: Scenes, batch_size: int = 64) -> float:
    """The loss of a program that knows which digits are shown and said, the mean over full batches."""
    losses, said = [], data.tensors["said_label"]
    for rows in torch.arange(len(data) // batch_size * batch_size).split(batch_size):
        digits = data.tensors["digit_label"][rows]
        there = (digits[:, None] == said[rows][:, None]).any(2)
        score = torch.where(there, (10 / (digits >= 0).sum(1, keepdim=True)).log(), -1e9)
        right = torch.arange(len(rows))
        losses.append((F.cross_entropy(score, right) + F.cross_entropy(score.T, right)) / 2)
    return float(torch.stack(losses).mean())


def told_apart(high: Tensor, low: Tensor) -> float:
    """How often the first is larger: the area under the ROC curve."""
    return float((high[:, None] > low).double().mean())


def trained(row: Row, world: World, lr: float) -> SoundLocalisation:
    """A model of this kind, after both parts."""
    seed_everything(world.seed)
    model = network(row)
    parts = (
        ("another crowd" if row.crowd_first else "single", "epochs of one object"),
        ("crowd", "epochs of one to three"),
    )
    for name, epochs in parts if row.trained else ():
        if name == "crowd" and row.afterwards is not None:
            model.pooling = row.afterwards()
        fit(model, world.train(name, row), epochs=row.times * SETTINGS[epochs], batch_size=SETTINGS["batch"], lr=lr,
            schedule="one-cycle", clip_norm=SETTINGS["clip"], seed=world.seed, progress=False)  # fmt: skip
    return model.eval()


def scores(model: SoundLocalisation, world: World) -> dict[str, float]:
    """All numbers of one model."""
    test = world.test
    maps, of_twins, of_people = (predict(model, data) for data in (test, world.twins, world.with_people))
    other = predict(model, {"scene": test.tensors["scene"], "spoken": test.tensors["spoken"].roll(1, 0)})
    with torch.no_grad():
        v, h = model.embed({m: test.tensors[m] for m in ("scene", "spoken")})
    own, averaged = map_pointing(maps, test), map_pointing(v @ h.mean(0), test)
    either = map_pointing(of_twins, world.twins, every=True)
    twin = map_pointing(of_twins, world.twins)[either]
    masks = speaker_masks(test)
    heard = {"shown": maps, "elsewhere": predict(model, world.elsewhere), "noise": predict(model, world.noise)}
    fits = {name: model.pooling(x) for name, x in heard.items()}
    threshold = float(model.calibrate({m: world.calibration.tensors[m] for m in ("scene", "spoken")}))
    return {
        "points": float(own.mean()),
        "finds": float(map_pointing(maps, test, every=True).mean()),
        "other sound": float(map_pointing(other, test).mean()),
        "averaged map": float(averaged.mean()),
        "averaged map and .1": float(averaged.mean()) + 0.1,
        "gains": hearing(own, 1 / (test.tensors["digit_label"] >= 0).sum(1)),
        "gains over its averaged map": hearing(own, averaged),
        "IoU": map_overlap(maps, masks).auc,
        "IoU of one half at the median": map_overlap(maps, masks, "median").half,
        "either twin": float(either.mean()),
        "twin": float(twin.mean()) if len(twin) else 0.5,
        "points with people": float(map_pointing(of_people, world.with_people).mean()),
        "noise": told_apart(fits["shown"], fits["noise"]),
        "elsewhere": told_apart(fits["shown"], fits["elsewhere"]),
        "false alarms": float((fits["elsewhere"] > threshold).double().mean()),
        "detected": float((fits["shown"] > threshold).double().mean()),
    }


def one_seed(seed: int, people: Source) -> dict[str, float]:
    """Train and measure everything once."""
    world = World(seed, people)
    middle = torch.arange(8) - 3.5
    places = {"centre": -(middle[:, None] ** 2 + middle**2).flatten()}
    places |= {f"region {k}": region for k, region in enumerate(torch.eye(64))}
    hits = {name: float(map_pointing(x.expand(TEST, -1), world.test).mean()) for name, x in places.items()}
    out = {
        "half": 0.5, "at most .53": 0.53, "at least .75": 0.75, "at least .85": 0.85, "centre": hits.pop("centre"),
        "any region": sum(hits.values()) / len(hits), "best loss": best_loss(world.test),
        "deaf": float((1 / (world.test.tensors["digit_label"] >= 0).sum(1)).mean()),
    }  # fmt: skip
    batches = world.test[: TEST // 64 * 64]
    for name, row in ROWS.items():
        start = time.perf_counter()
        model = trained(row, world, LR.get(name, SETTINGS["lr"]))
        out[f"seconds, {name}"] = time.perf_counter() - start
        out |= {f"{what}, {name}": value for what, value in scores(model, world).items()}
        if not row.shown:
            out[f"loss, {name}"] = evaluate(model, batches, batch_size=64)["loss"]
    out["points, log-sum-exp, and .03"] = out["points, log-sum-exp"] + 0.03
    out["points, maximum afterwards, and .03"] = out["points, maximum afterwards"] + 0.03
    out["points, untrained, and .03"] = out["points, untrained"] + 0.03
    return out


def choose(people: Source, seed: int = 90) -> None:
    """Print how models match and point on validation scenes with two rates; its variants have log-sum-exp's."""
    world = World(seed, people)
    for name, row in ROWS.items():
        for lr in (SETTINGS["lr"], SETTINGS["lr"] / 3) if name not in AS_MAIN else ():
            model = trained(row, world, lr)
            loss = evaluate(model, with_regions(world.valid, 64 // 2 ** len(row.widths)), batch_size=64)["loss"]
            points = map_pointing(predict(model, world.valid), world.valid).mean()
            print(f"{name}, lr {lr:.0e}: loss {loss:.3f}, points {points:.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--voices", type=Path, required=True, help="archive of the Free Spoken Digit Dataset")
    parser.add_argument("--choose", action="store_true", help="compare learning rates in place of measuring")
    given = parser.parse_args()
    people = partial(people_of, archive=given.voices)
    if given.choose:
        choose(people)
        raise SystemExit
    what = "Which object of a scene says the digit that is heard: pooling of the map, negatives, grids, people's voices"
    one = partial(one_seed, people=people)
    print(measure("localisation", what, CLAIMS, one, given.seeds, SETTINGS))
