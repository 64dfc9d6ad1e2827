"""The notebook runner and its checks; gates are broken on purpose to see them fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbval.plugin import get_sanitize_patterns

from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
MAX_PRINTED = 25  # lines
MAX_FRAMES = 150_000  # bytes of figures to move on a page
TINY = """# %% [markdown]
# # Tiny

# %%
print("✓ the difference is 0.25")

# %%
import sys, time
from random import random
for step in range(3):
    print(f"\\rfit: {33 * step}%|##   | {step}/3 [00:0{step}<00:01, {random():.2f}it/s]", end="", file=sys.stderr)
print(f"took {time.perf_counter():.2f} s", object())

# %% tags=["nbval-ignore-output"]
random()
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this repository's settings and one small notebook that has been run."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("conftest.py", "pyproject.toml", "tools/nbval.cfg", "notebooks/jupytext.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    source = folder / "notebooks" / "01_tiny.py"
    source.write_text(TINY)
    notebooks.run(source)
    return folder


@pytest.fixture
def pair(house: Path, tmp_path: Path) -> Path:
    """The source of a pair that may be broken."""
    shutil.copytree(house, tmp_path, dirs_exist_ok=True)
    return tmp_path / "notebooks" / "01_tiny.py"


def pytest_in(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("source", notebooks.select([]), ids=lambda path: path.stem)
def test_chapters_are_in_step_run_and_short(source: Path):
    assert notebooks.check(source) == []


def printed(outputs: list[NotebookNode]) -> int:
    """How many lines of plain text a cell shows; tables are HTML, figures are images, and bars are gone."""
    texts = [output.get("text", "") for output in outputs]
    texts += [o.data["text/plain"] for o in outputs if "data" in o and not {"text/html", "image/png"} & o.data.keys()]
    return sum(not notebooks.BAR.search(line) for text in texts for line in text.splitlines())


@pytest.mark.parametrize("source", notebooks.select([]), ids=lambda path: path.stem)
def test_no_cell_of_a_chapter_prints_more_than_one_takes_in(source: Path):
    cells = nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells
    counts = {number: printed(cell.get("outputs", [])) for number, cell in enumerate(cells, 1)}
    assert {number: count for number, count in counts.items() if count > MAX_PRINTED} == {}


@pytest.mark.parametrize("source", notebooks.select([]), ids=lambda path: path.stem)
def test_each_chapter_has_a_figure_to_move_which_is_small(source: Path):
    cells = nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells
    shown = [output.data for cell in cells for output in cell.get("outputs", []) if "data" in output]
    sizes = [len(html) for data in shown if 'class="frames"' in (html := data.get("text/html", ""))]
    assert 0 < sum(sizes) < MAX_FRAMES


def test_lines_that_are_printed_are_counted():
    new = nbformat.v4.new_output
    table = new("display_data", {"text/html": "<table>", "text/plain": "a\n" * 30})
    bar = new("stream", name="stderr", text="100%|##| 2/2 [00:02<00:00]\n")
    assert printed([table, bar]) == 0
    assert printed([new("stream", text="a\n\nb\n"), new("execute_result", {"text/plain": "c\nd"})]) == 5


def test_run_is_repeatable(pair: Path):
    stored = nbformat.read(pair.with_suffix(".ipynb"), as_version=4)
    notebooks.run(pair)
    again = nbformat.read(pair.with_suffix(".ipynb"), as_version=4)
    assert [cell.id for cell in stored.cells] == [cell.id for cell in again.cells]
    assert stored.cells[1] == again.cells[1]
    assert stored.metadata == again.metadata
    assert notebooks.check(pair) == []
    assert [path.name for path in pair.parent.iterdir() if "part" in path.name] == []


def test_failing_cell_leaves_the_stored_notebook(pair: Path):
    before = pair.with_suffix(".ipynb").read_bytes()
    pair.write_text(TINY + "\n# %%\n1 / 0\n")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebooks.run(pair)
    assert pair.with_suffix(".ipynb").read_bytes() == before


def test_failing_write_leaves_the_stored_notebook(pair: Path, monkeypatch: pytest.MonkeyPatch):
    target = pair.with_suffix(".ipynb")
    before = target.read_bytes()

    def half(_: object, part: Path) -> None:
        part.write_text("{")
        raise OSError("disk full")

    monkeypatch.setattr(nbformat, "write", half)
    with pytest.raises(OSError, match="disk full"):
        notebooks.write(notebooks.read_source(pair), target)
    assert target.read_bytes() == before
    assert len(list(pair.parent.iterdir())) == 3


def test_saving_in_jupyter_writes_both_files(pair: Path):
    from jupytext import TextFileContentsManager

    manager = TextFileContentsManager()
    manager.root_dir = str(pair.parent)
    model = manager.get("01_tiny.ipynb")
    model["content"]["cells"][1]["source"] = "print('changed in Jupyter')"
    manager.save(model, "01_tiny.ipynb")
    manager.notary.store.close()
    text = pair.read_text()
    assert "changed in Jupyter" in text
    assert '# %% tags=["nbval-ignore-output"]' in text
    assert text.startswith("# %% [markdown]\n")


def test_nbval_passes_from_any_folder(house: Path, tmp_path: Path):
    done = pytest_in(tmp_path, "--nbval", house / "notebooks")
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout


def test_side_by_side_each_notebook_keeps_one_kernel_and_its_order(house: Path, tmp_path: Path):
    shutil.copytree(house, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    for name in ("a", "b", "c"):
        code = ["import os\nseen = [0]"]
        code += [f"assert seen[-1] == {n}\nseen.append({n + 1})" for n in range(8)]
        code += [f"print(os.getpid(), os.getppid(), seen, file=open({str(tmp_path / name)!r}, 'w'))"]
        notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, code)))
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    done = pytest_in(tmp_path, "--nbval", "notebooks", "-n", "2", "--dist", "loadfile")
    assert (done.returncode, "30 passed" in done.stdout) == (0, True), done.stdout
    kernels, workers, seen = zip(*[(tmp_path / name).read_text().split(" ", 2) for name in "abc"], strict=True)
    assert (len(set(kernels)), len(set(workers)), set(seen)) == (3, 2, {f"{[*range(9)]}\n"})
    for kernel in kernels:  # each has ended
        with pytest.raises(ProcessLookupError):
            os.kill(int(kernel), 0)


