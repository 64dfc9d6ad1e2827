"""People's sentences about pictures, true or false: ``python -m experiments.nlvr --file nlvr.zip``.

NLVR v1 (Suhr and others, ACL 2017; CC BY 4.0; github.com/lil-lab/nlvr): pictures of three boxes with coloured shapes,
and sentences that people wrote about them. The archive holds ``dev.json``, ``test.json`` and ``hidden.json``, whose
examples also list the objects of the picture, and one picture of each example, ``images/SPLIT-IDENTIFIER-0.png``. The
2,964 examples are cut into ten parts. A *seed* is a fold: tested on one part, stopped early on the next, and trained on
the other eight. All examples of a sentence are in one part. The image encoder learns to name the objects of the
training pictures, and is frozen then. The learning rate was chosen on the validation part of fold 0. Stops and resumes
fold by fold.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.results import Claim, measure
from mmtutor.data import MultimodalDataset, Vocabulary
from mmtutor.encoders import GridEncoder
from mmtutor.fusion import Concat, LateFusion
from mmtutor.metrics import correct, predict
from mmtutor.sentences import RecurrentSentence
from mmtutor.training import fit, seed_everything
from mmtutor.vqa import FiLM, RelationNetwork, StackedAttention

SPLITS = ("dev", "test", "hidden")
PARTS, MOST, LENGTH = 10, 8, 32  # parts of the data, objects of a box, and words of a sentence, start and end included
ROWS, COLUMNS = 7, 25  # regions of a picture of 200 × 50 pixels
BOXES = (slice(0, 7), slice(9, 16), slice(18, 25))  # their columns of regions
COLOURS, SHAPES, SIZES = ("#0099ff", "Yellow", "Black"), ("square", "triangle", "circle"), (10, 20, 30)
FEATURES = 1 + 3 + 2 + 3 + 3 + 3  # there, box, place, colour, shape, size
SETTINGS: dict[str, Any] = {
    "examples": "2,964 of NLVR v1: dev, test and hidden, one picture each; ten parts by sentence",
    "pictures": "200 × 50 pixels, 7 × 25 regions",
    "words": "that occur twice or more in the training sentences",
    "units": 64,
    "epochs of the image encoder": 12,
    "lr of the image encoder": 3e-3,
    "batch": 64,
    "lr": 3e-3,
    "weight decay": 1e-2,
    "patience": 10,
    "epochs at most": 40,
}
SUHR, OURS = "Suhr 2017", "ours"
SHARE = "share of examples"
CLAIMS = [
    *(
        Claim(f"{name} tells at most .03 more than the commonest answer", SUHR, "commonest answer and .03", key, SHARE,
              show=("commonest answer",))
        for name, key in (("The sentence alone", "sentence"), ("The picture alone", "picture"),
                          ("The list of objects alone", "objects"))
    ),
    Claim("Picture and sentence with FiLM tell more than the commonest answer", OURS, "picture, FiLM",
          "commonest answer", SHARE, show=("picture, FiLM, in training",)),
    Claim("Picture and sentence with FiLM tell more than concatenated", OURS, "picture, FiLM", "picture, concatenation",
          SHARE),
    Claim("Objects and sentence with attention tell more than the commonest answer", OURS, "objects, attention",
          "commonest answer", SHARE, show=("objects, attention, in training",)),
    Claim("Objects and sentence with attention tell more than concatenated", OURS, "objects, attention",
          "objects, concatenation", SHARE),
    Claim("Objects and sentence tell more than picture and sentence (attention, FiLM)", SUHR, "objects, attention",
          "picture, FiLM", SHARE),
    Claim("A relation network tells more of objects and sentence than attention", OURS, "objects, relations",
          "objects, attention", SHARE, show=("objects, relations, in training",)),
]  # fmt: skip


# ---- data


def objects(structured: Sequence[Sequence[Mapping[str, Any]]]) -> Tensor:
    """The objects of three boxes, (24, features); zeros where a box has no more."""
    rows = torch.zeros(3, MOST, FEATURES)
    for b, box in enumerate(structured):
        for k, thing in enumerate(box):
            place = [thing["x_loc"] / 50 - 1, thing["y_loc"] / 50 - 1]
            kinds = ((COLOURS, thing["color"]), (SHAPES, thing["type"]), (SIZES, thing["size"]))
            which = [float(value == x) for values, x in kinds for value in values]
            rows[b, k] = torch.tensor([1.0, *(float(b == i) for i in range(3)), *place, *which])
    return rows.flatten(0, 1)


def shown(things: Tensor) -> Tensor:
    """Which of 27 kinds of objects each box has, (3, 27), from the rows of ``objects``."""
    there, colour, shape, size = things[:, :1], things[:, 6:9], things[:, 9:12], things[:, 12:15]
    kind = torch.einsum("na,nb,nc->nabc", there * colour, shape, size).flatten(1)
    return kind.view(3, MOST, 27).amax(1)


def read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """All examples of an archive: tensors, and the sentences as words with spaces between."""
    tensors: dict[str, list[Tensor]] = {"picture": [], "objects": [], "shown_label": [], "label": []}
    sentences = []
    with zipfile.ZipFile(path) as archive:
        for split in SPLITS:
            for line in archive.read(f"{split}.json").decode().splitlines():
                example = json.loads(line)
                with archive.open(f"images/{split}-{example['identifier']}-0.png") as file:
                    picture = Image.open(file).convert("RGB").resize((8 * COLUMNS, 50), Image.Resampling.BOX)
                pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
                things = objects(example["structured_rep"])
                for name, value in (("picture", pixels), ("objects", things), ("shown_label", shown(things)),
                                    ("label", torch.tensor(int(example["label"] == "true")))):  # fmt: skip
                    tensors[name].append(value)
                sentences.append(" ".join(re.findall(r"[a-z0-9]+", example["sentence"].lower())))
    return {name: torch.stack(values) for name, values in tensors.items()}, sentences


def parts(sentences: Sequence[str]) -> Tensor:
    """The part of each example, 0 to 9; a sentence is in one part."""
    different = sorted(set(sentences))
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(0)).tolist()
    of = {different[k]: place % PARTS for place, k in enumerate(order)}
    return torch.tensor([of[sentence] for sentence in sentences])


# ---- models


class ObjectNames(nn.Module):
    """Names the kinds of objects in each box: what the image encoder is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GridEncoder(3)
        self.output = nn.Linear(self.encoder.dim, 27)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The regions, (B, L, D)."""
        regions: Tensor = self.encoder(batch["picture"])
        return regions

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A kind is in a box as surely as in that region of the box where it is surest."""
        logits = self.output(self(batch)).unflatten(1, (ROWS, COLUMNS))  # (B, rows, columns, 27)
        boxes = torch.stack([logits[:, :, box].amax((1, 2)) for box in BOXES], 1)  # (B, 3, 27)
        return {"loss": F.binary_cross_entropy_with_logits(boxes, batch["shown_label"])}


