"""The experiment on modules and a workspace: on tiny data it gives all numbers that its claims need."""

import math

import pytest
import torch

from experiments import workspace


def test_a_tiny_seed_has_all_numbers(monkeypatch, fit_device):
    for name, value in {"TRAIN": 320, "TEST": 60, "STARTS": 1, "EPOCHS": 1, "ALONE": 1, "TOGETHER": 2}.items():
        monkeypatch.setattr(workspace, name, value)
    monkeypatch.setattr(workspace, "PAIRS", (100, 300, 1000, 4000))
    monkeypatch.setattr(workspace, "LABELS", (20, 200, 2000))
    found = workspace.one_seed(0)
    wanted = {name for claim in workspace.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    assert wanted - found.keys() == set()
    assert all(math.isfinite(value) for value in found.values())


def test_few_pairs_are_a_fifth_of_the_rows_and_the_rest_is_alone():
    codes = {"a": torch.arange(1.0, 7)[:, None], "b": -torch.arange(1.0, 7)[:, None]}
    found = workspace.few_pairs(codes, ("a", "b"), 2)
    assert found["a"][:, 0].tolist() == [1, 2, 1, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0]
    assert found["b"][:, 0].tolist() == [-1, -2, -1, 0, 0, 0, 0, 0, 0, -1, -2, -3, -4, -5, -6]
    assert found["a_present"].tolist() == [True] * 9 + [False] * 6
    assert found["b_present"].tolist() == [True] * 3 + [False] * 6 + [True] * 6


def test_all_pairs_are_all_there():
    codes = {"a": torch.arange(1.0, 7)[:, None], "b": -torch.arange(1.0, 7)[:, None]}
    found = workspace.few_pairs(codes, ("a", "b"), 6)
    both = found["a_present"] & found["b_present"]
    assert found["a"][both].unique().tolist() == [1, 2, 3, 4, 5, 6]


def test_once_has_no_example_twice():
    codes = {"a": torch.arange(1.0, 6)[:, None], "b": -torch.arange(1.0, 6)[:, None]}
    found = workspace.once(codes, 2)
    assert found["a"][:, 0].tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
    assert found["b"][:, 0].tolist() == [-1, -2, 0, 0, 0, -3, -4, -5]
    assert found["a_present"].tolist() == [True] * 5 + [False] * 3
    assert found["b_present"].tolist() == [True] * 2 + [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("goal", "pairs"), [(0.1, 10), (0.2, 10), (0.25, 30 * (10 / 30) ** 0.5), (0.6, 300), (0.95, 4000)]
)
def test_pairs_are_read_off_between_those_measured(goal, pairs):
    found = workspace.pairs_for(goal, [0.2, 0.3, 0.5, 0.6, 0.7, 0.8])
    assert abs(found - math.log2(pairs)) < 1e-9
