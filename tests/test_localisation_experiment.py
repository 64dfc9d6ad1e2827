"""The experiment on sound localisation: on tiny data it gives all numbers that its claims need."""

import math

import pytest
import torch

from experiments import localisation
from mmtutor.data import scenes, speak
from mmtutor.data.spoken import spoken


def test_a_tiny_seed_has_all_numbers(monkeypatch, fit_device):
    monkeypatch.setattr(localisation, "TRAIN", 80)
    monkeypatch.setattr(localisation, "TEST", 70)
    all_rows = [*localisation.ROWS]
    rows = (
        "log-sum-exp",
        "maximum afterwards",
        "positives",
        "triplet",
        "shown",
        "people",
        "4 × 4",
        "untrained",
        "shuffled sounds",
        "15 negatives",
    )
    monkeypatch.setattr(localisation, "ROWS", {name: localisation.ROWS[name] for name in rows})
    few = {name: 1 for name in localisation.SETTINGS if name.startswith("epochs")}
    monkeypatch.setattr(localisation, "SETTINGS", localisation.SETTINGS | few)
    found = localisation.one_seed(0, spoken)
    wanted = {name for claim in localisation.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    others = [name for name in all_rows if name not in rows]
    assert {name for name in wanted - found.keys() if name.split(", ")[1] not in others} == set()
    assert all(math.isfinite(value) for value in found.values())


def test_the_best_loss_is_that_of_the_ratios():
    data = speak(scenes("test", n=70, progress=False), "test", progress=False)
    total = 0.0
    for i in range(64):
        ratio = {}
        for a in range(64):
            for b in range(64):
                if i in (a, b):
                    shown = [thing.digit for thing in data.objects[a]]
                    ratio[a, b] = 10 / len(shown) if data.tensors["said_label"][b] in shown else 0.0
        total -= math.log(ratio[i, i] / sum(ratio[i, b] for b in range(64)))
        total -= math.log(ratio[i, i] / sum(ratio[a, i] for a in range(64)))
    assert localisation.best_loss(data) == pytest.approx(total / 128, abs=1e-5)


def test_blocks_are_batches_of_their_own():
    torch.manual_seed(0)
    s, blocks = torch.randn(6, 6), localisation.Blocks(3)
    parts = [localisation.InfoNCE()(s[k : k + 3, k : k + 3], torch.arange(3), torch.ones(3, 3).bool()) for k in (0, 3)]
    found = blocks(s, torch.arange(6), torch.ones(6, 6).bool())
    assert found.item() == pytest.approx(sum(part.item() for part in parts) / 2)


def test_who_is_shown_the_speaker_learns_it(fit_device):
    torch.manual_seed(0)
    encoders = {"scene": torch.nn.Identity(), "spoken": torch.nn.Identity()}
    model = localisation.Shown(encoders, [3, 3], 8)
    what = torch.stack([torch.randperm(3) for _ in range(256)])
    said = torch.arange(256) % 3
    data = {"scene": torch.eye(3)[what], "spoken": torch.eye(3)[said], "speaker_label": what == said[:, None]}
    localisation.fit(model, data, epochs=20, lr=3e-2, batch_size=64, progress=False)
    assert (model.cpu().map(data).argmax(1) == (what == said[:, None]).int().argmax(1)).all()