class MeanOf(nn.Module):
    """A network of each region or object, and their mean."""

    def __init__(self, dim: int, units: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(dim, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, units)."""
        mean: Tensor = self.each(x).mean(1)
        return mean


def models(words: int, D: int) -> dict[str, Callable[[], nn.Module]]:
    """All rows, by name; D features of a region."""
    units = SETTINGS["units"]
    dims = {"regions": D, "objects": FEATURES}

    def reader() -> nn.Module:
        return RecurrentSentence(words, units)

    def late(*names: str) -> nn.Module:
        encoders = {name: reader() if name == "sentence" else MeanOf(dims[name], units) for name in names}
        return LateFusion(encoders, 2, Concat([units] * len(names)))

    def asked(kind: Callable[..., nn.Module], name: str, **settings: Any) -> nn.Module:
        return kind({name: nn.Identity(), "sentence": reader()}, [dims[name], units], 2, dim=units, **settings)

    return {
        "sentence": partial(late, "sentence"),
        "picture": partial(late, "regions"),
        "objects": partial(late, "objects"),
        "picture, concatenation": partial(late, "regions", "sentence"),
        "picture, FiLM": partial(asked, FiLM, "regions", grid=(ROWS, COLUMNS)),
        "objects, concatenation": partial(late, "objects", "sentence"),
        "objects, attention": partial(asked, StackedAttention, "objects", hidden=units),
        "objects, relations": partial(asked, RelationNetwork, "objects"),
    }


def one_seed(seed: int, tensors: Mapping[str, Tensor], sentences: Sequence[str]) -> dict[str, float]:
    """Train and test all models on the fold of this number."""
    part = parts(sentences)
    rows = {"test": part == seed % PARTS, "valid": part == (seed + 1) % PARTS}
    rows["train"] = ~(rows["test"] | rows["valid"])
    seed_everything(seed)
    names, s = ObjectNames(), SETTINGS
    pictures = {name: tensors[name][rows["train"]] for name in ("picture", "shown_label")}
    fit(names, pictures, epochs=s["epochs of the image encoder"], lr=s["lr of the image encoder"], batch_size=32,
        schedule="one-cycle", seed=seed, progress=False)  # fmt: skip
    training = [sentence for sentence, here in zip(sentences, rows["train"].tolist(), strict=True) if here]
    vocabulary = Vocabulary.from_captions(training, 2)
    said = torch.stack([vocabulary.encode(sentence, LENGTH) for sentence in sentences])
    regions = predict(names, {"picture": tensors["picture"]})
    every = {"regions": regions, "objects": tensors["objects"], "sentence": said, "label": tensors["label"]}
    data = {split: MultimodalDataset({name: x[here] for name, x in every.items()}) for split, here in rows.items()}
    label = {split: of.tensors["label"] for split, of in data.items()}
    commonest = float((label["test"] == label["train"].mode().values).double().mean())
    out = {"commonest answer": commonest, "commonest answer and .03": commonest + 0.03}
    optimizer = partial(torch.optim.AdamW, weight_decay=s["weight decay"])
    for name, make in models(len(vocabulary), regions.shape[2]).items():
        seed_everything(seed)
        model, start = make(), time.perf_counter()
        past = fit(model, data["train"], data["valid"], epochs=s["epochs at most"], patience=s["patience"], lr=s["lr"],
                   batch_size=s["batch"], optimizer=optimizer, clip_norm=5.0, seed=seed, progress=False)  # fmt: skip
        out |= {f"{name}, seconds": time.perf_counter() - start, f"{name}, epochs": len(past.train["loss"])}
        out[name] = float(correct(model, data["test"]).mean())
        out[f"{name}, in training"] = float(correct(model, data["train"]).mean())
    return out


def main() -> None:
    """Read the arguments, and measure all folds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, required=True, help="zip archive with the examples and the pictures")
    parser.add_argument("--folds", type=int, default=PARTS)
    given = parser.parse_args()
    tensors, sentences = read(given.file)
    what = "NLVR: people's sentences about pictures, true or false, ten-fold cross-validation; a seed is a fold"
    one = partial(one_seed, tensors=tensors, sentences=sentences)
    print(measure("nlvr", what, CLAIMS, one, given.folds, SETTINGS))


if __name__ == "__main__":
    main()
