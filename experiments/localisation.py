"""Sound localisation over several seeds: ``python -m experiments.localisation --seeds 5 --voices fsdd.tar.gz``.

All models of a seed are given the same scenes, sounds and number of examples; each seed has its own scenes, those of
the tests too. Learning rates were chosen with other scenes. ``--voices`` is the archive of the Free Spoken Digit
Dataset (Jackson and others, CC BY-SA 4.0, version 1.0.10): people, as a test of networks that were trained on synthetic
voices, and to train with. Half an hour a seed on one core. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.results import Claim, measure
from mmtutor.data import Scenes, Source, fsdd, scenes, speak, twins
from mmtutor.data.spoken import spoken
from mmtutor.embedding import Triplet
from mmtutor.encoders import GridEncoder
from mmtutor.localisation import Attention, InfoNCE, LogSumExp, Max, Mean, Pooling, Positives, SoundLocalisation
from mmtutor.metrics import hearing, map_overlap, map_pointing, predict, speaker_masks
from mmtutor.training import evaluate, fit, seed_everything

SETTINGS: dict[str, Any] = {
    "train": "8,000 scenes of one object, then 8,000 of one to three",
    "test": "1,000 scenes of one to three objects, 1,000 twins",
    "signal-to-noise ratio": "-3 to 10 dB",
    "epochs of one object": 4,
    "epochs of one to three": 8,
    "batch": 64,
    "lr": 3e-3,
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


@dataclass(frozen=True)
class Row:
    """What is special about a model; ``afterwards`` is the pooling of the second part, None: the same."""

    pooling: Callable[[], Pooling] = LogSumExp
    afterwards: Callable[[], Pooling] | None = None
    contrast: Callable[[], nn.Module] = InfoNCE
    widths: tuple[int, ...] = (16, 32, 64)
    batch: int = 64
    crowd_first: bool = False
    shown: bool = False
    people: bool = False


ROWS = {
    "log-sum-exp": Row(),
    "attention": Row(Attention),
    "mean": Row(Mean),
    "maximum": Row(Max),
    "maximum afterwards": Row(afterwards=Max),
    "positives": Row(Positives),
    "positives afterwards": Row(afterwards=Positives),
    "triplet": Row(contrast=partial(Triplet, 0.2)),
    "r = 5": Row(partial(LogSumExp, 5.0)),
    "r = 40": Row(partial(LogSumExp, 40.0)),
    "batch 16": Row(batch=16),
    "batch 256": Row(batch=256),
    "4 × 4": Row(widths=(16, 32, 64, 64)),
    "16 × 16": Row(widths=(32, 64)),
    "one to three from the start": Row(crowd_first=True),
    "shown": Row(shown=True),
    "people": Row(people=True),
}


def _better(a: str, b: str, **more: Any) -> dict[str, Any]:
    """The numbers of a claim that one model points at the speaker more often than another."""
    show = tuple(f"{what}, {name}" for what in ("finds", "loss") for name in (a, b))
    return {"larger": f"points, {a}", "smaller": f"points, {b}", "unit": SHARE, "show": show, **more}


CLAIMS = [
    Claim("Learned from matching alone, the network points at the speaker more often than one who finds every object "
          "and does not listen", SENOCAK, "points, log-sum-exp", "deaf", SHARE,
          show=("finds, log-sum-exp", "any region", "centre")),
    Claim("Of what can be won by listening it wins more than half", OURS, "wins, log-sum-exp", "half",
          "share of what can be won", show=("wins against other sounds, log-sum-exp",)),
    Claim("With the sound of another scene it points at the speaker less often", OYA, "points, log-sum-exp",
          "other sound, log-sum-exp", SHARE),
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
    Claim("Batches of 64 point better than of 16", OURS, **_better("log-sum-exp", "batch 16")),
    Claim("Batches of 256 point better than of 64", OURS, **_better("batch 256", "log-sum-exp")),
    Claim("8 × 8 regions point better than 4 × 4", OURS, **_better("log-sum-exp", "4 × 4")),
    Claim("16 × 16 regions have a larger mean IoU than 8 × 8", OURS, "IoU, 16 × 16", "IoU, log-sum-exp", "mean IoU",
          show=("points, 16 × 16", "points, log-sum-exp")),
    Claim("Single objects first points better than one to three from the start, after as many examples", OURS,
          **_better("log-sum-exp", "one to three from the start")),
    Claim("Who is shown where the speaker is points better, by more than .03", OURS,
          **_better("shown", "log-sum-exp", margin=0.03)),
    Claim("Of two twins it points at the speaker in at most .53", OURS, "at most .53", "twin, log-sum-exp", SHARE,
          show=("either twin, log-sum-exp",)),
    Claim("Speech is told from silence, which was never trained: area under the ROC curve above .75", OURS,
          "silence, log-sum-exp", "at least .75", "area under the ROC curve", show=("silence, attention",)),
    Claim("A speaker in the picture is told from one elsewhere: area above .85", OURS, "elsewhere, log-sum-exp",
          "at least .85", "area under the ROC curve", show=("false alarms, log-sum-exp", "detected, log-sum-exp")),
    Claim("Trained on synthetic voices it points less often with people's", OURS, "points, log-sum-exp",
          "points with people, log-sum-exp", SHARE, show=("deaf",)),
    Claim("Trained on people's voices it points more often with people's", OURS, "points with people, people",
          "points with people, log-sum-exp", SHARE, show=("points, people",)),
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
    touch = torch.from_numpy(speaker_masks(data)).view(-1, side, cell, side, cell).any(4).any(2)
    return {**{m: data.tensors[m] for m in ("scene", "spoken")}, "speaker_label": touch.flatten(1)}


class World:
    """The scenes and sounds of a seed; ``people`` is a source of people's voices."""

    def __init__(self, seed: int, people: Source) -> None:
        draw = partial(scenes, progress=False)
        self.pictures = {
            "single": draw("train", n=TRAIN, seed=2 * seed + 1, objects=(1, 1)),
            "crowd": draw("train", n=TRAIN, seed=2 * seed),
        }
        self.people = people
        shown, valid = draw("test", n=TEST, seed=seed), draw("valid", n=TEST, seed=seed)
        say = partial(speak, seed=seed, progress=False)
        self.test = say(shown, "test")
        self.with_people = say(shown, "test", source=people)
        self.twins = say(twins("test", n=TEST, seed=seed), "test")
        self.elsewhere, self.silence = (say(shown, "test", says=what) for what in ("other", "nothing"))
        self.calibration = say(valid, "valid", says="other")
        self.seed = seed

    def train(self, row: Row) -> dict[str, dict[str, Tensor]]:
        """The two parts of the training."""
        source = self.people if row.people else spoken
        side = 64 // 2 ** len(row.widths)
        return {
            name: with_regions(speak(data, "train", seed=self.seed, source=source, progress=False), side)
            for name, data in self.pictures.items()
        }


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


