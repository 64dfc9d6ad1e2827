"""Kills training runs at random moments, resumes them until they are done, and prints what it saw as JSON.

    python killed_fit.py FOLDER KILLS SEED

Started by `tests/test_training.py`. Children are forked from this process, which has imported torch already
and runs on one thread, so that a kill costs milliseconds and not the seconds of an import.
"""

import itertools
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mmtutor.data import MultimodalDataset
from mmtutor.training import fit, seed_everything
from mmtutor.training.checkpoint import read_checkpoint, write_checkpoint


class Noisy(nn.Module):
    """Dropout, batch normalisation and about 0.5 MB of weights, so that writing takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 256), nn.BatchNorm1d(256), nn.Dropout(0.2), nn.Linear(256, 512), nn.Linear(512, 1)
        )

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (self.net(batch["x"]).squeeze(1) - batch["y"]).square().mean()}


def train(folder: Path) -> None:
    """One attempt, from the checkpoint if there is one; at the end the weights are in ``folder/final``."""
    seed_everything(7)
    x = torch.randn(150, 8)
    data = MultimodalDataset({"x": x, "y": x.sum(1)})
    model = Noisy()
    fit(
        model,
        data,
        data,
        epochs=8,
        batch_size=32,
        schedule="one-cycle",
        patience=8,
        checkpoint=folder / "run.safetensors",
        checkpoint_every=2,
        progress=False,
    )
    write_checkpoint(folder / "final", model.state_dict(), None)


def attempt(folder: Path, seconds: float | None) -> bool:
    """Train in a child and kill it after so many seconds; true if it was killed before its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(folder)
            code = 0
        finally:
            os._exit(code)
    end = math.inf if seconds is None else time.perf_counter() + seconds
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.perf_counter() >= end:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.0005)
    status = ended[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return False


def main() -> None:
    base, wanted, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    rng = random.Random(seed)
    # Once in this process, so that no child spends its time on what torch imports when first used.
    for name in ("warm", "undisturbed"):
        (base / name).mkdir()
    train(base / "warm")
    started = time.perf_counter()
    attempt(base / "undisturbed", None)
    duration = time.perf_counter() - started
    expected, _ = read_checkpoint(base / "undisturbed" / "final")

    report = {"kills": 0, "runs": 0, "in_writing": 0, "lost": 0, "different": 0, "leftovers": 0}
    while report["kills"] < wanted:
        folder = base / f"run{report['runs']}"
        folder.mkdir()
        before = (-1, -1)
        # At most ten kills a run: on a machine that has become slow, no attempt might get anywhere.
        for kills in itertools.count():
            if not attempt(folder, rng.uniform(0, duration) if kills < 10 else None):
                break
            report["kills"] += 1
            report["in_writing"] += any(folder.glob(".run.*.tmp"))
            try:
                _, record = read_checkpoint(folder / "run.safetensors")
                now = (record["progress"]["epoch"], record["progress"]["step"])
            except FileNotFoundError:
                now = (-1, -1)
            except ValueError:
                now = (-2, -2)
            report["lost"] += now < before
            before = max(now, before)
        got, _ = read_checkpoint(folder / "final")
        same = got.keys() == expected.keys() and all(torch.equal(got[k], expected[k]) for k in expected)
        report["different"] += not same
        # Of the checkpoints of `fit`; what a kill left of ``final``, this script's own file, is not its business.
        report["leftovers"] += sum(1 for _ in folder.glob(".run.*.tmp"))
        report["runs"] += 1
    print(json.dumps(report | {"duration": duration, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