def test_gate_changed_digit_of_a_claim(pair: Path):
    stored = pair.with_suffix(".ipynb")
    stored.write_text(stored.read_text().replace("is 0.25\\n", "is 0.26\\n"))
    done = pytest_in(pair.parent, "--nbval", ".")
    assert (done.returncode, "1 failed, 2 passed" in done.stdout) == (1, True), done.stdout
    assert "0.26" in done.stdout


def test_nbval_passes_where_the_machine_is_so_fast_or_so_slow_that_a_bar_is_missing_or_new(pair: Path):
    notebook = nbformat.read(pair.with_suffix(".ipynb"), as_version=4)
    (bar,) = [output for output in notebook.cells[2].outputs if output.get("name") == "stderr"]
    notebook.cells[2].outputs.remove(bar)
    notebook.cells[1].outputs.append(bar)
    nbformat.write(notebook, pair.with_suffix(".ipynb"))
    done = pytest_in(pair.parent, "--nbval", ".")
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout


def test_gate_a_stored_warning_and_no_trace_of_a_cleared_bar(pair: Path):
    cell = "import sys, warnings\nprint('\\r 50%|## | 1/2 [00:02<00:02]\\r      \\r', file=sys.stderr, end='')\n"
    pair.write_text(f"# %%\n{cell}")
    notebooks.run(pair)
    assert notebooks.check(pair) == []
    pair.write_text("# %%\nimport sys\nprint('\\r     \\r', file=sys.stderr, end='')\n")
    notebooks.run(pair)
    assert nbformat.read(pair.with_suffix(".ipynb"), as_version=4).cells[0].outputs == []
    pair.write_text(f"# %%\n{cell}warnings.warn('old')\n")
    notebooks.run(pair)
    assert any("a cell that warns" in fault and "UserWarning: old" in fault for fault in notebooks.check(pair))


