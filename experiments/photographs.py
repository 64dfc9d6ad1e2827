"""Show, Attend and Tell on photographs: ``python -m experiments.photographs --help``. It wants a GPU.

Without arguments it downloads Flickr8k (1.1 GB, for non-commercial use). Other sets with captions in Karpathy's JSON
format (Flickr30k, COCO) are named with ``--captions`` and ``--images``. Needs the extra ``photos`` (torchvision). The
first stage trains the decoder with ResNet-101 frozen, the second goes on with its blocks 2 to 4 fine-tuned. After a
kill the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from mmtutor.captioning import ShowAttendTell, beam_search
from mmtutor.data import Photos, Vocabulary, flickr8k, photos
from mmtutor.encoders import ResNetGrid
from mmtutor.metrics import bleu
from mmtutor.training import fit, seed_everything

LENGTH = 52  # numbers of the longest caption, start and end included


def train_and_test(
    parts: dict[str, Photos],
    resnet: nn.Module,
    folder: Path,
    *,
    epochs: int = 20,
    fine_tune: int = 10,
    batch_size: int = 32,
    min_count: int = 5,
    units: int = 512,
    workers: int = 4,
    seed: int = 0,
) -> dict[str, float]:
    """Train in two stages and score the test split.

    Args:
        parts: the photographs of ``train``, ``valid`` and ``test``.
        resnet: as torchvision builds it, with weights.
        folder: for the vocabulary, the checkpoints and ``scores.json``.
        epochs: at most, of the first stage; it stops after 4 epochs without a lower validation loss.
        fine_tune: the same of the second stage.
        batch_size: photographs a step, each with all its captions.
        min_count: rarer words become ``<unk>``.
        units: of embedding, LSTM and attention.
        workers: processes that read photographs.
        seed: of everything drawn at random.

    Returns:
        BLEU-1 to BLEU-4 of sentences written by beam search with five beams.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary.from_captions((c for five in parts["train"].captions for c in five), min_count)
    vocabulary.save(folder / "vocabulary.json")
    loaders = {
        name: torch.utils.data.DataLoader(
            data.tokenised(vocabulary, LENGTH), batch_size, shuffle=name == "train", num_workers=workers
        )
        for name, data in parts.items()
    }
    seed_everything(seed)
    eye = ResNetGrid(resnet, trained=())
    model = ShowAttendTell(
        eye, eye.dim, len(vocabulary), image="photo", embed=units, hidden=units, attend=units, dropout=0.5,
        spread=1 / 196,
    )  # fmt: skip
    settings = {"patience": 4, "clip_norm": 5.0, "seed": seed}
    fit(model, loaders["train"], loaders["valid"], epochs=epochs, lr=4e-4, checkpoint=folder / "frozen.safetensors",
        **settings)  # fmt: skip
    if fine_tune:
        model.encoder = ResNetGrid(resnet).to(next(model.parameters()).device)

        def two_rates(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
            eye_parameters = {id(p) for p in model.encoder.parameters()}
            groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
            for p in parameters:
                groups[id(p) in eye_parameters].append(p)
            return torch.optim.Adam([{"params": groups[False]}, {"params": groups[True], "lr": 1e-4}], lr=lr)

        fit(model, loaders["train"], loaders["valid"], epochs=fine_tune, lr=4e-4, optimizer=two_rates,
            checkpoint=folder / "fine-tuned.safetensors", **settings)  # fmt: skip
    device = next(model.parameters()).device
    texts = []
    for batch in loaders["test"]:
        tokens = beam_search(model, {"photo": batch["photo"].to(device)}, LENGTH, beams=5).tokens
        texts += [vocabulary.decode(row) for row in tokens]
    scores = {f"BLEU-{k}": value for k, value in enumerate(bleu(texts, parts["test"].captions), 1)}
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    return scores


def main() -> None:
    """Read the arguments, train, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="JSON in Karpathy's format; with --images, instead of Flickr8k")
    parser.add_argument("--images", type=Path, help="folder or zip archive of the photographs")
    parser.add_argument("--folder", type=Path, default=Path("runs/photographs"), help="for checkpoints and scores")
    parser.add_argument("--epochs", type=int, default=20, help="at most, with ResNet frozen")
    parser.add_argument("--fine-tune", type=int, default=10, help="epochs at most, with blocks 2 to 4 trained too")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if (given.captions is None) != (given.images is None):
        parser.error("--captions and --images belong together")
    try:
        from torchvision.models import resnet101
    except ImportError:
        parser.error("torchvision is not installed: pip install 'mmtutor[photos]'")
    parts = {
        split: photos(split, captions=given.captions, images=given.images) if given.images else flickr8k(split)
        for split in ("train", "valid", "test")
    }
    scores = train_and_test(
        parts,
        resnet101(weights="DEFAULT"),
        given.folder,
        epochs=given.epochs,
        fine_tune=given.fine_tune,
        seed=given.seed,
    )
    for name, value in scores.items():
        print(f"{name} {100 * value:.1f}")


if __name__ == "__main__":
    main()
