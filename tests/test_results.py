"""Verdicts are computed from the numbers, and an experiment resumes where it was stopped."""

import json
from pathlib import Path

import pytest
from scipy import stats

from experiments import results
from experiments.results import Claim, difference, measure, verdict


def test_difference_is_paired_by_seed():
    a, b = [0.9, 0.8, 0.95], [0.5, 0.45, 0.5]
    gaps = [0.4, 0.35, 0.45]
    test = stats.ttest_rel(a, b).confidence_interval(0.95)
    mean, low, high = difference(a, b)
    assert mean == pytest.approx(sum(gaps) / 3, abs=1e-12)
    assert (low, high) == (pytest.approx(test.low, abs=1e-9), pytest.approx(test.high, abs=1e-9))


@pytest.mark.parametrize(
    ("interval", "margin", "expected"),
    [
        ((0.2, 0.1, 0.3), 0, "holds"),
        ((0.2, 0.1, 0.3), 0.1, "undecided"),
        ((0.2, 0.1, 0.3), 0.35, "does not hold"),
        ((0.0, -0.1, 0.1), 0, "undecided"),
        ((-0.2, -0.3, -0.1), 0, "does not hold"),
    ],
)
def test_verdict_needs_the_whole_interval_on_one_side(interval, margin, expected):
    assert verdict(interval, margin) == expected


def test_an_experiment_goes_on_after_a_stop_and_starts_anew_with_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    claims, done = [Claim("a beats b", "ours", "a", "b", show=("c",))], []

    def one_seed(seed):
        if seed == 2 and 2 not in done:
            done.append(seed)
            raise KeyboardInterrupt
        done.append(seed)
        return {"a": 0.5 + seed / 100, "b": 0.2, "c": 0.1}

    with pytest.raises(KeyboardInterrupt):
        measure("x", "what", claims, one_seed, 4, {"lr": 1})
    assert not (tmp_path / "x.json").exists()
    assert json.loads((tmp_path / "x.json.part").read_text())["seeds"] == [0, 1]
    path = measure("x", "what", claims, one_seed, 4, {"lr": 1})
    assert done == [0, 1, 2, 2, 3]
    stored = json.loads(path.read_text())
    [row] = stored["rows"]
    assert row["values"] == {"a": [0.5, 0.51, 0.52, 0.53], "b": [0.2] * 4, "c": [0.1] * 4}
    assert row["verdict"] == "holds"
    assert stored["seeds"] == [0, 1, 2, 3]
    measure("x", "what", claims, one_seed, 4, {"lr": 1})
    assert done == [0, 1, 2, 2, 3]  # nothing left to do
    measure("x", "what", claims, one_seed, 2, {"lr": 2})
    assert done == [0, 1, 2, 2, 3, 0, 1]
    monkeypatch.setattr(results, "_code", lambda name: "changed")
    measure("x", "what", claims, one_seed, 2, {"lr": 2})
    assert done == [0, 1, 2, 2, 3, 0, 1, 0, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "docs/results").glob("*.json")), ids=lambda p: p.stem
)
def test_stored_verdicts_follow_from_the_stored_figures(path):
    stored = json.loads(path.read_text())
    assert len(stored["seeds"]) >= 5
    assert len(stored["rows"]) > 0
    for row in stored["rows"]:
        values = row["values"]
        assert all(len(v) == len(stored["seeds"]) for v in values.values())
        interval = difference(values[row["larger"]], values[row["smaller"]])
        assert row["difference"] == pytest.approx(list(interval), abs=1e-9)
        assert row["verdict"] == verdict(interval, row["margin"])