def trained(row: Row, world: World) -> SoundLocalisation:
    """A model of this kind, after both parts."""
    seed_everything(world.seed)
    model, parts = network(row), world.train(row)
    first = "crowd" if row.crowd_first else "single"
    for name, epochs in ((first, "epochs of one object"), ("crowd", "epochs of one to three")):
        if epochs == "epochs of one to three" and row.afterwards is not None:
            model.pooling = row.afterwards()
        fit(model, parts[name], epochs=SETTINGS[epochs], batch_size=row.batch, lr=SETTINGS["lr"], schedule="one-cycle",
            clip_norm=5.0, seed=world.seed, progress=False)  # fmt: skip
    return model.eval()


def scores(model: SoundLocalisation, world: World) -> dict[str, float]:
    """All numbers of one model."""
    test, masks = world.test, speaker_masks(world.test)
    maps = predict(model, test)
    other = predict(model, {"scene": test.tensors["scene"], "spoken": test.tensors["spoken"].roll(1, 0)})
    of_twins, of_people = predict(model, world.twins), predict(model, world.with_people)
    own, swapped = map_pointing(maps, masks), map_pointing(other, masks)
    either = map_pointing(of_twins, speaker_masks(world.twins, every=True))
    count = (test.tensors["digit_label"] >= 0).sum(1)
    boxes = speaker_masks(test, boxes=True)
    fits = {"shown": model.pooling(maps)}
    fits |= {name: model.pooling(predict(model, data)) for name, data in
             (("elsewhere", world.elsewhere), ("silence", world.silence))}  # fmt: skip
    threshold = float(model.calibrate({m: world.calibration.tensors[m] for m in ("scene", "spoken")}))
    return {
        "points": float(own.mean()),
        "finds": float(map_pointing(maps, speaker_masks(test, every=True)).mean()),
        "other sound": float(swapped.mean()),
        "wins": hearing(own, 1 / count),
        "wins against other sounds": hearing(own, swapped),
        "IoU": map_overlap(maps, boxes).auc,
        "IoU of one half at the median": map_overlap(maps, boxes, "median").half,
        "either twin": float(either.mean()),
        "twin": float(map_pointing(of_twins, speaker_masks(world.twins))[either].mean()) if either.any() else 0.5,
        "points with people": float(map_pointing(of_people, speaker_masks(world.with_people)).mean()),
        "silence": told_apart(fits["shown"], fits["silence"]),
        "elsewhere": told_apart(fits["shown"], fits["elsewhere"]),
        "false alarms": float((fits["elsewhere"] > threshold).double().mean()),
        "detected": float((fits["shown"] > threshold).double().mean()),
    }


def one_seed(seed: int, people: Source) -> dict[str, float]:
    """Train and measure everything once."""
    world = World(seed, people)
    touch = with_regions(world.test, 8)["speaker_label"]
    grid = torch.arange(8) - 3.5
    centre = -(grid[:, None] ** 2 + grid**2).expand(TEST, -1, -1)
    count = (world.test.tensors["digit_label"] >= 0).sum(1)
    out = {
        "half": 0.5, "at most .53": 0.53, "at least .75": 0.75, "at least .85": 0.85,
        "deaf": float((1 / count).mean()), "any region": float(touch.float().mean()),
        "centre": float(map_pointing(centre, speaker_masks(world.test)).mean()), "best loss": best_loss(world.test),
    }  # fmt: skip
    for name, row in ROWS.items():
        start = time.perf_counter()
        model = trained(row, world)
        out[f"seconds, {name}"] = time.perf_counter() - start
        out |= {f"{what}, {name}": value for what, value in scores(model, world).items()}
        usual = network(Row(pooling=row.afterwards or row.pooling, widths=row.widths))
        usual.load_state_dict(model.state_dict(), strict=False)
        out[f"loss, {name}"] = evaluate(usual, world.test, batch_size=64)["loss"]
    out["points, maximum afterwards, and .03"] = out["points, maximum afterwards"] + 0.03
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--voices", type=Path, required=True, help="archive of the Free Spoken Digit Dataset")
    given = parser.parse_args()
    what = "Which object of a scene says the digit that is heard: pooling of the map, negatives, grids, people's voices"
    one = partial(one_seed, people=partial(fsdd, archive=given.voices))
    print(measure("localisation", what, CLAIMS, one, given.seeds, SETTINGS))
