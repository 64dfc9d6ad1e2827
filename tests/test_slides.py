"""The slides' numbers beside ours, as a table made from the stored file."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import exp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mkdocs.exceptions import PluginError

from experiments import iterative, iterative_scenes, vae
from experiments.results import difference, verdict
from mmtutor.data import MultimodalDataset
from mmtutor.iterative import Students
from tools import site, slides

WORTH = {"MoPoE, equal time": 3.0, "joint VAE": 2.0, "joint VAE, equal time": 1.5, "iterative": 1.0}


def stored(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    """Three seeds in each file; distances and divergences of the iterative student are smaller, its probes too."""
    for name in ("iterative.json", "iterative_scenes.json"):
        numbers = {
            str(seed): {
                f"{row.number}: {model}": (exp(value) if row.number.startswith("FD") else value) + by_seed[seed]
                for row in slides.ROWS
                for model, value in WORTH.items()
                if not (row.number.startswith("KL") and "MoPoE" in model)  # it has no students
                for by_seed in [(0, 0.011, 0.02) if model == "iterative" else (0, 0.01, 0.02)]
            }
            for seed in range(3)
        }
        content = {"date": "2026-01-02", "device": "a CPU", "numbers": numbers}
        if name == "iterative.json":
            change(content)
        (folder / name).write_text(json.dumps(content))
    return folder


def cells(line: str) -> list[str]:
    return line.replace("\u00a0", " ").removeprefix("| ").removesuffix(" |").split(" | ")


def test_each_row_has_the_slides_numbers_ours_and_two_verdicts(tmp_path: Path):
    head, rule, *rows, empty, measured = slides.slides_table(stored(tmp_path)).split("\n")
    assert len(cells(head)) == 10
    assert rule == "|" + " --- |" * 10
    assert len(rows) == len(slides.ROWS)
    first, probe, cub = cells(rows[0]), cells(rows[6]), cells(rows[15])
    assert first[:4] == ["FID, SVHN → MNIST <small>(slide 37)</small>", "194.49", "59.468", "49.957"]
    assert first[4:8] == ["20.1 ± 0.010", "7.399 ± 0.010", "4.492 ± 0.010", "2.729 ± 0.010"]
    assert first[8:] == ["**yes**", "**yes**"]  # a smaller distance is better
    assert probe[4:] == ["3.010 ± 0.010", "2.010 ± 0.010", "1.510 ± 0.010", "1.010 ± 0.010",
                         "**no**", "**no**"]  # fmt: skip  # a smaller probe is worse
    assert cub[1:5] == ["311.319", "195.425", "191.425", "20.1 ± 0.010"]
    assert cells(rows[-1])[1:4] == ["–", "247.034", "608.291"]
    assert cells(rows[-1])[4] == "–"
    assert cells(rows[-1])[8:] == ["**yes**", "**yes**"]
    assert empty == ""
    assert "digits: 3 seeds, 2026-01-02, a CPU; scenes with captions: 3 seeds, 2026-01-02, a CPU" in measured


def test_what_was_not_measured_has_dashes(tmp_path: Path):
    (stored(tmp_path) / "iterative_scenes.json").unlink()
    _, _, *rows, _, measured = slides.slides_table(tmp_path).split("\n")
    assert [cells(line)[4:] == ["–"] * 6 for line in rows] == [row.what.startswith("CUB") for row in slides.ROWS]
    assert "Ours (digits: 3 seeds, 2026-01-02, a CPU): mean" in measured

    def without(content: dict[str, Any]) -> None:
        for seed in content["numbers"].values():
            seed.pop("KL, word: joint VAE", None)

    _, _, *rows, _, _ = slides.slides_table(stored(tmp_path, without)).split("\n")
    [lacking] = [cells(line)[4:] for line in rows if line.startswith("| KL to the student, Text")]
    assert lacking[1] == "–"
    assert lacking[4:] == ["–", "–"]
    (tmp_path / "iterative.json").unlink()
    (tmp_path / "iterative_scenes.json").unlink()
    assert "nothing has been measured yet" in slides.slides_table(tmp_path)


def test_a_row_that_seeds_disagree_on_is_undecided(tmp_path: Path):
    def disagree(content: dict[str, Any]) -> None:
        content["numbers"]["1"]["KL, word: iterative"] = 4.0

    rows = slides.slides_table(stored(tmp_path, disagree)).split("\n")
    assert [cells(line)[8:] for line in rows if line.startswith("| KL to the student, Text")] == [
        ["undecided", "undecided"]
    ]


def test_every_number_of_the_table_is_one_that_its_experiment_measures(monkeypatch: pytest.MonkeyPatch):
    """Of untrained networks, on 40 examples of noise; the divergences are those of its students."""
    torch.manual_seed(0)
    monkeypatch.setattr(iterative, "linear_probe", lambda *_: torch.zeros(1))
    label, n, d = torch.arange(40) % 10, 40, iterative.SETTINGS["latent"]
    letters, words = (torch.eye(k)[torch.randint(k, (n, T))] for T, k in ((8, 27), (12, 9)))
    triples = {"handwritten": torch.rand(n, 1, 28, 28), "street": torch.rand(n, 3, 32, 32), "word": letters}
    crops = {"scene": torch.rand(n, 3, 32, 32), "caption": words, "digit": label, "colour": label}
    measured = {}
    for experiment, batch in ((iterative, triples | {"label": label}), (iterative_scenes, crops)):
        data = MultimodalDataset(batch)
        kind = iterative.digit_kind() if experiment is iterative else iterative_scenes.scene_kind(9)
        students = Students({m: kind.encoder(m, 2 * d) for m in kind.modalities}).eval()
        model = iterative.teacher(kind, 0, 0)
        what = iterative.Model(students.encode, model.elbo.decode)
        if experiment is iterative:
            classifiers = {m: vae.EvaluationClassifier(m) for m in kind.modalities}
            numbers = iterative.measures(what, classifiers, {"train": data, "test": data}, "iterative", 0)
        else:
            classifier = iterative_scenes.EvaluationClassifier()
            numbers = iterative_scenes.measures(what, classifier, data[:], "iterative", 0)
        measured[experiment] = numbers | iterative.divergences(model.encode, students, data, "iterative", 0)
    for row in slides.ROWS:
        experiment = iterative_scenes if row.what.startswith("CUB") else iterative
        assert f"{row.number}: iterative" in measured[experiment]


@pytest.mark.parametrize("experiment", [iterative, iterative_scenes])
def test_the_slides_columns_are_models_that_the_experiment_compares(experiment: Any):
    asked = {name for claim in experiment.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    assert all(any(name.endswith(f": {model}") for name in asked) for model in slides.OURS)


def test_a_verdict_is_corrected_for_the_number_of_verdicts(tmp_path: Path):
    """A row whose own interval would do, among rows that say nothing, is undecided; alone it would be a yes."""
    folder = stored(tmp_path)
    for name in ("iterative.json", "iterative_scenes.json"):
        content = json.loads((folder / name).read_text())
        for seed, noise in (("0", 0.1), ("1", -0.11), ("2", 0.02)):
            for number in content["numbers"][seed]:
                content["numbers"][seed][number] = 5 + (noise if number.endswith(": iterative") else 0.0)
        for seed, value in (("0", 5.1), ("1", 5.2), ("2", 5.15)):
            content["numbers"][seed]["probe, word: iterative"] = value
        (folder / name).write_text(json.dumps(content))
    lines = slides.slides_table(folder).split("\n")
    assert {cell for line in lines[2:-2] for cell in cells(line)[8:]} == {"undecided"}
    assert verdict(difference([5.1, 5.2, 5.15], [5.0] * 3)) == "holds"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("numbers"), "KeyError 'numbers'"),
        (lambda content: content.pop("date"), "KeyError 'date'"),
        (lambda content: content.update(numbers={"0": content["numbers"]["0"]}), "at least 2 seeds, it has 1"),
        (lambda content: content["numbers"]["2"].pop("KL, word: iterative"), "needs a finite number"),
        (lambda content: content["numbers"]["2"].update({"KL, word: iterative": float("nan")}), "needs a finite"),
    ],
)
def test_gate_a_file_that_lacks_something(tmp_path: Path, change: Any, message: str):
    with pytest.raises(ValueError, match=rf"iterative\.json: .*{message}"):
        slides.slides_table(stored(tmp_path, change))


def test_a_page_asks_for_the_table(tmp_path: Path):
    (tmp_path / "mmtutor/results").mkdir(parents=True)
    config: Any = SimpleNamespace(config_file_path=str(tmp_path / "mkdocs.yml"), repo_url="")
    assert "nothing has been measured yet" in site.on_page_markdown("<!-- slides -->", config=config)
    folder = stored(tmp_path / "mmtutor/results")
    assert site.on_page_markdown("<!-- slides -->", config=config) == slides.slides_table(folder)
    (folder / "iterative.json").write_text("{")
    with pytest.raises(PluginError, match=r"iterative\.json: JSONDecodeError"):
        site.on_page_markdown("<!-- slides -->", config=config)