def test_gate_wrong_docstring_example_and_no_notebook_without_nbval(pair: Path):
    house = pair.parents[1]
    (house / "tests").mkdir()
    (house / "mmtutor").mkdir()
    (house / "mmtutor" / "module.py").write_text('"""Add.\n\n>>> 1 + 1\n3\n"""\n')
    pair.write_text("raise SystemExit('a notebook was imported')")
    done = pytest_in(house)
    assert (done.returncode, "Expected:\n    3\nGot:\n    2" in done.stdout) == (1, True), done.stdout
    assert "1 failed" in done.stdout
    assert "notebook" not in done.stdout


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("took 1.25 s", "took 11 s", True),
        ("3.2 ms a step", "310 µs a step", True),
        ("<object at 0x7f3f01234560>", "<object at 0x7ffe01234560>", True),
        ("/tmp/ipykernel_12/34.py:1: UserWarning", "/tmp/ipykernel_99/88.py:1: UserWarning", True),
        ("✓ late 0.91, early 0.82", "✓ late 0.91, early 0.83", False),
        ("accuracy 91 % of 1000", "accuracy 92 % of 1000", False),
        ("(8, 3, 32, 32)", "(8, 3, 32, 31)", False),
        ("ELBO -1522.1 nats", "ELBO -1522.2 nats", False),
    ],
)
def test_sanitiser_hides_noise_and_nothing_else(one: str, other: str, same: bool):
    def clean(text: str) -> str:
        for pattern, replacement in get_sanitize_patterns((ROOT / "tools" / "nbval.cfg").read_text()):
            text = re.sub(pattern, replacement, text)
        return text

    assert (clean(one) == clean(other)) == same


def test_gate_never_run(pair: Path):
    nbformat.write(notebooks.read_source(pair), pair.with_suffix(".ipynb"))
    assert any("not run from top to bottom: execution counts [None, None, None]" in f for f in notebooks.check(pair))


def test_gate_run_out_of_order(pair: Path):
    stored = nbformat.read(pair.with_suffix(".ipynb"), as_version=4)
    stored.cells[1].execution_count = 7
    nbformat.write(stored, pair.with_suffix(".ipynb"))
    assert any("execution counts [7, 2, 3]" in fault for fault in notebooks.check(pair))


@pytest.mark.parametrize(("old", "new"), [("0.25", "0.26"), ("# # Tiny", "# # Small"), ("ignore-output", "skip")])
def test_gate_pair_out_of_step(pair: Path, old: str, new: str, capsys: pytest.CaptureFixture[str]):
    pair.write_text(TINY.replace(old, new))
    assert notebooks.main(["check", "--folder", str(pair.parent)]) == 1
    assert "01_tiny.py and 01_tiny.ipynb are out of step" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_gate_half_a_pair(pair: Path, suffix: str):
    pair.with_suffix(suffix).unlink()
    assert "is missing" in notebooks.check(pair)[0]


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("\n# %%\n" + "x = 1\n" * 16, "a cell has 16 lines"),
        ("\n# %%\nx = 1\n" * 221, "lines of code that are not folded, more than 220"),
        ("\n# %% [markdown]\n# " + "word " * 2200, "2201 words, more than 2200"),
    ],
)
def test_gate_too_long(pair: Path, addition: str, message: str):
    pair.write_text(TINY + addition)
    assert any(message in fault for fault in notebooks.check(pair))


def test_unknown_name_is_an_error(pair: Path, capsys: pytest.CaptureFixture[str]):
    assert notebooks.main(["run", "02_none", "--folder", str(pair.parent)]) == 1
    assert "no notebook named '02_none'" in capsys.readouterr().out


def test_words_of_formulas_and_links_do_not_count():
    assert notebooks.words("Let $x + y = 1$ be [a link](https://example.org/a/b). - $$a\nb$$") == 6
