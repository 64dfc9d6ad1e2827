"""The slides' figures beside ours, as a table made from the stored file."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import exp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mkdocs.exceptions import PluginError

from experiments import iterative
from tools import site, slides

WORTH = {"MoPoE, long": 3.0, "MoPoE": 9.0, "joint VAE": 2.0, "joint VAE, equal time": 1.5, "iterative": 1.0}


def stored(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    """Three seeds; distances and divergences of the iterative student are smaller, its probes too."""
    figures = {
        str(seed): {
            f"{row.figure}: {name}": exp(value) + seed / 100 if row.figure.startswith("FD") else value + seed / 100
            for row in slides.ROWS
            for name, value in WORTH.items()
        }
        for seed in range(3)
    }
    content = {"date": "2026-01-02", "device": "a CPU", "figures": figures}
    change(content)
    path = folder / "iterative.json"
    path.write_text(json.dumps(content))
    return path


def cells(line: str) -> list[str]:
    return line.replace("\u00a0", " ").removeprefix("| ").removesuffix(" |").split(" | ")


def test_each_row_has_the_slides_figures_ours_and_two_verdicts(tmp_path: Path):
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
    assert cub[4] == "8103.1 ± 0.010"  # of scenes there is no long MoPoE
    assert cells(rows[-1])[1:4] == ["–", "247.034", "608.291"]
    assert cells(rows[-1])[8:] == ["**yes**", "**yes**"]
    assert empty == ""
    assert "3 seeds, measured on 2026-01-02 on a CPU" in measured


def test_a_row_that_seeds_disagree_on_is_undecided(tmp_path: Path):
    def disagree(content: dict[str, Any]) -> None:
        content["figures"]["1"]["KL, word: iterative"] = 4.0

    rows = slides.slides_table(stored(tmp_path, disagree)).split("\n")
    assert [cells(line)[8:] for line in rows if line.startswith("| KL to the student, Text")] == [
        ["undecided", "undecided"]
    ]


def test_every_figure_of_the_table_is_one_that_the_experiment_measures():
    measured = {name for claim in iterative.CLAIMS for name in (claim.larger, claim.smaller, *claim.show)}
    logs = {name.removeprefix("log ") for name in measured}
    for row in slides.ROWS[:4] + slides.ROWS[6:9] + slides.ROWS[12:]:
        assert {f"{row.figure}: {name}" for name in ("iterative", "joint VAE")} <= logs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("figures"), "KeyError 'figures'"),
        (lambda content: content.pop("date"), "KeyError 'date'"),
        (lambda content: content.update(figures={"0": content["figures"]["0"]}), "at least 2 seeds, it has 1"),
        (lambda content: content["figures"]["2"].pop("KL, word: iterative"), "needs a finite number"),
        (lambda content: content["figures"]["2"].update({"KL, word: iterative": float("nan")}), "needs a finite"),
    ],
)
def test_gate_a_file_that_lacks_something(tmp_path: Path, change: Any, message: str):
    with pytest.raises(ValueError, match=rf"iterative\.json: .*{message}"):
        slides.slides_table(stored(tmp_path, change))


def test_a_page_asks_for_the_table(tmp_path: Path):
    (tmp_path / "results").mkdir()
    config: Any = SimpleNamespace(docs_dir=str(tmp_path))
    assert site.on_page_markdown("<!-- slides -->", config=config) == "Nothing has been measured yet."
    path = stored(tmp_path / "results")
    assert site.on_page_markdown("<!-- slides -->", config=config) == slides.slides_table(path)
    path.write_text("{")
    with pytest.raises(PluginError, match=r"iterative\.json: JSONDecodeError"):
        site.on_page_markdown("<!-- slides -->", config=config)
