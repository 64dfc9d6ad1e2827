"""The page on one's own data: its code runs from top to bottom as it stands there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-data.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_block_runs(fit_device, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = {}
    for k, block in enumerate(BLOCKS):
        exec(compile(block, f"block {k} of {PAGE.name}", "exec"), names)
    printed = capsys.readouterr().out
    assert len(BLOCKS) == 8
    assert float(re.search(r"^accuracy (.*)", printed, re.MULTILINE)[1]) > 0.8
    assert float(re.search(r"^balanced accuracy (.*)", printed, re.MULTILINE)[1]) > 0.5
    assert float(re.search(r"^best epoch .*, accuracy (.*)", printed, re.MULTILINE)[1]) > 0.6


def test_the_page_is_python_alone():
    fences = re.findall(r"^```(\w*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert fences[::2] == ["python"] * len(BLOCKS)
    assert fences[1::2] == [""] * len(BLOCKS)


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_lines_are_short_enough_for_the_page(block):
    assert max(map(len, BLOCKS[block].splitlines())) <= 120
