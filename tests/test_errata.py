"""The page of well-known bugs: each entry runs by itself, prints what the page says, and shows that the bug matters."""

from __future__ import annotations

import ast
import re
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errata.md"
TEXT = PAGE.read_text(encoding="utf-8")
HEADING = re.compile(r"^### (.*?) \{#([\w-]+)\}\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
ENTRIES = {anchor: body for _, anchor, body in HEADING.findall(TEXT)}
MODULES = {"math", "mmtutor", "numpy", "torch"}
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e-?\d+)?")


def fenced(body: str, language: str) -> str:
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
    return block


@pytest.fixture(scope="module", autouse=True)
def _imported_once() -> None:
    """What a process imports once is no block's own time; torch imports much for its first optimiser."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    for name in re.findall(r"^from (mmtutor\S*)", TEXT, re.MULTILINE):
        import_module(name)


@pytest.mark.parametrize("anchor", ENTRIES)
def test_block_runs_alone_and_prints_what_the_page_says(anchor: str, capsys: pytest.CaptureFixture[str]):
    block, printed = fenced(ENTRIES[anchor], "python"), fenced(ENTRIES[anchor], "text")
    state = torch.random.get_rng_state()
    torch.manual_seed(12345)  # what a block draws must not depend on what ran before it
    begin = time.process_time()
    try:
        exec(compile(block, f"{PAGE.name}#{anchor}", "exec"), {"__name__": anchor})
        seconds = time.process_time() - begin
    finally:
        torch.random.set_rng_state(state)
    out = capsys.readouterr().out
    assert NUMBER.sub("#", out).split() == NUMBER.sub("#", printed).split()
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (out, printed)]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=0.011)  # other processors round in other ways
    assert seconds < 10  # alone about one


@pytest.mark.parametrize("anchor", ENTRIES)
def test_entry_is_short_and_ends_with_an_assertion(anchor: str):
    block = fenced(ENTRIES[anchor], "python")
    tree = ast.parse(block)
    assert isinstance(tree.body[-1], ast.Assert)
    assert max(map(len, block.splitlines())) <= 88
    code = [line for line in block.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
    assert 5 <= len(code) <= 15
    assert ENTRIES[anchor].count("**How to see it in your code.** ") == 1


@pytest.mark.parametrize("anchor", ENTRIES)
def test_block_imports_only_what_every_reader_has(anchor: str):
    names = set()
    for node in ast.walk(ast.parse(fenced(ENTRIES[anchor], "python"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names <= MODULES
    assert names


@pytest.mark.parametrize("anchor", ENTRIES)
def test_block_sets_its_seeds(anchor: str):
    block = fenced(ENTRIES[anchor], "python")
    assert ("torch.rand" in block) <= ("torch.manual_seed(" in block)
    assert "default_rng()" not in block


def test_there_are_enough_entries_and_the_table_links_to_each():
    assert len(ENTRIES) >= 12
    assert len(re.findall(r"^### ", TEXT, re.MULTILINE)) == len(ENTRIES)
    assert TEXT.count("```python\n") == len(ENTRIES)
    table = "\n".join(line for line in TEXT.splitlines() if line.startswith("|"))
    groups = re.findall(r"^## (.*?)(?: \{#([\w-]+)\})?$", TEXT, re.MULTILINE)
    assert [name for name, _ in groups] == re.findall(r"^\| \[(.*?)\]\(#", table, re.MULTILINE)
    linked = re.findall(r"\(#([\w-]+)\)", table)
    expected = [anchor or name.lower().replace(" ", "-") for name, anchor in groups] + [*ENTRIES]
    assert sorted(linked) == sorted(expected)
