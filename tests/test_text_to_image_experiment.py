"""The experiment on text to image: on tiny data it gives all numbers that its claims need."""

import math

import torch

from experiments import text_to_image


def test_a_tiny_seed_has_all_numbers(monkeypatch, fit_device):
    monkeypatch.setattr(text_to_image, "TRAIN", 64)
    monkeypatch.setattr(text_to_image, "TEST", 200)
    monkeypatch.setattr(text_to_image, "JUDGED", 200)
    monkeypatch.setattr(text_to_image, "SETTINGS", text_to_image.SETTINGS | {"epochs": 3})
    found = text_to_image.one_seed(0)
    wanted = {name for claim in text_to_image.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    assert wanted - found.keys() == set()
    assert all(math.isfinite(value) for value in found.values())


def test_reading_leaves_the_discriminator_as_it_was():
    model = text_to_image.gan(text_to_image.ROWS["apart"])
    before = {name: value.clone() for name, value in model.discriminator.state_dict().items()}
    found = text_to_image.reading(model, text_to_image.drawings("test", n=70, progress=False), 0)
    assert all(torch.equal(before[name], value) for name, value in model.discriminator.state_dict().items())
    assert all(0 <= value <= 1 for value in found.values())
