"""The slides' numbers beside ours, as a table made from the stored file."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import exp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mkdocs.exceptions import PluginError

from experiments import iterative, iterative_scenes
from tools import site, slides

WORTH = {"MoPoE, long": 3.0, "joint VAE": 2.0, "joint VAE, equal time": 1.5, "iterative": 1.0}


def stored(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    """Three seeds in each file; distances and divergences of the iterative student are smaller, its probes too."""
    for name in ("iterative.json", "iterative_scenes.json"):
        numbers = {
            str(seed): {
                f"{row.number}: {model}": exp(value) + seed / 100 if row.number.startswith("FD") else value + seed / 100
                for row in slides.ROWS
                for model, value in WORTH.items()
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
    assert first[4:8] == ["20.1 ± 0.010", "7.399 ± 0.010", "4.492 ± 0.010", "2.728 ± 0.010"]
    assert first[8:] == ["**yes**", "**yes**"]  # a smaller distance is better
    assert probe[4:] == ["3.010 ± 0.010", "2.010 ± 0.010", "1.510 ± 0.010", "1.010 ± 0.010",
                         "**no**", "**no**"]  # fmt: skip  # a smaller probe is worse
    assert cub[1:5] == ["311.319", "195.425", "191.425", "20.1 ± 0.010"]
    assert cells(rows[-1])[1:4] == ["–", "247.034", "608.291"]
    assert cells(rows[-1])[8:] == ["**yes**", "**yes**"]
    assert empty == ""
    assert "digits: 3 seeds, 2026-01-02, a CPU; scenes with captions: 3 seeds, 2026-01-02, a CPU" in measured


def test_what_was_not_measured_has_dashes(tmp_path: Path):
    (stored(tmp_path) / "iterative_scenes.json").unlink()
    _, _, *rows, _, measured = slides.slides_table(tmp_path).split("\n")
    assert [cells(line)[4:] == ["–"] * 6 for line in rows] == [row.what.startswith("CUB") for row in slides.ROWS]
    assert "Ours (digits: 3 seeds, 2026-01-02, a CPU): mean" in measured
    (tmp_path / "iterative.json").unlink()
    assert "nothing has been measured yet" in slides.slides_table(tmp_path)


def test_a_row_that_seeds_disagree_on_is_undecided(tmp_path: Path):
    def disagree(content: dict[str, Any]) -> None:
        content["numbers"]["1"]["KL, word: iterative"] = 4.0

    rows = slides.slides_table(stored(tmp_path, disagree)).split("\n")
    assert [cells(line)[8:] for line in rows if line.startswith("| KL to the student, Text")] == [
        ["undecided", "undecided"]
    ]


def test_every_number_of_the_table_is_one_that_its_experiment_measures():
    for row in slides.ROWS:
        experiment = iterative_scenes if row.what.startswith("CUB") else iterative
        measured = {name for claim in experiment.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
        asked = {f"{row.number}: {name}" for name in ("iterative", "joint VAE")}
        several = row.what.startswith("linear probe") and " and " in row.what  # measured, without a row of their own
        assert several or asked <= {name.removeprefix("log ") for name in measured}


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
    (tmp_path / "results").mkdir()
    config: Any = SimpleNamespace(docs_dir=str(tmp_path))
    assert "nothing has been measured yet" in site.on_page_markdown("<!-- slides -->", config=config)
    folder = stored(tmp_path / "results")
    assert site.on_page_markdown("<!-- slides -->", config=config) == slides.slides_table(folder)
    (folder / "iterative.json").write_text("{")
    with pytest.raises(PluginError, match=r"iterative\.json: JSONDecodeError"):
        site.on_page_markdown("<!-- slides -->", config=config)
