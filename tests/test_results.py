"""Verdicts are computed from the numbers, and an experiment resumes where it was stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from experiments import code, results
from experiments.results import (
    Claim,
    corrected,
    difference,
    found_by,
    judged,
    measure,
    p_value,
    verdict,
)
from mmtutor.results import generated, portrait


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
    monkeypatch.setattr(results, "digests", lambda name: {"experiments.x": "0"})
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
    monkeypatch.setattr(results, "digests", lambda name: {"experiments.x": "changed"})
    measure("x", "what", claims, one_seed, 2, {"lr": 2})
    assert done == [0, 1, 2, 2, 3, 0, 1, 0, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


# ---- many comparisons


def rows_of(*pairs):
    names = {"larger": "a", "smaller": "b", "margin": 0.0}
    return [{**names, "values": {"a": a, "b": b}} for a, b in pairs]


def test_p_value_is_that_of_the_paired_t_test_and_agrees_with_the_interval():
    a, b = [0.9, 0.8, 0.95, 0.7], [0.5, 0.85, 0.5, 0.6]
    assert p_value(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = rng.normal(0.8, 1.0, 5), rng.normal(0, 1.0, 5)
        margin = float(rng.normal())
        assert (p_value(a, b, margin) < 0.05) == (verdict(difference(a, b), margin) != "undecided")
    assert p_value([0.5, 0.75], [0.25, 0.5]) == 0.0  # the same difference each time
    assert p_value([0.5, 0.75], [0.5, 0.75]) == 1.0


def test_correction_is_benjamini_and_hochberg_step_up():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    order = sorted(range(5), key=p.__getitem__)
    by_hand = [0.0] * 5
    for rank, k in enumerate(order, 1):
        by_hand[k] = min(min(1.0, p[j] * 5 / r) for r, j in enumerate(order, 1) if r >= rank)
    assert corrected(p) == pytest.approx(by_hand, abs=1e-12)
    assert corrected([]) == []


def test_a_row_among_many_needs_more_than_its_interval():
    clear, weak = ([1.0, 1.1, 0.9], [0.5, 0.4, 0.5]), ([1.0, 1.1, 1.0], [0.85, 0.8, 0.8])
    nothing = ([1.0, 1.1, 0.9], [1.1, 1.0, 0.9])
    assert [row["verdict"] for row in judged(rows_of(weak))] == ["holds"]
    among = judged(rows_of(clear, weak, *[nothing] * 20))
    assert [row["interval alone"] for row in among[:2]] == ["holds", "holds"]
    assert [row["verdict"] for row in among] == ["undecided"] * 22
    assert [row["verdict"] for row in judged(rows_of(clear, weak))] == ["holds"] * 2
    with pytest.raises(KeyError):
        judged([{"values": {}, "larger": "a", "smaller": "b", "margin": 0.0}])


def test_false_verdicts_stay_at_their_share():
    """Where nothing is true each decided row is false: one family in twenty has one, not each."""
    rng = np.random.default_rng(1)
    alone = together = 0
    for _ in range(100):
        rows = judged(rows_of(*[(rng.normal(size=5), rng.normal(size=5)) for _ in range(20)]))
        alone += any(row["interval alone"] != "undecided" for row in rows)
        together += any(row["verdict"] != "undecided" for row in rows)
    assert alone > 50
    assert together <= 12


def test_runs_in_two_groups_are_counted():
    values = {"a": [0.88] * 8 + [0.75] * 2, "b": [0.75] * 7 + [0.88] * 3}
    larger, smaller, p = found_by(values, {"larger": "a", "smaller": "b", "found": 0.8})
    assert (larger, smaller) == (8, 3)
    # seed 7 found it in both, seeds 0 to 6 in a alone, seeds 8 and 9 in b alone: 7 of 9 by a fair coin
    assert p == pytest.approx(2 * (36 + 9 + 1) / 2**9, abs=1e-12)
    assert found_by({"a": [1.0], "b": [1.0]}, {"larger": "a", "smaller": "b", "found": 0.8}) == (1, 1, 1.0)


# ---- the code that numbers come from


HOUSE = {
    "mmtutor/__init__.py": "",
    "mmtutor/data/__init__.py": "from .a import digits\nfrom .b import other\n",
    "mmtutor/data/a.py": "from mmtutor.helper import double\ndef digits(n: int) -> int:\n"
    "    from tqdm import tqdm\n    return double(n)\n",
    "mmtutor/data/b.py": "def other():\n    return 1\n",
    "mmtutor/helper.py": "def double(n):\n    if n < 0:\n        raise ValueError('below 0')\n    return 2 * n\n",
    "experiments/x.py": "from mmtutor.data import digits, other\nfrom experiments.y import train\nN = 3\n"
    "def row(text):\n    return text, other\nCLAIMS = [row('a beats b')]\n"
    "def one_seed(seed):\n    'Everything.'\n    return train(digits(N))\n",
    "experiments/y.py": "from mmtutor.data import other\n"
    "def train(n):\n    return n\ndef apart():\n    return other()\n",
}


@pytest.fixture
def house(tmp_path):
    for name, text in HOUSE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_digest_is_of_what_an_experiment_reaches(house):
    assert sorted(code.digests("x", house)) == ["experiments.x", "experiments.y", "mmtutor.data.a", "mmtutor.helper"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/x.py", "N = 3", "N = 4"),
        ("experiments/x.py", "train(digits(N))", "train(digits(N + 1))"),
        ("experiments/y.py", "return n", "return n + 1"),
        ("mmtutor/data/a.py", "double(n)", "double(n + 1)"),
        ("mmtutor/helper.py", "n < 0", "n < 1"),
    ],
)
def test_a_change_that_may_change_numbers_changes_its_modules_digest_alone(house, name, old, new):
    before = code.digests("x", house)
    (house / name).write_text(HOUSE[name].replace(old, new))
    assert code.changed(before, "x", house) == [name.removesuffix(".py").replace("/", ".")]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/x.py", "a beats b", "a is better than b"),
        ("experiments/x.py", "return text, other", "return text"),
        ("experiments/x.py", "Everything.", "All."),
        ("experiments/y.py", "return other()", "return 2"),
        ("mmtutor/data/a.py", "n: int) -> int", "n)"),
        ("mmtutor/data/a.py", "    return", "    # a comment\n\n    return"),
        ("mmtutor/data/a.py", "from tqdm", "from mmtutor.data.progress"),
        ("mmtutor/data/b.py", "return 1", "return 2"),
        ("mmtutor/helper.py", "below 0", "less than 0"),
    ],
)
def test_a_change_that_changes_no_number_leaves_the_digest(house, name, old, new):
    before = code.digests("x", house)
    assert old in HOUSE[name]
    (house / name).write_text(HOUSE[name].replace(old, new))
    assert code.changed(before, "x", house) == []


def test_relative_imports_and_modules_as_names(house):
    (house / "experiments/x.py").write_text("from mmtutor import data\ndef one_seed(s):\n    return data.digits(s)\n")
    names = ["experiments.x", "mmtutor.data.a", "mmtutor.helper"]
    assert sorted(code.digests("x", house)) == names
    for text in (
        "from mmtutor import data\ndef one_seed(s):\n    return getattr(data, s)\n",
        "import mmtutor.data\ndef one_seed(s):\n    return mmtutor.data.digits(s)\n",
        "def one_seed(s):\n    import mmtutor.data as d\n    return d.digits(s) + len(d.__dict__)\n",
    ):
        (house / "experiments/x.py").write_text(text)
        assert sorted(code.digests("x", house)) == sorted([*names, "mmtutor.data.b"]), text
    (house / "experiments/x.py").write_text("from experiments import y\ndef one_seed(s):\n    return y.train(s)\n")
    before = code.digests("x", house)
    assert sorted(before) == ["experiments.x", "experiments.y"]
    (house / "experiments/y.py").write_text(HOUSE["experiments/y.py"].replace("return other()", "return 2"))
    assert code.changed(before, "x", house) == []


def test_a_name_that_is_no_longer_there_is_found_before_an_experiment_runs(house):
    (house / "experiments/x.py").write_text("from experiments import y\ndef one_seed(s):\n    return y.test(s)\n")
    with pytest.raises(NameError, match=r"experiments\.y has no 'test'"):
        code.digests("x", house)


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in code.ROOT.glob("experiments/*.py") if "\ndef one_seed(" in p.read_text())
)
def test_all_that_an_experiment_uses_is_there(name):
    assert f"experiments.{name}" in code.digests(name)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "mmtutor/results").glob("*.json")), ids=lambda p: p.stem
)
def test_stored_verdicts_follow_from_the_stored_figures(path):
    stored = json.loads(path.read_text())
    hours = stored["seconds"] / len(stored["seeds"]) / 3600
    assert len(stored["seeds"]) >= (3 if hours > 1 else 5)  # where a seed takes hours, three
    assert len(stored["rows"]) > 0
    assert all(len(v) == len(stored["seeds"]) for row in stored["rows"] for v in row["values"].values())
    for row, computed in zip(stored["rows"], judged(stored["rows"]), strict=True):
        for name in ("difference", "p", "p, corrected"):
            assert row[name] == pytest.approx(computed[name], abs=1e-9)
        assert (row["interval alone"], row["verdict"]) == (computed["interval alone"], computed["verdict"])


def test_generated_pictures_are_of_all_ten_digits():
    given = generated("given")
    for model in (
        "JMVAE",
        "MVAE",
        "MMVAE",
        "MoPoE",
        "MMVAE+",
        "joint VAE, flow student",
        "iterative VAE, normal student",
    ):
        for kind, pictures in generated(model).items():
            like = given[kind.split()[0]]
            assert pictures.shape == like.shape
            assert pictures.dtype == torch.float32
            assert 0 <= pictures.min() < pictures.max() <= 1
            assert not torch.equal(pictures, like)


def test_generated_says_which_models_there_are():
    with pytest.raises(ValueError, match=r"no pictures of 'VAE'; there are given, JMVAE, MVAE"):
        generated("VAE")


def test_the_portrait_has_a_region_for_each_word():
    photo, words, alpha = portrait()
    assert photo.shape == (3, 224, 224)
    assert alpha.shape == (len(words), 49)
    assert (alpha.sum(1) - 1).abs().max() < 1e-2  # half precision
    assert 3 < len(words) < 20
