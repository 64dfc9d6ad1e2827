"""The experiment on question answering: on tiny data it gives all numbers that its claims need."""

import math

import torch

from experiments import vqa
from mmtutor.data import scenes
from mmtutor.data.question import answers, questions


def test_a_tiny_seed_has_all_numbers(monkeypatch, fit_device):
    for name, value in {"SCENES": 250, "ASKED": 300, "SHOWN": 150, "TEST": 250, "PAIRS": 10}.items():
        monkeypatch.setattr(vqa, name, value)
    monkeypatch.setattr(vqa, "SETTINGS", vqa.SETTINGS | {name: 1 for name in vqa.SETTINGS if "epochs" in name})
    found = vqa.one_seed(0)
    wanted = {name for claim in vqa.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    assert wanted <= found.keys(), wanted - found.keys()
    assert all(math.isfinite(value) for value in found.values())


def test_the_program_is_right_until_it_is_only_added():
    world = scenes("test", n=50, progress=False)
    asked = questions(world, n=30, kinds=("there", "bound"), progress=False)
    projected = vqa.program(asked, world, 30)
    here = [answers(world.objects[k]) for k in asked.tensors["scene_label"].tolist()]
    full = torch.zeros(30, 30, 20, dtype=torch.float64)
    for i, j in ((i, j) for i in range(30) for j in range(30)):
        question = asked.asked[j]
        if question in here[i]:
            full[i, j, 0 if here[i][question][0] == "yes" else 1] = 1
        else:
            full[i, j, :2] = 0.5
    assert (full[range(30), range(30)].argmax(1) == asked.tensors["label"]).all()
    wanted = [full[i].mean(0) + full[:, i].mean(0) - full.mean((0, 1)) for i in range(30)]
    assert (projected - torch.stack(wanted)).abs().max() < 1e-12
