"""Trains the same models in one process or in several, and writes what came of it: OUTPUT/rank<N>.json.

`tests/test_accelerate.py` starts it alone and under ``accelerate launch --cpu --num_processes 2``.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from mmtutor.data import MultimodalDataset
from mmtutor.embedding import InfoNCE, JointEmbedding, Sigmoid, Triplet
from mmtutor.encoders import TabularEncoder
from mmtutor.fusion import Gated, LateFusion
from mmtutor.training import fit, seed_everything


class TwoModalities(nn.Module):
    """What the fusion models do not have: noise, buffers, an encoder that no batch uses, a term beside the loss."""

    def __init__(self, *, noisy: bool = False, unused: bool = False) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({"image": nn.Linear(6, 5), "audio": nn.Linear(4, 5)})
        if unused:
            self.encoders["text"] = nn.Linear(3, 5)
        self.noisy = nn.Sequential(nn.BatchNorm1d(10), nn.Dropout(0.3)) if noisy else nn.Identity()
        self.head = nn.Linear(10, 3)
        self.draws: list[float] = []

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.draws.append(torch.rand(()).item())
        features = [torch.tanh(self.encoders[name](batch[name])) for name in ("image", "audio")]
        logits = self.head(self.noisy(torch.cat(features, dim=1)))
        loss = nn.functional.cross_entropy(logits, batch["label"])
        # A term with a graph of its own that is not part of the loss must not confuse anybody.
        return {"loss": loss, "size": self.head.weight.square().sum()}


def examples(n: int, seed: int) -> MultimodalDataset:
    g = torch.Generator().manual_seed(seed)
    image, audio = (torch.randn(n, d, generator=g, dtype=torch.float64) for d in (6, 4))
    label = (image[:, 0] + audio[:, 0] > 0).long() + (image[:, 1] > 1).long()
    present = torch.rand(n, generator=g) > 0.2
    return MultimodalDataset({"image": image, "audio": audio, "audio_present": present, "label": label})


def late_fusion() -> LateFusion:
    encoders = {"image": TabularEncoder(6, 5), "audio": TabularEncoder(4, 5)}
    return LateFusion(encoders, classes=3, merge=Gated([5, 5], 5))


def main() -> None:
    torch.set_default_dtype(torch.float64)
    output = Path(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    report = {"world": int(os.environ.get("WORLD_SIZE", "1"))}

    def run(name: str, n: int, model: nn.Module, **settings: object) -> nn.Module:
        history = fit(model, examples(n, 0), examples(21, 1), **{"batch_size": 16, "lr": 0.03, **settings})
        report[name] = {
            "train": history.train,
            "valid": history.valid,
            "weights": {k: v.tolist() for k, v in model.state_dict().items()},
        }
        return model

    # 35 examples leave a last batch of 3: shares of 2 and 1. 33 leave a last batch of 1: one share is empty.
    for name, n in (("uneven", 35), ("single", 33)):
        seed_everything(0)
        run(name, n, late_fusion(), epochs=4, clip_norm=0.5, schedule="one-cycle", patience=3)
    seed_everything(0)
    halves = {"batch_size": 8, "accumulate": 2}
    run("halves", 35, late_fusion(), epochs=4, clip_norm=0.5, schedule="one-cycle", patience=3, **halves)
    seed_everything(0)
    run("unused", 35, TwoModalities(unused=True), epochs=3)
    # Its negatives are those of both processes; last batches of 3 (2 and 1 of them) and of 4.
    for name, loss, n in (("InfoNCE", InfoNCE(5.0), 35), ("hardest", Triplet(hardest=True, warm_up=3), 36),
                          ("sigmoid", Sigmoid(5.0), 35)):  # fmt: skip
        seed_everything(0)
        encoders = {"image": TabularEncoder(6, 5), "audio": TabularEncoder(4, 5)}
        run(name, n, JointEmbedding(encoders, [5, 5], 3, loss), epochs=3, clip_norm=0.5)
    # Each process starts from other weights and draws other noise: they must still end with one model.
    seed_everything(rank)
    report["draws"] = run("noisy", 36, TwoModalities(noisy=True), epochs=4).draws
    # A slow disk: nobody may look for the checkpoint before it is there.
    replace = os.replace
    os.replace = lambda *names: (time.sleep(0.2), replace(*names))[1]  # type: ignore[assignment]
    seed_everything(rank)
    path = output / "checkpoint"
    run("stopped", 36, TwoModalities(noisy=True), epochs=2, checkpoint=path)
    run("resumed", 36, TwoModalities(noisy=True), epochs=4, checkpoint=path, resume="must")
    (output / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
