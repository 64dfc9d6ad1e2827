"""What the files of the library have in common, and that the README says of them what is true."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "mmtutor"
MODELS = (
    "captioning",
    "embedding",
    "fusion",
    "iterative",
    "localisation",
    "mfm",
    "text_to_image",
    "vae",
    "vqa",
    "workspace",
)  # folders
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_LINES = 500
# The README promises seconds; this bound is for the slowest machine on which the tests shall pass.
SLOW = 20
BLOCK = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mmtutor", "matplotlib", "scipy", "accelerate", "safetensors", "pooch", "PIL"):
            raise ImportError(f"{name} is not here: what is copied must stand alone")
sys.meta_path.insert(0, Refuse())
"""


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_checks_of_all_models_are_one_file():
    first, *others = [(LIBRARY / name / "checks.py").read_bytes() for name in MODELS]
    assert [name for name, other in zip(MODELS[1:], others, strict=True) if other != first] == []


def test_no_file_of_the_library_is_longer_than_can_be_read():
    assert [(path.name, lines(path)) for path in LIBRARY.rglob("*.py") if lines(path) > MAX_LINES] == []


def hidden_arguments(source: str) -> Iterator[str]:
    """Arguments of public functions that have neither a name nor a type, such as ``*args: Any``."""
    tree = ast.parse(source)
    spaces: list[ast.Module | ast.ClassDef] = [tree]
    spaces += [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for space in spaces:
        for node in space.body:
            if not isinstance(node, ast.FunctionDef) or (node.name.startswith("_") and not node.name.endswith("__")):
                continue
            for argument in filter(None, (node.args.vararg, node.args.kwarg)):
                if argument.annotation is None or ast.unparse(argument.annotation) in ("Any", "object"):
                    yield f"{node.name}: {ast.unparse(argument)}"


def test_signatures_name_their_arguments():
    assert {p.name: found for p in LIBRARY.rglob("*.py") if (found := [*hidden_arguments(p.read_text())])} == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("class A:\n    def __init__(self, x, *args: Any): ...", ["__init__: args: Any"]),
        ("def f(**others: Any): ...", ["f: others: Any"]),
        ("def f(*more): ...", ["f: more"]),
        ("def f(*sizes: int): ...\ndef _g(**others: Any): ...\nclass _B:\n    def h(self, *args: Any): ...", []),
    ],
)
def test_gate_hidden_arguments(code: str, found: list[str]):
    assert list(hidden_arguments(code)) == found


def copied() -> list[tuple[str, int, int]]:
    """The README's table of what can be copied: name, files, lines."""
    rows = re.findall(r"^\| `([\w.]+)/?` \| (\d+) files?, ([\d,]+) lines \|", README, re.MULTILINE)
    return [(name, int(files), int(count.replace(",", ""))) for name, files, count in rows]


def test_the_readme_lists_each_model():
    models = {p.stem if p.is_dir() else p.name for p in LIBRARY.iterdir() if p.is_dir() or p.suffix == ".py"}
    models -= {
        "__init__.py",
        "__pycache__",
        "data",
        "training",
        "metrics",
        "plotting",
        "results",
        "exercises",
        "photographs.py",
    }
    assert {name for name, _, _ in copied()} == models


@pytest.mark.parametrize(("name", "files", "count"), copied())
def test_the_readme_says_how_long_a_model_is(name: str, files: int, count: int):
    path = LIBRARY / name
    paths = list(path.rglob("*.py")) if path.is_dir() else [path]
    assert len(paths) == files
    assert sum(map(lines, paths)) == pytest.approx(count, rel=0.05)


def test_the_readme_lists_each_chapter_by_its_title():
    rows = dict(re.findall(r"^\| \[(.+?)\]\(notebooks/(\w+)\.ipynb\) \|", README, re.MULTILINE))
    titles = {}
    for path in notebooks.select([]):
        first = jupytext.read(path, fmt="py:percent").cells[0].source
        titles[first.splitlines()[0].removeprefix("# ")] = path.stem
    assert rows == titles
    assert list(rows.values()) == sorted(rows.values())


def test_the_first_figure_comes_as_soon_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fresh kernel, and a cache of data that is empty."""
    (said,) = re.findall(r"shows its first figure about (\d+) seconds after", README)
    monkeypatch.setenv("MMTUTOR_DATA", str(tmp_path))
    monkeypatch.setenv("MMTUTOR_BUDGET", "quick")
    source = notebooks.select([])[0]
    notebook = notebooks.read_source(source)
    start = time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=notebooks.CELL_TIMEOUT,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(source.parent)}},
    )
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                break
        else:
            pytest.fail("no figure")
    assert time.perf_counter() - start < SLOW * int(said)


def test_the_readme_example_runs_where_its_files_were_copied(tmp_path: Path):
    shell, python = re.search(r"```sh\n(cp .+?)```\n+```python\n(.+?)```", README, re.DOTALL).groups()  # type: ignore[union-attr]
    (command,) = shell.strip().splitlines()
    *copy, target = shlex.split(command)
    assert copy[0] == "cp"
    assert target == "~/my-project/"
    subprocess.run([*copy, str(tmp_path)], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + python + "loss.backward()\nprint(loss.ndim, loss.isfinite().item())"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_paths_in_the_readme_exist():
    tree = re.search(r"## Where things are\n+```\n(.+?)```", README, re.DOTALL)
    assert tree is not None
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)|src=\"([^\"]+)\"", README)
    named = [name for line in tree[1].splitlines() for name in re.findall(r"^[\w./]+|(?<=^docs/  )tools/", line)]
    assert len(named) >= 17
    assert [n for n in [*named, *(a or b for a, b in links)] if not (ROOT / n).exists()] == []
