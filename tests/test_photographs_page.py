"""The tables of the page Photographs: the papers' scores, and ours from the stored files."""

import json
from types import SimpleNamespace

import pytest
from mkdocs.exceptions import PluginError

from experiments import photo_retrieval
from experiments.photographs import CLAIMS, ROWS
from tools import photographs, site


def stored(path, change=lambda content: None):
    """Two seeds, in which each number is its row's and differs by .002."""
    names = {f"{name}, {row}" for rows in photographs.GROUPS.values() for row in rows.values()
             for name in (*photographs.METRICS, "words", "minutes", "minutes to the best")}  # fmt: skip
    numbers = {str(seed): dict.fromkeys(names, 0.5 + 0.002 * seed) for seed in range(2)}
    for of in numbers.values():
        del of["minutes to the best, a person"], of["words, a person"]
    content = {"numbers": numbers, "device": "a CPU", "date": "2026-01-02", "seeds": [0, 1], "seconds": 9}
    change(content)
    path.write_text(json.dumps(content))
    return path


def cells(line):
    return [cell.replace("\u00a0", " ") for cell in line.removeprefix("| ").removesuffix(" |").split(" | ")]


def test_each_row_has_its_numbers_in_percent(tmp_path):
    table = photographs.photographs_table(stored(tmp_path / "photographs.json"))
    head, rule, soft, hard, group, ours, *_ = map(cells, table.split("\n"))
    assert len(head) == len(rule) == len(soft) == len(ours) == 8
    assert soft[:5] == ["soft attention, in the paper", "67", "44.8", "29.9", "19.5"]
    assert hard[4] == "21.3"
    assert group[0] == f"**{photographs.TRAINED}**"
    assert ours == ["soft attention", *["50.1 ± 0.1"] * 5, "0.5 ± 0.0", "0.5 ± 0.0"]
    person = next(line for line in map(cells, table.split("\n")) if "person" in line[0])
    assert person[6:] == ["–", "–"]
    assert table.endswith(
        "<small>2 seeds; the six models of a seed were trained for 3 minutes, a CPU, 2026-01-02</small>"
    )


def test_every_row_that_is_trained_is_shown():
    assert set(photographs.GROUPS[photographs.TRAINED].values()) == set(ROWS)
    shown = {row for rows in photographs.GROUPS.values() for row in rows.values()}
    assert {f"BLEU-4, {row}" for row in shown} >= {
        claim.larger for claim in CLAIMS if claim.larger.startswith("BLEU-4")
    }


def test_without_a_file_the_page_says_so_and_a_wrong_file_stops_the_build(tmp_path):
    assert photographs.photographs_table(tmp_path / "photographs.json").endswith("Not measured yet.")
    for change in (
        lambda c: c.pop("numbers"),
        lambda c: c["numbers"].pop("1"),
        lambda c: c["numbers"]["1"].pop("BLEU-4, soft"),
        lambda c: c["numbers"]["1"].update({"BLEU-4, soft": None}),
    ):
        path = stored(tmp_path / "photographs.json", change)
        with pytest.raises(ValueError, match=r"photographs\.json"):
            photographs.photographs_table(path)
    config = SimpleNamespace(repo_url="", config_file_path=str(tmp_path / "mkdocs.yml"))
    assert site.on_page_markdown("no table", config=config) == "no table"
    (tmp_path / "mmtutor" / "results").mkdir(parents=True)
    path.rename(tmp_path / "mmtutor" / "results" / "photographs.json")
    with pytest.raises(PluginError, match="photographs"):
        site.on_page_markdown("<!-- photographs -->", config=config)


def found(path, change=lambda content: None):
    """Two seeds of the retrieval of photographs."""
    names = [
        f"R@{k}, {way}, {row}" for row in photo_retrieval.ROWS for way in photo_retrieval.KLEIN for k in (1, 5, 10)
    ]
    numbers = {str(seed): dict.fromkeys(names, 0.3 + 0.002 * seed) for seed in range(2)}
    content = {"numbers": numbers, "device": "a CPU", "date": "2026-01-02"}
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_the_table_of_retrieval_has_the_papers_row_and_all_of_ours(tmp_path):
    path = tmp_path / "photo_retrieval.json"
    assert photographs.retrieval_table(path).endswith("Not measured yet.")
    head, _, klein, *rows = map(cells, photographs.retrieval_table(found(path)).split("\n\n")[0].split("\n"))
    assert klein[1:] == ["22.6", "48.8", "61.2", "19.1", "45.3", "60.4"]
    assert set(photographs.RETRIEVAL.values()) == set(photo_retrieval.ROWS)
    assert rows == [[name, *["30.1 ± 0.1"] * 6] for name in photographs.RETRIEVAL]
    assert len(head) == len(klein) == 7
    for change in (lambda c: c.pop("numbers"), lambda c: c["numbers"]["1"].pop("R@5, finds a sentence, bag")):
        with pytest.raises(ValueError, match=r"photo_retrieval\.json"):
            photographs.retrieval_table(found(path, change))
